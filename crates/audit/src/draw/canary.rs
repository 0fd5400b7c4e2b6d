//! Draw in private where to hide a wrong digest, so that auditors who check nothing are found out (`verify` 10.6).
//!
//! The worker's VRF over (run, step) decides whether one of its units of the step carries a canary, and which. The
//! wrong digest stands in place of `dw`; the tensors that flow and the gradient sum are the true ones. Before the
//! step's header is signed both digests are sealed in [`StepHeader::canary`](crate::unit::StepHeader), as the ledger's
//! [`SealedCanary`], so a cheat that was caught cannot be passed off as a canary afterwards. A step without one
//! seals a random hash: nobody sees the difference.

use crate::{
    draw::{
        below,
        vrf::{self, Drawn, VrfProof},
    },
    params::{AuditParams, ONE},
    unit::{StepHeader, UnitLeaf},
};
use tessera_canon::{Domain, Hash, PublicKey, SecretKey, digest, record};
use tessera_ledger::action::{CANARY, SealedCanary};

const LOT: Domain = Domain::new("tessera/audit/canary-lot/v1");
const PLACE: Domain = Domain::new("tessera/audit/canary-place/v1");
const WRONG: Domain = Domain::new("tessera/audit/canary-digest/v1");
const SALT: Domain = Domain::new("tessera/audit/canary-salt/v1");

record! {
    /// What a worker's draw depends on. The beacon is later than its key.
    pub struct CanaryInput { pub run: Hash, pub beacon: Hash, pub step: u64, pub stage: u16 }
}

/// What a worker hides in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Index of the unit in the order of labels.
    pub at: usize,
    pub sealed: SealedCanary,
    pub proof: VrfProof,
}

record! {
    /// What opens a canary after its audit.
    pub struct CanaryOpening {
        pub input: CanaryInput,
        pub worker: PublicKey,
        pub units: u16,
        pub truth: Hash,
        pub shown: Hash,
        pub salt: Hash,
        pub window: u32,
        pub proof: VrfProof,
    }
}

/// Chance in 1/10 000 that one of `units` units carries a canary. Only the part of the canaries that is audited
/// tests anyone, so the rate is per unit committed: then `canary_rate` of the audits meet one.
fn chance(units: usize, params: &AuditParams) -> u32 {
    (units as u64 * u64::from(params.canary_rate)).min(ONE.into()) as u32
}

fn place(output: &Hash, units: usize) -> usize {
    (digest(PLACE, output).low_u64() % units.max(1) as u64) as usize
}

/// Hide a canary among `leaves` (in the order of labels) if the draw says so: changes one `dw`.
pub fn hide(
    key: &SecretKey,
    input: &CanaryInput,
    window: u32,
    leaves: &mut [UnitLeaf],
    params: &AuditParams,
) -> Option<Canary> {
    let Drawn { output, proof } = vrf::draw(key, LOT, input);
    if leaves.is_empty() || !below(&output, chance(leaves.len(), params)) {
        return None;
    }
    let at = place(&output, leaves.len());
    let truth = leaves[at].dw;
    let shown = digest(WRONG, &(output, truth));
    leaves[at].dw = shown;
    let salt = digest(SALT, &(output, Hash(key.seed())));
    let sealed = SealedCanary { run: input.run, window, account: key.public(), truth, shown, salt };
    Some(Canary { at, sealed, proof })
}

/// What a header's `canary` holds: the seal, or a hash that nobody can tell from one.
pub fn commitment(key: &SecretKey, input: &CanaryInput, canary: Option<&Canary>) -> Hash {
    match canary {
        Some(canary) => digest(CANARY, &canary.sealed),
        None => digest(SALT, &(input.clone(), Hash(key.seed()))),
    }
}

impl Canary {
    /// What the worker shows after the audit.
    pub fn opening(&self, input: &CanaryInput, units: usize) -> CanaryOpening {
        CanaryOpening {
            input: input.clone(),
            worker: self.sealed.account,
            units: units as u16,
            truth: self.sealed.truth,
            shown: self.sealed.shown,
            salt: self.sealed.salt,
            window: self.sealed.window,
            proof: self.proof.clone(),
        }
    }
}

impl CanaryOpening {
    /// Whether `leaf`, unit `at` of `header`, was a canary, and the digest that its work really gave. The draw is
    /// checked too: a worker that hides more than its lot is a cheat with an excuse.
    pub fn verify(
        &self,
        header: &StepHeader,
        leaf: &UnitLeaf,
        at: u64,
        beacon: &Hash,
        params: &AuditParams,
    ) -> Option<Hash> {
        let input = CanaryInput { run: header.run, beacon: *beacon, step: header.step, stage: header.stage };
        let sealed = SealedCanary {
            run: header.run,
            window: self.window,
            account: header.worker,
            truth: self.truth,
            shown: self.shown,
            salt: self.salt,
        };
        let output = vrf::check(&header.worker, LOT, &input, &self.proof)?;
        let units = usize::from(header.units);
        let drawn = below(&output, chance(units, params)) && place(&output, units) as u64 == at;
        let right =
            self.shown == leaf.dw && self.truth != self.shown && digest(CANARY, &sealed) == header.canary;
        (drawn && right && self.worker == header.worker).then_some(self.truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{Commitment, StepContext, tests::leaf};

    fn input(step: u64) -> CanaryInput {
        CanaryInput { run: Hash([1; 32]), beacon: Hash([2; 32]), step, stage: 1 }
    }

    fn header(
        key: &SecretKey,
        step: u64,
        leaves: Vec<UnitLeaf>,
        canary: Hash,
    ) -> (StepHeader, Vec<UnitLeaf>) {
        let context = StepContext {
            network: Hash([3; 32]),
            window: 0,
            run: Hash([1; 32]),
            generation: 0,
            step,
            stage: 1,
            w_root: Hash([9; 32]),
            weights: Hash([8; 32]),
        };
        let units = leaves.into_iter().map(|leaf| (leaf, key.public(), key.public())).collect();
        let commitment = Commitment::new(units, &[]).unwrap();
        let header = commitment.header(key, (0, 0), &context, Hash::ZERO, canary, Hash::ZERO).value;
        (header, commitment.leaves().to_vec())
    }

    #[test]
    fn a_canary_is_what_the_lot_says_and_nothing_else_is() {
        let (key, params) = (SecretKey::from_seed([1; 32]), AuditParams::default());
        let leaves = |step| (0..4).map(|n| leaf(&key, step, n)).collect::<Vec<UnitLeaf>>();
        let (mut hidden, mut tested) = (0, 0);
        for step in 0..1500 {
            let mut shown = leaves(step);
            let canary = hide(&key, &input(step), 0, &mut shown, &params);
            let commit = commitment(&key, &input(step), canary.as_ref());
            let (header, shown) = header(&key, step, shown, commit);
            let Some(canary) = canary else {
                assert_eq!(shown, leaves(step));
                continue;
            };
            hidden += 1;
            let opening = canary.opening(&input(step), 4);
            for (at, leaf) in shown.iter().enumerate() {
                let cleared = opening.verify(&header, leaf, at as u64, &Hash([2; 32]), &params);
                let expected = (at == canary.at).then(|| leaves(step)[at].dw);
                assert_eq!(cleared, expected);
                tested += 1;
            }
            let other = CanaryOpening { truth: Hash([6; 32]), ..opening.clone() };
            assert_eq!(
                other.verify(&header, &shown[canary.at], canary.at as u64, &Hash([2; 32]), &params),
                None
            );
        }
        // 1500 steps of 4 units at 2 %: 120 expected, deviation 10.5.
        assert!((88..=152).contains(&hidden), "{hidden}");
        assert_eq!(tested, 4 * hidden);
    }

    #[test]
    fn a_caught_cheat_cannot_be_called_a_canary() {
        let (key, params) = (SecretKey::from_seed([1; 32]), AuditParams::default());
        let step =
            (0..).find(|s| !below(&vrf::draw(&key, LOT, &input(*s)).output, chance(4, &params))).unwrap();
        let mut leaves: Vec<UnitLeaf> = (0..4).map(|n| leaf(&key, step, n)).collect();
        let truth = std::mem::replace(&mut leaves[2].dw, Hash([66; 32]));
        // The worst it can do: seal its own lie in a step without a lot.
        let sealed = SealedCanary {
            run: Hash([1; 32]),
            window: 0,
            account: key.public(),
            truth,
            shown: Hash([66; 32]),
            salt: Hash::ZERO,
        };
        let proof = vrf::draw(&key, LOT, &input(step)).proof;
        let canary = Canary { at: 2, sealed, proof };
        let (header, leaves) = header(&key, step, leaves, digest(CANARY, &canary.sealed));
        let opening = canary.opening(&input(step), 4);
        assert_eq!(opening.verify(&header, &leaves[2], 2, &Hash([2; 32]), &params), None);
    }
}
