//! Remember which frames of a peer came, so that a frame sent again is not handed out twice.

use crate::outbox::Lane;
use std::collections::BTreeSet;

/// Large-frame numbers remembered to recognise repetition.
const REMEMBERED: usize = 4096;

/// What was received from a peer's present incarnation.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Number of the session that may deliver; 0 while the peer is down.
    pub(crate) session: u64,
    incarnation: u64,
    small: u64,
    large: BTreeSet<u64>,
}
impl Inbox {
    /// Nothing received yet from this incarnation.
    pub(crate) fn of(incarnation: u64) -> Self {
        Self { incarnation, ..Self::default() }
    }
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }
    pub(crate) fn has_large(&self, id: u64) -> bool {
        self.large.contains(&id)
    }
    /// Note frame `id`; false if it came before.
    pub(crate) fn take(&mut self, lane: Lane, id: u64) -> bool {
        match lane {
            // Small frames come in order on every connection, so a lower number was seen.
            Lane::Small => {
                let new = id > self.small;
                self.small = self.small.max(id);
                new
            }
            Lane::Large => {
                let new = self.large.insert(id);
                if self.large.len() > REMEMBERED {
                    self.large.pop_first();
                }
                new
            }
        }
    }
}
