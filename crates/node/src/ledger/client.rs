//! Carry a light client's questions over the process's QUIC endpoint.
//!
//! [`LedgerClient`] is [`tessera_client::Client`] over [`QuicSource`]; what it believes and why is said there.
//! The client knows the validators' addresses and the committee's group key from the network file. A process
//! that validates asks itself first, through the same types.

use super::Answerer;
use crate::{
    network::{NetworkError, NetworkFile},
    switchboard::Switchboard,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tessera_canon::PublicKey;
use tessera_client::{Client, Source, TrustFile};
use tessera_net::{NetEvent, PeerId, Transport};
use tessera_wire::{
    RPC, from_frame,
    rpc::{Answer, Ask, Message, Request, Response},
    to_frame,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// Time for one answer of one validator.
pub const ANSWER_TIME: Duration = Duration::from_secs(4);
/// The same for one that is not connected.
const ABSENT_TIME: Duration = Duration::from_millis(1500);
/// How long to wait for a first connection before asking validators that may be down.
const CONNECT_TIME: Duration = Duration::from_secs(2);

type Pending = Mutex<BTreeMap<u64, (PeerId, oneshot::Sender<Answer>)>>;

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Validators over a shared transport, and the one in this process.
pub struct QuicSource<T> {
    switchboard: Switchboard<T>,
    validators: Vec<PublicKey>,
    local: Option<(PublicKey, Answerer)>,
    pending: Arc<Pending>,
    next_id: AtomicU64,
    task: AbortHandle,
}
impl<T> Drop for QuicSource<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Removes a question from the book when its asker is gone.
struct Asked<'a>(&'a Pending, u64);
impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

impl<T: Transport> Source for QuicSource<T> {
    fn validators(&self) -> &[PublicKey] {
        &self.validators
    }
    fn local(&self) -> Option<PublicKey> {
        self.local.as_ref().map(|(key, _)| *key)
    }
    async fn connected(&self, patient: bool) -> BTreeSet<PublicKey> {
        let known: BTreeSet<PeerId> = self.validators.iter().copied().collect();
        let start = tokio::time::Instant::now();
        let mut connected = self.switchboard.connected();
        while patient && connected.is_disjoint(&known) && start.elapsed() < CONNECT_TIME {
            tokio::time::sleep(Duration::from_millis(20)).await;
            connected = self.switchboard.connected();
        }
        connected
    }
    async fn ask(&self, validator: &PublicKey, ask: &Ask) -> Result<Answer, String> {
        if let Some((_, local)) = self.local.as_ref().filter(|(key, _)| key == validator) {
            return Ok(local.answer(ask.clone()).await);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending).insert(id, (*validator, sender));
        let _asked = Asked(&self.pending, id);
        let frame = to_frame(&Message::Request(Request { id, ask: ask.clone() }));
        self.switchboard.transport().send(*validator, RPC, frame).map_err(|error| error.to_string())?;
        let connected = self.switchboard.connected().contains(validator);
        let time = if connected { ANSWER_TIME } else { ABSENT_TIME };
        match tokio::time::timeout(time, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the connection broke before its answer came".into()),
            Err(_) => Err(format!("no answer within {} ms", time.as_millis())),
        }
    }
}

/// A verified view of the ledger over a shared transport. Cheap to clone.
pub struct LedgerClient<T>(Client<QuicSource<T>>);
impl<T> Clone for LedgerClient<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
impl<T> Deref for LedgerClient<T> {
    type Target = Client<QuicSource<T>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Transport> LedgerClient<T> {
    /// A client of `network`. A process that validates passes its own `local` answerer, which is asked first.
    /// With `trust`, no state older than the one it holds is believed.
    pub fn start(
        switchboard: &Switchboard<T>,
        network: &NetworkFile,
        local: Option<Answerer>,
        trust: Option<TrustFile>,
    ) -> Result<Self, NetworkError> {
        let transport = switchboard.transport();
        let me = transport.local();
        for validator in network.validators.iter().filter(|validator| validator.key != me) {
            transport.learn(validator.key, validator.rpc);
        }
        let pending = Arc::<Pending>::default();
        let events = switchboard.subscribe(&[RPC], 256);
        let validators = network.validators.iter().map(|validator| validator.key).filter(|key| *key != me);
        let source = QuicSource {
            switchboard: switchboard.clone(),
            validators: validators.collect(),
            local: local.map(|local| (me, local)),
            task: tokio::spawn(sort(events, pending.clone())).abort_handle(),
            pending,
            // Not from zero: answers to an earlier process of this identity must not fit.
            next_id: AtomicU64::new(network.id.low_u64() ^ u64::from(std::process::id()) << 32),
        };
        let first = usize::from(me.0[0]);
        Ok(Self(Client::new(source, network.id, &network.identity, first, trust)?))
    }
}

/// Bring answers to those who wait for them.
async fn sort(mut events: mpsc::Receiver<NetEvent>, pending: Arc<Pending>) {
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Frame { from, bytes, .. } => match from_frame::<Message>(RPC, &bytes) {
                Ok(Message::Response(Response { id, answer })) => {
                    let mut pending = lock(&pending);
                    if pending.get(&id).is_some_and(|(asked, _)| *asked == from)
                        && let Some((_, sender)) = pending.remove(&id)
                    {
                        // An error means that the asker has gone.
                        let _ = sender.send(answer);
                    }
                }
                Ok(Message::Request(_)) => {}
                Err(fault) => tracing::warn!(peer = %from.short(), %fault, "not an answer"),
            },
            // Who waits for this peer should ask another at once.
            NetEvent::Down { peer, .. } => lock(&pending).retain(|_, (asked, _)| *asked != peer),
            NetEvent::Up(_) => {}
        }
    }
}
