//! Lead a session from stage 0: draw its route, sign its tickets, stream its tokens, settle it.
//!
//! The ledger draws the home; the home picks one host for each other stage. A chunk starts when the client's
//! payword has passed this host's own gate. At the end the home settles with the highest payword that counts:
//! * the client closed, went silent, or the order ran out: the chunk in progress counts;
//! * a host failed: only chunks that were delivered whole count.
//!
//! A session of no chunk is not settled; the ledger expires its lock.

use crate::{
    Refusal,
    host::{Effect, Host, Note, Work},
    worker::RowInput,
};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, List, PublicKey};
use tessera_ledger::action::{Leg, SettleSession};
use tessera_wire::serving::*;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said so.
    Closed,
    /// The client said nothing for too long.
    Silent,
    /// The order is about to run out.
    RanOut,
    /// A host of the route refused, failed or went away.
    HostFailed,
}

/// A chunk that was ticketed and is not delivered.
struct Current {
    j: u32,
    kind: TicketKind,
    pos_to: u32,
    payword: Hash,
    /// The ticket, until the first rows of the chunk take it along.
    attach: Option<SignedTicket>,
}

/// A session this host is the home of.
pub(crate) struct HomeSession {
    client: PublicKey,
    begin: Begin,
    route: Route,
    admitted: BTreeSet<u16>,
    current: Option<Current>,
    delivered: u32,
    /// The payword of chunk `delivered`.
    delivered_payword: Hash,
    /// Position of the next token to be sampled.
    next: u32,
    heard_client: u64,
    progress: u64,
}

impl HomeSession {
    fn open(&self) -> bool {
        self.admitted.len() == self.route.hosts.len()
    }
    fn last_host(&self) -> PublicKey {
        self.route.hosts.last().copied().unwrap_or(self.route.home)
    }
    fn stage_of(&self, host: &PublicKey) -> Option<u16> {
        self.route.hosts.iter().position(|other| other == host).map(|at| at as u16)
    }
}

impl Host {
    pub(crate) fn begin(&mut self, from: PublicKey, begin: Begin) {
        let order = begin.order.id();
        if let Some(session) = self.home.get(&order) {
            if session.client != from || session.begin.consent != begin.consent {
                return self.refuse(from, order, Refusal::OtherOpening { what: "consent" });
            }
            if session.open() {
                let route = session.route.clone();
                self.send(from, Opened { route });
            }
            return;
        }
        if begin.consent.client != from {
            let expected = begin.consent.client;
            return self.refuse(
                from,
                order,
                Refusal::Sender { what: "the beginning of a session", expected, got: from },
            );
        }
        if begin.consent.order != order {
            return self.refuse(from, order, Refusal::NoLock { order: begin.consent.order });
        }
        let hosts = match self.draw_route() {
            Ok(hosts) => hosts,
            Err(refusal) => return self.refuse(from, order, refusal),
        };
        let Ok(hosts) = List::new(hosts) else {
            return self.refuse(
                from,
                order,
                Refusal::Trouble { reason: "the run has too many stages".into() },
            );
        };
        // Attempts above 0 (another home takes over) come later; the gate compares with the lock.
        let route = Route { order, attempt: 0, home: self.me, hosts };
        let open = Open {
            proof: begin.proof.clone(),
            consent: begin.consent.clone(),
            consent_signature: begin.signature,
            signature: self.key.sign(ROUTE, &route),
            route: route.clone(),
        };
        // The own gate first: nobody else is bothered with a session that it refuses.
        if let Err(refusal) = self.gate.admit_session(&self.me, &open) {
            return self.send_refusal(from, order, &refusal);
        }
        let now = self.now;
        self.served(order);
        let delivered_payword = begin.order.payword_root;
        self.home.insert(
            order,
            HomeSession {
                client: from,
                begin,
                route: route.clone(),
                admitted: BTreeSet::from([0]),
                current: None,
                delivered: 0,
                delivered_payword,
                next: 0,
                heard_client: now,
                progress: now,
            },
        );
        for host in route.hosts.iter().skip(1) {
            self.send(*host, open.clone());
        }
        self.opened_if_complete(order);
    }

    /// One host per stage: of those that are up, the one that serves fewest sessions of this home.
    fn draw_route(&self) -> Result<Vec<PublicKey>, Refusal> {
        let mut load = BTreeMap::<PublicKey, usize>::new();
        for host in self.home.values().flat_map(|session| session.route.hosts.iter()) {
            *load.entry(*host).or_default() += 1;
        }
        let mut hosts = vec![self.me];
        for stage in 1..self.gate.config().stages {
            let seats = self.seats.get(usize::from(stage)).map(Vec::as_slice).unwrap_or_default();
            let best = seats
                .iter()
                .filter(|host| !self.down.contains(*host) && !hosts.contains(*host))
                .min_by_key(|host| load.get(*host).copied().unwrap_or(0));
            hosts.push(*best.ok_or_else(|| Refusal::HostLost {
                stage,
                reason: "none of its seats is reachable from the session home; try again later".into(),
            })?);
        }
        Ok(hosts)
    }

    pub(crate) fn admitted(&mut self, from: PublicKey, message: &Admitted) {
        let now = self.now;
        let Some(session) = self.home.get_mut(&message.order) else { return };
        if session.open() || session.stage_of(&from) != Some(message.stage) {
            return;
        }
        session.admitted.insert(message.stage);
        session.progress = now;
        self.opened_if_complete(message.order);
    }

    fn opened_if_complete(&mut self, order: Hash) {
        let Some(session) = self.home.get(&order) else { return };
        if session.open() {
            let (client, route) = (session.client, session.route.clone());
            self.note(Note::Opened { order, hosts: route.hosts.to_vec() });
            self.send(client, Opened { route });
        }
    }

    pub(crate) fn chunk_request(&mut self, from: PublicKey, request: ChunkRequest) {
        let order = request.order;
        let now = self.now;
        let Some(session) = self.home.get_mut(&order) else {
            let refusal = self.unknown(&order);
            return self.refuse(from, order, refusal);
        };
        if from != session.client {
            let expected = session.client;
            return self.refuse(
                from,
                order,
                Refusal::Sender { what: "a chunk request", expected, got: from },
            );
        }
        session.heard_client = now;
        if !session.open() {
            return self.refuse(from, order, Refusal::UnknownSession { order });
        }
        if let Some(current) = &session.current {
            // The same request again is harmless, the next one comes too early.
            if (current.j, current.payword) != (request.j, request.payword) {
                let expected = current.j;
                self.refuse(from, order, Refusal::OutOfOrder { expected, got: request.j });
            }
            return;
        }
        if let Err(refusal) = self.start_chunk(request) {
            self.send_refusal(from, order, &refusal);
        }
    }

    /// Sign the ticket of a request, pass it through the own gate, and start the chunk.
    fn start_chunk(&mut self, request: ChunkRequest) -> Result<(), Refusal> {
        let order = request.order;
        let vocab = self.gate.config().vocab;
        let (kind, length) = match &request.chunk {
            Chunk::Prefill(prefill) => {
                if let Some(got) = prefill.tokens.iter().find(|token| **token >= vocab) {
                    return self.gate.count(Err(Refusal::Token { vocab, got: *got }));
                }
                (TicketKind::Prefill, prefill.tokens.len() as u32)
            }
            Chunk::Generate(generate) => (TicketKind::Decode, generate.tokens),
        };
        let Some(admitted) = self.gate.session(&order) else { return Err(self.unknown(&order)) };
        let ticket = Ticket {
            order,
            attempt: admitted.route.attempt,
            j: request.j,
            payword: request.payword,
            kind,
            pos_from: admitted.pos,
            pos_to: admitted.pos.saturating_add(length),
            previous: admitted.last_ticket,
        };
        let (pos_from, pos_to) = (ticket.pos_from, ticket.pos_to);
        let signed = SignedTicket { signature: self.key.sign(TICKET, &ticket), ticket };
        self.gate.admit_chunk(&signed)?;
        let (now, me) = (self.now, self.me);
        let Some(session) = self.home.get_mut(&order) else { return Err(Refusal::UnknownSession { order }) };
        session.progress = now;
        session.current = Some(Current {
            j: request.j,
            kind,
            pos_to,
            payword: request.payword,
            attach: Some(signed.clone()),
        });
        let last = session.last_host();
        match request.chunk {
            Chunk::Prefill(prefill) => {
                session.next = pos_to;
                self.feed(order, pos_from, prefill.tokens.into_inner());
            }
            // The last stage holds the first token of the chunk already and waits for the ticket.
            Chunk::Generate(_) if last == me => self.release(order),
            Chunk::Generate(_) => self.send(last, signed),
        }
        Ok(())
    }

    /// Feed tokens to stage 0, which is this host's.
    fn feed(&mut self, order: Hash, pos: u32, tokens: Vec<u32>) {
        if let Err(refusal) = self.gate.admit_tokens(&order, pos, &tokens) {
            return self.abort(order, 0, refusal);
        }
        let Some(session) = self.home.get_mut(&order) else { return };
        let (j, ticket) = match &mut session.current {
            Some(current) => (current.j, current.attach.take()),
            None => (session.delivered, None),
        };
        let rows = tokens.len() as u32;
        self.enqueue(Work { order, j, pos, rows, ticket, input: RowInput::Tokens(tokens) });
    }

    /// The last stage has sampled a token that a ticket covers.
    pub(crate) fn next_token(&mut self, from: PublicKey, message: &Next) {
        let (order, now, vocab) = (message.order, self.now, self.gate.config().vocab);
        let Some(session) = self.home.get_mut(&order) else { return };
        let Some(current) = &session.current else { return };
        let fits = from == session.last_host()
            && current.kind == TicketKind::Decode
            && message.pos == session.next
            && message.pos < current.pos_to;
        if !fits {
            return;
        }
        if message.token >= vocab {
            let stage = session.route.hosts.len() as u16 - 1;
            return self.abort(order, stage, Refusal::Token { vocab, got: message.token });
        }
        let client = session.client;
        let done = message.pos + 1 == current.pos_to;
        session.next += 1;
        session.progress = now;
        self.send(client, Token { order, pos: message.pos, token: message.token });
        self.feed(order, message.pos, vec![message.token]);
        if done {
            self.chunk_done(order);
        }
    }

    fn chunk_done(&mut self, order: Hash) {
        let now = self.now;
        if let Some(session) = self.home.get_mut(&order)
            && let Some(current) = session.current.take()
        {
            session.delivered = current.j;
            session.delivered_payword = current.payword;
            // The client is waited for only from here on.
            session.heard_client = now;
        }
    }

    /// The last stage has read a prompt chunk.
    pub(crate) fn delivered(&mut self, from: PublicKey, message: &Delivered) {
        let Some(session) = self.home.get(&message.order) else { return };
        let fits = from == session.last_host()
            && session.current.as_ref().is_some_and(|c| c.j == message.j && c.kind == TicketKind::Prefill);
        if fits {
            let client = session.client;
            self.chunk_done(message.order);
            self.send(client, message.clone());
        }
    }

    /// A host of a route said no.
    pub(crate) fn host_refused(&mut self, from: PublicKey, message: Refused) {
        let Some(session) = self.home.get(&message.order) else { return };
        if session.stage_of(&from).is_some() {
            let client = session.client;
            self.note(Note::HostFailed {
                order: message.order,
                stage: message.stage,
                reason: message.text.to_string(),
            });
            self.send(client, message.clone());
            self.finish(message.order, Ending::HostFailed);
        }
    }

    /// End a session because a host cannot go on.
    pub(crate) fn abort(&mut self, order: Hash, stage: u16, refusal: Refusal) {
        let Some(session) = self.home.get(&order) else { return };
        let client = session.client;
        self.note(Note::HostFailed { order, stage, reason: refusal.to_string() });
        self.send(client, refusal.message(order, stage));
        self.finish(order, Ending::HostFailed);
    }

    /// A connection is gone: its sessions cannot go on (resuming on another replica comes later).
    pub(crate) fn lost(&mut self, peer: &PublicKey) {
        let orders: Vec<(Hash, u16)> = self
            .home
            .iter()
            .filter_map(|(order, session)| session.stage_of(peer).map(|stage| (*order, stage)))
            .collect();
        for (order, stage) in orders {
            let reason = "its connection to the session home is gone; what was delivered is settled".into();
            self.abort(order, stage, Refusal::HostLost { stage, reason });
        }
    }

    pub(crate) fn close(&mut self, from: PublicKey, message: &Close) {
        let order = message.closing.order;
        let Some(session) = self.home.get(&order) else {
            let refusal = self.unknown(&order);
            return self.refuse(from, order, refusal);
        };
        let by = session.begin.order.session_key;
        if !by.verify(CLOSE, &message.closing, &message.signature) {
            return self.refuse(from, order, Refusal::Signature { what: "end of the session", by });
        }
        self.finish(order, Ending::Closed);
    }

    /// Settle what counts, tell everybody, forget the session.
    pub(crate) fn finish(&mut self, order: Hash, ending: Ending) {
        let Some(session) = self.home.remove(&order) else { return };
        let (chunks, payword) = match (&session.current, ending) {
            (Some(current), Ending::Closed | Ending::Silent | Ending::RanOut) => (current.j, current.payword),
            _ => (session.delivered, session.delivered_payword),
        };
        // The ledger pays the posted prices; this is what they can come to at most.
        let fees = session.begin.order.fee_per_cu.saturating_mul(chunks.into());
        if chunks > 0 {
            let leg = Leg { attempt: session.route.attempt, hosts: session.route.hosts.clone() };
            let legs = List::new(vec![leg]).unwrap_or_default();
            self.effects.push(Effect::Settle(Box::new(SettleSession { order, chunks, payword, legs })));
        }
        self.note(Note::Ended { order, ending, chunks, fees });
        let done = Done { order, chunks, fees };
        self.send(session.client, done.clone());
        for host in session.route.hosts.iter().skip(1) {
            self.send(*host, done.clone());
        }
        self.forget(order);
    }

    /// Look for sessions in which nothing moves.
    pub(crate) fn watch_sessions(&mut self) {
        let (now, height, margin) = (self.now, self.gate.height(), self.gate.config().margin);
        let tuning = self.tuning.clone();
        let mut ending = Vec::new();
        for (order, session) in &self.home {
            let stuck = now.saturating_sub(session.progress) > tuning.hop;
            let open_until = session.begin.order.open_until;
            if height.saturating_add(margin) >= open_until {
                ending.push((*order, None, Ending::RanOut));
            } else if !session.open() && stuck {
                let missing = (0..session.route.hosts.len() as u16).find(|s| !session.admitted.contains(s));
                ending.push((*order, missing, Ending::HostFailed));
            } else if session.current.is_some() && stuck {
                ending.push((*order, Some(session.route.hosts.len() as u16 - 1), Ending::HostFailed));
            } else if session.open()
                && session.current.is_none()
                && now.saturating_sub(session.heard_client) > tuning.silence
            {
                ending.push((*order, None, Ending::Silent));
            }
        }
        for (order, stage, why) in ending {
            match (why, stage) {
                (Ending::HostFailed, Some(stage)) => {
                    let reason = format!(
                        "no progress for {} ms at or before it; what was delivered is settled",
                        tuning.hop
                    );
                    self.abort(order, stage, Refusal::HostLost { stage, reason });
                }
                (why, _) => self.finish(order, why),
            }
        }
    }
}
