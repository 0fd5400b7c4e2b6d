//! Check the credential of everything that asks for computation, in every stage host, on its own.
//!
//! A host trusts neither the client nor the home nor its neighbours. It admits
//! 1. a *session* once: the ledger's proof of the lock, the home that the ledger drew, its own place in the
//!    route, the client's consent ([`Gate::admit_session`]);
//! 2. each *chunk* once: the home's signature, the chain of tickets, the next payword, consecutive positions,
//!    no more of them than one credit buys ([`Gate::admit_chunk`]);
//! 3. each *position* once, in order, inside an admitted chunk ([`Gate::admit_rows`], [`Gate::admit_tokens`]);
//! 4. on the last stage, a *token* only at a position that a ticket for generation covers
//!    ([`Gate::may_release`]).
//!
//! As long as one stage of a lane does this, every computed token is covered by a payword of a locked note
//! (ownership specification 3.3 and 3.4). What a dishonest home can smuggle into a session takes the place of
//! positions the client paid for: one chunk at most, then the client stops paying.
//!
//! Not checked here: whether outputs are right (audits do that), and what was served of an order before this
//! process started: such orders are refused ([`GateConfig::since`]). Rebuilding a session on another host
//! (resume tickets, attempts above 0) comes later.

use crate::{
    Refusal,
    lock::{CellProofs, find_lock},
};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    keys, payword,
    record::{ChunkPrice, LockState},
};
use tessera_wire::serving::{
    CONSENT, Consent, Open, ROUTE, RefusalKind, Route, Rows, SignedTicket, TICKET, TicketKind,
};

/// What a host knows before anybody asks it anything.
#[derive(Clone, Debug)]
pub struct GateConfig {
    pub run: Hash,
    /// This host's stage, of `stages`.
    pub stage: u16,
    pub stages: u16,
    pub me: PublicKey,
    /// Width of a hidden row, `d_model`.
    pub width: usize,
    /// Positions the model attends to.
    pub context: u32,
    pub vocab: u32,
    /// Tokens per credit of each live series, from the ledger; notes of no other series may be used.
    pub prices: BTreeMap<u16, ChunkPrice>,
    /// Height since which this host remembers what it served; older locks are refused.
    pub since: u64,
    /// Blocks before the end of an order at which it is no longer served.
    pub margin: u64,
    /// Greatest age of a proof in blocks.
    pub proof_age: u64,
    /// Sessions open at once.
    pub max_sessions: usize,
}

/// Whether something was admitted now or, identically, before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    New,
    Again,
}

/// What this host has admitted of one session.
#[derive(Clone, Debug)]
pub struct Session {
    pub route: Route,
    pub consent: Consent,
    pub cu: u32,
    /// Tokens per credit, by the series of its notes.
    pub price: ChunkPrice,
    pub open_until: u64,
    /// Chunks admitted.
    pub j: u32,
    /// The payword of chunk `j`.
    pub payword: Hash,
    /// Positions that tickets cover.
    pub pos: u32,
    /// Positions that were let in for computing.
    pub computed: u32,
    /// Hash of the last ticket.
    pub last_ticket: Hash,
    /// What the last ticket was for, and where it starts.
    pub chunk: Option<(TicketKind, u32)>,
}

/// The credential gate of one stage host.
pub struct Gate {
    config: GateConfig,
    proofs: Box<dyn CellProofs>,
    height: u64,
    sessions: BTreeMap<Hash, Session>,
    /// Orders that are over here, until no proof of them can be accepted.
    over: BTreeMap<Hash, u64>,
    refusals: BTreeMap<RefusalKind, u64>,
}

impl Gate {
    /// A gate that knows of no session. `height` is that of the ledger now.
    pub fn new(config: GateConfig, proofs: Box<dyn CellProofs>, height: u64) -> Self {
        Self {
            config,
            proofs,
            height,
            sessions: BTreeMap::new(),
            over: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }
    /// What it was built with.
    pub fn config(&self) -> &GateConfig {
        &self.config
    }
    /// The ledger's height as this host knows it.
    pub fn height(&self) -> u64 {
        self.height
    }
    /// A series has begun or ended: sessions that are opened from now on have these prices.
    pub(crate) fn set_prices(&mut self, prices: BTreeMap<u16, ChunkPrice>) {
        self.config.prices = prices;
    }
    /// How often this host refused, by reason.
    pub fn refusals(&self) -> &BTreeMap<RefusalKind, u64> {
        &self.refusals
    }
    /// An open session.
    pub fn session(&self, order: &Hash) -> Option<&Session> {
        self.sessions.get(order)
    }
    /// The ledger has grown: returns the sessions whose orders have run out; they are over.
    pub fn set_height(&mut self, height: u64) -> Vec<Hash> {
        self.height = self.height.max(height);
        let expired: Vec<Hash> = self
            .sessions
            .iter()
            .filter(|(_, session)| self.height > session.open_until)
            .map(|(order, _)| *order)
            .collect();
        expired.iter().for_each(|order| self.end(order));
        let now = self.height;
        self.over.retain(|_, until| *until >= now);
        expired
    }
    /// The session of `order` is over: nothing more is computed for it, and it cannot be opened again.
    pub fn end(&mut self, order: &Hash) {
        if let Some(session) = self.sessions.remove(order) {
            self.over.insert(*order, session.open_until);
        }
    }

    /// Count a refusal that was decided beside the gate.
    pub(crate) fn count<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        self.counted(result)
    }
    fn counted<T>(&mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &result {
            *self.refusals.entry(refusal.kind()).or_default() += 1;
        }
        result
    }

    /// Admit the session that `open` describes, sent by `from`.
    pub fn admit_session(&mut self, from: &PublicKey, open: &Open) -> Result<Admission, Refusal> {
        let result = self.check_session(from, open);
        let result = self.counted(result)?;
        let Some(session) = result else { return Ok(Admission::Again) };
        self.sessions.insert(open.route.order, session);
        Ok(Admission::New)
    }

    /// Cheap checks first: signatures and the proof cost most, and anybody may send us anything.
    fn check_session(&self, from: &PublicKey, open: &Open) -> Result<Option<Session>, Refusal> {
        let (route, order) = (&open.route, open.route.order);
        if *from != route.home {
            return Err(Refusal::Sender {
                what: "the opening of a session",
                expected: route.home,
                got: *from,
            });
        }
        if self.over.contains_key(&order) {
            return Err(Refusal::Spent { got: "over on this host" });
        }
        if let Some(session) = self.sessions.get(&order) {
            return match (session.route == *route, session.consent == open.consent) {
                (true, true) => Ok(None),
                (false, _) => Err(Refusal::OtherOpening { what: "route" }),
                (_, false) => Err(Refusal::OtherOpening { what: "consent" }),
            };
        }
        self.check_route(route)?;
        if !route.home.verify(ROUTE, route, &open.signature) {
            return Err(Refusal::Signature { what: "route", by: route.home });
        }
        if self.sessions.len() >= self.config.max_sessions {
            return Err(Refusal::Busy { max: self.config.max_sessions });
        }
        let proved = find_lock(&self.proofs.verify(&open.proof, &[keys::lock(&order)])?, &order)?;
        let (lock, height) = (proved.lock, self.height);
        // A proof may be a little ahead of what this host has heard of the ledger.
        let (oldest, newest) =
            (height.saturating_sub(self.config.proof_age), height.saturating_add(self.config.proof_age));
        if proved.height < oldest || proved.height > newest {
            return Err(Refusal::StaleProof { proved: proved.height, from: oldest, to: newest });
        }
        match lock.state {
            LockState::Open => {}
            LockState::Settling | LockState::Final => return Err(Refusal::Spent { got: "settled" }),
            LockState::Expired => return Err(Refusal::Spent { got: "expired" }),
            // Its home is not drawn yet: there is nobody who may open it.
            LockState::Locking => return Err(Refusal::NoLock { order }),
        }
        if lock.run != self.config.run {
            return Err(Refusal::OtherRun { expected: self.config.run, got: lock.run });
        }
        let Some(price) = self.config.prices.get(&lock.series).cloned() else {
            let expected = self.config.prices.keys().last().copied().unwrap_or(0);
            return Err(Refusal::OtherSeries { expected, got: lock.series });
        };
        let now = height.max(proved.height);
        if now.saturating_add(self.config.margin) >= lock.open_until {
            let margin = self.config.margin;
            return Err(Refusal::Expired { open_until: lock.open_until, height: now, margin });
        }
        if lock.locked_at < self.config.since {
            return Err(Refusal::BeforeStart { locked_at: lock.locked_at, since: self.config.since });
        }
        if lock.home != route.home {
            return Err(Refusal::WrongHome { expected: lock.home, got: route.home });
        }
        if lock.attempt != route.attempt {
            return Err(Refusal::Attempt { expected: lock.attempt, got: route.attempt });
        }
        if open.consent.order != order {
            return Err(Refusal::NoLock { order: open.consent.order });
        }
        if !lock.session_key.verify(CONSENT, &open.consent, &open.consent_signature) {
            return Err(Refusal::Signature { what: "client's consent", by: lock.session_key });
        }
        Ok(Some(Session {
            route: route.clone(),
            consent: open.consent.clone(),
            cu: lock.cu,
            price,
            open_until: lock.open_until,
            j: 0,
            payword: lock.payword_root,
            pos: 0,
            computed: 0,
            last_ticket: Hash::ZERO,
            chunk: None,
        }))
    }

    fn check_route(&self, route: &Route) -> Result<(), Refusal> {
        let GateConfig { me, stage, stages, .. } = self.config;
        if route.hosts.len() != usize::from(stages) {
            return Err(Refusal::Route {
                problem: "the route has the wrong number of hosts",
                expected: stages.to_string(),
                got: route.hosts.len().to_string(),
            });
        }
        if route.hosts[0] != route.home {
            return Err(Refusal::WrongHome { expected: route.hosts[0], got: route.home });
        }
        if route.hosts[usize::from(stage)] != me {
            return Err(Refusal::Route {
                problem: "the route names another host for this stage",
                expected: me.to_string(),
                got: route.hosts[usize::from(stage)].to_string(),
            });
        }
        if route.hosts.iter().collect::<BTreeSet<_>>().len() != route.hosts.len() {
            return Err(Refusal::Route {
                problem: "the route names a host twice",
                expected: "one host per stage".into(),
                got: "a repeated one".into(),
            });
        }
        Ok(())
    }

    /// Admit the chunk of a ticket. Who brought it does not matter: the home signed it.
    pub fn admit_chunk(&mut self, signed: &SignedTicket) -> Result<Admission, Refusal> {
        let result = self.check_chunk(signed);
        if self.counted(result)? == Admission::Again {
            return Ok(Admission::Again);
        }
        let ticket = &signed.ticket;
        if let Some(session) = self.sessions.get_mut(&ticket.order) {
            session.j = ticket.j;
            session.payword = ticket.payword;
            session.pos = ticket.pos_to;
            session.last_ticket = ticket.id();
            session.chunk = Some((ticket.kind, ticket.pos_from));
        }
        Ok(Admission::New)
    }

    fn check_chunk(&self, signed: &SignedTicket) -> Result<Admission, Refusal> {
        let ticket = &signed.ticket;
        let session = self.running(&ticket.order)?;
        let home = session.route.home;
        if !home.verify(TICKET, ticket, &signed.signature) {
            return Err(Refusal::Signature { what: "ticket", by: home });
        }
        if ticket.id() == session.last_ticket {
            return Ok(Admission::Again);
        }
        if ticket.attempt != session.route.attempt {
            return Err(Refusal::Attempt { expected: session.route.attempt, got: ticket.attempt });
        }
        let next = session.j.saturating_add(1);
        if ticket.j < next {
            return Err(Refusal::Replayed { expected: next, got: ticket.j });
        }
        if ticket.j > session.cu {
            return Err(Refusal::Allowance { cu: session.cu, got: ticket.j });
        }
        if ticket.j != next {
            return Err(Refusal::OutOfOrder { expected: next, got: ticket.j });
        }
        if ticket.previous != session.last_ticket {
            return Err(Refusal::Previous { expected: session.last_ticket, got: ticket.previous });
        }
        if !payword::check_next(&session.payword, &ticket.payword) {
            return Err(Refusal::Payword { j: ticket.j });
        }
        let rows = ticket.pos_to.saturating_sub(ticket.pos_from);
        if ticket.pos_from != session.pos {
            let (expected, end) = (session.pos, session.pos);
            return Err(Refusal::Position { expected, end, got: ticket.pos_from, rows });
        }
        let (what, max) = match ticket.kind {
            TicketKind::Prefill => ("prompt", session.price.prompt_tokens),
            TicketKind::Decode => ("generated", session.price.generated_tokens),
        };
        if rows == 0 || rows > max {
            return Err(Refusal::ChunkLength { what, max, got: rows.into() });
        }
        if ticket.pos_to > self.config.context {
            return Err(Refusal::Context { max: self.config.context, got: ticket.pos_to.into() });
        }
        if ticket.kind == TicketKind::Decode && ticket.pos_from == 0 {
            return Err(Refusal::Position { expected: 1, end: self.config.context, got: 0, rows });
        }
        Ok(Admission::New)
    }

    /// Admit hidden rows from the host before this one: `[rows, d_model]` values.
    ///
    /// A ticket that comes along is admitted first.
    pub fn admit_rows(&mut self, from: &PublicKey, rows: &Rows) -> Result<Vec<f32>, Refusal> {
        let result = self.check_sender(from, &rows.order);
        self.counted(result)?;
        if let Some(ticket) = &rows.ticket {
            if ticket.ticket.order != rows.order {
                return self.counted(Err(Refusal::UnknownSession { order: ticket.ticket.order }));
            }
            self.admit_chunk(ticket)?;
        }
        let result = self.check_rows(rows);
        let values = self.counted(result)?;
        if let Some(session) = self.sessions.get_mut(&rows.order) {
            session.computed += rows.tensor.rows;
        }
        Ok(values)
    }

    fn check_sender(&self, from: &PublicKey, order: &Hash) -> Result<(), Refusal> {
        let session = self.running(order)?;
        let Some(before) = usize::from(self.config.stage).checked_sub(1) else {
            return Err(Refusal::Route {
                problem: "hidden rows for the first stage",
                expected: "tokens from the client".into(),
                got: format!("rows from {from}"),
            });
        };
        let expected = session.route.hosts[before];
        if *from != expected {
            return Err(Refusal::Sender { what: "hidden rows", expected, got: *from });
        }
        Ok(())
    }

    fn check_rows(&self, rows: &Rows) -> Result<Vec<f32>, Refusal> {
        let session = self.running(&rows.order)?;
        // The last stage may have the next ticket before the last rows of this chunk.
        if rows.j == 0 || rows.j > session.j {
            return Err(Refusal::OutOfOrder { expected: session.j, got: rows.j });
        }
        check_positions(session, rows.pos, rows.tensor.rows)?;
        Ok(rows.tensor.to_f32(rows.tensor.rows as usize, self.config.width)?)
    }

    /// Admit tokens at the first stage, whose host is the home itself.
    pub fn admit_tokens(&mut self, order: &Hash, pos: u32, tokens: &[u32]) -> Result<(), Refusal> {
        let result = self.check_tokens(order, pos, tokens);
        self.counted(result)?;
        if let Some(session) = self.sessions.get_mut(order) {
            session.computed += tokens.len() as u32;
        }
        Ok(())
    }

    fn check_tokens(&self, order: &Hash, pos: u32, tokens: &[u32]) -> Result<(), Refusal> {
        let vocab = self.config.vocab;
        if let Some(got) = tokens.iter().find(|token| **token >= vocab) {
            return Err(Refusal::Token { vocab, got: *got });
        }
        check_positions(self.running(order)?, pos, u32::try_from(tokens.len()).unwrap_or(u32::MAX))
    }

    /// Whether the last stage may hand out the token at `pos`: a ticket for generation covers it.
    pub fn may_release(&self, order: &Hash, pos: u32) -> bool {
        self.sessions.get(order).is_some_and(|session| {
            pos < session.pos
                && session.chunk.is_some_and(|(kind, from)| kind == TicketKind::Decode && pos >= from)
        })
    }

    /// Why no session of `order` runs here.
    pub(crate) fn why_not(&self, order: &Hash) -> Refusal {
        self.running(order).err().unwrap_or(Refusal::UnknownSession { order: *order })
    }

    fn running(&self, order: &Hash) -> Result<&Session, Refusal> {
        match self.sessions.get(order) {
            Some(session) if self.height > session.open_until => {
                let (open_until, height) = (session.open_until, self.height);
                Err(Refusal::Expired { open_until, height, margin: 0 })
            }
            Some(session) => Ok(session),
            None if self.over.contains_key(order) => Err(Refusal::Spent { got: "over on this host" }),
            None => Err(Refusal::UnknownSession { order: *order }),
        }
    }
}

/// Positions `pos..pos + rows` are the next ones and tickets cover them.
fn check_positions(session: &Session, pos: u32, rows: u32) -> Result<(), Refusal> {
    let (expected, end) = (session.computed, session.pos);
    if rows == 0 || pos != expected || rows > end.saturating_sub(pos) {
        return Err(Refusal::Position { expected, end, got: pos, rows });
    }
    Ok(())
}
