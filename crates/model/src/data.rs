//! Decide, from the run spec alone, which tokens every microbatch of a run consists of.
//!
//! A corpus is cut into fixed blocks of `seq_len + 1` tokens (neighbours share one token, so every token is
//! predicted once) and committed by a Merkle root. Sequence `n` of a run, counted over steps, microbatches
//! and rows, is block `pi_e(n mod B)` in epoch `e = n / B`, where `pi_e` is a permutation keyed by
//! (run_id, e): a Feistel network of four BLAKE3 rounds with cycle-walking (Black and Rogaway 2002), so
//! one index costs no table. Anyone with the corpus can compute the inputs and labels of any microbatch.
//! Nothing is cached on disk.

use crate::{
    corpus,
    spec::RunSpec,
    tokenizer::{Tokenizer, TokenizerError},
};
use tessera_canon::{Domain, Hash, MerklePath, MerkleTree, Prf, digest_parts};

const BLOCK: Domain = Domain::new("tessera/token-block/v1");
const ORDER: Domain = Domain::new("tessera/data-order/v1");

/// Why a corpus cannot serve a run, or a microbatch does not exist.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer is not the run's.
    #[error(
        "tokenizer hash: the run spec expects {expected}, this tokenizer has {got}; use the run's tokenizer file"
    )]
    WrongTokenizer { expected: Hash, got: Hash },
    /// The text is not the run's corpus.
    #[error(
        "corpus does not match the manifest of the run: expected root {expected} ({expected_blocks} training + \
         {expected_held_out} held-out blocks), got {got} ({got_blocks} + {got_held_out}); fetch the corpus \
         that the run names as {source_name:?}, byte for byte"
    )]
    WrongCorpus {
        source_name: String,
        expected: Hash,
        expected_blocks: u32,
        expected_held_out: u32,
        got: Hash,
        got_blocks: u32,
        got_held_out: u32,
    },
    /// Too little text for one block.
    #[error(
        "corpus too short: the {part} part has {got} tokens, one block needs {needed}; use a longer text"
    )]
    TooShort { part: &'static str, got: usize, needed: usize },
    /// The corpus is not embedded.
    #[error("corpus {got:?} is not part of the program, only \"moby-dick\" is; give the path of its text")]
    NotEmbedded { got: String },
    /// Step, microbatch or evaluation index beyond the run.
    #[error("{what} {got} does not exist: the run has {limit}")]
    OutOfRange { what: &'static str, got: u64, limit: u64 },
}

/// What commits a corpus: part of the run spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub root: Hash,
    pub tokenizer_hash: Hash,
    pub blocks: u32,
    pub held_out_blocks: u32,
}

/// Inputs and labels of one microbatch, each `[sequences * seq_len]`; label `i` is the token after input `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Microbatch {
    pub tokens: Vec<u32>,
    pub labels: Vec<u32>,
}

/// A tokenised corpus in memory.
pub struct Dataset {
    train: Vec<u32>,
    held_out: Vec<u32>,
    seq_len: usize,
    vocabulary: usize,
    manifest: Manifest,
    tree: MerkleTree,
    tokenizer: Tokenizer,
}

impl Dataset {
    /// Tokenise `text` with the embedded tokenizer and check it against the manifest of `spec`.
    pub fn from_text(spec: &RunSpec, text: &str) -> Result<Self, DataError> {
        Self::from_text_with(spec, text, Tokenizer::embedded(spec.model.vocab as usize)?)
    }
    /// The same with another tokenizer.
    pub fn from_text_with(spec: &RunSpec, text: &str, tokenizer: Tokenizer) -> Result<Self, DataError> {
        let (expected, got) = (spec.data.tokenizer_hash, tokenizer.hash());
        if expected != got {
            return Err(DataError::WrongTokenizer { expected, got });
        }
        let dataset = Self::tokenize_with(spec, text, tokenizer)?;
        dataset.check(spec)?;
        Ok(dataset)
    }
    /// The embedded corpus, if `spec` names it.
    pub fn embedded(spec: &RunSpec) -> Result<Self, DataError> {
        if &*spec.data.source != "moby-dick" {
            return Err(DataError::NotEmbedded { got: spec.data.source.to_string() });
        }
        Self::from_text(spec, corpus::MOBY_DICK)
    }
    /// Tokenise `text` without comparing it with a manifest: for designers, who are about to write one.
    pub fn tokenize(spec: &RunSpec, text: &str) -> Result<Self, DataError> {
        Self::tokenize_with(spec, text, Tokenizer::embedded(spec.model.vocab as usize)?)
    }
    /// The same with another tokenizer.
    pub fn tokenize_with(spec: &RunSpec, text: &str, tokenizer: Tokenizer) -> Result<Self, DataError> {
        let seq_len = spec.model.seq_len as usize;
        let (train, held_out) = corpus::split(text);
        let train = encode_by_lines(&tokenizer, train)?;
        let held_out = encode_by_lines(&tokenizer, held_out)?;
        for (part, tokens) in [("training", &train), ("held-out", &held_out)] {
            if tokens.len() <= seq_len {
                return Err(DataError::TooShort { part, got: tokens.len(), needed: seq_len + 1 });
            }
        }
        let count = |tokens: &[u32]| ((tokens.len() - 1) / seq_len) as u32;
        let (blocks, held_out_blocks) = (count(&train), count(&held_out));
        let leaves = blocks_of(&train, seq_len).chain(blocks_of(&held_out, seq_len)).map(block_digest);
        let tree = MerkleTree::new(leaves.collect());
        let manifest =
            Manifest { root: tree.root(), tokenizer_hash: tokenizer.hash(), blocks, held_out_blocks };
        let vocabulary = tokenizer.vocabulary();
        Ok(Self { train, held_out, seq_len, vocabulary, manifest, tree, tokenizer })
    }

    fn check(&self, spec: &RunSpec) -> Result<(), DataError> {
        let (want, got) = (&spec.data, &self.manifest);
        let same = want.manifest_root == got.root
            && want.blocks == got.blocks
            && want.held_out_blocks == got.held_out_blocks;
        if same {
            return Ok(());
        }
        Err(DataError::WrongCorpus {
            source_name: want.source.to_string(),
            expected: want.manifest_root,
            expected_blocks: want.blocks,
            expected_held_out: want.held_out_blocks,
            got: got.root,
            got_blocks: got.blocks,
            got_held_out: got.held_out_blocks,
        })
    }

    /// What commits this corpus.
    pub fn manifest(&self) -> Manifest {
        self.manifest
    }
    /// The run's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
    /// Block `index` of the manifest, `[seq_len + 1]`: training blocks first, then held-out ones.
    pub fn block(&self, index: u32) -> Option<&[u32]> {
        let blocks = self.manifest.blocks;
        let (tokens, index, count) = match index.checked_sub(blocks) {
            None => (&self.train, index, blocks),
            Some(index) => (&self.held_out, index, self.manifest.held_out_blocks),
        };
        let start = index as usize * self.seq_len;
        (index < count).then(|| &tokens[start..start + self.seq_len + 1])
    }
    /// Proof that block `index` is part of the manifest; its leaf is [`block_digest`].
    pub fn proof(&self, index: u32) -> Option<MerklePath> {
        self.tree.path(u64::from(index))
    }
    /// Inputs and labels of microbatch `microbatch` of `step`.
    pub fn microbatch(&self, spec: &RunSpec, step: u64, microbatch: u32) -> Result<Microbatch, DataError> {
        self.gather(&block_indices(spec, step, microbatch)?)
    }
    /// Held-out microbatch `index`, below `spec.eval.microbatches`: blocks in order, the same for everyone.
    pub fn held_out(&self, spec: &RunSpec, index: u32) -> Result<Microbatch, DataError> {
        let limit = spec.eval.microbatches;
        if index >= limit {
            return Err(out_of_range("held-out microbatch", u64::from(index), u64::from(limit)));
        }
        let first = self.manifest.blocks + index * spec.batch.sequences;
        self.gather(&(first..first + spec.batch.sequences).collect::<Vec<u32>>())
    }
    fn gather(&self, indices: &[u32]) -> Result<Microbatch, DataError> {
        let mut batch = Microbatch { tokens: Vec::new(), labels: Vec::new() };
        for &index in indices {
            let limit = u64::from(self.manifest.blocks) + u64::from(self.manifest.held_out_blocks);
            let block = self.block(index).ok_or_else(|| out_of_range("block", u64::from(index), limit))?;
            batch.tokens.extend_from_slice(&block[..self.seq_len]);
            batch.labels.extend_from_slice(&block[1..]);
        }
        Ok(batch)
    }
    /// Entropy in nats per token of the held-out tokens under the unigram frequencies of the training
    /// tokens (add-one smoothed): the loss of the best model that ignores context. For display only.
    pub fn unigram_entropy(&self) -> f64 {
        let mut counts = vec![1u64; self.vocabulary];
        for &token in &self.train {
            counts[token as usize] += 1;
        }
        let total: u64 = counts.iter().sum();
        let nats = |&token: &u32| -libm::log(counts[token as usize] as f64 / total as f64);
        self.held_out.iter().map(nats).sum::<f64>() / self.held_out.len() as f64
    }
}

/// Leaf of the manifest: the hash of a block's tokens, four bytes each, big-endian.
pub fn block_digest(block: &[u32]) -> Hash {
    let bytes: Vec<u8> = block.iter().flat_map(|token| token.to_be_bytes()).collect();
    digest_parts(BLOCK, [bytes.as_slice()])
}

/// The training blocks that make up a microbatch, from the spec alone.
pub fn block_indices(spec: &RunSpec, step: u64, microbatch: u32) -> Result<Vec<u32>, DataError> {
    let (microbatches, sequences) = (u64::from(spec.batch.microbatches), u64::from(spec.batch.sequences));
    if step >= u64::from(spec.steps) {
        return Err(out_of_range("step", step, u64::from(spec.steps)));
    }
    if u64::from(microbatch) >= microbatches {
        return Err(out_of_range("microbatch", u64::from(microbatch), microbatches));
    }
    let run_id = spec.run_id();
    let first = (step * microbatches + u64::from(microbatch)) * sequences;
    let blocks = u64::from(spec.data.blocks);
    let block = |n: u64| permute(&run_id, n / blocks, spec.data.blocks, (n % blocks) as u32);
    Ok((first..first + sequences).map(block).collect())
}

/// Position `index` of the permutation of `0..count` for one epoch.
fn permute(run_id: &Hash, epoch: u64, count: u32, index: u32) -> u32 {
    if count <= 1 {
        return 0;
    }
    let half_bits = (32 - (count - 1).leading_zeros()).div_ceil(2);
    let mask = (1u32 << half_bits) - 1;
    let mut value = index;
    // The network permutes 0..4^half_bits, less than four times `count`: walking ends, on average at once.
    loop {
        let (mut left, mut right) = (value >> half_bits, value & mask);
        for round in 0..4u8 {
            let seed = [&run_id.0[..], &epoch.to_be_bytes(), &[round], &right.to_be_bytes()].concat();
            (left, right) = (right, left ^ (Prf::new(ORDER, &seed).next_u64() as u32 & mask));
        }
        value = (left << half_bits) | right;
        if value < count {
            return value;
        }
    }
}

fn out_of_range(what: &'static str, got: u64, limit: u64) -> DataError {
    DataError::OutOfRange { what, got, limit }
}

fn blocks_of(tokens: &[u32], seq_len: usize) -> impl Iterator<Item = &[u32]> {
    (0..(tokens.len() - 1) / seq_len).map(move |i| &tokens[i * seq_len..(i + 1) * seq_len + 1])
}

/// Tokenise some lines at a time: the same tokens for everybody at a memory cost that does not grow with
/// the text. A cut after every newline is part of the definition of the token sequence.
fn encode_by_lines(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, DataError> {
    let mut tokens = Vec::new();
    for line in text.split_inclusive('\n') {
        tokens.extend(tokenizer.encode(line)?);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, sync::LazyLock};

    static TINY: LazyLock<(RunSpec, Dataset)> = LazyLock::new(|| {
        let spec = RunSpec::preset("tiny").unwrap();
        let data = Dataset::embedded(&spec).unwrap();
        (spec, data)
    });

    #[test]
    fn an_epoch_visits_every_block_once_and_the_next_in_another_order() {
        let run_id = Hash([7; 32]);
        for count in [1, 2, 3, 5, 64, 1000] {
            let epoch = |e| (0..count).map(|i| permute(&run_id, e, count, i)).collect::<Vec<u32>>();
            let visited: BTreeSet<u32> = epoch(0).into_iter().collect();
            assert_eq!(visited, (0..count).collect());
            assert!(count < 64 || epoch(0) != epoch(1));
        }
    }

    #[test]
    fn labels_are_the_next_tokens_and_batches_differ() {
        let (spec, data) = &*TINY;
        let batch = data.microbatch(spec, 3, 1).unwrap();
        let (seq, rows) = (spec.model.seq_len as usize, spec.batch.sequences as usize);
        assert_eq!((batch.tokens.len(), batch.labels.len()), (seq * rows, seq * rows));
        for row in 0..rows {
            assert_eq!(
                batch.tokens[row * seq + 1..(row + 1) * seq],
                batch.labels[row * seq..(row + 1) * seq - 1]
            );
        }
        assert_eq!(batch, data.microbatch(spec, 3, 1).unwrap());
        assert_ne!(batch, data.microbatch(spec, 3, 2).unwrap());
        assert!(matches!(data.microbatch(spec, 12, 0), Err(DataError::OutOfRange { what: "step", .. })));
        assert!(matches!(data.microbatch(spec, 0, 4), Err(DataError::OutOfRange { .. })));
        assert!(data.held_out(spec, spec.eval.microbatches).is_err());
    }

    #[test]
    fn held_out_blocks_are_never_trained_on() {
        let (spec, data) = &*TINY;
        for step in 0..u64::from(spec.steps) {
            for microbatch in 0..spec.batch.microbatches {
                let indices = block_indices(spec, step, microbatch).unwrap();
                assert!(indices.iter().all(|&i| i < data.manifest().blocks));
            }
        }
        let held_out = data.held_out(spec, 0).unwrap();
        assert_eq!(held_out.tokens[..32], data.block(data.manifest().blocks).unwrap()[..32]);
    }

    #[test]
    fn any_block_proves_itself_against_the_spec() {
        let (spec, data) = &*TINY;
        for index in [0, 17, data.manifest().blocks] {
            let leaf = block_digest(data.block(index).unwrap());
            assert!(data.proof(index).unwrap().verify(leaf, &spec.data.manifest_root));
            assert!(!data.proof(index).unwrap().verify(Hash::ZERO, &spec.data.manifest_root));
        }
    }

    #[test]
    fn another_corpus_or_tokenizer_is_refused_with_both_roots() {
        let (spec, data) = &*TINY;
        let changed = corpus::MOBY_DICK.replacen("whale", "snail", 1);
        let error = Dataset::from_text(spec, &changed).err().unwrap().to_string();
        assert!(error.contains(&data.manifest().root.to_string()) && error.contains("moby-dick"), "{error}");
        let other = Tokenizer::embedded(300).unwrap();
        let error = Dataset::from_text_with(spec, corpus::MOBY_DICK, other).err().unwrap();
        assert!(matches!(error, DataError::WrongTokenizer { .. }));
        assert!(matches!(Dataset::from_text(spec, "short"), Err(DataError::TooShort { .. })));
        let mut elsewhere = spec.clone();
        elsewhere.data.source = "other".parse().unwrap();
        assert!(matches!(Dataset::embedded(&elsewhere), Err(DataError::NotEmbedded { .. })));
    }

    #[test]
    fn text_is_recovered_from_blocks() {
        let (_, data) = &*TINY;
        let blocks = (0..data.manifest().blocks).flat_map(|index| &data.block(index).unwrap()[..32]);
        let bytes: Vec<u8> =
            blocks.flat_map(|&token| data.tokenizer().token_bytes(token).unwrap().to_vec()).collect();
        let (train, _) = corpus::split(corpus::MOBY_DICK);
        let at = bytes.iter().zip(train.as_bytes()).position(|(a, b)| a != b);
        assert_eq!(at, None, "the first byte that differs");
        assert!(bytes.len() + 33 * 16 > train.len());
        assert!((3.0..6.0).contains(&data.unigram_entropy()), "{}", data.unigram_entropy());
    }
}
