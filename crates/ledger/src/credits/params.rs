//! Hold the network's parameters of credits, sessions and hosts (ownership specification 3.7, 3.9, 6.3, 10.4).
//!
//! What the owners of a run may change themselves is in [`crate::runs::policy`]. Rules that the specification
//! fixes for every network are constants here.

use tessera_canon::record;

/// Most homes that one session may have, one after the other.
pub const MAX_ATTEMPTS: usize = 4;

/// Part of the hosts' pay that goes to the run's insurance, in 1/10 000.
pub const INSURANCE: u128 = 200;

/// Part of the weakest stage's capacity that the supply aims at, in 1/10 000 (3.9).
pub const CAPACITY_PART: u128 = 8_000;

/// The supply grows by at most this fraction of itself in an epoch.
pub const SUPPLY_STEP: u64 = 4096;

/// At most this fraction of the pool is retired in an epoch.
pub const POOL_STEP: u64 = 4;

/// A posted host fee moves by one eighth (5.3).
pub const FEE_STEP: u128 = 8;

/// Use of the weakest stage's capacity at which a posted fee stands still, in 1/10 000.
pub const FEE_TARGET: u128 = 7_000;

/// A price per credit changes by at most this fraction from one series to the next (10.4).
pub const PRICE_STEP: u32 = 5;

/// What a host convicted in a session pays, in fees of that session (3.7).
pub const PENALTY: u128 = 10;

/// Fraction of a slashed bond that goes to who reported it.
pub const REPORTER: u128 = 10;

/// Validators that must attest a refusal (9.3, row 47).
pub const WITNESSES: usize = 2;

/// Refusals after which a further one also costs bond.
pub const REFUSALS: u16 = 3;

record! {
    /// Network parameters of credits, sessions and hosts. Spans in epochs, money in nano-U, ratios in 1/10 000.
    pub struct CreditRules {
        /// Epochs in which a run's credits of one series are current.
        pub series_epochs: u32,
        /// Host fee of a stage for one credit before anything moved it.
        pub first_fee: u128,
        /// Epochs between two moves of a posted host fee.
        pub fee_epochs: u32,
        /// Bond of whoever posts a settlement, until it is final.
        pub settle_bond: u128,
        /// Bond of a host for each credit of an epoch's capacity.
        pub bond_per_cu: u128,
        /// Blocks that a home has before the client may ask for another one.
        pub failover_blocks: u64,
        /// Epochs in which a settled session may be disputed, and in which its verdict must come.
        pub dispute_epochs: u32,
        /// Bond of whoever disputes a session.
        pub dispute_bond: u128,
        /// Credits in a note of the public lane.
        pub public_note: u32,
        /// Epochs in which such a note lives.
        pub public_life: u32,
        /// Returned when the lottery is drawn.
        pub public_deposit: u128,
        /// Part of the host fee of a public note that the fund pays while it lasts.
        pub public_subsidy: u16,
        /// Epochs after which a host's refusals are forgotten.
        pub refusal_epochs: u32,
    }
}
impl Default for CreditRules {
    /// The defaults of a public network: epochs of ten minutes.
    fn default() -> Self {
        Self {
            series_epochs: 4320,
            first_fee: 1_000,
            fee_epochs: 6,
            settle_bond: 10_000,
            bond_per_cu: 10_000,
            failover_blocks: 30,
            dispute_epochs: 12,
            dispute_bond: 1_000_000,
            public_note: 16,
            public_life: 144,
            public_deposit: 1_000_000,
            public_subsidy: 5_000,
            refusal_epochs: 144,
        }
    }
}
impl CreditRules {
    /// Values small enough for a demonstration of a few minutes on one machine.
    pub fn demo() -> Self {
        Self {
            series_epochs: 500,
            first_fee: 10,
            failover_blocks: 5,
            public_life: 6,
            settle_bond: 1_000,
            bond_per_cu: 10,
            ..Self::default()
        }
    }
}
