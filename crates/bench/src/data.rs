//! Fill buffers with ordinary numbers, the same in every run: time must not depend on subnormals or zeros.

/// Numbers of mean 0 and the given standard deviation, as a sum of four uniform draws (Irwin-Hall).
pub(crate) fn numbers(seed: u64, len: usize, deviation: f32) -> Vec<f32> {
    let scale = deviation * 3f32.sqrt() / 65_536.0;
    let mut state = seed;
    let mut draw = || {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let sum: i32 = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as i32).sum();
        (sum - 2 * 65_535) as f32 * scale
    };
    (0..len).map(|_| draw()).collect()
}

/// Tokens below `vocab`.
pub(crate) fn tokens(seed: u64, len: usize, vocab: u32) -> Vec<u32> {
    numbers(seed, len, 1.0).into_iter().map(|number| number.to_bits() % vocab).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_stated_spread_and_tokens_their_range() {
        let numbers = numbers(7, 100_000, 0.5);
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let square = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (square.sqrt() - 0.5).abs() < 0.01, "{mean} {square}");
        let tokens = tokens(7, 10_000, 100);
        assert!((0..100).all(|token| tokens.contains(&token)), "some token never comes");
        assert!(tokens.iter().all(|&token| token < 100));
    }
}
