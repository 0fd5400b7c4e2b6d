//! Compute the learning rate of a step, the same on every machine.
//!
//! Evaluated in f64 with the pure-Rust crate `libm` (no platform library) and rounded once to f32.

use crate::{
    real::Real,
    spec::{OptimizerSpec, RunSpec, Schedule},
};

/// Rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// For hidden matrices.
    pub hidden: f32,
    /// For embedding, head and gains.
    pub outer: f32,
}

/// The fraction of the peak rate at `step` (from 0): `(step + 1) / warmup` while warming up, then the
/// schedule over the remaining steps, ending at `final_fraction` on the last one; constant after it.
pub fn fraction(optimizer: &OptimizerSpec, steps: u32, step: u64) -> f64 {
    let warmup = u64::from(optimizer.warmup_steps);
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let span = (u64::from(steps) - 1).saturating_sub(warmup).max(1);
    let progress = (step - warmup).min(span) as f64 / span as f64;
    let end = optimizer.final_fraction.get();
    match optimizer.schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => 1.0 - (1.0 - end) * progress,
        Schedule::Cosine => end + (1.0 - end) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
    }
}

/// The learning rates of `step`.
pub fn rates(spec: &RunSpec, step: u64) -> Rates {
    let fraction = fraction(&spec.optimizer, spec.steps, step);
    let rate = |peak: Real| (peak.get() * fraction) as f32;
    Rates { hidden: rate(spec.optimizer.learning_rate), outer: rate(spec.optimizer.outer_learning_rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_ends_at_the_final_fraction() {
        let mut optimizer = RunSpec::preset("nano").unwrap().optimizer;
        for schedule in [Schedule::Linear, Schedule::Cosine] {
            optimizer.schedule = schedule;
            let course: Vec<f64> = (0..60).map(|step| fraction(&optimizer, 60, step)).collect();
            assert_eq!(course[0], 0.2);
            assert_eq!((course[4], course[5]), (1.0, 1.0));
            assert!(course[5..].windows(2).all(|pair| pair[1] < pair[0]));
            assert!((course[59] - 0.1).abs() < 1e-12);
            assert_eq!(fraction(&optimizer, 60, 1000), course[59]);
        }
        optimizer.schedule = Schedule::Constant;
        assert_eq!(fraction(&optimizer, 60, 59), 1.0);
    }
}
