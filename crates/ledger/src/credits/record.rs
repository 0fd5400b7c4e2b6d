//! Say what the cells of notes and sessions hold.

use crate::credits::action::FeeShare;
use tessera_canon::{Hash, List, PublicKey, record, tags};

tags! {
    /// Where a note stands; `Note::bound_to` names the offer, the order or the transaction.
    pub enum NoteState { 0 => Unspent, 1 => Offered, 2 => Locked, 3 => Spent }
}

tags! {
    /// Where a lock stands.
    pub enum LockState {
        /// Session may run.
        0 => Open,
        /// A settlement is posted and may still be raised.
        1 => Settling,
        /// Settled for good.
        2 => Final,
        /// Ran out unused.
        3 => Expired,
    }
}

record! {
    /// A credential: the right to `cu` chunks of inference of a run.
    pub struct Note {
        pub id: Hash,
        pub run: Hash,
        pub series: u16,
        pub cu: u64,
        /// [`Note::BOUND`] and others.
        pub flags: u8,
        /// [`crate::keys::owner_hash`].
        pub owner: Hash,
        pub state: NoteState,
        /// Offer (`Offered`), order (`Locked`), transaction or order (`Spent`); zero if `Unspent`.
        pub bound_to: Hash,
    }
}

impl Note {
    /// Flag: the note stays with its owner.
    pub const BOUND: u8 = 1;
    /// Flag: the note came through the public lane.
    pub const PUBLIC: u8 = 2;
}

record! {
    /// What every stage host must know of a lock, in one cell that one proof covers.
    pub struct Lock {
        pub order: Hash,
        pub run: Hash,
        pub series: u16,
        pub cu: u32,
        pub session_key: PublicKey,
        pub payword_root: Hash,
        pub home: PublicKey,
        pub attempt: u16,
        pub locked_at: u64,
        pub open_until: u64,
        pub notes: u16,
        pub state: LockState,
    }
}

record! {
    /// The money side of a lock.
    pub struct Escrow {
        pub order: Hash,
        pub payer: PublicKey,
        /// Owner hash of the change note.
        pub refund_to: Hash,
        /// Most nano-U per credit for the hosts.
        pub fee_per_cu: u128,
        /// Nano-U held.
        pub held: u128,
        /// Smallest note id of the order: with the beacon it fixes the home.
        pub first_note: Hash,
        /// Beacon of the block that locked.
        pub beacon: Hash,
    }
}

record! {
    /// Notes of a lock, six to a cell.
    pub struct LockedNotes { pub order: Hash, pub part: u16, pub notes: List<Hash, 6> }
}

record! {
    /// A posted settlement.
    pub struct Settlement {
        pub order: Hash,
        /// Chunks delivered.
        pub chunks: u32,
        pub payword: Hash,
        pub poster: PublicKey,
        pub height: u64,
        pub shares: u16,
    }
}

record! {
    /// Who is paid by a settlement, five to a cell.
    pub struct FeeShares { pub shares: List<FeeShare, 5> }
}
