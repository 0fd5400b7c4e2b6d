//! Say what a cell can hold. Every record names the ids it belongs to, so that a scan can check the whole state.

use ruint::aliases::U256;
use tessera_canon::{
    Describe, Described, Hash, List, PublicKey, Text,
    bytes::BufMut,
    choice,
    codec::{Buf, Error, FixedSize, Read, Write},
    record,
};

pub use crate::action::{ChunkPrice, FeeShare, RiskRule};
pub use crate::genesis::Params;

/// A network address as text, `ip:port`.
pub type Endpoint = Text<64>;

/// A 256-bit unsigned integer, big-endian in the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wide(pub U256);
impl Write for Wide {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.to_be_bytes::<32>().write(buf);
    }
}
impl FixedSize for Wide {
    const SIZE: usize = 32;
}
impl Read for Wide {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(U256::from_be_bytes(<[u8; 32]>::read_cfg(buf, &())?)))
    }
}
impl Describe for Wide {
    fn describe(&self) -> Described {
        Described::Text(self.0.to_string())
    }
}

/// Declare an enum without data and its one-byte codec.
macro_rules! tags {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }
        impl Write for $name {
            fn write(&self, buf: &mut impl BufMut) {
                let tag: u8 = match self { $(Self::$variant => $tag),* };
                tag.write(buf);
            }
        }
        impl FixedSize for $name {
            const SIZE: usize = 1;
        }
        impl Read for $name {
            type Cfg = ();
            fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
                match u8::read_cfg(buf, &())? {
                    $($tag => Ok(Self::$variant),)*
                    other => Err(Error::InvalidEnum(other)),
                }
            }
        }
        impl Describe for $name {
            fn describe(&self) -> Described {
                Described::Text(match self { $(Self::$variant => stringify!($variant)),* }.into())
            }
        }
    };
}

tags! {
    /// Life of a run.
    pub enum RunState {
        /// Only designers may work.
        0 => Exclusive,
        /// Anyone may work.
        1 => Open,
        /// Training is finished; credits are minted and spent.
        2 => Serving,
        /// The designers did too little: pending shares are void, the bond went to the fund.
        3 => Aborted,
    }
}
tags! {
    /// Whether a seat is held.
    pub enum SeatState { 0 => Active, 1 => Lapsed }
}
tags! {
    /// Where an account stands in a run.
    pub enum MemberState {
        /// Waits for the next draw.
        0 => Waiting,
        /// Holds a seat.
        1 => Seated,
        /// Lost its seat by silence; keeps its stage.
        2 => Lapsed,
        /// The draw found no free place; may join again.
        3 => Refused,
    }
}
tags! {
    /// Where a claim to shares stands.
    pub enum ClaimState { 0 => Pending, 1 => Active, 2 => Void }
}
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
    /// Money that is on no account. `issued` = sum of balances, escrows and bonds + `fund` + `burned`.
    pub struct Globals { pub issued: u128, pub burned: u128, pub fund: u128 }
}
record! {
    /// An account. Balance in nano-U.
    pub struct Account { pub key: PublicKey, pub balance: u128, pub nonce: u64 }
}
record! {
    /// A validator of the genesis set.
    pub struct Validator { pub index: u32, pub key: PublicKey, pub endpoint: Endpoint }
}
record! {
    /// What a run promised at its creation; never changes. The full run spec is known by its hash, the run id.
    pub struct RunTerms {
        pub run: Hash,
        pub creator: PublicKey,
        pub stages: u16,
        /// Most seats in a stage.
        pub seats: u16,
        /// Microbatches in one step.
        pub microbatches: u32,
        pub steps: u32,
        pub window_steps: u32,
        /// Declared total work, in work units over all stages.
        pub f_star: u64,
        /// Least verified work of the designers.
        pub f_min: u64,
        /// Designers' work that ends exclusivity.
        pub f_exclusive: u64,
        /// Windows that end exclusivity.
        pub exclusive_windows: u32,
        /// Height past which exclusivity ends at the next epoch boundary.
        pub exclusive_until: u64,
        pub rule: RiskRule,
        /// Loss before training, micro-nats.
        pub loss_0: u32,
        pub bond: u128,
        pub price: ChunkPrice,
        /// Credits minted over `supply_epochs` epochs of serving.
        pub supply: u64,
        pub supply_epochs: u32,
        pub designers: u16,
        pub created: u64,
    }
}
impl RunTerms {
    /// Number of windows.
    pub fn windows(&self) -> u32 {
        self.steps.div_ceil(self.window_steps.max(1))
    }
    /// Microbatches that a complete report of `window` accounts for in each stage.
    pub fn window_microbatches(&self, window: u32) -> u64 {
        let start = u64::from(window) * u64::from(self.window_steps);
        let end = (start + u64::from(self.window_steps)).min(u64::from(self.steps));
        end.saturating_sub(start) * u64::from(self.microbatches)
    }
}
record! {
    /// Progress of a run.
    pub struct Run {
        pub run: Hash,
        pub state: RunState,
        /// Bond still held, nano-U.
        pub bond: u128,
        /// Verified work units so far.
        pub f_done: u64,
        /// Of them by designers while exclusive.
        pub f_designer: u64,
        /// Running minimum of the loss, micro-nats.
        pub loss_min: u32,
        /// Risk weight of the current window, Q16.
        pub weight: u32,
        /// The window being reported; equals the number of closed windows.
        pub window: u32,
        /// Windows whose claims are active (or void): the next to mature.
        pub matured: u32,
        /// Epoch boundaries since training finished.
        pub serving_epochs: u32,
        /// Equal parts of the supply minted so far.
        pub minted_parts: u32,
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
        /// Credits in unspent notes, in offers, in locks.
        pub notes: u64,
        pub offered: u64,
        pub locked: u64,
        pub series: u16,
    }
}
record! {
    /// A designer of a run.
    pub struct Designer { pub run: Hash, pub account: PublicKey }
}
record! {
    /// A stage of a run.
    pub struct Stage {
        pub run: Hash,
        pub stage: u16,
        /// Work units of one microbatch in this stage, from the run spec's analytic count.
        pub wu: u64,
        /// Bit i: seat i is held.
        pub held: u64,
        /// Seats ever used: seats 0..used have a record.
        pub used: u16,
    }
}
record! {
    /// One trainer's place in a stage.
    pub struct Seat {
        pub run: Hash,
        pub stage: u16,
        pub seat: u16,
        pub account: PublicKey,
        pub endpoint: Endpoint,
        pub state: SeatState,
        /// Height of the draw.
        pub since: u64,
        /// Height of the account's last transaction about this run.
        pub heard: u64,
    }
}
record! {
    /// An account's place in a run. `stage` is bound for life once drawn.
    pub struct Member {
        pub run: Hash,
        pub account: PublicKey,
        pub state: MemberState,
        pub stage: Option<u16>,
        pub seat: Option<u16>,
        pub endpoint: Endpoint,
        /// Height of the last `JoinRun`.
        pub asked: u64,
    }
}
record! {
    /// A window: which stages reported, at which weight.
    pub struct Window {
        pub run: Hash,
        pub window: u32,
        /// Q16; one for all claims.
        pub weight: u32,
        /// Bit s: stage s reported.
        pub reported: u128,
        pub wu: u64,
        /// Reported by the last stage, micro-nats.
        pub loss: Option<u32>,
        pub closed: bool,
    }
}
record! {
    /// What a stage's quorum said of a window.
    pub struct StageReport {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        /// Number of claims.
        pub claims: u16,
        pub state_root: Hash,
        pub loss: Option<u32>,
        /// Bit i: seat i signed.
        pub signers: u64,
        pub height: u64,
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
        pub state: ClaimState,
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
record! {
    /// A credential: the right to `cu` chunks of inference of a run.
    pub struct Note {
        pub id: Hash,
        pub run: Hash,
        pub series: u16,
        pub cu: u64,
        /// [`crate::keys::owner_hash`].
        pub owner: Hash,
        pub state: NoteState,
        /// Offer (`Offered`), order (`Locked`), transaction or order (`Spent`); zero if `Unspent`.
        pub bound_to: Hash,
    }
}
record! {
    /// Credits for sale at a posted price.
    pub struct Offer {
        pub id: Hash,
        pub run: Hash,
        pub series: u16,
        pub note: Hash,
        pub seller: PublicKey,
        /// Credits left.
        pub cu: u64,
        /// Nano-U per credit.
        pub price: u128,
    }
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
record! {
    /// Length of a list.
    pub struct ListLength { pub list: Hash, pub count: u64 }
}
record! {
    /// An item of a list.
    pub struct ListSlot { pub list: Hash, pub at: u64, pub id: Hash }
}
record! {
    /// Where an item of a list stands.
    pub struct ListPosition { pub list: Hash, pub id: Hash, pub at: u64 }
}

/// A type that has a cell of its own.
pub trait Stored: Sized + Into<Record> {
    /// The value, if `record` is of this type.
    fn from_record(record: Record) -> Option<Self>;
}

macro_rules! records {
    ($($tag:literal => $name:ident),* $(,)?) => {
        choice! {
            /// Everything a cell can hold.
            pub enum Record { $($tag => $name($name)),* }
        }
        $(impl Stored for $name {
            fn from_record(record: Record) -> Option<Self> {
                match record { Record::$name(inner) => Some(inner), _ => None }
            }
        })*
    };
}
records! {
    1 => Globals, 2 => Params, 3 => Account, 4 => Validator,
    10 => RunTerms, 11 => Run, 12 => Credits, 13 => Designer, 14 => Stage, 15 => Seat, 16 => Member,
    17 => Window, 18 => StageReport, 19 => Claim, 20 => Owner,
    30 => Note, 31 => Offer, 32 => Lock, 33 => Escrow, 34 => LockedNotes, 35 => Settlement, 36 => FeeShares,
    50 => ListLength, 51 => ListSlot, 52 => ListPosition,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{action::Blend, cell::Cell};

    /// Records whose size varies, at their largest; the others have one size each and are packed in every test.
    #[test]
    fn the_largest_records_fit_their_cells() {
        let (hash, key) = (Hash([255; 32]), PublicKey([255; 32]));
        let endpoint = Endpoint::new("9".repeat(64)).expect("64 bytes are allowed");
        let share = FeeShare { host: key, amount: u128::MAX };
        let largest: Vec<Record> = vec![
            Validator { index: u32::MAX, key, endpoint: endpoint.clone() }.into(),
            RunTerms {
                run: hash,
                creator: key,
                stages: 1,
                seats: 1,
                microbatches: 1,
                steps: 1,
                window_steps: 1,
                f_star: 1,
                f_min: 1,
                f_exclusive: 1,
                exclusive_windows: 1,
                exclusive_until: 1,
                rule: RiskRule::Blend(Blend { percent: 1, half_life_percent: 1 }),
                loss_0: 1,
                bond: 1,
                price: ChunkPrice { prompt_tokens: 1, generated_tokens: 1 },
                supply: 1,
                supply_epochs: 1,
                designers: 1,
                created: 1,
            }
            .into(),
            Seat {
                run: hash,
                stage: 1,
                seat: 1,
                account: key,
                endpoint: endpoint.clone(),
                state: SeatState::Active,
                since: 1,
                heard: 1,
            }
            .into(),
            Member {
                run: hash,
                account: key,
                state: MemberState::Seated,
                stage: Some(1),
                seat: Some(1),
                endpoint,
                asked: 1,
            }
            .into(),
            LockedNotes { order: hash, part: 1, notes: List::new(vec![hash; 6]).expect("six fit") }.into(),
            FeeShares { shares: List::new(vec![share; 5]).expect("five fit") }.into(),
        ];
        for record in largest {
            assert_eq!(Cell::pack(&record).unpack(), Some(record));
        }
    }

    #[test]
    fn a_cell_that_was_not_packed_does_not_unpack() {
        let cell = Cell::pack(&Globals { issued: 1, burned: 2, fund: 3 }.into());
        for at in [0, 1, 2, 60, 255] {
            let mut bytes = cell.0;
            bytes[at] ^= 0x80;
            assert_eq!(Cell(bytes).unpack(), None, "byte {at}");
        }
    }
}
