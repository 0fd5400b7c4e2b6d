//! Lay frames out on QUIC streams and put them together again. Pure: no socket, no clock.
//!
//! Every stream is one-directional and begins with its kind. `control` (one per side, the first): version and the
//! sender's incarnation, then 8-byte numbers of frames it has taken over. `small` (at most one per side): frames
//! up to [`SMALL_FRAME`] one after the other. `chunk` (any number): one piece of a larger frame. All integers are
//! big-endian. A piece's length follows from the frame's length and its index, so it is not sent.

use crate::{CHUNK, FrameLimits, SMALL_FRAME};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

pub(crate) const KIND_CONTROL: u8 = 0;
pub(crate) const KIND_SMALL: u8 = 1;
pub(crate) const KIND_CHUNK: u8 = 2;
pub(crate) const VERSION: u8 = 1;
pub(crate) const HELLO_LEN: usize = 10;
pub(crate) const SMALL_HEADER: usize = 13;
pub(crate) const CHUNK_HEADER: usize = 16;

/// What a peer did wrong. Each costs it the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a stream of kind {0} was opened, expected 1 (small frames, once) or 2 (piece of a frame)")]
    Kind(u8),
    #[error("first stream is not a hello of version {VERSION}")]
    Hello,
    #[error("a frame of {got} bytes on channel {channel}, at most {max} are allowed")]
    TooBig { channel: u8, got: usize, max: usize },
    #[error("a frame of {0} bytes was sent in the lane of the other size")]
    Lane(usize),
    #[error("piece {index} of a frame of {total} bytes does not exist or came twice")]
    Piece { index: usize, total: usize },
    #[error("pieces of frame {0} disagree about its channel or length")]
    Disagree(u64),
    #[error("a stream went on after its end")]
    Trailing,
    #[error("a stream ended or was reset inside a frame")]
    Truncated,
    #[error("no progress on an incomplete frame")]
    Incomplete,
}
impl Fault {
    /// The counter it goes under.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Kind(_) | Self::Hello | Self::Lane(_) | Self::Piece { .. } | Self::Disagree(_) => {
                "malformed"
            }
            Self::TooBig { .. } => "oversized",
            Self::Trailing => "endless stream",
            Self::Truncated => "truncated",
            Self::Incomplete => "incomplete",
        }
    }
}

/// `[kind][version][incarnation u64]`.
pub(crate) fn hello(incarnation: u64) -> [u8; HELLO_LEN] {
    let mut out = [0; HELLO_LEN];
    (out[0], out[1]) = (KIND_CONTROL, VERSION);
    out[2..].copy_from_slice(&incarnation.to_be_bytes());
    out
}
/// The incarnation in a hello.
pub(crate) fn parse_hello(bytes: &[u8; HELLO_LEN]) -> Result<u64, Fault> {
    let [KIND_CONTROL, VERSION, rest @ ..] = bytes else { return Err(Fault::Hello) };
    Ok(u64::from_be_bytes(*rest))
}

/// `[channel][number u64][length u32]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SmallHeader {
    pub(crate) channel: u8,
    pub(crate) id: u64,
    pub(crate) len: usize,
}
impl SmallHeader {
    pub(crate) fn encode(&self) -> [u8; SMALL_HEADER] {
        let mut out = [0; SMALL_HEADER];
        out[0] = self.channel;
        out[1..9].copy_from_slice(&self.id.to_be_bytes());
        out[9..].copy_from_slice(&(self.len as u32).to_be_bytes());
        out
    }
    pub(crate) fn parse(bytes: &[u8; SMALL_HEADER], limits: &FrameLimits) -> Result<Self, Fault> {
        let [channel, rest @ ..] = bytes;
        let (id, len) = numbers(rest);
        check(*channel, len, limits)?;
        if len > SMALL_FRAME {
            return Err(Fault::Lane(len));
        }
        Ok(Self { channel: *channel, id, len })
    }
}

/// `[channel][number u64][total u32][index u24]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    pub(crate) channel: u8,
    pub(crate) id: u64,
    pub(crate) total: usize,
    pub(crate) index: usize,
}
impl ChunkHeader {
    pub(crate) fn encode(&self) -> [u8; CHUNK_HEADER] {
        let mut out = [0; CHUNK_HEADER];
        out[0] = self.channel;
        out[1..9].copy_from_slice(&self.id.to_be_bytes());
        out[9..13].copy_from_slice(&(self.total as u32).to_be_bytes());
        out[13..].copy_from_slice(&(self.index as u32).to_be_bytes()[1..]);
        out
    }
    pub(crate) fn parse(bytes: &[u8; CHUNK_HEADER], limits: &FrameLimits) -> Result<Self, Fault> {
        let [channel, rest @ .., a, b, c] = bytes;
        let (id, total) = numbers(rest);
        let index = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        check(*channel, total, limits)?;
        if total <= SMALL_FRAME {
            return Err(Fault::Lane(total));
        }
        if index >= pieces(total) {
            return Err(Fault::Piece { index, total });
        }
        Ok(Self { channel: *channel, id, total, index })
    }
    /// Where the piece lies in its frame.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let start = self.index * CHUNK;
        start..self.total.min(start + CHUNK)
    }
}

fn numbers(bytes: &[u8; 12]) -> (u64, usize) {
    let [a, b, c, d, e, f, g, h, length @ ..] = bytes;
    (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), u32::from_be_bytes(*length) as usize)
}
fn check(channel: u8, got: usize, limits: &FrameLimits) -> Result<(), Fault> {
    let max = limits.of(channel);
    if got > max { Err(Fault::TooBig { channel, got, max }) } else { Ok(()) }
}
/// Number of pieces of a frame.
pub(crate) fn pieces(total: usize) -> usize {
    total.div_ceil(CHUNK)
}

/// A frame of which some pieces have come.
pub(crate) struct Partial {
    channel: u8,
    buffer: Vec<u8>,
    /// Pieces begun, so that none is taken twice, and bytes that came.
    begun: Vec<bool>,
    filled: usize,
    permit: OwnedSemaphorePermit,
    progress: Duration,
}

/// The incomplete frames of one connection. The caller gets budget for a frame before it is opened.
#[derive(Default)]
pub(crate) struct Reassembly(BTreeMap<u64, Partial>);

/// A whole frame with the budget it occupies.
pub(crate) struct Whole {
    pub(crate) channel: u8,
    pub(crate) bytes: Bytes,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Reassembly {
    pub(crate) fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }
    /// Allocate a frame under `permit`.
    pub(crate) fn open(&mut self, now: Duration, header: &ChunkHeader, permit: OwnedSemaphorePermit) {
        let begun = vec![false; pieces(header.total)];
        let buffer = vec![0; header.total];
        let partial = Partial { channel: header.channel, buffer, begun, filled: 0, permit, progress: now };
        self.0.insert(header.id, partial);
    }
    /// Claim a piece of an open frame.
    pub(crate) fn begin(&mut self, header: &ChunkHeader) -> Result<(), Fault> {
        let partial = self.0.get_mut(&header.id).ok_or(Fault::Disagree(header.id))?;
        if partial.channel != header.channel || partial.buffer.len() != header.total {
            return Err(Fault::Disagree(header.id));
        }
        let again = Fault::Piece { index: header.index, total: header.total };
        let begun = partial.begun.get_mut(header.index).ok_or_else(|| again.clone())?;
        if std::mem::replace(begun, true) { Err(again) } else { Ok(()) }
    }
    /// Copy bytes to `offset` of a frame; the frame when it is whole.
    pub(crate) fn fill(
        &mut self,
        now: Duration,
        id: u64,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Option<Whole>, Fault> {
        let partial = self.0.get_mut(&id).ok_or(Fault::Disagree(id))?;
        let end = offset.checked_add(bytes.len()).ok_or(Fault::Trailing)?;
        partial.buffer.get_mut(offset..end).ok_or(Fault::Trailing)?.copy_from_slice(bytes);
        partial.filled += bytes.len();
        partial.progress = now;
        if partial.filled < partial.buffer.len() {
            return Ok(None);
        }
        let whole = self.0.remove(&id);
        Ok(whole.map(|p| Whole { channel: p.channel, bytes: Bytes::from(p.buffer), permit: p.permit }))
    }
    /// Whether a frame has had no progress since `limit`.
    pub(crate) fn stale(&self, limit: Duration) -> bool {
        self.0.values().any(|partial| partial.progress < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn permit() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    proptest! {
        #[test]
        fn headers_survive_and_hostile_ones_are_judged(bytes: [u8; CHUNK_HEADER], small: [u8; SMALL_HEADER]) {
            let limits = FrameLimits { default: 1 << 30, ..FrameLimits::default() };
            if let Ok(header) = ChunkHeader::parse(&bytes, &limits) {
                prop_assert_eq!(header.encode(), bytes);
                prop_assert!(header.range().end <= header.total && header.total <= 1 << 30);
            }
            if let Ok(header) = SmallHeader::parse(&small, &limits) {
                prop_assert_eq!(header.encode(), small);
                prop_assert!(header.len <= SMALL_FRAME);
            }
        }

        #[test]
        fn pieces_in_any_order_make_the_frame(total in SMALL_FRAME + 1..5 * CHUNK, order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle()) {
            let frame: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
            let mut reassembly = Reassembly::default();
            let mut whole = None;
            for index in order.into_iter().filter(|index| *index < pieces(total)) {
                prop_assert!(whole.is_none());
                let header = ChunkHeader { channel: 4, id: 9, total, index };
                if !reassembly.has(9) {
                    reassembly.open(Duration::ZERO, &header, permit());
                }
                reassembly.begin(&header).unwrap();
                prop_assert!(reassembly.begin(&header).is_err(), "no piece twice");
                let other = ChunkHeader { total: total + 1, ..header };
                prop_assert!(reassembly.begin(&other).is_err(), "no other length");
                whole = reassembly.fill(Duration::ZERO, 9, header.range().start, &frame[header.range()]).unwrap();
            }
            prop_assert_eq!(&whole.unwrap().bytes[..], &frame[..]);
        }
    }

    #[test]
    fn limits_hold_before_anything_is_allocated() {
        let mut limits = FrameLimits::default();
        limits.channels.insert(2, 100_000);
        let header = ChunkHeader { channel: 2, id: 1, total: 100_001, index: 0 };
        let fault = ChunkHeader::parse(&header.encode(), &limits).unwrap_err();
        assert_eq!(fault, Fault::TooBig { channel: 2, got: 100_001, max: 100_000 });
        let fits = ChunkHeader { total: 100_000, index: 1, ..header };
        assert_eq!(ChunkHeader::parse(&fits.encode(), &limits).unwrap_err().reason(), "malformed");
        let mut reassembly = Reassembly::default();
        let header = ChunkHeader { total: 100_000, ..header };
        reassembly.open(Duration::from_secs(1), &header, permit());
        assert!(reassembly.fill(Duration::from_secs(2), 1, 99_999, &[1, 2]).is_err());
        assert!(!reassembly.stale(Duration::from_secs(1)) && reassembly.stale(Duration::from_secs(2)));
    }
}
