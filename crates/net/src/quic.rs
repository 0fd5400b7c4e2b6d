//! Be a [`Transport`] over QUIC (iroh), by address alone: no relay, no DNS, no discovery service.
//!
//! Each peer has an entry and an actor task. The actor dials, judges new connections and turns them into `Up` and
//! `Down`; the frames move in `session`. When both sides dial at once, the connection dialled by the lower
//! identity stays; frames unconfirmed on the other are sent again, so none is lost. A new connection from a new
//! *incarnation* (the peer's process started again) always replaces the old one.

use crate::{
    Limits, NetEvent, NetStats, PeerId, SecretKey, SendError, Transport,
    congestion::SteadyWindowFactory,
    framing::{HELLO_LEN, hello, parse_hello},
    inbox::Inbox,
    limits::EVENT_COST,
    outbox::{Lane, Outbox},
    session::{self, End},
    stats::Counters,
};
use bytes::Bytes;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, TransportAddr,
    endpoint::{
        Connection, ConnectionError, IdleTimeout, PortmapperConfig, QuicTransportConfig, RecvStream,
        SendStream, presets,
    },
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

/// Application protocol name: the version of the framing is part of it.
pub const PROTOCOL: &[u8] = b"tessera/net/1";
const CLOSE_NORMAL: u32 = 0;
const CLOSE_REPLACED: u32 = 1;
const CLOSE_REFUSED: u32 = 2;
const CLOSE_FAULT: u32 = 3;
/// How long to wait for the connection that replaces one the peer closed as replaced.
const REPLACEMENT: Duration = Duration::from_secs(1);
/// A dial that has not succeeded within this time starts anew.
const DIAL: Duration = Duration::from_millis(1500);
const HELLO: Duration = Duration::from_secs(3);
/// Inbound handshakes under way at once.
const HANDSHAKES: usize = 64;
const MAX_REFUSED: usize = 4096;

/// Lock a mutex; a panic of another holder leaves data that is still consistent (all changes are single calls).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How to start a [`QuicTransport`].
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// UDP address to listen on; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// All bounds.
    pub limits: Limits,
}
impl QuicConfig {
    /// Listen on `bind` with default limits.
    pub fn new(bind: SocketAddr) -> Self {
        Self { bind, limits: Limits::default() }
    }
}

/// Why [`QuicTransport::bind`] failed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The UDP address could not be had.
    #[error(
        "cannot listen on UDP {address}: {cause}; is another node running there? Stop it or choose another address (port 0 takes a free one)"
    )]
    Address { address: SocketAddr, cause: String },
    /// The QUIC endpoint could not be made for another reason.
    #[error("cannot start QUIC on {address}: {cause}")]
    Endpoint { address: SocketAddr, cause: String },
    /// The identity of the endpoint is not that of the key: a fault of this program.
    #[error("the QUIC endpoint has identity {got}, expected {expected}")]
    Identity { expected: PeerId, got: PeerId },
}

/// An event and the budget it occupies until it is handed out.
struct Item(NetEvent, #[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// What the tasks of a transport share.
pub(crate) struct Core {
    local: PeerId,
    endpoint: Endpoint,
    pub(crate) limits: Limits,
    incarnation: u64,
    started: Instant,
    pub(crate) counters: Counters,
    peers: Mutex<BTreeMap<PeerId, Arc<Peer>>>,
    refused: Mutex<BTreeMap<PeerId, Instant>>,
    // Not bounded by itself: every item holds budget of its peer.
    events: mpsc::UnboundedSender<Item>,
    closed: watch::Sender<bool>,
    /// `learn` may be called from outside the runtime.
    runtime: tokio::runtime::Handle,
}

/// One remote identity.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    address: Mutex<Option<SocketAddr>>,
    pub(crate) outbox: Mutex<Outbox>,
    pub(crate) small_wake: Notify,
    pub(crate) large_wake: Notify,
    pub(crate) inbox: Mutex<Inbox>,
    pub(crate) budget: Arc<Semaphore>,
    conn: Mutex<Option<Connection>>,
    wake: Notify,
    offers: mpsc::Sender<Offer>,
}

/// A connection whose hello was exchanged.
struct Offer {
    conn: Connection,
    control: (SendStream, RecvStream),
    incarnation: u64,
    ours: bool,
}

impl Core {
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
    pub(crate) fn emit(&self, event: NetEvent, permit: Option<OwnedSemaphorePermit>) {
        let _ = self.events.send(Item(event, permit));
    }
    pub(crate) fn expire(&self, peer: &Peer) {
        let dropped = lock(&peer.outbox).expire(self.now(), self.limits.max_age);
        if dropped > 0 {
            self.counters.with(|stats| stats.expired += dropped);
        }
    }
    fn is_refused(&self, peer: &PeerId) -> bool {
        let mut refused = lock(&self.refused);
        let until = refused.get(peer).copied();
        if until.is_some_and(|until| until <= Instant::now()) {
            refused.remove(peer);
            return false;
        }
        until.is_some()
    }
    fn refuse(&self, id: PeerId, reason: &str) {
        tracing::warn!(peer = %id.short(), reason, "peer dropped");
        self.counters.dropped(reason);
        {
            let mut refused = lock(&self.refused);
            refused.insert(id, Instant::now() + self.limits.refuse_for);
            if refused.len() > MAX_REFUSED {
                let soonest = refused.iter().min_by_key(|(_, until)| **until).map(|(id, _)| *id);
                soonest.and_then(|id| refused.remove(&id));
            }
        }
        let peer = lock(&self.peers).get(&id).cloned();
        if let Some(peer) = peer {
            lock(&peer.outbox).clear();
            if let Some(conn) = &*lock(&peer.conn) {
                conn.close(CLOSE_FAULT.into(), reason.as_bytes());
            }
        }
    }
    /// The entry of `id`, made if `address` is known or the admission hook lets it in.
    fn entry(self: &Arc<Self>, id: PeerId, address: Option<SocketAddr>) -> Option<Arc<Peer>> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(&id) {
            return Some(peer.clone());
        }
        if address.is_none() {
            let guests = peers.values().filter(|peer| lock(&peer.address).is_none()).count();
            if guests >= self.limits.max_guests || !(self.limits.admission)(&id) {
                return None;
            }
        }
        let (offers, inbound) = mpsc::channel(4);
        let peer = Arc::new(Peer {
            id,
            address: Mutex::new(address),
            outbox: Mutex::default(),
            small_wake: Notify::new(),
            large_wake: Notify::new(),
            inbox: Mutex::default(),
            budget: Arc::new(Semaphore::new(self.limits.inbox_budget())),
            conn: Mutex::default(),
            wake: Notify::new(),
            offers,
        });
        peers.insert(id, peer.clone());
        self.runtime.spawn(Actor::new(self.clone(), peer.clone()).run(inbound));
        Some(peer)
    }
    /// Exchange hellos on a fresh connection.
    async fn greet(&self, conn: &Connection) -> Option<((SendStream, RecvStream), u64)> {
        let exchange = async {
            let mut send = conn.open_uni().await.ok()?;
            let _ = send.set_priority(2);
            send.write_all(&hello(self.incarnation)).await.ok()?;
            let mut recv = conn.accept_uni().await.ok()?;
            let mut bytes = [0; HELLO_LEN];
            recv.read_exact(&mut bytes).await.ok()?;
            Some(((send, recv), bytes))
        };
        let (control, bytes) = timeout(HELLO, exchange).await.ok()??;
        match parse_hello(&bytes) {
            Ok(incarnation) => Some((control, incarnation)),
            Err(fault) => {
                conn.close(CLOSE_FAULT.into(), fault.to_string().as_bytes());
                self.refuse(peer_id(conn), fault.reason());
                None
            }
        }
    }
    async fn dial(self: Arc<Self>, peer: Arc<Peer>, address: SocketAddr) -> Result<(), ()> {
        let id = EndpointId::from_bytes(&peer.id.0).map_err(|_| ())?;
        let target = EndpointAddr::from_parts(id, [TransportAddr::Ip(address)]);
        let conn =
            timeout(DIAL, self.endpoint.connect(target, PROTOCOL)).await.map_err(|_| ())?.map_err(|_| ())?;
        let (control, incarnation) = self.greet(&conn).await.ok_or(())?;
        peer.offers.send(Offer { conn, control, incarnation, ours: true }).await.map_err(|_| ())
    }
    async fn accept(self: Arc<Self>) {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                self.counters.dropped("too many handshakes");
                incoming.refuse();
                continue;
            };
            let core = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let Ok(Ok(conn)) = timeout(HELLO, incoming).await else { return };
                core.welcome(conn).await;
            });
        }
    }
    async fn welcome(self: &Arc<Self>, conn: Connection) {
        let id = peer_id(&conn);
        if self.is_refused(&id) {
            self.counters.dropped("refused");
            return conn.close(CLOSE_REFUSED.into(), b"refused after misbehaviour");
        }
        // Not `entry` yet: a connection that never says hello must not occupy one.
        let known = lock(&self.peers).contains_key(&id) || (self.limits.admission)(&id);
        if id == self.local || !known {
            self.counters.dropped("unknown identity");
            return conn.close(CLOSE_REFUSED.into(), b"identity not known here");
        }
        let Some((control, incarnation)) = self.greet(&conn).await else {
            if conn.close_reason().is_none() {
                self.counters.dropped("no hello");
                conn.close(CLOSE_FAULT.into(), b"no hello");
            }
            return;
        };
        let Some(peer) = self.entry(id, None) else {
            self.counters.dropped("too many guests");
            return conn.close(CLOSE_REFUSED.into(), b"too many guests");
        };
        let _ = peer.offers.send(Offer { conn, control, incarnation, ours: false }).await;
    }
}

fn peer_id(conn: &Connection) -> PeerId {
    tessera_canon::PublicKey(*conn.remote_id().as_bytes())
}

/// The connection in use.
struct Current {
    conn: Connection,
    ours: bool,
    incarnation: u64,
    task: JoinHandle<End>,
}

/// Decides which connection to a peer is in use.
struct Actor {
    core: Arc<Core>,
    peer: Arc<Peer>,
    current: Option<Current>,
    /// Incarnation that is up without a connection, and until when.
    waiting: Option<(u64, Instant, String)>,
    sessions: u64,
    dialling: Option<JoinHandle<Result<(), ()>>>,
    dialled: Option<SocketAddr>,
    back_off: Duration,
    next_dial: Instant,
}

impl Actor {
    fn new(core: Arc<Core>, peer: Arc<Peer>) -> Self {
        let (back_off, next_dial) = (core.limits.redial.0, Instant::now());
        Self {
            core,
            peer,
            current: None,
            waiting: None,
            sessions: 0,
            dialling: None,
            dialled: None,
            back_off,
            next_dial,
        }
    }

    async fn run(mut self, mut offers: mpsc::Receiver<Offer>) {
        let mut closed = self.core.closed.subscribe();
        loop {
            self.core.expire(&self.peer);
            if offers.is_empty() && self.is_left() {
                return;
            }
            let address = *lock(&self.peer.address);
            if address != self.dialled {
                // A new address: forget how often the old one failed.
                (self.dialled, self.back_off, self.next_dial) =
                    (address, self.core.limits.redial.0, Instant::now());
                if let Some(dial) = self.dialling.take() {
                    dial.abort();
                }
            }
            let wanted = self.core.limits.keep || !lock(&self.peer.outbox).is_empty();
            let idle = self.current.is_none() && self.waiting.is_none() && self.dialling.is_none();
            let target = address.filter(|_| idle && wanted && !self.core.is_refused(&self.peer.id));
            let until = self.waiting.as_ref().map(|waiting| waiting.1);
            tokio::select! {
                () = until_true(&mut closed) => break,
                Some(offer) = offers.recv() => self.judge(offer).await,
                end = join(self.current.as_mut().map(|c| &mut c.task)) => self.ended(end).await,
                result = join(self.dialling.as_mut()) => {
                    self.dialling = None;
                    if !matches!(result, Ok(Ok(()))) {
                        self.next_dial = Instant::now() + self.back_off;
                        self.back_off = (self.back_off * 2).min(self.core.limits.redial.1);
                    }
                }
                _ = sleep_until(self.next_dial), if target.is_some() => {
                    let Some(address) = target else { continue };
                    self.dialling = Some(tokio::spawn(self.core.clone().dial(self.peer.clone(), address)));
                }
                _ = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    if let Some((_, _, reason)) = self.waiting.take() {
                        self.down(reason).await;
                    }
                }
                _ = self.peer.wake.notified() => {}
                _ = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        if let Some(dial) = self.dialling.take() {
            dial.abort();
        }
        if let Some(current) = self.current.take() {
            current.conn.close(CLOSE_NORMAL.into(), b"closing");
            current.task.abort();
        }
    }

    /// Whether this is a guest that left nothing behind; its entry is then gone.
    fn is_left(&self) -> bool {
        if self.current.is_some() || self.waiting.is_some() || lock(&self.peer.address).is_some() {
            return false;
        }
        let mut peers = lock(&self.core.peers);
        // The first connection of a guest is offered right after its entry is made: a strong count above the
        // table's and ours means somebody is about to.
        let unused =
            self.sessions > 0 && lock(&self.peer.outbox).is_empty() && Arc::strong_count(&self.peer) <= 2;
        if unused {
            peers.remove(&self.peer.id);
        }
        unused
    }

    async fn judge(&mut self, offer: Offer) {
        if self.core.is_refused(&self.peer.id) {
            return offer.conn.close(CLOSE_REFUSED.into(), b"refused after misbehaviour");
        }
        if let Some(current) = &self.current {
            let same = current.incarnation == offer.incarnation;
            let lower = self.core.local < self.peer.id;
            if same
                && current.ours != offer.ours
                && offer.ours != lower
                && current.conn.close_reason().is_none()
            {
                return offer.conn.close(CLOSE_REPLACED.into(), b"replaced");
            }
        }
        let mut up = None;
        if let Some(old) = self.current.take() {
            old.conn.close(CLOSE_REPLACED.into(), b"replaced");
            old.task.abort();
            up = Some(old.incarnation);
        }
        if let Some((incarnation, _, _)) = self.waiting.take() {
            up = Some(incarnation);
        }
        if up.is_some_and(|incarnation| incarnation != offer.incarnation) {
            self.down("it started again".into()).await;
            up = None;
        }
        let permit = if up.is_none() { self.permit().await } else { None };
        self.sessions += 1;
        // Before anybody hears of it: whoever drops the peer on hearing `Up` must find the connection to close.
        *lock(&self.peer.conn) = Some(offer.conn.clone());
        {
            let mut inbox = lock(&self.peer.inbox);
            if inbox.incarnation() != offer.incarnation {
                *inbox = Inbox::of(offer.incarnation);
            }
            inbox.session = self.sessions;
            if up.is_none() {
                self.core.emit(NetEvent::Up(self.peer.id), permit);
            }
        }
        self.core.counters.with(|stats| stats.connections += 1);
        self.back_off = self.core.limits.redial.0;
        let (core, peer, conn) = (self.core.clone(), self.peer.clone(), offer.conn.clone());
        let task = tokio::spawn(session::run(core, peer, conn, self.sessions, offer.control));
        self.current =
            Some(Current { conn: offer.conn, ours: offer.ours, incarnation: offer.incarnation, task });
    }

    /// The session of the current connection ended.
    async fn ended(&mut self, end: Result<End, tokio::task::JoinError>) {
        let Some(current) = self.current.take() else { return };
        if let Ok(End::Fault(fault)) = &end {
            tracing::warn!(peer = %self.peer.id.short(), %fault, "peer broke a rule");
            self.core.refuse(self.peer.id, fault.reason());
        }
        // The tasks may notice a moment before the connection knows its own reason.
        let reason = match timeout(Duration::from_millis(100), current.conn.closed()).await {
            Ok(reason) => reason,
            Err(_) => {
                current.conn.close(CLOSE_FAULT.into(), b"broken session");
                current.conn.closed().await
            }
        };
        let text = reason.to_string();
        match &reason {
            ConnectionError::ApplicationClosed(close) if close.error_code == CLOSE_REPLACED.into() => {
                self.waiting = Some((current.incarnation, Instant::now() + REPLACEMENT, text));
            }
            // Our own QUIC stack found the peer in breach, for example of the number of streams.
            ConnectionError::TransportError(_) => {
                self.core.refuse(self.peer.id, "QUIC violation");
                self.down(text).await;
            }
            _ => self.down(text).await,
        }
    }

    async fn down(&mut self, reason: String) {
        *lock(&self.peer.conn) = None;
        let permit = self.permit().await;
        let mut inbox = lock(&self.peer.inbox);
        inbox.session = 0;
        self.core.emit(NetEvent::Down { peer: self.peer.id, reason }, permit);
    }

    /// Budget for an `Up` or `Down`, so that a peer that comes and goes fills no memory.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let mut closed = self.core.closed.subscribe();
        tokio::select! {
            permit = self.peer.budget.clone().acquire_many_owned(EVENT_COST as u32) => permit.ok(),
            () = until_true(&mut closed) => None,
        }
    }
}

/// Wait until the flag is set or its owner is gone.
async fn until_true(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

/// The result of a task if there is one; else wait for ever.
async fn join<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Frames over QUIC between Ed25519 identities, by address.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use tessera_net::{NetEvent, QuicConfig, QuicTransport, SecretKey, Transport};
/// let net = QuicTransport::bind(&SecretKey::generate()?, QuicConfig::new("0.0.0.0:4700".parse()?)).await?;
/// while let Some(event) = net.recv().await {
///     if let NetEvent::Frame { from, channel, bytes } = event {
///         net.send(from, channel, bytes)?;
///     }
/// }
/// # Ok(()) }
/// ```
pub struct QuicTransport {
    core: Arc<Core>,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Item>>,
    accept: JoinHandle<()>,
}

impl QuicTransport {
    /// Listen with the identity of `key`. Needs a tokio runtime with time and I/O enabled.
    pub async fn bind(key: &SecretKey, config: QuicConfig) -> Result<Self, BindError> {
        let address = config.bind;
        let endpoint_error = |cause: String| BindError::Endpoint { address, cause };
        // iroh reports a taken port without naming it and after having started much; ask the system first.
        drop(
            std::net::UdpSocket::bind(address)
                .map_err(|e| BindError::Address { address, cause: e.to_string() })?,
        );
        let idle = config.limits.idle;
        let transport = QuicTransportConfig::builder()
            .stream_receive_window(1_250_000u32.into())
            .receive_window((16u32 << 20).into())
            .send_window(16 << 20)
            .max_concurrent_bidi_streams(0u32.into())
            .max_concurrent_uni_streams(64u32.into())
            .datagram_receive_buffer_size(None)
            .initial_rtt(Duration::from_millis(50))
            .keep_alive_interval(idle / 4)
            .default_path_keep_alive_interval(idle / 4)
            .default_path_max_idle_timeout(idle)
            .max_idle_timeout(Some(IdleTimeout::try_from(idle).map_err(|e| endpoint_error(e.to_string()))?))
            .congestion_controller_factory(Arc::new(SteadyWindowFactory))
            .build();
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(iroh::SecretKey::from_bytes(&key.seed()))
            .alpns(vec![PROTOCOL.to_vec()])
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_ip_transports()
            .bind_addr(address)
            .map_err(|e| endpoint_error(e.to_string()))?
            .transport_config(transport)
            .bind()
            .await
            .map_err(|e| BindError::Address { address, cause: format!("{e:#}") })?;
        let (expected, got) = (key.public(), tessera_canon::PublicKey(*endpoint.id().as_bytes()));
        if expected != got {
            return Err(BindError::Identity { expected, got });
        }
        let (events, receiver) = mpsc::unbounded_channel();
        let incarnation = SecretKey::generate().map_err(|e| endpoint_error(e.to_string()))?.public().0;
        let core = Arc::new(Core {
            local: got,
            endpoint,
            limits: config.limits,
            incarnation: u64::from_be_bytes(std::array::from_fn(|i| incarnation[i])),
            started: Instant::now(),
            counters: Counters::default(),
            peers: Mutex::default(),
            refused: Mutex::default(),
            events,
            closed: watch::Sender::new(false),
            runtime: tokio::runtime::Handle::current(),
        });
        let accept = tokio::spawn(core.clone().accept());
        Ok(Self { core, events: tokio::sync::Mutex::new(receiver), accept })
    }
    /// The address it listens on, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.core.endpoint.bound_sockets().into_iter().next()
    }
}

impl Transport for QuicTransport {
    fn local(&self) -> PeerId {
        self.core.local
    }
    fn send(&self, to: PeerId, channel: u8, bytes: Bytes) -> Result<(), SendError> {
        let core = &self.core;
        if *core.closed.borrow() {
            return Err(SendError::Closed);
        }
        let (got, max) = (bytes.len(), core.limits.frames.of(channel));
        if got > max {
            return Err(SendError::TooBig { channel, got, max });
        }
        if core.is_refused(&to) {
            return Err(SendError::Unknown { peer: to });
        }
        // The table stays locked until the frame is queued: a guest's entry goes only while its queue is empty.
        let peers = lock(&core.peers);
        let peer = peers.get(&to).ok_or(SendError::Unknown { peer: to })?;
        core.expire(peer);
        let max = core.limits.outbox_bytes;
        let lane = lock(&peer.outbox)
            .push(core.now(), channel, bytes, max)
            .map_err(|queued| SendError::Full { peer: to, queued, max })?;
        match lane {
            Lane::Small => peer.small_wake.notify_one(),
            Lane::Large => peer.large_wake.notify_one(),
        }
        peer.wake.notify_one();
        Ok(())
    }
    async fn recv(&self) -> Option<NetEvent> {
        let mut closed = self.core.closed.subscribe();
        let mut events = self.events.lock().await;
        tokio::select! {
            biased;
            item = events.recv() => item.map(|item| item.0),
            () = until_true(&mut closed) => None,
        }
    }
    fn learn(&self, peer: PeerId, addr: SocketAddr) {
        if peer == self.core.local {
            return;
        }
        if let Some(entry) = self.core.entry(peer, Some(addr)) {
            *lock(&entry.address) = Some(addr);
            entry.wake.notify_one();
        }
    }
    fn drop_peer(&self, peer: PeerId, reason: &str) {
        self.core.refuse(peer, reason);
    }
    fn stats(&self) -> NetStats {
        let mut stats = self.core.counters.with(|stats| stats.clone());
        for (id, peer) in &*lock(&self.core.peers) {
            if let Some(conn) = &*lock(&peer.conn) {
                stats.connected += 1;
                let paths = conn.paths();
                if let Some(rtt) = paths.iter().map(|path| path.stats().rtt).min() {
                    stats.rtt.insert(*id, rtt);
                }
            }
        }
        stats
    }
    async fn close(&self) {
        self.core.closed.send_replace(true);
        self.core.endpoint.close().await;
        self.accept.abort();
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.core.closed.send_replace(true);
        self.accept.abort();
    }
}
