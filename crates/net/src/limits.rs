//! State every bound a transport keeps, so that no peer decides how much memory or time it gets.

use crate::PeerId;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Longest piece of a frame on one QUIC stream, bytes. noq 1.4 gives up a connection when one stream collects
/// more than 1,024 disjoint ranges; short streams never do.
pub const CHUNK: usize = 256 * 1024;
/// Frames up to this many bytes share one ordered stream.
pub const SMALL_FRAME: usize = 32 * 1024;
/// Default greatest frame, bytes.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;
/// What one queued event costs beyond its bytes, counted against the budget so that empty frames are bounded too.
pub(crate) const EVENT_COST: usize = 256;

/// Whether an identity that is not in the address book may connect (users, light clients).
pub type Admission = Arc<dyn Fn(&PeerId) -> bool + Send + Sync>;

/// Greatest frame per channel, bytes.
#[derive(Clone, Debug)]
pub struct FrameLimits {
    /// For channels not named in `channels`.
    pub default: usize,
    /// Exceptions by channel.
    pub channels: BTreeMap<u8, usize>,
}
impl Default for FrameLimits {
    fn default() -> Self {
        Self { default: MAX_FRAME, channels: BTreeMap::new() }
    }
}
impl FrameLimits {
    /// The limit of `channel`.
    pub fn of(&self, channel: u8) -> usize {
        self.channels.get(&channel).copied().unwrap_or(self.default).min(u32::MAX as usize / 2)
    }
    /// The greatest limit of any channel.
    pub fn greatest(&self) -> usize {
        (0..=u8::MAX).map(|channel| self.of(channel)).max().unwrap_or(self.default)
    }
}

/// Bounds common to all transports.
#[derive(Clone)]
pub struct Limits {
    /// Greatest frame per channel.
    pub frames: FrameLimits,
    /// Unconfirmed bytes (plus a fixed cost per frame) that may wait for one peer.
    pub outbox_bytes: usize,
    /// Bytes (plus a fixed cost per event) that one peer may have in reassembly and in the event queue. Raised
    /// to the greatest frame if it is less.
    pub inbox_bytes: usize,
    /// A frame not confirmed within this time after it was queued is not sent again.
    pub max_age: Duration,
    /// A frame of which no further piece arrives for this long is given up and its sender dropped.
    pub incomplete: Duration,
    /// A peer that is silent for this long is down.
    pub idle: Duration,
    /// First and greatest wait between two dials of one peer.
    pub redial: (Duration, Duration),
    /// How long a dropped peer is refused.
    pub refuse_for: Duration,
    /// Peers beyond the address book that may be connected at once.
    pub max_guests: usize,
    /// Stay connected to every peer in the book, also with nothing to send.
    pub keep: bool,
    /// Which identities beyond the book may connect; none by default.
    pub admission: Admission,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: FrameLimits::default(),
            outbox_bytes: 64 * 1024 * 1024,
            inbox_bytes: 64 * 1024 * 1024,
            max_age: Duration::from_secs(60),
            incomplete: Duration::from_secs(20),
            idle: Duration::from_millis(2500),
            redial: (Duration::from_millis(100), Duration::from_secs(1)),
            refuse_for: Duration::from_secs(60),
            max_guests: 256,
            keep: true,
            admission: Arc::new(|_| false),
        }
    }
}
impl Limits {
    pub(crate) fn inbox_budget(&self) -> usize {
        self.inbox_bytes.max(self.frames.greatest() + EVENT_COST).min(u32::MAX as usize)
    }
}
impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits")
            .field("frames", &self.frames)
            .field("outbox_bytes", &self.outbox_bytes)
            .field("inbox_bytes", &self.inbox_bytes)
            .finish_non_exhaustive()
    }
}
