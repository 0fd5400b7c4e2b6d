//! Say what the cells of admission and the extraction report hold.

use tessera_canon::{Hash, PublicKey, record};

record! {
    /// Verified work of an account over all runs: floating-point operations of matured claims.
    pub struct VerifiedWork { pub account: PublicKey, pub flops: u128 }
}

record! {
    /// The declared operator of an account in a run.
    pub struct Affiliation { pub run: Hash, pub account: PublicKey, pub operator: PublicKey }
}

record! {
    /// Stages that an operator's declared identities ever held in a run.
    pub struct Coverage {
        pub run: Hash,
        pub operator: PublicKey,
        /// Bit s: stage s was held.
        pub stages: u128,
        /// Declared identities.
        pub identities: u32,
    }
}

record! {
    /// Who was ever seated in a run, and which operator covers most of it.
    pub struct Concentration {
        pub run: Hash,
        pub identities: u32,
        pub operator: Option<PublicKey>,
        /// Stages that `operator` covers, gaps of one closed.
        pub coverage: u16,
    }
}

record! {
    /// What a red team measured and stands for with a bond.
    pub struct Measurement {
        pub run: Hash,
        /// [`crate::keys::measurement_id`].
        pub id: Hash,
        pub poster: PublicKey,
        /// 1/10 000.
        pub mu: u16,
        /// Millionths of the run's compute.
        pub repair: u32,
        pub evidence: Hash,
        /// Epoch in which it was posted.
        pub epoch: u64,
        pub bond: u128,
    }
}

record! {
    /// What it would take to gather a run's weights, at the start of an epoch. Every figure is measured by the
    /// ledger itself unless its name says otherwise.
    pub struct ExtractionReport {
        pub run: Hash,
        pub epoch: u64,
        /// `S`.
        pub stages: u16,
        /// Of them open: anybody may hold them, so they count as covered.
        pub open: u16,
        /// `R`: most seats of a stage.
        pub seats: u16,
        /// Seats held now, over all stages; each stage's are in [`crate::record::Stage`].
        pub held: u32,
        /// Identities ever seated, over all stages.
        pub identities: u32,
        /// `F`: work units so far, with those that a forked run's parent did (in this run's units).
        pub f_done: u64,
        /// Admission work as a part of an average seat's, 1/10 000.
        pub theta: u16,
        /// Part of it that may come from other runs, 1/10 000.
        pub foreign_work: u16,
        /// `mu` that `kappa` assumes: the largest measured, else the network's assumption; 1/10 000.
        pub mu: u16,
        /// Part of the run's compute that a coalition must contribute first, in millionths.
        pub kappa: u32,
        /// The declared operator that covers most, and the stages it ever covered, gaps of one closed.
        pub largest: Option<PublicKey>,
        pub coverage: u16,
        /// Largest `mu` measured and accepted; `None`: not measured.
        pub measured_mu: Option<u16>,
        /// Least repair cost measured and accepted, millionths of the run's compute; `None`: not measured.
        pub repair: Option<u32>,
        /// Kappa is below the owners' floor.
        pub warn: bool,
    }
}

record! {
    /// How a network makes extraction reports.
    pub struct ExtractionParams {
        /// Part of the stages assumed to be dispensable until it is measured, 1/10 000.
        pub assumed_mu: u16,
        /// Epochs for which a measurement counts.
        pub measurement_epochs: u64,
        /// Bond of a measurement, nano-U.
        pub measurement_bond: u128,
    }
}
impl Default for ExtractionParams {
    /// A quarter; 180 days of 600 s.
    fn default() -> Self {
        Self { assumed_mu: 2500, measurement_epochs: 25_920, measurement_bond: 1_000_000_000 }
    }
}
