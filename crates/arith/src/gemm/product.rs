//! Compute one thread's share of a matrix product: pack panels of the operands, and run the kernels over them.
//!
//! Panels are laid out so that a tile reads both operands in order: A in blocks of 96 rows that stay in a
//! second-level cache, B in panels as wide as a tile. Products of few rows, as in decoding, read B once and in place.

use super::{BLOCK, Mat, Store};
use crate::{
    isa::Isa,
    kernels::{MAX_STREAM_ROWS, STREAM_COLS, Tile, has_stream, multiply, multiply_stream, pack, tile_size},
};
use std::{cell::RefCell, ops::Range};

/// Steps of k packed at a time, a whole number of blocks: a tile of C is fetched and written once for them all.
const DEPTH_PACKED: usize = 4 * BLOCK;
/// Rows of A packed at a time: with [`DEPTH_PACKED`], 384 KiB, which stays in a second-level cache.
const ROWS_PACKED: usize = 96;
/// Columns of B packed at a time: at most 6 MiB, read again for each [`ROWS_PACKED`] rows.
const COLS_PACKED: usize = 1536;

/// The start and strides of an operand.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) data: *const f32,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl Source {
    fn of(matrix: Mat) -> Source {
        Source { data: matrix.data.as_ptr(), row_stride: matrix.row_stride, col_stride: matrix.col_stride }
    }
}

/// Scratch for packed panels, kept between calls.
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    /// No memory yet.
    pub(super) const fn new() -> Scratch {
        Scratch(Vec::new())
    }

    /// Returns room for `len` values, aligned to a cache line.
    pub(super) fn room(&mut self, len: usize) -> *mut f32 {
        if self.0.len() < len + 16 {
            self.0.resize(len + 16, 0.0);
        }
        let start = self.0.as_mut_ptr();
        start.wrapping_add(start.align_offset(64).min(16))
    }
}

thread_local! {
    static PACKED_A: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
    static PACKED_B: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A product of [rows, depth] by [depth, cols] that one thread computes.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) depth: usize,
    pub(super) a: Source,
    pub(super) b: Source,
    /// Whether tiles that lie wholly below the diagonal are left out.
    upper: bool,
}

// SAFETY: the operands are only read.
unsafe impl Sync for Product {}

impl Product {
    /// The product of A [rows, depth] and B [depth, cols], both at least as large.
    pub(super) fn new(rows: usize, cols: usize, depth: usize, a: Mat, b: Mat) -> Product {
        Product { rows, cols, depth, a: Source::of(a), b: Source::of(b), upper: false }
    }

    /// Returns into how many parts to cut the rows and the columns for `threads`, by the longest part's estimated
    /// time: a tile takes as long as a full one, and every part packs its own operands.
    pub(super) fn split(&self, isa: Isa, threads: usize) -> (usize, usize) {
        // A thread is woken for some 30 microseconds of work at least. Below a dozen rows that is reading B.
        const LEAST: usize = 1 << 21;
        let work = self.rows.max(12).saturating_mul(self.cols).saturating_mul(self.depth);
        let threads = threads.min(work / LEAST).max(1);
        let (_, tile_cols) = tile_size(isa);
        let time = |down: usize, across: usize| {
            let (rows, cols) = (self.rows.div_ceil(down), self.cols.div_ceil(across));
            // In vector multiply-adds for each step of k; packing a value costs about as much as one of them.
            rows * cols.div_ceil(tile_cols) * 2 + rows + cols
        };
        let ways =
            (1..=threads).map(|down| (down.min(self.rows), (threads / down).min(self.cols.div_ceil(16))));
        let ways = ways.filter(|&(down, across)| down * across > 0);
        ways.min_by_key(|&(down, across)| (time(down, across), down * across)).unwrap_or((1, 1))
    }

    /// Computes the given rows of C [cols, cols] from the diagonal on, and some values before it.
    ///
    /// # Safety
    /// The sources are readable and `c` is writable over the whole product, and `isa` is present.
    pub(super) unsafe fn upper(&self, isa: Isa, c: *mut f32, rows: Range<usize>) {
        let mut piece = *self;
        piece.upper = true;
        piece.rows = rows.len();
        piece.cols = self.cols - rows.start;
        piece.a.data = piece.a.data.wrapping_add(rows.start * piece.a.row_stride);
        piece.b.data = piece.b.data.wrapping_add(rows.start * piece.b.col_stride);
        // SAFETY: the piece is part of the product; its first value is on the diagonal.
        unsafe { piece.run(isa, c.add(rows.start * self.cols + rows.start), self.cols, Store::Set) }
    }

    /// # Safety
    /// The sources are readable and `c` is writable over the whole product, and `isa` is present.
    pub(super) unsafe fn run(&self, isa: Isa, c: *mut f32, c_stride: usize, store: Store) {
        if self.rows == 0 || self.cols == 0 {
            return;
        }
        if self.depth == 0 {
            if store == Store::Set {
                for row in 0..self.rows {
                    // SAFETY: a row of C.
                    unsafe { std::slice::from_raw_parts_mut(c.add(row * c_stride), self.cols).fill(0.0) };
                }
            }
            return;
        }
        if self.rows <= MAX_STREAM_ROWS && self.b.row_stride == 1 && has_stream(isa) {
            // SAFETY: as promised by the caller.
            return unsafe { self.stream(isa, c, c_stride, store) };
        }
        let (tile_rows, tile_cols) = tile_size(isa);
        // With few rows B is read once: panel by panel, so that a packed panel is still in the first cache.
        let few = self.rows <= 2 * tile_rows;
        let depth_packed = if few { BLOCK } else { DEPTH_PACKED }.min(self.depth);
        let rows_packed = (ROWS_PACKED / tile_rows * tile_rows).min(self.rows);
        let most = if few { tile_cols } else { COLS_PACKED / tile_cols * tile_cols };
        let cols_packed = most.min(self.cols.div_ceil(tile_cols) * tile_cols);
        PACKED_A.with_borrow_mut(|packed_a| {
            PACKED_B.with_borrow_mut(|packed_b| {
                let a = packed_a.room(rows_packed * depth_packed);
                let b = packed_b.room(cols_packed * depth_packed);
                for k in (0..self.depth).step_by(depth_packed) {
                    let add = store == Store::Add || k > 0;
                    let depth = depth_packed.min(self.depth - k);
                    let block = Block { isa, k, depth, add, c, c_stride };
                    let one_pack = rows_packed == self.rows;
                    // SAFETY: every range below is inside the product.
                    unsafe {
                        if one_pack {
                            self.pack_a(&block, a, 0, self.rows);
                        }
                        for col in (0..self.cols).step_by(cols_packed) {
                            let cols = cols_packed.min(self.cols - col);
                            // A full panel of few rows is read in place when B's rows are contiguous.
                            let in_place = few && self.b.col_stride == 1 && cols == tile_cols;
                            let panel = if in_place {
                                self.b.data.add(k * self.b.row_stride + col)
                            } else {
                                self.pack_b(&block, b, col, cols);
                                b.cast_const()
                            };
                            let stride = if in_place { self.b.row_stride } else { tile_cols };
                            for row in (0..self.rows).step_by(rows_packed) {
                                let rows = rows_packed.min(self.rows - row);
                                if !one_pack {
                                    self.pack_a(&block, a, row, rows);
                                }
                                self.tiles(&block, a, panel, stride, (row, rows), (col, cols));
                            }
                        }
                    }
                }
            });
        });
    }

    /// Multiplies few rows by columns that are contiguous in memory, as a decoding step does: B is the weights, read
    /// once and never stored again.
    ///
    /// # Safety
    /// As for [`Product::run`].
    unsafe fn stream(&self, isa: Isa, c: *mut f32, c_stride: usize, store: Store) {
        PACKED_A.with_borrow_mut(|packed_a| {
            let a = packed_a.room(self.rows * self.depth);
            let whole = Block { isa, k: 0, depth: self.depth, add: store == Store::Add, c, c_stride };
            // SAFETY: the panel holds the rows of A, and every group of columns is inside B and C.
            unsafe {
                self.pack_a(&whole, a, 0, self.rows);
                for col in (0..self.cols).step_by(STREAM_COLS) {
                    let tile = Tile {
                        depth: self.depth,
                        a,
                        b: self.b.data.add(col * self.b.col_stride),
                        b_stride: self.b.col_stride,
                        c: c.add(col),
                        c_stride,
                        rows: self.rows,
                        cols: STREAM_COLS.min(self.cols - col),
                        add: whole.add,
                    };
                    multiply_stream(isa, tile);
                }
            }
        });
    }

    /// Computes the product with a B of which all rows are packed: panels of [depth of B, tile width] one after the
    /// other, `panels` pointing at the first row of the first that is wanted.
    ///
    /// # Safety
    /// A is readable and `c` is writable over the whole product, `panels` holds its columns, and `isa` is present.
    pub(super) unsafe fn run_packed(
        &self,
        isa: Isa,
        c: *mut f32,
        c_stride: usize,
        store: Store,
        panels: *const f32,
        b_depth: usize,
    ) {
        let (tile_rows, tile_cols) = tile_size(isa);
        let rows_packed = (ROWS_PACKED / tile_rows * tile_rows).min(self.rows);
        let depth_packed = DEPTH_PACKED.min(self.depth);
        PACKED_A.with_borrow_mut(|packed_a| {
            let a = packed_a.room(rows_packed * depth_packed);
            for k in (0..self.depth).step_by(depth_packed.max(1)) {
                let add = store == Store::Add || k > 0;
                let block = Block { isa, k, depth: depth_packed.min(self.depth - k), add, c, c_stride };
                for row in (0..self.rows).step_by(rows_packed.max(1)) {
                    let rows = rows_packed.min(self.rows - row);
                    // SAFETY: every range is inside the product.
                    unsafe {
                        self.pack_a(&block, a, row, rows);
                        for col in (0..self.cols).step_by(tile_cols) {
                            let panel = panels.add(col * b_depth + k * tile_cols);
                            let cols = tile_cols.min(self.cols - col);
                            self.tiles(&block, a, panel, tile_cols, (row, rows), (col, cols));
                        }
                    }
                }
            }
        });
        if self.depth == 0 && store == Store::Set {
            for row in 0..self.rows {
                // SAFETY: a row of C.
                unsafe { std::slice::from_raw_parts_mut(c.add(row * c_stride), self.cols).fill(0.0) };
            }
        }
    }

    unsafe fn pack_a(&self, block: &Block, a: *mut f32, row: usize, rows: usize) {
        let (tile_rows, _) = tile_size(block.isa);
        for start in (0..rows).step_by(tile_rows) {
            let width = tile_rows.min(rows - start);
            // SAFETY: rows row + start .. + width and the block's k are inside A.
            unsafe {
                let at = (row + start) * self.a.row_stride + block.k * self.a.col_stride;
                let (panel, source) = (a.add(start * block.depth), self.a.data.add(at));
                let (lane, step) = (self.a.row_stride, self.a.col_stride);
                pack(block.isa, panel, width, source, width, lane, block.depth, step);
            }
        }
    }

    unsafe fn pack_b(&self, block: &Block, b: *mut f32, col: usize, cols: usize) {
        let (_, tile_cols) = tile_size(block.isa);
        for start in (0..cols).step_by(tile_cols) {
            let width = tile_cols.min(cols - start);
            // SAFETY: columns col + start .. + width and the block's k are inside B.
            unsafe {
                let at = block.k * self.b.row_stride + (col + start) * self.b.col_stride;
                let (panel, source) = (b.add(start * block.depth), self.b.data.add(at));
                let (lane, step) = (self.b.col_stride, self.b.row_stride);
                pack(block.isa, panel, tile_cols, source, width, lane, block.depth, step);
            }
        }
    }

    unsafe fn tiles(
        &self,
        block: &Block,
        a: *const f32,
        b: *const f32,
        b_stride: usize,
        (row, rows): (usize, usize),
        (col, cols): (usize, usize),
    ) {
        let (tile_rows, tile_cols) = tile_size(block.isa);
        for right in (0..cols).step_by(tile_cols) {
            for down in (0..rows).step_by(tile_rows) {
                if self.upper && col + right + tile_cols <= row + down {
                    continue;
                }
                // SAFETY: the panels hold these rows and columns, and the tile is inside C.
                unsafe {
                    let tile = Tile {
                        depth: block.depth,
                        a: a.add(down * block.depth),
                        b: b.add(right * block.depth),
                        b_stride,
                        c: block.c.add((row + down) * block.c_stride + col + right),
                        c_stride: block.c_stride,
                        rows: tile_rows.min(rows - down),
                        cols: tile_cols.min(cols - right),
                        add: block.add,
                    };
                    multiply(block.isa, tile);
                }
            }
        }
    }
}

/// One block of k and where its results go.
struct Block {
    isa: Isa,
    k: usize,
    depth: usize,
    add: bool,
    c: *mut f32,
    c_stride: usize,
}
