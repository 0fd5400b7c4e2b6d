//! Give every operation NaN and infinities: they stay where the specification lets them in, and are refused where it
//! does not.

use super::{
    inputs::{Inputs, Leaf},
    operations::Operations,
};
use crate::{ArithError, Mat, Store, attention, quantise::Format, rope};

pub(super) fn specials(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for special in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::NEG_INFINITY] {
        let with = |inputs: &mut Inputs, len: usize, at: usize| {
            let mut x = inputs.ordinary(len);
            x[at] = special;
            x
        };
        let (a, b, mut c) = (with(inputs, 15, 7), inputs.ordinary(35), vec![0.0; 21]);
        for store in [Store::Set, Store::Add] {
            (ops.gemm)(&mut c, Mat::new(&a, 3, 5)?, Mat::new(&b, 5, 7)?, store)?;
            leaf.add(&c);
        }
        let x = with(inputs, 33, 18);
        leaf.add(&[(ops.sum)(&x), (ops.sum_squares)(&x), (ops.dot)(&x, &x)?, (ops.max)(&x)]);
        leaf.add(&[(ops.max)(&[special; 17]), (ops.global_norm)(&[&x])]);
        for function in [ops.exp, ops.log, ops.sigmoid, ops.silu, ops.rsqrt, ops.softmax] {
            let mut x = x.clone();
            function(&mut x);
            leaf.add(&x);
        }
        let (gain, mut out, mut inverse) = (with(inputs, 11, 3), vec![0.0; 33], vec![0.0; 3]);
        (ops.rms_forward)(&x, &gain, 1e-5, &mut out, &mut inverse)?;
        leaf.add(&out);
        let (mut dx, mut dgain, dy) = (vec![0.0; 33], vec![0.0; 11], with(inputs, 33, 1));
        (ops.rms_backward)(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, Store::Set)?;
        leaf.add(&dx);
        leaf.add(&dgain);
        let mut turned = with(inputs, 12, 4);
        (ops.rotate)(&mut turned, 1, &[1, 0], &rope::RopeTable::new(2, 6, 10_000.0)?)?;
        leaf.add(&turned);
        let shape = attention::Shape { batch: 1, seq: 5, heads: 1, kv_heads: 1, head_dim: 3 };
        let (q, k, v) = (inputs.ordinary(15), with(inputs, 15, 7), inputs.ordinary(15));
        let (mut out, mut dq, mut dk, mut dv) = (vec![0.0; 15], vec![0.0; 15], vec![0.0; 15], vec![0.0; 15]);
        (ops.attention)(shape, &q, &k, &v, &mut out)?;
        leaf.add(&out);
        (ops.attention_backward)(shape, &q, &k, &v, &q, &mut dq, &mut dk, &mut dv)?;
        for values in [&dq, &dk, &dv] {
            leaf.add(values);
        }
        (ops.decode)(1, 1, 3, &q[..3], &k, &v, &mut out[..3])?;
        leaf.add(&out[..3]);
        let (mut gated, mut dgate, mut dup) = (vec![0.0; 33], vec![0.0; 33], vec![0.0; 33]);
        (ops.swiglu)(&x, &dy, &mut gated)?;
        (ops.swiglu_backward)(&x, &dy, &dy, &mut dgate, &mut dup)?;
        for values in [&gated, &dgate, &dup] {
            leaf.add(values);
        }
        let (mut losses, mut gradient) = (vec![0.0; 3], vec![0.0; 33]);
        (ops.cross_entropy)(&x, &[0, 7, 10], &mut losses, Some(&mut gradient), 0.5)?;
        leaf.add(&losses);
        leaf.add(&gradient);
        let mut m = x.clone();
        (ops.newton_schulz)(&mut m, 3, 11, 5)?;
        leaf.add(&m);

        // Refused, with nothing written.
        let mut sum = vec![5; 33];
        leaf.add_refusal(&(ops.quantise_add)(&x, -10, &mut sum));
        leaf.add_refusal(&(ops.quantise_sub)(&x, -10, &mut sum));
        leaf.add_integers(&sum);
        let mut clipped = x.clone();
        leaf.add_refusal(&(ops.clip)(&mut [&mut clipped], 1.0));
        leaf.add(&clipped);
        for format in Format::ALL {
            let mut bytes = vec![9; format.bytes(3, 11).unwrap_or(0)];
            leaf.add_refusal(&(ops.encode)(format, &x, 11, &mut bytes));
            leaf.add_bytes(&bytes);
        }
    }
    // Sums beyond the bound, values that would come back infinite, and bytes no encoder writes.
    let (mut sum, mut bytes, mut x) = (vec![0, 1 << 62, i64::MAX], vec![9; 9], vec![9.0; 2]);
    leaf.add_refusal(&(ops.quantise_add)(&[1.0; 3], 0, &mut sum));
    leaf.add_refusal(&(ops.merge)(&mut sum[..2], &[0, 1 << 62]));
    leaf.add_integers(&sum);
    for format in Format::ALL {
        let len = format.bytes(1, 2).unwrap_or(0);
        leaf.add_refusal(&(ops.encode)(format, &[1.0, f32::MAX], 2, &mut bytes[..len]));
        leaf.add_refusal(&(ops.decode_wire)(format, &[0xff; 9][..len], 2, &mut x));
    }
    leaf.add_bytes(&bytes);
    leaf.add(&x);
    Ok(())
}
