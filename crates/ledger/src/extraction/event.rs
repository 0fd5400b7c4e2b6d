//! Tell what happened about admission and the extraction report.

use tessera_canon::{Hash, PublicKey, record};

record! {
    pub struct OperatorDeclared { pub run: Hash, pub account: PublicKey, pub operator: PublicKey }
}

record! {
    pub struct MeasurementPosted { pub run: Hash, pub id: Hash, pub poster: PublicKey, pub mu: u16, pub repair: u32, pub evidence: Hash }
}

record! {
    /// A measurement no longer counts. Its bond went back, or to the public fund if owners struck it out.
    pub struct MeasurementEnded { pub run: Hash, pub id: Hash, pub poster: PublicKey, pub struck: bool, pub bond: u128 }
}

record! {
    /// Kappa was below the floor that owners set: admission work rose by itself.
    pub struct ThetaRaised { pub run: Hash, pub kappa: u32, pub theta: u16 }
}
