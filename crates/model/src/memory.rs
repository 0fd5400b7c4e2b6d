//! Plan a stage's memory once and lend it to every microbatch, so that the steady state allocates nothing.
//!
//! A [`Buffer`] is one allocation, aligned to cache lines; a [`Room`] hands out disjoint slices of it in order.
//! What is handed out holds whatever was there before: every value is written before it is read.
//!
//! **What a unit keeps from forward to backward.** For a stage of width d, key width kv and inner width ff; bytes
//! per token, and milliseconds to make it again per sub-layer of 8 x 256 tokens (d = kv = 512, ff = 1376, one thread
//! of an AMD EPYC core with AVX-512, as `examples/stage_cost.rs` prints them; a whole unit of two blocks takes 914):
//!
//! | what | bytes | at that shape | kept | made again by | ms |
//! |---|---|---|---|---|---|
//! | input x of the sub-layer | 4 d | 2048 | yes | the sub-layer before it | - |
//! | normed, 1 / rms | 4 d + 4 | 2052 | no | one pass over x | 0.5 |
//! | q, k | 4 (d + kv) | 4096 | yes | two products | 22 |
//! | their normed and rotated form, with QK-norm | 4 (d + kv) | 4096 | no | two passes over q and k | 1 |
//! | v | 4 kv | 2048 | yes | a product | 11 |
//! | attention output | 4 d | 2048 | yes | attention forward | 16 |
//! | gate, up | 8 ff | 11008 | yes | two products | 58 |
//! | silu(gate) * up | 4 ff | 5504 | no | nothing: it falls out of the gradient's pass | 0 |
//! | logits | 4 vocab | - | no | a product, only where the last stage runs the two passes as two calls | - |
//!
//! A unit so keeps 95 MB at that shape; all of it, without the reuse below, would be 135 MB and save 2 ms of 914.
//! Keeping nothing but the input costs 250 ms.
//!
//! In backward the gradients of gate and up replace them, and normed x takes the place of the attention output,
//! so that the scratch memory is about one activation of each width. Logits and their gradient exist for
//! [`HEAD_ROWS`] tokens at a time.
//!
//! This module knows sizes, not what is computed.

use crate::{
    plan::{Role, StagePlan, SubLayerKind},
    spec::ModelSpec,
};
use std::ops::Range;

/// Values in a cache line of 64 bytes.
const LINE: usize = 16;

/// Rows of logits held at a time in backward. A multiple of the products' block of 256, so that the gradient of
/// the head is the same chain of blocks as if all rows were there.
pub(crate) const HEAD_ROWS: usize = 2 * tessera_arith::gemm::BLOCK;

/// One aligned allocation of f32 values.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    storage: Vec<f32>,
    start: usize,
}

impl Buffer {
    /// Room for `len` values.
    pub(crate) fn new(len: usize) -> Self {
        let storage = vec![0.0; len + LINE - 1];
        let start = storage.as_ptr().align_offset(4 * LINE).min(LINE - 1);
        Self { storage, start }
    }
    /// How many values it holds.
    pub(crate) fn len(&self) -> usize {
        self.storage.len().saturating_sub(LINE - 1)
    }
    pub(crate) fn values(&self) -> &[f32] {
        let len = self.len();
        &self.storage[self.start..self.start + len]
    }
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        let len = self.len();
        &mut self.storage[self.start..self.start + len]
    }
    /// The first `len` values to hand out; the buffer is replaced by a larger one if it has fewer.
    pub(crate) fn room(&mut self, len: usize) -> Room<'_> {
        if self.len() < len {
            // First give back what is too small: both need not exist at once.
            *self = Self::default();
            *self = Self::new(len);
        }
        Room(&mut self.values_mut()[..len])
    }
}

/// Memory that was not handed out yet.
#[derive(Debug, Default)]
pub(crate) struct Room<'a>(&'a mut [f32]);

impl<'a> Room<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self(values)
    }
    /// The next `len` values, aligned. The plan of each computation counts what it takes, so there is room.
    pub(crate) fn take(&mut self, len: usize) -> &'a mut [f32] {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut(padded(len));
        self.0 = rest;
        &mut taken[..len]
    }
    /// The same memory for a shorter time.
    pub(crate) fn lend(&mut self) -> Room<'_> {
        Room(self.0)
    }
}

/// What [`Room::take`] takes for `len` values.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// The sizes that all activations of a stage follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dims {
    pub(crate) rows: usize,
    pub(crate) d: usize,
    pub(crate) kv: usize,
    pub(crate) ff: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) qk_norm: bool,
}

impl Dims {
    pub(crate) fn new(model: &ModelSpec, rows: usize) -> Self {
        Self {
            rows,
            d: model.d_model as usize,
            kv: model.kv_width(),
            ff: model.d_ff as usize,
            heads: model.heads as usize,
            kv_heads: model.kv_heads as usize,
            head_dim: model.head_dim(),
            qk_norm: model.qk_norm,
        }
    }
    /// Values of the residual stream.
    pub(crate) fn stream(&self) -> usize {
        self.rows * self.d
    }
    fn total(&self, parts: &[usize]) -> usize {
        parts.iter().map(|part| padded(self.rows * part)).sum()
    }
    /// Values of a sub-layer's tape, without its input.
    pub(crate) fn tape(&self, kind: SubLayerKind) -> usize {
        match kind {
            SubLayerKind::Attention => self.total(&[self.d, self.kv, self.kv, self.d]),
            SubLayerKind::Mlp => self.total(&[self.ff, self.ff]),
        }
    }
    /// Scratch values of a sub-layer's forward pass.
    pub(crate) fn forward(&self, kind: SubLayerKind) -> usize {
        match kind {
            SubLayerKind::Attention if self.qk_norm => {
                self.total(&[self.d, 1, self.kv, self.heads, self.kv_heads])
            }
            SubLayerKind::Attention => self.total(&[self.d, 1]),
            SubLayerKind::Mlp => self.total(&[self.d, 1, self.ff]),
        }
    }
    /// Scratch values of a sub-layer's backward pass, without the gradient of one weight tensor.
    pub(crate) fn backward(&self, kind: SubLayerKind) -> usize {
        match kind {
            SubLayerKind::Attention => {
                let normed =
                    if self.qk_norm { self.total(&[self.d, self.kv, self.heads, self.kv_heads]) } else { 0 };
                normed + self.total(&[self.d, self.d, self.kv, self.kv, 1])
            }
            SubLayerKind::Mlp => self.total(&[self.ff, self.d, 1]),
        }
    }
}

/// Where everything of one microbatch lies, for one stage and number of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) stage: &'a StagePlan,
    pub(crate) dims: Dims,
    pub(crate) vocab: usize,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(stage: &'a StagePlan, model: &ModelSpec, rows: usize) -> Self {
        Self { stage, dims: Dims::new(model, rows), vocab: model.vocab as usize }
    }
    /// Where sub-layer `index` keeps its input and tape. One past the last: the output, on the last stage.
    pub(crate) fn kept_range(&self, index: usize) -> Range<usize> {
        let kept = |kind| padded(self.dims.stream()) + self.dims.tape(kind);
        let (before, rest) = self.stage.sub_layers.split_at(index);
        let start = before.iter().map(|sub_layer| kept(sub_layer.kind)).sum();
        let len = match rest.first() {
            Some(sub_layer) => kept(sub_layer.kind),
            None if self.stage.last => padded(self.dims.stream()),
            None => 0,
        };
        start..start + len
    }
    /// Values kept from forward to backward.
    pub(crate) fn kept(&self) -> usize {
        self.kept_range(self.stage.sub_layers.len()).end
    }
    fn most(&self, size: impl Fn(SubLayerKind) -> usize) -> usize {
        self.stage.sub_layers.iter().map(|sub_layer| size(sub_layer.kind)).max().unwrap_or(0)
    }
    /// Scratch values of a forward pass into a tape.
    pub(crate) fn forward_kept(&self) -> usize {
        self.most(|kind| self.dims.forward(kind))
    }
    /// Scratch values of a forward pass that keeps nothing.
    pub(crate) fn forward(&self) -> usize {
        let (mut stream, mut head) = (0, 0);
        if self.stage.last {
            stream = padded(self.dims.stream());
            head = self.dims.total(&[self.dims.d, 1]);
        }
        stream + self.most(|kind| self.dims.tape(kind) + self.dims.forward(kind)).max(head)
    }
    /// Values of the largest gradient that is made at once. The embedding's is made for the tokens present.
    pub(crate) fn gradient(&self) -> usize {
        let tensors = self.stage.tensors.iter().filter(|tensor| tensor.role != Role::Embedding);
        tensors.map(|tensor| tensor.len()).max().unwrap_or(0)
    }
    /// Rows of the embedding's gradient: at most one for each token.
    pub(crate) fn embedding_rows(&self) -> usize {
        self.dims.rows.min(self.vocab)
    }
    /// Scratch values of the loss and the head's gradients.
    pub(crate) fn head(&self) -> usize {
        let rows = self.dims.rows.min(HEAD_ROWS);
        padded(rows * self.vocab)
            + padded(rows * self.dims.d)
            + self.dims.total(&[1, 1])
            + padded(self.dims.d)
    }
    /// Scratch values of a backward pass from a tape.
    pub(crate) fn backward(&self) -> usize {
        let mut most = self.most(|kind| self.dims.backward(kind));
        if self.stage.last {
            most = most.max(self.head());
        }
        let mut stream = 0;
        if self.stage.first {
            most = most.max(padded(self.embedding_rows() * self.dims.d));
            stream = padded(self.dims.stream());
        }
        stream + padded(self.gradient()) + most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_aligned_disjoint_and_survive_a_move() {
        let mut buffer = Buffer::new(padded(5) + padded(40) + padded(1));
        let mut room = buffer.room(padded(5) + padded(40) + padded(1));
        let (a, b, c) = (room.take(5), room.take(40), room.take(1));
        for slice in [&*a, &*b, &*c] {
            assert_eq!(slice.as_ptr().align_offset(64), 0);
        }
        for (slice, value) in [(&mut *a, 1.0), (&mut *b, 2.0), (&mut *c, 3.0)] {
            slice.fill(value);
        }
        assert!(a.iter().all(|x| *x == 1.0) && b.iter().all(|x| *x == 2.0));
        let moved = Box::new(buffer);
        assert_eq!(moved.values().as_ptr().align_offset(64), 0);
        assert_eq!(moved.values()[16], 2.0);
    }

    #[test]
    fn a_buffer_grows_and_never_shrinks() {
        let mut buffer = Buffer::default();
        assert_eq!((buffer.len(), buffer.values().len()), (0, 0));
        buffer.room(32);
        assert_eq!(buffer.len(), 32);
        buffer.room(16);
        assert_eq!(buffer.len(), 32);
    }
}
