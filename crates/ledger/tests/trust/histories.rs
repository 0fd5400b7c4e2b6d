//! Random histories of disputes, audits, canaries and work, valid and not; every invariant after every block.
//!
//! `TESSERA_TRUST_TXS` sets the transactions of a history (2 000 if absent; 100 000 in the slow lane).

use crate::{
    machine::{Account, MachineReferee, name, said},
    setting::*,
    world::*,
};
use std::{collections::BTreeMap, sync::Arc};
use tessera_canon::{Blob, Domain, Hash, Prf, digest};
use tessera_ledger::{
    Action, BlockSession, MemState, Outcome, Receipt, Record, SignedTx,
    action::*,
    block::Need,
    genesis::Parameters,
    keys, query,
    record::{DisputePhase, RunState, Verdict},
    runs::policy::Policy,
    trust::TrustParams,
};

const HISTORY: Domain = Domain::new("tessera/test/trust-history/v1");
const SEATS: u32 = 8;

struct Game {
    told: Account,
    path: Vec<usize>,
}
struct History {
    world: World,
    random: Prf,
    games: BTreeMap<Hash, Game>,
    words: BTreeMap<(Hash, u32), AuditOpening>,
}

impl History {
    fn new(seed: u64) -> Self {
        let base = parameters();
        let parameters = Parameters {
            policy: Policy { audit_rate: 2000, ..base.policy.clone() },
            trust: TrustParams { canary_rate: 5000, canary_pay: 1000, ..trust_params() },
            base: tessera_ledger::Params { fee_to_fund: true, ..base.base.clone() },
            ..base
        };
        let mut world = World::new(SEATS + 3, parameters);
        world.referee = Arc::new(MachineReferee);
        let mut create = create_run(RUN, 1, SEATS);
        (create.seats, create.steps) = (20, 100_000);
        (create.f_star, create.f_min, create.f_exclusive) = (2400, 48, 120);
        world.ok(0, create);
        let joins: Vec<_> = (0..SEATS).map(|i| world.tx(i, join(RUN, i))).collect();
        world.block(&joins);
        world.blocks(1);
        for of in 0..SEATS {
            give_bond(&mut world, of, 100_000_000);
        }
        let random = Prf::new(HISTORY, &seed.to_be_bytes());
        Self { world, random, games: BTreeMap::new(), words: BTreeMap::new() }
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound.max(1))
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn account(&mut self) -> u32 {
        self.below(u64::from(SEATS) + 3) as u32
    }

    fn open(&mut self) -> Option<(u32, Action)> {
        let window = query::run(self.world.get(), &RUN)?.window;
        let window = window.saturating_sub(1 + self.below(9) as u32);
        let claims = query::claims_of_stage(self.world.get(), &RUN, window, 0);
        let at = self.below(claims.len() as u64) as usize;
        let of = self.world.index_of(&claims.get(at)?.account);
        let told = if self.chance(50) { Account::honest() } else { Account::lie(&mut self.random) };
        let accused = self.chance(60);
        let mut action = open(&self.world, window, of, accused.then_some(&told));
        if self.chance(5) {
            action.bond = 1;
        }
        let id = keys::claim(&RUN, window, 0, at as u16);
        if dispute(&self.world, &id).is_none() {
            self.games.insert(id, Game { told, path: Vec::new() });
        }
        Some((self.account(), action.into()))
    }
    fn step(&mut self) -> Option<(u32, Action)> {
        let open = query::disputes(self.world.get());
        let now = open.get(self.below(open.len() as u64) as usize)?.clone();
        let game = self.games.entry(now.id).or_insert_with(|| Game { told: Account::honest(), path: vec![] });
        let path: Vec<usize> = (0..now.level + u8::from(now.phase == DisputePhase::Prove))
            .filter_map(|level| {
                let level = query::read(self.world.get(), &keys::dispute_level(&now.id, level));
                level.map(|level: tessera_ledger::record::DisputeLevel| usize::from(level.index))
            })
            .collect();
        game.path.clone_from(&path);
        let told = game.told.clone();
        let path_ok = path.len() <= 7;
        let (mut who, step): (_, Step) = match now.phase {
            DisputePhase::Panel => {
                (if self.chance(50) { now.accused } else { now.challenger }, Escalate { bond: BOND }.into())
            }
            DisputePhase::Accuse => {
                let of = self.world.index_of(&now.accused);
                (now.challenger, accusation(&self.world, now.window, of, &told).into())
            }
            DisputePhase::Commit if path_ok => (now.accused, told.commit(&path)),
            DisputePhase::Name if path_ok => {
                let committed = told.commit(&path);
                let children = said(&committed, path.len());
                let at = if self.chance(80) {
                    Account::honest().first_false(&path, &children)
                } else {
                    self.below(children.len() as u64) as usize
                };
                (now.challenger, name(&committed, path.len(), at))
            }
            DisputePhase::Prove if self.chance(10) => {
                let part = Blob::new(vec![1; 64]).ok()?;
                (now.accused, Prove { at: 0, part, last: true }.into())
            }
            _ => (now.accused, told.prove(path.get(..1)?)),
        };
        if self.chance(5) {
            who = public(self.account());
        }
        let dispute = if self.chance(2) { Hash([1; 32]) } else { now.id };
        let who = self.world.index_of(&who);
        Some((who, DisputeStep { dispute, step }.into()))
    }
    /// A panel of the last windows or of an open dispute.
    fn panel(&mut self) -> Option<tessera_ledger::record::Panel> {
        let mut panels: Vec<_> = self
            .world
            .state
            .0
            .values()
            .filter_map(|cell| match cell.unpack() {
                Some(Record::Panel(panel)) => Some(panel),
                _ => None,
            })
            .collect();
        panels.sort_by_key(|panel| std::cmp::Reverse(panel.drawn));
        panels.truncate(6);
        let at = self.below(panels.len() as u64) as usize;
        panels.get(at).cloned()
    }
    fn audit(&mut self) -> Option<(u32, Action)> {
        let panel = self.panel()?;
        let at = self.below(panel.auditors.len() as u64) as usize;
        let who = self.world.index_of(panel.auditors.get(at)?);
        let who = if self.chance(5) { self.account() } else { who };
        if let Some(word) = self.words.get(&(panel.id, who))
            && self.random.below(100) < 70
        {
            let AuditOpening { panel, verdict, digest, salt, .. } = word.clone();
            return Some((who, AuditReveal { panel, verdict, digest, salt }.into()));
        }
        // Panels mostly agree, by the parity of their id.
        let grave = [Verdict::HonestError, Verdict::Mismatch, Verdict::Fraud][usize::from(panel.id.0[1] % 3)];
        let guilty = panel.id.0[0].is_multiple_of(2) != self.chance(10);
        let verdict = if guilty { grave } else { Verdict::Innocent };
        let digest_of = Hash([u8::from(self.chance(80)); 32]);
        let word = AuditOpening {
            panel: panel.id,
            auditor: public(who),
            verdict,
            digest: digest_of,
            salt: Hash([3; 32]),
        };
        let commit = digest(AUDIT, &word);
        self.words.entry((panel.id, who)).or_insert(word);
        Some((who, AuditCommit { panel: panel.id, commit }.into()))
    }
    fn canary(&mut self) -> Option<(u32, Action)> {
        let who = self.account();
        let window = query::run(self.world.get(), &RUN)?.window;
        let sealed = |window| SealedCanary {
            run: RUN,
            window,
            account: public(who),
            truth: Hash([1; 32]),
            shown: Hash([2; 32]),
            salt: Hash([3; 32]),
        };
        if self.chance(50) {
            let commit = digest(CANARY, &sealed(window));
            return Some((who, SealCanary { run: RUN, window, commit }.into()));
        }
        let window = (0..window)
            .rev()
            .take(12)
            .find(|window| query::canary(self.world.get(), &RUN, *window, &public(who)).is_some())?;
        let index = query::claims_of_stage(self.world.get(), &RUN, window, 0)
            .iter()
            .position(|claim| claim.account == public(who))? as u16;
        let SealedCanary { truth, shown, salt, .. } = sealed(window);
        let truth = if self.chance(25) { shown } else { truth };
        Some((who, OpenCanary { run: RUN, window, stage: 0, index, truth, shown, salt }.into()))
    }
    fn action(&mut self) -> Option<(u32, Action)> {
        Some(match self.below(20) {
            0..2 => self.open()?,
            2..9 => self.step()?,
            9 => {
                let open = query::disputes(self.world.get());
                let at = self.below(open.len() as u64) as usize;
                (self.account(), ResolveDispute { dispute: open.get(at)?.id }.into())
            }
            10..14 => self.audit()?,
            14 | 15 => self.canary()?,
            16 | 17 => {
                let who = self.account();
                (who, join(RUN, who).into())
            }
            18 => {
                let (who, to) = (self.account(), self.account());
                let held = query::owner(self.world.get(), &RUN, &public(who)).map_or(0, |o| o.shares);
                let amount = u128::from(self.below(held as u64 + 2));
                (who, TransferShares { run: RUN, to: public(to), amount }.into())
            }
            _ => {
                let (sender, report) = self.world.full_report(RUN, 0, Some(9_000_000))?;
                (sender, report.into())
            }
        })
    }
    fn txs(&mut self) -> Vec<SignedTx> {
        let count = 1 + self.below(8);
        let actions: Vec<_> = (0..count).filter_map(|_| self.action()).collect();
        actions.into_iter().map(|(who, action)| self.world.tx(who, action)).collect()
    }
}

/// Run a block, handing over one needed key at a time.
fn starved(state: &MemState, world: &World, txs: &[SignedTx]) -> Outcome {
    fn drive<T>(
        state: &MemState,
        session: &mut BlockSession,
        mut call: impl FnMut(&mut BlockSession) -> Result<T, Need>,
    ) -> T {
        loop {
            match call(session) {
                Ok(value) => return value,
                Err(Need(keys)) => session.supply(keys[0], state.get(&keys[0])),
            }
        }
    }
    let mut session = BlockSession::with_referee(world.context(), world.referee.clone());
    drive(state, &mut session, BlockSession::begin);
    for tx in txs {
        drive(state, &mut session, |session| session.apply(tx));
    }
    drive(state, &mut session, BlockSession::end);
    session.finish()
}

#[test]
fn invariants_hold_through_random_histories_of_disputes() {
    let total: usize = std::env::var("TESSERA_TRUST_TXS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let mut kinds = BTreeMap::<&'static str, [usize; 2]>::new();
    let (mut done, mut seed) = (0, 20);
    let mut verdicts = [0u64; 3];
    while done < total {
        seed += 1;
        let mut history = History::new(seed);
        let mut here = 0;
        // The scan's cost grows with the state, so histories stay short and many.
        while here < 1_000 && done < total {
            let txs = history.txs();
            let before = (seed == 21).then(|| history.world.state.clone());
            let outcome = history.world.block(&txs);
            if let Some(before) = before {
                assert!(starved(&before, &history.world, &txs) == outcome, "one key at a time");
            }
            for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
                kinds.entry(tx.body.action.kind()).or_default()[usize::from(!Receipt::ok(receipt))] += 1;
            }
            done += txs.len();
            here += txs.len();
        }
        let world = &history.world;
        let claims: u128 = world
            .state
            .0
            .values()
            .filter_map(|cell| match cell.unpack() {
                Some(Record::Claim(claim)) => Some(u128::from(claim.wu) * u128::from(claim.weight)),
                _ => None,
            })
            .sum();
        let credits = query::credits(world.get(), &RUN).unwrap();
        assert_eq!(credits.active + credits.pending + credits.voided, claims, "P1");
        assert_ne!(query::run(world.get(), &RUN).unwrap().state, RunState::Aborted);
        if let Some(stats) = query::audit_stats(world.get(), &RUN) {
            verdicts[0] += stats.guilty;
            verdicts[1] += stats.innocent;
            verdicts[2] += stats.open_ended;
        }
    }
    println!("{done} transactions; guilty, innocent, open: {verdicts:?}; {kinds:?}");
    for kind in [
        "OpenDispute",
        "DisputeStep",
        "ResolveDispute",
        "AuditCommit",
        "AuditReveal",
        "SealCanary",
        "OpenCanary",
    ] {
        let [ok, refused] = kinds.get(kind).copied().unwrap_or_default();
        assert!(ok >= 3 && refused >= 3, "{kind}: {ok} took effect, {refused} were refused");
    }
    assert!(verdicts.iter().all(|count| *count > 0), "{verdicts:?}");
}
