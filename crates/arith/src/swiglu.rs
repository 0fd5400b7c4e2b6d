//! Gate one vector by the SiLU of another (SwiGLU, Shazeer 2020).
//!
//! Forward: out = (gate * s) * up with s = sigmoid(gate). Backward: dup = dout * (gate * s),
//! dgate = (dout * up) * (s * fma(gate, 1 - s, 1)). Relative error of out and dup is below 8 * 2^-24 (but where an
//! exponential is subnormal, see [`crate::scalar`]); that of dgate is below
//! 12 * 2^-24 * abs(dout * up) * s * (1 + abs(gate)).

use crate::{
    error::{ArithError, length, positive},
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

struct BackwardInPlace<'a>(&'a mut [f32], &'a mut [f32], &'a mut [f32]);
impl Kernel for BackwardInPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for ((gate, up), dout) in self.0.iter_mut().zip(self.1).zip(self.2) {
            let (old_gate, old_up, old_dout) = (*gate, *up, *dout);
            let s = sigmoid_in::<F>(old_gate);
            let silu = old_gate * s;
            *dout = silu * old_up;
            *up = old_dout * silu;
            *gate = (old_dout * old_up) * (s * F::fma(old_gate, 1.0 - s, 1.0));
        }
    }
}

/// Computes `out` from `gate` and `up`; all of one length.
pub fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    positive("swiglu forward", "length", gate.len())?;
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
    positive("swiglu backward", "length", gate.len())?;
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

/// [`backward`] and [`forward`] in one pass, without further memory: `gate` becomes its gradient, `up` becomes
/// its gradient, and `dout`, the gradient of the output, becomes the output.
pub fn backward_in_place(gate: &mut [f32], up: &mut [f32], dout: &mut [f32]) -> Result<(), ArithError> {
    const NAME: &str = "swiglu backward in place";
    positive(NAME, "length", gate.len())?;
    length(NAME, "up", up.len(), gate.len())?;
    length(NAME, "dout", dout.len(), gate.len())?;
    let (isa, share) = (isa(), parallel::share(gate.len(), 1 << 14));
    let pieces = gate.chunks_mut(share).zip(up.chunks_mut(share)).zip(dout.chunks_mut(share)).collect();
    parallel::each(pieces, |((gate, up), dout)| dispatch(isa, BackwardInPlace(gate, up, dout)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, with_isa, with_threads};

    #[test]
    fn in_place_has_the_bits_of_forward_and_backward() {
        let len = (1 << 15) + 19;
        let wave = |factor: f32| (0..len).map(|i| (i as f32 * factor).sin() * 30.0).collect::<Vec<f32>>();
        let (mut gate, up, mut dout) = (wave(0.1), wave(0.7), wave(1.3));
        (gate[3], gate[4], dout[5]) = (-0.0, f32::MIN_POSITIVE / 8.0, -0.0);
        for isa in Isa::available() {
            with_isa(isa, || {
                let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
                forward(&gate, &up, &mut out).unwrap();
                backward(&gate, &up, &dout, &mut dgate, &mut dup).unwrap();
                for threads in [1, 3] {
                    let (mut a, mut b, mut c) = (gate.clone(), up.clone(), dout.clone());
                    with_threads(threads, || backward_in_place(&mut a, &mut b, &mut c)).unwrap();
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                    assert!(bits(&a) == bits(&dgate), "{isa:?}: dgate");
                    assert!(bits(&b) == bits(&dup), "{isa:?}: dup");
                    assert!(bits(&c) == bits(&out), "{isa:?}: out");
                }
            });
        }
        assert!(backward_in_place(&mut [1.0], &mut [1.0, 2.0], &mut [1.0]).is_err());
        assert!(backward_in_place(&mut [1.0], &mut [1.0], &mut []).is_err());
    }
}
