//! List the operations the suite calls, so that a test can put a wrong one in place of any of them.

use crate::{
    ArithError, Mat, MatMut, Store, attention, elementwise, embed, gemm, grid, loss, norm, optim, quantise,
    reduce, rope, scalar, swiglu,
};

type Done = Result<(), ArithError>;
type Turn = fn(&mut [f32], usize, &[u32], &rope::RopeTable) -> Done;
type Quantise = fn(&[f32], i32, &mut [i64]) -> Done;

/// One field for each public operation, of that operation's type but for `gemm`.
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The types of the operations.
pub(super) struct Operations {
    /// Here C is a row-major slice.
    pub(super) gemm: fn(&mut [f32], Mat, Mat, Store) -> Done,
    pub(super) sum: fn(&[f32]) -> f32,
    pub(super) sum_squares: fn(&[f32]) -> f32,
    pub(super) dot: fn(&[f32], &[f32]) -> Result<f32, ArithError>,
    pub(super) max: fn(&[f32]) -> f32,
    pub(super) exp: fn(&mut [f32]),
    pub(super) log: fn(&mut [f32]),
    pub(super) sigmoid: fn(&mut [f32]),
    pub(super) silu: fn(&mut [f32]),
    pub(super) rsqrt: fn(&mut [f32]),
    pub(super) softmax: fn(&mut [f32]),
    pub(super) rms_forward: fn(&[f32], &[f32], f32, &mut [f32], &mut [f32]) -> Done,
    pub(super) rms_backward: fn(&[f32], &[f32], &[f32], &[f32], &mut [f32], &mut [f32], Store) -> Done,
    pub(super) rotate: Turn,
    pub(super) rotate_back: Turn,
    pub(super) attention: fn(attention::Shape, &[f32], &[f32], &[f32], &mut [f32]) -> Done,
    pub(super) attention_backward:
        fn(attention::Shape, &[f32], &[f32], &[f32], &[f32], &mut [f32], &mut [f32], &mut [f32]) -> Done,
    pub(super) decode: fn(usize, usize, usize, &[f32], &[f32], &[f32], &mut [f32]) -> Done,
    pub(super) swiglu: fn(&[f32], &[f32], &mut [f32]) -> Done,
    pub(super) swiglu_backward: fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]) -> Done,
    pub(super) cross_entropy: fn(&[f32], &[u32], &mut [f32], Option<&mut [f32]>, f32) -> Done,
    pub(super) gather: fn(&[f32], usize, &[u32], &mut [f32]) -> Done,
    pub(super) scatter_add: fn(&mut [f32], usize, &[u32], &[f32]) -> Done,
    pub(super) add: fn(&[f32], &[f32], &mut [f32]) -> Done,
    pub(super) add_assign: fn(&mut [f32], &[f32]) -> Done,
    pub(super) scale: fn(&mut [f32], f32),
    pub(super) adamw: fn(&optim::AdamW, &mut [f32], &mut [f32], &mut [f32], &[f32]) -> Done,
    pub(super) momentum: fn(&mut [f32], &[f32], f32, bool, &mut [f32]) -> Done,
    pub(super) descend: fn(&mut [f32], &[f32], f32, f32) -> Done,
    pub(super) newton_schulz: fn(&mut [f32], usize, usize, usize) -> Done,
    pub(super) global_norm: fn(&[&[f32]]) -> f32,
    pub(super) clip: fn(&mut [&mut [f32]], f32) -> Result<f32, ArithError>,
    pub(super) quantise_add: Quantise,
    pub(super) quantise_sub: Quantise,
    pub(super) merge: fn(&mut [i64], &[i64]) -> Done,
    pub(super) dequantise: fn(&[i64], i32, f32, &mut [f32]) -> Done,
    pub(super) encode: fn(quantise::Format, &[f32], usize, &mut [u8]) -> Done,
    pub(super) decode_wire: fn(quantise::Format, &[u8], usize, &mut [f32]) -> Done,
}

/// The operations of this crate.
pub(super) const CANON: Operations = Operations {
    gemm: |c, a, b, store| gemm(MatMut::new(c, a.rows(), b.cols())?, a, b, store),
    sum: reduce::sum,
    sum_squares: reduce::sum_squares,
    dot: reduce::dot,
    max: reduce::max,
    exp: scalar::exp_slice,
    log: scalar::log_slice,
    sigmoid: scalar::sigmoid_slice,
    silu: scalar::silu_slice,
    rsqrt: scalar::rsqrt_slice,
    softmax: scalar::softmax,
    rms_forward: norm::rms_forward,
    rms_backward: norm::rms_backward,
    rotate: rope::rotate,
    rotate_back: rope::rotate_back,
    attention: attention::forward,
    attention_backward: attention::backward,
    decode: attention::decode,
    swiglu: swiglu::forward,
    swiglu_backward: swiglu::backward,
    cross_entropy: loss::cross_entropy,
    gather: embed::gather,
    scatter_add: embed::scatter_add,
    add: elementwise::add,
    add_assign: elementwise::add_assign,
    scale: elementwise::scale,
    adamw: optim::adamw,
    momentum: optim::momentum,
    descend: optim::descend,
    newton_schulz: optim::newton_schulz,
    global_norm: optim::global_norm,
    clip: optim::clip,
    quantise_add: grid::quantise_add,
    quantise_sub: grid::quantise_sub,
    merge: grid::merge,
    dequantise: grid::dequantise,
    encode: quantise::encode,
    decode_wire: quantise::decode,
};
