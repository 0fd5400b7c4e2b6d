//! Tell what happened to accounts, balances and validators.

use crate::accounts::record::BondState;
use tessera_canon::{Hash, PublicKey, record, tags};

record! {
    /// A fee left the sender.
    pub struct FeePaid { pub payer: PublicKey, pub amount: u128 }
}

tags! {
    /// Why U left an account, or came to it, where no other event says so.
    pub enum Reason {
        /// Of a member of a run; `of` is the run.
        0 => MemberBond,
        /// Of a host of a run, with what it had paid into the insurance; `of` is the run.
        1 => HostBond,
        /// Of whoever posts a settlement; `of` is the order.
        2 => SettlementBond,
        /// Of a dispute about work; `of` is the dispute.
        3 => DisputeBond,
        /// From the losing side of a dispute about work; `of` is the dispute.
        4 => DisputeWon,
        /// Of a dispute about a session; `of` is the order.
        5 => SessionDisputeBond,
        /// From the losing side of a dispute about a session; `of` is the order.
        6 => SessionDisputeWon,
        /// Of an application to the public lane; `of` is the run.
        7 => PublicDeposit,
        /// Of a sealed canary; `of` is the run.
        8 => CanaryDeposit,
        /// For a canary that was found; `of` is the run.
        9 => CanaryFound,
        /// Of a measurement; `of` is its id.
        10 => MeasurementBond,
        /// For showing that a home signed twice; `of` is the order.
        11 => Reported,
        /// For blocks that a bonded validator proposed.
        12 => ValidatorPay,
        /// For audits that were accepted.
        13 => AuditorPay,
    }
}
record! {
    /// U left an account.
    pub struct Charged { pub account: PublicKey, pub amount: u128, pub reason: Reason, pub of: Hash }
}
record! {
    /// U came to an account.
    pub struct Credited { pub account: PublicKey, pub amount: u128, pub reason: Reason, pub of: Hash }
}

record! {
    /// U moved between accounts.
    pub struct Transferred { pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
record! {
    /// `key` signs for `account` from height `from` on.
    pub struct KeyRotated { pub account: PublicKey, pub key: PublicKey, pub from: u64 }
}
record! {
    /// A bond grew, began to leave, or was paid back; `amount` is what is bonded then.
    pub struct BondChanged { pub account: PublicKey, pub key: PublicKey, pub state: BondState, pub amount: u128 }
}
record! {
    pub struct BondReleased { pub account: PublicKey, pub amount: u128 }
}
record! {
    /// A validator lost its bond: `reward` to the reporter, the rest to the public fund.
    pub struct ValidatorSlashed { pub account: PublicKey, pub amount: u128, pub reporter: PublicKey, pub reward: u128 }
}
record! {
    /// The set of an epoch, where it differs from the one before.
    pub struct ValidatorSetChanged { pub epoch: u64, pub size: u32, pub bonded: u128, pub root: Hash }
}
record! {
    /// What the schedule allowed in an epoch, and what was issued of it to validators, auditors, the public fund.
    pub struct Issued { pub epoch: u64, pub allowed: u128, pub validators: u128, pub auditors: u128, pub fund: u128 }
}
