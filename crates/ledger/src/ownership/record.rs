//! Say what the cells of shares and what they earn hold.

use crate::record::Wide;
use tessera_canon::{Hash, PublicKey, record, tags};

tags! {
    /// Where a claim to shares stands.
    pub enum ClaimState {
        0 => Pending,
        1 => Active,
        2 => Void,
        /// Frozen: it counts as pending and does not mature.
        3 => Disputed,
    }
}

record! {
    /// Shares and credits of a run in total, and the accumulator that pays owners.
    pub struct Credits {
        pub run: Hash,
        pub active: u128,
        pub pending: u128,
        pub voided: u128,
        /// Credits per active share since the beginning, Q128.
        pub acc: Wide,
        /// Remainder of the last division, carried.
        pub rem: u128,
        /// Credits waiting for the next distribution.
        pub pool: u64,
        /// Credits in existence.
        pub total: u64,
        /// Credits ever distributed to owners, and ever claimed by them.
        pub owner_in: u64,
        pub owner_out: u64,
        /// Credits in unspent notes, in the market's hands, in locks.
        pub notes: u64,
        pub auctioned: u64,
        pub locked: u64,
        pub series: u16,
    }
}

impl Credits {
    /// Those of a run of which nothing has happened.
    pub fn new(run: Hash) -> Self {
        Self {
            run,
            active: 0,
            pending: 0,
            voided: 0,
            acc: Wide::default(),
            rem: 0,
            pool: 0,
            total: 0,
            owner_in: 0,
            owner_out: 0,
            notes: 0,
            auctioned: 0,
            locked: 0,
            series: 0,
        }
    }
}

record! {
    /// An account's work in a window of a stage, and the shares it makes.
    pub struct Claim {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub account: PublicKey,
        pub microbatches: u32,
        pub wu: u64,
        pub weight: u32,
        pub shares: u128,
        /// Of them void.
        pub voided: u128,
        pub state: ClaimState,
        /// Least epoch of its maturity, after a dispute.
        pub not_before: u32,
        /// It stands on [`crate::keys::list_of_ripe`].
        pub ripe: bool,
    }
}

record! {
    /// An account's shares in a run and what they earned.
    pub struct Owner {
        pub run: Hash,
        pub account: PublicKey,
        /// Active shares.
        pub shares: u128,
        /// Shares of claims that have not matured.
        pub pending: u128,
        pub acc_seen: Wide,
        /// Fraction of a credit, Q128.
        pub frac: u128,
        /// Whole credits to claim (besides what the accumulator has not handed over yet).
        pub due: u64,
    }
}

/// Time buckets of a [`Vesting`].
pub const VESTING_BUCKETS: usize = 8;

record! {
    /// Matured shares of an owner by the time of their maturity, for the transfer lock.
    pub struct Vesting {
        pub run: Hash,
        pub account: PublicKey,
        /// The lock's span that the buckets were made for.
        pub span: u32,
        /// Number of the first bucket on the grid.
        pub first: u32,
        pub buckets: [u128; VESTING_BUCKETS],
        /// Shares that matured before the buckets.
        pub old: u128,
    }
}

record! {
    /// The epoch in which a run was first found serving.
    pub struct Unlocking { pub run: Hash, pub since: u32 }
}
