//! Use a credential: open a session, pay chunk by chunk, collect tokens, stop at the first thing that is wrong.
//!
//! The payword of a chunk is revealed only when the chunk before it has arrived whole, so a dishonest swarm
//! gains at most one chunk. Prompt chunks are paid before they are read.
//!
//! ```text
//! Start -> Begin ... Opened -> [Say -> prompt chunks -> generated chunks -> TurnDone]* -> Stop -> Close ... Done
//! ```
//! A turn's tokens follow those of the turn before: the hosts keep the text's keys and values. Checking that
//! the tokens are *right* is not this machine's business but that of audits.

use std::collections::VecDeque;
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey, TooLong};
use tessera_ledger::{action::LockOrder, payword::Chain, record::ChunkPrice};
use tessera_wire::serving::*;

/// A locked credential and how to use it.
pub struct ChatConfig {
    pub order: LockOrder,
    /// The chain that `order.payword_root` begins.
    pub chain: Chain,
    /// The secret of `order.session_key`.
    pub session_key: SecretKey,
    /// The identity this client has on the network.
    pub me: PublicKey,
    /// The home that the ledger drew: the `home` of the order's lock cell.
    pub home: PublicKey,
    /// Encoded proof of the order's lock cell, recent.
    pub proof: Vec<u8>,
    pub sampling: Sampling,
    /// Tokens per credit, from the run's terms.
    pub price: ChunkPrice,
    /// Positions the model attends to.
    pub context: u32,
    pub vocab: u32,
    /// Milliseconds without any progress after which the client gives up.
    pub patience: u64,
}

/// Why a session could not begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    #[error("{what}: expected {expected}, got {got}; use the secrets that the order was made with")]
    Credential { what: &'static str, expected: String, got: String },
    #[error("the proof of the lock is too long: {0}")]
    Proof(#[from] TooLong),
    #[error(
        "the turn needs {needed} credits, {left} of the order's {cu} are left; ask for fewer tokens or lock another note"
    )]
    Allowance { needed: u64, left: u32, cu: u32 },
    #[error(
        "the session would reach {got} positions, the model attends to {max}; start a new session or ask for fewer tokens"
    )]
    Context { max: u32, got: u64 },
    #[error("token {got} does not exist, the vocabulary has {vocab}")]
    Token { vocab: u32, got: u32 },
    #[error("a turn needs at least one new token in a new session")]
    EmptyPrompt,
    #[error("stage {stage} refused ({kind}): {text}")]
    Refused { stage: u16, kind: &'static str, text: String },
    #[error(
        "the session home {problem}: expected {expected}, got {got}; the session is closed, no further payword was revealed"
    )]
    Protocol { problem: &'static str, expected: String, got: String },
    #[error(
        "nothing has come from the session home {home} for {waited} ms; what was not delivered is not charged"
    )]
    Silent { home: PublicKey, waited: u64 },
    #[error("the connection to the session home {home} is gone; what was not delivered is not charged")]
    Lost { home: PublicKey },
    #[error("the session is over")]
    Over,
}

/// What a session came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatSummary {
    pub order: Hash,
    /// The hosts that served, one per stage.
    pub route: Vec<PublicKey>,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    /// Chunks that arrived whole.
    pub delivered: u32,
    /// Paywords revealed: `delivered`, or one more.
    pub revealed: u32,
    /// What the home says it settles: credits and nano-U. `None` if it never said so.
    pub settled: Option<(u32, u128)>,
    /// Why it ended; `None` if the client closed it in good order.
    pub error: Option<ChatError>,
}

/// What the driver tells the client.
#[derive(Clone, Debug)]
pub enum ChatInput {
    /// Open the session.
    Start,
    /// Append `tokens` to the text and generate `generate` tokens.
    Say { tokens: Vec<u32>, generate: u32 },
    /// End the session after the chunk in progress, whose tokens are not waited for.
    Stop,
    /// A message of an authenticated peer.
    Peer { from: PublicKey, message: ServingMessage },
    /// A connection went down.
    Down(PublicKey),
    /// Time has passed; send one at least every second.
    Tick,
}

/// What the client wants done.
#[derive(Clone, Debug)]
pub enum ChatEffect {
    /// Send a message on [`SERVING`](tessera_wire::SERVING).
    Send { to: PublicKey, message: ServingMessage },
    /// The session is open, served by these hosts.
    Opened { route: Vec<PublicKey> },
    /// Show this token; `pos` counts prompt and generated tokens from 0.
    Token { pos: u32, token: u32 },
    /// The turn's tokens are complete.
    TurnDone,
    /// A turn was refused here, before anything was paid; the session goes on.
    TurnRefused(ChatError),
    /// The session is over. The last effect.
    Finished(Box<ChatSummary>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Opening,
    Ready,
    Closing,
    Over,
}

/// A chunk that is paid and has not arrived.
struct Pending {
    kind: TicketKind,
    pos_to: u32,
}

/// One session, seen from its user.
pub struct ChatClient {
    config: ChatConfig,
    proof: Blob<MAX_LOCK_PROOF>,
    order: Hash,
    phase: Phase,
    now: u64,
    heard: u64,
    route: Vec<PublicKey>,
    /// Chunks of the turn that are not requested yet.
    todo: VecDeque<Chunk>,
    /// A turn that was asked for before the session was open or the turn before was done.
    turns: VecDeque<(Vec<u32>, u32)>,
    pending: Option<Pending>,
    /// Chunks requested and chunks that arrived.
    revealed: u32,
    delivered: u32,
    /// Positions of the text that are paid.
    paid: u32,
    /// Position of the next token expected.
    next: u32,
    prompt_tokens: u32,
    generated_tokens: u32,
    settled: Option<(u32, u128)>,
    error: Option<ChatError>,
    effects: Vec<ChatEffect>,
}

impl ChatClient {
    /// A client for a lock that stands on the ledger.
    pub fn new(config: ChatConfig) -> Result<Self, ChatError> {
        let order = &config.order;
        if config.session_key.public() != order.session_key {
            return Err(ChatError::Credential {
                what: "session key",
                expected: order.session_key.to_string(),
                got: config.session_key.public().to_string(),
            });
        }
        if config.chain.root() != order.payword_root || config.chain.word(order.cu).is_none() {
            return Err(ChatError::Credential {
                what: "payword chain",
                expected: format!("{} chunks from {}", order.cu, order.payword_root),
                got: config.chain.root().to_string(),
            });
        }
        Ok(Self {
            proof: Blob::new(config.proof.clone())?,
            order: order.id(),
            config,
            phase: Phase::New,
            now: 0,
            heard: 0,
            route: Vec::new(),
            todo: VecDeque::new(),
            turns: VecDeque::new(),
            pending: None,
            revealed: 0,
            delivered: 0,
            paid: 0,
            next: 0,
            prompt_tokens: 0,
            generated_tokens: 0,
            settled: None,
            error: None,
            effects: Vec::new(),
        })
    }

    /// Credits a turn costs: `ceil(prompt / prompt_tokens) + ceil(generate / generated_tokens)`.
    pub fn cost(price: &ChunkPrice, prompt: usize, generate: u32) -> u64 {
        (prompt as u64).div_ceil(price.prompt_tokens.max(1).into())
            + u64::from(generate).div_ceil(price.generated_tokens.max(1).into())
    }
    /// Credits that no payword was revealed for.
    pub fn left(&self) -> u32 {
        self.config.order.cu.saturating_sub(self.revealed)
    }
    /// Whether the last effect was given.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Take `input` at time `now` (milliseconds, never falling) and say what is to be done.
    pub fn step(&mut self, now: u64, input: ChatInput) -> Vec<ChatEffect> {
        self.now = self.now.max(now);
        match input {
            ChatInput::Start => self.start(),
            ChatInput::Say { tokens, generate } => self.say(tokens, generate),
            ChatInput::Stop => self.stop(),
            ChatInput::Peer { from, message } => {
                if from == self.config.home && message.order() == self.order && self.phase != Phase::Over {
                    self.message(message);
                }
            }
            ChatInput::Down(peer) if peer == self.config.home => self.lost(),
            ChatInput::Down(_) => {}
            ChatInput::Tick => self.tick(),
        }
        std::mem::take(&mut self.effects)
    }

    fn start(&mut self) {
        if self.phase != Phase::New {
            return;
        }
        let consent =
            Consent { order: self.order, client: self.config.me, sampling: self.config.sampling.clone() };
        let signature = self.config.session_key.sign(CONSENT, &consent);
        self.phase = Phase::Opening;
        self.heard = self.now;
        let (order, proof) = (self.config.order.clone(), self.proof.clone());
        self.send(Begin { order, proof, consent, signature });
    }

    fn say(&mut self, tokens: Vec<u32>, generate: u32) {
        if matches!(self.phase, Phase::Closing | Phase::Over) {
            return self.effects.push(ChatEffect::TurnRefused(ChatError::Over));
        }
        self.turns.push_back((tokens, generate));
        self.advance();
    }

    /// Whether a turn fits the order and the model.
    fn check_turn(&self, tokens: &[u32], generate: u32) -> Result<(), ChatError> {
        if let Some(got) = tokens.iter().find(|token| **token >= self.config.vocab) {
            return Err(ChatError::Token { vocab: self.config.vocab, got: *got });
        }
        if self.paid == 0 && tokens.is_empty() {
            return Err(ChatError::EmptyPrompt);
        }
        let (needed, left) = (Self::cost(&self.config.price, tokens.len(), generate), self.left());
        if needed > u64::from(left) {
            return Err(ChatError::Allowance { needed, left, cu: self.config.order.cu });
        }
        let got = u64::from(self.paid) + tokens.len() as u64 + u64::from(generate);
        if got > u64::from(self.config.context) {
            return Err(ChatError::Context { max: self.config.context, got });
        }
        Ok(())
    }

    /// Request the next chunk if the one before has arrived.
    fn advance(&mut self) {
        if self.phase != Phase::Ready || self.pending.is_some() {
            return;
        }
        while self.todo.is_empty() {
            let Some((tokens, generate)) = self.turns.pop_front() else { return };
            if let Err(error) = self.check_turn(&tokens, generate) {
                self.effects.push(ChatEffect::TurnRefused(error));
                continue;
            }
            self.plan(&tokens, generate);
            if self.todo.is_empty() {
                self.effects.push(ChatEffect::TurnDone);
            }
        }
        let Some(chunk) = self.todo.pop_front() else { return };
        let j = self.revealed + 1;
        let Some(payword) = self.config.chain.word(j) else { return };
        let (kind, length) = match &chunk {
            Chunk::Prefill(prefill) => (TicketKind::Prefill, prefill.tokens.len() as u32),
            Chunk::Generate(generate) => (TicketKind::Decode, generate.tokens),
        };
        self.next = if kind == TicketKind::Decode { self.paid } else { self.paid + length };
        self.paid += length;
        self.revealed = j;
        self.heard = self.now;
        self.pending = Some(Pending { kind, pos_to: self.paid });
        self.send(ChunkRequest { order: self.order, j, payword, chunk });
    }

    fn plan(&mut self, tokens: &[u32], generate: u32) {
        let read = (self.config.price.prompt_tokens.max(1) as usize).min(MAX_PREFILL);
        for chunk in tokens.chunks(read) {
            let tokens = List::new(chunk.to_vec()).unwrap_or_default();
            self.todo.push_back(Prefill { tokens }.into());
        }
        let per_chunk = self.config.price.generated_tokens.max(1);
        let mut left = generate;
        while left > 0 {
            let tokens = left.min(per_chunk);
            self.todo.push_back(Generate { tokens }.into());
            left -= tokens;
        }
    }

    fn message(&mut self, message: ServingMessage) {
        match message {
            ServingMessage::Opened(opened) => self.opened(&opened),
            ServingMessage::Token(token) => self.token(&token),
            ServingMessage::Delivered(delivered) => {
                let reading = self.pending.as_ref().is_some_and(|p| p.kind == TicketKind::Prefill);
                if reading && delivered.j == self.revealed {
                    let Some(pending) = self.pending.take() else { return };
                    self.prompt_tokens = pending.pos_to - self.generated_tokens;
                    self.arrived();
                }
            }
            ServingMessage::Refused(refused) => {
                let error = ChatError::Refused {
                    stage: refused.stage,
                    kind: refused.kind.name(),
                    text: refused.text.to_string(),
                };
                self.fail(error);
            }
            ServingMessage::Done(done) => {
                self.settled = Some((done.chunks, done.fees));
                if self.error.is_none() && self.phase != Phase::Closing {
                    self.error = Some(ChatError::Protocol {
                        problem: "ended the session",
                        expected: "a session until it is closed".into(),
                        got: format!("a settlement of {} chunks", done.chunks),
                    });
                }
                self.finish();
            }
            _ => {}
        }
    }

    fn opened(&mut self, opened: &Opened) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Ready;
            self.heard = self.now;
            self.route = opened.route.hosts.to_vec();
            self.effects.push(ChatEffect::Opened { route: self.route.clone() });
            self.advance();
        }
    }

    fn token(&mut self, message: &Token) {
        if self.phase != Phase::Ready {
            return;
        }
        let expected = self
            .pending
            .as_ref()
            .filter(|pending| pending.kind == TicketKind::Decode)
            .map(|pending| (self.next, pending.pos_to));
        let Some((next, pos_to)) = expected.filter(|(next, _)| *next == message.pos) else {
            let expected = expected.map_or("no token".into(), |(next, _)| format!("the token at {next}"));
            let got = format!("the token at {}", message.pos);
            return self.fail(ChatError::Protocol { problem: "sent a token out of order", expected, got });
        };
        if message.token >= self.config.vocab {
            return self.fail(ChatError::Token { vocab: self.config.vocab, got: message.token });
        }
        self.heard = self.now;
        self.next = next + 1;
        self.generated_tokens += 1;
        self.effects.push(ChatEffect::Token { pos: message.pos, token: message.token });
        if self.next == pos_to {
            self.pending = None;
            self.arrived();
        }
    }

    /// The chunk in progress has arrived whole.
    fn arrived(&mut self) {
        self.delivered = self.revealed;
        self.heard = self.now;
        if self.todo.is_empty() {
            self.effects.push(ChatEffect::TurnDone);
        }
        self.advance();
    }

    fn stop(&mut self) {
        match self.phase {
            Phase::New => self.finish(),
            Phase::Opening | Phase::Ready => self.close(),
            Phase::Closing | Phase::Over => {}
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closing;
        self.heard = self.now;
        self.todo.clear();
        self.turns.clear();
        let closing = Closing { order: self.order, j: self.delivered };
        let signature = self.config.session_key.sign(CLOSE, &closing);
        self.send(Close { closing, signature });
    }

    /// Something is wrong: reveal nothing more, tell the home, and wait for what it settles.
    fn fail(&mut self, error: ChatError) {
        self.error.get_or_insert(error);
        match self.phase {
            Phase::Ready => self.close(),
            // The session was never open, so there is nothing to close.
            Phase::New | Phase::Opening => self.finish(),
            // The home no longer knows the session.
            Phase::Closing => self.finish(),
            Phase::Over => {}
        }
    }

    fn lost(&mut self) {
        if self.phase != Phase::Over && self.phase != Phase::New {
            self.error.get_or_insert(ChatError::Lost { home: self.config.home });
            self.finish();
        }
    }

    fn tick(&mut self) {
        let waiting = match self.phase {
            Phase::Opening | Phase::Closing => true,
            Phase::Ready => self.pending.is_some(),
            Phase::New | Phase::Over => false,
        };
        let waited = self.now.saturating_sub(self.heard);
        if !waiting || waited <= self.config.patience {
            return;
        }
        let closing = self.phase == Phase::Closing;
        self.error.get_or_insert(ChatError::Silent { home: self.config.home, waited });
        if closing || self.phase == Phase::Opening { self.finish() } else { self.close() }
    }

    fn finish(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.effects.push(ChatEffect::Finished(Box::new(ChatSummary {
            order: self.order,
            route: self.route.clone(),
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            delivered: self.delivered,
            revealed: self.revealed,
            settled: self.settled,
            error: self.error.clone(),
        })));
    }

    fn send(&mut self, message: impl Into<ServingMessage>) {
        self.effects.push(ChatEffect::Send { to: self.config.home, message: message.into() });
    }
}
