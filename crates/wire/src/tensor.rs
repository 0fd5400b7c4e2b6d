//! Carry a matrix of numbers over the wire and check its shape before use.

use bytes::{BufMut, BytesMut};
use tessera_canon::{Blob, record};

/// Greatest payload of one tensor, bytes.
pub const MAX_TENSOR_BYTES: usize = 63 << 20;
const F32: u8 = 0;

record! {
    /// A row-major matrix `[rows, cols]` in a wire codec. Codec 0 is `f32`, little-endian bit patterns.
    pub struct Tensor {
        pub codec: u8,
        pub rows: u32,
        pub cols: u32,
        pub data: Blob<MAX_TENSOR_BYTES>,
    }
}

/// Why a tensor was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("tensor codec {got} is unknown; this run uses codec {F32} (f32)")]
    Codec { got: u8 },
    #[error("expected a tensor of {expected_rows} x {expected_cols}, got {rows} x {cols} in {bytes} bytes")]
    Shape { expected_rows: usize, expected_cols: usize, rows: u32, cols: u32, bytes: usize },
    #[error(
        "a matrix of {rows} x {cols} does not fit a message of {MAX_TENSOR_BYTES} bytes; choose smaller microbatches"
    )]
    TooBig { rows: usize, cols: usize },
    #[error("the tensor holds a value that is not finite at position {at}")]
    NotFinite { at: usize },
}

impl Tensor {
    /// Encode `values`, which are `[rows, cols]` row-major, as `f32`.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Result<Self, TensorError> {
        let too_big = || TensorError::TooBig { rows, cols };
        let mut data = BytesMut::with_capacity(values.len() * 4);
        values.iter().for_each(|v| data.put_f32_le(*v));
        let (Ok(r), Ok(c)) = (u32::try_from(rows), u32::try_from(cols)) else { return Err(too_big()) };
        if values.len() != rows * cols {
            return Err(TensorError::Shape {
                expected_rows: rows,
                expected_cols: cols,
                rows: r,
                cols: c,
                bytes: values.len() * 4,
            });
        }
        Ok(Self { codec: F32, rows: r, cols: c, data: Blob::new(data.freeze()).map_err(|_| too_big())? })
    }

    /// An empty tensor: acknowledges a unit that has no gradient.
    pub fn empty() -> Self {
        Self { codec: F32, rows: 0, cols: 0, data: Blob::default() }
    }

    /// Decode to `[rows, cols]` values, refusing any other shape and anything that is not finite.
    pub fn to_f32(&self, rows: usize, cols: usize) -> Result<Vec<f32>, TensorError> {
        if self.codec != F32 {
            return Err(TensorError::Codec { got: self.codec });
        }
        if self.rows as usize != rows || self.cols as usize != cols || self.data.len() != rows * cols * 4 {
            return Err(TensorError::Shape {
                expected_rows: rows,
                expected_cols: cols,
                rows: self.rows,
                cols: self.cols,
                bytes: self.data.len(),
            });
        }
        let values: Vec<f32> =
            self.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(TensorError::NotFinite { at }),
            None => Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_survives_bit_for_bit_and_bad_ones_are_named() {
        let values = [1.0, -0.0, f32::MIN_POSITIVE / 2.0, 3.4e38, -7.25, 0.1];
        let tensor = Tensor::from_f32(&values, 2, 3).unwrap();
        let back = tensor.to_f32(2, 3).unwrap();
        assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(matches!(tensor.to_f32(3, 2), Err(TensorError::Shape { rows: 2, cols: 3, .. })));
        let nan = Tensor::from_f32(&[0.0, f32::NAN], 1, 2).unwrap();
        assert_eq!(nan.to_f32(1, 2), Err(TensorError::NotFinite { at: 1 }));
        let odd = Tensor { codec: 9, ..tensor };
        assert_eq!(odd.to_f32(2, 3), Err(TensorError::Codec { got: 9 }));
    }
}
