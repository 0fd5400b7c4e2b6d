//! Carry frames between identities: one [`Transport`] trait, QUIC for real links and a simulator in virtual time.
//!
//! A frame is bytes on a numbered channel to an Ed25519 identity. Nothing here reads the bytes.
//!
//! # What is promised
//! - **At least once, never torn.** [`Transport::send`] queues a frame. It stays queued until the receiver says
//!   that it handed the frame to its own queue. When a connection breaks before that, the frame is sent again on
//!   the next one, unless it has become older than `max_age`: then it is dropped and counted as `expired`.
//!   Repeated frames are recognised by number and dropped by a receiver that stayed alive, so a frame arrives
//!   twice only in rare cases (a receiver that restarted, or more than a few thousand large frames unconfirmed);
//!   receivers must tolerate it. A receiver that crashes loses what it had confirmed but not yet handled.
//! - **Order** is kept for frames of at most [`SMALL_FRAME`] bytes from one sender to one peer, over all channels.
//!   Larger frames overtake each other and small ones: no order is promised for them.
//! - **Bounded.** Unconfirmed bytes per peer are limited (`outbox_bytes`, else [`SendError::Full`]), and so is
//!   what a peer can make this side hold (`inbox_bytes`, counted until [`Transport::recv`] hands it out): a slow
//!   reader slows its senders down.
//! - `Up` and `Down` alternate for each peer, beginning with `Up`, and no frame of a peer comes while it is down.
//!
//! What it does not do: discover peers, relay, pierce NAT, or encrypt beyond what QUIC does.

mod congestion;
mod framing;
mod inbox;
mod limits;
mod outbox;
mod quic;
mod session;
pub mod sim;
mod stats;

pub use limits::{Admission, CHUNK, FrameLimits, Limits, MAX_FRAME, SMALL_FRAME};
pub use quic::{BindError, PROTOCOL, QuicConfig, QuicTransport};
pub use stats::{ChannelStats, NetStats};
pub use tessera_canon::SecretKey;

use bytes::Bytes;
use std::{future::Future, net::SocketAddr};

/// A peer is its Ed25519 public key.
pub type PeerId = tessera_canon::PublicKey;

/// What a transport reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A whole frame from an authenticated peer.
    Frame { from: PeerId, channel: u8, bytes: Bytes },
    /// A connection to this peer stands.
    Up(PeerId),
    /// The connection to this peer is gone; `reason` is for people.
    Down { peer: PeerId, reason: String },
}

/// Why [`Transport::send`] did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No address was learned, no connection stands, or the peer is refused after misbehaviour.
    #[error("peer {} has no known address and no connection (or is refused): learn its address first", peer.short())]
    Unknown { peer: PeerId },
    /// The peer's queue holds as many unconfirmed bytes as it may.
    #[error("queue to peer {} is full: {queued} of {max} bytes wait; send again later", peer.short())]
    Full { peer: PeerId, queued: usize, max: usize },
    /// The frame is longer than its channel allows.
    #[error("frame of {got} bytes on channel {channel}, at most {max} are allowed; split it")]
    TooBig { channel: u8, got: usize, max: usize },
    /// [`Transport::close`] was called.
    #[error("the transport is closed")]
    Closed,
}

impl SendError {
    /// Whether the same frame may be taken later without any other change.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Frames to and from authenticated peers. See the crate documentation for what is promised.
pub trait Transport: Send + Sync + 'static {
    /// This side's identity.
    fn local(&self) -> PeerId;
    /// Queue a frame; never blocks. Sending to oneself is [`SendError::Unknown`].
    fn send(&self, to: PeerId, channel: u8, bytes: Bytes) -> Result<(), SendError>;
    /// The next event; `None` once the transport is closed. Cancelling the future loses nothing.
    fn recv(&self) -> impl Future<Output = Option<NetEvent>> + Send;
    /// Enter or change an address in the book. A peer is dialled, and dialled again with back-off, while there
    /// is something to send to it or [`Limits::keep`] is set.
    fn learn(&self, peer: PeerId, addr: SocketAddr);
    /// Close the connection of a misbehaving peer, forget what is queued for it and refuse it for
    /// [`Limits::refuse_for`]. Counted under `reason`.
    fn drop_peer(&self, peer: PeerId, reason: &str);
    /// Counters since the start.
    fn stats(&self) -> NetStats;
    /// Close all connections; [`Transport::recv`] then ends. Waits until peers could be told.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
