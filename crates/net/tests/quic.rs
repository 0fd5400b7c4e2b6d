//! Run the transport suite over real QUIC on loopback, and attack it with a raw client.

mod common;

use bytes::Bytes;
use common::{Node, PATIENCE, World, id_of};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr,
    endpoint::{Connection, presets},
};
use std::{net::SocketAddr, time::Duration};
use tessera_net::{
    BindError, Limits, NetEvent, NetStats, PROTOCOL, PeerId, QuicConfig, QuicTransport, SecretKey, SendError,
    Transport,
};
use tokio::{runtime::Runtime, time::timeout};

/// A transport in a runtime of its own, so that it can be killed like a process.
struct Killable {
    net: QuicTransport,
    runtime: Option<Runtime>,
}
impl Transport for Killable {
    fn local(&self) -> PeerId {
        self.net.local()
    }
    fn send(&self, to: PeerId, channel: u8, bytes: Bytes) -> Result<(), SendError> {
        self.net.send(to, channel, bytes)
    }
    async fn recv(&self) -> Option<NetEvent> {
        self.net.recv().await
    }
    fn learn(&self, peer: PeerId, addr: SocketAddr) {
        self.net.learn(peer, addr);
    }
    fn drop_peer(&self, peer: PeerId, reason: &str) {
        self.net.drop_peer(peer, reason);
    }
    fn stats(&self) -> NetStats {
        self.net.stats()
    }
    async fn close(&self) {
        self.net.close().await;
    }
}
impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Loopback;
impl World for Loopback {
    type Node = Killable;
    async fn start(&mut self, seed: u8, limits: Limits) -> Node<Killable> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = QuicConfig { bind: "127.0.0.1:0".parse().unwrap(), limits };
        let net = runtime
            .spawn(async move { QuicTransport::bind(&SecretKey::from_seed([seed; 32]), config).await })
            .await
            .unwrap()
            .unwrap();
        let address = net.address().unwrap();
        Node { net: Killable { net, runtime: Some(runtime) }, address, seed }
    }
    async fn kill(&mut self, mut node: Node<Killable>) {
        if let Some(runtime) = node.net.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

transport_suite!([#[tokio::test]] Loopback);

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error =
        QuicTransport::bind(&SecretKey::from_seed([1; 32]), QuicConfig::new(address)).await.err().unwrap();
    assert!(matches!(error, BindError::Address { address: named, .. } if named == address), "{error}");
    assert!(error.to_string().contains(&address.to_string()));
}

/// A client that speaks QUIC but not our framing.
async fn raw(seed: u8, to: &Node<Killable>) -> (Endpoint, Connection) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(iroh::SecretKey::from_bytes(&[seed; 32]))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0".parse::<SocketAddr>().unwrap())
        .unwrap()
        .bind()
        .await
        .unwrap();
    let target = EndpointAddr::from_parts(
        EndpointId::from_bytes(&to.id().0).unwrap(),
        [TransportAddr::Ip(to.address)],
    );
    let connection = endpoint.connect(target, PROTOCOL).await.unwrap();
    (endpoint, connection)
}

const HELLO: [u8; 10] = [0, 1, 0, 0, 0, 0, 0, 0, 0, 7];

/// Start a victim with a bystander, let `streams` be opened with these first bytes by an attacker, expect that it
/// is thrown out under `reason` and that the bystander does not notice.
async fn attack(streams: Vec<Vec<u8>>, reason: &str) {
    let limits = Limits {
        admission: std::sync::Arc::new(|id| *id == id_of(66)),
        incomplete: Duration::from_millis(400),
        ..Limits::default()
    };
    let victim = Loopback.start(1, limits).await;
    let bystander = Loopback.start(2, Limits::default()).await;
    victim.meet(&bystander);
    victim.up(bystander.id()).await;
    let (_endpoint, connection) = raw(66, &victim).await;
    let mut open = Vec::new();
    for bytes in streams {
        let mut stream = connection.open_uni().await.unwrap();
        // The victim may close while we write.
        let _ = stream.write_all(&bytes).await;
        open.push(stream);
    }
    timeout(PATIENCE, connection.closed()).await.expect("the attacker is thrown out");
    timeout(PATIENCE, async {
        while victim.net.stats().total_drops() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let stats = victim.net.stats();
    assert_eq!(stats.drops.get(reason), Some(&1), "{:?}", stats.drops);
    // It is refused when it comes again.
    let (_endpoint, again) = raw(66, &victim).await;
    timeout(PATIENCE, again.closed()).await.expect("refused");
    assert_eq!(victim.net.stats().drops.get("refused"), Some(&1));
    bystander.send(victim.id(), 5, vec![5]).unwrap();
    assert_eq!(victim.frame().await.1, 5);
    victim.send(bystander.id(), 6, vec![6]).unwrap();
    loop {
        match bystander.next().await {
            NetEvent::Frame { channel, .. } => break assert_eq!(channel, 6),
            NetEvent::Up(peer) => assert_eq!(peer, victim.id()),
            NetEvent::Down { reason, .. } => panic!("the bystander was cut off: {reason}"),
        }
    }
}

#[tokio::test]
async fn garbage_instead_of_a_hello_is_dropped() {
    attack(vec![vec![0xee; 100]], "malformed").await;
}

#[tokio::test]
async fn an_unknown_kind_of_stream_is_dropped() {
    attack(vec![HELLO.to_vec(), vec![9; 40]], "malformed").await;
}

#[tokio::test]
async fn an_oversized_small_frame_is_dropped() {
    let mut stream = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stream.extend(u32::MAX.to_be_bytes());
    attack(vec![HELLO.to_vec(), stream], "oversized").await;
}

#[tokio::test]
async fn an_oversized_piece_is_dropped() {
    let mut stream = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stream.extend(u32::MAX.to_be_bytes());
    stream.extend([0, 0, 0]);
    attack(vec![HELLO.to_vec(), stream], "oversized").await;
}

#[tokio::test]
async fn a_piece_longer_than_it_says_is_dropped() {
    let mut stream = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stream.extend(300_000u32.to_be_bytes());
    stream.extend([0, 0, 0]);
    stream.extend(vec![1; 300_000]);
    attack(vec![HELLO.to_vec(), stream], "endless stream").await;
}

#[tokio::test]
async fn a_frame_that_never_ends_is_dropped() {
    let mut stream = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stream.extend(300_000u32.to_be_bytes());
    stream.extend([0, 0, 0, 1, 2, 3]);
    attack(vec![HELLO.to_vec(), stream], "incomplete").await;
}

#[tokio::test]
async fn silent_streams_block_nobody_and_end() {
    // QUIC itself lets a peer open 64 at once and no more.
    let streams = std::iter::once(HELLO.to_vec()).chain((0..60).map(|_| vec![2, 0])).collect();
    attack(streams, "incomplete").await;
}

#[tokio::test]
async fn a_flood_of_opened_frames_stays_in_budget() {
    // Sixty frames of 16 MiB are begun; the budget of 64 MiB admits three, the rest wait and nothing is allocated.
    let streams = std::iter::once(HELLO.to_vec())
        .chain((1..=60u64).map(|id| {
            let mut stream = vec![2, 0];
            stream.extend(id.to_be_bytes());
            stream.extend((16u32 << 20).to_be_bytes());
            stream.extend([0, 0, 0, 1]);
            stream
        }))
        .collect();
    let before = peak_bytes();
    attack(streams, "incomplete").await;
    assert!(peak_bytes().saturating_sub(before) < 300 << 20, "the peak is counted by the kernel");
}

/// Peak of the resident memory, bytes; 0 where the system does not tell.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
