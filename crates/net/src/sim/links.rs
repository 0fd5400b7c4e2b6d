//! Say when a frame arrives: a pure, seeded model of home links. No clock, no task, no socket.
//!
//! A node's link has a latency to the core of the internet, jitter, an upstream and a downstream rate with a queue
//! each, and a loss probability per frame. Same seed and same calls in the same order give the same answers. Queues
//! serve frames in the order in which they were sent, which for frames of different senders to one receiver may
//! differ from the order of arrival by their difference in latency.
//!
//! ```
//! use tessera_net::sim::{Delivery, Links, Profile};
//! let (a, b) = (tessera_canon::PublicKey([1; 32]), tessera_canon::PublicKey([2; 32]));
//! let mut links = Links::new(7, Profile { jitter_us: 0, ..Profile::HOME });
//! // 1 MB at 10 MB/s up and down after 2 x 10 ms of latency.
//! assert_eq!(links.deliver(0, a, b, 1_000_000), Delivery::At { at_us: 120_000 });
//! ```

use crate::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Domain, Prf};

const DRAWS: Domain = Domain::new("tessera/sim/links/v1");

/// One node's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// One-way latency between the node and the core; a path has that of both ends.
    pub latency_us: u64,
    /// Greatest extra latency of a frame, uniform; both ends add up.
    pub jitter_us: u64,
    /// Bytes per second; 0 is unlimited.
    pub up: u64,
    pub down: u64,
    /// Frames lost per million, drawn at the sender and at the receiver.
    pub loss_ppm: u32,
}
impl Profile {
    /// 80 Mbit/s both ways, 40 ms round trip between two such nodes, 2 ms jitter.
    pub const HOME: Self =
        Self { latency_us: 10_000, jitter_us: 1_000, up: 10_000_000, down: 10_000_000, loss_ppm: 0 };
    /// No delay but a little, no limit, no loss.
    pub const LOCAL: Self = Self { latency_us: 50, jitter_us: 0, up: 0, down: 0, loss_ppm: 0 };
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its last byte arrives then.
    At {
        at_us: u64,
    },
    Dropped(Cause),
}

/// Why a frame does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Loss,
    Partition,
    Crashed,
}

#[derive(Clone, Copy, Default)]
struct Queues {
    up_free_us: u64,
    down_free_us: u64,
}

/// The network.
pub struct Links {
    draws: Prf,
    default: Profile,
    profiles: BTreeMap<PeerId, Profile>,
    queues: BTreeMap<PeerId, Queues>,
    islands: Vec<BTreeSet<PeerId>>,
    crashed: BTreeSet<PeerId>,
}

impl Links {
    /// A network in which every node has the link `default`.
    pub fn new(seed: u64, default: Profile) -> Self {
        Self {
            draws: Prf::new(DRAWS, &seed.to_be_bytes()),
            default,
            profiles: BTreeMap::new(),
            queues: BTreeMap::new(),
            islands: Vec::new(),
            crashed: BTreeSet::new(),
        }
    }
    /// Give one node another link.
    pub fn set(&mut self, node: PeerId, profile: Profile) {
        self.profiles.insert(node, profile);
    }
    /// The link of a node.
    pub fn profile(&self, node: PeerId) -> Profile {
        self.profiles.get(&node).copied().unwrap_or(self.default)
    }
    /// Cut the network: nodes in different sets do not reach each other; nodes in no set form one more.
    pub fn partition(&mut self, islands: Vec<BTreeSet<PeerId>>) {
        self.islands = islands;
    }
    /// Undo [`Links::partition`].
    pub fn heal(&mut self) {
        self.islands.clear();
    }
    /// Frames from and to a crashed node are dropped. Its queues are emptied.
    pub fn crash(&mut self, node: PeerId) {
        self.crashed.insert(node);
        self.queues.remove(&node);
    }
    /// Undo [`Links::crash`].
    pub fn restart(&mut self, node: PeerId) {
        self.crashed.remove(&node);
    }
    /// Why nothing gets from one node to the other now, if so.
    pub fn obstacle(&self, from: PeerId, to: PeerId) -> Option<Cause> {
        let island = |node| self.islands.iter().position(|island| island.contains(&node));
        if self.crashed.contains(&from) || self.crashed.contains(&to) {
            Some(Cause::Crashed)
        } else if island(from) != island(to) {
            Some(Cause::Partition)
        } else {
            None
        }
    }
    /// Send `len` bytes at `now_us`. A lost frame still takes its time in the sender's queue.
    pub fn deliver(&mut self, now_us: u64, from: PeerId, to: PeerId, len: usize) -> Delivery {
        if let Some(cause) = self.obstacle(from, to) {
            return Delivery::Dropped(cause);
        }
        let (a, b) = (self.profile(from), self.profile(to));
        let duration = |rate: u64| (len as u64).saturating_mul(1_000_000).checked_div(rate).unwrap_or(0);
        let up = self.queues.entry(from).or_default();
        let start = now_us.max(up.up_free_us);
        let sent = start + duration(a.up);
        up.up_free_us = sent;
        let mut lost = false;
        for loss in [a.loss_ppm, b.loss_ppm] {
            lost |= self.draws.below(1_000_000) < u64::from(loss);
        }
        let path = a.latency_us + b.latency_us + self.draws.below(a.jitter_us + b.jitter_us + 1);
        if lost {
            return Delivery::Dropped(Cause::Loss);
        }
        let down = self.queues.entry(to).or_default();
        let received = (start + path).max(down.down_free_us) + duration(b.down);
        let at_us = received.max(sent + path);
        down.down_free_us = at_us;
        Delivery::At { at_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(n: u8) -> PeerId {
        tessera_canon::PublicKey([n; 32])
    }

    #[test]
    fn frames_queue_behind_each_other_up_and_down() {
        let mut links = Links::new(1, Profile { jitter_us: 0, ..Profile::HOME });
        let at = |delivery| if let Delivery::At { at_us } = delivery { at_us } else { 0 };
        assert_eq!(at(links.deliver(0, node(1), node(2), 1_000_000)), 120_000);
        assert_eq!(
            at(links.deliver(0, node(1), node(3), 1_000_000)),
            220_000,
            "waits for the sender's upstream"
        );
        assert_eq!(
            at(links.deliver(0, node(4), node(2), 1_000_000)),
            220_000,
            "waits for the receiver's downstream"
        );
    }

    #[test]
    fn partitions_and_crashes_cut_and_heal() {
        let mut links = Links::new(1, Profile::LOCAL);
        links.partition(vec![[node(1)].into(), [node(2)].into()]);
        assert_eq!(links.deliver(0, node(1), node(2), 1), Delivery::Dropped(Cause::Partition));
        assert_eq!(links.deliver(0, node(1), node(3), 1), Delivery::Dropped(Cause::Partition));
        assert!(matches!(links.deliver(0, node(3), node(4), 1), Delivery::At { .. }));
        links.heal();
        links.crash(node(2));
        assert_eq!(links.deliver(0, node(1), node(2), 1), Delivery::Dropped(Cause::Crashed));
        links.restart(node(2));
        assert!(matches!(links.deliver(0, node(1), node(2), 1), Delivery::At { .. }));
    }

    proptest! {
        #[test]
        fn a_seed_repeats_and_nothing_arrives_before_it_could(
            seed: u64,
            sends in proptest::collection::vec((0u64..1_000_000, 0u8..5, 0u8..5, 0usize..200_000), 1..60),
        ) {
            let profile = Profile { loss_ppm: 100_000, ..Profile::HOME };
            let run = || {
                let mut links = Links::new(seed, profile);
                sends.iter().map(|(now, from, to, len)| links.deliver(*now, node(*from), node(*to), *len)).collect::<Vec<_>>()
            };
            let (first, second) = (run(), run());
            prop_assert_eq!(&first, &second);
            for ((now, _, _, len), delivery) in sends.iter().zip(first) {
                if let Delivery::At { at_us } = delivery {
                    prop_assert!(at_us >= now + 20_000 + *len as u64 / 10);
                }
            }
        }
    }
}
