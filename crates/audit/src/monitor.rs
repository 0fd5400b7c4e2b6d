//! Watch what comes over an edge and say when it is unlike what came before (`verify` 5, after SENTINEL, 2603.03592).
//!
//! Every receiver runs one monitor for each direction of its boundary, on tensors that it holds anyway. An unlike
//! tensor is held, its sender is audited more often, and the unit at once. That is all a monitor may do: it proves
//! nothing, an attacker who imitates the statistics passes it, and so nobody is ever punished for a flag. It does bound
//! what a crude saboteur does in the time before its conviction. Its numbers never leave the seat, so they need not
//! be the same bits everywhere; they are all the same, since only exact sums and IEEE operations go in.
//!
//! | statistic | unlike if |
//! |---|---|
//! | root mean square, in powers of two | outside the fences |
//! | distance of the columns' means from their running mean, over its length | above the fence |
//! | share of columns whose mean has the other sign | above the fence |
//! | Wasserstein distance of projected rows from their running quantiles (4 fixed signs-only projections) | above the fence |
//!
//! Fences are Tukey's on the last `window` accepted values: `Q3 + k (Q3 - Q1)` and `Q1 - k (Q3 - Q1)`. `k` starts at
//! 3 and grows by a tenth whenever audits clear more than 1 % of all tensors that were flagged: what a run's own
//! data does often is no sign. A flagged tensor changes no running mean. The first `warm_up` tensors only teach.

use std::collections::VecDeque;
use tessera_arith::reduce;
use tessera_canon::{Domain, Prf};

const SIGNS: Domain = Domain::new("tessera/monitor-signs/v1");
const PROJECTIONS: usize = 4;

/// What was unlike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    Size,
    Mean,
    Signs,
    Distribution,
}

const STATISTICS: [Statistic; 4] =
    [Statistic::Size, Statistic::Mean, Statistic::Signs, Statistic::Distribution];

/// How a monitor learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Decay of running means: 0.9 for activations, 0.8 for gradients.
    pub decay: f64,
    /// Accepted values that fences are made of.
    pub window: usize,
    /// Tensors before the first flag.
    pub warm_up: u64,
}

impl Tuning {
    /// For activations.
    pub const ACTIVATIONS: Self = Self { decay: 0.9, window: 256, warm_up: 64 };
    /// For gradients.
    pub const GRADIENTS: Self = Self { decay: 0.8, window: 256, warm_up: 64 };
}

/// The monitor of one direction of one boundary.
#[derive(Clone, Debug)]
pub struct Monitor {
    tuning: Tuning,
    columns: usize,
    signs: Vec<f32>,
    seen: u64,
    flagged: u64,
    cleared: u64,
    spread: f64,
    mean: Vec<f64>,
    quantiles: Vec<f64>,
    history: [VecDeque<f64>; 4],
}

/// A tensor of another width than the boundary's, or that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a monitor of {columns} columns got {values} values, or one that is not finite; void the unit")]
pub struct WrongTensor {
    pub columns: usize,
    pub values: usize,
}

impl Monitor {
    /// A monitor for tensors of `columns` columns.
    pub fn new(columns: usize, tuning: Tuning) -> Self {
        let mut prf = Prf::new(SIGNS, &(columns as u64).to_be_bytes());
        let signs = (0..PROJECTIONS * columns).map(|_| if prf.next_u64() & 1 == 0 { 1.0 } else { -1.0 });
        Self {
            tuning,
            columns,
            signs: signs.collect(),
            seen: 0,
            flagged: 0,
            cleared: 0,
            spread: 3.0,
            mean: Vec::new(),
            quantiles: Vec::new(),
            history: Default::default(),
        }
    }

    /// Look at a tensor `[rows, columns]`; the statistics that are unlike are returned, most often none. Where any
    /// is, hold the unit and have it audited.
    pub fn observe(&mut self, tensor: &[f32]) -> Result<Vec<Statistic>, WrongTensor> {
        let wrong = WrongTensor { columns: self.columns, values: tensor.len() };
        if self.columns == 0 || tensor.is_empty() || !tensor.len().is_multiple_of(self.columns) {
            return Err(wrong);
        }
        let squares = f64::from(reduce::sum_squares(tensor)) / tensor.len() as f64;
        if !squares.is_finite() {
            return Err(wrong);
        }
        let (means, quantiles) = (self.column_means(tensor), self.projected(tensor));
        let first = self.mean.is_empty();
        if first {
            (self.mean, self.quantiles) = (means.clone(), quantiles.clone());
        }
        let values = [
            // Zeros are as far away as anything can be.
            if squares > 0.0 { squares.sqrt().log2() } else { f64::from(f32::MIN_EXP) * 2.0 },
            distance(&means, &self.mean),
            means.iter().zip(&self.mean).filter(|(a, b)| **a * **b < 0.0).count() as f64
                / self.columns as f64,
            wasserstein(&quantiles, &self.quantiles),
        ];
        let mut unlike = Vec::new();
        if self.seen >= self.tuning.warm_up {
            for (at, value) in values.iter().enumerate() {
                let (low, high) = fences(&self.history[at], self.spread);
                let too_low = STATISTICS[at] == Statistic::Size && *value < low;
                if *value > high || too_low {
                    unlike.push(STATISTICS[at]);
                }
            }
        }
        self.seen += 1;
        if unlike.is_empty() {
            self.learn(&means, &quantiles, values, first);
        } else {
            self.flagged += 1;
        }
        Ok(unlike)
    }

    /// An audit found a flagged unit to be right.
    pub fn clear(&mut self) {
        self.cleared += 1;
        if self.cleared * 100 > self.seen {
            self.spread *= 1.1;
        }
    }

    /// Tensors seen, and flagged.
    pub fn counts(&self) -> (u64, u64) {
        (self.seen, self.flagged)
    }

    fn learn(&mut self, means: &[f64], quantiles: &[f64], values: [f64; 4], first: bool) {
        let keep = self.tuning.decay;
        for (old, new) in self.mean.iter_mut().zip(means).chain(self.quantiles.iter_mut().zip(quantiles)) {
            *old = keep * *old + (1.0 - keep) * new;
        }
        if first {
            // Its distance to itself is no sample.
            return;
        }
        for (history, value) in self.history.iter_mut().zip(values) {
            history.push_back(value);
            if history.len() > self.tuning.window {
                history.pop_front();
            }
        }
    }

    fn column_means(&self, tensor: &[f32]) -> Vec<f64> {
        let mut means = vec![0.0; self.columns];
        for row in tensor.chunks_exact(self.columns) {
            for (mean, value) in means.iter_mut().zip(row) {
                *mean += f64::from(*value);
            }
        }
        let rows = (tensor.len() / self.columns) as f64;
        means.iter_mut().for_each(|mean| *mean /= rows);
        means
    }

    /// Sixteen quantiles of the rows along each projection.
    fn projected(&self, tensor: &[f32]) -> Vec<f64> {
        const QUANTILES: usize = 16;
        let mut found = Vec::with_capacity(PROJECTIONS * QUANTILES);
        for signs in self.signs.chunks_exact(self.columns) {
            let along = |row: &[f32]| -> f64 {
                row.iter().zip(signs).map(|(value, sign)| f64::from(value * sign)).sum()
            };
            let mut values: Vec<f64> = tensor.chunks_exact(self.columns).map(along).collect();
            values.sort_unstable_by(f64::total_cmp);
            let at = |n: usize| values[n * (values.len() - 1) / (QUANTILES - 1)];
            found.extend((0..QUANTILES).map(at));
        }
        found
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Euclidean distance over the reference's length.
fn distance(values: &[f64], reference: &[f64]) -> f64 {
    let apart = length(values.iter().zip(reference).map(|(a, b)| a - b));
    apart / length(reference.iter().copied()).max(f64::MIN_POSITIVE)
}

/// Mean distance of quantiles over the reference's mean magnitude.
fn wasserstein(values: &[f64], reference: &[f64]) -> f64 {
    let apart: f64 = values.iter().zip(reference).map(|(a, b)| (a - b).abs()).sum();
    apart / reference.iter().map(|value| value.abs()).sum::<f64>().max(f64::MIN_POSITIVE)
}

/// Tukey's fences.
fn fences(history: &VecDeque<f64>, spread: f64) -> (f64, f64) {
    let mut sorted: Vec<f64> = history.iter().copied().collect();
    if sorted.len() < 4 {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |quarter: usize| sorted[quarter * (sorted.len() - 1) / 4];
    let (q1, q3) = (at(1), at(3));
    let reach = spread * (q3 - q1).max(1e-9);
    (q1 - reach, q3 + reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 32;

    struct Source(Prf);
    impl Source {
        fn normal(&mut self) -> f32 {
            (0..12).map(|_| (self.0.next_u64() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
        }
        /// Rows around column means that differ, as activations have.
        fn tensor(&mut self) -> Vec<f32> {
            (0..64 * COLUMNS).map(|at| self.normal() + (at % COLUMNS) as f32 / 8.0 - 2.0).collect()
        }
    }

    fn taught() -> (Monitor, Source) {
        let mut monitor = Monitor::new(COLUMNS, Tuning::ACTIVATIONS);
        let mut source = Source(Prf::new(SIGNS, b"test"));
        for _ in 0..200 {
            monitor.observe(&source.tensor()).unwrap();
        }
        (monitor, source)
    }

    #[test]
    fn honest_tensors_pass_and_crude_sabotage_is_held() {
        let (mut monitor, mut source) = taught();
        let before = monitor.counts().1;
        for _ in 0..1000 {
            monitor.observe(&source.tensor()).unwrap();
        }
        let flags = monitor.counts().1 - before;
        println!("flags among 1000 honest tensors: {flags}");
        assert!(flags <= 20, "{flags}");
        type Attack = fn(f32) -> f32;
        let attacks: [(&str, Attack); 5] = [
            ("zeros", |_| 0.0),
            ("flip", |x| -x),
            ("ten times", |x| 10.0 * x),
            ("a tenth", |x| 0.1 * x),
            ("constant", |_| 1.0),
        ];
        for (name, change) in attacks {
            let tensor: Vec<f32> = source.tensor().into_iter().map(change).collect();
            assert!(!monitor.observe(&tensor).unwrap().is_empty(), "{name} passed");
        }
    }

    #[test]
    fn what_keeps_the_statistics_passes() {
        let (mut monitor, mut source) = taught();
        // The same tensor with its rows in another order: all four statistics are unchanged (attack 27).
        let flagged = (0..100)
            .filter(|_| {
                let tensor = source.tensor();
                let rows: Vec<&[f32]> = tensor.chunks_exact(COLUMNS).rev().collect();
                !monitor.observe(&rows.concat()).unwrap().is_empty()
            })
            .count();
        assert!(flagged <= 4, "{flagged}");
    }

    #[test]
    fn flags_teach_nothing_and_cleared_ones_widen_the_fences() {
        let (mut monitor, mut source) = taught();
        let before = monitor.clone();
        let huge: Vec<f32> = source.tensor().into_iter().map(|x| 100.0 * x).collect();
        assert!(!monitor.observe(&huge).unwrap().is_empty());
        assert_eq!((&monitor.mean, &monitor.history), (&before.mean, &before.history));
        let spread = monitor.spread;
        monitor.clear();
        assert_eq!(monitor.spread, spread, "one in two hundred is within one per cent");
        (0..3).for_each(|_| monitor.clear());
        assert!(monitor.spread > spread);
        assert!(monitor.observe(&[1.0; 31]).is_err());
        assert!(monitor.observe(&[f32::NAN; 32]).is_err());
    }
}
