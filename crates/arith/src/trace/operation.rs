//! Name every operation of this crate, with its sizes and parameters.

use crate::{ArithError, Store, attention, error::positive, grid::EXPONENTS, optim::AdamW, quantise::Format};

/// An operation with its sizes and parameters: all that is needed, besides its inputs, to know its steps.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// [`crate::gemm()`]: C [m, n] = A [m, k] B [k, n], or added to C; each with its strides (row, column).
    Gemm { m: usize, n: usize, k: usize, a: [usize; 2], b: [usize; 2], c_row: usize, store: Store },
    /// [`crate::gemm_symmetric`]: C [n, n] = A [n, k] B [k, n]; each operand with its strides (row, column).
    GemmSymmetric { n: usize, k: usize, a: [usize; 2], b: [usize; 2] },
    /// [`crate::reduce::sum`].
    Sum { len: usize },
    /// [`crate::reduce::sum_squares`].
    SumSquares { len: usize },
    /// [`crate::reduce::dot`].
    Dot { len: usize },
    /// [`crate::reduce::max`].
    Max { len: usize },
    /// [`crate::scalar::exp`] of each element.
    Exp { len: usize },
    /// [`crate::scalar::log`] of each element.
    Log { len: usize },
    /// [`crate::scalar::sigmoid`] of each element.
    Sigmoid { len: usize },
    /// [`crate::scalar::silu`] of each element.
    Silu { len: usize },
    /// [`crate::scalar::rsqrt`] of each element.
    Rsqrt { len: usize },
    /// [`crate::scalar::softmax`].
    Softmax { len: usize },
    /// [`crate::norm::rms_forward`].
    RmsForward { rows: usize, d: usize, epsilon: f32 },
    /// [`crate::norm::rms_backward`].
    RmsBackward { rows: usize, d: usize, store: Store },
    /// [`crate::rope::rotate`], or `back`; the table is an input.
    Rope { rows: usize, heads: usize, head_dim: usize, positions: usize, back: bool },
    /// [`crate::attention::forward`].
    AttentionForward(attention::Shape),
    /// [`crate::attention::decode`] over `keys` rows of cache.
    AttentionDecode { heads: usize, kv_heads: usize, head_dim: usize, keys: usize },
    /// [`crate::attention::backward`].
    AttentionBackward(attention::Shape),
    /// [`crate::swiglu::forward`].
    SwigluForward { len: usize },
    /// [`crate::swiglu::backward`].
    SwigluBackward { len: usize },
    /// [`crate::loss::cross_entropy`].
    CrossEntropy { rows: usize, vocab: usize, scale: f32 },
    /// [`crate::embed::gather`].
    Gather { vocab: usize, d: usize, tokens: usize },
    /// [`crate::embed::scatter_add`].
    ScatterAdd { vocab: usize, d: usize, tokens: usize },
    /// [`crate::elementwise::add`] and [`crate::elementwise::add_assign`].
    Add { len: usize },
    /// [`crate::elementwise::scale`].
    Scale { len: usize, factor: f32 },
    /// [`crate::optim::adamw`].
    AdamW { len: usize, step: AdamW },
    /// [`crate::optim::momentum`].
    Momentum { len: usize, beta: f32, nesterov: bool },
    /// [`crate::optim::descend`].
    Descend { len: usize, learning_rate: f32, weight_decay: f32 },
    /// [`crate::optim::newton_schulz`].
    NewtonSchulz { rows: usize, cols: usize, steps: usize },
    /// [`crate::optim::newton_schulz_gram`].
    NewtonSchulzGram { rows: usize, cols: usize, steps: usize },
    /// [`crate::optim::global_norm`] of tensors of these lengths.
    GlobalNorm { lengths: Vec<usize> },
    /// [`crate::optim::clip`] of tensors of these lengths.
    Clip { lengths: Vec<usize>, max_norm: f32 },
    /// [`crate::grid::quantise_add`].
    QuantiseAdd { len: usize, exponent: i32 },
    /// [`crate::grid::quantise_sub`].
    QuantiseSub { len: usize, exponent: i32 },
    /// [`crate::grid::merge`].
    Merge { len: usize },
    /// [`crate::grid::dequantise`].
    Dequantise { len: usize, exponent: i32, scale: f32 },
    /// [`crate::quantise::encode`]: numbers to bytes.
    Encode { format: Format, rows: usize, width: usize },
    /// [`crate::quantise::decode`]: bytes to numbers.
    Decode { format: Format, rows: usize, width: usize },
}

impl Operation {
    /// The names of all operations, in the order of the enum.
    pub const NAMES: [&'static str; 38] = [
        "gemm",
        "gemm_symmetric",
        "sum",
        "sum_squares",
        "dot",
        "max",
        "exp",
        "log",
        "sigmoid",
        "silu",
        "rsqrt",
        "softmax",
        "rms_forward",
        "rms_backward",
        "rope",
        "attention forward",
        "attention decode",
        "attention backward",
        "swiglu forward",
        "swiglu backward",
        "cross_entropy",
        "gather",
        "scatter_add",
        "add",
        "scale",
        "adamw",
        "momentum",
        "descend",
        "newton_schulz",
        "newton_schulz_gram",
        "global_norm",
        "clip",
        "quantise_add",
        "quantise_sub",
        "merge",
        "dequantise",
        "quantise encode",
        "quantise decode",
    ];

    /// The name of the operation.
    pub fn name(&self) -> &'static str {
        use Operation::*;
        match self {
            Gemm { .. } => "gemm",
            GemmSymmetric { .. } => "gemm_symmetric",
            Sum { .. } => "sum",
            SumSquares { .. } => "sum_squares",
            Dot { .. } => "dot",
            Max { .. } => "max",
            Exp { .. } => "exp",
            Log { .. } => "log",
            Sigmoid { .. } => "sigmoid",
            Silu { .. } => "silu",
            Rsqrt { .. } => "rsqrt",
            Softmax { .. } => "softmax",
            RmsForward { .. } => "rms_forward",
            RmsBackward { .. } => "rms_backward",
            Rope { .. } => "rope",
            AttentionForward(_) => "attention forward",
            AttentionDecode { .. } => "attention decode",
            AttentionBackward(_) => "attention backward",
            SwigluForward { .. } => "swiglu forward",
            SwigluBackward { .. } => "swiglu backward",
            CrossEntropy { .. } => "cross_entropy",
            Gather { .. } => "gather",
            ScatterAdd { .. } => "scatter_add",
            Add { .. } => "add",
            Scale { .. } => "scale",
            AdamW { .. } => "adamw",
            Momentum { .. } => "momentum",
            Descend { .. } => "descend",
            NewtonSchulz { .. } => "newton_schulz",
            NewtonSchulzGram { .. } => "newton_schulz_gram",
            GlobalNorm { .. } => "global_norm",
            Clip { .. } => "clip",
            QuantiseAdd { .. } => "quantise_add",
            QuantiseSub { .. } => "quantise_sub",
            Merge { .. } => "merge",
            Dequantise { .. } => "dequantise",
            Encode { .. } => "quantise encode",
            Decode { .. } => "quantise decode",
        }
    }

    /// Checks what sizes of tensors cannot show.
    pub(super) fn check(&self) -> Result<(), ArithError> {
        let operation = self.name();
        let sizes = |sizes: &[(&'static str, usize)]| {
            sizes.iter().try_for_each(|(argument, size)| positive(operation, argument, *size))
        };
        match self {
            Operation::Gemm { m, n, k, .. } => sizes(&[("m", *m), ("n", *n), ("k", *k)]),
            Operation::GemmSymmetric { n, k, .. } => sizes(&[("n", *n), ("k", *k)]),
            Operation::RmsForward { rows, d, .. } | Operation::RmsBackward { rows, d, .. } => {
                sizes(&[("width", *d), ("rows", *rows)])
            }
            Operation::Gather { vocab, d, tokens } | Operation::ScatterAdd { vocab, d, tokens } => {
                sizes(&[("width", *d), ("vocab", *vocab), ("tokens", *tokens)])
            }
            Operation::Encode { rows, width, .. } | Operation::Decode { rows, width, .. } => {
                sizes(&[("width", *width), ("rows", *rows)])
            }
            Operation::SwigluForward { len } | Operation::SwigluBackward { len } => {
                sizes(&[("length", *len)])
            }
            Operation::Rope { rows, heads, head_dim, positions, .. } => {
                sizes(&[("heads", *heads), ("head_dim", *head_dim)])?;
                sizes(&[("rows", *rows), ("positions", *positions)])?;
                if head_dim % 2 == 0 {
                    return Ok(());
                }
                let got = *head_dim as i64;
                Err(ArithError::Parameter { operation, argument: "head_dim", got, allowed: "even numbers" })
            }
            Operation::AttentionForward(shape) | Operation::AttentionBackward(shape) => {
                shape.check(operation)
            }
            Operation::AttentionDecode { heads, kv_heads, head_dim, keys } => {
                let (heads, kv_heads, head_dim) = (*heads, *kv_heads, *head_dim);
                attention::Shape { batch: 1, seq: *keys, heads, kv_heads, head_dim }.check(operation)
            }
            Operation::CrossEntropy { rows, vocab, .. } => sizes(&[("rows", *rows), ("vocab", *vocab)]),
            // Each step rests on the one before, and so does the depth of the evaluation.
            Operation::NewtonSchulz { rows, cols, steps }
            | Operation::NewtonSchulzGram { rows, cols, steps } => {
                sizes(&[("rows", *rows), ("cols", *cols)])?;
                if *steps <= 64 {
                    return Ok(());
                }
                let got = i64::try_from(*steps).unwrap_or(i64::MAX);
                Err(ArithError::Parameter { operation, argument: "steps", got, allowed: "0..=64" })
            }
            Operation::QuantiseAdd { exponent, .. }
            | Operation::QuantiseSub { exponent, .. }
            | Operation::Dequantise { exponent, .. }
                if !EXPONENTS.contains(exponent) =>
            {
                let got = i64::from(*exponent);
                Err(ArithError::Parameter { operation, argument: "exponent", got, allowed: "-126..=127" })
            }
            _ => Ok(()),
        }
    }
}
