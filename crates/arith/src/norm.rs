//! Normalise rows to unit root mean square, with a gain per column (RMSNorm, Zhang and Sennrich 2019).
//!
//! Forward, for a row x of d values: q = 16-lane sum of squares; r = 1 / sqrt(q / d + eps);
//! out_j = (x_j * r) * gain_j.
//!
//! Backward: u_j = x_j * r, w_j = dy_j * gain_j, t = (16-lane dot of u and w) / d, dx_j = r * fma(-u_j, t, w_j).
//! dgain_j: rows are cut into blocks of 256 from row 0; a block's value is the chain
//! `acc = fma(dy_ij, u_ij, acc)`, i ascending, from +0; blocks are added onto dgain in order.
//!
//! Relative error of a forward value is below (d / 32 + 8) * 2^-24. Backward, with r taken as given and S the mean
//! of abs(u w) of the row: that of dx_j is below (d / 16 + 12) * 2^-24 * r * (abs(w_j) + abs(u_j) * S), that of
//! dgain_j over n rows below (min(n, 256) + n / 256 + 3) * 2^-24 * the sum of abs(dy_ij * u_ij).

use crate::{
    error::{ArithError, length, rows},
    gemm::{BLOCK, Store},
    isa::isa,
    lanes::{Fused, Kernel, LANES, dispatch, fold},
    parallel,
    reduce::dot_in,
};

struct Forward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let d = self.gain.len();
        let rows = self.x.chunks_exact(d).zip(self.out.chunks_exact_mut(d)).zip(self.inverse);
        for ((x, out), inverse) in rows {
            let r = 1.0 / (dot_in::<F>(x, x) / d as f32 + self.epsilon).sqrt();
            *inverse = r;
            for ((out, x), gain) in out.iter_mut().zip(x).zip(self.gain) {
                *out = (x * r) * gain;
            }
        }
    }
}

/// Normalises each row of `x` `[rows, d]` into `out` and keeps 1 / rms of each row in `inv_rms` `[rows]`.
pub fn rms_forward(
    x: &[f32],
    gain: &[f32],
    eps: f32,
    out: &mut [f32],
    inv_rms: &mut [f32],
) -> Result<(), ArithError> {
    let d = gain.len();
    let count = rows("rms_forward", "x", x.len(), d)?;
    length("rms_forward", "out", out.len(), x.len())?;
    length("rms_forward", "inv_rms", inv_rms.len(), count)?;
    let (isa, share) = (isa(), parallel::share(count, 16));
    let pieces = x.chunks(share * d).zip(out.chunks_mut(share * d)).zip(inv_rms.chunks_mut(share));
    parallel::each(pieces.collect(), |((x, out), inverse)| {
        dispatch(isa, Forward { x, gain, epsilon: eps, out, inverse });
    });
    Ok(())
}

struct Backward<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    inverse: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    store: Store,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let d = self.gain.len();
        let add = self.store == Store::Add;
        let inputs = self.x.chunks_exact(d).zip(self.dy.chunks_exact(d)).zip(self.inverse);
        for (((x, dy), &r), dx) in inputs.zip(self.dx.chunks_exact_mut(d)) {
            let mut lanes = [0.0; LANES];
            let ((xs, x_rest), (dys, dy_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
            let (gains, gain_rest) = self.gain.as_chunks::<LANES>();
            for ((x, dy), gain) in xs.iter().zip(dys).zip(gains) {
                for lane in 0..LANES {
                    lanes[lane] = F::fma(x[lane] * r, dy[lane] * gain[lane], lanes[lane]);
                }
            }
            let rest = x_rest.iter().zip(dy_rest).zip(gain_rest);
            for (lane, ((x, dy), gain)) in lanes.iter_mut().zip(rest) {
                *lane = F::fma(x * r, dy * gain, *lane);
            }
            let t = fold(lanes, |a, b| a + b) / d as f32;
            for (((dx, x), dy), gain) in dx.iter_mut().zip(x).zip(dy).zip(self.gain) {
                let value = r * F::fma(-(x * r), t, dy * gain);
                *dx = if add { *dx + value } else { value };
            }
        }
    }
}

struct Gain<'a> {
    x: &'a [f32],
    inverse: &'a [f32],
    dy: &'a [f32],
    d: usize,
    start: usize,
    dgain: &'a mut [f32],
}

impl Kernel for Gain<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for (index, dgain) in self.dgain.chunks_mut(LANES).enumerate() {
            let columns = self.start + index * LANES..self.start + index * LANES + dgain.len();
            for block in 0..self.inverse.len().div_ceil(BLOCK) {
                let mut lanes = [0.0; LANES];
                for row in block * BLOCK..((block + 1) * BLOCK).min(self.inverse.len()) {
                    let r = self.inverse[row];
                    let x = &self.x[row * self.d..][columns.clone()];
                    let dy = &self.dy[row * self.d..][columns.clone()];
                    for (lane, (x, dy)) in lanes.iter_mut().zip(x.iter().zip(dy)) {
                        *lane = F::fma(*dy, x * r, *lane);
                    }
                }
                for (dgain, lane) in dgain.iter_mut().zip(lanes) {
                    *dgain += lane;
                }
            }
        }
    }
}

/// Propagates `dy` `[rows, d]` through [`rms_forward`]: `dx` is set or added to as `store` says, and the
/// gradient of the gain is added onto `dgain` `[d]`. `inv_rms` `[rows]` comes from the forward pass.
pub fn rms_backward(
    x: &[f32],
    gain: &[f32],
    inv_rms: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    store: Store,
) -> Result<(), ArithError> {
    let d = gain.len();
    let count = rows("rms_backward", "x", x.len(), d)?;
    length("rms_backward", "inv_rms", inv_rms.len(), count)?;
    length("rms_backward", "dy", dy.len(), x.len())?;
    length("rms_backward", "dx", dx.len(), x.len())?;
    length("rms_backward", "dgain", dgain.len(), d)?;
    let (isa, share) = (isa(), parallel::share(count, 16));
    let inputs = x.chunks(share * d).zip(dy.chunks(share * d)).zip(inv_rms.chunks(share));
    let pieces = inputs.zip(dx.chunks_mut(share * d)).collect();
    parallel::each(pieces, |(((x, dy), inverse), dx)| {
        dispatch(isa, Backward { x, gain, inverse, dy, dx, store });
    });
    let share = parallel::share(d, 4 * LANES);
    parallel::each(dgain.chunks_mut(share).enumerate().collect(), |(index, dgain)| {
        dispatch(isa, Gain { x, inverse: inv_rms, dy, d, start: index * share, dgain });
    });
    Ok(())
}
