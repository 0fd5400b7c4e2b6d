//! Spend a credential: lock notes, open a session at the home that the ledger drew, collect the tokens.
//!
//! The user's key pays and signs on the ledger; the session itself runs under the visitor's throw-away
//! identity, which the order's session key vouches for. What was not delivered is not charged: after the
//! settlement the rest of the locked credits comes back as a change note.

use crate::{
    daemon::Visitor,
    folder::Folder,
    keyfile,
    ledger::{LedgerClient, LedgerError, RunView},
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tessera_canon::{Hash, List, PublicKey, SecretKey, decode, encode, record};
use tessera_ledger::{
    action::{LockNotes, LockOrder},
    keys,
    payword::Chain,
    query,
    record::{ChunkPrice, Lock, LockState, Note, NoteState, RunState},
};
use tessera_model::RunSpec;
use tessera_net::{NetEvent, Transport};
use tessera_serve::{ChatClient, ChatConfig, ChatEffect, ChatError, ChatInput, ChatSummary};
use tessera_wire::{SERVING, from_frame, serving::Sampling, serving::ServingMessage, to_frame};

/// Blocks that an order stays open unless the user says otherwise.
const OPEN_BLOCKS: u64 = 1000;
/// Milliseconds without progress after which a session is given up.
const PATIENCE: u64 = 30_000;

/// What to ask the model.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub prompt: Vec<u32>,
    /// Tokens to generate.
    pub generate: u32,
    pub sampling: Sampling,
    /// Most nano-U per credit for the hosts.
    pub fee_per_cu: u128,
}

/// A credential that is locked for one session, with its secrets.
#[derive(Clone)]
pub struct Credential {
    pub order: LockOrder,
    chain: Chain,
    session_key: SecretKey,
}

record! {
    /// A credential as it lies in a file: whoever reads it can use it.
    struct CredentialFile { order: LockOrder, secret: Hash, session_key: Hash }
}

impl Credential {
    /// The order's id, which also names its file.
    pub fn id(&self) -> Hash {
        self.order.id()
    }
    /// Keep it in the participant's folder, readable by its owner only.
    pub fn save(&self, folder: &Folder) -> Result<(), AskError> {
        let root = folder.root().join("orders");
        std::fs::create_dir_all(&root)
            .map_err(|cause| AskError::File { path: root.clone(), cause: cause.to_string() })?;
        let path = root.join(self.id().to_string());
        let secret = self.chain.word(self.order.cu).unwrap_or_default();
        let session_key = Hash(self.session_key.seed());
        let file = CredentialFile { order: self.order.clone(), secret, session_key };
        let text: String = encode(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        keyfile::write_secret(&path, &text).map_err(|cause| AskError::File { path, cause: cause.to_string() })
    }
    /// Read one that was kept.
    pub fn load(folder: &Folder, id: &Hash) -> Result<Self, AskError> {
        let path = folder.root().join("orders").join(id.to_string());
        let bad = |cause: String| AskError::File { path: path.clone(), cause };
        let text = keyfile::read_secret(&path).map_err(|cause| bad(cause.to_string()))?;
        let text = text.trim();
        if !text.is_ascii() || text.len() % 2 == 1 {
            return Err(bad("it is not hexadecimal".into()));
        }
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|cause| bad(cause.to_string()))?;
        let file: CredentialFile = decode(&bytes).map_err(|cause| bad(cause.to_string()))?;
        Ok(Self {
            chain: Chain::new(file.secret.0, file.order.cu.min(tessera_ledger::action::MAX_ORDER_CU)),
            session_key: SecretKey::from_seed(file.session_key.0),
            order: file.order,
        })
    }
}

/// Why a completion was not had.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("run {run} is {state}; completions are sold once it is trained")]
    NotServing { run: String, state: String },
    #[error(
        "the request costs {needed} cu, this wallet holds {held} cu of the run in at most {most} notes; buy some with `tessera market buy`"
    )]
    Credits { needed: u64, held: u64, most: usize },
    #[error("the order is not locked on the ledger: {state}")]
    NotLocked { state: String },
    #[error("the session's home {} has no address on the ledger", home.short())]
    NoHome { home: PublicKey },
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("no randomness from the operating system: {0}")]
    Entropy(String),
    #[error("the order file {} cannot be used: {cause}", path.display())]
    File { path: PathBuf, cause: String },
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answered {
    pub tokens: Vec<u32>,
    pub summary: ChatSummary,
    /// Seconds to the first token and to the last.
    pub first_s: f64,
    pub total_s: f64,
}

/// Check, before anything is locked or paid, that the model attends to as many positions as the request needs.
pub fn check_length(spec: &RunSpec, request: &ChatRequest) -> Result<(), AskError> {
    let got = request.prompt.len() as u64 + u64::from(request.generate);
    let max = spec.model.seq_len;
    if got > u64::from(max) { Err(ChatError::Context { max, got }.into()) } else { Ok(()) }
}

/// Credits that a request costs under a run's price.
pub fn cost(price: &ChunkPrice, request: &ChatRequest) -> u64 {
    ChatClient::cost(price, request.prompt.len(), request.generate)
}

/// Lock enough notes of `key` for `needed` credits. The credential's secrets are kept in `folder` before the
/// ledger hears of the order: a crash in between costs nothing.
pub async fn lock_notes<T: Transport>(
    ledger: &LedgerClient<T>,
    folder: &Folder,
    key: &SecretKey,
    view: &RunView,
    needed: u64,
    fee_per_cu: u128,
) -> Result<Credential, AskError> {
    let (run, me) = (view.terms.run, key.public());
    if view.run.state != RunState::Serving {
        return Err(AskError::NotServing { run: run.short(), state: format!("{:?}", view.run.state) });
    }
    let notes = ledger.read(|view| query::notes_of(view.source(), &me)).await?;
    let current = view.credits.as_ref().map_or(0, |credits| credits.series);
    let chosen = choose_notes(notes, &run, current, needed)?;
    let cu: u64 = chosen.iter().map(|note| note.cu).sum();
    let too_many = |_| AskError::Credits { needed, held: cu, most: tessera_ledger::action::MAX_NOTES };
    let mut ids: Vec<Hash> = chosen.iter().map(|note| note.id).collect();
    ids.sort_unstable();
    let random = || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map(|()| bytes).map_err(|error| AskError::Entropy(error.to_string()))
    };
    let cu = u32::try_from(cu).map_err(|_| AskError::Credits { needed, held: cu, most: ids.len() })?;
    let chain = Chain::new(random()?, cu);
    let session_key = SecretKey::from_seed(random()?);
    let order = LockOrder {
        network: ledger.network(),
        run,
        series: chosen.first().map_or(current, |note| note.series),
        notes: List::new(ids).map_err(too_many)?,
        cu,
        session_key: session_key.public(),
        payword_root: chain.root(),
        fee_per_cu,
        open_until: ledger.latest().await?.height + OPEN_BLOCKS,
        refund_to: keys::owner_hash(&me),
        salt: Hash(random()?).low_u64(),
    };
    let credential = Credential { order, chain, session_key };
    credential.save(folder)?;
    let order = credential.order.clone();
    ledger.submit(key, LockNotes { order, owners: List::default() }.into()).await?;
    Ok(credential)
}

/// The largest unspent notes of `run` until they suffice, all of one live series and one kind: of the series that
/// ends first, and among those the ones that are bound to this owner, if they suffice.
fn choose_notes(notes: Vec<Note>, run: &Hash, current: u16, needed: u64) -> Result<Vec<Note>, AskError> {
    let most = tessera_ledger::action::MAX_NOTES;
    let mut notes: Vec<Note> = notes
        .into_iter()
        .filter(|note| note.run == *run && note.state == NoteState::Unspent)
        .filter(|note| tessera_ledger::series::live(current, note.series))
        .collect();
    notes.sort_by_key(|note| (note.series, std::cmp::Reverse(note.flags), std::cmp::Reverse(note.cu)));
    let mut best = 0;
    for group in notes.chunk_by(|a, b| (a.series, a.flags) == (b.series, b.flags)) {
        let (mut chosen, mut held) = (Vec::new(), 0);
        for note in group.iter().take(most) {
            if held >= needed {
                break;
            }
            held += note.cu;
            chosen.push(note.clone());
        }
        if held >= needed {
            return Ok(chosen);
        }
        best = best.max(held);
    }
    Err(AskError::Credits { needed, held: best, most })
}

/// The lock of `order` with its proof, once its home is drawn: the block after the one that locked does it.
async fn drawn<T: Transport>(
    ledger: &LedgerClient<T>,
    order: &Hash,
) -> Result<(tessera_chain::StateProof, Lock), AskError> {
    loop {
        let (proof, proved) = ledger.proof(&[keys::lock(order)]).await?;
        let cell =
            |wanted: &Hash| proved.cells.iter().find(|(key, _)| key == wanted).and_then(|(_, cell)| *cell);
        let lock: Lock = query::read(cell, &keys::lock(order))
            .ok_or_else(|| AskError::NotLocked { state: "there is no such lock".into() })?;
        if lock.state != LockState::Locking {
            return Ok((proof, lock));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Run one session with a locked credential; `shown` gets each token as it comes.
pub async fn session(
    visitor: &Visitor,
    spec: &RunSpec,
    view: &RunView,
    credential: &Credential,
    request: &ChatRequest,
    mut shown: impl FnMut(u32),
) -> Result<Answered, AskError> {
    let ledger = &visitor.ledger;
    let order = credential.order.id();
    let (proof, lock) = drawn(ledger, &order).await?;
    let endpoint = view.seats.iter().find(|seat| seat.account == lock.home);
    let address = endpoint.and_then(|seat| seat.endpoint.parse().ok());
    let address = address.ok_or(AskError::NoHome { home: lock.home })?;
    let transport = visitor.switchboard.transport();
    let mut frames = visitor.switchboard.subscribe(&[SERVING], 1024);
    transport.learn(lock.home, address);
    let mut client = ChatClient::new(ChatConfig {
        order: credential.order.clone(),
        chain: credential.chain.clone(),
        session_key: credential.session_key.clone(),
        me: transport.local(),
        home: lock.home,
        proof: encode(&proof).to_vec(),
        sampling: request.sampling.clone(),
        price: view.price_of(credential.order.series),
        context: spec.model.seq_len,
        vocab: spec.model.vocab,
        patience: PATIENCE,
    })?;
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let say = ChatInput::Say { tokens: request.prompt.clone(), generate: request.generate };
    let mut inputs = vec![ChatInput::Start, say];
    let (mut tokens, mut first_s, mut total_s) = (Vec::new(), 0.0, 0.0);
    let mut trouble = None;
    loop {
        let mut effects = Vec::new();
        for input in inputs.drain(..) {
            effects.extend(client.step(begun.elapsed().as_millis() as u64, input));
        }
        for effect in effects {
            match effect {
                ChatEffect::Send { to, message } => {
                    if let Err(error) = transport.send(to, SERVING, to_frame(&message)) {
                        tracing::debug!(%error, "not sent");
                    }
                }
                ChatEffect::Opened { .. } => {}
                ChatEffect::Token { token, .. } => {
                    total_s = begun.elapsed().as_secs_f64();
                    if tokens.is_empty() {
                        first_s = total_s;
                    }
                    tokens.push(token);
                    shown(token);
                }
                ChatEffect::TurnDone => inputs.push(ChatInput::Stop),
                ChatEffect::TurnRefused(error) => {
                    trouble = Some(error);
                    inputs.push(ChatInput::Stop);
                }
                ChatEffect::Finished(summary) => {
                    if let Some(error) = trouble.or_else(|| summary.error.clone()) {
                        return Err(error.into());
                    }
                    return Ok(Answered { tokens, summary: *summary, first_s, total_s });
                }
            }
        }
        if !inputs.is_empty() {
            continue;
        }
        tokio::select! {
            event = frames.recv() => match event {
                Some(NetEvent::Frame { from, channel, bytes }) => {
                    match from_frame::<ServingMessage>(channel, &bytes) {
                        Ok(message) => inputs.push(ChatInput::Peer { from, message }),
                        Err(error) => transport.drop_peer(from, &error.to_string()),
                    }
                }
                Some(NetEvent::Down { peer, .. }) => inputs.push(ChatInput::Down(peer)),
                Some(NetEvent::Up(_)) => {}
                None => return Err(ChatError::Over.into()),
            },
            _ = tick.tick() => inputs.push(ChatInput::Tick),
        }
    }
}

/// Wait until the session's settlement is final (or at least posted, with `posted`); returns the lock's state.
pub async fn settled<T: Transport>(
    ledger: &LedgerClient<T>,
    order: &Hash,
    posted: bool,
) -> Result<LockState, LedgerError> {
    loop {
        let lock = ledger.read(|view| query::lock(view.source(), order)).await?;
        match lock.map(|lock| lock.state) {
            Some(state @ (LockState::Final | LockState::Expired)) => return Ok(state),
            Some(LockState::Settling) if posted => return Ok(LockState::Settling),
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}
