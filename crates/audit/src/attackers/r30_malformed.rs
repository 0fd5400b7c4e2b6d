//! Send bytes that are no message: cut off, flipped, with lengths that nothing could hold.
//!
//! The decoder checks every length before it takes memory.

use super::{Attacker, NOISE};
use tessera_canon::{Prf, digest_bytes};

/// Row 30.
#[derive(Clone, Copy, Debug)]
pub struct Malformed {
    pub count: usize,
}

impl Attacker for Malformed {
    fn row(&self) -> u8 {
        30
    }
    fn name(&self) -> &'static str {
        "malformed messages"
    }
    fn garbage(&mut self, honest: &[u8]) -> Vec<Vec<u8>> {
        if honest.is_empty() {
            return Vec::new();
        }
        let mut prf = Prf::from_hash(NOISE, &digest_bytes(NOISE, honest));
        let mut below = move |bound: usize| prf.below(bound.max(1) as u64) as usize;
        let mut made = Vec::new();
        for n in 0..self.count {
            let mut bytes = honest.to_vec();
            match n % 4 {
                0 => bytes.truncate(below(honest.len())),
                1 => {
                    let at = below(bytes.len());
                    bytes[at..].iter_mut().take(5).for_each(|byte| *byte = 0xff);
                }
                2 => {
                    for _ in 0..8 {
                        let at = below(bytes.len());
                        bytes[at] ^= 1 << below(8);
                    }
                }
                _ => bytes.extend((0..1 + below(64)).map(|at| at as u8)),
            }
            made.push(bytes);
        }
        made
    }
}
