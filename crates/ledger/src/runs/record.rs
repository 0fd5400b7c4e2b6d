//! Say what the cells of runs, their seats and their windows hold.

use crate::{
    credits::action::ChunkPrice,
    record::Endpoint,
    runs::action::{LossSource, RiskRule},
};
use tessera_canon::{Hash, PublicKey, record, tags};

tags! {
    /// Life of a run.
    pub enum RunState {
        /// Only designers may work.
        0 => Exclusive,
        /// Anyone may work.
        1 => Open,
        /// Training is finished; credits are minted and spent.
        2 => Serving,
        /// The designers did too little: pending shares are void, the bond went to the fund.
        3 => Aborted,
        /// The owners halted training for a while; notes can still be used.
        4 => Paused,
        /// Wound down: outstanding notes of live series can still be used.
        5 => Retired,
    }
}

tags! {
    /// Whether a seat is held.
    pub enum SeatState { 0 => Active, 1 => Lapsed }
}

tags! {
    /// Where an account stands in a run.
    pub enum MemberState {
        /// Waits for the next draw.
        0 => Waiting,
        /// Holds a seat.
        1 => Seated,
        /// Lost its seat by silence; keeps its stage.
        2 => Lapsed,
        /// The draw found no free place, or a stage without one; may join again.
        3 => Refused,
        /// Gave its place up; keeps its stage and may join again.
        4 => Left,
    }
}

record! {
    /// What a run promised at its creation; never changes. The full run spec is known by its hash, the run id.
    pub struct RunTerms {
        pub run: Hash,
        pub creator: PublicKey,
        pub stages: u16,
        /// Most seats in a stage.
        pub seats: u16,
        /// Microbatches in one step.
        pub microbatches: u32,
        pub steps: u32,
        pub window_steps: u32,
        /// Declared total work, in work units over all stages.
        pub f_star: u64,
        /// Least verified work of the designers.
        pub f_min: u64,
        /// Designers' work that ends exclusivity.
        pub f_exclusive: u64,
        /// Windows that end exclusivity.
        pub exclusive_windows: u32,
        /// Height past which exclusivity ends at the next epoch boundary.
        pub exclusive_until: u64,
        pub rule: RiskRule,
        /// Loss before training, micro-nats.
        pub loss_0: u32,
        pub bond: u128,
        pub price: ChunkPrice,
        /// Credits minted over `supply_epochs` epochs of serving.
        pub supply: u64,
        pub supply_epochs: u32,
        pub designers: u16,
        pub created: u64,
        /// Floating-point operations in a work unit.
        pub wu_flops: u64,
        pub loss_source: LossSource,
        /// Bit s: stage s takes newcomers without admission work.
        pub open_stages: u128,
        /// Windows after the opening in which no stage asks for admission work.
        pub bootstrap_windows: u32,
        /// Part of a child run that belongs to this run's owners, 1/10 000.
        pub fork_part: u16,
    }
}

record! {
    /// Progress of a run.
    pub struct Run {
        pub run: Hash,
        pub state: RunState,
        /// Bond still held, nano-U.
        pub bond: u128,
        /// Verified work units so far.
        pub f_done: u64,
        /// Of them by designers while exclusive.
        pub f_designer: u64,
        /// Running minimum of the loss, micro-nats.
        pub loss_min: u32,
        /// Risk weight of the current window, Q16.
        pub weight: u32,
        /// The window being reported; equals the number of closed windows.
        pub window: u32,
        /// Windows whose claims are active (or void): the next to mature.
        pub matured: u32,
        /// Epoch boundaries since training finished.
        pub serving_epochs: u32,
        /// Equal parts of the supply minted so far.
        pub minted_parts: u32,
        /// Declared total work as it stands; owners may raise it.
        pub f_star: u64,
        /// Windows after which training ends; owners may cut it short and resume it.
        pub windows: u32,
        /// Windows that were closed when the run opened.
        pub opened: u32,
        /// Training was finished once: credits are minted and used, whatever the state is now.
        pub serving: bool,
        /// Epoch in which the last pause ends or ended; 0 if there was none.
        pub paused_until: u64,
    }
}

record! {
    /// A designer of a run.
    pub struct Designer { pub run: Hash, pub account: PublicKey }
}

record! {
    /// A stage of a run.
    pub struct Stage {
        pub run: Hash,
        pub stage: u16,
        /// Work units of one microbatch in this stage, from the run spec's analytic count.
        pub wu: u64,
        /// Bit i: seat i is held.
        pub held: u64,
        /// Seats ever used: seats 0..used have a record.
        pub used: u16,
        /// Identities ever seated here.
        pub identities: u32,
    }
}

record! {
    /// One trainer's place in a stage.
    pub struct Seat {
        pub run: Hash,
        pub stage: u16,
        pub seat: u16,
        pub account: PublicKey,
        pub endpoint: Endpoint,
        pub state: SeatState,
        /// Height of the draw.
        pub since: u64,
        /// Height of the account's last transaction about this run.
        pub heard: u64,
    }
}

record! {
    /// An account's place in a run. `stage` is bound for life once drawn, with a seat or waiting for one.
    pub struct Member {
        pub run: Hash,
        pub account: PublicKey,
        pub state: MemberState,
        pub stage: Option<u16>,
        pub seat: Option<u16>,
        pub endpoint: Endpoint,
        /// Height of the last `JoinRun`.
        pub asked: u64,
        /// Bond held, nano-U.
        pub bond: u128,
        /// Work units in this run whose claims matured.
        pub wu: u64,
        /// [`Run::clock`] when the last seat was lost or given up.
        pub away: Option<u64>,
        /// [`Run::clock`] of the last `LeaveRun`; the bond is held from then on.
        pub left: u64,
        /// Whether the draw may seat it in a stage that is not open.
        pub admitted: bool,
        /// Whether it ever held a seat.
        pub seated: bool,
    }
}

record! {
    /// A window: which stages reported, at which weight.
    pub struct Window {
        pub run: Hash,
        pub window: u32,
        /// Q16; one for all claims.
        pub weight: u32,
        /// Bit s: stage s reported.
        pub reported: u128,
        pub wu: u64,
        /// Reported by the last stage, micro-nats.
        pub loss: Option<u32>,
        pub closed: bool,
        /// Lower median of its claims in work units; 0 until it is closed.
        pub median: u64,
        /// `pending_windows` when it began: no vote moves the horizon of claims that exist.
        pub horizon: u32,
    }
}

record! {
    /// What a stage's quorum said of a window.
    pub struct StageReport {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        /// Number of claims.
        pub claims: u16,
        pub state_root: Hash,
        /// As in [`crate::action::WindowReport`].
        pub generation: u32,
        pub anchor: Hash,
        /// The first beacon after the report, which draws audits of what is anchored; zeros before it.
        pub seed: Hash,
        pub loss: Option<u32>,
        /// Bit i: seat i signed.
        pub signers: u64,
        pub height: u64,
    }
}

tags! {
    /// Where the evaluation of a window stands.
    pub enum EvaluationPhase {
        /// The next block draws the committee.
        0 => Drawing,
        1 => Committing,
        2 => Revealing,
        3 => Closed,
    }
}

record! {
    /// The last evaluation of a run by a committee.
    pub struct Evaluation {
        pub run: Hash,
        pub window: u32,
        pub phase: EvaluationPhase,
        /// Last height of the phase.
        pub until: u64,
        pub members: u16,
        /// The last stage's figure, micro-nats.
        pub reported: u32,
        /// The result once closed, micro-nats.
        pub loss: u32,
    }
}

record! {
    /// A member of a run's evaluation committee.
    pub struct EvalMember {
        pub run: Hash,
        pub window: u32,
        pub index: u16,
        pub account: PublicKey,
        pub commitment: Option<Hash>,
        pub loss: Option<u32>,
    }
}

record! {
    /// Evaluation committees of a network. Spans in blocks.
    pub struct CommitteeParams {
        /// Members drawn, if so many hold seats outside the last stage.
        pub size: u16,
        pub commit_blocks: u64,
        pub reveal_blocks: u64,
    }
}
impl Default for CommitteeParams {
    /// Five members, a minute for each phase at one block a second.
    fn default() -> Self {
        Self { size: 5, commit_blocks: 60, reveal_blocks: 60 }
    }
}

record! {
    /// Where a forked run comes from.
    pub struct Lineage {
        pub child: Hash,
        pub parent: Hash,
        /// Ancestors; at least 1.
        pub depth: u8,
        /// Active shares that the parent's owners hold as a class.
        pub shares: u128,
        /// Floating-point operations spent on the weights before the fork.
        pub inherited: u128,
    }
}

impl Run {
    /// Windows and, after training, epochs that have passed: what pending spans are measured in.
    pub fn clock(&self) -> u64 {
        u64::from(self.window) + u64::from(self.serving_epochs)
    }
}

impl Run {
    /// Whether credits are minted and allotted: it serves, perhaps trains on, and is not wound down.
    pub fn serves(&self) -> bool {
        self.serving && self.state != RunState::Retired
    }
}

impl RunTerms {
    /// Whether `stage` takes newcomers without admission work.
    pub fn is_open(&self, stage: u16) -> bool {
        self.open_stages.checked_shr(stage.into()).unwrap_or(0) & 1 == 1
    }
    /// Number of windows.
    pub fn windows(&self) -> u32 {
        self.steps.div_ceil(self.window_steps.max(1))
    }
    /// Microbatches that a complete report of `window` accounts for in each stage. Windows past the plan, of
    /// training that the owners resumed, have full length.
    pub fn window_microbatches(&self, window: u32) -> u64 {
        if window >= self.windows() {
            return u64::from(self.window_steps) * u64::from(self.microbatches);
        }
        let start = u64::from(window) * u64::from(self.window_steps);
        let end = (start + u64::from(self.window_steps)).min(u64::from(self.steps));
        end.saturating_sub(start) * u64::from(self.microbatches)
    }
}
