//! Check the sum of a stage's gradients without summing again: a random vector, and a small part in full.
//!
//! Gradients are integers on one grid ([`tessera_model::GradSum`]), so a sum has no rounding and both checks are exact:
//!
//! - **Random vector** (after BTARD, `verify` 6 and 11.4 step 7). Once all sums are committed, a beacon gives a vector
//!   z of integers below 2^32. Every seat publishes `<z, own sum>`, whoever summed publishes `<z, total>`. The products
//!   must add up exactly. A wrong total passes with a probability of at most 2^-32, however small the error: fix all
//!   coordinates of z but one where the totals differ, and at most one value of that one fits. The specification
//!   compares within rounding, which catches gross fraud only; integers make the subtle kind as plain.
//! - **Partial sum again**: a part of 1/64 drawn by the beacon is added up by another seat. It needs no published
//!   products, and so also catches a seat that lies about its product to fit a wrong total.
//!
//! In the swarm as it stands every seat adds all sums itself, so there is nobody whose addition must be trusted; a
//! seat can still send different sums to different replicas. [`check_sum`] refuses any that is not the one in its
//! header. The checks above are for shards that one seat adds up for all.

use crate::{tensors, unit::StepHeader};
use std::ops::Range;
use tessera_canon::{Domain, Hash, Prf, digest};
use tessera_model::{GradPart, GradSum};

const VECTOR: Domain = Domain::new("tessera/averaging/vector/v1");
const PART: Domain = Domain::new("tessera/averaging/part/v1");
/// Values that share one stream of the vector.
const BLOCK: usize = 4096;
/// One part in so many is added up again.
pub const PARTS: usize = 64;

/// Why a sum was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    #[error(
        "the gradient sum has digest {got}, its header says {expected}; ask the seat for what it committed"
    )]
    NotCommitted { expected: Hash, got: Hash },
    #[error(
        "the products with the random vector add up to {expected}, the total's is {got}: the total is wrong"
    )]
    Product { expected: i128, got: i128 },
    #[error("value {at} of the total is {got}, the seats' sums give {expected}")]
    Value { at: usize, expected: i64, got: i64 },
    #[error("a part covers values {got:?}, expected {expected:?}")]
    Range { expected: Range<usize>, got: Range<usize> },
}

/// The digest that a header commits to for a seat's gradient sum.
pub fn grad_root(sum: &GradSum) -> Hash {
    tensors::integers(sum.values())
}

/// Check that a sum received from a seat is the one of its header.
pub fn check_sum(header: &StepHeader, sum: &GradSum) -> Result<(), SumError> {
    let (expected, got) = (header.grad_root, grad_root(sum));
    if expected == got { Ok(()) } else { Err(SumError::NotCommitted { expected, got }) }
}

/// The random vector of a stage and step.
#[derive(Clone, Copy, Debug)]
pub struct RandomVector(Hash);

impl RandomVector {
    /// Drawn by the first beacon after the sums were committed.
    pub fn new(beacon: &Hash, run: &Hash, stage: u16, step: u64) -> Self {
        Self(digest(VECTOR, &(*beacon, (*run, (stage, step)))))
    }
    /// The product with `values`, which stand at `start..` of the stage's parameters. Exact: below 2^32 values of at
    /// most 2^62 the magnitude stays under 2^126.
    pub fn product(&self, start: usize, values: &[i64]) -> i128 {
        let (mut total, mut at, end) = (0i128, start, start + values.len());
        while at < end {
            let block = at / BLOCK;
            let stop = end.min((block + 1) * BLOCK);
            let mut stream = Prf::new(VECTOR, &[&self.0.0[..], &(block as u64).to_be_bytes()].concat());
            let mut word = 0;
            for index in block * BLOCK..stop {
                // One draw serves two values.
                word = if index % 2 == 0 { stream.next_u64() } else { word >> 32 };
                if index >= at {
                    let factor = i128::from(word as u32);
                    total = total.wrapping_add(factor * i128::from(values[index - start]));
                }
            }
            at = stop;
        }
        total
    }
}

/// Check published products: the seats' must add up to the total's.
pub fn check_products(seats: &[i128], total: i128) -> Result<(), SumError> {
    let expected = seats.iter().fold(0i128, |sum, product| sum.wrapping_add(*product));
    if expected == total { Ok(()) } else { Err(SumError::Product { expected, got: total }) }
}

/// Which values of `range` are added up again: a 64th, rounded up, drawn by the beacon.
pub fn drawn_part(beacon: &Hash, run: &Hash, stage: u16, step: u64, range: Range<usize>) -> Range<usize> {
    let len = range.len().div_ceil(PARTS);
    let parts = range.len().div_ceil(len.max(1)).max(1) as u64;
    let seed = digest(PART, &(*beacon, (*run, (stage, (step, range.start as u64)))));
    let start = range.start + Prf::from_hash(PART, &seed).below(parts) as usize * len;
    start..range.end.min(start + len)
}

/// Add up `parts` again and compare with `total`; all cover the same values.
pub fn check_part(parts: &[GradPart], total: &GradPart) -> Result<(), SumError> {
    for part in parts {
        if part.range != total.range || part.values.len() != total.values.len() {
            return Err(SumError::Range { expected: total.range.clone(), got: part.range.clone() });
        }
    }
    for (at, got) in total.values.iter().enumerate() {
        let expected = parts.iter().fold(0i64, |sum, part| sum.wrapping_add(part.values[at]));
        if expected != *got {
            return Err(SumError::Value { at: total.range.start + at, expected, got: *got });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3 * BLOCK + 77;

    fn sums(seats: u64) -> (Vec<Vec<i64>>, Vec<i64>) {
        let mut prf = Prf::new(PART, b"sums");
        let mut draw = || (prf.next_u64() as i64) >> 24;
        let sums: Vec<Vec<i64>> = (0..seats).map(|_| (0..LEN).map(|_| draw()).collect()).collect();
        let total = (0..LEN).map(|at| sums.iter().map(|sum| sum[at]).sum()).collect();
        (sums, total)
    }

    fn vector(n: u8) -> RandomVector {
        RandomVector::new(&Hash([n; 32]), &Hash([1; 32]), 2, 5)
    }

    #[test]
    fn a_product_is_the_sum_of_its_pieces_and_of_the_seats() {
        let (sums, total) = sums(5);
        let z = vector(1);
        let products: Vec<i128> = sums.iter().map(|sum| z.product(0, sum)).collect();
        check_products(&products, z.product(0, &total)).unwrap();
        for cut in [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, LEN - 1] {
            let pieces = z.product(0, &total[..cut]) + z.product(cut, &total[cut..]);
            assert_eq!(pieces, z.product(0, &total), "cut at {cut}");
        }
        assert_ne!(vector(1).product(0, &total), vector(2).product(0, &total));
    }

    #[test]
    fn one_unit_of_one_value_is_enough_to_be_caught() {
        let (sums, total) = sums(4);
        for n in 0..40u8 {
            let z = vector(n);
            let products: Vec<i128> = sums.iter().map(|sum| z.product(0, sum)).collect();
            let mut wrong = total.clone();
            wrong[usize::from(n) * 301 % LEN] += if n % 2 == 0 { 1 } else { -1 };
            assert!(matches!(check_products(&products, z.product(0, &wrong)), Err(SumError::Product { .. })));
        }
    }

    #[test]
    fn a_drawn_part_finds_a_wrong_value_once_in_64() {
        let (sums, total) = sums(3);
        let mut wrong = total.clone();
        wrong[1234] ^= 1;
        let part = |values: &[i64], range: &Range<usize>| GradPart {
            range: range.clone(),
            microbatches: 1,
            values: values[range.clone()].to_vec(),
        };
        let mut found = 0u32;
        for n in 0..6400u64 {
            let beacon = digest(PART, &n);
            let range = drawn_part(&beacon, &Hash([1; 32]), 2, 5, 0..LEN);
            assert!(range.end <= LEN && !range.is_empty());
            let parts: Vec<GradPart> = sums.iter().map(|sum| part(sum, &range)).collect();
            check_part(&parts, &part(&total, &range)).unwrap();
            found += u32::from(check_part(&parts, &part(&wrong, &range)).is_err());
        }
        println!("a wrong value was found in {found} of 6400 draws, expected 100");
        assert!((70..=130).contains(&found), "{found}");
        assert_eq!(drawn_part(&Hash::ZERO, &Hash::ZERO, 0, 0, 5..5), 5..5);
        assert_eq!(drawn_part(&Hash::ZERO, &Hash::ZERO, 0, 0, 5..6), 5..6);
    }
}
