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

/// The exponentials of a row less its largest element replace `row`; returns their sum's inverse and the loss.
#[inline(always)]
fn exponentials<F: Fused>(row: &mut [f32], target: usize) -> (f32, f32) {
    let largest = max_in(row);
    let at_target = row[target] - largest;
    for z in row.iter_mut() {
        *z = exp_in::<F>(*z - largest);
    }
    let total = sum_in(row);
    (1.0 / total, log_in::<F>(total) - at_target)
}

/// Losses only: each row is copied to `scratch` `[vocab]` first.
struct Losses<'a> {
    logits: &'a [f32],
    targets: &'a [u32],
    losses: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for Losses<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let rows = self.logits.chunks_exact(self.scratch.len()).zip(self.targets).zip(self.losses);
        for ((logits, target), loss) in rows {
            self.scratch.copy_from_slice(logits);
            (_, *loss) = exponentials::<F>(self.scratch, *target as usize);
        }
    }
}

/// Losses and gradients; the gradient replaces the logits.
struct Gradients<'a> {
    vocab: usize,
    logits: &'a mut [f32],
    targets: &'a [u32],
    losses: &'a mut [f32],
    scale: f32,
}

impl Kernel for Gradients<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let rows = self.logits.chunks_exact_mut(self.vocab).zip(self.targets).zip(self.losses);
        for ((row, target), loss) in rows {
            let target = *target as usize;
            let (inverse, value) = exponentials::<F>(row, target);
            *loss = value;
            let at_target = (row[target] * inverse - 1.0) * self.scale;
            for e in row.iter_mut() {
                *e = (*e * inverse) * self.scale;
            }
            row[target] = at_target;
        }
    }
}

/// Checks the shapes and returns the size of the vocabulary.
fn check(
    operation: &'static str,
    logits: usize,
    targets: &[u32],
    losses: usize,
) -> Result<usize, ArithError> {
    let rows = targets.len();
    positive(operation, "rows", rows)?;
    let vocab = (logits / rows).max(1);
    length(operation, "logits", logits, rows * vocab)?;
    length(operation, "losses", losses, rows)?;
    match targets.iter().find(|t| **t as usize >= vocab) {
        None => Ok(vocab),
        Some(&target) => Err(ArithError::Parameter {
            operation,
            argument: "target",
            got: i64::from(target),
            allowed: "the vocabulary",
        }),
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
    let vocab = check(NAME, logits.len(), targets, losses.len())?;
    let (isa, share) = (isa(), parallel::share(targets.len(), 4));
    let inputs = logits.chunks(share * vocab).zip(targets.chunks(share)).zip(losses.chunks_mut(share));
    match dlogits {
        Some(dlogits) => {
            length(NAME, "dlogits", dlogits.len(), logits.len())?;
            let pieces = inputs.zip(dlogits.chunks_mut(share * vocab)).collect();
            parallel::each(pieces, |(((logits, targets), losses), dlogits)| {
                dlogits.copy_from_slice(logits);
                dispatch(isa, Gradients { vocab, logits: dlogits, targets, losses, scale });
            });
        }
        None => parallel::each(inputs.collect(), |((logits, targets), losses)| {
            let scratch = &mut vec![0.0; vocab];
            dispatch(isa, Losses { logits, targets, losses, scratch });
        }),
    }
    Ok(())
}

/// [`cross_entropy`] without further memory: `scale` times the gradient replaces `logits`.
pub fn cross_entropy_in_place(
    logits: &mut [f32],
    targets: &[u32],
    losses: &mut [f32],
    scale: f32,
) -> Result<(), ArithError> {
    let vocab = check("cross_entropy_in_place", logits.len(), targets, losses.len())?;
    let (isa, share) = (isa(), parallel::share(targets.len(), 4));
    let pieces = logits.chunks_mut(share * vocab).zip(targets.chunks(share)).zip(losses.chunks_mut(share));
    parallel::each(pieces.collect(), |((logits, targets), losses)| {
        dispatch(isa, Gradients { vocab, logits, targets, losses, scale });
    });
    Ok(())
}
