//! Hold the frames for one peer until it confirms them. Pure: the caller brings the time.

use crate::{SMALL_FRAME, limits::EVENT_COST};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};

/// A frame waiting for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) channel: u8,
    pub(crate) bytes: Bytes,
    /// Time since the transport's start at which it was queued.
    queued: Duration,
}

/// Which of the two streams of work a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Small,
    Large,
}

/// The frames of one peer by number, in two lanes. A sender walks a lane with a cursor of its own, so a new
/// connection starts again at the oldest unconfirmed frame by starting at zero.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    last: u64,
    small: BTreeMap<u64, Outgoing>,
    large: BTreeMap<u64, Outgoing>,
    held: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }
    /// Queue a frame unless that would pass `max`; says how much is held if so.
    pub(crate) fn push(
        &mut self,
        now: Duration,
        channel: u8,
        bytes: Bytes,
        max: usize,
    ) -> Result<Lane, usize> {
        let cost = bytes.len() + EVENT_COST;
        if self.held + cost > max {
            return Err(self.held);
        }
        self.held += cost;
        self.last += 1;
        let id = self.last;
        let lane = if bytes.len() <= SMALL_FRAME { Lane::Small } else { Lane::Large };
        self.lane(lane).insert(id, Outgoing { id, channel, bytes, queued: now });
        Ok(lane)
    }
    /// The first frame of `lane` after number `cursor`.
    pub(crate) fn next(&self, lane: Lane, cursor: u64) -> Option<Outgoing> {
        let frames = match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        };
        frames.range(cursor.saturating_add(1)..).next().map(|(_, frame)| frame.clone())
    }
    /// Remove a confirmed frame; `None` if it is not held (confirmed twice, expired, or invented by the peer).
    pub(crate) fn confirm(&mut self, id: u64) -> Option<Outgoing> {
        let frame = self.small.remove(&id).or_else(|| self.large.remove(&id))?;
        self.held -= frame.bytes.len() + EVENT_COST;
        Some(frame)
    }
    /// Drop frames queued before `now - max_age`; how many.
    pub(crate) fn expire(&mut self, now: Duration, max_age: Duration) -> u64 {
        let Some(limit) = now.checked_sub(max_age) else { return 0 };
        let mut dropped = 0;
        for lane in [Lane::Small, Lane::Large] {
            // Numbers grow with time, so the oldest come first.
            while let Some((&id, frame)) = self.lane(lane).first_key_value() {
                if frame.queued >= limit {
                    break;
                }
                self.confirm(id);
                dropped += 1;
            }
        }
        dropped
    }
    /// Forget everything but the numbering.
    pub(crate) fn clear(&mut self) {
        self.small.clear();
        self.large.clear();
        self.held = 0;
    }
    fn lane(&mut self, lane: Lane) -> &mut BTreeMap<u64, Outgoing> {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Large => &mut self.large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stay_until_confirmed_and_are_walked_again_in_order() {
        let mut outbox = Outbox::default();
        let at = Duration::from_secs;
        assert_eq!(outbox.push(at(0), 1, Bytes::from_static(b"a"), 2000), Ok(Lane::Small));
        assert_eq!(outbox.push(at(5), 1, Bytes::from_static(b"b"), 2000), Ok(Lane::Small));
        assert_eq!(outbox.push(at(5), 1, Bytes::from(vec![0; 4000]), 2000), Err(514));
        for _ in 0..2 {
            let first = outbox.next(Lane::Small, 0).unwrap();
            let second = outbox.next(Lane::Small, first.id).unwrap();
            assert_eq!((&first.bytes[..], &second.bytes[..]), (&b"a"[..], &b"b"[..]));
            assert_eq!(outbox.next(Lane::Small, second.id), None);
        }
        assert_eq!(outbox.expire(at(9), at(10)), 0);
        assert_eq!(outbox.expire(at(12), at(10)), 1);
        assert_eq!(outbox.next(Lane::Small, 0).unwrap().bytes, Bytes::from_static(b"b"));
        assert!(outbox.confirm(2).is_some() && outbox.confirm(2).is_none() && outbox.confirm(99).is_none());
        assert!(outbox.is_empty() && outbox.held == 0);
    }
}
