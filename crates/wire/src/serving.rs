//! The messages of an inference session between a user, the session's home and the hosts of its stages.
//!
//! ```text
//! client                home (a stage-0 host)                 hosts of stages 1..P
//! Begin  -------------> checks, draws a route ---- Open ----> check everything again
//!        <--- Opened -- all agreed          <--- Admitted ---
//! ChunkRequest(w_j) --> signs a Ticket, computes -- Rows+Ticket --> stage to stage
//!                                           <----- Next, Delivered --- last stage
//!        <--- Token, Delivered ---
//! Close  -------------> posts the settlement ----- Done ----> forget the session
//! ```
//! All travel on [`SERVING`](crate::SERVING). A position is the index of a token in the session's text, from
//! 0; the token that is sampled after position `p` has position `p + 1`. Tag 2 of [`TicketKind`] is kept for
//! tickets that feed paid positions to a replacing host again; no host accepts it today.

use crate::Tensor;
use tessera_canon::{
    Blob, Domain, Hash, List, PublicKey, Signature, Text,
    bytes::BufMut,
    choice,
    codec::{Buf, Error, FixedSize, Read, Write},
    record,
};
use tessera_ledger::action::LockOrder;
/// What the home of a session signs; the ledger checks these signatures as evidence.
pub use tessera_ledger::ticket::{ROUTE, Route, SignedTicket, TICKET, Ticket, TicketKind};

/// Signed by the session key of an order: [`Consent`].
pub const CONSENT: Domain = Domain::new("tessera/session-consent/v1");
/// Signed by the session key: [`Closing`].
pub const CLOSE: Domain = Domain::new("tessera/session-close/v1");

/// Longest encoded proof of a lock, bytes: one cell with its path, a header and up to sixteen links.
pub const MAX_LOCK_PROOF: usize = 32 << 10;
/// Most prompt tokens in one chunk.
pub const MAX_PREFILL: usize = 4096;

/// Declare an enum without data and its one-byte codec.
macro_rules! tags {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }
        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The variant's name, for counters and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }
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
    };
}

tags! {
    /// Why a host refused, in one byte; [`Refused::text`] says what was expected and what came.
    pub enum RefusalKind {
        /// The proof of the lock does not verify.
        0 => Proof,
        /// The proof does not show a lock of this order.
        1 => NoLock,
        /// The proof is older than the host accepts, or from a height it has not reached.
        2 => StaleProof,
        /// The lock is settled or expired, or this session has ended here.
        3 => Spent,
        /// Too close to the end of the order's life.
        4 => Expired,
        /// The lock is for another run.
        5 => OtherRun,
        /// The lock is of a series that is not live.
        6 => OtherSeries,
        /// The route does not name this host for its stage, or has the wrong number of hosts.
        7 => Route,
        /// The route's home is not the one the ledger drew.
        8 => WrongHome,
        /// A signature does not hold.
        9 => Signature,
        /// Another attempt, or another opening of a session that runs.
        10 => Attempt,
        /// No session of this order is open here.
        11 => UnknownSession,
        /// A ticket that was used, or another one in place of it.
        12 => Replayed,
        /// A ticket that is not the next, or does not continue the one before.
        13 => OutOfOrder,
        /// More chunks than the lock has credits.
        14 => Allowance,
        /// The payword is not the next one of the chain.
        15 => Payword,
        /// A position that no ticket covers, or that was computed.
        16 => Position,
        /// A chunk that is empty or longer than one credit buys.
        17 => ChunkLength,
        /// More positions than the model can attend to.
        18 => Context,
        /// Not the peer that may say this in this session.
        19 => Sender,
        /// A tensor or token that does not fit the model.
        20 => Shape,
        /// No room for another session.
        21 => Busy,
        /// The order was locked before this host started, so it cannot know what was used of it.
        22 => BeforeStart,
        /// The host could not compute.
        23 => Trouble,
        /// A host of the route went silent or away.
        24 => HostLost,
    }
}

record! {
    /// How tokens are chosen. Temperature in thousandths, 0 is greedy; `top_k` 0 keeps every token.
    pub struct Sampling { pub temperature_milli: u32, pub top_k: u32, pub seed: u64 }
}
record! {
    /// The user's word that this identity may run this order's session in this way; under [`CONSENT`].
    pub struct Consent { pub order: Hash, pub client: PublicKey, pub sampling: Sampling }
}
record! {
    /// Client to home: start the session of `order`.
    pub struct Begin {
        pub order: LockOrder,
        /// An encoded [`StateProof`](tessera_chain::StateProof) of the order's lock cell.
        pub proof: Blob<MAX_LOCK_PROOF>,
        pub consent: Consent,
        /// By the order's session key.
        pub signature: Signature,
    }
}
record! {
    /// Home to every host of the route.
    pub struct Open {
        pub proof: Blob<MAX_LOCK_PROOF>,
        pub consent: Consent,
        /// Of the consent, by the order's session key.
        pub consent_signature: Signature,
        pub route: Route,
        /// Of the route, by the home.
        pub signature: Signature,
    }
}
record! {
    /// Host to home: I have checked the lock and keep a place for the session.
    pub struct Admitted { pub order: Hash, pub stage: u16 }
}
record! {
    /// Home to client: every host of the route has agreed.
    pub struct Opened { pub route: Route }
}
record! {
    /// Read these tokens; at most the run's prompt tokens per credit.
    pub struct Prefill { pub tokens: List<u32, MAX_PREFILL> }
}
record! {
    /// Generate this many tokens; at most the run's generated tokens per credit.
    pub struct Generate { pub tokens: u32 }
}
choice! {
    /// What one credit is used for.
    pub enum Chunk { 0 => Prefill(Prefill), 1 => Generate(Generate) }
}
record! {
    /// Client to home: chunk `j` (from 1), paid with the payword w_j.
    pub struct ChunkRequest { pub order: Hash, pub j: u32, pub payword: Hash, pub chunk: Chunk }
}
record! {
    /// Hidden states `[rows, d_model]` of positions `pos..pos + rows`, from one stage's host to the next.
    pub struct Rows {
        pub order: Hash,
        pub pos: u32,
        /// Number of the ticket that covers these positions.
        pub j: u32,
        /// That ticket, with the first rows of its chunk.
        pub ticket: Option<SignedTicket>,
        pub tensor: Tensor,
    }
}
record! {
    /// Last stage to home: the token at `pos`.
    pub struct Next { pub order: Hash, pub pos: u32, pub token: u32 }
}
record! {
    /// Home to client: the token at `pos`.
    pub struct Token { pub order: Hash, pub pos: u32, pub token: u32 }
}
record! {
    /// The prompt chunk `j` is read: last stage to home, home to client.
    pub struct Delivered { pub order: Hash, pub j: u32 }
}
record! {
    /// No, and why. From a host to whoever asked, from the home to the client.
    pub struct Refused {
        pub order: Hash,
        /// The stage of the host that refused.
        pub stage: u16,
        pub kind: RefusalKind,
        pub text: Text<512>,
    }
}
record! {
    /// The client's last word: `j` chunks arrived; under [`CLOSE`].
    pub struct Closing { pub order: Hash, pub j: u32 }
}
record! {
    /// Client to home: the end, signed by the session key.
    pub struct Close { pub closing: Closing, pub signature: Signature }
}
record! {
    /// Home to client and hosts: the session is over and this is what the home settles.
    pub struct Done {
        pub order: Hash,
        /// Credits used.
        pub chunks: u32,
        /// The most that all hosts together can get, nano-U; the ledger pays the posted prices up to this.
        pub fees: u128,
    }
}

choice! {
    /// Everything that is said in a session.
    pub enum ServingMessage {
        0 => Begin(Begin),
        1 => Open(Open),
        2 => Admitted(Admitted),
        3 => Opened(Opened),
        4 => ChunkRequest(ChunkRequest),
        5 => Ticket(SignedTicket),
        6 => Rows(Rows),
        7 => Next(Next),
        8 => Token(Token),
        9 => Delivered(Delivered),
        10 => Refused(Refused),
        11 => Close(Close),
        12 => Done(Done),
    }
}

impl ServingMessage {
    /// The order that the message is about.
    pub fn order(&self) -> Hash {
        match self {
            Self::Begin(m) => m.consent.order,
            Self::Open(m) => m.route.order,
            Self::Admitted(m) => m.order,
            Self::Opened(m) => m.route.order,
            Self::ChunkRequest(m) => m.order,
            Self::Ticket(m) => m.ticket.order,
            Self::Rows(m) => m.order,
            Self::Next(m) => m.order,
            Self::Token(m) => m.order,
            Self::Delivered(m) => m.order,
            Self::Refused(m) => m.order,
            Self::Close(m) => m.closing.order,
            Self::Done(m) => m.order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameError, SERVING, from_frame, to_frame};
    use tessera_canon::{SecretKey, decode, encode};

    fn ticket() -> Ticket {
        Ticket {
            order: Hash([1; 32]),
            attempt: 0,
            j: 3,
            payword: Hash([2; 32]),
            kind: TicketKind::Decode,
            pos_from: 10,
            pos_to: 20,
            previous: Hash([3; 32]),
        }
    }

    #[test]
    fn messages_survive_a_frame_and_cut_ones_are_refused() {
        let key = SecretKey::from_seed([1; 32]);
        let signed = SignedTicket { signature: key.sign(TICKET, &ticket()), ticket: ticket() };
        let rows = Rows {
            order: Hash([1; 32]),
            pos: 10,
            j: 3,
            ticket: Some(signed.clone()),
            tensor: Tensor::from_f32(&[1.0, 2.0], 1, 2).unwrap(),
        };
        for message in [ServingMessage::from(signed), ServingMessage::from(rows)] {
            let frame = to_frame(&message);
            assert_eq!(from_frame::<ServingMessage>(SERVING, &frame).unwrap(), message);
            for cut in 0..frame.len() {
                assert!(from_frame::<ServingMessage>(SERVING, &frame.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_ticket_has_another_hash_whatever_changes_in_it() {
        let one = ticket();
        let others = [
            Ticket { order: Hash::ZERO, ..one.clone() },
            Ticket { attempt: 1, ..one.clone() },
            Ticket { j: 4, ..one.clone() },
            Ticket { payword: Hash::ZERO, ..one.clone() },
            Ticket { kind: TicketKind::Prefill, ..one.clone() },
            Ticket { pos_from: 11, ..one.clone() },
            Ticket { pos_to: 21, ..one.clone() },
            Ticket { previous: Hash::ZERO, ..one.clone() },
        ];
        assert!(others.iter().all(|other| other.id() != one.id()));
    }

    #[test]
    fn unknown_kinds_and_overlong_prompts_are_refused() {
        assert!(decode::<TicketKind>(&[2]).is_err());
        for kind in RefusalKind::ALL {
            assert_eq!(decode::<RefusalKind>(&encode(kind)).unwrap(), *kind);
        }
        let long = Prefill { tokens: List::new(vec![0; MAX_PREFILL]).unwrap() };
        let mut bytes = encode(&long).to_vec();
        assert_eq!(decode::<Prefill>(&bytes).unwrap(), long);
        // One more item than the type allows: the length prefix is a variable-length integer of two bytes.
        let grown = encode(&vec![0u32; MAX_PREFILL + 1]);
        bytes = grown.to_vec();
        assert!(decode::<Prefill>(&bytes).is_err());
        let frame = to_frame(&ticket()).slice(0..0);
        assert!(matches!(from_frame::<ServingMessage>(SERVING, &frame), Err(FrameError::Empty { .. })));
    }
}
