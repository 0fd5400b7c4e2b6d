//! Say which units a step has, where windows end, and how large a tensor is: what a seat must know of its run.

use crate::UnitSet;
use tessera_canon::Hash;
use tessera_model::RunSpec;

/// The numbers of a run that the protocol needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub run: Hash,
    pub stages: u16,
    /// Microbatches in one step.
    pub microbatches: u32,
    /// Held-out sequences batches measured at each window boundary.
    pub probes: u32,
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Steps in one window.
    pub window_steps: u64,
    /// Rows of a boundary tensor: sequences per microbatch x tokens per sequence.
    pub rows: usize,
    /// Columns of a boundary tensor: the model's width.
    pub width: usize,
}

impl Shape {
    /// The shape of a run.
    pub fn of(spec: &RunSpec) -> Self {
        Self {
            run: spec.run_id(),
            stages: spec.stage_count(),
            microbatches: spec.batch.microbatches,
            probes: spec.eval.microbatches,
            steps: u64::from(spec.steps),
            window_steps: u64::from(spec.window_steps),
            rows: spec.microbatch_tokens(),
            width: spec.model.d_model as usize,
        }
    }
    /// Whether `step` changes the weights. The step after the last one only measures.
    pub fn trains(&self, step: u64) -> bool {
        step < self.steps
    }
    /// Whether `step` measures the held-out loss before it trains.
    pub fn measures(&self, step: u64) -> bool {
        self.probes > 0
            && step <= self.steps
            && (step == self.steps || step.is_multiple_of(self.window_steps))
    }
    /// The microbatches of `step`.
    pub fn microbatches_of(&self, step: u64) -> UnitSet {
        UnitSet::of(0..if self.trains(step) { self.microbatches } else { 0 })
    }
    /// All units of `step`: its microbatches and its probes.
    pub fn units_of(&self, step: u64) -> UnitSet {
        let mut units = self.microbatches_of(step);
        if self.measures(step) {
            (self.microbatches..self.microbatches + self.probes).for_each(|u| units.insert(u));
        }
        units
    }
    /// Whether `unit` is a probe.
    pub fn is_probe(&self, unit: u32) -> bool {
        unit >= self.microbatches
    }
    /// The window whose end is measured when `step` closes, if there is one.
    pub fn window_closed_by(&self, step: u64) -> Option<u32> {
        let ends =
            step > 0 && step <= self.steps && (step == self.steps || step.is_multiple_of(self.window_steps));
        ends.then(|| ((step - 1) / self.window_steps) as u32)
    }
    /// The steps of `window`: first, and one past the last.
    pub fn steps_of_window(&self, window: u32) -> (u64, u64) {
        let first = u64::from(window) * self.window_steps;
        (first, (first + self.window_steps).min(self.steps))
    }
    /// Number of windows.
    pub fn windows(&self) -> u32 {
        self.steps.div_ceil(self.window_steps) as u32
    }
}
