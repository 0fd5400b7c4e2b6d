//! Say what a block is: a header that binds everything, and the transactions it binds.

use crate::certificate::consensus_key;
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digestible, blake3, ed25519};
use tessera_canon::{
    Domain, Hash, List, MerkleTree, PublicKey,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, RangeCfg, Read, Write},
    digest, digest_bytes, merkle_root, record,
};
use tessera_ledger::{BlockContext, Event, SignedTx};

const HEADER: Domain = Domain::new("tessera/block-header/v2");
const STATE: Domain = Domain::new("tessera/block-header-state/v1");
const REST: Domain = Domain::new("tessera/block-header-rest/v1");
const BODY: Domain = Domain::new("tessera/block-header-body/v1");
const BEACON: Domain = Domain::new("tessera/beacon/v1");
const FIRST_BEACON: Domain = Domain::new("tessera/first-beacon/v1");
const TX_LEAF: Domain = Domain::new("tessera/block-tx/v1");
const EVENT_LEAF: Domain = Domain::new("tessera/block-event/v1");

/// Most transactions in one block: with 512, a committee starved to two blocks a second could not work off a
/// backlog at 1,000 transactions a second.
pub const MAX_BLOCK_TXS: usize = 1024;
/// Most bytes of encoded transactions in one block.
pub const MAX_BLOCK_BYTES: usize = 512 << 10;
/// Length of one signature of the committee: a compressed BLS12-381 G1 point.
pub const SIGNATURE_BYTES: usize = 48;
/// Length of a seed, which is such a signature.
pub const SEED_BYTES: usize = SIGNATURE_BYTES;
/// No block is this late (the year 287 396): room for sums that cannot overflow.
const MAX_TIME_MS: u64 = 1 << 53;
/// Upper bound of an encoded header (all fields are of fixed size but the optional seed).
const MAX_HEADER_BYTES: usize = 8 * 32 + 6 * 8 + 1 + SEED_BYTES;

/// The digest consensus votes on: the header's hash.
pub type BlockDigest = blake3::Digest;
/// Who proposed a block, in which round, on which parent.
pub type Context = types::Context<BlockDigest, ed25519::PublicKey>;

record! {
    /// The committee's threshold signature over a consensus round.
    pub struct Seed {
        /// Compressed G1 point.
        pub signature: [u8; SEED_BYTES],
    }
}

record! {
    /// Everything that a block fixes. [`Header::digest`] says how it is hashed.
    pub struct Header {
        /// Identity of the network: hash of its genesis.
        pub network: Hash,
        /// Number of blocks before this one; the genesis block has height 0.
        pub height: u64,
        /// Digest of the parent's header.
        pub parent: Hash,
        /// Consensus view in which this block was proposed.
        pub view: u64,
        /// Consensus view in which the parent was proposed.
        pub parent_view: u64,
        /// The validator that proposed it.
        pub proposer: PublicKey,
        /// Milliseconds since 1970, by the proposer's clock; strictly greater than the parent's.
        pub time_ms: u64,
        /// Root that proves cells, present and absent.
        pub state_root: Hash,
        /// Root over the log of state changes, which state sync downloads.
        pub ops_root: Hash,
        /// First entry of that log that a new validator needs.
        pub ops_start: u64,
        /// Entries in that log, pruned ones included.
        pub ops_end: u64,
        /// Merkle root over the transactions.
        pub tx_root: Hash,
        /// Merkle root over the events that they caused.
        pub event_root: Hash,
        /// Seed of the parent's round; absent in the genesis block and the first block.
        pub seed: Option<Seed>,
    }
}

record! {
    /// What a header says of the state, with the hash of all that it says besides: what a proof of cells needs.
    pub struct StateHeader {
        /// Identity of the network.
        pub network: Hash,
        /// Number of blocks before this one.
        pub height: u64,
        /// Consensus view in which the block was proposed.
        pub view: u64,
        /// Consensus view in which the parent was proposed.
        pub parent_view: u64,
        /// Milliseconds since 1970.
        pub time_ms: u64,
        /// Root that proves cells, present and absent.
        pub state_root: Hash,
        /// Root over the log of state changes.
        pub ops_root: Hash,
        /// Entries in that log, pruned ones included.
        pub ops_end: u64,
        /// Hash of the parent's digest and of everything else in the header.
        pub rest: Hash,
    }
}
record! {
    /// Where a header stands and the hashes of what it says: of the state, and of the rest. Its hash is the block's
    /// digest.
    pub(crate) struct Frame {
        pub(crate) network: Hash,
        pub(crate) height: u64,
        pub(crate) view: u64,
        pub(crate) parent_view: u64,
        pub(crate) state: Hash,
        pub(crate) rest: Hash,
    }
}
record! { struct State { time_ms: u64, state_root: Hash, ops_root: Hash, ops_end: u64 } }
record! { struct Rest { parent: Hash, body: Hash } }
record! {
    struct Body { proposer: PublicKey, ops_start: u64, tx_root: Hash, event_root: Hash, seed: Option<Seed> }
}

impl Frame {
    /// The digest of the header with this frame.
    pub(crate) fn digest(&self) -> Hash {
        digest(HEADER, self)
    }
    /// What the committee signs to make that header final.
    pub(crate) fn proposal(&self) -> types::Proposal<BlockDigest> {
        let round = Round::new(Epoch::zero(), View::new(self.view));
        types::Proposal::new(round, View::new(self.parent_view), blake3::Digest(self.digest().0))
    }
}

/// The hash of everything in a header that is neither of the state nor of its place.
pub(crate) fn rest(parent: Hash, body: Hash) -> Hash {
    digest(REST, &Rest { parent, body })
}

impl StateHeader {
    /// The block's digest.
    pub fn digest(&self) -> Hash {
        self.frame().digest()
    }
    pub(crate) fn frame(&self) -> Frame {
        let Self { network, height, view, parent_view, rest, .. } = *self;
        Frame { network, height, view, parent_view, state: self.state(), rest }
    }
    /// The hash of what it says of the state.
    pub(crate) fn state(&self) -> Hash {
        let Self { time_ms, state_root, ops_root, ops_end, .. } = *self;
        digest(STATE, &State { time_ms, state_root, ops_root, ops_end })
    }
}

impl Header {
    /// The block's digest: a small tree, so that a proof of cells and a chain of headers need not show all of one.
    ///
    /// ```text
    /// digest = H(network, height, view, parent_view, state, rest)
    ///   state = H(time_ms, state_root, ops_root, ops_end)
    ///   rest = H(parent, body)
    ///     body = H(proposer, ops_start, tx_root, event_root, seed)
    /// ```
    pub fn digest(&self) -> Hash {
        self.of_state().digest()
    }
    /// The part that a proof of cells needs.
    pub fn of_state(&self) -> StateHeader {
        let Self { network, height, view, parent_view, time_ms, state_root, ops_root, ops_end, .. } = *self;
        let rest = rest(self.parent, self.body());
        StateHeader { network, height, view, parent_view, time_ms, state_root, ops_root, ops_end, rest }
    }
    /// The hash of what is neither of the state, nor of the block's place, nor the parent.
    pub(crate) fn body(&self) -> Hash {
        let Self { proposer, ops_start, tx_root, event_root, .. } = *self;
        digest(BODY, &Body { proposer, ops_start, tx_root, event_root, seed: self.seed.clone() })
    }
    /// Public randomness of this block: the hash of its seed, and of the network where there is none.
    pub fn beacon(&self) -> Hash {
        match &self.seed {
            Some(seed) => digest_bytes(BEACON, &seed.signature),
            None => digest(FIRST_BEACON, &self.network),
        }
    }
    /// What the ledger may know while it executes this block.
    pub fn execution(&self) -> BlockContext {
        BlockContext {
            network: self.network,
            height: self.height,
            time_ms: self.time_ms,
            beacon: self.beacon(),
            proposer: self.proposer,
        }
    }
    /// What the committee signs to make this header final.
    pub fn proposal(&self) -> types::Proposal<BlockDigest> {
        self.of_state().frame().proposal()
    }
    /// The round whose seed this block must carry.
    pub fn seed_round(&self) -> Round {
        Round::new(Epoch::zero(), View::new(self.parent_view))
    }
}

/// Root over the transactions of a block, in order.
pub fn tx_root(txs: &[SignedTx]) -> Hash {
    merkle_root(txs.iter().map(tx_leaf).collect())
}

/// Root over the events of a block, in order.
pub fn event_root(events: &[Event]) -> Hash {
    merkle_root(events.iter().map(event_leaf).collect())
}

/// The leaf of a transaction under [`tx_root`].
pub fn tx_leaf(tx: &SignedTx) -> Hash {
    digest(TX_LEAF, tx)
}

/// The leaf of an event under [`event_root`].
pub fn event_leaf(event: &Event) -> Hash {
    digest(EVENT_LEAF, event)
}

/// The tree whose root is [`tx_root`].
pub fn tx_tree(txs: &[SignedTx]) -> MerkleTree {
    MerkleTree::new(txs.iter().map(tx_leaf).collect())
}

/// The tree whose root is [`event_root`].
pub fn event_tree(events: &[Event]) -> MerkleTree {
    MerkleTree::new(events.iter().map(event_leaf).collect())
}

/// A header and the transactions that it binds; a value whose transactions are others does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: Header,
    txs: List<SignedTx, MAX_BLOCK_TXS>,
    /// The proposer's key as consensus holds it.
    leader: ed25519::PublicKey,
}

impl Block {
    /// Join a header with its transactions; an error where the header does not bind exactly these.
    pub fn new(header: Header, txs: Vec<SignedTx>) -> Result<Self, Error> {
        let txs = List::new(txs).map_err(|_| Error::Invalid("Block", "too many transactions"))?;
        if txs.iter().map(EncodeSize::encode_size).sum::<usize>() > MAX_BLOCK_BYTES {
            return Err(Error::Invalid("Block", "too many bytes of transactions"));
        }
        if header.tx_root != tx_root(&txs) {
            return Err(Error::Invalid("Block", "transactions are not those of the header"));
        }
        if header.time_ms >= MAX_TIME_MS {
            return Err(Error::Invalid("Block", "impossible time"));
        }
        if header.ops_start >= header.ops_end || header.ops_end > (1 << 62) {
            return Err(Error::Invalid("Block", "empty or impossible range of state changes"));
        }
        let leader = consensus_key(&header.proposer)
            .ok_or(Error::Invalid("Block", "the proposer's key is not an Ed25519 key"))?;
        Ok(Self { header, txs, leader })
    }
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }
    /// The transactions, in order of execution.
    pub fn txs(&self) -> &[SignedTx] {
        &self.txs
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.write(buf);
        self.txs.write(buf);
    }
}
impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        self.header.encode_size() + self.txs.encode_size()
    }
}
impl Read for Block {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let header = Header::read_cfg(buf, &())?;
        let txs = Vec::<SignedTx>::read_cfg(buf, &(RangeCfg::new(0..=MAX_BLOCK_TXS), ()))?;
        Self::new(header, txs)
    }
}
impl Digestible for Block {
    type Digest = BlockDigest;
    fn digest(&self) -> BlockDigest {
        blake3::Digest(self.header.digest().0)
    }
}
impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.header.height)
    }
}
impl ConsensusBlock for Block {
    fn parent(&self) -> BlockDigest {
        blake3::Digest(self.header.parent.0)
    }
}
impl CertifiableBlock for Block {
    type Context = Context;
    fn context(&self) -> Context {
        Context {
            round: Round::new(Epoch::zero(), View::new(self.header.view)),
            leader: self.leader.clone(),
            parent: (View::new(self.header.parent_view), self.parent()),
        }
    }
}
impl BoundedBlock for Block {
    fn max_encode_size(_: &()) -> usize {
        MAX_HEADER_BYTES + 5 + MAX_BLOCK_BYTES
    }
}
