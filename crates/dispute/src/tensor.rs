//! Digest tensors so that a dispute can open any KiB of one, at the speed of a plain hash (`verify` section 11.3).
//!
//! ```text
//! digest = bind(head, top)         head: kind u8 | rank u8 | 6 zero bytes | dims u64[3], little-endian
//! top    = tree of the bytes       row-major, little-endian, in chunks of 1 KiB (tessera_canon::tree)
//! ```
//! A chunk is 256 f32 or indices, or 128 sums. A NaN or an infinity has no digest: the unit is void.
//!
//! On one thread of an AMD EPYC core with AVX-512, 64 MiB, in MB/s, as `examples/digest_speed.rs` prints them: a
//! plain BLAKE3 hash of the bytes 4546, [`digest`] of f32 3341 (the check for finite values included) and of i64 4102,
//! a [`TensorTree`] 802.
//!
//! ```
//! use tessera_dispute::tensor::{Values, digest};
//! let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0000005]);
//! assert_ne!(digest(&[2, 2], Values::Numbers(&a))?, digest(&[2, 2], Values::Numbers(&b))?);
//! assert_ne!(digest(&[2, 2], Values::Numbers(&a))?, digest(&[4], Values::Numbers(&a))?);
//! assert!(digest(&[1], Values::Numbers(&[f32::NAN])).is_err());
//! # Ok::<(), tessera_dispute::tensor::TensorError>(())
//! ```

use tessera_canon::{
    Blob, Hash, record, tags,
    tree::{CHUNK, FAN, TreeHasher, TreePath, bind, chunk_value, join, tree_path},
};

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 3;
/// Bytes hashed at a time.
const PIECE: usize = 64 * CHUNK;

tags! {
    /// What the elements of a tensor are.
    pub enum TensorKind {
        /// f32.
        0 => Number,
        /// i64: counts of grid steps.
        1 => Sum,
        /// u32: tokens, labels.
        2 => Index,
    }
}

impl TensorKind {
    /// Bytes of an element.
    pub fn width(self) -> usize {
        match self {
            Self::Number | Self::Index => 4,
            Self::Sum => 8,
        }
    }
}

/// The elements of a tensor in row-major order.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    Numbers(&'a [f32]),
    Sums(&'a [i64]),
    Indices(&'a [u32]),
}

/// Why a tensor has no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The unit is void.
    #[error("element {index} is {value}: a unit with a NaN or an infinity is void")]
    NotFinite { index: usize, value: String },
    #[error("a tensor of dimensions {dims:?} was expected, of rank 1 to 3 and not empty; got {got} elements")]
    Shape { dims: Vec<usize>, got: usize },
}

impl Values<'_> {
    /// What the elements are.
    pub fn kind(&self) -> TensorKind {
        match self {
            Self::Numbers(_) => TensorKind::Number,
            Self::Sums(_) => TensorKind::Sum,
            Self::Indices(_) => TensorKind::Index,
        }
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(x) => x.len(),
            Self::Sums(x) => x.len(),
            Self::Indices(x) => x.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bits of element `index`; a sum's sign goes through all 64.
    pub fn bits(&self, index: usize) -> Option<u64> {
        match self {
            Self::Numbers(x) => x.get(index).map(|x| u64::from(x.to_bits())),
            Self::Sums(x) => x.get(index).map(|x| *x as u64),
            Self::Indices(x) => x.get(index).map(|x| u64::from(*x)),
        }
    }
    /// Write elements `from..to` into `bytes`, little-endian.
    fn write(&self, from: usize, to: usize, bytes: &mut Vec<u8>) {
        bytes.resize((to - from) * self.kind().width(), 0);
        match self {
            Self::Numbers(x) => {
                let slots = bytes.as_chunks_mut::<4>().0;
                slots.iter_mut().zip(&x[from..to]).for_each(|(slot, x)| *slot = x.to_le_bytes());
            }
            Self::Sums(x) => {
                let slots = bytes.as_chunks_mut::<8>().0;
                slots.iter_mut().zip(&x[from..to]).for_each(|(slot, x)| *slot = x.to_le_bytes());
            }
            Self::Indices(x) => {
                let slots = bytes.as_chunks_mut::<4>().0;
                slots.iter_mut().zip(&x[from..to]).for_each(|(slot, x)| *slot = x.to_le_bytes());
            }
        }
    }
    /// The bytes of chunk `chunk`; empty beyond the end.
    pub fn chunk(&self, chunk: usize) -> Vec<u8> {
        let each = CHUNK / self.kind().width();
        let (from, to) = (chunk.saturating_mul(each).min(self.len()), (chunk + 1).saturating_mul(each));
        let mut bytes = Vec::new();
        self.write(from, to.min(self.len()), &mut bytes);
        bytes
    }
    /// Call `each` with the bytes in order, in pieces of 64 KiB.
    fn pieces(&self, mut each: impl FnMut(&[u8])) {
        let (step, mut bytes) = (PIECE / self.kind().width(), Vec::with_capacity(PIECE));
        for from in (0..self.len()).step_by(step) {
            self.write(from, self.len().min(from + step), &mut bytes);
            each(&bytes);
        }
    }
    fn check(&self, dims: &[usize], finite: bool) -> Result<Hash, TensorError> {
        let shape = || TensorError::Shape { dims: dims.to_vec(), got: self.len() };
        if dims.iter().try_fold(1usize, |all, dim| all.checked_mul(*dim)) != Some(self.len()) {
            return Err(shape());
        }
        if let Self::Numbers(x) = self
            && finite
            && !tessera_arith::elementwise::finite(x)
        {
            let index = x.iter().position(|x| !x.is_finite()).unwrap_or(0);
            return Err(TensorError::NotFinite { index, value: x[index].to_string() });
        }
        head(self.kind(), dims).ok_or_else(shape)
    }
}

/// What a digest says about the bytes; `None` for dimensions that no tensor has.
pub fn head(kind: TensorKind, dims: &[usize]) -> Option<Hash> {
    if dims.is_empty() || dims.len() > MAX_RANK || dims.contains(&0) {
        return None;
    }
    let mut head = [0; 32];
    head[0] = kind as u8;
    head[1] = dims.len() as u8;
    for (slot, dim) in head[8..].chunks_exact_mut(8).zip(dims) {
        slot.copy_from_slice(&(*dim as u64).to_le_bytes());
    }
    Some(Hash(head))
}

/// The digest of a tensor with these dimensions.
///
/// # Errors
/// The elements are not as many as the dimensions say, or one is not finite.
pub fn digest(dims: &[usize], values: Values) -> Result<Hash, TensorError> {
    hash(dims, values, true)
}

/// As [`digest`], for values on the way inside of an operation: the maximum of nothing is negative infinity.
///
/// # Errors
/// The elements are not as many as the dimensions say.
pub fn digest_inner(dims: &[usize], values: Values) -> Result<Hash, TensorError> {
    hash(dims, values, false)
}

fn hash(dims: &[usize], values: Values, finite: bool) -> Result<Hash, TensorError> {
    let head = values.check(dims, finite)?;
    let mut hasher = TreeHasher::default();
    values.pieces(|bytes| hasher.update(bytes));
    // The check refuses empty tensors.
    Ok(bind(&head, &hasher.top().unwrap_or_default()))
}

record! {
    /// A chunk of a tensor with its path to the top of the tensor's tree.
    pub struct Opening { pub path: TreePath, pub bytes: Blob<CHUNK> }
}

impl Opening {
    /// The digest of the tensor of which this is a part, if it has this kind and these dimensions.
    pub fn digest(&self, kind: TensorKind, dims: &[usize]) -> Option<Hash> {
        let bytes = dims.iter().try_fold(kind.width(), |all, dim| all.checked_mul(*dim))?;
        if self.path.count as usize != bytes.div_ceil(CHUNK) {
            return None;
        }
        let from = (self.path.index as usize).checked_mul(CHUNK)?;
        if self.bytes.len() != bytes.checked_sub(from)?.min(CHUNK) {
            return None;
        }
        Some(bind(&head(kind, dims)?, &self.path.top(&self.bytes)?))
    }
    /// The bits of element `index` of the tensor, if it stands in this chunk.
    pub fn bits(&self, kind: TensorKind, index: usize) -> Option<u64> {
        let (width, each) = (kind.width(), CHUNK / kind.width());
        if index / each != self.path.index as usize {
            return None;
        }
        let bytes = self.bytes.get(index % each * width..(index % each + 1) * width)?;
        let mut word = [0; 8];
        word[..width].copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }
}

/// A tensor's tree with the values of all chunks (3 % of the tensor's bytes): for disputes.
#[derive(Clone, Debug)]
pub struct TensorTree {
    head: Hash,
    /// Values of the chunks, then of groups of 32, and so on to one.
    levels: Vec<Vec<Hash>>,
}

impl TensorTree {
    /// Hash chunk by chunk, which is some times slower than [`digest`].
    ///
    /// # Errors
    /// As for [`digest_inner`]: what is void was found when it was digested.
    pub fn new(dims: &[usize], values: Values) -> Result<Self, TensorError> {
        let head = values.check(dims, false)?;
        let (mut chunks, mut index) = (Vec::new(), 0u32);
        values.pieces(|bytes| {
            for chunk in bytes.chunks(CHUNK) {
                // Chunks of a piece are neither empty nor too long.
                chunks.push(chunk_value(index, chunk).unwrap_or_default());
                index += 1;
            }
        });
        let mut levels = vec![chunks];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(below.chunks(FAN).map(|children| join(children).unwrap_or_default()).collect());
        }
        Ok(Self { head, levels })
    }
    /// The digest of the tensor.
    pub fn digest(&self) -> Hash {
        bind(&self.head, &self.levels[self.levels.len() - 1][0])
    }
    /// What the digest says about the bytes.
    pub fn head(&self) -> Hash {
        self.head
    }
    /// Chunks of the tensor.
    pub fn chunks(&self) -> usize {
        self.levels[0].len()
    }
    /// The values of all groups of 32^`level` chunks. A level above the top is the top.
    pub fn level(&self, level: usize) -> &[Hash] {
        &self.levels[level.min(self.levels.len() - 1)]
    }
    /// Chunk `chunk` of `values`, which the tree was made of, with its path.
    pub fn open(&self, values: Values, chunk: usize) -> Option<Opening> {
        Some(Opening {
            path: tree_path(&self.levels[0], chunk)?,
            bytes: Blob::new(values.chunk(chunk)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 - 100.0) * 0.37).collect()
    }

    #[test]
    fn every_chunk_opens_to_the_digest_and_no_other_does() {
        for len in [1, 255, 256, 257, 8192, 8193, 40_000] {
            let x = numbers(len);
            let sums: Vec<i64> = (0..len as i64).map(|i| (i - 50) << 33).collect();
            let indices: Vec<u32> = (0..len as u32).rev().collect();
            for values in [Values::Numbers(&x), Values::Sums(&sums), Values::Indices(&indices)] {
                let (kind, dims) = (values.kind(), [len]);
                let tree = TensorTree::new(&dims, values).unwrap();
                let digest = digest(&dims, values).unwrap();
                assert_eq!(tree.digest(), digest, "{kind:?} {len}");
                for index in [0, len / 2, len - 1] {
                    let chunk = index * kind.width() / CHUNK;
                    let opening = tree.open(values, chunk).unwrap();
                    assert_eq!(opening.digest(kind, &dims), Some(digest));
                    assert_eq!(opening.bits(kind, index), values.bits(index));
                    let mut bytes = opening.bytes.to_vec();
                    bytes[0] ^= 1;
                    let other = Opening { bytes: Blob::new(bytes).unwrap(), ..opening.clone() };
                    assert_ne!(other.digest(kind, &dims), Some(digest));
                    assert_ne!(opening.digest(kind, &[1, len]), Some(digest), "dimensions are bound");
                    assert_eq!(opening.bits(kind, index + CHUNK), None);
                }
                assert!(tree.open(values, tree.chunks()).is_none());
            }
        }
    }

    #[test]
    fn one_bit_of_an_element_changes_the_digest() {
        let mut x = numbers(3000);
        let before = digest(&[3, 1000], Values::Numbers(&x)).unwrap();
        for index in [0, 1777, 2999] {
            x[index] = f32::from_bits(x[index].to_bits() ^ 1);
            assert_ne!(digest(&[3, 1000], Values::Numbers(&x)).unwrap(), before);
            x[index] = f32::from_bits(x[index].to_bits() ^ 1);
        }
        assert_eq!(digest(&[3, 1000], Values::Numbers(&x)).unwrap(), before);
        let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
        assert_ne!(digest(&[3, 1000], Values::Indices(&bits)).unwrap(), before, "kinds are bound");
    }

    #[test]
    fn what_is_no_tensor_has_no_digest() {
        let x = [1.0, f32::NEG_INFINITY];
        let void = digest(&[2], Values::Numbers(&x));
        assert_eq!(void, Err(TensorError::NotFinite { index: 1, value: "-inf".into() }));
        for dims in [&[][..], &[3], &[1, 1, 1, 2], &[usize::MAX, 2], &[2, 0]] {
            let shape = digest(dims, Values::Indices(&[1, 2]));
            assert!(matches!(shape, Err(TensorError::Shape { .. })), "{dims:?}");
        }
        assert!(digest(&[0], Values::Sums(&[])).is_err());
        // A small chunk that says it is part of something vast.
        let path = TreePath { index: 0, count: u32::MAX, siblings: tessera_canon::List::default() };
        let opening = Opening { path, bytes: Blob::new(vec![0; CHUNK]).unwrap() };
        for dims in [[usize::MAX, 4], [1 << 31, 1 << 9]] {
            assert_eq!(opening.digest(TensorKind::Number, &dims), None);
        }
    }
}
