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

const HEADER: Domain = Domain::new("tessera/block-header/v1");
const BEACON: Domain = Domain::new("tessera/beacon/v1");
const FIRST_BEACON: Domain = Domain::new("tessera/first-beacon/v1");
const TX_LEAF: Domain = Domain::new("tessera/block-tx/v1");
const EVENT_LEAF: Domain = Domain::new("tessera/block-event/v1");

/// Most transactions in one block: with 512, a committee starved to two blocks a second could not work off a
/// backlog at 1,000 transactions a second.
pub const MAX_BLOCK_TXS: usize = 1024;
/// Most bytes of encoded transactions in one block.
pub const MAX_BLOCK_BYTES: usize = 512 << 10;
/// Length of a seed: a compressed BLS12-381 G1 point.
pub const SEED_BYTES: usize = 48;
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
    /// Everything that a block fixes. Its hash is the block's digest.
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

impl Header {
    /// The block's digest.
    pub fn digest(&self) -> Hash {
        digest(HEADER, self)
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
        let round = Round::new(Epoch::zero(), View::new(self.view));
        types::Proposal::new(round, View::new(self.parent_view), blake3::Digest(self.digest().0))
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
