//! Stage the whole protocol at once: cheats of many kinds in a swarm whose honest seats crash, come back and lose disks.
//!
//! The same seed without the cheats is the clean run: the same accounts in the same seats, and the same crashes. What the
//! two ledgers and the two sets of weights differ in is what the cheats achieved. [`Scenario::play`] gives the figures
//! and judges nothing.

use crate::{Conduct, SimConfig, SwarmSim};
use std::collections::{BTreeMap, BTreeSet};
use tessera_audit::attackers::{
    Attacker, r01_random_gradients::RandomGradients, r02_sign_flip::SignFlip, r03_scaled::Scaled,
    r06_lazy::Lazy, r07_low_precision::LowPrecision, r08_last_place::LastPlace, r09_delayed::Delayed,
    r10_intermittent::Intermittent, r13_activations::Activations, r14_input_gradient::InputGradient,
    r27_mimic::Mimic,
};
use tessera_canon::{Domain, Hash, List, Prf, PublicKey};
use tessera_ledger::{
    Event, Parameters, keys, query,
    record::{Owner, RunState, Verdict},
    runs::policy::Policy,
    trust::TrustParams,
};
use tessera_model::{ModelSpec, RunSpec};
use tessera_net::sim::Profile;
use tessera_swarm::Note;

const DRAWS: Domain = Domain::new("tessera/sim/scenario/v1");
/// Width of the model.
const WIDTH: u32 = 16;
/// How often the scenario looks at its swarm, milliseconds of virtual time.
const BEAT_MS: u64 = 1_000;

/// Kinds of cheats, in the order in which they are cast.
pub const CAST: [fn() -> Box<dyn Attacker>; 12] = [
    || Box::new(Lazy),
    || Box::new(SignFlip { factor: 1 }),
    || Box::new(RandomGradients),
    || Box::new(Scaled { tenths: 100 }),
    || Box::new(Activations),
    || Box::new(LastPlace),
    || Box::new(LowPrecision),
    || Box::new(InputGradient),
    || Box::new(Mimic { columns: WIDTH as usize }),
    || Box::new(Delayed { honest: 40 }),
    || Box::new(Intermittent::new(10)),
    || Box::new(SignFlip { factor: 1000 }),
];

/// What to stage.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// Of one sub-layer each; even.
    pub stages: u16,
    pub seats: u16,
    pub steps: u32,
    /// One seat in so many cheats; 0 for the clean run.
    pub one_in: u16,
    /// Units that are audited, in 1/10 000.
    pub unit_rate: u16,
    /// Mean time between two crashes of honest seats, milliseconds of virtual time; 0 for none.
    pub crash_ms: u64,
    /// Virtual time that it may take, milliseconds.
    pub limit_ms: u64,
}

/// What became of one cheat.
#[derive(Clone, Debug)]
pub struct CheatOutcome {
    pub account: PublicKey,
    pub row: u8,
    pub name: &'static str,
    pub stage: u16,
    pub seat: u16,
    /// Step of the swarm at which it began.
    pub began: u64,
    /// Units that it falsified in all.
    pub falsified: u64,
    /// Verdicts, with the units that it had falsified by then.
    pub verdicts: Vec<(Verdict, u64)>,
    /// nano-U of bond taken, and shares that were voided or are owed.
    pub bond: u128,
    pub voided: u128,
}

/// What became of the run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all of it was trained and reported in the time.
    pub finished: bool,
    pub virtual_ms: u64,
    pub cheats: Vec<CheatOutcome>,
    /// Convictions of seats that did not cheat.
    pub honest_convicted: usize,
    /// Disputes opened, and those that ended without a verdict against the accused.
    pub disputes: usize,
    pub acquitted: usize,
    pub rollbacks: usize,
    /// Steps that the slowest seat had closed and did again, over all rollbacks.
    pub redone: u64,
    pub kills: usize,
    pub wipes: usize,
    /// Shares of every account, active and pending.
    pub shares: BTreeMap<PublicKey, u128>,
    /// Microbatches that the ledger counts for every account.
    pub microbatches: BTreeMap<PublicKey, u64>,
    /// Distinct final roots by stage, of seats that the ledger has not taken away.
    pub roots: Vec<BTreeSet<Hash>>,
    /// Held-out loss at the end, micro-nats.
    pub loss: Option<u64>,
    /// Complaints of honest seats about honest seats, and seats that halted.
    pub complaints: Vec<String>,
    /// Transactions that the ledger refused.
    pub refused: usize,
}

impl Scenario {
    /// The run: `stages` sub-layers of width 16 on the `tiny` preset's data.
    pub fn spec(&self) -> RunSpec {
        let tiny = RunSpec::preset("tiny").expect("the preset is part of the program");
        let layers = u32::from(self.stages) / 2;
        let mut spec = RunSpec { steps: self.steps, window_steps: 4, ..tiny };
        spec.model = ModelSpec { d_model: WIDTH, layers, heads: 2, kv_heads: 1, d_ff: 32, ..spec.model };
        spec.stages = List::new(vec![1; usize::from(self.stages)]).expect("at most 64 stages");
        spec.batch.microbatches = u32::from(self.seats);
        spec.batch.sequences = 1;
        spec
    }

    fn parameters(&self) -> Parameters {
        let trust = TrustParams {
            unit_rate: self.unit_rate,
            probation_rate: self.unit_rate,
            evidence_windows: 12,
            ..TrustParams::demo()
        };
        let policy = Policy { pending_windows: 10, ..Parameters::demo().policy };
        Parameters { trust, policy, ..Parameters::demo() }
    }

    /// The swarm before anything happens.
    pub fn swarm(&self) -> SwarmSim {
        SwarmSim::new(SimConfig {
            spec: self.spec(),
            parameters: self.parameters(),
            links: Profile { latency_us: 2_000, ..Profile::HOME },
            unit_us: 4_000,
            unit_step_us: 50,
            block_us: 100_000,
            check_blocks: 100,
            ..SimConfig::tiny(self.seed, self.seats)
        })
    }

    /// Who cheats, how, and from which step on: spread over stages, over kinds and over the first three quarters.
    fn cast(&self) -> Vec<(u16, u16, u64, Conduct)> {
        if self.one_in == 0 {
            return Vec::new();
        }
        let count = self.stages * self.seats / self.one_in;
        let place = |n: u16| {
            // A middle stage sees every kind's effect; the first and the last are cast too, by kinds that have one.
            let stage = n.wrapping_mul(5).wrapping_add(1) % self.stages;
            let seat = (n / self.stages + n) % self.seats;
            let began = 8 + u64::from(n) * u64::from(self.steps) * 3 / 4 / u64::from(count.max(1));
            (stage, seat, began, CAST[usize::from(n) % CAST.len()])
        };
        (0..count).map(place).collect()
    }

    /// Play it to the end, or to the limit; `observe` is called at every beat.
    pub fn play(&self, mut observe: impl FnMut(&SwarmSim)) -> Outcome {
        let mut sim = self.swarm();
        sim.run_until(self.limit_ms, SwarmSim::all_seated);
        let mut waiting = self.cast();
        let mut crashes = Crashes::new(self);
        let guilty: BTreeSet<PublicKey> =
            waiting.iter().map(|(stage, seat, ..)| sim.account(*stage, *seat)).collect();
        // The clean run crashes the same seats.
        let spared: BTreeSet<PublicKey> = Scenario { one_in: 5, ..self.clone() }
            .cast()
            .iter()
            .map(|(stage, seat, ..)| sim.account(*stage, *seat))
            .collect();
        let mut cheats: Vec<CheatOutcome> = Vec::new();
        let mut seen = 0;
        let end = |sim: &SwarmSim| sim.finished() && run_state(sim) == RunState::Serving;
        while !end(&sim) && sim.now_ms() < self.limit_ms {
            sim.run_until(BEAT_MS, end);
            let at = sim.slowest();
            while let Some(next) = waiting.iter().position(|(_, _, began, _)| *began <= at) {
                let (stage, seat, began, conduct) = waiting.remove(next);
                let account = sim.account(stage, seat);
                sim.corrupt(account, conduct);
                let (row, name) = (conduct().row(), conduct().name());
                let (falsified, verdicts, bond, voided) = (0, Vec::new(), 0, 0);
                cheats.push(CheatOutcome {
                    account,
                    row,
                    name,
                    stage,
                    seat,
                    began,
                    falsified,
                    verdicts,
                    bond,
                    voided,
                });
            }
            for cheat in &mut cheats {
                cheat.falsified = sim.falsified(&cheat.account);
            }
            for event in &sim.ledger().events[seen..] {
                let Event::Slashed(slashed) = event else { continue };
                if let Some(cheat) = cheats.iter_mut().find(|cheat| cheat.account == slashed.account) {
                    cheat.verdicts.push((slashed.verdict, cheat.falsified));
                    cheat.bond += slashed.bond;
                    cheat.voided += slashed.voided + slashed.debt;
                }
            }
            seen = sim.ledger().events.len();
            crashes.beat(&mut sim, &spared);
            observe(&sim);
        }
        sim.ledger().check();
        self.outcome(&sim, cheats, &guilty, &crashes, end(&sim))
    }

    fn outcome(
        &self,
        sim: &SwarmSim,
        cheats: Vec<CheatOutcome>,
        guilty: &BTreeSet<PublicKey>,
        crashes: &Crashes,
        finished: bool,
    ) -> Outcome {
        let (events, run) = (&sim.ledger().events, self.spec().run_id());
        let get = |key: &_| sim.ledger().state().get(key);
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        let honest = |event: &&Event| {
            matches!(event, Event::Slashed(slashed)
                if !guilty.contains(&slashed.account) && slashed.verdict != Verdict::Innocent)
        };
        let slashed = count(|event| matches!(event, Event::Slashed(_)));
        let owner = |account: &PublicKey| query::read::<Owner>(get, &keys::owner(&run, account));
        let shares =
            sim.accounts().map(|key| (key, owner(&key).map_or(0, |owner| owner.shares + owner.pending)));
        let mut microbatches = BTreeMap::new();
        for window in 0..self.steps.div_ceil(4) {
            for stage in 0..self.stages {
                for claim in query::claims_of_stage(get, &run, window, stage) {
                    *microbatches.entry(claim.account).or_default() += u64::from(claim.microbatches);
                }
            }
        }
        let names: BTreeSet<String> = guilty.iter().map(PublicKey::short).collect();
        let of_honest = |text: &&String| !names.iter().any(|name| text.contains(name.as_str()));
        let last_notes = sim.accounts().flat_map(|key| sim.notes(&key));
        let loss = last_notes.filter_map(|note| match note {
            Note::Finished { loss: Some(loss), .. } => Some(*loss),
            _ => None,
        });
        let redone = |key: PublicKey| {
            let lost = sim.notes(&key).iter().map(|note| match note {
                Note::RolledBack { lost, .. } => *lost,
                _ => 0,
            });
            lost.sum::<u64>()
        };
        let disputes = count(|event| matches!(event, Event::DisputeOpened(_)));
        Outcome {
            finished,
            virtual_ms: sim.now_ms(),
            cheats,
            honest_convicted: events.iter().filter(honest).count(),
            disputes,
            acquitted: count(|event| matches!(event, Event::DisputeClosed(_))).saturating_sub(slashed),
            rollbacks: count(|event| matches!(event, Event::RolledBack(_))),
            redone: sim.accounts().map(redone).max().unwrap_or(0),
            kills: crashes.kills,
            wipes: crashes.wipes,
            shares: shares.collect(),
            microbatches,
            roots: sim.roots(),
            loss: loss.last(),
            complaints: sim.offences().iter().filter(of_honest).cloned().collect(),
            refused: sim.ledger().refused.len(),
        }
    }
}

/// Whether the run is still trained.
fn run_state(sim: &SwarmSim) -> RunState {
    query::run(|key| sim.ledger().state().get(key), &sim.run()).map_or(RunState::Serving, |run| run.state)
}

/// Crashes of honest seats: one at a time in a stage, each back after some seconds, one in four on an empty disk.
struct Crashes {
    draws: Prf,
    mean_ms: u64,
    places: (u16, u16),
    next_ms: u64,
    down: Vec<(u64, u16, PublicKey)>,
    kills: usize,
    wipes: usize,
}

impl Crashes {
    fn new(scenario: &Scenario) -> Self {
        let mut draws = Prf::new(DRAWS, &scenario.seed.to_be_bytes());
        let next_ms = 5_000 + draws.below(2 * scenario.crash_ms + 1);
        let places = (scenario.stages, scenario.seats);
        Self { draws, mean_ms: scenario.crash_ms, places, next_ms, down: Vec::new(), kills: 0, wipes: 0 }
    }

    fn beat(&mut self, sim: &mut SwarmSim, spared: &BTreeSet<PublicKey>) {
        let now = sim.now_ms();
        let (back, down) = std::mem::take(&mut self.down).into_iter().partition(|(at, ..)| *at <= now);
        self.down = down;
        let back: Vec<(u64, u16, PublicKey)> = back;
        back.into_iter().for_each(|(_, _, account)| sim.restart(account));
        if self.mean_ms == 0 || now < self.next_ms {
            return;
        }
        self.next_ms = now + self.draws.below(2 * self.mean_ms + 1);
        let stage = self.draws.below(u64::from(self.places.0)) as u16;
        let seat = self.draws.below(u64::from(self.places.1)) as u16;
        let (stays_ms, wiped) = (1_000 + self.draws.below(5_000), self.draws.below(4) == 0);
        let account = sim.account(stage, seat);
        if spared.contains(&account) || self.down.iter().any(|(_, other, _)| *other == stage) {
            return;
        }
        self.kills += 1;
        sim.kill(account);
        if wiped {
            self.wipes += 1;
            sim.wipe(account);
        }
        self.down.push((now + stays_ms, stage, account));
    }
}
