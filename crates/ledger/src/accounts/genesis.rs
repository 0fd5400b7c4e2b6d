//! Begin a network: its name, validators, first balances and parameters, hashed to the network id.

use crate::{
    cell::{Cell, Key},
    credits::params::CreditRules,
    governance::terms::GovernanceTerms,
    keys,
    record::{
        Account, CommitteeParams, Endpoint, ExtractionParams, Globals, Issuance, MarketParams, Record,
        Validator,
    },
    runs::policy::{Bounds, Policy},
    trust::TrustParams,
};
use std::collections::BTreeMap;
use tessera_canon::{Blob, Domain, Hash, List, PublicKey, Text, digest, record};

const GENESIS: Domain = Domain::new("tessera/ledger/genesis/v1");

record! {
    /// Parameters of a network. Heights and spans in blocks, money in nano-U, ratios in 1/10 000.
    pub struct Params {
        /// Blocks in a ledger epoch; boundaries are the heights divisible by it.
        pub epoch_blocks: u64,
        /// Silence after which anyone may lapse a seat.
        pub lapse_blocks: u64,
        /// Span in which a settlement may be raised, and grace for a settlement after `open_until`.
        pub settle_delay: u64,
        /// Greatest span of a lock.
        pub lock_blocks: u64,
        pub fee_flat: u128,
        pub fee_per_byte: u128,
        /// Fees go to the public fund instead of being burned.
        pub fee_to_fund: bool,
        /// Least designers' work, part of F*.
        pub min_designer: u16,
        /// Most exclusive work and windows, part of F* and of all windows (at least one window).
        pub max_exclusive: u16,
        /// Least bond of a run.
        pub run_bond: u128,
    }
}
impl Default for Params {
    /// The defaults of a public network with one block a second.
    fn default() -> Self {
        Self {
            epoch_blocks: 600,
            lapse_blocks: 600,
            settle_delay: 1200,
            lock_blocks: 3600,
            fee_flat: 1_000,
            fee_per_byte: 10,
            fee_to_fund: false,
            min_designer: 100,
            max_exclusive: 500,
            run_bond: 1_000_000,
        }
    }
}
impl Params {
    /// Values small enough for a demonstration of a few minutes on one machine.
    pub fn demo() -> Self {
        Self {
            epoch_blocks: 10,
            lapse_blocks: 30,
            settle_delay: 5,
            lock_blocks: 2000,
            max_exclusive: 5000,
            ..Self::default()
        }
    }
}
record! {
    /// What secures the network is paid and holds: bonds of validators, and the schedule of issuance (5.4).
    pub struct SecurityTerms {
        /// Least bond of a validator, nano-U.
        pub min_bond: u128,
        /// Blocks between leaving and the return of the bond.
        pub unbond_blocks: u64,
        /// Nano-U that the decaying part of the schedule allows in the first epoch.
        pub first: u64,
        /// What is left of it after each epoch, Q32.
        pub keep: u32,
        /// What the schedule allows at least in a year, in 1/10 000 of everything it has allowed.
        pub tail: u16,
        pub year_epochs: u64,
    }
}
impl Default for SecurityTerms {
    /// Half of the decaying part remains after two years of 52 560 epochs; 1 % a year is the tail.
    fn default() -> Self {
        Self {
            min_bond: 10_000_000_000_000,
            unbond_blocks: 21 * 86_400,
            first: 1_000_000_000_000,
            keep: 4_294_938_976,
            tail: 100,
            year_epochs: 52_560,
        }
    }
}
impl SecurityTerms {
    /// Nothing is issued: a test network has a faucet instead.
    pub fn demo() -> Self {
        Self { min_bond: 1_000_000, unbond_blocks: 210, first: 0, keep: 0, tail: 0, year_epochs: 1000 }
    }
}
record! {
    /// All parameters of a network, one part for each room of the ledger.
    pub struct Parameters {
        pub base: Params,
        /// What a run begins with unless it says otherwise.
        pub policy: Policy,
        /// Bounds of every policy.
        pub bounds: Bounds,
        pub security: SecurityTerms,
        /// Evaluation committees.
        pub committee: CommitteeParams,
        // Trust.
        pub trust: TrustParams,
        // Credits.
        pub credits: CreditRules,
        // Market.
        pub market: MarketParams,
        // Governance.
        pub governance: GovernanceTerms,
        // Extraction.
        pub extraction: ExtractionParams,
    }
}
impl Default for Parameters {
    /// The defaults of a public network with one block a second.
    fn default() -> Self {
        Self {
            base: Params::default(),
            policy: Policy::default(),
            bounds: Bounds::default(),
            security: SecurityTerms::default(),
            committee: CommitteeParams::default(),
            // Trust.
            trust: TrustParams::default(),
            // Credits.
            credits: CreditRules::default(),
            // Market.
            market: MarketParams::default(),
            // Governance.
            governance: GovernanceTerms::default(),
            // Extraction.
            extraction: ExtractionParams::default(),
        }
    }
}
impl From<Params> for Parameters {
    /// The demonstration's parameters with another base.
    fn from(base: Params) -> Self {
        Self { base, ..Self::demo() }
    }
}
impl Parameters {
    /// Values small enough for a demonstration of a few minutes on one machine.
    pub fn demo() -> Self {
        Self {
            base: Params::demo(),
            policy: Policy {
                pending_windows: 1,
                transfer_lock: 8,
                // Trainers of a demonstration come with little money and no past.
                theta: 0,
                work_price: 0,
                ..Policy::default()
            },
            bounds: Bounds { pending_windows_from: 1, deterrence: false, ..Bounds::default() },
            security: SecurityTerms::demo(),
            committee: CommitteeParams { commit_blocks: 4, reveal_blocks: 4, ..CommitteeParams::default() },
            // Trust.
            trust: TrustParams::demo(),
            // Credits.
            credits: CreditRules::demo(),
            // Market.
            market: MarketParams::demo(),
            // Governance.
            governance: GovernanceTerms::demo(),
            // Extraction.
            extraction: ExtractionParams { measurement_epochs: 100, ..ExtractionParams::default() },
        }
    }
    /// The cells that keep them.
    fn cells(&self) -> Vec<(Key, Cell)> {
        vec![
            (keys::params(), Cell::pack(&self.base.clone().into())),
            (
                keys::defaults(),
                Cell::pack(
                    &NetworkPolicy { policy: self.policy.clone(), bounds: self.bounds.clone() }.into(),
                ),
            ),
            (keys::security(), Cell::pack(&self.security.clone().into())),
            (keys::committee_params(), Cell::pack(&self.committee.clone().into())),
            // Trust.
            (keys::trust_params(), Cell::pack(&self.trust.clone().into())),
            // Credits.
            (keys::rules(), Cell::pack(&self.credits.clone().into())),
            // Market.
            (keys::market_params(), Cell::pack(&self.market.clone().into())),
            // Governance.
            (keys::governance(), Cell::pack(&self.governance.clone().into())),
            // Extraction.
            (keys::extraction_params(), Cell::pack(&self.extraction.clone().into())),
        ]
    }
}
record! {
    /// The default policy of runs, and its bounds.
    pub struct NetworkPolicy { pub policy: Policy, pub bounds: Bounds }
}
record! {
    /// A validator of the first set.
    pub struct GenesisValidator { pub key: PublicKey, pub endpoint: Endpoint }
}
record! {
    /// A balance at the beginning, nano-U.
    pub struct GenesisAccount { pub key: PublicKey, pub balance: u128 }
}
record! {
    /// The beginning of a network.
    pub struct Genesis {
        pub name: Text<32>,
        pub time_ms: u64,
        pub validators: List<GenesisValidator, 128>,
        pub accounts: List<GenesisAccount, 4096>,
        pub params: Parameters,
        /// What the consensus layer must agree on from the start (for example its group key); opaque here.
        pub consensus: Blob<65536>,
    }
}

impl Genesis {
    /// The id that every transaction, order and report carries.
    pub fn network_id(&self) -> Hash {
        digest(GENESIS, self)
    }
    /// The initial state. An account listed twice has the sum (at most `u128::MAX`).
    pub fn cells(&self) -> Vec<(Key, Cell)> {
        let mut balances = BTreeMap::<PublicKey, u128>::new();
        let mut issued = 0u128;
        for account in self.accounts.iter() {
            // Bounded, so that no later sum of balances can overflow.
            let add = account.balance.min(u128::MAX - issued);
            issued += add;
            *balances.entry(account.key).or_default() += add;
        }
        let mut cells = vec![(keys::globals(), Cell::pack(&Globals { issued, burned: 0, fund: 0 }.into()))];
        cells.extend(self.params.cells());
        let schedule = Issuance { scheduled: issued, rate: self.params.security.first.into(), part: 10_000 };
        cells.push((keys::issuance(), Cell::pack(&schedule.into())));
        for (key, balance) in balances {
            cells.push((keys::account(&key), Cell::pack(&Account { balance, ..Account::new(key) }.into())));
        }
        for (index, validator) in (0u32..).zip(self.validators.iter()) {
            let record: Record =
                Validator { index, key: validator.key, endpoint: validator.endpoint.clone() }.into();
            cells.push((keys::validator(index), Cell::pack(&record)));
        }
        cells
    }
}
