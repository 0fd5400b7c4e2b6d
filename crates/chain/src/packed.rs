//! Write a cell without what it says twice: its zeros, and hashes and keys that stand in it before.
//!
//! A cell is 256 bytes, most of them zeros; an account names its key once as its name and once as its signer. On the
//! wire a cell is a list of pieces. There is one list for a cell: the decoder packs what it read again and refuses
//! other bytes.
//!
//! ```text
//! 0x00..=0x7f  n - 1   the next n bytes, which follow
//! 0x80..=0xfe  n + 125 n zeros, n >= 3
//! 0xff         at      the 32 bytes that begin at byte `at` of the cell, again
//! ```
//!
//! The zeros at the end are left out.

use tessera_canon::{
    Blob, Describe, Described,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, Read, Write},
    encode,
};
use tessera_ledger::{Cell, cell::CELL};

/// Most bytes in one piece.
const LITERAL: usize = 128;
/// Fewest zeros that are shorter as a piece of their own, and most in one.
const FEW: usize = 3;
const MANY: usize = 129;
/// Length of hashes and keys.
const WORD: usize = 32;
const AGAIN: u8 = 0xff;
/// A cell with nothing to leave out, and the heads of its pieces.
const MAX_PACKED: usize = CELL + CELL / LITERAL;

/// A cell as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedCell(pub Cell);

/// Add `bytes` as they are.
fn literal(pieces: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.chunks(LITERAL) {
        pieces.push((piece.len() - 1) as u8);
        pieces.extend_from_slice(piece);
    }
}

fn pack(cell: &Cell) -> Vec<u8> {
    let end = cell.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (bytes, mut pieces) = (&cell.0[..end], Vec::new());
    // What stands before `from` is in pieces already.
    let (mut from, mut at) = (0, 0);
    while at < end {
        let zeros = bytes[at..].iter().take(MANY).take_while(|byte| **byte == 0).count();
        let before = bytes.get(at..at + WORD).and_then(|word| {
            let earlier = bytes[..at].windows(WORD).position(|other| other == word)?;
            // A cell has no more than 256 places.
            u8::try_from(earlier).ok()
        });
        let (piece, length) = match before {
            _ if zeros >= FEW => (vec![(zeros - FEW) as u8 | 0x80], zeros),
            Some(earlier) => (vec![AGAIN, earlier], WORD),
            None => {
                at += 1;
                continue;
            }
        };
        literal(&mut pieces, &bytes[from..at]);
        pieces.extend(piece);
        at += length;
        from = at;
    }
    literal(&mut pieces, &bytes[from..]);
    pieces
}

/// The cell that `pieces` make; `None` where they make none.
fn unpack(mut pieces: &[u8]) -> Option<Cell> {
    let mut bytes = Vec::with_capacity(CELL);
    while let Some((head, rest)) = pieces.split_first() {
        pieces = match *head {
            AGAIN => {
                let (at, rest) = rest.split_first()?;
                let at = usize::from(*at);
                let word: [u8; WORD] = bytes.get(at..at + WORD)?.try_into().ok()?;
                bytes.extend(word);
                rest
            }
            head if head < 0x80 => {
                let (piece, rest) = rest.split_at_checked(usize::from(head) + 1)?;
                bytes.extend_from_slice(piece);
                rest
            }
            head => {
                bytes.resize(bytes.len() + usize::from(head & 0x7f) + FEW, 0);
                rest
            }
        };
        if bytes.len() > CELL {
            return None;
        }
    }
    bytes.resize(CELL, 0);
    Some(Cell(bytes.try_into().ok()?))
}

impl PackedCell {
    fn blob(&self) -> Blob<MAX_PACKED> {
        // Never longer: a piece that is not literal is shorter than what it stands for by at least the literal
        // head that it may cost.
        Blob::new(pack(&self.0)).unwrap_or_default()
    }
}
impl Write for PackedCell {
    fn write(&self, buf: &mut impl BufMut) {
        self.blob().write(buf);
    }
}
impl EncodeSize for PackedCell {
    fn encode_size(&self) -> usize {
        self.blob().encode_size()
    }
}
impl Read for PackedCell {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let pieces = Blob::<MAX_PACKED>::read_cfg(buf, &())?;
        let cell = unpack(&pieces).ok_or(Error::Invalid("PackedCell", "pieces that make no cell"))?;
        if pack(&cell)[..] != pieces[..] {
            return Err(Error::Invalid("PackedCell", "a cell is packed in one way only"));
        }
        Ok(Self(cell))
    }
}
impl Describe for PackedCell {
    fn describe(&self) -> Described {
        Described::Bytes(encode(self).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{Hash, PublicKey, decode};
    use tessera_ledger::record::{Account, Note, NoteState};

    /// Cells with runs of zeros and repeated words in all places.
    fn odd_cells() -> impl Iterator<Item = Cell> {
        let mut state = 1u64;
        (0..40).map(move |_| {
            let mut draw = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let mut bytes = Vec::new();
            while bytes.len() < CELL {
                match draw(4) {
                    0 => bytes.resize(bytes.len() + draw(140), 0),
                    1 if bytes.len() > WORD => {
                        let at = draw(bytes.len() - WORD);
                        bytes.extend_from_within(at..at + WORD);
                    }
                    2 => bytes.extend((0..draw(3)).map(|_| 0)),
                    _ => bytes.extend((0..draw(60)).map(|_| draw(3) as u8)),
                }
            }
            bytes.truncate(CELL);
            Cell(bytes.try_into().unwrap())
        })
    }

    #[test]
    fn a_cell_comes_back_and_is_packed_in_one_way_only() {
        let noise = Cell(std::array::from_fn(|at| (at * 7 % 251) as u8 + 1));
        let plain =
            [Cell([0; CELL]), Cell([7; CELL]), Cell(std::array::from_fn(|at| u8::from(at == 3))), noise];
        for cell in plain.into_iter().chain(odd_cells()) {
            let bytes = encode(&PackedCell(cell));
            assert!(bytes.len() <= MAX_PACKED + 2, "{} bytes", bytes.len());
            assert_eq!(decode::<PackedCell>(&bytes).unwrap(), PackedCell(cell));
            // Any other bytes are refused or are another cell.
            for at in (0..bytes.len()).step_by(3) {
                let mut other = bytes.to_vec();
                other[at] ^= 1;
                if let Ok(found) = decode::<PackedCell>(&other) {
                    assert_ne!(found.0, cell);
                    assert_eq!(encode(&found)[..], other);
                }
            }
        }
        assert_eq!(encode(&PackedCell(Cell([0; CELL]))).len(), 1);
    }

    #[test]
    fn pieces_that_could_be_shorter_or_make_no_cell_are_refused() {
        let refused = |pieces: &[u8]| {
            let blob = encode(&Blob::<MAX_PACKED>::new(pieces.to_vec()).unwrap());
            assert!(decode::<PackedCell>(&blob).is_err(), "{pieces:?}");
        };
        refused(&[1, 1, 0]); // a zero at the end
        refused(&[0, 1, 0, 1]); // two pieces for one
        refused(&[4, 1, 0, 0, 0, 1]); // zeros as they are
        refused(&[5, 1]); // a piece that is cut
        refused(&[0, 1, AGAIN, 0]); // no word stands there
        refused(&[0, 1, AGAIN]);
        refused(&[0xfe, 0xfe, 0, 1]); // longer than a cell
        let mut twice = vec![31];
        twice.extend([9; WORD]);
        twice.push(31);
        twice.extend([9; WORD]);
        refused(&twice); // a word that stood before
    }

    #[test]
    fn accounts_and_notes_are_short() {
        let key = PublicKey(std::array::from_fn(|at| at as u8 + 1));
        let account = Account { balance: 0x0123_4567_89ab, nonce: 7, ..Account::new(key) };
        assert_eq!(encode(&PackedCell(Cell::pack(&account.into()))).len(), 50);
        let word = |first: u8| Hash(std::array::from_fn(|at| at as u8 + first));
        let note = Note {
            id: word(1),
            run: word(50),
            series: 0,
            cu: 100,
            flags: 0,
            owner: word(100),
            state: NoteState::Unspent,
            bound_to: Hash::ZERO,
            until: 0,
        };
        assert!(encode(&PackedCell(Cell::pack(&note.into()))).len() < 112);
    }
}
