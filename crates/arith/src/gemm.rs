//! Multiply matrices in the order of canon v1.
//!
//! C[i, j] is computed thus: k is cut into blocks of 256 from k = 0; the value of a block is the chain
//! `acc = fma(A[i, k], B[k, j], acc)`, k ascending, from acc = +0; then blocks are added in ascending order,
//! `C = C + block`. With [`Store::Set`] the first block replaces C; with [`Store::Add`] it too is added onto C.
//! With no k at all, Set gives +0 and Add leaves C alone.
//!
//! The error is below (min(k, 256) + k / 256 + 1) * 2^-24 * sum |A[i, k] * B[k, j]|. This is the order of a
//! packed kernel in the manner of BLIS (Van Zee and van de Geijn, 2015) with kc = 256, and the crate
//! `matrixmultiply` 0.3.11 agrees with it bit for bit.
//!
//! How tiles, panels and threads are laid out is free: only i and j are divided by them.
#![allow(unsafe_code)] // Threads write disjoint tiles of one matrix through a raw pointer.

use crate::{
    error::{ArithError, length},
    isa::{Isa, isa},
    kernels::{
        MAX_STREAM_ROWS, STREAM_COLS, Tile, has_stream, multiply, multiply_stream, pack, tile_size, transpose,
    },
    parallel,
};
use std::{cell::RefCell, ops::Range};

/// How many steps of k form one block.
pub const BLOCK: usize = 256;

/// Steps of k packed at a time, a whole number of blocks: a tile of C is fetched and written once for them all.
const DEPTH_PACKED: usize = 4 * BLOCK;
/// Rows of A packed at a time: with [`DEPTH_PACKED`], 384 KiB, which stays in a second-level cache.
const ROWS_PACKED: usize = 96;
/// Columns of B packed at a time: at most 6 MiB, read again for each [`ROWS_PACKED`] rows.
const COLS_PACKED: usize = 1536;

/// Whether a product replaces its destination or is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Set,
    Add,
}

/// A matrix [rows, cols] to read; element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix [rows, cols] to write; element (i, j) is `data[i * row_stride + j]`.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// Returns one more than the largest index of a strided matrix.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let last = (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?;
    last.checked_add(1)
}

fn check(argument: &'static str, got: usize, needed: Option<usize>) -> Result<(), ArithError> {
    match needed {
        Some(needed) if needed <= got => Ok(()),
        _ => Err(ArithError::Length {
            operation: "matrix",
            argument,
            expected: needed.unwrap_or(usize::MAX),
            got,
        }),
    }
}

impl<'a> Mat<'a> {
    /// A row-major matrix that fills `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Mat<'a>, ArithError> {
        length("matrix", "data", data.len(), rows.saturating_mul(cols))?;
        Ok(Mat { data, rows, cols, row_stride: cols, col_stride: 1 })
    }

    /// A matrix anywhere in `data`.
    pub fn strided(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Mat<'a>, ArithError> {
        check("data", data.len(), extent(rows, cols, row_stride, col_stride))?;
        Ok(Mat { data, rows, cols, row_stride, col_stride })
    }

    /// The transpose; nothing is copied.
    pub fn t(self) -> Mat<'a> {
        Mat {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element (row, col).
    #[cfg(test)]
    pub(crate) fn get(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_stride + col * self.col_stride]
    }
}

impl<'a> MatMut<'a> {
    /// A row-major matrix that fills `data`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Result<MatMut<'a>, ArithError> {
        length("matrix", "data", data.len(), rows.saturating_mul(cols))?;
        Ok(MatMut { data, rows, cols, row_stride: cols })
    }

    /// A matrix whose rows lie `row_stride` apart in `data`; rows must not overlap.
    pub fn strided(
        data: &'a mut [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Result<MatMut<'a>, ArithError> {
        check("data", data.len(), extent(rows, cols, row_stride, 1))?;
        if row_stride < cols && rows > 1 {
            return Err(ArithError::Parameter {
                operation: "matrix",
                argument: "row_stride",
                got: row_stride as i64,
                allowed: "cols..",
            });
        }
        Ok(MatMut { data, rows, cols, row_stride })
    }
}

/// Computes C = A B, or C = C + A B, for A [m, k], B [k, n], C [m, n].
pub fn gemm(c: MatMut, a: Mat, b: Mat, store: Store) -> Result<(), ArithError> {
    let shape_error = ArithError::Shape {
        operation: "gemm",
        c: (c.rows, c.cols),
        a: (a.rows, a.cols),
        b: (b.rows, b.cols),
    };
    if a.rows != c.rows || b.cols != c.cols || a.cols != b.rows {
        return Err(shape_error);
    }
    let isa = isa();
    let whole = Product {
        rows: c.rows,
        cols: c.cols,
        depth: a.cols,
        a: Source::of(a),
        b: Source::of(b),
        upper: false,
    };
    let (down, across) = whole.split(isa, parallel::threads());
    if down * across == 1 {
        product(isa, c, a, b, store);
        return Ok(());
    }
    let base = Base(c.data.as_mut_ptr());
    let c_stride = c.row_stride;
    let row_cuts = cuts(c.rows, down, 1);
    let col_cuts = cuts(c.cols, across, 16);
    let pieces =
        row_cuts.iter().flat_map(|rows| col_cuts.iter().map(move |cols| (rows.clone(), cols.clone())));
    parallel::each(pieces.collect(), |(rows, cols)| {
        let mut piece = whole;
        (piece.rows, piece.cols) = (rows.len(), cols.len());
        piece.a.data = piece.a.data.wrapping_add(rows.start * piece.a.row_stride);
        piece.b.data = piece.b.data.wrapping_add(cols.start * piece.b.col_stride);
        let start = base.get().wrapping_add(rows.start * c_stride + cols.start);
        // SAFETY: pieces are disjoint parts of C, whose bounds `MatMut` has checked.
        unsafe { piece.run(isa, start, c_stride, store) }
    });
    Ok(())
}

/// Computes C = A B for A [n, k] and B [k, n] whose product is symmetric: the part on and above the diagonal as by
/// [`gemm`], the part below as its mirror image, for half the work.
///
/// Where A B is symmetric bit for bit, as in A A' or in the square of a symmetric matrix (their two halves go through
/// the same chains), the result is that of [`gemm`].
pub fn gemm_symmetric(c: &mut [f32], a: Mat, b: Mat) -> Result<(), ArithError> {
    let n = a.rows;
    if b.cols != n || a.cols != b.rows || n.checked_mul(n) != Some(c.len()) {
        let side = c.len().isqrt();
        let (c, a, b) = ((side, side), (a.rows, a.cols), (b.rows, b.cols));
        return Err(ArithError::Shape { operation: "gemm_symmetric", c, a, b });
    }
    let isa = isa();
    let whole = Product { rows: n, cols: n, depth: a.cols, a: Source::of(a), b: Source::of(b), upper: false };
    let (down, across) = whole.split(isa, parallel::threads());
    let pieces = down * across;
    // Rows r.. of the upper part hold (n - r)^2 / 2 values: cut so that each piece has as many.
    let start =
        |piece: usize| n - ((n * n) as f64 * (pieces - piece) as f64 / pieces.max(1) as f64).sqrt() as usize;
    let base = Base(c.as_mut_ptr());
    let cuts: Vec<usize> = (0..pieces).map(start).chain([n]).collect();
    parallel::each(cuts.windows(2).collect(), |cut| {
        // SAFETY: a piece writes rows of C that no other writes.
        unsafe { whole.upper(isa, base.get(), cut[0]..cut[1]) }
    });
    // SAFETY: the upper part is only read now, and a piece writes rows that no other writes.
    parallel::each(cuts.windows(2).rev().collect(), |cut| unsafe {
        mirror(isa, base.get(), n, cut[0]..cut[1])
    });
    Ok(())
}

/// Copies what stands above the diagonal of C [n, n] to below it, for the given rows.
///
/// # Safety
/// `c` is readable above the diagonal and writable in those rows below it.
unsafe fn mirror(isa: Isa, c: *mut f32, n: usize, rows: Range<usize>) {
    const SIDE: usize = 32;
    for first in rows.clone().step_by(SIDE) {
        let below = SIDE.min(rows.end - first);
        // SAFETY: the block at (first, col) lies below the diagonal, its source at (col, first) above it.
        unsafe {
            for col in (0..first).step_by(SIDE) {
                let width = SIDE.min(first - col);
                transpose(isa, c.add(first * n + col), n, c.add(col * n + first), width, n, below, 1);
            }
            for row in first..first + below {
                for col in first..row {
                    *c.add(row * n + col) = *c.add(col * n + row);
                }
            }
        }
    }
}

/// Cuts 0..total into at most `pieces` even ranges that start at multiples of `unit`; none is empty.
fn cuts(total: usize, pieces: usize, unit: usize) -> Vec<Range<usize>> {
    let units = total.div_ceil(unit);
    let pieces = pieces.clamp(1, units.max(1));
    let at = |piece: usize| (units * piece / pieces * unit).min(total);
    (0..pieces).map(|piece| at(piece)..at(piece + 1)).collect()
}

/// [`gemm`] on the calling thread, for shapes known to fit.
pub(crate) fn product(isa: Isa, c: MatMut, a: Mat, b: Mat, store: Store) {
    debug_assert!(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows);
    let rows = c.rows.min(a.rows);
    let cols = c.cols.min(b.cols);
    let depth = a.cols.min(b.rows);
    let piece = Product { rows, cols, depth, a: Source::of(a), b: Source::of(b), upper: false };
    // SAFETY: the views have checked their bounds, and `c` is borrowed exclusively.
    unsafe { piece.run(isa, c.data.as_mut_ptr(), c.row_stride, store) }
}

#[derive(Clone, Copy)]
struct Base(*mut f32);
// SAFETY: the threads that share the pointer write disjoint elements.
unsafe impl Sync for Base {}

impl Base {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

/// The start and strides of an operand.
#[derive(Clone, Copy)]
struct Source {
    data: *const f32,
    row_stride: usize,
    col_stride: usize,
}

impl Source {
    fn of(matrix: Mat) -> Source {
        Source { data: matrix.data.as_ptr(), row_stride: matrix.row_stride, col_stride: matrix.col_stride }
    }
}

/// Scratch for packed panels, kept between calls.
struct Scratch(Vec<f32>);

impl Scratch {
    /// Returns room for `len` values, aligned to a cache line.
    fn room(&mut self, len: usize) -> *mut f32 {
        if self.0.len() < len + 16 {
            self.0.resize(len + 16, 0.0);
        }
        let start = self.0.as_mut_ptr();
        start.wrapping_add(start.align_offset(64).min(16))
    }
}

thread_local! {
    static PACKED_A: RefCell<Scratch> = const { RefCell::new(Scratch(Vec::new())) };
    static PACKED_B: RefCell<Scratch> = const { RefCell::new(Scratch(Vec::new())) };
}

/// A product of [rows, depth] by [depth, cols] that one thread computes.
#[derive(Clone, Copy)]
struct Product {
    rows: usize,
    cols: usize,
    depth: usize,
    a: Source,
    b: Source,
    /// Whether tiles that lie wholly below the diagonal are left out.
    upper: bool,
}

// SAFETY: the operands are only read.
unsafe impl Sync for Product {}

impl Product {
    /// Returns into how many parts to cut the rows and the columns for `threads`, by the longest part's estimated
    /// time: a tile takes as long as a full one, and every part packs its own operands.
    fn split(&self, isa: Isa, threads: usize) -> (usize, usize) {
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
    unsafe fn upper(&self, isa: Isa, c: *mut f32, rows: Range<usize>) {
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
    unsafe fn run(&self, isa: Isa, c: *mut f32, c_stride: usize, store: Store) {
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
