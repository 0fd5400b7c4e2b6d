//! Read the ledger and trust nobody: every header and every cell is proved.
//!
//! The client knows the validators' addresses and the committee's group key from the network file. It asks
//! one validator at a time, one that is connected if possible, and turns to the next when no answer comes,
//! when the answer does not hold, or when it is older than what was seen before (by more than
//! [`LAG`] blocks, or at all older than this client's own last transaction).
//!
//! A validator can withhold and it can lag; it cannot invent. A client that never saw the network before
//! cannot tell by itself how new the newest header is; its time is in [`View::time_ms`].

use super::{Answerer, LedgerError, View};
use crate::{
    network::{NetworkError, NetworkFile},
    switchboard::Switchboard,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tessera_canon::{Hash, List, PublicKey};
use tessera_chain::{Block, CertifiedHeader, Header, LightClient, MAX_PROVED_KEYS, StateProof, VerifyError};
use tessera_ledger::{Cell, Key};
use tessera_net::{NetEvent, PeerId, Transport};
use tessera_wire::{
    RPC, from_frame,
    rpc::{Answer, Ask, BlockAt, HeaderAt, Latest, Message, Prove, Request, Response},
    to_frame,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// How many blocks an answer may be behind the newest one seen.
pub const LAG: u64 = 8;
/// Time for one answer of one validator.
pub const ANSWER_TIME: Duration = Duration::from_secs(4);
/// The same for one that is not connected.
const ABSENT_TIME: Duration = Duration::from_millis(1500);
/// How long to wait for a first connection before asking validators that may be down.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How often all validators are asked before giving up, and the pause between.
const ROUNDS: usize = 3;
const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// Attempts to read more cells than one proof holds at one height.
const SAME_HEIGHT_TRIES: usize = 10;
/// Most cells in one read.
const MAX_READ: usize = 8 * MAX_PROVED_KEYS;

/// The newest state that a client has verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Greatest height.
    pub height: u64,
    /// Its time, milliseconds since 1970.
    pub time_ms: u64,
    /// Height of this client's own last transaction: nothing older is accepted.
    pub own: u64,
}

pub(super) struct Inner<T> {
    switchboard: Switchboard<T>,
    pub(super) network: Hash,
    light: LightClient,
    validators: Vec<PublicKey>,
    local: Option<Answerer>,
    pending: Arc<Pending>,
    next_id: AtomicU64,
    /// Index of the validator that answered last.
    preferred: AtomicUsize,
    seen: Mutex<Seen>,
    pub(super) senders: Mutex<BTreeMap<PublicKey, Arc<tokio::sync::Mutex<()>>>>,
    task: AbortHandle,
}
impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Pending = Mutex<BTreeMap<u64, (PeerId, oneshot::Sender<Answer>)>>;

/// A verified view of the ledger over a shared transport. Cheap to clone.
pub struct LedgerClient<T>(pub(super) Arc<Inner<T>>);
impl<T> Clone for LedgerClient<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Why one validator's answer was no use.
pub(super) enum Useless {
    /// Ask another.
    Next(LedgerError),
    /// No other answer is to be expected.
    Final(LedgerError),
}

pub(super) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Removes a question from the book when its asker is gone.
struct Asked<'a>(&'a Pending, u64);
impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

impl<T: Transport> LedgerClient<T> {
    /// A client of `network`. A process that validates passes its own `local` answerer, which is asked first.
    pub fn start(
        switchboard: &Switchboard<T>,
        network: &NetworkFile,
        local: Option<Answerer>,
    ) -> Result<Self, NetworkError> {
        let transport = switchboard.transport();
        let me = transport.local();
        for validator in network.validators.iter().filter(|validator| validator.key != me) {
            transport.learn(validator.key, validator.rpc);
        }
        let pending = Arc::<Pending>::default();
        let events = switchboard.subscribe(&[RPC], 256);
        let validators = network.validators.iter().map(|validator| validator.key).filter(|key| *key != me);
        Ok(Self(Arc::new(Inner {
            switchboard: switchboard.clone(),
            network: network.id,
            light: network.light_client()?,
            validators: validators.collect(),
            local,
            task: tokio::spawn(sort(events, pending.clone())).abort_handle(),
            pending,
            // Not from zero: answers to an earlier process of this identity must not fit.
            next_id: AtomicU64::new(network.id.low_u64() ^ u64::from(std::process::id()) << 32),
            preferred: AtomicUsize::new(me.0[0].into()),
            seen: Mutex::default(),
            senders: Mutex::default(),
        })))
    }
    /// The network's id.
    pub fn network(&self) -> Hash {
        self.0.network
    }
    /// The newest state verified so far.
    pub fn seen(&self) -> Seen {
        *lock(&self.0.seen)
    }
    /// The newest final header.
    pub async fn latest(&self) -> Result<Header, LedgerError> {
        self.ask(Ask::Latest(Latest {}), |validator, answer| match answer {
            Answer::Header(certified) => {
                let header = self.0.verified(validator, &certified)?;
                self.0.fresh(&header).map(|()| header)
            }
            other => Err(self.0.unexpected("the newest header", other)),
        })
        .await
    }
    /// The final header at `height`.
    pub async fn header_at(&self, height: u64) -> Result<Header, LedgerError> {
        self.ask(Ask::HeaderAt(HeaderAt { height }), |validator, answer| match answer {
            Answer::Header(certified) if certified.header.height == height => {
                self.0.verified(validator, &certified)
            }
            other => Err(self.0.unexpected(&format!("a header at height {height}"), other)),
        })
        .await
    }
    /// The final block at `height` with its certificate, for who wants to check it again.
    pub async fn certified_block_at(&self, height: u64) -> Result<(CertifiedHeader, Block), LedgerError> {
        let block = self.block_at(height).await?;
        let certified = self
            .ask(Ask::HeaderAt(HeaderAt { height }), |validator, answer| match answer {
                Answer::Header(certified) if certified.header == *block.header() => {
                    self.0.verified(validator, &certified)?;
                    Ok(certified)
                }
                other => Err(self.0.unexpected(&format!("a header at height {height}"), other)),
            })
            .await?;
        Ok((certified, block))
    }
    /// The final block at `height`.
    pub async fn block_at(&self, height: u64) -> Result<Block, LedgerError> {
        let header = self.header_at(height).await?;
        self.ask(Ask::BlockAt(BlockAt { height }), |validator, answer| match answer {
            Answer::Block(block) if *block.header() == header => Ok(block),
            Answer::Block(_) => Err(self.0.wrong(validator, VerifyError::OtherBlock { height })),
            other => Err(self.0.unexpected(&format!("a block at height {height}"), other)),
        })
        .await
    }
    /// Run `reader` on proved cells of one height. The reader runs again whenever it looked at a cell that was
    /// not fetched yet, and must tolerate missing values; only its last result counts.
    pub async fn read<R>(&self, reader: impl Fn(&View) -> R) -> Result<R, LedgerError> {
        let mut keys = BTreeSet::new();
        let mut view = View::default();
        loop {
            let result = reader(&view);
            let missing = view.missing();
            if missing.is_empty() {
                return Ok(result);
            }
            drop(result);
            keys.extend(missing);
            if keys.len() > MAX_READ {
                return Err(LedgerError::TooMany { max: MAX_READ });
            }
            let wanted: Vec<Key> = keys.iter().copied().collect();
            view = self.cells(&wanted).await?;
        }
    }
    /// The cells of `keys`, proved at one height.
    pub async fn cells(&self, keys: &[Key]) -> Result<View, LedgerError> {
        'again: for _ in 0..SAME_HEIGHT_TRIES {
            let mut cells = BTreeMap::new();
            let mut at: Option<Header> = None;
            for part in keys.chunks(MAX_PROVED_KEYS) {
                let (proof, proved) = self.proof(part).await?;
                let header = proof.header.header;
                if at.as_ref().is_some_and(|at| *at != header) {
                    continue 'again;
                }
                at = Some(header);
                cells.extend(proved);
            }
            return Ok(match at {
                Some(header) => View::new(header.height, header.time_ms, cells),
                None => View::default(),
            });
        }
        Err(LedgerError::Moving { tries: SAME_HEIGHT_TRIES, keys: keys.len() })
    }
    /// A verified proof of the cells of `keys`, to show to others, and what it proves.
    pub async fn proof(&self, keys: &[Key]) -> Result<(StateProof, Vec<(Key, Option<Cell>)>), LedgerError> {
        let list = List::new(keys.to_vec()).map_err(|_| LedgerError::TooMany { max: MAX_PROVED_KEYS })?;
        self.ask(Ask::Prove(Prove { keys: list }), |validator, answer| match answer {
            Answer::State(proof) => {
                let proved =
                    self.0.light.verify_state(&proof).map_err(|cause| self.0.wrong(validator, cause))?;
                let header = &proof.header.header;
                if !proved.iter().map(|(key, _)| key).eq(keys) {
                    let key = keys.first().copied().unwrap_or(Hash::ZERO);
                    return Err(self
                        .0
                        .wrong(validator, VerifyError::BadProof { key, height: header.height }));
                }
                self.0.fresh(header)?;
                Ok((proof, proved))
            }
            other => Err(self.0.unexpected("a proof", other)),
        })
        .await
    }
    /// Wait for a final header above `height`.
    pub async fn after(&self, height: u64, pause: Duration) -> Result<Header, LedgerError> {
        loop {
            let latest = self.latest().await?;
            if latest.height > height {
                return Ok(latest);
            }
            tokio::time::sleep(pause).await;
        }
    }
    /// Ask validators in turn until one gives an answer that `judge` takes.
    pub(super) async fn ask<R>(
        &self,
        ask: Ask,
        judge: impl Fn(&PublicKey, Answer) -> Result<R, Useless>,
    ) -> Result<R, LedgerError> {
        let inner = &*self.0;
        let mut last = "no validator is known".to_string();
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            if let Some(local) = &inner.local {
                let me = inner.switchboard.transport().local();
                match judge(&me, local.answer(ask.clone()).await) {
                    Ok(result) => return Ok(result),
                    Err(Useless::Final(error)) => return Err(error),
                    Err(Useless::Next(error)) => last = error.to_string(),
                }
            }
            let mut absent = None;
            for index in inner.order(round == 0).await {
                let validator = inner.validators[index];
                let answer = match inner.ask_one(validator, &ask).await {
                    Ok(answer) => answer,
                    Err(reason) => {
                        last = format!("validator {}: {reason}", validator.short());
                        continue;
                    }
                };
                match judge(&validator, answer) {
                    Ok(result) => {
                        inner.preferred.store(index, Ordering::Relaxed);
                        return Ok(result);
                    }
                    Err(Useless::Final(error)) => return Err(error),
                    Err(Useless::Next(error)) => {
                        last = format!("validator {}: {error}", validator.short());
                        absent = matches!(error, LedgerError::NotHere { .. }).then_some(error);
                    }
                }
            }
            // The last who was asked has nothing under this name, and none before had: believe it.
            if let Some(error) = absent {
                return Err(error);
            }
        }
        let validators = inner.validators.len() + usize::from(inner.local.is_some());
        Err(LedgerError::NoAnswer { network: inner.network, validators, last })
    }
    /// Let the next question go to another validator first.
    pub(super) fn turn_away(&self) {
        self.0.preferred.fetch_add(1, Ordering::Relaxed);
    }
    /// Note that a transaction of this client took effect at `height`.
    pub(super) fn note_own(&self, height: u64) {
        let mut seen = lock(&self.0.seen);
        seen.own = seen.own.max(height);
    }
}

impl<T: Transport> Inner<T> {
    /// Validators in the order to ask them: the connected ones first, from the preferred one on.
    async fn order(&self, patient: bool) -> Vec<usize> {
        let count = self.validators.len();
        if count == 0 {
            return Vec::new();
        }
        let known: BTreeSet<PeerId> = self.validators.iter().copied().collect();
        let start = tokio::time::Instant::now();
        let mut connected = self.switchboard.connected();
        while patient && connected.is_disjoint(&known) && start.elapsed() < CONNECT_TIME {
            tokio::time::sleep(Duration::from_millis(20)).await;
            connected = self.switchboard.connected();
        }
        let first = self.preferred.load(Ordering::Relaxed) % count;
        let mut order: Vec<usize> = (0..count).map(|step| (first + step) % count).collect();
        order.sort_by_key(|index| !connected.contains(&self.validators[*index]));
        order
    }
    async fn ask_one(&self, validator: PublicKey, ask: &Ask) -> Result<Answer, String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending).insert(id, (validator, sender));
        let _asked = Asked(&self.pending, id);
        let frame = to_frame(&Message::Request(Request { id, ask: ask.clone() }));
        self.switchboard.transport().send(validator, RPC, frame).map_err(|error| error.to_string())?;
        let connected = self.switchboard.connected().contains(&validator);
        let time = if connected { ANSWER_TIME } else { ABSENT_TIME };
        match tokio::time::timeout(time, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the connection broke before its answer came".into()),
            Err(_) => Err(format!("no answer within {} ms", time.as_millis())),
        }
    }
    /// The header, if it is final.
    pub(super) fn verified(
        &self,
        validator: &PublicKey,
        certified: &CertifiedHeader,
    ) -> Result<Header, Useless> {
        match self.light.verify_header(certified) {
            Ok(()) => Ok(certified.header.clone()),
            Err(cause) => Err(self.wrong(validator, cause)),
        }
    }
    /// An error if a verified header is older than it may be; else remember it.
    fn fresh(&self, header: &Header) -> Result<(), Useless> {
        let mut seen = lock(&self.seen);
        let least = seen.own.max(seen.height.saturating_sub(LAG));
        if header.height < least {
            let last = format!("expected a state at height {least} or later, got one at {}", header.height);
            let validators = self.validators.len();
            return Err(Useless::Next(LedgerError::NoAnswer { network: self.network, validators, last }));
        }
        if header.height > seen.height {
            (seen.height, seen.time_ms) = (header.height, header.time_ms);
        }
        Ok(())
    }
    pub(super) fn wrong(&self, validator: &PublicKey, cause: VerifyError) -> Useless {
        tracing::warn!(validator = %validator.short(), %cause, "a validator's answer does not hold");
        Useless::Next(LedgerError::Wrong { validator: *validator, cause })
    }
    pub(super) fn unexpected(&self, what: &str, answer: Answer) -> Useless {
        let (network, validators) = (self.network, self.validators.len());
        let no_answer = |last: String| LedgerError::NoAnswer { network, validators, last };
        match answer {
            Answer::NotHere(_) => Useless::Next(LedgerError::NotHere { what: what.into(), network }),
            Answer::Refused(refused) if refused.retry => Useless::Next(no_answer(refused.reason.to_string())),
            Answer::Refused(refused) => {
                Useless::Final(LedgerError::Rejected { reason: refused.reason.to_string() })
            }
            other => Useless::Next(no_answer(format!("expected {what}, got {}", other.kind()))),
        }
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
