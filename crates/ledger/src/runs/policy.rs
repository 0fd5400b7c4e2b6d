//! Hold what a run's owners may change by vote: each parameter with its bounds and the class of its vote.
//!
//! A run begins with the network's default policy or with one of its own; [`Policy::check`] holds it within the
//! network's [`Bounds`] in both cases and after every change (ownership specification 6.1, 10.4).

use crate::{
    error::TxError,
    keys,
    record::{AuditStats, ChunkPrice},
    store::{Stop, View},
    trust,
};
use tessera_canon::{Hash, record, tags};

tags! {
    /// How the credit supply of a run is set.
    pub enum SupplyMode {
        /// It follows bonded, audited capacity.
        0 => Capacity,
        /// It stays what the run declared.
        1 => Constant,
    }
}
record! {
    /// What the owners of a run may change. Ratios in 1/10 000, money in nano-U, spans in windows or epochs.
    pub struct Policy {
        /// Tokens per credit; frozen for each series.
        pub price: ChunkPrice,
        /// Least price of a credit in the auction.
        pub reserve: u128,
        /// Part of a note that rolling it over costs.
        pub roll_haircut: u16,
        /// Most that a host may ask for a credit's work in one stage (`H_max`).
        pub host_fee_cap: u128,
        pub supply_mode: SupplyMode,
        /// Windows (after training: epochs) between the close of a window and the maturity of its claims (`A`).
        pub pending_windows: u32,
        /// Part of the claims that audits find if they are fake (`q`).
        pub audit_rate: u16,
        /// Bond of a trainer, in median claims (`B`).
        pub bond_claims: u16,
        /// Part of the allotted credits that goes to the public lane (`rho`).
        pub public_part: u16,
        /// Admission work as a part of an average seat's (`theta`).
        pub theta: u16,
        /// Nano-U that a work unit is worth, to price bonds; 0: no bonds.
        pub work_price: u128,
        /// Part of the admission work that may have been done in other runs.
        pub foreign_work: u16,
        /// Least `kappa` of the extraction report, 1/10 000; below it theta rises by itself. 0: never.
        pub kappa_floor: u16,
        /// Credits that an unused lock costs.
        pub lock_fee: u16,
        /// Epochs of capacity that the supply covers (`V`).
        pub supply_horizon: u32,
        /// Epochs until three quarters of matured shares have become transferable, little by little.
        pub transfer_lock: u32,
    }
}
impl Default for Policy {
    fn default() -> Self {
        Self {
            price: ChunkPrice { prompt_tokens: 512, generated_tokens: 64 },
            reserve: 0,
            roll_haircut: 1000,
            host_fee_cap: 1_000_000_000,
            supply_mode: SupplyMode::Constant,
            pending_windows: 200,
            audit_rate: 200,
            bond_claims: 5,
            public_part: 500,
            theta: 5000,
            work_price: 1,
            foreign_work: 10_000,
            kappa_floor: 0,
            lock_fee: 1,
            supply_horizon: 1008,
            transfer_lock: 8064,
        }
    }
}
record! {
    /// Bounds that no vote can leave and that differ between networks.
    pub struct Bounds {
        /// Least and most `pending_windows`.
        pub pending_windows_from: u32,
        pub pending_windows_to: u32,
        /// Least `public_part`: the constitutional floor, 2 % on every network that is more than a test.
        pub public_part_from: u16,
        /// Whether the deterrence inequality of 4.6 must hold.
        pub deterrence: bool,
    }
}
impl Default for Bounds {
    fn default() -> Self {
        Self { pending_windows_from: 50, pending_windows_to: 1000, public_part_from: 200, deterrence: true }
    }
}
record! {
    /// The policy of a run in force.
    pub struct RunPolicy { pub run: Hash, pub policy: Policy }
}

fn within(what: &'static str, got: u128, least: u128, most: u128) -> Result<(), TxError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(TxError::Parameter { what, expected: format!("{least} to {most}"), got: got.to_string() })
}

impl Policy {
    /// Whether every value is within its bounds (10.4) and faking does not pay (4.6, with `v` = 1).
    pub fn check(&self, bounds: &Bounds) -> Result<(), TxError> {
        within("prompt tokens per credit", self.price.prompt_tokens.into(), 1, 1 << 20)?;
        within("generated tokens per credit", self.price.generated_tokens.into(), 1, 1 << 20)?;
        within("the roll-over haircut", self.roll_haircut.into(), 500, 2500)?;
        let (least, most) = (bounds.pending_windows_from, bounds.pending_windows_to);
        within("pending windows", self.pending_windows.into(), least.into(), most.into())?;
        within("the audit rate", self.audit_rate.into(), 50, 10_000)?;
        within("the bond in claims", self.bond_claims.into(), 0, 50)?;
        within("the public part", self.public_part.into(), bounds.public_part_from.into(), 2000)?;
        within("theta", self.theta.into(), 0, 10_000)?;
        within("the price of a work unit", self.work_price, 0, 1 << 64)?;
        within("the part of admission work from other runs", self.foreign_work.into(), 0, 10_000)?;
        within("the floor of kappa", self.kappa_floor.into(), 0, 10_000)?;
        within("the lock fee", self.lock_fee.into(), 1, 4)?;
        within("the supply horizon", self.supply_horizon.into(), 144, 4320)?;
        within("the transfer lock", self.transfer_lock.into(), 0, 1 << 24)?;
        if bounds.deterrence { self.deters(None) } else { Ok(()) }
    }
}

impl Policy {
    /// Whether faking work does not pay (4.6, with `v` = 1) at the audit rate that counts, given what the run's
    /// audits found so far.
    pub fn deters(&self, stats: Option<&AuditStats>) -> Result<(), TxError> {
        let one = trust::deterrence::ONE;
        let audit_rate = trust::panel::measured_rate(self.audit_rate, stats);
        let bond = u64::from(self.bond_claims) * u64::from(one);
        if trust::deterrence(one, audit_rate.into(), self.pending_windows, bond) {
            return Ok(());
        }
        Err(TxError::Deterrence { audit_rate, windows: self.pending_windows, bond: self.bond_claims })
    }
}

/// The policy of `run`.
pub(crate) fn of(view: &View<'_>, run: &Hash) -> Result<Policy, Stop> {
    let record: RunPolicy = view.must(&keys::run_policy(run), "run", run)?;
    Ok(record.policy)
}
