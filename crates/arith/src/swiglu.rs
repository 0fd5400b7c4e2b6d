//! Gate one vector by the SiLU of another (SwiGLU, Shazeer 2020).
//!
//! Forward: out = (gate * s) * up with s = sigmoid(gate). Backward: dup = dout * (gate * s),
//! dgate = (dout * up) * (s * fma(gate, 1 - s, 1)). Relative error of out and dup is below 8 * 2^-24 (but where an
//! exponential is subnormal, see [`crate::scalar`]); that of dgate is below
//! 12 * 2^-24 * abs(dout * up) * s * (1 + abs(gate)).

use crate::{
    error::{ArithError, length},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
    parallel,
    scalar::{sigmoid_in, silu_in},
};

struct Forward<'a>(&'a [f32], &'a [f32], &'a mut [f32]);
impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for ((gate, up), out) in self.0.iter().zip(self.1).zip(self.2) {
            *out = silu_in::<F>(*gate) * up;
        }
    }
}

struct Backward<'a>(&'a [f32], &'a [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);
impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let inputs = self.0.iter().zip(self.1).zip(self.2);
        for (((gate, up), dout), (dgate, dup)) in inputs.zip(self.3.iter_mut().zip(self.4)) {
            let s = sigmoid_in::<F>(*gate);
            *dup = dout * (gate * s);
            *dgate = (dout * up) * (s * F::fma(*gate, 1.0 - s, 1.0));
        }
    }
}

/// Computes `out` from `gate` and `up`; all of one length.
pub fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    length("swiglu forward", "up", up.len(), gate.len())?;
    length("swiglu forward", "out", out.len(), gate.len())?;
    let (isa, share) = (isa(), parallel::share(gate.len(), 1 << 14));
    let pieces = gate.chunks(share).zip(up.chunks(share)).zip(out.chunks_mut(share)).collect();
    parallel::each(pieces, |((gate, up), out)| dispatch(isa, Forward(gate, up, out)));
    Ok(())
}

/// Sets `dgate` and `dup` from the gradient `dout` of the output.
pub fn backward(
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) -> Result<(), ArithError> {
    length("swiglu backward", "up", up.len(), gate.len())?;
    length("swiglu backward", "dout", dout.len(), gate.len())?;
    length("swiglu backward", "dgate", dgate.len(), gate.len())?;
    length("swiglu backward", "dup", dup.len(), gate.len())?;
    let (isa, share) = (isa(), parallel::share(gate.len(), 1 << 14));
    let inputs = gate.chunks(share).zip(up.chunks(share)).zip(dout.chunks(share));
    let pieces = inputs.zip(dgate.chunks_mut(share).zip(dup.chunks_mut(share))).collect();
    parallel::each(pieces, |(((gate, up), dout), (dgate, dup))| {
        dispatch(isa, Backward(gate, up, dout, dgate, dup));
    });
    Ok(())
}
