//! Reach this machine's limits on purpose: the rates that every other measurement is a share of.
//!
//! [`fma_chains`] keeps the multiply-add units busy from registers alone, [`read_stream`] reads memory and does
//! next to nothing with it. Both return what they did; the caller owns the clock and the threads.
//! Nothing here is part of canon v1.
#![allow(unsafe_code)] // Vector intrinsics; the instruction set is checked against the machine's own.

use crate::{
    isa::Isa,
    lanes::{Baseline, Fused},
};
use std::hint::black_box;

/// Lowers `isa` to one this machine has, as [`crate::with_isa`] does.
fn present(isa: Isa) -> Isa {
    let available = Isa::available();
    if available.contains(&isa) { isa } else { available.last().copied().unwrap_or(Isa::Portable) }
}

/// Runs `steps` rounds of independent multiply-add chains in registers and returns the operations done, two
/// for each fused multiply-add.
///
/// There are as many chains as registers allow, 24 of 16 values with AVX-512 and 12 of 8 with AVX2, more than
/// latency times issue width of any known core. An `isa` this machine lacks is lowered to the best it has.
/// Where the portable set has no such instruction, the software one is measured.
pub fn fma_chains(isa: Isa, steps: u64) -> u64 {
    // Values stay near 1: x = 0.5 x + 0.5 neither overflows nor becomes subnormal.
    let (factor, term) = (black_box(0.5f32), black_box(0.5f32));
    match present(isa) {
        // SAFETY: the machine has the instruction set.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(steps, factor, term) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(steps, factor, term) },
        _ => portable(steps, factor, term),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(steps: u64, factor: f32, term: f32) -> u64 {
    use std::arch::x86_64::*;
    const CHAINS: usize = 24;
    let (factor, term) = (_mm512_set1_ps(factor), _mm512_set1_ps(term));
    let mut chains = [_mm512_set1_ps(black_box(1.0)); CHAINS];
    for _ in 0..steps {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, term);
        }
    }
    black_box(chains);
    steps * (2 * 16 * CHAINS) as u64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: u64, factor: f32, term: f32) -> u64 {
    use std::arch::x86_64::*;
    const CHAINS: usize = 12;
    let (factor, term) = (_mm256_set1_ps(factor), _mm256_set1_ps(term));
    let mut chains = [_mm256_set1_ps(black_box(1.0)); CHAINS];
    for _ in 0..steps {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, term);
        }
    }
    black_box(chains);
    steps * (2 * 8 * CHAINS) as u64
}

/// Twelve chains of four values: what a 128-bit unit holds in registers.
fn portable(steps: u64, factor: f32, term: f32) -> u64 {
    const CHAINS: usize = 12;
    let mut chains = [[black_box(1.0f32); 4]; CHAINS];
    for _ in 0..steps {
        for value in chains.as_flattened_mut() {
            *value = Baseline::fma(*value, factor, term);
        }
    }
    black_box(chains);
    steps * (2 * 4 * CHAINS) as u64
}

/// Reads every value of `data` once and returns the exclusive or of their bits. On a buffer several times larger
/// than the last cache this is the memory's read rate.
///
/// With AVX2 four parts of the buffer are read side by side: a single stream does not keep enough cache lines in
/// flight. The instruction set is the one of [`crate::isa()`].
pub fn read_stream(data: &[f32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if crate::isa() >= Isa::Avx2 {
        // SAFETY: the machine has the instruction set, AVX-512 included.
        return unsafe { read_avx2(data) };
    }
    read_portable(data)
}

fn read_portable(data: &[f32]) -> u32 {
    data.iter().fold(0, |all, value| all ^ value.to_bits())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_avx2(data: &[f32]) -> u32 {
    use std::arch::x86_64::*;
    const STREAMS: usize = 4;
    const VECTORS: usize = 4;
    /// Values that one stream reads in a step: two cache lines.
    const STEP: usize = 8 * VECTORS;
    let part = data.len() / (STREAMS * STEP) * STEP;
    let mut all = [[_mm256_setzero_si256(); VECTORS]; STREAMS];
    for start in (0..part).step_by(STEP) {
        for (stream, all) in all.iter_mut().enumerate() {
            for (vector, all) in all.iter_mut().enumerate() {
                // SAFETY: stream * part + start + STEP <= STREAMS * part <= data.len().
                let values = unsafe {
                    let from = data.as_ptr().add(stream * part + start + 8 * vector);
                    _mm256_loadu_si256(from.cast())
                };
                *all = _mm256_xor_si256(*all, values);
            }
        }
    }
    let all = all.as_flattened().iter().fold(_mm256_setzero_si256(), |sum, one| _mm256_xor_si256(sum, *one));
    let mut lanes = [0u32; 8];
    // SAFETY: the array holds one vector.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), all) };
    lanes.iter().fold(read_portable(&data[STREAMS * part..]), |sum, lane| sum ^ lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_isa;

    #[test]
    fn operations_are_counted_by_what_a_step_holds() {
        for isa in Isa::available() {
            let one = fma_chains(isa, 1);
            assert!(one >= 2 * 4 * 8, "{isa:?} counts {one} operations a step");
            assert_eq!(fma_chains(isa, 1000), 1000 * one);
            assert_eq!(fma_chains(isa, 0), 0);
        }
    }

    /// A value left out, or read twice, changes the result.
    #[test]
    fn every_value_is_read_once() {
        for len in [0, 1, 15, 64, 65, 1000, 4099] {
            let data: Vec<f32> =
                (0..len as u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9))).collect();
            let expected = data.iter().fold(0, |all, value| all ^ value.to_bits());
            for isa in Isa::available() {
                assert_eq!(with_isa(isa, || read_stream(&data)), expected, "{len} values, {isa:?}");
            }
        }
    }
}
