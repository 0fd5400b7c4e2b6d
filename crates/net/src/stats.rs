//! Count what passed and what was refused, for operators and for tests.

use crate::PeerId;
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Distinct drop reasons that are told apart; later ones count as "other".
const MAX_REASONS: usize = 64;

/// Frames and bytes of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStats {
    pub frames_in: u64,
    pub bytes_in: u64,
    /// Confirmed by the receiver.
    pub frames_out: u64,
    pub bytes_out: u64,
}

/// Counters of a transport since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    pub channels: BTreeMap<u8, ChannelStats>,
    /// Peers connected now.
    pub connected: usize,
    /// Connections that were used, in all.
    pub connections: u64,
    /// Connections closed or refused for a fault, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Frames dropped because they stayed unconfirmed longer than `max_age`.
    pub expired: u64,
    /// Frames received again and dropped.
    pub duplicates: u64,
    /// Smoothed round-trip time per connected peer.
    pub rtt: BTreeMap<PeerId, Duration>,
}
impl NetStats {
    /// Drops for all reasons.
    pub fn total_drops(&self) -> u64 {
        self.drops.values().sum()
    }
}

/// The shared, counting side of [`NetStats`].
#[derive(Default)]
pub(crate) struct Counters(Mutex<NetStats>);

impl Counters {
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut NetStats) -> T) -> T {
        // A panic elsewhere while counting leaves counters usable.
        change(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
    pub(crate) fn received(&self, channel: u8, bytes: usize) {
        self.with(|stats| {
            let entry = stats.channels.entry(channel).or_default();
            entry.frames_in += 1;
            entry.bytes_in += bytes as u64;
        });
    }
    pub(crate) fn confirmed(&self, channel: u8, bytes: usize) {
        self.with(|stats| {
            let entry = stats.channels.entry(channel).or_default();
            entry.frames_out += 1;
            entry.bytes_out += bytes as u64;
        });
    }
    pub(crate) fn dropped(&self, reason: &str) {
        self.with(|stats| {
            let known = stats.drops.contains_key(reason) || stats.drops.len() < MAX_REASONS;
            let name: String = if known { reason.chars().take(80).collect() } else { "other".into() };
            *stats.drops.entry(name).or_default() += 1;
        });
    }
}
