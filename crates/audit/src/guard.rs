//! Bound what bad gradients do in the steps before their seat is convicted (`verify` 7.3), without touching good ones.
//!
//! ```text
//! v_r   mean gradient of seat r; units known to be bad are already out of it
//! g0    reference: this step's gradients of agreeing duplicates and the running mean of accepted steps, by weight
//! cap       |v_r| > 1.5 x median of the last 256 accepted norms     -> scaled down to it
//! screen    cos(v_r, g0) < 0.5th percentile of honest history       -> pulled to within half the median norm of g0
//! clip      one CenteredClip iteration around g0 with the median norm; for one or two seats rescaled to the median
//!           norm and weighted by cosine with g0 instead (after FLTrust, which rescales to |g0|: the running mean in
//!           g0 is shorter than any one gradient, because noise averages out)
//! ```
//! **When it acts.** A step in which no seat is capped or screened is summed as it is, so the promise that a
//! swarm's weights equal one process's holds for every honest step. Only when one is, all are clipped. The
//! specification clips always; with noise larger than the signal that would clip about half of all honest gradients
//! and make the result depend on who computed what. A seat that is capped or screened is to be audited with certainty.
//!
//! **Arithmetic.** Gradients are integers on the step's grid. Inner products are exact integers per tensor, so they do
//! not depend on order, threads or machines; the few scalars that follow are IEEE doubles in a fixed order, with `+ -
//! x /` and `sqrt` only. The result is `(sum_r A_r s_r + B g0)` with published integer scalars, rounded once to nearest
//! even: anyone who holds the committed sums can compute it again, and the checks of [`crate::averaging`] apply to it
//! before the one rounding.

mod vector;

use std::{collections::VecDeque, ops::Range};
use vector::{cosine, dot, median, percentile, rounded_shift};

/// Fractional bits of a reference's values and of scalars.
const REFERENCE_BITS: u32 = 12;
const SCALAR_BITS: u32 = 30;
/// Accepted norms that count, and how many are needed before anything is capped.
const NORMS: usize = 256;
const LEAST_NORMS: usize = 16;
/// Honest cosines that count, and how many are needed before anything is screened.
const COSINES: usize = 2048;
const LEAST_COSINES: usize = 200;
const CAP: f64 = 1.5;
const PULL: f64 = 0.5;
/// No scalar is larger: a gradient that would have to grow more than this is replaced by the reference.
const MOST: f64 = 1024.0;

/// The grid of a step: where each tensor lies in the stage's parameters, and its exponent.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    pub offsets: &'a [Range<usize>],
    pub exponents: &'a [i32],
}

/// A seat's committed sum.
#[derive(Clone, Copy, Debug)]
pub struct SlotSum<'a> {
    pub values: &'a [i64],
    pub microbatches: u32,
}

/// What was done to a seat's gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Kept,
    /// Too long.
    Capped,
    /// Turned away from the reference, or zero.
    Screened,
}

/// The outcome for a step: a public linear rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What was done to each seat, in order; whatever is not `Kept` is to be audited with certainty.
    pub treatments: Vec<Treatment>,
    /// `A_r`, in 2^-30; one for each seat. `None`: the plain sum.
    pub scalars: Option<Vec<i64>>,
    /// `B`, in 2^-30 of the reference's mean.
    pub reference_scalar: i64,
    /// Norms and cosines of the seats that were kept, for the history; as bits.
    kept: Vec<(u64, Option<u64>)>,
    /// Mean of a microbatch, in 2^-12 of the grid.
    reference: Option<Vec<i64>>,
}

/// Why sums were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    #[error("a gradient has {got} values, the stage has {expected} parameters")]
    Size { expected: usize, got: usize },
    #[error("no seat has a gradient in this step")]
    Empty,
    #[error("the sums are of another grid than the guard's; tell it of every step in turn")]
    Grid,
}

/// A stage's memory of accepted gradients. Equal in all replicas, because all accept the same steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guard {
    norms: VecDeque<f64>,
    cosines: VecDeque<f64>,
    /// Running mean (decay 0.9) of a microbatch's gradient, in 2^-12 of the grid of `exponents`.
    running: Vec<i64>,
    exponents: Vec<i32>,
    /// Microbatches of the last accepted step: the weight of the running mean.
    weight: u32,
}

impl Guard {
    /// Judge the sums of a step. `verified` is the sum over units whose two copies agreed.
    pub fn judge(
        &self,
        grid: Grid<'_>,
        slots: &[SlotSum<'_>],
        verified: Option<SlotSum<'_>>,
    ) -> Result<Judgement, GuardError> {
        let len = grid.offsets.last().map_or(0, |range| range.end);
        for slot in slots.iter().chain(&verified) {
            if slot.values.len() != len {
                return Err(GuardError::Size { expected: len, got: slot.values.len() });
            }
        }
        let working: Vec<usize> = (0..slots.len()).filter(|r| slots[*r].microbatches > 0).collect();
        if working.is_empty() {
            return Err(GuardError::Empty);
        }
        let reference = self.reference(grid, verified)?;
        let scale = f64::from(1u32 << REFERENCE_BITS);
        let reference_square = reference.as_ref().map_or(0.0, |g| dot(grid, g, g) / (scale * scale));
        let reference = reference.filter(|_| reference_square > 0.0);

        struct Seat {
            norm: f64,
            inner: f64,
            cosine: Option<f64>,
        }
        let seats: Vec<Seat> = working
            .iter()
            .map(|r| {
                let (values, count) = (slots[*r].values, f64::from(slots[*r].microbatches));
                let norm = dot(grid, values, values).sqrt() / count;
                let inner = reference.as_ref().map_or(0.0, |g| dot(grid, values, g) / (scale * count));
                let cosine = reference.as_ref().map(|_| cosine(inner, norm, reference_square.sqrt()));
                Seat { norm, inner, cosine }
            })
            .collect();

        let typical = if self.norms.len() >= LEAST_NORMS {
            median(self.norms.iter().copied())
        } else {
            median(seats.iter().map(|seat| seat.norm))
        };
        let known = self.norms.len() >= LEAST_NORMS || seats.len() >= 3;
        let least =
            (self.cosines.len() >= LEAST_COSINES).then(|| percentile(self.cosines.iter().copied(), 5));
        let treat = |seat: &Seat| match (seat.cosine, least) {
            (Some(_), _) if seat.norm == 0.0 => Treatment::Screened,
            (Some(cosine), Some(least)) if cosine < least => Treatment::Screened,
            _ if known && seat.norm > CAP * typical => Treatment::Capped,
            _ => Treatment::Kept,
        };
        let found: Vec<Treatment> = seats.iter().map(treat).collect();
        let mut treatments = vec![Treatment::Kept; slots.len()];
        working.iter().zip(&found).for_each(|(r, treatment)| treatments[*r] = *treatment);
        let kept = seats.iter().zip(&found).filter(|(_, treatment)| **treatment == Treatment::Kept);
        let kept = kept.map(|(seat, _)| (seat.norm.to_bits(), seat.cosine.map(f64::to_bits))).collect();
        if found.iter().all(|treatment| *treatment == Treatment::Kept) {
            return Ok(Judgement { treatments, scalars: None, reference_scalar: 0, kept, reference });
        }

        // From here on u_r = a v_r + b g0.
        let mut parts: Vec<(f64, f64)> = Vec::new();
        for (seat, treatment) in seats.iter().zip(&found) {
            let apart = |a: f64, b: f64| {
                let square = a * a * (seat.norm * seat.norm)
                    + 2.0 * a * (b - 1.0) * seat.inner
                    + (b - 1.0) * (b - 1.0) * reference_square;
                square.max(0.0).sqrt()
            };
            let pull = |a: f64, b: f64, reach: f64| {
                let distance = apart(a, b);
                let k = if distance > reach { reach / distance } else { 1.0 };
                (a * k, 1.0 + (b - 1.0) * k)
            };
            let mut part = match treatment {
                Treatment::Kept => (1.0, 0.0),
                Treatment::Capped => (CAP * typical / seat.norm, 0.0),
                Treatment::Screened => pull(1.0, 0.0, PULL * typical),
            };
            if reference.is_some() && seats.len() >= 3 {
                part = pull(part.0, part.1, typical);
            }
            parts.push(part);
        }
        let total: f64 = working.iter().map(|r| f64::from(slots[*r].microbatches)).sum();
        let mut weights: Vec<f64> =
            working.iter().map(|r| f64::from(slots[*r].microbatches) / total).collect();
        if reference.is_some() && seats.len() < 3 {
            let length = reference_square.sqrt();
            for ((seat, part), weight) in seats.iter().zip(&mut parts).zip(&mut weights) {
                let (a, b) = *part;
                let inner = a * seat.inner + b * reference_square;
                let square =
                    a * a * (seat.norm * seat.norm) + 2.0 * a * b * seat.inner + b * b * reference_square;
                let norm = square.max(0.0).sqrt();
                *weight *= cosine(inner, norm, length).max(0.0);
                let grow = typical / norm;
                *part = if grow * a <= MOST { (a * grow, b * grow) } else { (0.0, 1.0) };
            }
            let sum: f64 = weights.iter().sum();
            if sum > 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            } else {
                parts.iter_mut().for_each(|part| *part = (0.0, 1.0));
                weights.iter_mut().for_each(|weight| *weight = 1.0 / seats.len() as f64);
            }
        }
        let fixed = |value: f64| (value * f64::from(1u32 << SCALAR_BITS)).round() as i64;
        let mut scalars = vec![0; slots.len()];
        let mut reference_part = 0.0;
        for ((r, (a, b)), weight) in working.iter().zip(&parts).zip(&weights) {
            scalars[*r] = fixed(total * weight * a / f64::from(slots[*r].microbatches));
            reference_part += total * weight * b;
        }
        let reference_scalar = if reference.is_some() { fixed(reference_part) } else { 0 };
        Ok(Judgement { treatments, scalars: Some(scalars), reference_scalar, kept, reference })
    }

    /// The reference: a microbatch's mean gradient, in 2^-12 of the grid.
    fn reference(
        &self,
        grid: Grid<'_>,
        verified: Option<SlotSum<'_>>,
    ) -> Result<Option<Vec<i64>>, GuardError> {
        let running = self.running_on(grid)?;
        let verified = verified.filter(|sum| sum.microbatches > 0);
        let weight = i128::from(self.weight);
        Ok(match (running, verified) {
            (None, None) => None,
            (Some(running), None) => Some(running),
            (running, Some(sum)) => {
                let all = weight * i128::from(running.is_some()) + i128::from(sum.microbatches);
                let blend = |at: usize, value: i64| {
                    let old = running.as_ref().map_or(0, |running| i128::from(running[at]) * weight);
                    ((i128::from(value) << REFERENCE_BITS) + old).div_euclid(all) as i64
                };
                Some(sum.values.iter().enumerate().map(|(at, value)| blend(at, *value)).collect())
            }
        })
    }

    /// The running mean on the grid of this step, whose exponents may have moved.
    fn running_on(&self, grid: Grid<'_>) -> Result<Option<Vec<i64>>, GuardError> {
        if self.running.is_empty() {
            return Ok(None);
        }
        if self.exponents.len() != grid.exponents.len()
            || grid.offsets.last().map_or(0, |range| range.end) != self.running.len()
        {
            return Err(GuardError::Grid);
        }
        let mut running = self.running.clone();
        for ((range, old), new) in grid.offsets.iter().zip(&self.exponents).zip(grid.exponents) {
            let values = &mut running[range.clone()];
            match u32::try_from(new - old) {
                Ok(0) => {}
                Ok(coarser) => values
                    .iter_mut()
                    .for_each(|value| *value = rounded_shift(i128::from(*value), coarser.min(126)) as i64),
                Err(_) => {
                    let finer = (old - new).unsigned_abs().min(126);
                    let most = i64::MAX >> 8;
                    values.iter_mut().for_each(|value| {
                        let wide = i128::from(*value).checked_shl(finer).unwrap_or(0);
                        *value = if wide >> finer == i128::from(*value) {
                            wide.clamp((-most).into(), most.into()) as i64
                        } else {
                            most * value.signum()
                        };
                    });
                }
            }
        }
        Ok(Some(running))
    }

    /// Take an accepted step into the memory: its judgement and the sum that was applied.
    pub fn accept(
        &mut self,
        grid: Grid<'_>,
        judgement: &Judgement,
        total: &[i64],
        microbatches: u32,
    ) -> Result<(), GuardError> {
        self.blend(grid, total, microbatches)?;
        for (norm, cosine) in &judgement.kept {
            self.norms.push_back(f64::from_bits(*norm));
            self.cosines.extend(cosine.map(f64::from_bits));
        }
        while self.norms.len() > NORMS {
            self.norms.pop_front();
        }
        while self.cosines.len() > COSINES {
            self.cosines.pop_front();
        }
        Ok(())
    }

    /// Refresh the running mean with gradients that audits have since confirmed.
    pub fn confirm(&mut self, grid: Grid<'_>, sum: SlotSum<'_>) -> Result<(), GuardError> {
        let weight = self.weight;
        self.blend(grid, sum.values, sum.microbatches)?;
        self.weight = weight;
        Ok(())
    }

    fn blend(&mut self, grid: Grid<'_>, total: &[i64], microbatches: u32) -> Result<(), GuardError> {
        let len = grid.offsets.last().map_or(0, |range| range.end);
        if total.len() != len {
            return Err(GuardError::Size { expected: len, got: total.len() });
        }
        if microbatches == 0 {
            return Err(GuardError::Empty);
        }
        let old = self.running_on(grid)?;
        let count = i128::from(microbatches);
        let mean = |value: i64| (i128::from(value) << REFERENCE_BITS).div_euclid(count);
        self.running = match old {
            None => total.iter().map(|value| mean(*value) as i64).collect(),
            Some(old) => {
                let blend =
                    |(old, new): (&i64, &i64)| (9 * i128::from(*old) + mean(*new)).div_euclid(10) as i64;
                old.iter().zip(total).map(blend).collect()
            }
        };
        self.exponents = grid.exponents.to_vec();
        self.weight = microbatches;
        Ok(())
    }
}

impl Judgement {
    /// Whether the plain sum stands.
    pub fn is_plain(&self) -> bool {
        self.scalars.is_none()
    }
    /// The step's sum: plain, or by the scalars. `slots` are those that were judged.
    pub fn apply(&self, slots: &[SlotSum<'_>]) -> Vec<i64> {
        let len = slots.first().map_or(0, |slot| slot.values.len());
        let Some(scalars) = &self.scalars else {
            return (0..len)
                .map(|at| slots.iter().fold(0i64, |sum, slot| sum.wrapping_add(slot.values[at])))
                .collect();
        };
        let most = i128::from(tessera_arith::grid::MAX_SUM);
        let value = |at: usize| {
            let own: i128 = slots
                .iter()
                .zip(scalars)
                .map(|(slot, scalar)| i128::from(*scalar) * i128::from(slot.values[at]))
                .sum();
            let reference = self.reference.as_ref().map_or(0, |g| i128::from(g[at]));
            let all = (own << REFERENCE_BITS) + i128::from(self.reference_scalar) * reference;
            rounded_shift(all, SCALAR_BITS + REFERENCE_BITS).clamp(-most, most) as i64
        };
        (0..len).map(value).collect()
    }
}

#[cfg(test)]
mod tests;
