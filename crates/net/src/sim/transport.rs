//! Be a [`Transport`] in a simulated network.

use super::network::{SimNet, Waiting};
use crate::{NetEvent, NetStats, PeerId, SendError, Transport};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};

/// One node of a [`SimNet`]; made by [`SimNet::start`]. Dropping it without [`Transport::close`] is a crash.
pub struct SimTransport {
    pub(super) net: SimNet,
    pub(super) id: PeerId,
    pub(super) address: SocketAddr,
    pub(super) incarnation: u64,
    pub(super) queue: Arc<Waiting>,
}

impl SimTransport {
    /// Where other nodes find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport for SimTransport {
    fn local(&self) -> PeerId {
        self.id
    }
    fn send(&self, to: PeerId, channel: u8, bytes: Bytes) -> Result<(), SendError> {
        self.net.send(self.id, self.incarnation, to, channel, bytes)
    }
    async fn recv(&self) -> Option<NetEvent> {
        loop {
            let woken = self.queue.wake.notified();
            if let Some(next) = self.net.take(self.id, self.incarnation, &self.queue) {
                return next;
            }
            woken.await;
        }
    }
    fn learn(&self, peer: PeerId, addr: SocketAddr) {
        self.net.learn(self.id, self.incarnation, peer, addr);
    }
    fn drop_peer(&self, peer: PeerId, reason: &str) {
        self.net.drop_peer(self.id, self.incarnation, peer, reason);
    }
    fn stats(&self) -> NetStats {
        self.net.node_stats(self.id, self.incarnation)
    }
    async fn close(&self) {
        self.net.leave(self.id, self.incarnation);
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        self.net.end(self.id, self.incarnation);
    }
}
