//! Keep an operand packed over several products, where packing it each time would cost as much as they do.

use super::{
    BLOCK, Mat, MatMut, Store,
    product::{Product, Scratch},
};
use crate::{
    isa::Isa,
    kernels::{pack, tile_size},
};

/// A right-hand operand [depth, cols] in panels for one instruction set.
pub(crate) struct Packed {
    panels: Scratch,
    isa: Isa,
    depth: usize,
    cols: usize,
}

impl Packed {
    /// An operand of no size.
    pub(crate) const fn new() -> Packed {
        Packed { panels: Scratch::new(), isa: Isa::Portable, depth: 0, cols: 0 }
    }

    /// Packs `b`, reusing the memory of what was packed before.
    pub(crate) fn set(&mut self, isa: Isa, b: Mat) {
        (self.isa, self.depth, self.cols) = (isa, b.rows, b.cols);
        let (_, width) = tile_size(isa);
        let panels = self.panels.room(b.cols.div_ceil(width) * width * b.rows);
        for col in (0..b.cols).step_by(width) {
            let lanes = width.min(b.cols - col);
            // SAFETY: the columns are inside `b`, which has checked its bounds, and the panel inside the room.
            unsafe {
                let source = b.data.as_ptr().add(col * b.col_stride);
                let panel = panels.add(col * b.rows);
                pack(isa, panel, width, source, lanes, b.col_stride, b.rows, b.row_stride);
            }
        }
    }

    /// Computes C = A B (or C + A B), where B is the first columns of the packed operand and its rows from `first` on,
    /// as many as C has columns and A has columns. `first` must be a multiple of [`BLOCK`].
    pub(crate) fn multiply(&mut self, c: MatMut, a: Mat, first: usize, store: Store) {
        assert!(
            a.rows == c.rows && c.cols <= self.cols && a.cols <= self.depth - first,
            "the product does not fit"
        );
        debug_assert!(first.is_multiple_of(BLOCK));
        let (_, width) = tile_size(self.isa);
        let panels = self.panels.room(self.cols.div_ceil(width) * width * self.depth).cast_const();
        let product = Product::new(c.rows, c.cols, a.cols, a, a.t());
        // SAFETY: C and A have checked their bounds; the assertion keeps the product inside the packed operand.
        unsafe {
            product.run_packed(self.isa, c.data, c.row_stride, store, panels.add(first * width), self.depth)
        }
    }
}
