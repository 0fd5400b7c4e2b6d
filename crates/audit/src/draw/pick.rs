//! Draw audits after the commitment: which units, by which seat, and which audits are audited again (`verify` 11.5).
//!
//! ```text
//! unit u is picked        iff H("pick" | beacon | anchor | u) < rate(worker)
//! its auditor             argmin over eligible seats of H("auditor" | beacon | u | seat)
//! the audit is audited    iff H("again" | beacon | u) < second_rate, by the next eligible seat
//! ```
//! The beacon is the first after the anchor that holds the commitment, so a worker that tries many labels or
//! orders learns nothing: it would have to predict the beacon. The seed binds the anchor as well, so that a second
//! anchor for the same step draws anew, and is itself proof of equivocation.

use crate::{
    draw::{below, rate::Standing},
    params::AuditParams,
    unit::UnitId,
};
use tessera_canon::{Domain, Hash, PublicKey, digest};

const PICK: Domain = Domain::new("tessera/audit/pick/v1");
const STEP: Domain = Domain::new("tessera/audit/step/v1");
const AUDITOR: Domain = Domain::new("tessera/audit/auditor/v1");
const AGAIN: Domain = Domain::new("tessera/audit/again/v1");

/// What a draw is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// First beacon after the anchor.
    pub beacon: Hash,
    /// Root over the headers, [`crate::unit::AnchorTree::root`].
    pub anchor: Hash,
}

/// A seat of the audited stage, as the draw needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub slot: u16,
    pub account: PublicKey,
    /// Whom the ledger counts as one operator.
    pub operator: Hash,
    /// Whether it held the state that the step started from.
    pub held_state: bool,
    pub on_probation: bool,
}

/// Why no seat can audit a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAuditor {
    #[error("the worker of the unit holds no seat of this stage")]
    UnknownWorker,
    #[error(
        "no seat of another operator held the state: at least two operators a stage are needed for audits"
    )]
    NoneEligible,
}

/// A drawn audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    pub unit: UnitId,
    pub auditor: PublicKey,
    /// Who repeats the audit, where that was drawn too.
    pub second: Option<PublicKey>,
}

impl Seed {
    /// Whether `unit` of a seat with this record is audited.
    pub fn picks(&self, unit: &UnitId, standing: &Standing, params: &AuditParams) -> bool {
        self.picks_at(unit, standing.rate(params))
    }
    /// Whether `unit` of a seat that is audited at `rate` (1/10 000) is.
    pub fn picks_at(&self, unit: &UnitId, rate: u32) -> bool {
        below(&self.hash(PICK, &unit.id()), rate)
    }
    /// Whether all units of a seat in a step are computed again, and their sum compared.
    pub fn picks_step(&self, worker: &PublicKey, step: u64, params: &AuditParams) -> bool {
        let seed = (self.beacon, (self.anchor, (*worker, step)));
        below(&digest(STEP, &seed), params.step_rate.into())
    }

    /// The audit of a picked unit. `previous` is who audited this worker last: passed over where there is a choice.
    pub fn audit(
        &self,
        unit: &UnitId,
        seats: &[Candidate],
        previous: Option<&PublicKey>,
        params: &AuditParams,
    ) -> Result<Pick, NoAuditor> {
        let order = self.order(unit, seats, previous)?;
        let first = order.first().ok_or(NoAuditor::NoneEligible)?;
        let again = below(&self.hash(AGAIN, &unit.id()), params.second_rate.into());
        // The second auditor shares an operator with neither.
        let second = order.iter().find(|seat| again && seat.operator != first.operator);
        Ok(Pick { unit: unit.clone(), auditor: first.account, second: second.map(|seat| seat.account) })
    }

    /// Eligible seats, the drawn one first. After it come those to ask where it does not answer.
    pub fn order<'a>(
        &self,
        unit: &UnitId,
        seats: &'a [Candidate],
        previous: Option<&PublicKey>,
    ) -> Result<Vec<&'a Candidate>, NoAuditor> {
        let worker = seats.iter().find(|seat| seat.account == unit.worker).ok_or(NoAuditor::UnknownWorker)?;
        let id = unit.id();
        let mut order: Vec<(bool, Hash, &Candidate)> = seats
            .iter()
            .filter(|seat| seat.operator != worker.operator && seat.held_state && !seat.on_probation)
            .map(|seat| {
                let lot = digest(AUDITOR, &(self.beacon, (id, seat.account)));
                (previous == Some(&seat.account), lot, seat)
            })
            .collect();
        order.sort_unstable_by_key(|(again, lot, _)| (*again, *lot));
        Ok(order.into_iter().map(|(_, _, seat)| seat).collect())
    }

    fn hash(&self, domain: Domain, unit: &Hash) -> Hash {
        digest(domain, &(self.beacon, (self.anchor, *unit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::tests::unit;
    use tessera_canon::SecretKey;

    fn seats(operators: &[u8]) -> Vec<Candidate> {
        operators
            .iter()
            .enumerate()
            .map(|(slot, operator)| Candidate {
                slot: slot as u16,
                account: SecretKey::from_seed([slot as u8 + 1; 32]).public(),
                operator: Hash([*operator; 32]),
                held_state: true,
                on_probation: false,
            })
            .collect()
    }

    fn seed(n: u64) -> Seed {
        Seed { beacon: digest(Domain::new("tessera/test-beacon/v1"), &n), anchor: Hash([5; 32]) }
    }

    /// The selection written down again from its definition: raw hashing, a full scan, no shared code.
    fn naive(
        seed: &Seed,
        unit: &UnitId,
        rate: u64,
        seats: &[Candidate],
        previous: Option<&PublicKey>,
    ) -> Option<Pick> {
        use tessera_canon::encode;
        let hash = |name: &'static str, parts: &[&[u8]]| {
            tessera_canon::digest_parts(Domain::new(name), parts.iter().copied())
        };
        let id = hash("tessera/unit/v1", &[&encode(unit)]);
        let lot = hash("tessera/audit/pick/v1", &[&seed.beacon.0, &seed.anchor.0, &id.0]);
        let draw = u64::from_le_bytes(lot.0[..8].try_into().unwrap());
        if (draw as f64) / 2f64.powi(64) >= rate as f64 / 10_000.0 {
            return None;
        }
        let worker = seats.iter().find(|seat| seat.account == unit.worker)?;
        let best = |not: &[Hash], pass_over: Option<&PublicKey>| {
            let mut best: Option<(Hash, &Candidate)> = None;
            for seat in seats {
                if not.contains(&seat.operator) || !seat.held_state || seat.on_probation {
                    continue;
                }
                if pass_over == Some(&seat.account) {
                    continue;
                }
                let lot = hash("tessera/audit/auditor/v1", &[&seed.beacon.0, &id.0, &seat.account.0]);
                if best.as_ref().is_none_or(|(least, _)| lot < *least) {
                    best = Some((lot, seat));
                }
            }
            best.map(|(_, seat)| seat)
        };
        let choose = |not: &[Hash]| best(not, previous).or_else(|| best(not, None));
        let first = choose(&[worker.operator])?;
        let again = hash("tessera/audit/again/v1", &[&seed.beacon.0, &seed.anchor.0, &id.0]);
        let again = u64::from_le_bytes(again.0[..8].try_into().unwrap()) < u64::MAX / 10;
        let second = again.then(|| choose(&[worker.operator, first.operator])).flatten();
        Some(Pick { unit: unit.clone(), auditor: first.account, second: second.map(|seat| seat.account) })
    }

    #[test]
    fn the_selection_matches_an_independent_one() {
        let params = AuditParams { post_rate: 3000, ..AuditParams::default() };
        let mut picked = 0;
        for n in 0..2000u64 {
            let mut seats = seats(&[0, 1, 1, 2, 3, 4]);
            seats[(n % 6) as usize].held_state = n % 5 != 0;
            seats[(n % 4) as usize].on_probation = n % 7 == 0;
            let worker = SecretKey::from_seed([(n % 6) as u8 + 1; 32]);
            let unit = unit(&worker, n, (n % 13) as u8);
            let previous = seats[((n + 1) % 6) as usize].account;
            let standing = Standing { units: 1000, flagged: None };
            let seed = seed(n);
            let got = seed
                .picks(&unit, &standing, &params)
                .then(|| seed.audit(&unit, &seats, Some(&previous), &params).unwrap());
            assert_eq!(got, naive(&seed, &unit, 3000, &seats, Some(&previous)), "draw {n}");
            picked += u32::from(got.is_some());
        }
        // 600 expected, deviation 20.
        assert!((520..680).contains(&picked), "{picked}");
    }

    #[test]
    fn auditors_are_of_another_operator_and_all_get_their_turn() {
        let seats = seats(&[0, 0, 1, 2]);
        let worker = SecretKey::from_seed([1; 32]);
        let mut turns = [0u32; 4];
        for n in 0..3000 {
            let pick = seed(n).audit(&unit(&worker, 0, 1), &seats, None, &AuditParams::default()).unwrap();
            let at = seats.iter().position(|seat| seat.account == pick.auditor).unwrap();
            turns[at] += 1;
            if let Some(second) = pick.second {
                let second = seats.iter().find(|seat| seat.account == second).unwrap();
                assert!(second.operator != seats[at].operator && second.operator != seats[0].operator);
            }
        }
        assert_eq!(turns[..2], [0, 0], "the worker's operator never audits it");
        assert!(turns[2..].iter().all(|turns| (1350..1650).contains(turns)), "{turns:?}");
        let alone = seats[..2].to_vec();
        let none = seed(0).audit(&unit(&worker, 0, 1), &alone, None, &AuditParams::default());
        assert_eq!(none, Err(NoAuditor::NoneEligible));
        let last = &seats[2].account;
        let pick = seed(1).audit(&unit(&worker, 0, 1), &seats[..3], Some(last), &AuditParams::default());
        assert_eq!(pick.unwrap().auditor, *last, "the same auditor again rather than none");
    }

    /// `verify` 14 row 24. The worker may try as many labels and headers as it likes before it commits; it picks
    /// the one that would be audited least under its best guess of the beacon, which is the present one.
    #[test]
    fn grinding_commitments_buys_nothing() {
        let (params, worker) =
            (AuditParams { post_rate: 500, ..AuditParams::default() }, SecretKey::from_seed([1; 32]));
        let standing = Standing { units: 1000, flagged: None };
        let (units, tries) = (20_000u64, 64u64);
        let (mut audited, mut guessed) = (0u64, 0u64);
        for n in 0..units {
            let now = seed(n);
            // What varies with the worker's choice is the anchor, through the header, and the unit's own label.
            let choice = (0..tries).map(|try_| {
                let mut unit = unit(&worker, n, 0);
                unit.label[..8].copy_from_slice(&try_.to_le_bytes());
                let anchor = digest(Domain::new("tessera/test-anchor/v1"), &(unit.id(), try_));
                (unit, anchor)
            });
            let harmless = |(unit, anchor): &(UnitId, Hash)| {
                !Seed { anchor: *anchor, ..now }.picks(unit, &standing, &params)
            };
            let (unit, anchor) = choice.into_iter().find(harmless).unwrap();
            let guess = Seed { anchor, ..now };
            guessed += u64::from(guess.picks(&unit, &standing, &params));
            // The beacon that counts comes after the anchor.
            let after = Seed { beacon: seed(n + 1).beacon, anchor };
            audited += u64::from(after.picks(&unit, &standing, &params));
        }
        let (expected, deviation) = (units as f64 * 0.05, (units as f64 * 0.05 * 0.95).sqrt());
        println!(
            "ground units audited: {audited} of {units}, expected {expected} +- {deviation:.0}; by its guess {guessed}"
        );
        assert_eq!(guessed, 0, "the worker did find what its guess would not audit");
        assert!((audited as f64 - expected).abs() <= 3.0 * deviation);
    }

    #[test]
    fn whole_steps_are_drawn_at_their_rate() {
        let params = AuditParams { step_rate: 500, ..AuditParams::default() };
        let worker = SecretKey::from_seed([1; 32]).public();
        let picked = (0..20_000).filter(|step| seed(3).picks_step(&worker, *step, &params)).count();
        assert!((1000 - 93..=1000 + 93).contains(&picked), "{picked}");
    }
}
