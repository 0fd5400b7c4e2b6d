//! Say what a cell can hold. Every record names the ids it belongs to, so that a scan can check the whole state.
//!
//! Numbers are ranges by room, as those of [`crate::keys`].

use ruint::aliases::U256;
use tessera_canon::{
    Text,
    bytes::BufMut,
    choice,
    codec::{Buf, Error, FixedSize, Read, Write},
};

pub use crate::{
    accounts::record::*,
    action::{ChunkPrice, RiskRule},
    credits::{params::CreditRules, record::*},
    genesis::{NetworkPolicy, Params},
    machine::record::*,
    market::record::*,
    ownership::record::*,
    runs::{policy::RunPolicy, record::*},
};

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
    // Accounts and validators.
    1 => Globals, 2 => Params, 3 => Account, 4 => Validator, 5 => NetworkPolicy,
    // Runs.
    10 => RunTerms, 11 => Run, 12 => Designer, 13 => Stage, 14 => Seat, 15 => Member, 16 => Window,
    17 => StageReport, 18 => RunPolicy,
    // Shares.
    30 => Credits, 31 => Claim, 32 => Owner,
    // Credits.
    40 => Note, 41 => Lock, 42 => Escrow, 43 => LockedNotes, 44 => Settlement, 45 => LegHosts,
    46 => CreditRules, 47 => Series, 48 => Lane, 49 => Attempts, 50 => Host, 51 => Capacity, 52 => StagePrice,
    53 => Application, 54 => SessionDispute,
    // Market.
    60 => Offer,
    // Trust.
    // Governance.
    // Extraction.
    240 => ListLength, 241 => ListSlot, 242 => ListPosition,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{action::Blend, cell::Cell};
    use tessera_canon::{Hash, List, PublicKey};

    /// Records whose size varies, at their largest; the others have one size each and are packed in every test.
    #[test]
    fn the_largest_records_fit_their_cells() {
        let (hash, key) = (Hash([255; 32]), PublicKey([255; 32]));
        let endpoint = Endpoint::new("9".repeat(64)).expect("64 bytes are allowed");
        let attempt = Attempt { home: key, start: 1, at: 1, reported: true, slashed: true };
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
            LegHosts { order: hash, attempt: 1, part: 1, hosts: List::new(vec![key; 6]).expect("six fit") }
                .into(),
            Attempts {
                order: hash,
                homes: List::new(vec![attempt; crate::credits::params::MAX_ATTEMPTS])
                    .expect("as many as may be"),
            }
            .into(),
            Settlement {
                order: hash,
                chunks: 1,
                payword: hash,
                poster: key,
                height: 1,
                bond: 1,
                legs: List::new(vec![
                    LegHead { attempt: 1, proved: true };
                    crate::credits::params::MAX_ATTEMPTS
                ])
                .expect("as many as may be"),
                fees: 1,
                epoch: 1,
            }
            .into(),
            Host {
                run: hash,
                account: key,
                stage: 1,
                bond: 1,
                cu: 1,
                leaves: Some(1),
                insured: 1,
                refusals: 1,
                refused: 1,
            }
            .into(),
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
