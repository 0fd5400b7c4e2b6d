//! Ask the same of every transport: the suite that each one's test file runs through `transport_suite!`.

use bytes::Bytes;
use std::{net::SocketAddr, time::Duration};
use tessera_net::{Limits, NetEvent, PeerId, SecretKey, SendError, Transport};
use tokio::time::timeout;

/// Longer than anything here takes; a test that hangs fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A place in which nodes can be started and killed.
pub(crate) trait World {
    type Node: Transport;
    /// Start the node of `seed`; the same seed has the same identity each time.
    async fn start(&mut self, seed: u8, limits: Limits) -> Node<Self::Node>;
    /// End a node without a word to its peers.
    async fn kill(&mut self, node: Node<Self::Node>);
}

pub(crate) struct Node<T> {
    pub(crate) net: T,
    pub(crate) address: SocketAddr,
    pub(crate) seed: u8,
}
impl<T: Transport> Node<T> {
    pub(crate) fn id(&self) -> PeerId {
        self.net.local()
    }
    pub(crate) fn meet<U: Transport>(&self, other: &Node<U>) {
        self.net.learn(other.id(), other.address);
        other.net.learn(self.id(), self.address);
    }
    pub(crate) async fn next(&self) -> NetEvent {
        timeout(PATIENCE, self.net.recv()).await.expect("an event in time").expect("an open transport")
    }
    /// The next frame, skipping other events.
    pub(crate) async fn frame(&self) -> (PeerId, u8, Bytes) {
        loop {
            if let NetEvent::Frame { from, channel, bytes } = self.next().await {
                return (from, channel, bytes);
            }
        }
    }
    pub(crate) async fn up(&self, peer: PeerId) {
        while self.next().await != NetEvent::Up(peer) {}
    }
    pub(crate) async fn down(&self, peer: PeerId) {
        while !matches!(self.next().await, NetEvent::Down { peer: p, .. } if p == peer) {}
    }
    pub(crate) fn send(&self, to: PeerId, channel: u8, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        self.net.send(to, channel, bytes.into())
    }
}

pub(crate) fn id_of(seed: u8) -> PeerId {
    SecretKey::from_seed([seed; 32]).public()
}

pub(crate) fn pattern(len: usize, salt: usize) -> Bytes {
    (0..len).map(|i| ((i * 31 + i / 251 + salt) % 253) as u8).collect()
}

pub(crate) async fn frames_of_every_size_arrive_both_ways<W: World>(world: &mut W) {
    let (a, b) = (world.start(1, Limits::default()).await, world.start(2, Limits::default()).await);
    a.meet(&b);
    for (from, to) in [(&a, &b), (&b, &a)] {
        for (channel, len) in
            [0, 1, 32 * 1024, 32 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 5 << 20].into_iter().enumerate()
        {
            let frame = pattern(len, channel);
            from.send(to.id(), channel as u8, frame.clone()).unwrap();
            let (sender, on, got) = to.frame().await;
            assert_eq!((sender, on, got.len()), (from.id(), channel as u8, len));
            assert!(got == frame, "{len} bytes differ");
        }
    }
    let stats = b.net.stats();
    assert_eq!(stats.channels[&6].bytes_in, 5 << 20);
    assert_eq!((stats.connected, stats.total_drops(), stats.duplicates), (1, 0, 0));
    assert!(stats.rtt.contains_key(&a.id()));
}

pub(crate) async fn many_frames_both_ways_at_once_arrive_once_and_small_ones_in_order<W: World>(
    world: &mut W,
) {
    let (a, b) = (world.start(1, Limits::default()).await, world.start(2, Limits::default()).await);
    // Both dial at the same moment, with frames waiting.
    a.meet(&b);
    const SMALL: usize = 300;
    const LARGE: usize = 20;
    for i in 0..SMALL {
        a.send(b.id(), 1, pattern(i * 7, i)).unwrap();
        b.send(a.id(), 1, pattern(i * 7, i)).unwrap();
        if i < LARGE {
            a.send(b.id(), 2, pattern(300_000 + i, i)).unwrap();
            b.send(a.id(), 2, pattern(300_000 + i, i)).unwrap();
        }
    }
    let collect = async |node: &Node<W::Node>| {
        let (mut small, mut large) = (0, std::collections::BTreeSet::new());
        while small < SMALL || large.len() < LARGE {
            let (_, channel, bytes) = node.frame().await;
            if channel == 1 {
                assert!(bytes == pattern(small * 7, small), "small frame {small} out of order");
                small += 1;
            } else {
                let which = bytes.len() - 300_000;
                assert!(bytes == pattern(bytes.len(), which) && large.insert(which), "large frame {which}");
            }
        }
    };
    tokio::join!(collect(&a), collect(&b));
}

pub(crate) async fn many_peers_talk_at_once<W: World>(world: &mut W) {
    let mut nodes = Vec::new();
    for seed in 1..=6 {
        nodes.push(world.start(seed, Limits::default()).await);
    }
    for (i, a) in nodes.iter().enumerate() {
        nodes[i + 1..].iter().for_each(|b| a.meet(b));
    }
    for a in &nodes {
        for b in nodes.iter().filter(|b| b.seed != a.seed) {
            a.send(b.id(), a.seed, pattern(50_000, a.seed as usize)).unwrap();
        }
    }
    for node in &nodes {
        let mut heard = std::collections::BTreeSet::new();
        while heard.len() < nodes.len() - 1 {
            let (from, channel, bytes) = node.frame().await;
            assert_eq!(from, id_of(channel));
            assert!(bytes == pattern(50_000, channel as usize));
            heard.insert(channel);
        }
    }
}

pub(crate) async fn refused_frames_say_why<W: World>(world: &mut W) {
    let mut limits = Limits { outbox_bytes: 100_000, ..Limits::default() };
    limits.frames.channels.insert(3, 1000);
    let a = world.start(1, limits).await;
    let b = id_of(2);
    assert_eq!(a.send(b, 1, vec![0; 10]), Err(SendError::Unknown { peer: b }));
    a.net.learn(b, "127.0.0.1:9".parse().unwrap());
    assert_eq!(a.send(b, 3, vec![0; 1001]), Err(SendError::TooBig { channel: 3, got: 1001, max: 1000 }));
    a.send(b, 3, vec![0; 1000]).unwrap();
    a.send(b, 1, vec![0; 90_000]).unwrap();
    let full = a.send(b, 1, vec![0; 10_000]).unwrap_err();
    assert!(matches!(full, SendError::Full { max: 100_000, .. }) && full.is_temporary(), "{full}");
    a.net.close().await;
    assert_eq!(a.net.recv().await, None);
    assert_eq!(a.send(b, 1, vec![0; 10]), Err(SendError::Closed));
}

pub(crate) async fn a_killed_peer_is_noticed_and_gets_its_frames_when_back<W: World>(world: &mut W) {
    let (a, b) = (world.start(1, Limits::default()).await, world.start(2, Limits::default()).await);
    a.meet(&b);
    a.up(b.id()).await;
    b.up(a.id()).await;
    world.kill(b).await;
    a.down(id_of(2)).await;
    a.send(id_of(2), 1, pattern(10, 0)).unwrap();
    a.send(id_of(2), 2, pattern(3 << 20, 1)).unwrap();
    // It comes back elsewhere, and only it knows the other's address at first.
    let b = world.start(2, Limits::default()).await;
    b.net.learn(a.id(), a.address);
    a.up(b.id()).await;
    b.up(a.id()).await;
    let mut got = [b.frame().await, b.frame().await];
    got.sort_by_key(|frame| frame.1);
    assert!(got[0].2 == pattern(10, 0) && got[1].2 == pattern(3 << 20, 1));
    b.send(a.id(), 9, vec![1]).unwrap();
    assert_eq!(a.frame().await.1, 9);
}

pub(crate) async fn only_the_admitted_come_in<W: World>(world: &mut W) {
    let guest_only = Limits { admission: std::sync::Arc::new(|id| *id == id_of(2)), ..Limits::default() };
    let host = world.start(1, guest_only).await;
    let (guest, stranger) =
        (world.start(2, Limits::default()).await, world.start(3, Limits::default()).await);
    for node in [&guest, &stranger] {
        node.net.learn(host.id(), host.address);
        node.send(host.id(), 1, vec![node.seed]).unwrap();
    }
    assert_eq!(host.frame().await, (guest.id(), 1, Bytes::from_static(&[2])));
    // An answer goes over the guest's own connection: the host never learned its address.
    host.send(guest.id(), 2, vec![7]).unwrap();
    assert_eq!(guest.frame().await.1, 2);
    timeout(PATIENCE, async {
        while !host.net.stats().drops.contains_key("unknown identity") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the stranger is refused and counted");
    assert_eq!(host.send(stranger.id(), 1, vec![0]), Err(SendError::Unknown { peer: stranger.id() }));
}

pub(crate) async fn a_dropped_peer_is_refused_for_a_while<W: World>(world: &mut W) {
    let short = Limits { refuse_for: Duration::from_secs(2), ..Limits::default() };
    let (a, b) = (world.start(1, short).await, world.start(2, Limits::default()).await);
    a.meet(&b);
    a.up(b.id()).await;
    b.up(a.id()).await;
    a.net.drop_peer(b.id(), "wrong gradient");
    assert_eq!(a.send(b.id(), 1, vec![1]), Err(SendError::Unknown { peer: b.id() }));
    a.down(b.id()).await;
    b.down(a.id()).await;
    a.up(b.id()).await;
    assert_eq!(a.net.stats().drops["wrong gradient"], 1);
    a.send(b.id(), 1, vec![1]).unwrap();
    assert_eq!(b.frame().await.1, 1);
}

/// `transport_suite!([attributes of each test] world)`.
#[macro_export]
macro_rules! transport_suite {
    (@ $runtime:tt $world:expr; $($name:ident)*) => { $( $crate::transport_suite!(% $runtime $world; $name); )* };
    (% [$(#[$runtime:meta])*] $world:expr; $name:ident) => {
        $(#[$runtime])*
        async fn $name() {
            common::$name(&mut $world).await;
        }
    };
    ($runtime:tt $world:expr) => {
        $crate::transport_suite!(@ $runtime $world;
            frames_of_every_size_arrive_both_ways
            many_frames_both_ways_at_once_arrive_once_and_small_ones_in_order
            many_peers_talk_at_once
            refused_frames_say_why
            a_killed_peer_is_noticed_and_gets_its_frames_when_back
            only_the_admitted_come_in
            a_dropped_peer_is_refused_for_a_while
        );
    };
}
