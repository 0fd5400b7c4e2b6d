//! Say what the cells of proposals, votes and voting power hold.

use crate::{
    governance::{
        action::{Choice, Motion},
        parameter::Class,
    },
    record::Wide,
};
use tessera_canon::{Hash, PublicKey, record, tags};

tags! {
    /// Where a proposal stands.
    pub enum ProposalState {
        /// Waits for votes or takes them.
        0 => Open,
        /// Waits for its delay.
        1 => Passed,
        2 => Rejected,
        3 => Executed,
        /// Passed, but an old value had changed meanwhile.
        4 => Stale,
        /// Passed, but a bound or the run's state no longer allowed it.
        5 => Failed,
    }
}
record! {
    /// A proposal. Heights in blocks.
    pub struct Proposal {
        pub id: Hash,
        /// The run, or [`Hash::ZERO`] for the network.
        pub run: Hash,
        pub proposer: PublicKey,
        pub class: Class,
        pub state: ProposalState,
        /// The block that posted it; power is what was held at the end of the block before.
        pub posted: u64,
        /// First and last height that take votes.
        pub opens: u64,
        pub ends: u64,
        /// Height from which it may be executed; before it has passed: the earliest its proposer allows.
        pub ready: u64,
        /// Nano-U still held.
        pub deposit: u128,
        /// Both chambers at the snapshot.
        pub total: u128,
        pub work: Wide,
    }
}
record! {
    /// What a proposal does.
    pub struct ProposalMotion { pub proposal: Hash, pub motion: Motion }
}
record! {
    /// The votes on a proposal in both chambers.
    pub struct Tally {
        pub proposal: Hash,
        pub yes: u128,
        pub no: u128,
        pub abstain: u128,
        pub work_yes: Wide,
        pub work_no: Wide,
        /// Height at which the quorum was reached.
        pub quorum_at: Option<u64>,
    }
}
record! {
    /// One account's vote.
    pub struct Ballot {
        pub proposal: Hash,
        pub account: PublicKey,
        /// Who cast it: the account or its delegate.
        pub by: PublicKey,
        pub choice: Choice,
        pub votes: u128,
        pub work: Wide,
        /// Shares that cannot move until voting ends.
        pub locked: u128,
        /// The account's ballot before this one, as a chain; [`Hash::ZERO`] at its end.
        pub older: Hash,
    }
}
record! {
    /// The ballots that may lock an account's shares of a run: the newest, which leads to the others.
    pub struct VoteLock { pub run: Hash, pub account: PublicKey, pub newest: Hash }
}
record! {
    /// Whom an account lets vote for it in a run.
    pub struct Delegation { pub run: Hash, pub account: PublicKey, pub to: PublicKey }
}
record! {
    /// Proposals of an account that take votes.
    pub struct Proposer { pub account: PublicKey, pub open: u16 }
}
record! {
    /// What a run's (or the network's) voters share.
    pub struct Assembly {
        pub run: Hash,
        /// Height of the newest proposal.
        pub latest: u64,
        /// Last height at which a proposal may take votes.
        pub busy_until: u64,
        /// Both as they were before block `latest`.
        pub earlier: u64,
        pub busy_before: u64,
        /// Height before which training cannot be paused again.
        pub no_pause_before: u64,
        /// Verified work of all accounts, grown; see [`crate::governance::work`].
        pub work: Wide,
        /// Hash of the training plan in force; [`Hash::ZERO`] for the run spec's own.
        pub plan: Hash,
    }
}
record! {
    /// Verified work of an account in a run (or in all), grown; see [`crate::governance::work`].
    pub struct ChamberWork { pub run: Hash, pub account: PublicKey, pub amount: Wide }
}
record! {
    /// An amount as it was just before block `until` and back to the end of block `older`; `run` is whose assembly counts
    /// it, zero for the network's.
    pub struct History { pub run: Hash, pub subject: Hash, pub until: u64, pub amount: Wide, pub older: u64 }
}
