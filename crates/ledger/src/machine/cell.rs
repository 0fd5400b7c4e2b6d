//! Fit every state value into one fixed-size cell, so that any authenticated store can hold it.

use crate::record::Record;
use tessera_canon::{
    Hash,
    bytes::BufMut,
    codec::{Buf, Error, FixedSize, Read, Write},
    decode, encode,
};

/// The name of a cell; made by [`crate::keys`] only.
pub type Key = Hash;
/// Bytes in a cell.
pub const CELL: usize = 256;

/// One state value: two bytes of length (big-endian), the record's canonical encoding, zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cell(pub [u8; CELL]);

impl Cell {
    /// Pack a record.
    pub fn pack(record: &Record) -> Self {
        let bytes = encode(record);
        // Record types bound their lists and texts so that this holds; `record::tests` fills each to the brim.
        assert!(bytes.len() <= CELL - 2, "{} takes {} bytes, a cell holds 254", record.kind(), bytes.len());
        let mut cell = [0; CELL];
        cell[..2].copy_from_slice(&(bytes.len() as u16).to_be_bytes());
        cell[2..2 + bytes.len()].copy_from_slice(&bytes);
        Self(cell)
    }
    /// The record inside; `None` if this cell was not written by [`Cell::pack`].
    pub fn unpack(&self) -> Option<Record> {
        let length = usize::from(u16::from_be_bytes([self.0[0], self.0[1]]));
        let body = self.0.get(2..2 + length)?;
        if self.0[2 + length..].iter().any(|b| *b != 0) {
            return None;
        }
        decode(body).ok()
    }
}
impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.unpack() {
            Some(record) => write!(f, "Cell({record:?})"),
            None => write!(f, "Cell(not a record)"),
        }
    }
}
impl Write for Cell {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl FixedSize for Cell {
    const SIZE: usize = CELL;
}
impl Read for Cell {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(<[u8; CELL]>::read_cfg(buf, &())?))
    }
}
