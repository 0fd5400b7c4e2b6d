//! Open the one QUIC endpoint of a process, with the limits that the wire's channels state.

use std::{net::SocketAddr, sync::Arc};
use tessera_canon::SecretKey;
use tessera_net::{BindError, FrameLimits, Limits, QuicConfig, QuicTransport};

/// Limits for a process that takes frames on `channels` only; frames on others break the rules.
/// With `guests`, identities that are in no address book may connect (light clients, users, joiners).
pub fn limits(channels: &[u8], guests: bool) -> Limits {
    let channels = channels.iter().map(|channel| (*channel, tessera_wire::limit_of(*channel))).collect();
    Limits {
        frames: FrameLimits { default: 0, channels },
        admission: Arc::new(move |_| guests),
        ..Limits::default()
    }
}

/// Listen as `key` on `listen` (port 0 takes a free one).
pub async fn open(
    key: &SecretKey,
    listen: SocketAddr,
    limits: Limits,
) -> Result<Arc<QuicTransport>, BindError> {
    QuicTransport::bind(key, QuicConfig { bind: listen, limits }).await.map(Arc::new)
}
