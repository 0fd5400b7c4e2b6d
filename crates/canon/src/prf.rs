//! Draw public pseudo-random numbers that anyone can draw again.

use crate::{Domain, Hash};

/// A stream of numbers keyed by a domain and a seed (BLAKE3 in extendable-output mode).
pub struct Prf(blake3::OutputReader);

impl Prf {
    /// The stream for `seed` (the canonical encoding of whatever the draw depends on).
    pub fn new(domain: Domain, seed: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain.name());
        hasher.update(seed);
        Self(hasher.finalize_xof())
    }
    /// The stream for a hash.
    pub fn from_hash(domain: Domain, seed: &Hash) -> Self {
        Self::new(domain, &seed.0)
    }
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    /// A uniform number below `bound`, without bias.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw below zero does not exist");
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.next_u64();
            if draw < limit {
                return draw % bound;
            }
        }
    }
    /// A uniform permutation of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_one_and_repeats() {
        let draw = || Prf::new(Domain::new("tessera/test/v1"), b"seed").permutation(1000);
        let mut sorted = draw();
        assert_eq!(sorted, draw());
        assert_ne!(sorted, (0..1000).collect::<Vec<u32>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
    }
}
