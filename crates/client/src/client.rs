//! Ask several validators, believe none: every header and every cell is proved.
//!
//! The client asks one validator at a time, one that is connected if possible, and turns to the next when no
//! answer comes, when the answer does not hold, or when it is older than what was seen before (by more than
//! [`LAG`] blocks, or at all older than this client's own last transaction). A validator whose answer does not
//! hold is remembered with the reason ([`Client::liars`]) and never asked again.
//!
//! A validator can withhold and it can lag; it cannot invent. A client that never saw the network before
//! cannot tell by itself how new the newest header is; its time is in [`View::time_ms`]. With a
//! [`TrustFile`] it refuses, also after a restart, whatever is older than what it saw.

use crate::{
    LedgerError, Source, View,
    trust::{TrustFile, Trusted},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tessera_canon::{Hash, List, PublicKey};
use tessera_chain::{
    Block, CertifiedHeader, Header, Identity, IdentityError, Inclusion, LightClient, MAX_PROVED_KEYS,
    ProvedCells, StateHeader, StateProof, VerifyError,
};
use tessera_ledger::Key;
use tessera_wire::rpc::{Answer, Ask, BlockAt, HeaderAt, History, Latest, Place, Places, Prove, ProveItems};

/// How many blocks an answer may be behind the newest one seen.
pub const LAG: u64 = 8;
/// How often all validators are asked before giving up, and the pause between.
const ROUNDS: usize = 3;
const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// Attempts to read more cells than one proof holds at one height.
const SAME_HEIGHT_TRIES: usize = 10;
/// Most cells in one read.
const MAX_READ: usize = 8 * MAX_PROVED_KEYS;
/// Looks at an index that lags, and the pause between.
const HISTORY_TRIES: usize = 20;
const HISTORY_PAUSE: Duration = Duration::from_millis(250);
/// Most places of one history.
const MAX_HISTORY: usize = 1 << 20;

/// The newest state that a client has verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Greatest height.
    pub height: u64,
    /// Digest of the header there.
    pub digest: Hash,
    /// Its time, milliseconds since 1970.
    pub time_ms: u64,
    /// Height of this client's own last transaction: nothing older is accepted.
    pub own: u64,
}

pub(crate) struct Inner<S> {
    source: S,
    pub(crate) network: Hash,
    light: LightClient,
    /// Index of the validator that answered last.
    preferred: AtomicUsize,
    seen: Mutex<Seen>,
    liars: Mutex<BTreeMap<PublicKey, VerifyError>>,
    trust: Option<Mutex<TrustFile>>,
    pub(crate) senders: Mutex<BTreeMap<PublicKey, Arc<tokio::sync::Mutex<()>>>>,
}

/// A verified view of the ledger. Cheap to clone.
pub struct Client<S>(pub(crate) Arc<Inner<S>>);
impl<S> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Why one validator's answer was no use.
pub(crate) enum Useless {
    /// Ask another.
    Next(LedgerError),
    /// No other answer is to be expected.
    Final(LedgerError),
}

pub(crate) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<S: Source> Client<S> {
    /// A client of `network`, whose committee has the group key `identity`. `first` chooses the validator that
    /// is asked first, so that clients spread. With `trust`, nothing older than what it holds is believed, and
    /// it is kept up to date.
    pub fn new(
        source: S,
        network: Hash,
        identity: &Identity,
        first: usize,
        trust: Option<TrustFile>,
    ) -> Result<Self, IdentityError> {
        let seen = trust.as_ref().and_then(TrustFile::trusted).map_or_else(Seen::default, |trusted| Seen {
            height: trusted.height,
            digest: trusted.digest,
            time_ms: trusted.time_ms,
            own: 0,
        });
        Ok(Self(Arc::new(Inner {
            source,
            network,
            light: LightClient::new(network, identity)?,
            preferred: AtomicUsize::new(first),
            seen: Mutex::new(seen),
            liars: Mutex::default(),
            trust: trust.map(Mutex::new),
            senders: Mutex::default(),
        })))
    }
    /// What carries the questions.
    pub fn source(&self) -> &S {
        &self.0.source
    }
    /// Validators whose answers did not hold, and why; they are not asked again.
    pub fn liars(&self) -> BTreeMap<PublicKey, VerifyError> {
        lock(&self.0.liars).clone()
    }
    /// Write the newest header seen to the trust file now, if there is one and it is not there yet.
    pub fn remember(&self) {
        let seen = self.seen();
        if let Some(trust) = &self.0.trust {
            lock(trust).keep(Trusted { height: seen.height, digest: seen.digest, time_ms: seen.time_ms });
        }
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
        Ok(self.latest_certified().await?.header)
    }
    /// The newest final header with what makes it final, to show to others.
    pub async fn latest_certified(&self) -> Result<CertifiedHeader, LedgerError> {
        self.ask(Ask::Latest(Latest {}), |validator, answer| match answer {
            Answer::Header(certified) => {
                let header = self.0.verified(validator, &certified)?;
                self.0.fresh(validator, &header.of_state()).map(|()| certified)
            }
            other => Err(self.0.unexpected("the newest header", other)),
        })
        .await
    }
    /// The final header at `height`.
    pub async fn header_at(&self, height: u64) -> Result<Header, LedgerError> {
        Ok(self.certified_at(height).await?.header)
    }
    /// The final header at `height` with what makes it final, to show to others.
    pub async fn certified_at(&self, height: u64) -> Result<CertifiedHeader, LedgerError> {
        self.ask(Ask::HeaderAt(HeaderAt { height }), |validator, answer| match answer {
            Answer::Header(certified) if certified.header.height == height => {
                self.0.verified(validator, &certified).map(|_| certified)
            }
            other => Err(self.0.unexpected(&format!("a header at height {height}"), other)),
        })
        .await
    }
    /// The final block at `height`.
    pub async fn block_at(&self, height: u64) -> Result<Block, LedgerError> {
        Ok(self.certified_block_at(height).await?.1)
    }
    /// The final block at `height` with its certificate, for who wants to check it again.
    pub async fn certified_block_at(&self, height: u64) -> Result<(CertifiedHeader, Block), LedgerError> {
        let certified = self.certified_at(height).await?;
        let block = self
            .ask(Ask::BlockAt(BlockAt { height }), |validator, answer| match answer {
                Answer::Block(block) if *block.header() == certified.header => Ok(block),
                Answer::Block(_) => Err(self.0.wrong(validator, VerifyError::OtherBlock { height })),
                other => Err(self.0.unexpected(&format!("a block at height {height}"), other)),
            })
            .await?;
        Ok((certified, block))
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
            let (mut cells, mut proofs) = (BTreeMap::new(), Vec::new());
            let mut at: Option<StateHeader> = None;
            for part in keys.chunks(MAX_PROVED_KEYS) {
                let (proof, proved) = self.proof(part).await?;
                if at.as_ref().is_some_and(|at| *at != proved.header) {
                    continue 'again;
                }
                at = Some(proved.header);
                cells.extend(proved.cells);
                proofs.push((part.to_vec(), proof));
            }
            return Ok(match at {
                Some(header) => View::new(header.height, header.time_ms, cells).with_proofs(proofs),
                None => View::default(),
            });
        }
        Err(LedgerError::Moving { tries: SAME_HEIGHT_TRIES, keys: keys.len() })
    }
    /// A verified proof of the cells of `keys`, at least one, to show to others with them, and what it proves.
    pub async fn proof(&self, keys: &[Key]) -> Result<(StateProof, ProvedCells), LedgerError> {
        let list = List::new(keys.to_vec()).map_err(|_| LedgerError::TooMany { max: MAX_PROVED_KEYS })?;
        self.ask(Ask::Prove(Prove { keys: list }), |validator, answer| match answer {
            Answer::State(proof) => {
                let proved = self.0.light.verify_state(&proof, keys);
                let proved = proved.map_err(|cause| self.0.wrong(validator, cause))?;
                self.0.fresh(validator, &proved.header)?;
                Ok((proof, proved))
            }
            other => Err(self.0.unexpected("a proof", other)),
        })
        .await
    }
    /// Events and transactions of the block at `height`, by place, proved.
    pub async fn inclusion(
        &self,
        height: u64,
        events: &[u32],
        txs: &[u32],
    ) -> Result<Inclusion, LedgerError> {
        let too_many = |_| LedgerError::TooMany { max: tessera_chain::MAX_PROVED_TXS };
        let ask = ProveItems {
            height,
            events: List::new(events.to_vec()).map_err(too_many)?,
            txs: List::new(txs.to_vec()).map_err(too_many)?,
        };
        self.ask(Ask::ProveItems(ask), |validator, answer| match answer {
            Answer::Inclusion(inclusion) => {
                self.0.light.verify_inclusion(&inclusion).map_err(|cause| self.0.wrong(validator, cause))?;
                let got_events = inclusion.events.iter().map(|proved| proved.path.index);
                let got_txs = inclusion.txs.iter().map(|proved| proved.path.index);
                if inclusion.header.header.height != height
                    || !got_events.eq(events.iter().map(|at| u64::from(*at)))
                    || !got_txs.eq(txs.iter().map(|at| u64::from(*at)))
                {
                    return Err(self.0.wrong(validator, VerifyError::OtherBlock { height }));
                }
                Ok(inclusion)
            }
            other => Err(self.0.unexpected(&format!("the items of block {height}"), other)),
        })
        .await
    }
    /// One part of the places where `subject` is named, as one validator tells it: see [`Places`].
    pub async fn places(&self, subject: Hash, from: u64, skip: u32) -> Result<Places, LedgerError> {
        self.ask(Ask::History(History { subject, from, skip }), |_, answer| match answer {
            Answer::Places(places) => Ok(places),
            other => Err(self.0.unexpected("a history", other)),
        })
        .await
    }
    /// The same from a validator whose index goes back to the first block. One that downloaded the state has
    /// none of what happened before.
    async fn whole_places(&self, subject: Hash, from: u64, skip: u32) -> Result<Places, LedgerError> {
        self.ask(Ask::History(History { subject, from, skip }), |_, answer| match answer {
            Answer::Places(places) if places.first <= 1 => Ok(places),
            Answer::Places(places) => {
                Err(Useless::Next(LedgerError::IndexBehind { expected: 1, got: places.first }))
            }
            other => Err(self.0.unexpected("a history", other)),
        })
        .await
    }
    /// All places where `subject` is named up to `height`, as validators tell it, and the first height that
    /// their index covers. Waits a moment for an index that lags behind `height`.
    pub async fn history(&self, subject: Hash, height: u64) -> Result<(u64, Vec<Place>), LedgerError> {
        let mut all: Vec<Place> = Vec::new();
        let (mut tries, mut whole) = (0, true);
        loop {
            let from = all.last().map_or(0, |place| place.height);
            let skip = all.iter().rev().take_while(|place| place.height == from).count() as u32;
            let part = match whole {
                true => self.whole_places(subject, from, skip).await,
                false => self.places(subject, from, skip).await,
            };
            let part = match part {
                Ok(part) => part,
                // Nobody has all of it: take what there is, which says from where on.
                Err(LedgerError::NoAnswer { .. }) if whole => {
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !part.more && part.last < height {
                tries += 1;
                if tries > HISTORY_TRIES {
                    return Err(LedgerError::IndexBehind { expected: height, got: part.last });
                }
                tokio::time::sleep(HISTORY_PAUSE).await;
                continue;
            }
            let fresh = part.places.iter().filter(|place| place.height <= height).cloned();
            all.extend(fresh);
            if !part.more || part.places.is_empty() || part.places.last().is_some_and(|p| p.height > height) {
                return Ok((part.first, all));
            }
            if all.len() > MAX_HISTORY {
                return Err(LedgerError::TooMany { max: MAX_HISTORY });
            }
        }
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
    pub(crate) async fn ask<R>(
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
            let mut absent = None;
            for validator in inner.order(round == 0).await {
                let answer = match inner.source.ask(&validator, &ask).await {
                    Ok(answer) => answer,
                    Err(reason) => {
                        last = format!("validator {}: {reason}", validator.short());
                        continue;
                    }
                };
                match judge(&validator, answer) {
                    Ok(result) => {
                        inner.prefer(&validator);
                        return Ok(result);
                    }
                    Err(Useless::Final(error)) => return Err(error),
                    Err(Useless::Next(error)) => {
                        last = match &error {
                            // These name the validator themselves.
                            LedgerError::Wrong { .. } | LedgerError::Older { .. } => error.to_string(),
                            _ => format!("validator {}: {error}", validator.short()),
                        };
                        absent = matches!(error, LedgerError::NotHere { .. }).then_some(error);
                    }
                }
            }
            // The last who was asked has nothing under this name, and none before had: believe it.
            if let Some(error) = absent {
                return Err(error);
            }
        }
        Err(LedgerError::NoAnswer { network: inner.network, validators: inner.count(), last })
    }
    /// Let the next question go to another validator first.
    pub(crate) fn turn_away(&self) {
        self.0.preferred.fetch_add(1, Ordering::Relaxed);
    }
    /// Note that a transaction of this client took effect at `height`.
    pub(crate) fn note_own(&self, height: u64) {
        let mut seen = lock(&self.0.seen);
        seen.own = seen.own.max(height);
    }
}

impl<S: Source> Inner<S> {
    fn count(&self) -> usize {
        self.source.validators().len() + usize::from(self.source.local().is_some())
    }
    /// Validators in the order to ask them: the one in this process, then the connected ones, from the
    /// preferred one on. Those whose answers did not hold are left out.
    async fn order(&self, patient: bool) -> Vec<PublicKey> {
        let validators = self.source.validators();
        let connected = match validators.is_empty() {
            true => BTreeSet::new(),
            false => self.source.connected(patient && self.source.local().is_none()).await,
        };
        let first = self.preferred.load(Ordering::Relaxed) % validators.len().max(1);
        let mut order: Vec<PublicKey> =
            validators[first..].iter().chain(&validators[..first]).copied().collect();
        order.sort_by_key(|validator| !connected.contains(validator));
        let liars = lock(&self.liars);
        self.source.local().into_iter().chain(order).filter(|one| !liars.contains_key(one)).collect()
    }
    fn prefer(&self, validator: &PublicKey) {
        if let Some(index) = self.source.validators().iter().position(|one| one == validator) {
            self.preferred.store(index, Ordering::Relaxed);
        }
    }
    /// The header, if it is final.
    pub(crate) fn verified(
        &self,
        validator: &PublicKey,
        certified: &CertifiedHeader,
    ) -> Result<Header, Useless> {
        match self.light.verify_header(certified) {
            Ok(()) => Ok(certified.header.clone()),
            Err(cause) => Err(self.wrong(validator, cause)),
        }
    }
    /// An error if a verified header is older than it may be or contradicts one seen before; else remember it.
    fn fresh(&self, validator: &PublicKey, header: &StateHeader) -> Result<(), Useless> {
        let mut seen = lock(&self.seen);
        let least = seen.own.max(seen.height.saturating_sub(LAG));
        if header.height < least {
            let (validator, got) = (*validator, header.height);
            return Err(Useless::Next(LedgerError::Older { validator, expected: least, got }));
        }
        if header.height == seen.height && seen.digest != Hash::ZERO && header.digest() != seen.digest {
            let (expected, got) = (seen.digest, header.digest());
            return Err(Useless::Final(LedgerError::Forked { height: header.height, expected, got }));
        }
        if header.height > seen.height {
            (seen.height, seen.digest, seen.time_ms) = (header.height, header.digest(), header.time_ms);
            if let Some(trust) = &self.trust {
                lock(trust).note(Trusted { height: seen.height, digest: seen.digest, time_ms: seen.time_ms });
            }
        }
        Ok(())
    }
    pub(crate) fn wrong(&self, validator: &PublicKey, cause: VerifyError) -> Useless {
        tracing::warn!(validator = %validator, %cause, "a validator's answer does not hold; it is not asked again");
        lock(&self.liars).insert(*validator, cause.clone());
        Useless::Next(LedgerError::Wrong { validator: *validator, cause })
    }
    pub(crate) fn unexpected(&self, what: &str, answer: Answer) -> Useless {
        let (network, validators) = (self.network, self.count());
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
