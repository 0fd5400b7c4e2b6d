//! Hold the network's numbers for disputes, audits and penalties, so that a demonstration can shorten every span.

use crate::{
    keys,
    store::{Stop, View},
};
use tessera_canon::record;

record! {
    /// Spans in blocks where they say so, else in windows (after training: epochs); money in nano-U; ratios in 1/10 000.
    pub struct TrustParams {
        /// Blocks for one message of a dispute; who lets them pass loses.
        pub step_blocks: u64,
        /// Blocks in which auditors commit, and then reveal.
        pub commit_blocks: u64,
        pub reveal_blocks: u64,
        /// Least bond of a dispute.
        pub dispute_bond: u128,
        /// Least slash of a fraud (`B_min`), as far as the bond goes.
        pub slash_floor: u128,
        /// Microbatches of pending shares that a first mismatch costs.
        pub first_units: u32,
        /// Span after which a mismatch is forgotten.
        pub forgive_windows: u32,
        /// Span of closer audits after a mismatch, and how many times as often they are.
        pub watch_windows: u32,
        pub watch_factor: u16,
        /// Part of the sealed canaries that the beacon lets stand.
        pub canary_rate: u16,
        /// What an auditor gets for a canary from the public fund, and loses from its bond for passing one.
        pub canary_pay: u128,
        /// Held until a canary is opened.
        pub canary_deposit: u128,
        /// Units that are audited after their commitment, and those of an account's first `probation_windows`, in
        /// 1/10 000. Watched accounts' are audited `watch_factor` times as often.
        pub unit_rate: u16,
        pub probation_rate: u16,
        pub probation_windows: u32,
        /// False units that may stay in a run's weights; one more and the run is rolled back.
        pub tolerated_units: u32,
        /// Windows before the open one whose work can be accused, and that a fraud undoes at most: for so long seats
        /// keep the states and tensors with which an honest one defends itself.
        pub evidence_windows: u32,
        /// Epochs of serving before which not everything is transferable.
        pub serving_lock: u32,
    }
}
impl Default for TrustParams {
    /// The defaults of a public network with one block a second and epochs of ten minutes.
    fn default() -> Self {
        Self {
            step_blocks: 600,
            commit_blocks: 600,
            reveal_blocks: 600,
            dispute_bond: 5_000_000,
            slash_floor: 1_000_000,
            first_units: 100,
            forgive_windows: 4320,
            watch_windows: 500,
            watch_factor: 10,
            canary_rate: 200,
            canary_pay: 1_000_000,
            canary_deposit: 1_000_000,
            unit_rate: 100,
            probation_rate: 2000,
            probation_windows: 4,
            tolerated_units: 0,
            evidence_windows: 8,
            serving_lock: 2016,
        }
    }
}
impl TrustParams {
    /// Values small enough for a demonstration of a few minutes on one machine.
    pub fn demo() -> Self {
        Self {
            step_blocks: 30,
            commit_blocks: 20,
            reveal_blocks: 20,
            first_units: 10,
            forgive_windows: 30,
            watch_windows: 5,
            serving_lock: 2,
            ..Self::default()
        }
    }
}

pub(crate) fn load(view: &View<'_>) -> Result<TrustParams, Stop> {
    Ok(view.get(&keys::trust_params())?.unwrap_or_default())
}
