//! Turn samples into the figures of a row.

use tessera_bench::Row;

/// Samples of one quantity, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }
    /// The value that `percent` of all do not exceed (nearest rank); not a number where there are none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }
    pub(crate) fn greatest(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
    pub(crate) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }
}

/// A row with its rates; `figures` are added by [`Figures::with`].
pub(crate) fn row(name: String, unit: &str, rates: &Samples, per_cpu_second: f64, milliseconds: f64) -> Row {
    Row {
        name,
        unit: unit.into(),
        median: rates.median(),
        best: rates.greatest(),
        per_cpu_second,
        milliseconds,
        figures: Default::default(),
        last: None,
    }
}

/// Add figures to a row.
pub(crate) trait Figures {
    /// The same row with one more figure; the name ends in the unit.
    fn with(self, name: &str, value: f64) -> Self;
    /// The same row with median and 95th percentile of `samples`.
    fn with_spread(self, name: &str, samples: &Samples) -> Self;
}

impl Figures for Row {
    fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.into(), value);
        self
    }
    fn with_spread(self, name: &str, samples: &Samples) -> Self {
        self.with(&format!("{name}_p50_ms"), samples.median())
            .with(&format!("{name}_p95_ms"), samples.percentile(95))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples = Samples::new((1..=20).rev().map(f64::from).collect());
        assert_eq!((samples.median(), samples.percentile(95), samples.greatest()), (10.0, 19.0, 20.0));
        assert_eq!(Samples::new(vec![7.0]).percentile(95), 7.0);
        assert!(Samples::default().median().is_nan());
    }
}
