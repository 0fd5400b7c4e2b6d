//! Tell what happened to proposals and votes.

use crate::governance::{
    action::Choice,
    parameter::{Class, Parameter},
    record::ProposalState,
};
use tessera_canon::{Hash, PublicKey, Text, record};

record! {
    /// A proposal was posted; `run` is [`Hash::ZERO`] for the network.
    pub struct Proposed {
        pub proposal: Hash,
        pub run: Hash,
        pub proposer: PublicKey,
        pub class: Class,
        pub opens: u64,
        pub ends: u64,
    }
}
record! {
    /// An account's power was counted, or moved from another choice by the account itself.
    pub struct VoteCast {
        pub proposal: Hash,
        pub account: PublicKey,
        pub by: PublicKey,
        pub choice: Choice,
        pub votes: u128,
    }
}
record! {
    /// The quorum came late: voting goes on.
    pub struct VotingExtended { pub proposal: Hash, pub ends: u64 }
}
record! {
    pub struct DelegationChanged { pub run: Hash, pub account: PublicKey, pub to: Option<PublicKey> }
}
record! {
    /// The vote is over; `burned` of the deposit was burned, the rest went back.
    pub struct VotingEnded {
        pub proposal: Hash,
        pub passed: bool,
        pub yes: u128,
        pub no: u128,
        pub total: u128,
        pub burned: u128,
        /// From which height it may be executed, if it passed.
        pub ready: u64,
    }
}
record! {
    /// A passed proposal took effect, or lapsed for `reason`.
    pub struct Executed { pub proposal: Hash, pub state: ProposalState, pub reason: Text<128> }
}
record! {
    /// A parameter changed by vote.
    pub struct ParameterChanged { pub run: Hash, pub parameter: Parameter, pub old: u128, pub new: u128 }
}
