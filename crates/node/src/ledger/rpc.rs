//! Answer questions from the network, fairly: no asker can keep the validator from the others.
//!
//! Each peer has a rate, a short queue and a few questions at work at once; peers take turns. What goes beyond
//! is refused at little cost, who keeps going is dropped, and so is who sends what is no question.

use super::Answerer;
use crate::switchboard::Switchboard;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tessera_net::{NetEvent, PeerId, Transport};
use tessera_wire::{
    RPC, from_frame,
    rpc::{Answer, Message, Refused, Request, Response},
    to_frame,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// Bounds of the service.
#[derive(Clone, Copy, Debug)]
pub struct RpcLimits {
    /// Questions a second and peer, in the long run.
    pub rate: u32,
    /// Questions a peer may ask at once after a pause.
    pub burst: u32,
    /// Questions of one peer that may wait.
    pub waiting: usize,
    /// Questions of one peer at work at once.
    pub peer_at_work: usize,
    /// Questions at work at once.
    pub at_work: usize,
    /// Refused questions after which a peer is dropped.
    pub patience: u32,
    /// Time for one answer.
    pub time: Duration,
}
impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            rate: 100,
            burst: 400,
            waiting: 64,
            peer_at_work: 4,
            at_work: 16,
            patience: 1000,
            time: Duration::from_secs(10),
        }
    }
}

/// What the service did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcCounts {
    pub answered: u64,
    pub refused: u64,
    pub malformed: u64,
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// The running service; it ends when this is dropped.
pub struct RpcServer {
    task: AbortHandle,
    counters: Arc<Counters>,
}

impl RpcServer {
    /// Answer what comes over `switchboard`.
    pub fn start<T: Transport>(switchboard: &Switchboard<T>, answerer: Answerer, limits: RpcLimits) -> Self {
        let counters = Arc::<Counters>::default();
        let desk = Desk {
            transport: switchboard.transport().clone(),
            answerer,
            limits,
            counters: counters.clone(),
            peers: BTreeMap::new(),
            turn: VecDeque::new(),
            at_work: JoinSet::new(),
        };
        let task = tokio::spawn(desk.run(switchboard.subscribe(&[RPC], 256))).abort_handle();
        Self { task, counters }
    }
    /// What it did so far.
    pub fn counts(&self) -> RpcCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { answered, refused, malformed } = &*self.counters;
        RpcCounts { answered: read(answered), refused: read(refused), malformed: read(malformed) }
    }
}
impl Drop for RpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One who asks.
struct Asker {
    waiting: VecDeque<Request>,
    at_work: usize,
    /// Questions it may ask now, in thousandths.
    credit: u64,
    since: Instant,
    refused: u32,
}

impl Asker {
    fn new(limits: &RpcLimits, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            at_work: 0,
            credit: u64::from(limits.burst) * 1000,
            since: now,
            refused: 0,
        }
    }
    /// Whether one more question may be asked now.
    fn may_ask(&mut self, limits: &RpcLimits, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_millis() as u64 * u64::from(limits.rate);
        self.credit = self.credit.saturating_add(earned).min(u64::from(limits.burst) * 1000);
        self.since = now;
        let may = self.credit >= 1000 && self.waiting.len() < limits.waiting;
        if may {
            self.credit -= 1000;
        }
        may
    }
}

struct Desk<T> {
    transport: Arc<T>,
    answerer: Answerer,
    limits: RpcLimits,
    counters: Arc<Counters>,
    peers: BTreeMap<PeerId, Asker>,
    /// Peers with waiting questions, each once, in the order of their turns.
    turn: VecDeque<PeerId>,
    at_work: JoinSet<PeerId>,
}

impl<T: Transport> Desk<T> {
    async fn run(mut self, mut events: mpsc::Receiver<NetEvent>) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(NetEvent::Frame { from, bytes, .. }) => self.take(from, &bytes),
                    Some(NetEvent::Down { peer, .. }) => self.forget(&peer),
                    Some(NetEvent::Up(_)) => {}
                    None => return,
                },
                Some(done) = self.at_work.join_next(), if !self.at_work.is_empty() => {
                    // A task that panicked does not say whose it was; its peer then has one place less until it
                    // reconnects.
                    if let Ok(peer) = done && let Some(asker) = self.peers.get_mut(&peer) {
                        asker.at_work = asker.at_work.saturating_sub(1);
                        self.enqueue(peer);
                    }
                }
            }
            self.work();
        }
    }
    fn take(&mut self, from: PeerId, frame: &Bytes) {
        let request = match from_frame::<Message>(RPC, frame) {
            Ok(Message::Request(request)) => request,
            // For the client in this process.
            Ok(Message::Response(_)) => return,
            Err(fault) => {
                tracing::warn!(peer = %from.short(), %fault, "not a question");
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                self.transport.drop_peer(from, "malformed question");
                return;
            }
        };
        let now = Instant::now();
        let asker = self.peers.entry(from).or_insert_with(|| Asker::new(&self.limits, now));
        if asker.may_ask(&self.limits, now) {
            asker.waiting.push_back(request);
            self.enqueue(from);
            return;
        }
        asker.refused += 1;
        let refused = asker.refused;
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        if refused > self.limits.patience {
            self.transport.drop_peer(from, "too many questions");
            return;
        }
        let reason = format!("expected at most {} questions a second; ask again later", self.limits.rate);
        self.reply(from, request.id, Answer::Refused(Refused::new(true, &reason)));
    }
    fn forget(&mut self, peer: &PeerId) {
        self.turn.retain(|waiting| waiting != peer);
        self.peers.remove(peer);
    }
    /// Give `peer` a turn if it has something to do and may.
    fn enqueue(&mut self, peer: PeerId) {
        let ready = |asker: &Asker| !asker.waiting.is_empty() && asker.at_work < self.limits.peer_at_work;
        if self.peers.get(&peer).is_some_and(ready) && !self.turn.contains(&peer) {
            self.turn.push_back(peer);
        }
    }
    fn work(&mut self) {
        while self.at_work.len() < self.limits.at_work
            && let Some(peer) = self.turn.pop_front()
        {
            let Some(asker) = self.peers.get_mut(&peer) else { continue };
            let Some(request) = asker.waiting.pop_front() else { continue };
            asker.at_work += 1;
            let (answerer, transport, counters) =
                (self.answerer.clone(), self.transport.clone(), self.counters.clone());
            let time = self.limits.time;
            self.at_work.spawn(async move {
                let answer =
                    tokio::time::timeout(time, answerer.answer(request.ask)).await.unwrap_or_else(|_| {
                        Answer::Refused(Refused::new(
                            true,
                            "the validator is busy; ask again later or ask another",
                        ))
                    });
                counters.answered.fetch_add(1, Ordering::Relaxed);
                send(&*transport, peer, request.id, answer);
                peer
            });
            self.enqueue(peer);
        }
    }
    fn reply(&self, to: PeerId, id: u64, answer: Answer) {
        send(&*self.transport, to, id, answer);
    }
}

/// An answer that cannot be sent is lost: the asker has gone, or reads slower than it asks.
fn send<T: Transport>(transport: &T, to: PeerId, id: u64, answer: Answer) {
    if let Err(error) = transport.send(to, RPC, to_frame(&Message::Response(Response { id, answer }))) {
        tracing::debug!(peer = %to.short(), %error, "an answer was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_asker_has_a_burst_then_a_rate() {
        let limits = RpcLimits { rate: 10, burst: 3, ..RpcLimits::default() };
        let mut asker = Asker::new(&limits, Instant::now());
        assert_eq!((0..5).filter(|_| asker.may_ask(&limits, Instant::now())).count(), 3);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!((0..5).filter(|_| asker.may_ask(&limits, Instant::now())).count(), 2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..9).filter(|_| asker.may_ask(&limits, Instant::now())).count(), 3, "credit is bounded");
    }
}
