//! Share units out over the next stage's seats in proportion to how fast they are.
//!
//! Interleaved weighted round robin as in SWARM parallelism (Ryabinin et al. 2023, arXiv:2301.11913): each
//! seat has an accumulated expected busy time; the next unit goes to the least busy one, whose time grows by
//! what a unit takes it. The estimate is an exponential moving average of observed times. A newcomer starts at
//! the present minimum, so it is neither flooded nor starved. Integers only: the same history routes alike.

use std::collections::BTreeMap;
use tessera_canon::PublicKey;

/// What a unit is assumed to take before anything is measured, microseconds.
const UNKNOWN_US: u64 = 100_000;

#[derive(Clone, Debug)]
struct Load {
    busy_us: u64,
    unit_us: Option<u64>,
    in_flight: u32,
    idle_since_ms: u64,
}

/// The routing table of one sender for one next stage.
#[derive(Clone, Debug, Default)]
pub struct Router {
    loads: BTreeMap<PublicKey, Load>,
}

impl Router {
    /// Choose among `candidates` one with fewer than `credits` units in flight, and charge it one unit.
    pub fn pick(&mut self, candidates: &[PublicKey], credits: u32, now_ms: u64) -> Option<PublicKey> {
        let floor = candidates.iter().filter_map(|p| self.loads.get(p)).map(|l| l.busy_us).min().unwrap_or(0);
        let mean = {
            let known: Vec<u64> = self.loads.values().filter_map(|l| l.unit_us).collect();
            if known.is_empty() { UNKNOWN_US } else { known.iter().sum::<u64>() / known.len() as u64 }
        };
        for peer in candidates {
            let load = self.loads.entry(*peer).or_insert(Load {
                busy_us: floor,
                unit_us: None,
                in_flight: 0,
                idle_since_ms: now_ms,
            });
            load.busy_us = load.busy_us.max(floor);
        }
        let chosen = candidates
            .iter()
            .filter(|p| self.loads[*p].in_flight < credits)
            .min_by_key(|p| (self.loads[*p].busy_us, **p))
            .copied()?;
        let load = self.loads.get_mut(&chosen)?;
        if load.in_flight == 0 {
            load.idle_since_ms = now_ms;
        }
        load.in_flight += 1;
        load.busy_us += load.unit_us.unwrap_or(mean).max(1);
        Some(chosen)
    }
    /// A unit came back from `peer`: measure and free one credit.
    pub fn finished(&mut self, peer: &PublicKey, now_ms: u64) {
        if let Some(load) = self.loads.get_mut(peer) {
            let took = now_ms.saturating_sub(load.idle_since_ms).max(1) * 1000;
            // Weight 1/8 for the newest sample.
            load.unit_us = Some(load.unit_us.map_or(took, |old| old - old / 8 + took / 8));
            load.idle_since_ms = now_ms;
            load.in_flight = load.in_flight.saturating_sub(1);
        }
    }
    /// `peer` is gone: nothing is in flight there any more.
    pub fn lost(&mut self, peer: &PublicKey) {
        self.loads.remove(peer);
    }
    /// A new step begins: nothing is in flight anywhere.
    pub fn settle(&mut self) {
        self.loads.values_mut().for_each(|load| load.in_flight = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_twice_as_fast_gets_twice_the_units() {
        let (fast, slow) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut router = Router::default();
        let mut got = BTreeMap::from([(fast, 0), (slow, 0)]);
        let mut due: Vec<(u64, PublicKey)> = Vec::new();
        for now in 0..20_000 {
            due.retain(|(at, peer)| {
                if *at == now {
                    router.finished(peer, now);
                }
                *at != now
            });
            while let Some(peer) = router.pick(&[fast, slow], 2, now) {
                *got.get_mut(&peer).unwrap() += 1;
                let service = if peer == fast { 10 } else { 20 };
                let queue_end =
                    due.iter().filter(|(_, p)| *p == peer).map(|(at, _)| *at).max().unwrap_or(now);
                due.push((queue_end + service, peer));
            }
        }
        let ratio = f64::from(got[&fast]) / f64::from(got[&slow]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_newcomer_is_neither_flooded_nor_starved() {
        let (old, new) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut router = Router::default();
        for now in 0..100 {
            router.pick(&[old], 1, now).unwrap();
            router.finished(&old, now + 1);
        }
        let mut newcomer = 0;
        for now in 100..120 {
            let peer = router.pick(&[old, new], 1, now).unwrap();
            newcomer += u32::from(peer == new);
            router.finished(&peer, now + 1);
        }
        assert!((8..=12).contains(&newcomer), "{newcomer}");
        assert_eq!(router.pick(&[old, new], 0, 200), None, "no credit, no unit");
    }
}
