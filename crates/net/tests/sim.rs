//! Run the transport suite over simulated links in virtual time, and show that a seed repeats.

mod common;

use common::{Node, World, id_of, pattern};
use std::{collections::BTreeSet, time::Duration};
use tessera_canon::Hash;
use tessera_net::{
    Limits, NetEvent, Transport,
    sim::{Links, Profile, SimNet, SimTransport},
};

impl World for SimNet {
    type Node = SimTransport;
    async fn start(&mut self, seed: u8, limits: Limits) -> Node<SimTransport> {
        let net = SimNet::start(self, id_of(seed), limits);
        let address = net.address();
        Node { net, address, seed }
    }
    async fn kill(&mut self, node: Node<SimTransport>) {
        self.crash(node.id());
    }
}

fn home(seed: u64) -> SimNet {
    SimNet::new(Links::new(seed, Profile { loss_ppm: 20_000, ..Profile::HOME }))
}

transport_suite!([#[tokio::test(start_paused = true)]] home(5));

/// Eight nodes pass frames on at random for ten virtual minutes through loss, partitions and crashes.
async fn storm(seed: u64) -> (Hash, u64) {
    let net = home(seed);
    let mut tasks = Vec::new();
    let mut addresses = Vec::new();
    let mut nodes = Vec::new();
    for seed in 0..8u8 {
        let node = net.start(id_of(seed), Limits::default());
        addresses.push((id_of(seed), node.address()));
        nodes.push(node);
    }
    for node in nodes {
        addresses.iter().for_each(|(id, address)| node.learn(*id, *address));
        let addresses = addresses.clone();
        tasks.push(tokio::spawn(async move {
            let mut frames = 0u64;
            while let Some(event) = node.recv().await {
                match event {
                    NetEvent::Frame { from, channel, bytes } => {
                        frames += 1;
                        let next = addresses[(bytes.len() + channel as usize + frames as usize) % 8].0;
                        let _ = node.send(if next == node.local() { from } else { next }, channel, bytes);
                    }
                    NetEvent::Up(peer) => {
                        let _ = node.send(peer, 1, pattern(1000 + 7000 * frames as usize % 90_000, 3));
                    }
                    NetEvent::Down { .. } => {}
                }
            }
            frames
        }));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let half: BTreeSet<_> = (0..4).map(id_of).collect();
    net.partition(vec![half]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    net.heal();
    net.crash(id_of(7));
    tokio::time::sleep(Duration::from_secs(20)).await;
    (0..7).for_each(|seed| net.crash(id_of(seed)));
    let mut frames = 0;
    for task in tasks {
        frames += task.await.unwrap();
    }
    (net.log_hash(), frames)
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_event_log() {
    let (first, frames) = storm(11).await;
    assert!(frames > 1000, "only {frames} frames");
    assert_eq!(storm(11).await, (first, frames));
    assert_ne!(storm(12).await.0, first);
}

#[tokio::test(start_paused = true)]
async fn a_partition_breaks_and_heals_without_losing_a_frame() {
    let mut net = home(3);
    let (a, b) = (
        World::start(&mut net, 1, Limits::default()).await,
        World::start(&mut net, 2, Limits::default()).await,
    );
    a.meet(&b);
    a.up(b.id()).await;
    b.up(a.id()).await;
    a.send(b.id(), 1, vec![0]).unwrap();
    net.partition(vec![[a.id()].into()]);
    for i in 1..50 {
        a.send(b.id(), 1, vec![i]).unwrap();
    }
    a.down(b.id()).await;
    net.heal();
    let mut got = Vec::new();
    while got.len() < 50 {
        got.push(b.frame().await.2[0]);
    }
    assert_eq!(got, (0..50).collect::<Vec<u8>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_its_sender_back() {
    let mut net = home(3);
    let small = Limits { inbox_bytes: 100_000, outbox_bytes: 1 << 20, ..Limits::default() };
    let mut limits = small.clone();
    limits.frames.default = 50_000;
    let (a, b) = (World::start(&mut net, 1, small).await, World::start(&mut net, 2, limits).await);
    a.meet(&b);
    for i in 0..20 {
        a.send(b.id(), 1, pattern(50_000, i)).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(a.net.stats().channels[&1].frames_out <= 2, "{:?}", a.net.stats());
    for _ in 0..20 {
        b.frame().await;
    }
}
