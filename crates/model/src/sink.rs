//! Take weight gradients one tensor at a time, as a backward pass makes them, and take them back if it fails.
//!
//! A backward pass that fails must leave the gradient sum as it was, but tensors it finished are in the sum
//! already. They are not kept anywhere; because every result is a function of the unit's input, the stage runs
//! the unit again and subtracts the same integers. So the promise costs no memory, and time only where a unit is
//! void. The alternatives cost every microbatch: all gradients held until the last is known to be finite (4 bytes
//! a parameter), or a copy of the sum (8 bytes).
//!
//! Not here: the pass itself, and the rounding ([`tessera_arith::grid`]).

use crate::{
    error::ModelError,
    gradient::{GradSum, Sign},
};
use tessera_arith::{ArithError, elementwise};

/// Where a backward pass puts its weight gradients.
pub(crate) struct Sink<'a> {
    sum: Option<&'a mut GradSum>,
    sign: Sign,
    stage: u16,
    /// Added to the indices it is given: sub-layers count their own tensors.
    offset: usize,
    /// Tensors taken.
    taken: usize,
    /// Tensors to take; the rest pass unseen.
    limit: usize,
}

impl<'a> Sink<'a> {
    /// A sink for `stage`. Without a sum, gradients are only checked.
    pub(crate) fn new(stage: u16, accumulate: Option<(&'a mut GradSum, Sign)>) -> Self {
        let (sum, sign) = accumulate.map_or((None, Sign::Add), |(sum, sign)| (Some(sum), sign));
        Self { sum, sign, stage, offset: 0, taken: 0, limit: usize::MAX }
    }

    /// A sink that takes back what this one took, from the same pass run again; `None` where nothing was.
    pub(crate) fn reverse(&mut self) -> Option<Sink<'_>> {
        let (limit, stage) = (self.taken, self.stage);
        let sum = self.sum.as_deref_mut().filter(|_| limit > 0)?;
        Some(Sink { sum: Some(sum), sign: self.sign.opposite(), stage, offset: 0, taken: 0, limit })
    }

    /// Whether it took all it was made for.
    pub(crate) fn is_full(&self) -> bool {
        self.taken == self.limit
    }

    /// Let the next indices count from tensor `offset` of the stage.
    pub(crate) fn count_from(&mut self, offset: usize) {
        self.offset = offset;
    }

    /// Take the gradient of tensor `index`. On an error the sum is as before this call.
    pub(crate) fn take(&mut self, index: usize, gradient: &[f32]) -> Result<(), ModelError> {
        let (tensor, sign) = (self.offset + index, self.sign);
        self.put(gradient, |sum| sum.put(tensor, gradient, sign))
    }

    /// Take the gradient of a table, tensor 0 of the stage, for these `rows` of it; the others are zero.
    pub(crate) fn take_rows(&mut self, rows: &[u32], gradient: &[f32]) -> Result<(), ModelError> {
        let sign = self.sign;
        self.put(gradient, |sum| sum.put_rows(0, rows, gradient, sign))
    }

    fn put(
        &mut self,
        gradient: &[f32],
        put: impl FnOnce(&mut GradSum) -> Result<(), ArithError>,
    ) -> Result<(), ModelError> {
        if self.is_full() {
            return Ok(());
        }
        let not_finite = ModelError::NotFinite { stage: self.stage, what: "a weight's gradient" };
        match &mut self.sum {
            // The grid checks what it rounds.
            Some(sum) => put(sum).map_err(|error| match error {
                ArithError::NonFinite { .. } => not_finite,
                other => other.into(),
            })?,
            None if !elementwise::finite(gradient) => return Err(not_finite),
            None => (),
        }
        self.taken += 1;
        Ok(())
    }

    /// Count the microbatch: all its gradients are in.
    pub(crate) fn finish(self, microbatches: u32) {
        if let Some(sum) = self.sum {
            sum.set_microbatches(microbatches);
        }
    }
}
