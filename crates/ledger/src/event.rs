//! Tell what happened, typed and hashed, so that "why was I not paid" has an answer that can be proved.

use tessera_canon::{Domain, Hash, MerkleTree, PublicKey, Text, choice, digest, merkle_root, record};

const EVENT: Domain = Domain::new("tessera/ledger/event/v1");

record! {
    /// A transaction was included but refused.
    pub struct TxRefused { pub tx: Hash, pub sender: PublicKey, pub reason: Text<256> }
}
record! {
    /// A fee left the sender.
    pub struct FeePaid { pub payer: PublicKey, pub amount: u128 }
}
record! {
    /// U moved between accounts.
    pub struct Transferred { pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
record! {
    pub struct RunCreated { pub run: Hash, pub creator: PublicKey }
}
record! {
    /// A run changed its state; `state` is [`crate::record::RunState`]'s code.
    pub struct RunStateChanged { pub run: Hash, pub state: crate::record::RunState }
}
record! {
    /// A seat was taken, left or refused.
    pub struct SeatChanged {
        pub run: Hash,
        pub account: PublicKey,
        pub stage: Option<u16>,
        pub seat: Option<u16>,
        pub state: crate::record::MemberState,
    }
}
record! {
    pub struct EndpointChanged { pub run: Hash, pub account: PublicKey, pub endpoint: crate::record::Endpoint }
}
record! {
    /// A stage reported a window.
    pub struct StageReported {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub wu: u64,
        pub weight: u32,
        pub state_root: Hash,
        pub loss: Option<u32>,
    }
}
record! {
    /// Every stage reported a window; `next_weight` holds for the next one.
    pub struct WindowClosed { pub run: Hash, pub window: u32, pub wu: u64, pub loss: u32, pub next_weight: u32 }
}
record! {
    pub struct RunAborted { pub run: Hash, pub f_designer: u64, pub f_min: u64, pub bond: u128 }
}
record! {
    pub struct BondReturned { pub run: Hash, pub to: PublicKey, pub amount: u128 }
}
record! {
    /// A claim matured: its shares count.
    pub struct Activated { pub run: Hash, pub window: u32, pub stage: u16, pub account: PublicKey, pub shares: u128 }
}
record! {
    pub struct ClaimVoided { pub run: Hash, pub window: u32, pub stage: u16, pub account: PublicKey, pub shares: u128 }
}
record! {
    /// Credits were minted into the pool.
    pub struct SupplyChanged { pub run: Hash, pub minted: u64, pub total: u64 }
}
record! {
    /// The pool was allotted to the owners.
    pub struct CreditsDistributed { pub run: Hash, pub cu: u64, pub shares: u128 }
}
record! {
    pub struct CreditsClaimed { pub run: Hash, pub account: PublicKey, pub cu: u64, pub note: Hash }
}
record! {
    pub struct SharesMoved { pub run: Hash, pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
record! {
    pub struct NoteCreated { pub note: Hash, pub run: Hash, pub cu: u64, pub owner: Hash }
}
record! {
    pub struct NoteSpent { pub note: Hash, pub by: Hash }
}
record! {
    pub struct OfferPosted { pub offer: Hash, pub run: Hash, pub cu: u64, pub price: u128 }
}
record! {
    pub struct OfferCancelled { pub offer: Hash, pub cu: u64 }
}
record! {
    pub struct Sold { pub offer: Hash, pub run: Hash, pub buyer: PublicKey, pub seller: PublicKey, pub cu: u64, pub price: u128 }
}
record! {
    pub struct Locked { pub order: Hash, pub run: Hash, pub cu: u32, pub home: PublicKey }
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
    pub struct HostPaid { pub order: Hash, pub host: PublicKey, pub amount: u128 }
}
record! {
    pub struct Expired { pub order: Hash, pub run: Hash, pub lock_fee: u64 }
}

choice! {
    /// Everything that can happen.
    pub enum Event {
        1 => TxRefused(TxRefused),
        2 => FeePaid(FeePaid),
        3 => Transferred(Transferred),
        10 => RunCreated(RunCreated),
        11 => RunStateChanged(RunStateChanged),
        12 => SeatChanged(SeatChanged),
        13 => EndpointChanged(EndpointChanged),
        14 => StageReported(StageReported),
        15 => WindowClosed(WindowClosed),
        16 => RunAborted(RunAborted),
        17 => BondReturned(BondReturned),
        18 => Activated(Activated),
        19 => ClaimVoided(ClaimVoided),
        20 => SupplyChanged(SupplyChanged),
        21 => CreditsDistributed(CreditsDistributed),
        22 => CreditsClaimed(CreditsClaimed),
        23 => SharesMoved(SharesMoved),
        30 => NoteCreated(NoteCreated),
        31 => NoteSpent(NoteSpent),
        40 => OfferPosted(OfferPosted),
        41 => OfferCancelled(OfferCancelled),
        42 => Sold(Sold),
        50 => Locked(Locked),
        51 => Settling(Settling),
        52 => Settled(Settled),
        53 => HostPaid(HostPaid),
        54 => Expired(Expired),
    }
}

/// The hash of an event, the leaf of [`root`].
pub fn leaf(event: &Event) -> Hash {
    digest(EVENT, event)
}
/// The Merkle root over a block's events in order.
pub fn root(events: &[Event]) -> Hash {
    merkle_root(events.iter().map(leaf).collect())
}
/// The tree over a block's events, to prove that one of them happened.
pub fn tree(events: &[Event]) -> MerkleTree {
    MerkleTree::new(events.iter().map(leaf).collect())
}
