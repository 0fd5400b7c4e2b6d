//! Say what the cells of notes and sessions hold.

use crate::credits::{action::ChunkPrice, params::MAX_ATTEMPTS};
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
        /// Waits for the next block, which draws the home.
        4 => Locking,
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
        /// Epoch at whose boundary it ends; 0: it lives as long as its series.
        pub until: u64,
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
        /// The home of this attempt; zero while the first one is being drawn.
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
        /// Beacon of the last draw of a home; zero before the first.
        pub beacon: Hash,
        /// Part of `held` that came from the public fund.
        pub subsidy: u128,
        /// Flags of the notes, and the end of the life of the first of them to end; the change note keeps both.
        pub flags: u8,
        pub until: u64,
    }
}

record! {
    /// Notes of a lock, six to a cell.
    pub struct LockedNotes { pub order: Hash, pub part: u16, pub notes: List<Hash, 6> }
}

record! {
    /// A home of a session: of chunks past `start`, drawn at height `at`. Whether a refusal of it was reported, and
    /// whether its bond was lost for two statements of which one may exist.
    pub struct Attempt { pub home: PublicKey, pub start: u32, pub at: u64, pub reported: bool, pub slashed: bool }
}

record! {
    /// The homes of a session, one after the other.
    pub struct Attempts { pub order: Hash, pub homes: List<Attempt, MAX_ATTEMPTS> }
}

record! {
    /// That the hosts of `attempt` are in [`LegHosts`] cells; `proved` by the home's own word.
    pub struct LegHead { pub attempt: u16, pub proved: bool }
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
        /// The poster's bond, nano-U, until the settlement is final.
        pub bond: u128,
        pub legs: List<LegHead, MAX_ATTEMPTS>,
        /// Nano-U that the hosts were paid, once it is final, and the epoch of that.
        pub fees: u128,
        pub epoch: u64,
    }
}

record! {
    /// Hosts of one attempt of a settlement, six to a cell, from stage 0 on.
    pub struct LegHosts { pub order: Hash, pub attempt: u16, pub part: u16, pub hosts: List<PublicKey, 6> }
}

record! {
    /// Credits of one series: their price and where they are. See [`crate::credits::series`].
    pub struct Series {
        pub run: Hash,
        pub series: u16,
        pub price: ChunkPrice,
        /// Credits in unspent notes (0 once the series has ended), in the market's hands, in locks.
        pub notes: u64,
        pub auctioned: u64,
        pub locked: u64,
        /// Epoch in which it began.
        pub began: u64,
    }
}

record! {
    /// Sums and clocks of a run's credits.
    pub struct Lane {
        pub run: Hash,
        /// Epochs of service that the current series has had.
        pub series_age: u32,
        /// Nano-U that the hosts have paid in against failures.
        pub insurance: u128,
        /// Chunks settled, and epochs, since the posted host fees last moved.
        pub used: u64,
        pub fee_age: u32,
        /// Credits set aside for the public lane.
        pub public_pot: u64,
        /// Part of a credit of the last cut, in 1/10 000.
        pub public_carry: u32,
        /// Credits ever cut for the public lane, and ever allotted (with the cut).
        pub public_cut: u64,
        pub allotted: u64,
    }
}

impl Lane {
    /// A run of which nothing has happened.
    pub(crate) fn new(run: Hash) -> Self {
        Self {
            run,
            series_age: 0,
            insurance: 0,
            used: 0,
            fee_age: 0,
            public_pot: 0,
            public_carry: 0,
            public_cut: 0,
            allotted: 0,
        }
    }
}

record! {
    /// What an account has at stake as a host of a run.
    pub struct Host {
        pub run: Hash,
        pub account: PublicKey,
        pub stage: u16,
        /// Nano-U.
        pub bond: u128,
        /// Credits per epoch that the bond covers; counted in [`Capacity`].
        pub cu: u64,
        /// Epoch at which the bond comes free, if the host is leaving.
        pub leaves: Option<u64>,
        /// Nano-U that it has paid into the insurance and that were not used for it.
        pub insured: u128,
        /// Refusals attested of late, and the epoch of the last one.
        pub refusals: u16,
        pub refused: u64,
    }
}

record! {
    /// Bonded credits per epoch of a stage.
    pub struct Capacity { pub run: Hash, pub stage: u16, pub cu: u64 }
}

record! {
    /// What the host of a stage earns for a credit, nano-U.
    pub struct StagePrice {
        pub run: Hash,
        pub stage: u16,
        pub price: u128,
        /// Whether an auction of hosts set it; if not, it follows use.
        pub auctioned: bool,
    }
}

record! {
    /// An owner hash that wants a note of the public lane at the next lottery, and the account that deposited for it.
    pub struct Application { pub run: Hash, pub owner: Hash, pub payer: PublicKey, pub deposit: u128 }
}

tags! {
    /// Where a session's dispute stands.
    pub enum SessionVerdict { 0 => Open, 1 => Guilty, 2 => Innocent, 3 => Lapsed }
}

record! {
    /// A payer's doubt that a chunk was computed rightly in one stage.
    pub struct SessionDispute {
        pub order: Hash,
        pub run: Hash,
        pub chunk: u32,
        pub stage: u16,
        pub accused: PublicKey,
        pub payer: PublicKey,
        /// Commitment to the activations that went in and out, for the audit.
        pub commitment: Hash,
        pub bond: u128,
        pub lapses: u64,
        pub verdict: SessionVerdict,
    }
}
