//! Share one transport among the parts of a process: hand every frame to those who subscribed to its channel.
//!
//! Training, serving and questions to the ledger travel over one endpoint under one identity, but a
//! transport has a single stream of events. The switchboard owns that stream:
//!
//! ```no_run
//! # async fn f(transport: std::sync::Arc<tessera_net::QuicTransport>) {
//! use tessera_node::switchboard::Switchboard;
//! let switchboard = Switchboard::start(transport);
//! let mut training = switchboard.subscribe(&[tessera_wire::CONTROL, tessera_wire::TENSORS], 1024);
//! while let Some(event) = training.recv().await { /* Frame, Up or Down */ }
//! # }
//! ```
//!
//! # What is promised
//! - A subscriber gets the frames of its channels in the order in which they came, and every `Up` and `Down`;
//!   one that comes late first gets an `Up` for each peer that is connected.
//! - A full queue holds up the whole transport (that is the back-pressure a fast sender feels) for at most
//!   [`PATIENCE`]. After that the subscriber is *stalled*: its frames are dropped and counted until it
//!   makes room. `Up` and `Down` are not lost but arrive late; an `Up` that a `Down` took back is left out.
//! - When the transport closes, every queue ends.
//!
//! It reads no frame.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tessera_net::{NetEvent, PeerId, Transport};
use tokio::sync::{Notify, mpsc, mpsc::error::TrySendError};

/// How long one full queue may hold up the others.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How often a stalled subscriber is offered what it is owed.
const RETRY: Duration = Duration::from_millis(50);

/// One who listens.
struct Subscriber {
    channels: Vec<u8>,
    queue: mpsc::Sender<NetEvent>,
    /// `Up` and `Down` events that found the queue full: at most a `Down` and an `Up` of each peer.
    owed: VecDeque<NetEvent>,
    stalled: bool,
}

#[derive(Default)]
struct Shared {
    arriving: Mutex<Vec<Subscriber>>,
    arrival: Notify,
    up: Mutex<BTreeSet<PeerId>>,
    dropped: Mutex<u64>,
}

/// Hands events of one transport to its subscribers. Cheap to clone.
pub struct Switchboard<T> {
    transport: Arc<T>,
    shared: Arc<Shared>,
}
impl<T> Clone for Switchboard<T> {
    fn clone(&self) -> Self {
        Self { transport: self.transport.clone(), shared: self.shared.clone() }
    }
}

/// Lock; every change is one call, so a panic elsewhere leaves consistent data.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<T: Transport> Switchboard<T> {
    /// Take over `transport`'s events. Nobody else may call its `recv`. Needs a tokio runtime.
    pub fn start(transport: Arc<T>) -> Self {
        let shared = Arc::<Shared>::default();
        tokio::spawn(run(transport.clone(), shared.clone()));
        Self { transport, shared }
    }
    /// Listen to `channels` (and all `Up` and `Down`) through a queue of `capacity` events.
    pub fn subscribe(&self, channels: &[u8], capacity: usize) -> mpsc::Receiver<NetEvent> {
        let (queue, receiver) = mpsc::channel(capacity.max(1));
        let subscriber =
            Subscriber { channels: channels.to_vec(), queue, owed: VecDeque::new(), stalled: false };
        lock(&self.shared.arriving).push(subscriber);
        self.shared.arrival.notify_one();
        receiver
    }
    /// The transport, for sending.
    pub fn transport(&self) -> &Arc<T> {
        &self.transport
    }
    /// Peers that are connected now.
    pub fn connected(&self) -> BTreeSet<PeerId> {
        lock(&self.shared.up).clone()
    }
    /// Frames dropped because a subscriber was stalled.
    pub fn dropped(&self) -> u64 {
        *lock(&self.shared.dropped)
    }
}

async fn run<T: Transport>(transport: Arc<T>, shared: Arc<Shared>) {
    let mut subscribers: Vec<Subscriber> = Vec::new();
    loop {
        let owing = subscribers.iter().any(|subscriber| !subscriber.owed.is_empty());
        tokio::select! {
            biased;
            () = shared.arrival.notified() => welcome(&shared, &mut subscribers),
            () = tokio::time::sleep(RETRY), if owing => subscribers.iter_mut().for_each(Subscriber::settle),
            event = transport.recv() => {
                let Some(event) = event else { return };
                // Who subscribed before this event came must get it.
                welcome(&shared, &mut subscribers);
                note(&shared, &event);
                deliver(&shared, &mut subscribers, event).await;
            }
        }
        subscribers.retain(|subscriber| !subscriber.queue.is_closed());
    }
}

fn welcome(shared: &Shared, subscribers: &mut Vec<Subscriber>) {
    for mut subscriber in lock(&shared.arriving).drain(..) {
        subscriber.owed.extend(lock(&shared.up).iter().map(|peer| NetEvent::Up(*peer)));
        subscriber.settle();
        subscribers.push(subscriber);
    }
}

fn note(shared: &Shared, event: &NetEvent) {
    match event {
        NetEvent::Up(peer) => drop(lock(&shared.up).insert(*peer)),
        NetEvent::Down { peer, .. } => drop(lock(&shared.up).remove(peer)),
        NetEvent::Frame { .. } => {}
    }
}

async fn deliver(shared: &Shared, subscribers: &mut [Subscriber], event: NetEvent) {
    for subscriber in subscribers {
        match &event {
            NetEvent::Frame { channel, .. } if !subscriber.channels.contains(channel) => {}
            NetEvent::Frame { from, channel, .. } => {
                if !subscriber.offer(event.clone()).await {
                    *lock(&shared.dropped) += 1;
                    tracing::warn!(from = %from.short(), channel, "a stalled subscriber lost a frame");
                }
            }
            NetEvent::Up(_) | NetEvent::Down { .. } => subscriber.owe(event.clone()),
        }
    }
}

impl Subscriber {
    /// Hand over as much of what is owed as fits.
    fn settle(&mut self) {
        while let Some(event) = self.owed.pop_front() {
            if let Err(TrySendError::Full(event)) = self.queue.try_send(event) {
                self.owed.push_front(event);
                return;
            }
        }
    }
    /// Hand over an `Up` or `Down`, now or later.
    fn owe(&mut self, event: NetEvent) {
        if let NetEvent::Down { peer, .. } = &event
            && let Some(at) = self.owed.iter().rposition(|owed| *owed == NetEvent::Up(*peer))
        {
            // The subscriber never learned that the peer came.
            self.owed.remove(at);
            return;
        }
        self.owed.push_back(event);
        self.settle();
    }
    /// Hand over a frame; false if it had to be dropped.
    async fn offer(&mut self, frame: NetEvent) -> bool {
        self.settle();
        if self.stalled && (!self.owed.is_empty() || self.queue.capacity() == 0) {
            return self.queue.is_closed();
        }
        // What is owed goes first, else a peer's frame would come before its `Up`.
        let give = async {
            while let Some(event) = self.owed.front().cloned() {
                self.queue.send(event).await.ok()?;
                self.owed.pop_front();
            }
            self.queue.send(frame).await.ok()
        };
        match tokio::time::timeout(PATIENCE, give).await {
            Ok(_) => self.stalled = false,
            Err(_) => self.stalled = true,
        }
        !self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::Future;
    use tessera_net::{NetStats, SendError};

    /// Events from a test's hand.
    struct Script(tokio::sync::Mutex<mpsc::UnboundedReceiver<NetEvent>>);
    impl Transport for Script {
        fn local(&self) -> PeerId {
            peer(0)
        }
        fn send(&self, to: PeerId, _: u8, _: Bytes) -> Result<(), SendError> {
            Err(SendError::Unknown { peer: to })
        }
        async fn recv(&self) -> Option<NetEvent> {
            self.0.lock().await.recv().await
        }
        fn learn(&self, _: PeerId, _: std::net::SocketAddr) {}
        fn drop_peer(&self, _: PeerId, _: &str) {}
        fn stats(&self) -> NetStats {
            NetStats::default()
        }
        fn close(&self) -> impl Future<Output = ()> + Send {
            std::future::ready(())
        }
    }
    fn peer(number: u8) -> PeerId {
        tessera_canon::PublicKey([number; 32])
    }
    fn frame(channel: u8, number: u8) -> NetEvent {
        NetEvent::Frame { from: peer(1), channel, bytes: Bytes::copy_from_slice(&[number]) }
    }
    fn down() -> NetEvent {
        NetEvent::Down { peer: peer(1), reason: "gone".into() }
    }
    fn start() -> (mpsc::UnboundedSender<NetEvent>, Switchboard<Script>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Switchboard::start(Arc::new(Script(tokio::sync::Mutex::new(receiver)))))
    }

    #[tokio::test(start_paused = true)]
    async fn frames_go_to_their_channel_and_connections_to_all() {
        let (network, switchboard) = start();
        let (mut a, mut b) = (switchboard.subscribe(&[0, 1], 8), switchboard.subscribe(&[2], 8));
        for event in [NetEvent::Up(peer(1)), frame(0, 1), frame(2, 2), frame(1, 3), frame(9, 4)] {
            network.send(event).unwrap();
        }
        for expected in [NetEvent::Up(peer(1)), frame(0, 1), frame(1, 3)] {
            assert_eq!(a.recv().await, Some(expected));
        }
        for expected in [NetEvent::Up(peer(1)), frame(2, 2)] {
            assert_eq!(b.recv().await, Some(expected));
        }
        let mut late = switchboard.subscribe(&[2], 8);
        assert_eq!(late.recv().await, Some(NetEvent::Up(peer(1))));
        drop(network);
        assert_eq!((a.recv().await, b.recv().await, late.recv().await), (None, None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_subscriber_loses_frames_but_no_connection_and_the_others_go_on() {
        let (network, switchboard) = start();
        let (mut slow, mut good) = (switchboard.subscribe(&[0], 1), switchboard.subscribe(&[0], 64));
        network.send(NetEvent::Up(peer(1))).unwrap();
        for number in 0..5 {
            network.send(frame(0, number)).unwrap();
        }
        network.send(down()).unwrap();
        network.send(NetEvent::Up(peer(1))).unwrap();
        assert_eq!(good.recv().await, Some(NetEvent::Up(peer(1))));
        for number in 0..5 {
            assert_eq!(good.recv().await, Some(frame(0, number)));
        }
        assert_eq!((good.recv().await, good.recv().await), (Some(down()), Some(NetEvent::Up(peer(1)))));
        assert_eq!(switchboard.dropped(), 5);
        for expected in [NetEvent::Up(peer(1)), down(), NetEvent::Up(peer(1))] {
            assert_eq!(slow.recv().await, Some(expected));
        }
        network.send(frame(0, 9)).unwrap();
        assert_eq!(slow.recv().await, Some(frame(0, 9)), "room again: frames flow again");
    }
}
