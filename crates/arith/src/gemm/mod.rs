//! Multiply matrices in the order of canon v1.
//!
//! C[i, j] is computed thus: k is cut into blocks of 256 from k = 0; the value of a block is the chain
//! `acc = fma(A[i, k], B[k, j], acc)`, k ascending, from acc = +0; then blocks are added in ascending order,
//! `C = C + block`. With [`Store::Set`] the first block replaces C; with [`Store::Add`] it too is added onto C.
//!
//! The error is below (min(k, 256) + k / 256 + 1) * 2^-24 * sum |A[i, k] * B[k, j]|. This is the order of a
//! packed kernel in the manner of BLIS (Van Zee and van de Geijn, 2015) with kc = 256, and the crate
//! `matrixmultiply` 0.3.11 agrees with it bit for bit.
//!
//! How tiles, panels and threads are laid out is free: only i and j are divided by them.
#![allow(unsafe_code)] // Threads write disjoint tiles of one matrix through a raw pointer.

mod packed;
mod product;

pub(crate) use packed::Packed;

use crate::{
    error::{ArithError, length},
    isa::{Isa, isa},
    kernels::transpose,
    parallel,
};
use product::Product;
use std::{marker::PhantomData, ops::Range};

/// How many steps of k form one block.
pub const BLOCK: usize = 256;

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
    /// The first element; all `rows * cols` elements, and nothing else, belong to this view.
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only one of its elements, as `&mut [f32]` is.
unsafe impl Send for MatMut<'_> {}

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
        Ok(MatMut { data: data.as_mut_ptr(), rows, cols, row_stride: cols, borrowed: PhantomData })
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
        Ok(MatMut { data: data.as_mut_ptr(), rows, cols, row_stride, borrowed: PhantomData })
    }

    /// Cuts the matrix into parts of `width` columns, from left to right; the last may be narrower.
    pub(crate) fn columns(self, width: usize) -> impl Iterator<Item = MatMut<'a>> {
        (0..self.cols).step_by(width.max(1)).map(move |col| MatMut {
            data: self.data.wrapping_add(col),
            cols: width.min(self.cols - col),
            row_stride: self.row_stride,
            rows: self.rows,
            borrowed: PhantomData,
        })
    }

    /// The part with these rows and columns.
    ///
    /// # Panics
    /// If the matrix is smaller.
    pub(crate) fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> MatMut<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols, "columns {cols:?} of {}", self.cols);
        let data = self.data.wrapping_add(rows.start * self.row_stride + cols.start);
        MatMut {
            data,
            rows: rows.len(),
            cols: cols.len(),
            row_stride: self.row_stride,
            borrowed: PhantomData,
        }
    }

    /// Row `row` of the matrix.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the elements of the row belong to this view, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.row_stride), self.cols) }
    }
}

/// Computes C = A B, or C = C + A B, for A [m, k], B [k, n], C [m, n].
///
/// # Errors
/// [`ArithError::Shape`] if the matrices do not fit together, or m, n or k is zero; C is then as it was.
pub fn gemm(c: MatMut, a: Mat, b: Mat, store: Store) -> Result<(), ArithError> {
    let shape_error = ArithError::Shape {
        operation: "gemm",
        c: (c.rows, c.cols),
        a: (a.rows, a.cols),
        b: (b.rows, b.cols),
    };
    let empty = c.rows == 0 || c.cols == 0 || a.cols == 0;
    if a.rows != c.rows || b.cols != c.cols || a.cols != b.rows || empty {
        return Err(shape_error);
    }
    let isa = isa();
    let whole = Product::new(c.rows, c.cols, a.cols, a, b);
    let (down, across) = whole.split(isa, parallel::threads());
    if down * across == 1 {
        product(isa, c, a, b, store);
        return Ok(());
    }
    let base = Base(c.data);
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
///
/// # Errors
/// As for [`gemm`], with n for m.
pub fn gemm_symmetric(c: &mut [f32], a: Mat, b: Mat) -> Result<(), ArithError> {
    let n = a.rows;
    let empty = n == 0 || a.cols == 0;
    if b.cols != n || a.cols != b.rows || n.checked_mul(n) != Some(c.len()) || empty {
        let side = c.len().isqrt();
        let (c, a, b) = ((side, side), (a.rows, a.cols), (b.rows, b.cols));
        return Err(ArithError::Shape { operation: "gemm_symmetric", c, a, b });
    }
    let isa = isa();
    let whole = Product::new(n, n, a.cols, a, b);
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

/// [`gemm`] on the calling thread, for shapes known to fit. With no k at all, Set gives +0 and Add leaves C alone.
pub(crate) fn product(isa: Isa, c: MatMut, a: Mat, b: Mat, store: Store) {
    debug_assert!(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows);
    let rows = c.rows.min(a.rows);
    let cols = c.cols.min(b.cols);
    let depth = a.cols.min(b.rows);
    let piece = Product::new(rows, cols, depth, a, b);
    // SAFETY: the views have checked their bounds, and `c` is borrowed exclusively.
    unsafe { piece.run(isa, c.data, c.row_stride, store) }
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
