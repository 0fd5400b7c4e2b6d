//! Say what light clients ask validators, and what they answer.
//!
//! Nothing in an answer is believed because a validator said it: headers carry the committee's signature,
//! cells carry proofs, and an inclusion carries the whole block and its events, which the header binds.
//! Both directions travel on channel [`RPC`](crate::RPC) as one [`Message`]; `id` is chosen by the asker and
//! repeated in the response.

use tessera_canon::{Hash, List, Text, choice, record};
use tessera_chain::{
    Block, CertifiedHeader, Inclusion, MAX_PROVED_EVENTS, MAX_PROVED_KEYS, MAX_PROVED_TXS, StateProof,
};
use tessera_ledger::{Event, SignedTx};

/// Most events of one block that an answer carries.
pub const MAX_EVENTS: usize = 16_384;
/// Most places in one answer.
pub const MAX_PLACES: usize = 1024;
/// Longest text of a refusal, bytes.
pub const MAX_REASON: usize = 512;

record! {
    /// The newest final header.
    pub struct Latest {}
}
record! {
    /// The final header at a height.
    pub struct HeaderAt { pub height: u64 }
}
record! {
    /// The final block at a height.
    pub struct BlockAt { pub height: u64 }
}
record! {
    /// What these keys hold, proved against the newest final state.
    pub struct Prove { pub keys: List<Hash, MAX_PROVED_KEYS> }
}
record! {
    /// What became of the transaction with this id.
    pub struct ReceiptOf { pub tx: Hash }
}
record! {
    /// Where in final blocks a run, key, note, order, offer or transaction is named: see [`Places`].
    pub struct History {
        /// Its hash; of a key, the key's bytes.
        pub subject: Hash,
        /// First height of interest.
        pub from: u64,
        /// Skip this many places of that height, which came before.
        pub skip: u32,
    }
}
record! {
    /// Events and transactions of one block, by place, proved against its header.
    pub struct ProveItems {
        pub height: u64,
        pub events: List<u32, MAX_PROVED_EVENTS>,
        pub txs: List<u32, MAX_PROVED_TXS>,
    }
}

choice! {
    /// A question to a validator.
    pub enum Ask {
        0 => Latest(Latest),
        1 => HeaderAt(HeaderAt),
        2 => BlockAt(BlockAt),
        3 => Prove(Prove),
        4 => Submit(SignedTx),
        5 => ReceiptOf(ReceiptOf),
        10 => History(History),
        11 => ProveItems(ProveItems),
    }
}

record! {
    /// A transaction waits for a block; its id.
    pub struct Taken { pub tx: Hash }
}
record! {
    /// A block in which the transaction stands, and all that happened in it. The events' root is in the header;
    /// the transaction was refused exactly if one of them says so.
    pub struct Included { pub header: CertifiedHeader, pub block: Block, pub events: List<Event, MAX_EVENTS> }
}
record! {
    /// The validator has nothing under this height or id (yet, or any more).
    pub struct NotHere {}
}
record! {
    /// The question was not answered.
    pub struct Refused {
        /// Whether asking again later, or asking another validator, may help.
        pub retry: bool,
        /// What was expected, what came, what to do.
        pub reason: Text<MAX_REASON>,
    }
}
impl Refused {
    /// A refusal; a reason that is too long is cut.
    pub fn new(retry: bool, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { retry, reason: Text::new(&reason[..end]).unwrap_or_default() }
    }
}
record! {
    /// Where something is named: event `at` of the block at `height`, or its transaction `at`.
    pub struct Place { pub height: u64, pub tx: bool, pub at: u32 }
}
record! {
    /// Places in ascending order, events of a block before its transactions. Not proved: a validator can leave
    /// some out, so a reader needs another reason to believe that it has all (a sum that must come out).
    pub struct Places {
        /// First height that the validator's index covers.
        pub first: u64,
        /// Last height that it covers; `first - 1` where it covers none.
        pub last: u64,
        /// Whether more follow: ask again from the last place.
        pub more: bool,
        pub places: List<Place, MAX_PLACES>,
    }
}

choice! {
    /// What a validator answers.
    pub enum Answer {
        0 => Header(CertifiedHeader),
        1 => Block(Block),
        2 => State(StateProof),
        3 => Taken(Taken),
        4 => Included(Included),
        5 => NotHere(NotHere),
        6 => Refused(Refused),
        10 => Places(Places),
        11 => Inclusion(Inclusion),
    }
}

record! {
    /// A question with the number that its answer shall carry.
    pub struct Request { pub id: u64, pub ask: Ask }
}
record! {
    /// The answer to the request of this number.
    pub struct Response { pub id: u64, pub answer: Answer }
}

choice! {
    /// Everything on channel [`RPC`](crate::RPC).
    pub enum Message { 0 => Request(Request), 1 => Response(Response) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RPC, from_frame, to_frame};
    use tessera_canon::{SecretKey, bytes::Bytes};
    use tessera_ledger::{Action, Tx, action::Transfer};

    fn transfer() -> SignedTx {
        let key = SecretKey::from_seed([7; 32]);
        let action = Action::Transfer(Transfer { to: key.public(), amount: 5 });
        let fee_from = tessera_ledger::FeeSource::default();
        SignedTx::sign(
            &key,
            Tx { network: Hash([1; 32]), sender: key.public(), nonce: 3, fee: 9, fee_from, action },
        )
    }

    #[test]
    fn questions_and_answers_come_back_as_they_went() {
        let keys = List::new(vec![Hash([3; 32]), Hash([4; 32])]).unwrap();
        let asks = [
            Ask::Latest(Latest {}),
            Ask::HeaderAt(HeaderAt { height: 9 }),
            Ask::BlockAt(BlockAt { height: u64::MAX }),
            Ask::Prove(Prove { keys }),
            Ask::Submit(transfer()),
            Ask::ReceiptOf(ReceiptOf { tx: transfer().id() }),
            Ask::History(History { subject: Hash([5; 32]), from: 3, skip: 1 }),
            Ask::ProveItems(ProveItems {
                height: 7,
                events: List::new(vec![0, 9]).unwrap(),
                txs: List::default(),
            }),
        ];
        let answers = [
            Answer::Taken(Taken { tx: transfer().id() }),
            Answer::NotHere(NotHere {}),
            Answer::Refused(Refused::new(true, "busy")),
            Answer::Places(Places {
                first: 1,
                last: 9,
                more: true,
                places: List::new(vec![Place { height: 7, tx: true, at: 2 }]).unwrap(),
            }),
        ];
        let requests = asks.map(|ask| Message::Request(Request { id: 7, ask }));
        let responses = answers.map(|answer| Message::Response(Response { id: 8, answer }));
        for message in requests.into_iter().chain(responses) {
            let frame = to_frame(&message);
            assert_eq!(from_frame::<Message>(RPC, &frame).unwrap(), message);
            assert!(
                from_frame::<Message>(RPC, &frame.slice(..frame.len() - 1)).is_err(),
                "a cut frame is refused"
            );
            let longer = Bytes::from([&frame[..], &[0]].concat());
            assert!(from_frame::<Message>(RPC, &longer).is_err(), "a frame with a tail is refused");
        }
    }

    #[test]
    fn more_keys_than_a_proof_holds_are_refused_before_they_are_read() {
        // Version, request, id, prove, and a length prefix far beyond what follows.
        let frame = [&[crate::VERSION, 0][..], &[0; 8], &[3, 0xff, 0xff, 0xff, 0x7f]].concat();
        assert!(from_frame::<Message>(RPC, &Bytes::from(frame)).is_err());
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let refused = Refused::new(false, &"ä".repeat(MAX_REASON));
        assert_eq!(refused.reason.len(), MAX_REASON);
        assert_eq!(Refused::new(false, &format!("x{}", "ä".repeat(MAX_REASON))).reason.len(), MAX_REASON - 1);
    }
}
