//! List what an account can do with proposals and votes.

use crate::governance::parameter::{Class, Parameter};
use tessera_canon::{Hash, List, PublicKey, choice, record, tags};

/// Most parameters that one proposal changes.
pub const MAX_CHANGES: usize = 5;
/// Most accounts that one transaction votes for.
pub const MAX_VOTERS: usize = 16;

record! {
    /// One parameter from `old` to `new`, in the unit of the policy or the network's parameters.
    pub struct Change { pub parameter: Parameter, pub old: u128, pub new: u128 }
}
record! {
    /// Change parameters, all or none of them.
    pub struct Changes { pub changes: List<Change, MAX_CHANGES> }
}
record! {
    /// Halt training for `GovernanceTerms::pause_epochs`.
    pub struct PauseRun {}
}
record! {
    /// End a pause early.
    pub struct ResumeRun {}
}
record! {
    /// End training and serve.
    pub struct StartServing {}
}
record! {
    /// Train a serving run further, by at most `max_wu` new work units.
    pub struct ResumeTraining { pub max_wu: u64 }
}
record! {
    /// Wind the run down.
    pub struct RetireRun {}
}
record! {
    /// Raise the declared total work F*.
    pub struct RaiseTarget { pub old: u64, pub new: u64 }
}
record! {
    /// Replace the training plan (learning rates, data mix, batch, context) by the one with hash `new`. The
    /// ledger keeps the hash; that the plan lies within the run's declared envelope is for trainers to check.
    pub struct AmendPlan { pub old: Hash, pub new: Hash }
}
record! {
    /// Strike a measurement of the run out as false: its bond goes to the public fund.
    pub struct StrikeMeasurement { pub measurement: Hash }
}
choice! {
    /// What a proposal does if it passes.
    pub enum Motion {
        0 => Changes(Changes),
        1 => PauseRun(PauseRun),
        2 => ResumeRun(ResumeRun),
        3 => StartServing(StartServing),
        4 => ResumeTraining(ResumeTraining),
        5 => RetireRun(RetireRun),
        6 => RaiseTarget(RaiseTarget),
        7 => AmendPlan(AmendPlan),
        8 => StrikeMeasurement(StrikeMeasurement),
    }
}

record! {
    /// Post a proposal; its id is the transaction's. The deposit comes back unless more than 80 % vote "no".
    pub struct Propose {
        /// The run, or [`Hash::ZERO`] for the network.
        pub run: Hash,
        /// The class of the motion; stated so that the proposer signs it.
        pub class: Class,
        pub motion: Motion,
        /// Nano-U.
        pub deposit: u128,
        /// Height before which it is not executed; only ever later than the delay of its class.
        pub not_before: u64,
    }
}
tags! {
    /// How to vote.
    pub enum Choice { 0 => No, 1 => Yes, 2 => Abstain }
}
record! {
    /// Vote with the snapshot power of the sender, or of accounts that delegated theirs to the sender.
    pub struct Vote {
        pub proposal: Hash,
        pub choice: Choice,
        /// Strictly ascending; empty for the sender's own power.
        pub of: List<PublicKey, MAX_VOTERS>,
    }
}
record! {
    /// Let `to` vote for the sender in a run from now on; nobody if absent. The sender's own vote always wins.
    pub struct Delegate { pub run: Hash, pub to: Option<PublicKey> }
}
record! {
    /// Close the vote on a proposal, or carry it out, if its time has come.
    pub struct Execute { pub proposal: Hash }
}
