//! Say what the cells of accounts, balances and validators hold.

use crate::record::Endpoint;
use tessera_canon::{Hash, PublicKey, record, tags};

record! {
    /// Money that is on no account. `issued` = sum of balances, escrows and bonds + `fund` + `burned`.
    pub struct Globals { pub issued: u128, pub burned: u128, pub fund: u128 }
}

record! {
    /// A key that signs for an account from a height on.
    pub struct NextSigner { pub key: PublicKey, pub from: u64 }
}
record! {
    /// An account. Balance in nano-U. Its name `key` is the key that it began with and never changes.
    pub struct Account {
        pub key: PublicKey,
        pub balance: u128,
        pub nonce: u64,
        /// The key that signs for it until `next` does.
        pub signer: PublicKey,
        pub next: Option<NextSigner>,
    }
}
impl Account {
    /// An account that nobody has used.
    pub fn new(key: PublicKey) -> Self {
        Self { key, balance: 0, nonce: 0, signer: key, next: None }
    }
    /// The key whose signatures count at `height`.
    pub fn signer_at(&self, height: u64) -> PublicKey {
        self.next.as_ref().filter(|next| height >= next.from).map_or(self.signer, |next| next.key)
    }
}

record! {
    /// A validator of the genesis set.
    pub struct Validator { pub index: u32, pub key: PublicKey, pub endpoint: Endpoint }
}

record! {
    /// Keys that signed for an account before its present one; how many.
    pub struct SignerTerms { pub account: PublicKey, pub count: u32 }
}
record! {
    /// A key that signed for an account up to a height: before `until`, and from the end of the term before it.
    pub struct SignerTerm { pub account: PublicKey, pub number: u32, pub key: PublicKey, pub until: u64 }
}

tags! {
    /// Where a validator's bond stands.
    pub enum BondState {
        /// In the set from the next epoch.
        0 => Joining,
        1 => Active,
        /// Out of the set from the next epoch.
        2 => Leaving,
        /// Out of the set; slashable until it is paid back.
        3 => Left,
    }
}
record! {
    /// An account's bond as a validator.
    pub struct Bond {
        pub account: PublicKey,
        /// Its consensus key.
        pub key: PublicKey,
        /// Nano-U.
        pub amount: u128,
        pub state: BondState,
        /// Height from which a leaving bond is paid back.
        pub release: u64,
        /// Blocks that it proposed since the last epoch boundary.
        pub proposed: u32,
    }
}
impl Bond {
    /// Whether its owner has asked for it back.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, BondState::Leaving | BondState::Left)
    }
    /// Bonded U that votes.
    pub fn power(&self) -> u128 {
        if self.is_leaving() { 0 } else { self.amount }
    }
}
record! {
    /// Whose consensus key it is; `slashed` keys cannot bond again.
    pub struct ValidatorKey { pub key: PublicKey, pub account: PublicKey, pub slashed: bool }
}
record! {
    /// The validators of an epoch: who is bonded and paid.
    pub struct ValidatorSet {
        pub epoch: u64,
        pub size: u32,
        /// Nano-U bonded by them.
        pub bonded: u128,
        /// Merkle root over the [`SetMember`]s, ascending by account.
        pub root: Hash,
    }
}
record! {
    /// A leaf of [`ValidatorSet::root`].
    pub struct SetMember { pub account: PublicKey, pub key: PublicKey, pub amount: u128 }
}
record! {
    /// Nano-U that votes, now.
    pub struct ValidatorTotals { pub bonded: u128 }
}
record! {
    /// Where the schedule of issuance stands.
    pub struct Issuance {
        /// Genesis balances and everything that the schedule has allowed since, nano-U.
        pub scheduled: u128,
        /// The decaying part of the next epoch, nano-U.
        pub rate: u128,
        /// Part of the schedule that is issued, in 1/10 000.
        pub part: u16,
    }
}
impl Default for Issuance {
    fn default() -> Self {
        Self { scheduled: 0, rate: 0, part: 10_000 }
    }
}
record! {
    /// What was lost in a run for good and may still be issued to its auditors, nano-U.
    pub struct AuditBudget { pub run: Hash, pub left: u128 }
}
record! {
    /// Audits of a run by one auditor that were accepted since the last epoch boundary.
    pub struct AuditCount { pub run: Hash, pub account: PublicKey, pub accepted: u32 }
}
