//! Run many [`SimTransport`]s over [`Links`] in tokio's virtual time: one seed, one event log.
//!
//! All that happens is an agenda of actions ordered by virtual time and number; one task carries it out. Use a
//! `current_thread` runtime with paused time (`#[tokio::test(start_paused = true)]`): time then jumps from action to
//! action, the nodes' own tasks run in a fixed order, and a run with the same seed repeats exactly
//! ([`SimNet::log_hash`]). Frames are units here: a lost one is sent again after a round trip and 200 ms, as QUIC
//! would do with its packets, so loss costs time and never a frame. Connections break by silence.

use super::{
    links::{Cause, Delivery, Links},
    transport::SimTransport,
};
use crate::{
    Limits, NetEvent, NetStats, PeerId, SendError,
    inbox::Inbox,
    limits::EVENT_COST,
    outbox::{Lane, Outbox, Outgoing},
    quic::lock,
    stats::Counters,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tessera_canon::{Domain, Hash, digest_parts};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

const LOG: Domain = Domain::new("tessera/sim/log/v1");
const HELLO_BYTES: usize = 300;
const CONFIRM_BYTES: usize = 60;
/// Wait before a lost frame is sent again, beyond a round trip.
const RESEND_US: u64 = 200_000;
/// Sendings after which a frame is taken for undeliverable until the connection's next silence check.
const ATTEMPTS: usize = 64;

/// Wakes a node's `recv`.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) wake: Notify,
}

enum Action {
    Dial {
        from: PeerId,
        incarnation: u64,
        to: PeerId,
    },
    Connect {
        from: (PeerId, u64),
        to: (PeerId, u64),
    },
    Arrive {
        session: u64,
        from: PeerId,
        to: PeerId,
        lane: Lane,
        frame: Outgoing,
    },
    Confirm {
        session: u64,
        from: PeerId,
        to: PeerId,
        id: u64,
    },
    Resume {
        from: PeerId,
        to: PeerId,
    },
    /// A side heard nothing: still cut off?
    Silence {
        session: u64,
        a: PeerId,
        b: PeerId,
    },
}

struct Session {
    number: u64,
    incarnations: (u64, u64),
}

#[derive(Default)]
struct Remote {
    address: Option<SocketAddr>,
    outbox: Outbox,
    inbox: Inbox,
    sent: (u64, u64),
    last_small_us: u64,
    dialling: bool,
    back_off_us: u64,
    held: usize,
    parked: VecDeque<(u64, Lane, Outgoing)>,
}

struct Node {
    incarnation: u64,
    limits: Limits,
    address: SocketAddr,
    events: VecDeque<NetEvent>,
    waiting: Arc<Waiting>,
    counters: Counters,
    refused: BTreeMap<PeerId, u64>,
    remotes: BTreeMap<PeerId, Remote>,
}

struct State {
    links: Links,
    now_us: u64,
    nodes: BTreeMap<PeerId, Node>,
    addresses: BTreeMap<SocketAddr, PeerId>,
    sessions: BTreeMap<(PeerId, PeerId), Session>,
    agenda: BTreeMap<(u64, u64), Action>,
    count: u64,
    log: Hash,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
    wake: Notify,
}

/// A simulated network. Clones are the same network.
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    if a < b { (a, b) } else { (b, a) }
}
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl SimNet {
    /// A network over `links`. Call inside a tokio runtime, with paused time for virtual time.
    pub fn new(links: Links) -> Self {
        let state = State {
            links,
            now_us: 0,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            sessions: BTreeMap::new(),
            agenda: BTreeMap::new(),
            count: 0,
            log: Hash::ZERO,
        };
        let shared =
            Arc::new(Shared { start: Instant::now(), state: Mutex::new(state), wake: Notify::new() });
        tokio::spawn(pump(Arc::downgrade(&shared)));
        Self(shared)
    }
    /// Start the node `id`, again if it ran before, at an address of its own.
    pub fn start(&self, id: PeerId, limits: Limits) -> SimTransport {
        let queue = Arc::new(Waiting::default());
        let (incarnation, address) = self.act(|state| {
            state.crash(id);
            state.links.restart(id);
            state.count += 1;
            let number = state.count as u32;
            let address = SocketAddr::from(((0x0a00_0000 | number).to_be_bytes(), 4700));
            let node = Node {
                incarnation: state.count,
                limits,
                address,
                events: VecDeque::new(),
                waiting: queue.clone(),
                counters: Counters::default(),
                refused: BTreeMap::new(),
                remotes: BTreeMap::new(),
            };
            state.nodes.insert(id, node);
            state.addresses.insert(address, id);
            (state.count, address)
        });
        SimTransport { net: self.clone(), id, address, incarnation, queue }
    }
    /// End a node without a word; its `recv` ends, its peers notice by silence.
    pub fn crash(&self, id: PeerId) {
        self.act(|state| state.crash(id));
    }
    /// Change the links (profiles) while running.
    pub fn links<T>(&self, change: impl FnOnce(&mut Links) -> T) -> T {
        self.act(|state| change(&mut state.links))
    }
    /// Cut the network into islands, see [`Links::partition`].
    pub fn partition(&self, islands: Vec<BTreeSet<PeerId>>) {
        self.act(|state| {
            state.links.partition(islands);
            let pairs: Vec<_> = state.sessions.keys().copied().collect();
            for (a, b) in pairs {
                if state.links.obstacle(a, b).is_some() {
                    state.listen(a, b);
                }
            }
        });
    }
    /// Undo [`SimNet::partition`].
    pub fn heal(&self) {
        self.act(|state| state.links.heal());
    }
    /// Virtual time since the network began.
    pub fn now_us(&self) -> u64 {
        micros(self.0.start.elapsed())
    }
    /// A hash over every event so far: its time, its node, what it was.
    pub fn log_hash(&self) -> Hash {
        lock(&self.0.state).log
    }

    fn act<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.0.state);
        state.now_us = state.now_us.max(self.now_us());
        let result = change(&mut state);
        drop(state);
        self.0.wake.notify_one();
        result
    }
    fn at<T>(&self, id: PeerId, incarnation: u64, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.act(|state| state.is(id, incarnation).then(|| change(state)))
    }
    pub(super) fn send(
        &self,
        from: PeerId,
        incarnation: u64,
        to: PeerId,
        channel: u8,
        bytes: Bytes,
    ) -> Result<(), SendError> {
        self.at(from, incarnation, |state| state.send(from, to, channel, bytes))
            .unwrap_or(Err(SendError::Closed))
    }
    pub(super) fn take(
        &self,
        id: PeerId,
        incarnation: u64,
        queue: &Arc<Waiting>,
    ) -> Option<Option<NetEvent>> {
        let taken = self.at(id, incarnation, |state| state.take(id));
        match taken {
            None => {
                queue.wake.notify_one();
                Some(None)
            }
            Some(event) => event.map(Some),
        }
    }
    pub(super) fn learn(&self, id: PeerId, incarnation: u64, peer: PeerId, address: SocketAddr) {
        self.at(id, incarnation, |state| {
            if let Some(node) = state.nodes.get_mut(&id).filter(|_| peer != id) {
                let remote = node.remotes.entry(peer).or_default();
                remote.address = Some(address);
                remote.back_off_us = micros(node.limits.redial.0);
                state.dial(id, peer, 0);
            }
        });
    }
    pub(super) fn drop_peer(&self, id: PeerId, incarnation: u64, peer: PeerId, reason: &str) {
        self.at(id, incarnation, |state| {
            if let Some(node) = state.nodes.get_mut(&id) {
                node.counters.dropped(reason);
                node.refused.insert(peer, state.now_us + micros(node.limits.refuse_for));
                if let Some(remote) = node.remotes.get_mut(&peer) {
                    remote.outbox.clear();
                }
                state.cut(id, peer, reason);
            }
        });
    }
    pub(super) fn node_stats(&self, id: PeerId, incarnation: u64) -> NetStats {
        self.at(id, incarnation, |state| {
            let mut stats =
                state.nodes.get(&id).map(|node| node.counters.with(|s| s.clone())).unwrap_or_default();
            for (a, b) in state.sessions.keys().filter(|(a, b)| *a == id || *b == id) {
                stats.connected += 1;
                let one_way = state.links.profile(*a).latency_us + state.links.profile(*b).latency_us;
                stats.rtt.insert(if *a == id { *b } else { *a }, Duration::from_micros(2 * one_way));
            }
            stats
        })
        .unwrap_or_default()
    }
    /// Leave in good order: peers are told at once.
    pub(super) fn leave(&self, id: PeerId, incarnation: u64) {
        self.at(id, incarnation, |state| {
            let peers: Vec<_> =
                state.nodes.get(&id).map(|n| n.remotes.keys().copied().collect()).unwrap_or_default();
            peers.into_iter().for_each(|peer| state.cut(id, peer, "closed by the peer"));
            state.crash(id);
        });
    }
    pub(super) fn end(&self, id: PeerId, incarnation: u64) {
        self.at(id, incarnation, |state| state.crash(id));
    }
}

/// Carry out the agenda as long as the network exists.
async fn pump(network: Weak<Shared>) {
    loop {
        let Some(shared) = network.upgrade() else { return };
        let start = shared.start;
        let next = {
            let mut state = lock(&shared.state);
            let clock = micros(start.elapsed());
            while let Some(entry) = state.agenda.first_entry().filter(|entry| entry.key().0 <= clock) {
                let ((at_us, _), action) = entry.remove_entry();
                state.now_us = state.now_us.max(at_us);
                state.carry_out(action);
            }
            state.agenda.first_key_value().map(|((at_us, _), _)| *at_us)
        };
        tokio::select! {
            () = shared.wake.notified() => {}
            () = sleep_until(start + Duration::from_micros(next.unwrap_or(0))), if next.is_some() => {}
            // Look now and then whether the network still exists.
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
    }
}

impl State {
    fn is(&self, id: PeerId, incarnation: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.incarnation == incarnation)
    }
    fn plan(&mut self, at_us: u64, action: Action) {
        self.count += 1;
        self.agenda.insert((at_us.max(self.now_us), self.count), action);
    }
    fn emit(&mut self, id: PeerId, event: NetEvent) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (tag, peer, channel, body): (&[u8], _, _, &[u8]) = match &event {
            NetEvent::Frame { from, channel, bytes } => (b"frame", from, *channel, bytes),
            NetEvent::Up(peer) => (b"up", peer, 0, b""),
            NetEvent::Down { peer, reason } => (b"down", peer, 0, reason.as_bytes()),
        };
        let length = (body.len() as u64).to_be_bytes();
        let now = self.now_us.to_be_bytes();
        self.log = digest_parts(LOG, [&self.log.0[..], &now, &id.0, tag, &peer.0, &[channel], &length, body]);
        node.events.push_back(event);
        node.waiting.wake.notify_one();
    }
    fn send(&mut self, from: PeerId, to: PeerId, channel: u8, bytes: Bytes) -> Result<(), SendError> {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&from) else { return Err(SendError::Closed) };
        let (got, max) = (bytes.len(), node.limits.frames.of(channel));
        if got > max {
            return Err(SendError::TooBig { channel, got, max });
        }
        let refused = node.refused.get(&to).is_some_and(|until| *until > now_us);
        let Some(remote) = node.remotes.get_mut(&to).filter(|_| !refused) else {
            return Err(SendError::Unknown { peer: to });
        };
        let now = Duration::from_micros(now_us);
        let expired = remote.outbox.expire(now, node.limits.max_age);
        node.counters.with(|stats| stats.expired += expired);
        let max = node.limits.outbox_bytes;
        remote.outbox.push(now, channel, bytes, max).map_err(|queued| SendError::Full {
            peer: to,
            queued,
            max,
        })?;
        self.transmit(from, to);
        self.dial(from, to, 0);
        Ok(())
    }
    fn take(&mut self, id: PeerId) -> Option<NetEvent> {
        let node = self.nodes.get_mut(&id)?;
        let event = node.events.pop_front()?;
        if let NetEvent::Frame { from, bytes, .. } = &event
            && let Some(remote) = node.remotes.get_mut(from)
        {
            remote.held = remote.held.saturating_sub(bytes.len() + EVENT_COST);
            if !remote.parked.is_empty() {
                let from = *from;
                self.plan(self.now_us, Action::Resume { from, to: id });
            }
        }
        Some(event)
    }
    fn crash(&mut self, id: PeerId) {
        if let Some(node) = self.nodes.remove(&id) {
            self.addresses.remove(&node.address);
            node.waiting.wake.notify_one();
            self.links.crash(id);
            let pairs: Vec<_> = self.sessions.keys().filter(|(a, b)| *a == id || *b == id).copied().collect();
            pairs.into_iter().for_each(|(a, b)| self.listen(a, b));
        }
    }
    /// Plan to notice a silence between two connected nodes.
    fn listen(&mut self, a: PeerId, b: PeerId) {
        let idle = [a, b].iter().filter_map(|id| self.nodes.get(id)).map(|node| node.limits.idle).min();
        if let (Some(session), Some(idle)) = (self.sessions.get(&pair(a, b)), idle) {
            let action = Action::Silence { session: session.number, a, b };
            self.plan(self.now_us + micros(idle), action);
        }
    }
    fn session(&self, a: PeerId, b: PeerId) -> Option<u64> {
        self.sessions.get(&pair(a, b)).map(|session| session.number)
    }
    /// End the connection of two nodes; both that live hear of it.
    fn cut(&mut self, a: PeerId, b: PeerId, reason: &str) {
        let Some(session) = self.sessions.remove(&pair(a, b)) else { return };
        let (low, _) = pair(a, b);
        for (id, peer) in [(a, b), (b, a)] {
            let mine = if id == low { session.incarnations.0 } else { session.incarnations.1 };
            if !self.is(id, mine) {
                continue;
            }
            self.emit(id, NetEvent::Down { peer, reason: reason.into() });
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if let Some(remote) = node.remotes.get_mut(&peer) {
                remote.parked.clear();
                if remote.address.is_none() && remote.outbox.is_empty() {
                    node.remotes.remove(&peer);
                }
            }
            self.dial(id, peer, 0);
        }
    }
    /// Plan a dial if there is none and it is wanted.
    fn dial(&mut self, from: PeerId, to: PeerId, wait_us: u64) {
        let connected = self.session(from, to).is_some();
        let Some(node) = self.nodes.get_mut(&from) else { return };
        let keep = node.limits.keep;
        let Some(remote) = node.remotes.get_mut(&to) else { return };
        let wanted = keep || !remote.outbox.is_empty();
        if connected || remote.dialling || !wanted || remote.address.is_none() {
            return;
        }
        remote.dialling = true;
        let action = Action::Dial { from, incarnation: node.incarnation, to };
        self.plan(self.now_us + wait_us, action);
    }
    fn redial(&mut self, from: PeerId, to: PeerId) {
        let Some(node) = self.nodes.get_mut(&from) else { return };
        let (first, most) = (micros(node.limits.redial.0), micros(node.limits.redial.1));
        let Some(remote) = node.remotes.get_mut(&to) else { return };
        let wait = remote.back_off_us.max(first).min(most);
        remote.back_off_us = (wait * 2).min(most);
        self.dial(from, to, wait);
    }
    /// Time at which `len` bytes sent now arrive, with repetition of what is lost; `None` if the path is cut.
    fn arrival(&mut self, from: PeerId, to: PeerId, len: usize) -> Option<u64> {
        let one_way = self.links.profile(from).latency_us + self.links.profile(to).latency_us;
        let mut at_us = self.now_us;
        for _ in 0..ATTEMPTS {
            match self.links.deliver(at_us, from, to, len) {
                Delivery::At { at_us } => return Some(at_us),
                Delivery::Dropped(Cause::Loss) => at_us += 2 * one_way + RESEND_US,
                Delivery::Dropped(_) => return None,
            }
        }
        None
    }
    /// Put what is not yet sent on the wire.
    fn transmit(&mut self, from: PeerId, to: PeerId) {
        let Some(session) = self.session(from, to) else { return };
        for lane in [Lane::Small, Lane::Large] {
            loop {
                let Some(remote) = self.nodes.get(&from).and_then(|node| node.remotes.get(&to)) else {
                    return;
                };
                let cursor = if lane == Lane::Small { remote.sent.0 } else { remote.sent.1 };
                let Some(frame) = remote.outbox.next(lane, cursor) else { break };
                let Some(mut at_us) = self.arrival(from, to, frame.bytes.len() + EVENT_COST / 4) else {
                    return self.listen(from, to);
                };
                let Some(remote) = self.nodes.get_mut(&from).and_then(|node| node.remotes.get_mut(&to))
                else {
                    return;
                };
                if lane == Lane::Small {
                    // One ordered stream: a frame waits for those before it.
                    at_us = at_us.max(remote.last_small_us);
                    (remote.last_small_us, remote.sent.0) = (at_us, frame.id);
                } else {
                    remote.sent.1 = frame.id;
                }
                self.plan(at_us, Action::Arrive { session, from, to, lane, frame });
            }
        }
    }
    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Dial { from, incarnation, to } if self.is(from, incarnation) => {
                let now_us = self.now_us;
                let Some(node) = self.nodes.get_mut(&from) else { return };
                let refused = node.refused.get(&to).is_some_and(|until| *until > now_us);
                let Some(remote) = node.remotes.get_mut(&to) else { return };
                remote.dialling = false;
                let there = remote.address.and_then(|address| self.addresses.get(&address)) == Some(&to);
                let target = self.nodes.get(&to).filter(|_| there && !refused).map(|node| node.incarnation);
                if self.session(from, to).is_some_and(|_| target.is_some_and(|t| self.current(from, to, t))) {
                    return;
                }
                let arrival = target.and_then(|_| self.arrival(from, to, HELLO_BYTES));
                match (target, arrival) {
                    (Some(target), Some(at_us)) => {
                        if let Some(remote) = self.nodes.get_mut(&from).and_then(|n| n.remotes.get_mut(&to)) {
                            remote.dialling = true;
                        }
                        // Hello there and back, then both sides may send.
                        let at_us = at_us + (at_us - self.now_us);
                        self.plan(at_us, Action::Connect { from: (from, incarnation), to: (to, target) });
                    }
                    _ => self.redial(from, to),
                }
            }
            Action::Connect { from, to } => self.connect(from, to),
            Action::Arrive { session, from, to, lane, frame } if self.session(from, to) == Some(session) => {
                if let Some(remote) = self.nodes.get_mut(&to).and_then(|node| node.remotes.get_mut(&from)) {
                    remote.parked.push_back((session, lane, frame));
                    self.hand_out(from, to);
                }
            }
            Action::Resume { from, to } => self.hand_out(from, to),
            Action::Confirm { session, from, to, id } if self.session(from, to) == Some(session) => {
                let Some(node) = self.nodes.get_mut(&to) else { return };
                if let Some(frame) = node.remotes.get_mut(&from).and_then(|remote| remote.outbox.confirm(id))
                {
                    node.counters.confirmed(frame.channel, frame.bytes.len());
                }
            }
            Action::Silence { session, a, b } if self.session(a, b) == Some(session) => {
                let gone = !self.nodes.contains_key(&a) || !self.nodes.contains_key(&b);
                if gone || self.links.obstacle(a, b).is_some() {
                    return self.cut(a, b, "no answer");
                }
                // The path is whole again: send what was not confirmed once more.
                for (from, to) in [(a, b), (b, a)] {
                    if let Some(remote) = self.nodes.get_mut(&from).and_then(|node| node.remotes.get_mut(&to))
                    {
                        remote.sent = (0, 0);
                    }
                    self.transmit(from, to);
                }
            }
            // Of a connection or a process that is no more.
            Action::Dial { .. } | Action::Arrive { .. } | Action::Confirm { .. } | Action::Silence { .. } => {
            }
        }
    }
    /// Whether the connection of `from` and `to` is with incarnation `target` of `to`.
    fn current(&self, from: PeerId, to: PeerId, target: u64) -> bool {
        let (low, _) = pair(from, to);
        self.sessions.get(&pair(from, to)).is_some_and(|session| {
            (if low == to { session.incarnations.0 } else { session.incarnations.1 }) == target
        })
    }
    fn connect(&mut self, from: (PeerId, u64), to: (PeerId, u64)) {
        let (a, b) = (from.0, to.0);
        let now_us = self.now_us;
        if !self.is(a, from.1) {
            return;
        }
        if let Some(remote) = self.nodes.get_mut(&a).and_then(|node| node.remotes.get_mut(&b)) {
            remote.dialling = false;
        }
        if !self.is(b, to.1) || self.links.obstacle(a, b).is_some() {
            return self.redial(a, b);
        }
        let Some(host) = self.nodes.get_mut(&b) else { return };
        let known = host.remotes.contains_key(&a);
        let guests = host.remotes.values().filter(|remote| remote.address.is_none()).count();
        let fault = if host.refused.get(&a).is_some_and(|until| *until > now_us) {
            Some("refused")
        } else if !known && !(host.limits.admission)(&a) {
            Some("unknown identity")
        } else if !known && guests >= host.limits.max_guests {
            Some("too many guests")
        } else {
            None
        };
        if let Some(reason) = fault {
            host.counters.dropped(reason);
            return self.redial(a, b);
        }
        if self.session(a, b).is_some() {
            if self.current(a, b, to.1) && self.current(b, a, from.1) {
                // Both dialled: one connection is enough.
                return;
            }
            self.cut(a, b, "it started again");
        }
        self.count += 1;
        let incarnations = if a < b { (from.1, to.1) } else { (to.1, from.1) };
        self.sessions.insert(pair(a, b), Session { number: self.count, incarnations });
        for (id, peer, incarnation) in [(a, b, to.1), (b, a, from.1)] {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.counters.with(|stats| stats.connections += 1);
            let first = micros(node.limits.redial.0);
            let remote = node.remotes.entry(peer).or_default();
            if remote.inbox.incarnation() != incarnation {
                remote.inbox = Inbox::of(incarnation);
            }
            (remote.sent, remote.last_small_us, remote.back_off_us) = ((0, 0), now_us, first);
            self.emit(id, NetEvent::Up(peer));
        }
        self.transmit(a, b);
        self.transmit(b, a);
    }
    /// Hand the frames that came from `from` to `to`'s queue as far as the budget goes, and confirm them.
    fn hand_out(&mut self, from: PeerId, to: PeerId) {
        loop {
            let Some(node) = self.nodes.get_mut(&to) else { return };
            let budget = node.limits.inbox_budget();
            let Some(remote) = node.remotes.get_mut(&from) else { return };
            let Some((_, _, frame)) = remote.parked.front() else { return };
            let cost = frame.bytes.len() + EVENT_COST;
            if remote.held + cost > budget {
                return;
            }
            let Some((session, lane, frame)) = remote.parked.pop_front() else { return };
            if remote.inbox.take(lane, frame.id) {
                remote.held += cost;
                node.counters.received(frame.channel, frame.bytes.len());
                self.emit(to, NetEvent::Frame { from, channel: frame.channel, bytes: frame.bytes });
            } else {
                node.counters.with(|stats| stats.duplicates += 1);
            }
            match self.arrival(to, from, CONFIRM_BYTES) {
                Some(at_us) => {
                    self.plan(at_us, Action::Confirm { session, from: to, to: from, id: frame.id })
                }
                None => self.listen(from, to),
            }
        }
    }
}
