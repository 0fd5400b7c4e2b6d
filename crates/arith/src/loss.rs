//! Measure how well logits predict the next token.
//!
//! For a row z with target t: m = largest element, e_j = exp(z_j - m), s = 16-lane sum of e,
//! loss = log(s) - (z_t - m), in nats. Gradient: dz_j = (e_j * (1 / s)) * scale for j != t and
//! dz_t = (e_t * (1 / s) - 1) * scale. Rows do not interact.
//!
//! With n logits within a range D and probabilities p: the error of the loss is below
//! (3 D + 3 log n + n / 16 + 8) * 2^-24, that of dz_j below (2 D + n / 16 + 13) * 2^-24 * scale * (p_j, + 1 if j = t).

use crate::{
    error::{ArithError, length, positive},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
    parallel,
    reduce::{max_in, sum_in},
    scalar::{exp_in, log_in},
};

struct Rows<'a> {
    logits: &'a [f32],
    targets: &'a [u32],
    losses: &'a mut [f32],
    /// `[rows, vocab]` to be filled with the gradient, or one row of scratch.
    exponentials: &'a mut [f32],
    gradient: bool,
    scale: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let vocab = self.logits.len() / self.targets.len();
        let rows = self.logits.chunks_exact(vocab).zip(self.targets).zip(self.losses).enumerate();
        for (row, ((logits, target), loss)) in rows {
            let at = if self.gradient { row * vocab } else { 0 };
            let exponentials = &mut self.exponentials[at..at + vocab];
            let target = *target as usize;
            let largest = max_in(logits);
            for (e, z) in exponentials.iter_mut().zip(logits) {
                *e = exp_in::<F>(z - largest);
            }
            let total = sum_in(exponentials);
            *loss = log_in::<F>(total) - (logits[target] - largest);
            if self.gradient {
                let inverse = 1.0 / total;
                let at_target = (exponentials[target] * inverse - 1.0) * self.scale;
                for e in exponentials.iter_mut() {
                    *e = (*e * inverse) * self.scale;
                }
                exponentials[target] = at_target;
            }
        }
    }
}

/// Computes the cross-entropy of each row of `logits` `[rows, vocab]` against `targets` `[rows]` into `losses`
/// `[rows]`, in nats, and if asked sets `dlogits` `[rows, vocab]` to `scale` times its gradient.
pub fn cross_entropy(
    logits: &[f32],
    targets: &[u32],
    losses: &mut [f32],
    dlogits: Option<&mut [f32]>,
    scale: f32,
) -> Result<(), ArithError> {
    const NAME: &str = "cross_entropy";
    let rows = targets.len();
    positive(NAME, "rows", rows)?;
    let vocab = logits.len() / rows;
    positive(NAME, "vocab", vocab)?;
    length(NAME, "logits", logits.len(), rows * vocab)?;
    length(NAME, "losses", losses.len(), rows)?;
    if let Some(&target) = targets.iter().find(|t| **t as usize >= vocab) {
        return Err(ArithError::Parameter {
            operation: NAME,
            argument: "target",
            got: i64::from(target),
            allowed: "the vocabulary",
        });
    }
    let (isa, share) = (isa(), parallel::share(rows, 4));
    let inputs = logits.chunks(share * vocab).zip(targets.chunks(share)).zip(losses.chunks_mut(share));
    match dlogits {
        Some(dlogits) => {
            length(NAME, "dlogits", dlogits.len(), logits.len())?;
            let pieces = inputs.zip(dlogits.chunks_mut(share * vocab)).collect();
            parallel::each(pieces, |(((logits, targets), losses), exponentials)| {
                dispatch(isa, Rows { logits, targets, losses, exponentials, gradient: true, scale });
            });
        }
        None => parallel::each(inputs.collect(), |((logits, targets), losses)| {
            let exponentials = &mut vec![0.0; vocab];
            dispatch(isa, Rows { logits, targets, losses, exponentials, gradient: false, scale });
        }),
    }
    Ok(())
}
