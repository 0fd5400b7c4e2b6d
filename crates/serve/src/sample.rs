//! Choose a token from logits so that every machine chooses the same one.
//!
//! Temperature 0 takes the greatest logit, the lowest index among equals. Otherwise each kept token weighs
//! `floor(exp((logit - greatest) / temperature) * 2^32)`, with the canonical exponential, and a number below
//! the integer sum of the weights is drawn from a stream that the seed and the position key. There is no
//! floating-point sum and no floating-point comparison with a random number.

use tessera_arith::scalar;
use tessera_canon::{Domain, Prf};
use tessera_wire::serving::Sampling;

const DRAW: Domain = Domain::new("tessera/token-draw/v1");
const ONE: f32 = 4_294_967_296.0;

/// The token at position `pos`, given the logits `[vocab]` computed at the position before it.
///
/// `None` for an empty row. Logits that are not finite are an error of the worker before it comes here.
pub fn choose(logits: &[f32], sampling: &Sampling, pos: u32) -> Option<u32> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if sampling.temperature_milli == 0 {
        return order.into_iter().min_by(by_logit);
    }
    order.sort_unstable_by(by_logit);
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k as usize);
    }
    let greatest = logits[*order.first()? as usize];
    let temperature = sampling.temperature_milli as f32 / 1000.0;
    let weight = |token: &u32| (scalar::exp((logits[*token as usize] - greatest) / temperature) * ONE) as u64;
    let weights: Vec<u64> = order.iter().map(weight).collect();
    // The greatest weighs 2^32, so the sum is positive; 2^32 tokens would be needed to overflow it.
    let sum = weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight)).max(1);
    let mut seed = [0; 12];
    seed[..8].copy_from_slice(&sampling.seed.to_be_bytes());
    seed[8..].copy_from_slice(&pos.to_be_bytes());
    let mut draw = Prf::new(DRAW, &seed).below(sum);
    for (token, weight) in order.iter().zip(&weights) {
        if draw < *weight {
            return Some(*token);
        }
        draw -= weight;
    }
    order.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT: Sampling = Sampling { temperature_milli: 1000, top_k: 0, seed: 7 };

    #[test]
    fn greedy_takes_the_greatest_and_the_lowest_of_equals() {
        let greedy = Sampling { temperature_milli: 0, top_k: 5, seed: 1 };
        assert_eq!(choose(&[0.0, 3.0, 3.0, -1.0], &greedy, 9), Some(1));
        assert_eq!(choose(&[], &greedy, 9), None);
        assert_eq!(choose(&[], &HOT, 9), None);
    }

    #[test]
    fn draws_repeat_and_follow_the_probabilities() {
        let logits = [0.0f32, 1.0, 2.0, -40.0];
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        let mut counts = [0u32; 4];
        for pos in 0..8000 {
            let token = choose(&logits, &HOT, pos).unwrap();
            assert_eq!(choose(&logits, &HOT, pos), Some(token));
            counts[token as usize] += 1;
        }
        for (logit, count) in logits.iter().zip(counts) {
            let expected = f64::from(*logit).exp() / total;
            assert!((f64::from(count) / 8000.0 - expected).abs() < 0.02, "{expected} {count}");
        }
        let narrow = Sampling { top_k: 1, ..HOT };
        assert!((0..50).all(|pos| choose(&logits, &narrow, pos) == Some(2)));
        let other = Sampling { seed: 8, ..HOT };
        assert!((0..50).any(|pos| choose(&logits, &other, pos) != choose(&logits, &HOT, pos)));
    }
}
