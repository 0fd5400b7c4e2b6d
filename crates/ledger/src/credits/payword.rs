//! Pay chunk by chunk with a hash chain: revealing w_j proves that j chunks were agreed to.
//!
//! The client draws w_m at random, takes w_{i-1} = BLAKE3("tessera/payword/v1", w_i) and puts w_0 into its
//! order. Each new chunk costs the verifier one hash.
//!
//! ```
//! use tessera_ledger::payword::{Chain, check_next, check};
//! let chain = Chain::new([7; 32], 3);
//! assert!(check_next(&chain.root(), &chain.word(1).unwrap()));
//! assert!(check(&chain.root(), 3, &chain.word(3).unwrap()));
//! assert!(!check(&chain.root(), 2, &chain.word(3).unwrap()));
//! ```

use tessera_canon::{Domain, Hash, digest_parts};

const PAYWORD: Domain = Domain::new("tessera/payword/v1");

/// The word before `word`.
pub fn step(word: &Hash) -> Hash {
    digest_parts(PAYWORD, [&word.0[..]])
}
/// Whether `next` is the word after `last`.
pub fn check_next(last: &Hash, next: &Hash) -> bool {
    step(next) == *last
}
/// Whether `word` is w_`chunks` of the chain with this root: `chunks` hashes.
pub fn check(root: &Hash, chunks: u32, word: &Hash) -> bool {
    (0..chunks).fold(*word, |word, _| step(&word)) == *root
}

/// A client's chain. Keeps every word: 32 bytes a chunk.
#[derive(Clone)]
pub struct Chain(Vec<Hash>);

impl Chain {
    /// A chain for `chunks` chunks from 32 secret random bytes that are used for no other chain.
    pub fn new(secret: [u8; 32], chunks: u32) -> Self {
        let mut words = vec![Hash(secret)];
        for _ in 0..chunks {
            words.push(step(words.last().unwrap_or(&Hash::ZERO)));
        }
        words.reverse();
        Self(words)
    }
    /// w_0.
    pub fn root(&self) -> Hash {
        self.0[0]
    }
    /// w_`chunks`; `None` past the end of the chain.
    pub fn word(&self, chunks: u32) -> Option<Hash> {
        self.0.get(chunks as usize).copied()
    }
}
