//! Run a whole committee in virtual time: lossy links, crashes, partitions, bad disks, liars; one seed, one history.
//!
//! The validators are the real ones, only runtime and network are simulated. Every run ends with the same
//! checks: all honest validators have the same block at every height; replaying those blocks on a plain map gives,
//! cell for cell, the state that the validators store; the ledger's invariants hold after every block; and blocks
//! went on after the last trouble ended.
//!
//! ```no_run
//! use tessera_validator::simulation::{Scenario, Trouble, run};
//! let calm = Scenario { seed: 1, ..Scenario::default() };
//! let crashes = vec![Trouble::Crashes { every_ms: 3000, down_ms: 1000 }];
//! let rough = Scenario { loss_percent: 20, troubles: crashes, ..calm.clone() };
//! assert_eq!(run(&calm).unwrap(), run(&calm).unwrap());
//! println!("{:?}", run(&rough).unwrap());
//! println!("{:?}", run(&Scenario::chaos(7, 7)).unwrap());
//! ```

mod byzantine;
mod check;
mod committee;
mod torn;

pub use byzantine::Misbehaviour;

use crate::pacing::Timing;
use byzantine::Misdeeds;
use check::{Caught, SameHistory};
use committee::Committee;
use commonware_consensus::types::{Epoch, Round, View};
use commonware_glue::simulate::{
    action::{Action, Crash, Schedule},
    plan::PlanBuilder,
};
use commonware_p2p::simulated::Link;
use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, ResizeConfig, WriteConfig};
use commonware_utils::Probability;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};
use tessera_canon::Hash;

/// Virtual time after which a run counts as stuck.
const LONGEST_RUN_MS: u64 = 600_000;
/// Blocks that must follow the end of the last trouble.
const BLOCKS_AFTER: u64 = 4;

/// What disturbs a run beside the links and the liars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Every `every_ms` one validator is killed; it starts again on its folder after `down_ms`. Never ends.
    Crashes { every_ms: u64, down_ms: u64 },
    /// The validator with this index is killed once, and starts again after `down_ms`.
    Crash { index: usize, at_ms: u64, down_ms: u64 },
    /// All are killed at once at `at_ms` and start again after `down_ms`.
    Blackout { at_ms: u64, down_ms: u64 },
    /// The first validator starts when the others reach `view`, with an empty folder, by state sync.
    LateJoiner { view: u64 },
    /// From `from_ms` to `to_ms` the first half cannot hear the second half.
    Partition { from_ms: u64, to_ms: u64 },
    /// From `from_ms` to `to_ms` the disks of all validators fail and tear writes, each operation with this chance;
    /// then all are killed and start again on what is left.
    BadDisks { from_ms: u64, to_ms: u64, per_mille: u64 },
    /// The validator with this index is killed, one of its files is cut while it is down, and it starts again. It may
    /// end for good then, and the run does not wait for it; but it must not contradict the others.
    TornFile { index: usize, at_ms: u64, down_ms: u64, store: Store },
}

impl Trouble {
    /// When it is over, milliseconds; 0 for one that does not end.
    fn end_ms(&self) -> u64 {
        match self {
            Self::Crashes { .. } | Self::LateJoiner { .. } => 0,
            Self::Crash { at_ms, down_ms, .. }
            | Self::Blackout { at_ms, down_ms }
            | Self::TornFile { at_ms, down_ms, .. } => at_ms + down_ms,
            Self::Partition { to_ms, .. } => *to_ms,
            Self::BadDisks { to_ms, .. } => to_ms + RECOVERY_MS,
        }
    }
}

/// How long all are down after their disks were bad.
const RECOVERY_MS: u64 = 300;

/// Which of a validator's stores loses the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The votes that it cast: the newest file is cut in half.
    Votes,
    /// The same, all of it lost.
    AllVotes,
    /// Final blocks.
    Blocks,
    /// The log of state changes.
    State,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Everything random follows from it.
    pub seed: u64,
    /// Size of the committee.
    pub validators: u8,
    /// Where the run ends: every honest validator that is up has applied this many blocks, and
    /// some after the last trouble.
    pub height: u64,
    /// One-way delay of every link.
    pub latency_ms: u64,
    /// Greatest deviation from it.
    pub jitter_ms: u64,
    /// Messages lost.
    pub loss_percent: u64,
    /// What else happens.
    pub troubles: Vec<Trouble>,
    /// What the last validators of the committee do instead of their duty, one each.
    pub byzantine: Vec<Misbehaviour>,
    /// Transfers that every validator's client submits, one each 200 ms.
    pub transfers: u64,
    /// When blocks are due.
    pub timing: Timing,
    /// Blocks that the first validator keeps, `None` for all; the others keep all.
    pub keep_blocks: Option<usize>,
    /// Virtual time after which the run counts as stuck.
    pub longest_ms: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            validators: 4,
            height: 12,
            latency_ms: 20,
            jitter_ms: 5,
            loss_percent: 0,
            troubles: Vec::new(),
            byzantine: Vec::new(),
            transfers: 10,
            timing: Timing { interval_ms: 200, idle_ms: 400 },
            keep_blocks: None,
            longest_ms: LONGEST_RUN_MS,
        }
    }
}

impl Scenario {
    /// Everything at once, as `seed` says: loss up to 20 %, the most liars that `validators` withstand, crashes of
    /// single validators, a blackout or a partition or bad disks. All troubles end within twelve seconds.
    pub fn chaos(seed: u64, validators: u8) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = usize::from(validators.saturating_sub(1) / 3);
        let mut kinds = Misbehaviour::ALL.to_vec();
        kinds.shuffle(&mut random);
        kinds.truncate(random.random_range(0..=faults));
        let honest = usize::from(validators) - kinds.len();
        let mut troubles = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let at_ms = random.random_range(500..7000);
            let (index, down_ms) = (random.random_range(0..honest), random.random_range(100..2500));
            troubles.push(Trouble::Crash { index, at_ms, down_ms });
        }
        let from_ms = random.random_range(500..5000);
        let to_ms = from_ms + random.random_range(500..5000);
        match random.random_range(0..5) {
            0 => troubles.push(Trouble::Blackout { at_ms: from_ms, down_ms: to_ms - from_ms }),
            1 => troubles.push(Trouble::Partition { from_ms, to_ms }),
            2 => troubles.push(Trouble::BadDisks { from_ms, to_ms, per_mille: random.random_range(1..30) }),
            3 => {
                let view = random.random_range(3..12);
                // Until it joins, a late joiner is one more that does not vote; and a restart would start it before
                // its time.
                if kinds.len() < faults {
                    troubles.retain(|trouble| !matches!(trouble, Trouble::Crash { index: 0, .. }));
                    troubles.push(Trouble::LateJoiner { view });
                }
            }
            _ => {}
        }
        Self {
            seed,
            validators,
            height: random.random_range(8..16),
            latency_ms: random.random_range(5..120),
            jitter_ms: random.random_range(0..40),
            loss_percent: random.random_range(0..=20),
            troubles,
            byzantine: kinds,
            ..Self::default()
        }
    }
    /// When the last trouble that ends has ended, milliseconds.
    fn healed_ms(&self) -> u64 {
        self.troubles.iter().map(Trouble::end_ms).max().unwrap_or(0)
    }
    /// Whether the validator with this index may end for good.
    fn may_end(&self, index: usize) -> bool {
        self.troubles
            .iter()
            .any(|trouble| matches!(trouble, Trouble::TornFile { index: whose, .. } if *whose == index))
    }
    /// Validators that keep to the protocol: the first of the committee.
    fn honest(&self) -> usize {
        usize::from(self.validators).saturating_sub(self.byzantine.len())
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Hash over everything that happened, in order: equal for equal scenarios.
    pub history: String,
    /// Digest of the block at the last compared height.
    pub digest: Hash,
    /// That height.
    pub height: u64,
    /// Transactions in the blocks up to there.
    pub transactions: u64,
    /// Validators killed.
    pub crashes: u64,
    /// Time between the first block and the last compared one.
    pub virtual_ms: u64,
    /// Blocks since the last trouble ended.
    pub blocks_after: u64,
    /// Messages that Byzantine validators altered, withheld or repeated.
    pub misdeeds: u64,
    /// Why validators refused to start.
    pub refusals: Vec<String>,
    /// Validators whose file was torn and that had caught up with the others at the end all the same.
    pub mended: u64,
    /// The oldest block that each other honest validator at the end still had.
    pub oldest: Vec<u64>,
    /// The oldest change of the state that each of them still had.
    pub oldest_changes: Vec<u64>,
}

/// Run a scenario; the error says which check failed, or that the run got stuck.
pub fn run(scenario: &Scenario) -> Result<Summary, String> {
    // The runtime panics when the time is over, and where a part of a validator did.
    catch_unwind(AssertUnwindSafe(|| attempt(scenario))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("the run ended early: {}", text.unwrap_or_else(|| "it panicked".into())))
    })
}

fn attempt(scenario: &Scenario) -> Result<Summary, String> {
    let committee = Committee::new(scenario)?;
    let link = |loss: u64| Link {
        latency: Duration::from_millis(scenario.latency_ms),
        jitter: Duration::from_millis(scenario.jitter_ms),
        success_rate: Probability::new(100 - loss.min(100), 100).expect("at most 100 of 100"),
    };
    let mut plan = PlanBuilder::new(committee.clone())
        .seed(scenario.seed)
        .link(link(scenario.loss_percent))
        .timeout(Duration::from_millis(scenario.longest_ms))
        .exit_condition(Caught::up(scenario))
        .property(SameHistory::of(&committee));
    for trouble in &scenario.troubles {
        plan = plan.crash(crash(scenario, trouble, &committee, link));
    }
    let result = plan.run()?.pop().ok_or("the plan ran no seed")?;
    let found = lock(&committee.found).take().ok_or("no block to compare")?;
    Ok(Summary {
        history: result.state,
        crashes: result.crashes,
        misdeeds: committee.misdeeds.count(),
        refusals: lock(&committee.refusals).clone(),
        ..found
    })
}

/// What the harness must do for one trouble.
fn crash(
    scenario: &Scenario,
    trouble: &Trouble,
    committee: &Committee,
    link: impl Fn(u64) -> Link,
) -> Crash<commonware_cryptography::ed25519::PublicKey> {
    use commonware_glue::simulate::engine::EngineDefinition as _;
    let (ms, everybody) = (Duration::from_millis, committee.participants());
    let all_down = |mut schedule: Schedule<_>, at_ms, down_ms| {
        for who in &everybody {
            schedule = schedule.at(ms(at_ms), Action::Crash(who.clone()));
        }
        for who in &everybody {
            schedule = schedule.at(ms(at_ms + down_ms), Action::Restart(who.clone()));
        }
        schedule
    };
    match *trouble {
        Trouble::Crashes { every_ms, down_ms } => {
            Crash::Random { frequency: ms(every_ms), downtime: ms(down_ms), count: 1 }
        }
        Trouble::Crash { index, at_ms, down_ms } | Trouble::TornFile { index, at_ms, down_ms, .. } => {
            let who = everybody[index % everybody.len()].clone();
            let mut down = Schedule::new().at(ms(at_ms), Action::Crash(who.clone()));
            if matches!(trouble, Trouble::TornFile { .. }) {
                // A part that panics over a torn file ends its validator, not the run: so it is with bad disks.
                down = down.at(ms(at_ms), Action::SetStorageFault(FaultConfig::default()));
            }
            Crash::Schedule(down.at(ms(at_ms + down_ms), Action::Restart(who)))
        }
        Trouble::Blackout { at_ms, down_ms } => Crash::Schedule(all_down(Schedule::new(), at_ms, down_ms)),
        Trouble::LateJoiner { view } => Crash::DelayRound {
            participants: vec![everybody[0].clone()],
            round: Round::new(Epoch::zero(), View::new(view)),
        },
        Trouble::Partition { from_ms, to_ms } => {
            let (left, right) = everybody.split_at(everybody.len() / 2);
            let mut schedule = Schedule::new();
            for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
                for (from, to) in [(a, b), (b, a)] {
                    let cut = Action::UpdateLink { from: from.clone(), to: to.clone(), link: link(100) };
                    schedule = schedule.at(ms(from_ms), cut);
                }
            }
            Crash::Schedule(schedule.at(ms(to_ms), Action::Heal(link(scenario.loss_percent))))
        }
        Trouble::BadDisks { from_ms, to_ms, per_mille } => {
            let chance = |of: u64| Probability::new(per_mille.min(of), of).expect("at most all of them");
            let bad = FaultConfig::default()
                .sync(chance(1000))
                .write(WriteConfig {
                    failure_rate: chance(2000),
                    retention_rate: Probability::new(1, 2).expect("one of two"),
                    mode: PartialWriteMode::Prefix,
                })
                .resize(ResizeConfig {
                    failure_rate: chance(1000),
                    partial_rate: Probability::new(1, 2).expect("one of two"),
                });
            let schedule = Schedule::new()
                .at(ms(from_ms), Action::SetStorageFault(bad))
                .at(ms(to_ms), Action::SetStorageFault(FaultConfig::default()));
            Crash::Schedule(all_down(schedule, to_ms, RECOVERY_MS))
        }
    }
}

type Slot<T> = Arc<Mutex<T>>;

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
