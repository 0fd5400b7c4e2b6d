//! Tell what happened to notes and sessions.

use crate::{action::ChunkPrice, credits::record::SessionVerdict};
use tessera_canon::{Hash, PublicKey, record};

record! {
    /// Credits were minted into the pool, or retired from it.
    pub struct SupplyChanged { pub run: Hash, pub minted: u64, pub retired: u64, pub total: u64 }
}

record! {
    pub struct NoteCreated { pub note: Hash, pub run: Hash, pub cu: u64, pub owner: Hash }
}

record! {
    pub struct NoteSpent { pub note: Hash, pub by: Hash }
}

record! {
    /// Notes were locked; the next block draws the home. `held` nano-U are held for the hosts, `subsidy` of them from the
    /// public fund, the others from `payer`.
    pub struct Locked {
        pub order: Hash,
        pub run: Hash,
        pub cu: u32,
        pub payer: PublicKey,
        pub held: u128,
        pub subsidy: u128,
    }
}

record! {
    /// The home of an attempt was drawn.
    pub struct HomeDrawn { pub order: Hash, pub attempt: u16, pub home: PublicKey }
}

record! {
    /// No seat of stage 0 was held at the draw: the notes came back whole.
    pub struct NoHomeDrawn { pub order: Hash }
}

record! {
    /// A settlement was posted or raised.
    pub struct Settling { pub order: Hash, pub chunks: u32, pub by: PublicKey }
}

record! {
    /// A session is settled for good: the chunks went to the pool.
    pub struct Settled { pub order: Hash, pub run: Hash, pub chunks: u32, pub fees: u128 }
}

record! {
    /// What the hosts of an order did not get went back: `amount` to its payer, `fund` to the public fund.
    pub struct EscrowReleased { pub order: Hash, pub payer: PublicKey, pub amount: u128, pub fund: u128 }
}

record! {
    pub struct HostPaid { pub order: Hash, pub host: PublicKey, pub amount: u128 }
}

record! {
    pub struct Expired { pub order: Hash, pub run: Hash, pub lock_fee: u64 }
}

record! {
    /// A settlement's poster was wrong: its bond went to the fund.
    pub struct PosterSlashed { pub order: Hash, pub poster: PublicKey, pub bond: u128 }
}

record! {
    /// A series began; the free credits of the one two before it went to the pool.
    pub struct SeriesChanged { pub run: Hash, pub series: u16, pub price: ChunkPrice, pub expired: u64 }
}

record! {
    pub struct NoteRolled { pub note: Hash, pub run: Hash, pub cu: u64, pub haircut: u64 }
}

record! {
    /// A host's bond and the credits per epoch that it covers.
    pub struct HostBonded { pub run: Hash, pub host: PublicKey, pub bond: u128, pub cu: u64 }
}

record! {
    /// A host left and has its bond back, with what it had paid into the insurance.
    pub struct HostLeft { pub run: Hash, pub host: PublicKey, pub bond: u128 }
}

record! {
    /// Part of a host's bond is lost.
    pub struct HostSlashed { pub run: Hash, pub host: PublicKey, pub amount: u128, pub order: Hash }
}

record! {
    /// A stage's posted host fee moved.
    pub struct FeeMoved { pub run: Hash, pub stage: u16, pub price: u128 }
}

record! {
    /// The lottery of the public lane was drawn.
    pub struct PublicDraw { pub run: Hash, pub epoch: u64, pub applied: u32, pub notes: u32 }
}

record! {
    /// A home refused a session.
    pub struct RefusalReported { pub order: Hash, pub host: PublicKey, pub refusals: u16 }
}

record! {
    /// A note's owner signed two orders over it; the fee went to the pool.
    pub struct ClientEquivocated { pub note: Hash, pub fee: u64 }
}

record! {
    /// Credits went to the run's pool from `source` (a note or an order) other than by use: the forfeit of a sealed
    /// order, the fee of two orders over one note, or what came back after the end of its series or life.
    pub struct Absorbed { pub run: Hash, pub source: Hash, pub cu: u64 }
}

record! {
    /// A session is disputed, or its dispute is over.
    pub struct SessionDisputed { pub order: Hash, pub accused: PublicKey, pub verdict: SessionVerdict }
}
