//! Turn a gradient into a step: AdamW, momentum, orthogonalisation for Muon, clipping.
//!
//! AdamW (Loshchilov and Hutter 2019), per element, with c1 = 1 / (1 - beta1^t) and c2 = 1 / (1 - beta2^t)
//! given by the caller and keep = fma(-rate, decay, 1):
//! m = fma(beta1, m, (1 - beta1) * g); v = fma(beta2, v, ((1 - beta2) * g) * g);
//! w = fma(-rate, (m * c1) / (sqrt(v * c2) + epsilon), w * keep).
//! Errors: of m below 3 * 2^-24 * (abs(beta1 m) + abs((1 - beta1) g)), of v below 4 * 2^-24 * v, and of w, with m and v
//! taken as given, below 2^-24 * (3 * abs(w keep) + 6 * abs(the change)).
//!
//! [`momentum`]: b = fma(beta, b, g); the direction is b, or fma(beta, b, g) in Nesterov's form; one rounding each.
//! [`descend`]: w = fma(-rate, d, w * fma(-rate, decay, 1)), off by at most 2^-24 * (3 * abs(w keep) + abs(rate d)).
//!
//! [`newton_schulz`] (Jordan et al. 2024, "Muon"): s = 1 / (sqrt(16-lane sum of squares in memory order) + 1e-7),
//! X = X * s; then in each step, with A = X X' (X' X if rows > cols), A2 = A A, B = fma(c, A2, b * A) and
//! T = B X (X B if rows > cols), X = fma(a, X, T); products by [`gemm`].
//! [`newton_schulz_gram`] gives the same matrix up to rounding, for less work where one side is much longer: it iterates
//! on the Gram matrix of the short side, and multiplies the long side once. With s and X as above, G = X X' (X' X if
//! rows > cols); then in each step, with `sym` for a product computed on and above the diagonal and mirrored below,
//! P = fma(c, sym(G G), b * G), P_ii = P_ii + a, Q = P in the first step and sym(P Q) in later ones, and, except in the
//! last step, T = sym(P G), G = sym(T P). The result is Q X (X Q if rows > cols). For sides m <= n and 5 steps it
//! takes 3 m^2 n + 17 m^3 operations, `newton_schulz` 15 m^2 n + 5 m^3; both halves of a symmetric product count once.
//! Squaring the singular values costs accuracy in the small ones, which the iteration then spreads.
//!
//! No bound is derived for the error of either: what is rounded in a step can grow by 3.97 in each later one (the
//! largest slope of the quintic on [0, 1.2024], where the singular values stay; in the Frobenius norm), some 330-fold
//! in five steps, which times the norms of the products bounds nothing. Measured against f64 on 48 x 160 and 48 x 48: an
//! element is off by up to 8e-7 in `newton_schulz`, of random matrices and of those whose singular values span four
//! decades; in `newton_schulz_gram` by up to 1e-5 of random squares, 3e-6 over four decades, 4e-7 of random 48 x 160.
//!
//! The five steps bring every singular value of a well-conditioned matrix near one (0.7 to 1.2), not to one.
//!
//! [`global_norm`]: square root of the sum, in order from +0, of each tensor's 16-lane sum of squares. For T tensors of
//! at most n values it is off by at most ((n / 16 + 5 + T) / 2 + 1) * 2^-24 relative. [`clip`] multiplies by
//! max_norm / norm: two roundings more.
//!
//! Empty vectors are allowed, but not matrices without rows or columns.

use crate::{
    elementwise,
    error::{ArithError, length, positive},
    gemm::{Mat, MatMut, Store, gemm, gemm_symmetric},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
    parallel,
    reduce::sum_squares,
};

/// The numbers of one AdamW step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Decoupled decay: the weight is first multiplied by 1 - learning_rate * weight_decay.
    pub weight_decay: f32,
    /// 1 / (1 - beta1^t) for step t = 1, 2, ...
    pub correction1: f32,
    /// 1 / (1 - beta2^t) for step t = 1, 2, ...
    pub correction2: f32,
}

struct Adam<'a>(&'a AdamW, &'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32]);
impl Kernel for Adam<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let p = *self.0;
        let keep = F::fma(-p.learning_rate, p.weight_decay, 1.0);
        let (rest1, rest2) = (1.0 - p.beta1, 1.0 - p.beta2);
        let state = self.1.iter_mut().zip(self.2).zip(self.3);
        for (((w, m), v), g) in state.zip(self.4) {
            *m = F::fma(p.beta1, *m, rest1 * g);
            *v = F::fma(p.beta2, *v, (rest2 * g) * g);
            let direction = (*m * p.correction1) / ((*v * p.correction2).sqrt() + p.epsilon);
            *w = F::fma(-p.learning_rate, direction, *w * keep);
        }
    }
}

/// Takes one AdamW step on `weight` and its two moments; all of one length.
pub fn adamw(
    step: &AdamW,
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    grad: &[f32],
) -> Result<(), ArithError> {
    length("adamw", "first moment", first.len(), weight.len())?;
    length("adamw", "second moment", second.len(), weight.len())?;
    length("adamw", "gradient", grad.len(), weight.len())?;
    let (isa, share) = (isa(), parallel::share(weight.len(), 1 << 14));
    let state = weight.chunks_mut(share).zip(first.chunks_mut(share)).zip(second.chunks_mut(share));
    parallel::each(state.zip(grad.chunks(share)).collect(), |(((weight, first), second), grad)| {
        dispatch(isa, Adam(step, weight, first, second, grad));
    });
    Ok(())
}

struct Momentum<'a>(&'a mut [f32], &'a [f32], f32, bool, &'a mut [f32]);
impl Kernel for Momentum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (beta, nesterov) = (self.2, self.3);
        for ((b, g), out) in self.0.iter_mut().zip(self.1).zip(self.4) {
            *b = F::fma(beta, *b, *g);
            *out = if nesterov { F::fma(beta, *b, *g) } else { *b };
        }
    }
}

/// Updates a momentum `buffer` with `grad` and writes the direction to `out`; all of one length.
pub fn momentum(
    buffer: &mut [f32],
    grad: &[f32],
    beta: f32,
    nesterov: bool,
    out: &mut [f32],
) -> Result<(), ArithError> {
    length("momentum", "gradient", grad.len(), buffer.len())?;
    length("momentum", "out", out.len(), buffer.len())?;
    dispatch(isa(), Momentum(buffer, grad, beta, nesterov, out));
    Ok(())
}

struct Descend<'a>(&'a mut [f32], &'a [f32], f32, f32);
impl Kernel for Descend<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (rate, decay) = (self.2, self.3);
        let keep = F::fma(-rate, decay, 1.0);
        for (w, direction) in self.0.iter_mut().zip(self.1) {
            *w = F::fma(-rate, *direction, *w * keep);
        }
    }
}

/// Moves `weight` against `direction`: w = fma(-rate, direction, w * fma(-rate, decay, 1)).
pub fn descend(
    weight: &mut [f32],
    direction: &[f32],
    learning_rate: f32,
    weight_decay: f32,
) -> Result<(), ArithError> {
    length("descend", "direction", direction.len(), weight.len())?;
    dispatch(isa(), Descend(weight, direction, learning_rate, weight_decay));
    Ok(())
}

/// x = fma(a, x, b * y) for every element.
struct Combine<'a>(&'a mut [f32], f32, &'a [f32], f32);
impl Kernel for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (a, b) = (self.1, self.3);
        for (x, y) in self.0.iter_mut().zip(self.2) {
            *x = F::fma(a, *x, b * y);
        }
    }
}

/// The quintic of Muon: a X + b X X' X + c (X X')^2 X.
pub(crate) const NEWTON_SCHULZ: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);

fn matrix(operation: &'static str, m: &[f32], rows: usize, cols: usize) -> Result<(), ArithError> {
    positive(operation, "rows", rows)?;
    positive(operation, "cols", cols)?;
    length(operation, "m", m.len(), rows.saturating_mul(cols))
}

/// Replaces `m` [rows, cols] by a nearly orthogonal matrix with the same singular vectors. Muon uses 5 `steps`; zero
/// only scale `m`.
pub fn newton_schulz(m: &mut [f32], rows: usize, cols: usize, steps: usize) -> Result<(), ArithError> {
    matrix("newton_schulz", m, rows, cols)?;
    let (a, b, c) = NEWTON_SCHULZ;
    let isa = isa();
    elementwise::scale(m, 1.0 / (sum_squares(m).sqrt() + 1e-7));
    let side = rows.min(cols);
    let (mut gram, mut square, mut product) =
        (vec![0.0; side * side], vec![0.0; side * side], vec![0.0; m.len()]);
    for _ in 0..steps {
        let x = Mat::new(m, rows, cols)?;
        let (left, right) = if rows > cols { (x.t(), x) } else { (x, x.t()) };
        gemm_symmetric(&mut gram, left, right)?;
        let view = Mat::new(&gram, side, side)?;
        gemm_symmetric(&mut square, view, view)?;
        dispatch(isa, Combine(&mut square, c, &gram, b));
        let polynomial = Mat::new(&square, side, side)?;
        let (left, right) = if rows > cols { (x, polynomial) } else { (polynomial, x) };
        gemm(MatMut::new(&mut product, rows, cols)?, left, right, Store::Set)?;
        dispatch(isa, Combine(m, a, &product, 1.0));
    }
    Ok(())
}

/// Replaces `m` [rows, cols] as [`newton_schulz`] does, by way of its Gram matrix: cheaper from a ratio of sides of
/// two on. Zero `steps` only scale `m`.
pub fn newton_schulz_gram(m: &mut [f32], rows: usize, cols: usize, steps: usize) -> Result<(), ArithError> {
    matrix("newton_schulz_gram", m, rows, cols)?;
    let (a, b, c) = NEWTON_SCHULZ;
    let isa = isa();
    elementwise::scale(m, 1.0 / (sum_squares(m).sqrt() + 1e-7));
    if steps == 0 {
        return Ok(());
    }
    let side = rows.min(cols);
    let square = || vec![0.0; side * side];
    let (mut gram, mut polynomial, mut factor, mut spare) = (square(), square(), square(), square());
    let x = Mat::new(m, rows, cols)?;
    let (left, right) = if rows > cols { (x.t(), x) } else { (x, x.t()) };
    gemm_symmetric(&mut gram, left, right)?;
    for step in 0..steps {
        let g = Mat::new(&gram, side, side)?;
        gemm_symmetric(&mut polynomial, g, g)?;
        dispatch(isa, Combine(&mut polynomial, c, &gram, b));
        polynomial.iter_mut().step_by(side + 1).for_each(|diagonal| *diagonal += a);
        let p = Mat::new(&polynomial, side, side)?;
        if step == 0 {
            factor.copy_from_slice(&polynomial);
        } else {
            gemm_symmetric(&mut spare, p, Mat::new(&factor, side, side)?)?;
            std::mem::swap(&mut spare, &mut factor);
        }
        if step + 1 < steps {
            gemm_symmetric(&mut spare, p, g)?;
            gemm_symmetric(&mut gram, Mat::new(&spare, side, side)?, p)?;
        }
    }
    let q = Mat::new(&factor, side, side)?;
    let mut out = vec![0.0; m.len()];
    let (left, right) = if rows > cols { (x, q) } else { (q, x) };
    gemm(MatMut::new(&mut out, rows, cols)?, left, right, Store::Set)?;
    m.copy_from_slice(&out);
    Ok(())
}

/// From this ratio of its sides on, [`orthogonalise`] takes a matrix through its Gram matrix: it is then cheaper.
const GRAM_RATIO: usize = 2;

/// Replaces `m` [rows, cols] by a nearly orthogonal matrix: by [`newton_schulz_gram`] where one side is at least twice
/// the other, else by [`newton_schulz`].
pub fn orthogonalise(m: &mut [f32], rows: usize, cols: usize, steps: usize) -> Result<(), ArithError> {
    matrix("orthogonalise", m, rows, cols)?;
    let long = rows.max(cols) / GRAM_RATIO >= rows.min(cols);
    if long { newton_schulz_gram(m, rows, cols, steps) } else { newton_schulz(m, rows, cols, steps) }
}

/// Returns the Euclidean norm of several tensors taken together.
pub fn global_norm(tensors: &[&[f32]]) -> f32 {
    tensors.iter().fold(0.0, |total, tensor| total + sum_squares(tensor)).sqrt()
}

/// Scales `tensors` by max_norm / norm if their global norm exceeds `max_norm`; returns the norm before.
/// A norm that is not finite is an error, as is a `max_norm` that is negative or NaN, and nothing is changed.
pub fn clip(tensors: &mut [&mut [f32]], max_norm: f32) -> Result<f32, ArithError> {
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(ArithError::Number {
            operation: "clip",
            argument: "max_norm",
            got: max_norm.to_string(),
            allowed: "0..",
        });
    }
    let norm = tensors.iter().fold(0.0, |total, tensor| total + sum_squares(tensor)).sqrt();
    if !norm.is_finite() {
        return Err(ArithError::NonFinite { operation: "clip", index: 0 });
    }
    if norm > max_norm {
        let factor = max_norm / norm;
        for tensor in tensors {
            elementwise::scale(tensor, factor);
        }
    }
    Ok(norm)
}
