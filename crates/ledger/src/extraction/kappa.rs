//! Compute the part of a run's compute that a coalition must contribute before it covers enough stages.
//!
//! Each identity of the coalition must have done `theta x F / (S x R)` before it is seated, and is drawn to one
//! of `S` stages. After `n` draws a stage is still missing with probability `exp(-n/S)`, so that all but a share
//! `mu` takes `n = S x ln(1/mu)` identities and `kappa = theta x ln(1/mu) / R` of `F` (DESIGN section 9). If `O`
//! stages are open they cost nothing: of the `C = S - O` others a share `mu' = mu x S / C` may be missing, and
//! `kappa = theta x ln(1/mu') x (C/S) / R`; it is 0 where the open stages alone leave no more than `mu` missing.
//!
//! Integers only: the logarithm is exact to 2^-32. It is a statement about draws that are independent of the
//! coalition; `docs/extraction.md` compares it with simulated histories.

/// `ln 2` in Q64.
const LN_2: u128 = 0xB17217F7D1CF79AB;

/// `ln(number / of)` in Q32, rounded down; 0 if `number <= of` or `of` is 0.
pub fn ln_ratio(number: u64, of: u64) -> u64 {
    if of == 0 || number <= of {
        return 0;
    }
    // number / of = 2^whole x mantissa with 1 <= mantissa < 2, in Q63.
    let mut mantissa = (u128::from(number) << 63) / u128::from(of);
    let mut log = 0u128;
    while mantissa >> 64 != 0 {
        mantissa >>= 1;
        log += 1 << 48;
    }
    // Each squaring gives the next bit of the binary logarithm.
    for bit in (0..48).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            log |= 1 << bit;
        }
    }
    // Q48 x Q64 -> Q32. The whole part is at most 63: below 2^54 x 2^64.
    ((log * LN_2) >> 80) as u64
}

/// `kappa` in millionths of the run's compute, rounded down; at most 2^32 - 1.
///
/// `stages` (`S`), `open` of them without admission work, `seats` in a stage (`R`); `theta` and `mu` in 1/10 000.
pub fn kappa(stages: u16, open: u16, seats: u16, theta: u16, mu: u16) -> u32 {
    let closed = u64::from(stages.saturating_sub(open));
    let stages = u64::from(stages);
    if closed == 0 || seats == 0 {
        return 0;
    }
    // 1/mu' = closed x 10 000 / (mu x stages). Without any dispensable stage every closed one is needed; the
    // harmonic number of `closed` takes the place of the logarithm.
    let log = if mu == 0 {
        (1..=closed).map(|k| (1u64 << 32) / k).sum()
    } else {
        ln_ratio(closed * 10_000, u64::from(mu) * stages)
    };
    let millionths = u128::from(theta) * 100 * u128::from(log) * u128::from(closed)
        / (u128::from(stages) * u128::from(seats))
        >> 32;
    millionths.min(u32::MAX.into()) as u32
}

/// Stages covered by `held` (bit s: stage s) of `stages`, with a missing stage between two held ones counted.
pub fn covered(held: u128, stages: u16) -> u16 {
    close_gaps(held, stages).count_ones() as u16
}

/// `held` with every gap of one stage closed.
pub fn close_gaps(held: u128, stages: u16) -> u128 {
    let mask = if stages >= 128 { u128::MAX } else { (1 << stages) - 1 };
    (held | ((held << 1) & (held >> 1))) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_floating_point() {
        let cases = [(4, 1), (3, 2), (10_000, 1), (10_001, 10_000), (u64::MAX, 1), (1 << 40, 3), (2, 1)];
        for (number, of) in cases {
            let exact = (number as f64 / of as f64).ln();
            let got = ln_ratio(number, of) as f64 / 2f64.powi(32);
            assert!((got - exact).abs() < 1e-9, "ln({number}/{of}) = {exact}, got {got}");
        }
        assert_eq!([ln_ratio(1, 1), ln_ratio(1, 2), ln_ratio(1, 0), ln_ratio(0, 0)], [0; 4]);
    }

    /// DESIGN section 9: mu = 1/4 gives 0.35 theta at R = 4 and 0.69 theta at R = 2.
    #[test]
    fn kappa_has_the_designs_figures() {
        assert_eq!(kappa(30, 0, 4, 10_000, 2500), 346_573);
        assert_eq!(kappa(30, 0, 2, 10_000, 2500), 693_147);
        assert_eq!(kappa(30, 0, 4, 5000, 2500), 173_286);
        // Every stage needed: the harmonic number of 4 is 25/12.
        assert_eq!(kappa(4, 0, 1, 10_000, 0), 2_083_333);
    }

    #[test]
    fn open_stages_cost_nothing() {
        assert_eq!(kappa(8, 8, 2, 10_000, 2500), 0);
        // 2 of 8 closed are the quarter that may be missing.
        assert_eq!(kappa(8, 6, 2, 10_000, 2500), 0);
        // 4 closed, of which 2 may be missing: ln 2 x 4/8 / 2.
        assert_eq!(kappa(8, 4, 2, 10_000, 2500), 173_286);
        for open in 0..8 {
            assert!(kappa(8, open + 1, 2, 10_000, 2500) <= kappa(8, open, 2, 10_000, 2500));
        }
    }

    #[test]
    fn gaps_of_one_are_closed_and_no_others() {
        assert_eq!(close_gaps(0b0000_0101, 8), 0b111);
        assert_eq!(close_gaps(0b0000_1001, 8), 0b1001);
        assert_eq!(close_gaps(0b1010_0101, 8), 0b1110_0111);
        assert_eq!(covered(u128::MAX, 128), 128);
        assert_eq!(covered(u128::MAX, 5), 5);
        assert_eq!(covered(1 << 127 | 1 << 125, 128), 3);
    }
}
