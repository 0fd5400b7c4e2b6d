//! Let a simulated validator lie: alter, withhold, double and repeat what its engine sends.
//!
//! A Byzantine validator runs the real engine; a [`Wire`] between it and the network changes its messages. What
//! peers see is therefore signed with a real share and arrives on the real channels. An altered proposal is a
//! block that breaks one rule, together with a valid vote of its leader for it: peers must find out by executing it.
//! Honest validators use the same type, which then passes everything on.

use commonware_actor::{Feedback, Unreliable};
use commonware_consensus::simplex::types::{Notarize, Proposal, Vote};
use commonware_cryptography::{Digestible as _, ed25519};
use commonware_p2p::{CheckedSender, LimitedSender, Recipients, Sender as _, simulated};
use commonware_runtime::{IoBufs, deterministic};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};
use tessera_canon::{Hash, PublicKey, SecretKey, bytes::Bytes, codec::Encode as _, decode, encode};
use tessera_chain::{Block, BlockDigest, Header, MAX_BLOCK_TXS, Scheme, tx_root};
use tessera_ledger::{SignedTx, Tx, action};

/// Channels by their place in [`crate::engine::CHANNELS`].
const VOTES: usize = 0;
const CERTIFICATES: usize = 1;
const BLOCKS: usize = 4;
/// Own votes for a proposal that the proposal has not overtaken yet, before they go out unaltered.
const PATIENCE: usize = 6;
/// Old messages that a replaying validator keeps.
const MEMORY: usize = 64;

type Peer = ed25519::PublicKey;
type Network = simulated::Sender<Peer, deterministic::Context>;

/// What a Byzantine validator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// As leader it makes two valid blocks and shows each to one half of the committee, with its vote.
    Equivocate,
    /// As leader it makes both blocks and sends both, with both votes, to everybody.
    ProposeTwice,
    /// Its blocks claim a state that their transactions do not give.
    WrongRoot,
    /// Its blocks contain a transaction that may not be included.
    InvalidTransaction,
    /// Its blocks carry the seed of no round.
    WrongSeed,
    /// Its blocks hold more transactions than a block may.
    Oversized,
    /// It casts no vote, and passes on no certificate that it could make with its own.
    WithholdVotes,
    /// It votes for blocks, but never to make one final.
    WithholdFinality,
    /// It sends each vote to one random peer only.
    VoteToOne,
    /// It repeats old certificates and old votes again and again, to everybody.
    Replay,
}

impl Misbehaviour {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Equivocate,
        Self::ProposeTwice,
        Self::WrongRoot,
        Self::InvalidTransaction,
        Self::WrongSeed,
        Self::Oversized,
        Self::WithholdVotes,
        Self::WithholdFinality,
        Self::VoteToOne,
        Self::Replay,
    ];
    /// Whether the blocks it makes up break a rule, so that none of them may become final.
    fn breaks_a_rule(self) -> bool {
        matches!(self, Self::WrongRoot | Self::InvalidTransaction | Self::WrongSeed | Self::Oversized)
    }
    fn alters_proposals(self) -> bool {
        self.breaks_a_rule() || matches!(self, Self::Equivocate | Self::ProposeTwice)
    }
}

/// What the Byzantine validators of a run did, for its checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Misdeeds(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    count: u64,
    forbidden: BTreeSet<Hash>,
}

impl Misdeeds {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// Messages altered, withheld or repeated.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }
    /// Whether a block breaks a rule on purpose.
    pub(super) fn forbids(&self, digest: &Hash) -> bool {
        self.lock().forbidden.contains(digest)
    }
}

/// The liar behind the wires of one validator.
pub(super) struct Liar {
    kind: Misbehaviour,
    scheme: Scheme,
    me: PublicKey,
    peers: Vec<Peer>,
    random: StdRng,
    misdeeds: Misdeeds,
    /// Own proposals: digest and the digest of what is shown instead or beside.
    swapped: BTreeMap<Hash, Hash>,
    /// Own votes that wait for their proposal, with the messages sent since.
    waiting: Vec<(usize, Notarize<Scheme, BlockDigest>)>,
    old: VecDeque<(usize, Bytes)>,
}

/// One message on its way out.
type Out = (usize, Recipients<Peer>, Bytes);

impl Liar {
    pub(super) fn new(
        kind: Misbehaviour,
        scheme: Scheme,
        me: PublicKey,
        peers: Vec<Peer>,
        seed: u64,
        misdeeds: Misdeeds,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let (swapped, waiting, old) = (BTreeMap::new(), Vec::new(), VecDeque::new());
        Self { kind, scheme, me, peers, random, misdeeds, swapped, waiting, old }
    }
    fn note(&self) {
        self.misdeeds.lock().count += 1;
    }
    /// What leaves instead of `bytes`.
    fn twist(&mut self, channel: usize, to: Recipients<Peer>, bytes: Bytes) -> Vec<Out> {
        let mut out = match (self.kind, channel) {
            (kind, BLOCKS) if kind.alters_proposals() => self.twist_block(to, bytes),
            (kind, VOTES) if kind.alters_proposals() => self.twist_vote(to, bytes),
            (Misbehaviour::WithholdVotes, VOTES | CERTIFICATES) => {
                self.note();
                Vec::new()
            }
            (Misbehaviour::WithholdFinality, VOTES) if matches!(vote(&bytes), Some(Vote::Finalize(_))) => {
                self.note();
                Vec::new()
            }
            (Misbehaviour::VoteToOne, VOTES) => {
                self.note();
                let at = self.random.random_range(0..self.peers.len());
                vec![(VOTES, Recipients::One(self.peers[at].clone()), bytes)]
            }
            (Misbehaviour::Replay, VOTES | CERTIFICATES) => self.replay(channel, to, bytes),
            _ => vec![(channel, to, bytes)],
        };
        // Votes whose proposal does not come were for another leader's.
        let mut late = Vec::new();
        for (messages, vote) in std::mem::take(&mut self.waiting) {
            if messages < PATIENCE {
                self.waiting.push((messages + 1, vote));
            } else {
                late.push((VOTES, Recipients::All, encode(&Vote::Notarize(vote))));
            }
        }
        out.extend(late);
        out
    }
    fn twist_vote(&mut self, to: Recipients<Peer>, bytes: Bytes) -> Vec<Out> {
        match vote(&bytes) {
            Some(Vote::Notarize(vote)) => {
                if self.swapped.contains_key(&Hash(vote.proposal.payload.0)) {
                    return self.show_votes(&vote);
                }
                self.waiting.push((0, vote));
                Vec::new()
            }
            _ => vec![(VOTES, to, bytes)],
        }
    }
    fn twist_block(&mut self, to: Recipients<Peer>, bytes: Bytes) -> Vec<Out> {
        let Ok(block) = decode::<Block>(&bytes) else { return vec![(BLOCKS, to, bytes)] };
        let digest = Hash(block.digest().0);
        let Some((other, lie)) = self.other_block(&block) else { return vec![(BLOCKS, to, bytes)] };
        self.note();
        self.swapped.insert(digest, other);
        if self.kind.breaks_a_rule() {
            self.misdeeds.lock().forbidden.insert(other);
        }
        let mut out: Vec<Out> = match self.kind {
            Misbehaviour::Equivocate => {
                let (left, right) = self.halves();
                vec![(BLOCKS, Recipients::Some(left), bytes), (BLOCKS, Recipients::Some(right), lie)]
            }
            Misbehaviour::ProposeTwice => {
                vec![(BLOCKS, Recipients::All, bytes), (BLOCKS, Recipients::All, lie)]
            }
            _ => vec![(BLOCKS, Recipients::All, lie)],
        };
        let waiting = std::mem::take(&mut self.waiting);
        let (own, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, vote)| Hash(vote.proposal.payload.0) == digest);
        self.waiting = rest;
        for (_, vote) in own {
            out.extend(self.show_votes(&vote));
        }
        out
    }
    /// The vote for the true proposal and the one for the other, to whom each is shown.
    fn show_votes(&self, vote: &Notarize<Scheme, BlockDigest>) -> Vec<Out> {
        let Some(other) = self.swapped.get(&Hash(vote.proposal.payload.0)) else { return Vec::new() };
        let proposal = Proposal::new(
            vote.proposal.round,
            vote.proposal.parent,
            commonware_cryptography::blake3::Digest(other.0),
        );
        let Some(lie) = Notarize::sign(&self.scheme, proposal) else { return Vec::new() };
        let (truth, lie) = (encode(&Vote::Notarize(vote.clone())), encode(&Vote::Notarize(lie)));
        match self.kind {
            Misbehaviour::Equivocate => {
                let (left, right) = self.halves();
                vec![(VOTES, Recipients::Some(left), truth), (VOTES, Recipients::Some(right), lie)]
            }
            Misbehaviour::ProposeTwice => {
                vec![(VOTES, Recipients::All, truth), (VOTES, Recipients::All, lie)]
            }
            _ => vec![(VOTES, Recipients::All, lie)],
        }
    }
    fn halves(&self) -> (Vec<Peer>, Vec<Peer>) {
        let (left, right) = self.peers.split_at(self.peers.len() / 2);
        (left.to_vec(), right.to_vec())
    }
    /// Digest and bytes of what is proposed instead of `block`; `None` for another's block, or where the lie is
    /// not possible.
    fn other_block(&mut self, block: &Block) -> Option<(Hash, Bytes)> {
        let mut header = block.header().clone();
        if header.proposer != self.me {
            return None;
        }
        let mut txs = block.txs().to_vec();
        match self.kind {
            Misbehaviour::WrongRoot => header.state_root.0[7] ^= 1,
            Misbehaviour::WrongSeed => header.seed.as_mut()?.signature[9] ^= 1,
            Misbehaviour::InvalidTransaction => {
                // Well formed, but its sender has no account.
                txs.push(self.stray_tx(&header, 0));
                header.tx_root = tx_root(&txs);
            }
            Misbehaviour::Oversized => {
                txs = (0..=MAX_BLOCK_TXS as u64).map(|nonce| self.stray_tx(&header, nonce)).collect();
                header.tx_root = tx_root(&txs);
                return Some((header.digest(), by_hand(&header, &txs)));
            }
            _ => header.time_ms += 1,
        }
        let digest = header.digest();
        Some((digest, encode(&Block::new(header, txs).ok()?)))
    }
    fn stray_tx(&mut self, header: &Header, nonce: u64) -> SignedTx {
        let stranger = SecretKey::from_seed([250; 32]);
        let to = self.me;
        let body = Tx {
            network: header.network,
            sender: stranger.public(),
            nonce,
            fee: 1,
            fee_from: tessera_ledger::FeeSource::default(),
            action: action::Transfer { to, amount: 1 }.into(),
        };
        // A signature costs more than the lie is worth 513 times over; the count is refused before it.
        if nonce > 0 {
            return SignedTx { body, ..self.stray_tx(header, 0) };
        }
        SignedTx::sign(&stranger, body)
    }
    fn replay(&mut self, channel: usize, to: Recipients<Peer>, bytes: Bytes) -> Vec<Out> {
        let mut out = Vec::new();
        if !self.old.is_empty() {
            for _ in 0..3 {
                let (channel, stale) = self.old[self.random.random_range(0..self.old.len())].clone();
                out.push((channel, Recipients::All, stale));
                self.note();
            }
        }
        self.old.push_back((channel, bytes.clone()));
        if self.old.len() > MEMORY {
            self.old.pop_front();
        }
        out.push((channel, to, bytes));
        out
    }
}

/// A block's bytes, without the checks that making a [`Block`] would do.
fn by_hand(header: &Header, txs: &[SignedTx]) -> Bytes {
    [encode(header), txs.to_vec().encode()].concat().into()
}

fn vote(bytes: &Bytes) -> Option<Vote<Scheme, BlockDigest>> {
    decode(bytes).ok()
}

/// The senders of one validator, all eight, so that a lie can go out on another channel.
pub(super) type Wires = Arc<Mutex<(Liar, Vec<Network>)>>;

/// A sender to the simulated network, straight or through a liar.
#[derive(Clone)]
pub(super) struct Wire {
    network: Network,
    channel: usize,
    liar: Option<Wires>,
}

impl Wire {
    /// The wires of one validator; through `liar` if there is one.
    pub(super) fn all(networks: Vec<Network>, liar: Option<Liar>) -> Vec<Self> {
        let liar = liar.map(|liar| Arc::new(Mutex::new((liar, networks.clone()))));
        let wire = |(channel, network)| Self { network, channel, liar: liar.clone() };
        networks.into_iter().enumerate().map(wire).collect()
    }
}

impl LimitedSender for Wire {
    type PublicKey = Peer;
    type Checked<'a> = CheckedWire<'a>;

    fn check(&mut self, recipients: Recipients<Peer>) -> Result<CheckedWire<'_>, SystemTime> {
        match &self.liar {
            None => self.network.check(recipients).map(CheckedWire::Straight),
            Some(liar) => {
                let reached = self.network.check(recipients.clone())?.recipients();
                let (channel, liar) = (self.channel, liar.clone());
                Ok(CheckedWire::Bent { channel, liar, recipients, reached })
            }
        }
    }
}

/// A checked [`Wire`].
pub(super) enum CheckedWire<'a> {
    Straight(<Network as LimitedSender>::Checked<'a>),
    Bent { channel: usize, liar: Wires, recipients: Recipients<Peer>, reached: Vec<Peer> },
}

impl CheckedSender for CheckedWire<'_> {
    type PublicKey = Peer;

    fn recipients(&self) -> Vec<Peer> {
        match self {
            Self::Straight(checked) => checked.recipients(),
            Self::Bent { reached, .. } => reached.clone(),
        }
    }
    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        match self {
            Self::Straight(checked) => checked.send(message, priority),
            Self::Bent { channel, liar, recipients, .. } => {
                let bytes = Bytes::copy_from_slice(message.into().coalesce().as_ref());
                let mut guard = liar.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let (liar, networks) = &mut *guard;
                for (channel, to, bytes) in liar.twist(channel, recipients, bytes) {
                    networks[channel].send(to, bytes, priority);
                }
                Unreliable::Outcome(Feedback::Ok)
            }
        }
    }
}
