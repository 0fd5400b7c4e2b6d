//! Attack each stage host in isolation: every other party is dishonest, and nothing may be computed.

mod world;

use tessera_canon::{Hash, List, PublicKey, SecretKey};
use tessera_ledger::action::SettleSession;
use tessera_serve::*;
use tessera_wire::{Tensor, serving::*};
use world::*;

const FIRST: u16 = 0;
const STAGES: u16 = 3;

/// A stage host, alone, and what an attacker who holds all other keys can forge.
struct Lair {
    world: World,
    host: Host,
    stage: u16,
    credential: Credential,
}

fn lair(stage: u16) -> Lair {
    let mut world = World::new(&[2, 1, 1], 1);
    let credential = world.lock(CU, 100);
    let mut host = world.host(stage, 0);
    host.step(0, Input::Tick { height: world.height });
    Lair { host, stage, credential, world }
}

impl Lair {
    fn key(&self, stage: u16) -> SecretKey {
        self.world.hosts[usize::from(stage)][0].clone()
    }
    fn client(&self) -> PublicKey {
        self.world.user.public()
    }
    fn consent(&self) -> Consent {
        Consent { order: self.credential.id(), client: self.client(), sampling: GREEDY }
    }
    fn route(&self) -> Route {
        Route {
            order: self.credential.id(),
            attempt: 0,
            home: self.key(0).public(),
            hosts: List::new((0..STAGES).map(|s| self.key(s).public()).collect()).unwrap(),
        }
    }
    /// The opening of `route`, signed by whoever is its home if that is a host.
    fn open_with(
        &self,
        route: Route,
        consent: Consent,
        consent_by: &SecretKey,
        proof: Vec<u8>,
        signer: &SecretKey,
    ) -> Open {
        Open {
            proof: proof.try_into_blob(),
            consent_signature: consent_by.sign(CONSENT, &consent),
            consent,
            signature: signer.sign(ROUTE, &route),
            route,
        }
    }
    fn open(&self) -> Open {
        let proof = self.world.proof(&self.credential.id());
        self.open_with(self.route(), self.consent(), &self.credential.session_key, proof, &self.key(0))
    }
    fn begin(&self) -> Begin {
        Begin {
            order: self.credential.order.clone(),
            proof: self.world.proof(&self.credential.id()).try_into_blob(),
            signature: self.credential.session_key.sign(CONSENT, &self.consent()),
            consent: self.consent(),
        }
    }
    fn ticket(&self, j: u32, kind: TicketKind, from: u32, to: u32, previous: Hash) -> Ticket {
        let payword = self.credential.chain.word(j).unwrap_or(Hash::ZERO);
        Ticket {
            order: self.credential.id(),
            attempt: 0,
            j,
            payword,
            kind,
            pos_from: from,
            pos_to: to,
            previous,
        }
    }
    fn sign(&self, ticket: Ticket) -> SignedTicket {
        SignedTicket { signature: self.key(0).sign(TICKET, &ticket), ticket }
    }
    fn first(&self) -> SignedTicket {
        self.sign(self.ticket(1, TicketKind::Prefill, 0, 4, Hash::ZERO))
    }
    fn rows(&self, pos: u32, rows: u32, j: u32, ticket: Option<SignedTicket>) -> Rows {
        let width = self.world.spec.model.d_model as usize;
        let values = vec![0.25; rows as usize * width];
        let tensor = Tensor::from_f32(&values, rows as usize, width).unwrap();
        Rows { order: self.credential.id(), pos, j, ticket, tensor }
    }
    fn request(&self, j: u32, chunk: Chunk) -> ChunkRequest {
        ChunkRequest {
            order: self.credential.id(),
            j,
            payword: self.credential.chain.word(j).unwrap_or(Hash::ZERO),
            chunk,
        }
    }

    fn tell(&mut self, from: PublicKey, message: impl Into<ServingMessage>) -> Vec<Effect> {
        self.host.step(1, Input::Peer { from, message: message.into() })
    }
    /// The host before this one.
    fn before(&self) -> PublicKey {
        self.key(self.stage - 1).public()
    }
    /// Open the session in order.
    fn admitted(mut self) -> Self {
        if self.stage == FIRST {
            self.tell(self.client(), self.begin());
            for stage in 1..STAGES {
                let order = self.credential.id();
                self.tell(self.key(stage).public(), Admitted { order, stage });
            }
        } else {
            self.tell(self.key(0).public(), self.open());
        }
        assert_eq!(self.host.sessions(), 1, "the honest way must be open at stage {}", self.stage);
        self
    }
    /// Send, and insist that it is refused for `kind` before anything is computed.
    #[track_caller]
    fn refuses(&mut self, kind: RefusalKind, from: PublicKey, message: impl Into<ServingMessage>) {
        let before = self.host.gate().refusals().get(&kind).copied().unwrap_or(0);
        let effects = self.tell(from, message);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Run(_))), "{effects:?}");
        let answer = effects.iter().find_map(|effect| match effect {
            Effect::Send { to, message: ServingMessage::Refused(refused) } if *to == from => {
                Some(refused.clone())
            }
            _ => None,
        });
        let answer = answer.unwrap_or_else(|| panic!("no refusal was sent: {effects:?}"));
        assert_eq!((answer.kind, answer.stage), (kind, self.stage), "{}", &*answer.text);
        assert_eq!(self.host.gate().refusals().get(&kind).copied(), Some(before + 1));
    }
    #[track_caller]
    fn computes(&mut self, from: PublicKey, message: impl Into<ServingMessage>) {
        let effects = self.tell(from, message);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Run(_))), "{effects:?}");
    }
}

/// Writes a ticket that must not pass.
type Forge = Box<dyn Fn(&Lair) -> SignedTicket>;

trait IntoBlob {
    fn try_into_blob(self) -> tessera_canon::Blob<MAX_LOCK_PROOF>;
}
impl IntoBlob for Vec<u8> {
    fn try_into_blob(self) -> tessera_canon::Blob<MAX_LOCK_PROOF> {
        tessera_canon::Blob::new(self).unwrap()
    }
}
fn read(tokens: &[u32]) -> Chunk {
    Prefill { tokens: List::new(tokens.to_vec()).unwrap() }.into()
}
fn generate(tokens: u32) -> Chunk {
    Generate { tokens }.into()
}

#[test]
fn nothing_without_a_session() {
    for stage in 1..STAGES {
        let mut lair = lair(stage);
        let (before, home) = (lair.before(), lair.key(0).public());
        lair.refuses(RefusalKind::UnknownSession, before, lair.rows(0, 1, 1, None));
        lair.refuses(RefusalKind::UnknownSession, before, lair.rows(0, 4, 1, Some(lair.first())));
        lair.refuses(RefusalKind::UnknownSession, home, lair.first());
    }
    let mut lair = lair(FIRST);
    let client = lair.client();
    lair.refuses(RefusalKind::UnknownSession, client, lair.request(1, read(&[1, 2])));
}

/// What is wrong with a credential is refused by every stage, whoever brings it.
#[test]
fn a_bad_credential_opens_no_stage() {
    for stage in 0..STAGES {
        let unlocked = |lair: &Lair| lair.world.proof(&Hash([9; 32]));
        let attempt = |lair: &mut Lair, proof: Vec<u8>, kind: RefusalKind| {
            if stage == FIRST {
                let begin = Begin { proof: proof.try_into_blob(), ..lair.begin() };
                lair.refuses(kind, lair.client(), begin);
            } else {
                let open = Open { proof: proof.try_into_blob(), ..lair.open() };
                lair.refuses(kind, lair.key(0).public(), open);
            }
            assert_eq!(lair.host.sessions(), 0);
        };
        // No proof, a forged one, one of another cell.
        let mut host = lair(stage);
        attempt(&mut host, Vec::new(), RefusalKind::Proof);
        let forged = host.world.proof_at(999, &host.credential.id());
        attempt(&mut host, forged, RefusalKind::Proof);
        let proof = unlocked(&host);
        attempt(&mut host, proof, RefusalKind::NoLock);
        // Somebody else's lock in place of one's own.
        let other = host.world.lock(CU, 100);
        let proof = host.world.proof(&other.id());
        attempt(&mut host, proof, RefusalKind::NoLock);
        // From before the lock, and too old.
        let early = host.world.proof_at(1, &host.credential.id());
        attempt(&mut host, early, RefusalKind::NoLock);
        let old = host.world.proof(&host.credential.id());
        for _ in 0..21 {
            host.world.block(&[]);
        }
        host.host.step(1, Input::Tick { height: host.world.height });
        attempt(&mut host, old, RefusalKind::StaleProof);
        // Close to its end, and past it.
        for _ in 0..75 {
            host.world.block(&[]);
        }
        host.host.step(1, Input::Tick { height: host.world.height });
        let proof = host.world.proof(&host.credential.id());
        attempt(&mut host, proof, RefusalKind::Expired);
    }
}

#[test]
fn a_settled_or_expired_credential_opens_no_stage() {
    for stage in 0..STAGES {
        let mut lair = lair(stage);
        let settlement = SettleSession {
            order: lair.credential.id(),
            chunks: 1,
            payword: lair.credential.chain.word(1).unwrap(),
            legs: List::default(),
        };
        let home = lair.key(0);
        lair.world.block(&[(&home, settlement.into())]);
        // Being settled in the first round, settled for good in the second.
        for _ in 0..2 {
            if stage == FIRST {
                lair.refuses(RefusalKind::Spent, lair.client(), lair.begin());
            } else {
                lair.refuses(RefusalKind::Spent, home.public(), lair.open());
            }
            (0..15).for_each(|_| drop(lair.world.block(&[])));
            lair.host.step(1, Input::Tick { height: lair.world.height });
        }
    }
}

#[test]
fn a_session_that_ended_here_is_not_opened_again_with_an_old_proof() {
    for stage in 0..STAGES {
        let mut lair = lair(stage).admitted();
        let (open, begin, home) = (lair.open(), lair.begin(), lair.key(0).public());
        let order = lair.credential.id();
        if stage == FIRST {
            let closing = Closing { order, j: 0 };
            let signature = lair.credential.session_key.sign(CLOSE, &closing);
            lair.tell(lair.client(), Close { closing, signature });
            lair.refuses(RefusalKind::Spent, lair.client(), begin);
        } else {
            lair.tell(home, Done { order, chunks: 0, fees: 0 });
            lair.refuses(RefusalKind::Spent, home, open);
            lair.refuses(RefusalKind::Spent, home, lair.first());
            lair.refuses(RefusalKind::Spent, lair.before(), lair.rows(0, 4, 1, Some(lair.first())));
        }
    }
}

#[test]
fn an_order_from_before_the_hosts_start_is_refused() {
    for stage in 1..STAGES {
        let mut inner = lair(stage);
        let key = inner.key(stage);
        let gate =
            GateConfig { since: inner.world.height + 1, ..inner.world.gate_config(stage, key.public()) };
        let proofs = Box::new(inner.world.history.clone());
        inner.host =
            Host::new(HostConfig { key, gate, tuning: Tuning::default() }, proofs, inner.world.height);
        inner.refuses(RefusalKind::BeforeStart, inner.key(0).public(), inner.open());
    }
}

#[test]
fn only_the_drawn_home_opens_and_only_by_the_clients_will() {
    for stage in 1..STAGES {
        let mut lair = lair(stage);
        let home = lair.key(0);
        let proof = || lair.world.proof(&lair.credential.id());
        // The other middle host plays the home.
        let usurper = lair.key(3 - stage);
        let mut hosts = lair.route().hosts.into_inner();
        hosts[0] = usurper.public();
        hosts[usize::from(3 - stage)] = home.public();
        let route = Route { home: usurper.public(), hosts: List::new(hosts).unwrap(), ..lair.route() };
        let session_key = lair.credential.session_key.clone();
        let open = lair.open_with(route, lair.consent(), &session_key, proof(), &usurper);
        // A route signed by somebody else, and one sent by somebody else.
        let unsigned = lair.open_with(lair.route(), lair.consent(), &session_key, proof(), &usurper);
        // The home makes up a client.
        let made_up = lair.open_with(lair.route(), lair.consent(), &home, proof(), &home);
        // Another attempt than the lock's.
        let again = Route { attempt: 1, ..lair.route() };
        let again = lair.open_with(again, lair.consent(), &session_key, proof(), &home);
        // A route that does not pass here, or has a host too few.
        let mut hosts = lair.route().hosts.into_inner();
        hosts[usize::from(stage)] = key(99).public();
        let elsewhere = Route { hosts: List::new(hosts.clone()).unwrap(), ..lair.route() };
        let elsewhere = lair.open_with(elsewhere, lair.consent(), &session_key, proof(), &home);
        hosts.pop();
        let short = Route { hosts: List::new(hosts).unwrap(), ..lair.route() };
        let short = lair.open_with(short, lair.consent(), &session_key, proof(), &home);
        let honest = lair.open();

        lair.refuses(RefusalKind::WrongHome, usurper.public(), open);
        lair.refuses(RefusalKind::Signature, home.public(), unsigned);
        lair.refuses(RefusalKind::Sender, usurper.public(), honest.clone());
        lair.refuses(RefusalKind::Signature, home.public(), made_up);
        lair.refuses(RefusalKind::Attempt, home.public(), again);
        lair.refuses(RefusalKind::Route, home.public(), elsewhere);
        lair.refuses(RefusalKind::Route, home.public(), short);
        assert_eq!(lair.host.sessions(), 0);

        // Opening twice is harmless if it is the same, and refused if it is not.
        lair.tell(home.public(), honest.clone());
        lair.tell(home.public(), honest);
        assert_eq!(lair.host.sessions(), 1);
        let other = Consent { sampling: Sampling { seed: 9, ..GREEDY }, ..lair.consent() };
        let proof = lair.world.proof(&lair.credential.id());
        let other = lair.open_with(lair.route(), other, &session_key, proof, &home);
        lair.refuses(RefusalKind::Attempt, home.public(), other);
    }
    // At the home itself: a stranger with somebody else's order.
    let mut lair = lair(FIRST);
    let stranger = key(66);
    lair.refuses(RefusalKind::Sender, stranger.public(), lair.begin());
    let consent = Consent { client: stranger.public(), ..lair.consent() };
    let signature = stranger.sign(CONSENT, &consent);
    lair.refuses(RefusalKind::Signature, stranger.public(), Begin { consent, signature, ..lair.begin() });
    // An order whose terms were changed is another order, which nobody locked.
    let mut begin = lair.begin();
    begin.order.fee_per_cu += 1;
    lair.refuses(RefusalKind::NoLock, lair.client(), begin);
    assert_eq!(lair.host.sessions(), 0);
}

/// Tickets as a home that lies would write them, at the stages behind it.
#[test]
fn a_bad_ticket_computes_nothing() {
    for stage in 1..STAGES {
        let fresh = || lair(stage).admitted();
        let zero = Hash::ZERO;
        let decode = TicketKind::Decode;
        let prefill = TicketKind::Prefill;
        let attempts: Vec<(RefusalKind, Forge)> = vec![
            (
                RefusalKind::Signature,
                Box::new(|l| SignedTicket {
                    signature: l.key(1).sign(TICKET, &l.first().ticket),
                    ..l.first()
                }),
            ),
            (RefusalKind::OutOfOrder, Box::new(move |l| l.sign(l.ticket(2, prefill, 0, 4, zero)))),
            (RefusalKind::Replayed, Box::new(move |l| l.sign(l.ticket(0, prefill, 0, 4, zero)))),
            (RefusalKind::Allowance, Box::new(move |l| l.sign(l.ticket(CU + 1, prefill, 0, 4, zero)))),
            (RefusalKind::OutOfOrder, Box::new(move |l| l.sign(l.ticket(1, prefill, 0, 4, Hash([1; 32]))))),
            (
                RefusalKind::Payword,
                Box::new(move |l| l.sign(Ticket { payword: Hash([7; 32]), ..l.first().ticket })),
            ),
            (
                RefusalKind::Payword,
                Box::new(move |l| {
                    l.sign(Ticket { payword: l.credential.chain.word(2).unwrap(), ..l.first().ticket })
                }),
            ),
            (RefusalKind::Attempt, Box::new(move |l| l.sign(Ticket { attempt: 1, ..l.first().ticket }))),
            (RefusalKind::Position, Box::new(move |l| l.sign(l.ticket(1, prefill, 1, 4, zero)))),
            (RefusalKind::Position, Box::new(move |l| l.sign(l.ticket(1, decode, 0, 4, zero)))),
            (RefusalKind::ChunkLength, Box::new(move |l| l.sign(l.ticket(1, prefill, 0, 5, zero)))),
            (RefusalKind::ChunkLength, Box::new(move |l| l.sign(l.ticket(1, prefill, 0, 0, zero)))),
            (RefusalKind::ChunkLength, Box::new(move |l| l.sign(l.ticket(1, prefill, 0, u32::MAX, zero)))),
        ];
        for (kind, forge) in attempts {
            let mut lair = fresh();
            let (before, home, forged) = (lair.before(), lair.key(0).public(), forge(&lair));
            lair.refuses(kind, home, forged.clone());
            lair.refuses(kind, before, lair.rows(0, 4, 1, Some(forged)));
            // The refusals changed nothing: the honest chunk still passes.
            lair.computes(before, lair.rows(0, 4, 1, Some(lair.first())));
        }
    }
}

#[test]
fn a_ticket_counts_once_and_another_in_its_place_is_refused() {
    for stage in 1..STAGES {
        let mut lair = lair(stage).admitted();
        let (before, home, first) = (lair.before(), lair.key(0).public(), lair.first());
        lair.computes(before, lair.rows(0, 4, 1, Some(first.clone())));
        // The same ticket again is harmless but covers no more.
        lair.tell(home, first.clone());
        lair.refuses(RefusalKind::Position, before, lair.rows(0, 4, 1, Some(first.clone())));
        // Equivocation: the same payword for other positions.
        let twin = lair.sign(lair.ticket(1, TicketKind::Decode, 4, 8, first.ticket.id()));
        lair.refuses(RefusalKind::Replayed, home, twin);
        // The next needs the next payword.
        let mut next = lair.ticket(2, TicketKind::Decode, 4, 8, first.ticket.id());
        next.payword = first.ticket.payword;
        lair.refuses(RefusalKind::Payword, home, lair.sign(next.clone()));
        next.payword = lair.credential.chain.word(2).unwrap();
        let next = lair.sign(next);
        lair.tell(home, next);
        lair.refuses(RefusalKind::Replayed, home, first);
        assert_eq!(lair.host.gate().session(&lair.credential.id()).unwrap().j, 2);
    }
}

/// A dishonest stage before this one adds its own positions to somebody's session.
#[test]
fn smuggled_positions_take_the_place_of_paid_ones_and_never_exceed_them() {
    for stage in 1..STAGES {
        let mut lair = lair(stage).admitted();
        let before = lair.before();
        let other = lair.key(if stage == 1 { 2 } else { 0 }).public();
        lair.refuses(RefusalKind::OutOfOrder, before, lair.rows(0, 1, 1, None));
        lair.refuses(RefusalKind::Sender, other, lair.rows(0, 4, 1, Some(lair.first())));
        lair.computes(before, lair.rows(0, 2, 1, Some(lair.first())));
        // Again, out of order, past the end, none at all, of a ticket that does not exist.
        for (pos, rows) in [(0, 1), (1, 1), (3, 1), (2, 3), (4, 1), (u32::MAX, 1), (2, u32::MAX)] {
            let mut message = lair.rows(pos, 1, 1, None);
            message.tensor.rows = rows;
            lair.refuses(RefusalKind::Position, before, message);
        }
        lair.refuses(RefusalKind::OutOfOrder, before, lair.rows(2, 1, 2, None));
        let mut empty = lair.rows(2, 1, 1, None);
        empty.tensor = Tensor::empty();
        lair.refuses(RefusalKind::Position, before, empty);
        // Two positions are left of the chunk. However they are used, there are no more.
        lair.tell(before, lair.rows(2, 1, 1, None));
        lair.tell(before, lair.rows(3, 1, 1, None));
        lair.refuses(RefusalKind::Position, before, lair.rows(4, 1, 1, None));
        let session = lair.host.gate().session(&lair.credential.id()).unwrap();
        assert_eq!((session.computed, session.pos), (4, 4));
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_is_refused() {
    for stage in 1..STAGES {
        let mut lair = lair(stage).admitted();
        let before = lair.before();
        let tensors = [
            Tensor::from_f32(&[0.5; 4], 4, 1).unwrap(),
            Tensor { rows: 2, ..lair.rows(0, 4, 1, None).tensor },
            Tensor { codec: 7, ..lair.rows(0, 4, 1, None).tensor },
            Tensor::from_f32(&[f32::NAN; 128], 4, 32).unwrap(),
            Tensor::from_f32(&[f32::INFINITY; 128], 4, 32).unwrap(),
        ];
        for tensor in tensors {
            let rows = Rows { tensor, ..lair.rows(0, 4, 1, Some(lair.first())) };
            lair.refuses(RefusalKind::Shape, before, rows);
        }
        lair.computes(before, lair.rows(0, 4, 1, None));
    }
}

/// The first stage is the home: here the client is the attacker.
#[test]
fn a_bad_chunk_request_computes_nothing_at_the_first_stage() {
    let mut lair = lair(FIRST).admitted();
    let (client, stranger) = (lair.client(), key(66).public());
    lair.refuses(RefusalKind::Sender, stranger, lair.request(1, read(&[1, 2])));
    lair.refuses(RefusalKind::OutOfOrder, client, lair.request(2, read(&[1, 2])));
    lair.refuses(RefusalKind::Replayed, client, lair.request(0, read(&[1, 2])));
    lair.refuses(RefusalKind::Allowance, client, lair.request(CU + 1, read(&[1, 2])));
    let forged = ChunkRequest { payword: Hash([3; 32]), ..lair.request(1, read(&[1, 2])) };
    lair.refuses(RefusalKind::Payword, client, forged);
    lair.refuses(RefusalKind::ChunkLength, client, lair.request(1, read(&[1, 2, 3, 4, 5])));
    lair.refuses(RefusalKind::ChunkLength, client, lair.request(1, read(&[])));
    lair.refuses(RefusalKind::Shape, client, lair.request(1, read(&[320])));
    lair.refuses(RefusalKind::Position, client, lair.request(1, generate(4)));
    lair.refuses(RefusalKind::Route, stranger, lair.rows(0, 1, 1, None));
    assert_eq!(lair.host.gate().session(&lair.credential.id()).unwrap().computed, 0);
    lair.computes(client, lair.request(1, read(&[1, 2])));
    lair.refuses(RefusalKind::OutOfOrder, client, lair.request(2, read(&[1, 2])));
}

#[test]
fn a_session_ends_with_its_order() {
    for stage in 1..STAGES {
        let mut lair = lair(stage).admitted();
        while lair.world.height <= lair.credential.order.open_until {
            lair.world.block(&[]);
        }
        lair.host.step(1, Input::Tick { height: lair.world.height });
        assert_eq!(lair.host.sessions(), 0);
        let before = lair.before();
        let effects = lair.tell(before, lair.rows(0, 4, 1, Some(lair.first())));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Run(_))));
        lair.refuses(RefusalKind::Expired, lair.key(0).public(), lair.open());
    }
}

/// Claim G of the ownership specification: one honest stage is enough. The attacker has all keys but that
/// host's, skips every check of its own, and tries whatever it likes in whatever order.
#[test]
fn one_honest_stage_computes_no_more_than_was_paid_whatever_a_coalition_tries() {
    use proptest::prelude::*;
    let step = (0u8..6, 0u32..4, 0u32..5, 0u32..6, 0u8..5, any::<bool>());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let used = std::cell::Cell::new(0u64);
    proptest!(config, |(stage in 1u16..STAGES, steps in proptest::collection::vec(step, 1..60), revealed in 0u32..4)| {
        let mut lair = lair(stage);
        let (before, home) = (lair.before(), lair.key(0).public());
        let order = lair.credential.id();
        lair.tell(home, lair.open());
        let mut computed = 0u64;
        for (what, skip, skew, rows, wrong, decode) in steps {
            // Mostly what an honest home would say next, so that the attempts get far.
            let session = lair.host.gate().session(&order).cloned();
            let (last_j, paid, done, last) =
                session.map_or((0, 0, 0, Hash::ZERO), |s| (s.j, s.pos, s.computed, s.last_ticket));
            let (j, skew) = (last_j + skip.saturating_sub(1), skew / 4);
            let kind = if decode { TicketKind::Decode } else { TicketKind::Prefill };
            let previous = if wrong == 0 { Hash([5; 32]) } else { last };
            let mut ticket = lair.ticket(j, kind, paid + skew, paid + skew + rows, previous);
            // The client has revealed `revealed` paywords; beyond them the coalition must guess.
            if j > revealed {
                ticket.payword = Hash([j as u8; 32]);
            }
            let signed = lair.sign(ticket);
            let message: ServingMessage = match what {
                0 => lair.open().into(),
                1 => signed.into(),
                2 | 3 => lair.rows(done + skew, rows, j, Some(signed)).into(),
                4 => lair.rows(done + skew, rows, last_j, None).into(),
                _ => Next { order, pos: done, token: rows }.into(),
            };
            let sender = if matches!(message, ServingMessage::Rows(_)) { before } else { home };
            let mut inputs = vec![Input::Peer { from: sender, message }];
            while let Some(input) = inputs.pop() {
                for effect in lair.host.step(1, input) {
                    if let Effect::Run(job) = effect {
                        if let Job::Rows { input: RowInput::Hidden(values), .. } = &*job {
                            computed += values.len() as u64 / 32;
                        }
                        inputs.push(Input::Done(JobResult::Forgotten { order }));
                    }
                }
            }
        }
        // Four positions a chunk, and no chunk without its payword.
        prop_assert!(computed <= u64::from(revealed) * 4, "{} positions for {} chunks", computed, revealed);
        used.set(used.get() + computed);
    });
    assert!(used.get() > 0, "the attempts must get as far as computing what was paid");
}

/// The last stage alone decides whether a token leaves the swarm.
#[test]
fn the_last_stage_hands_out_tokens_only_under_a_ticket_for_generation() {
    let mut lair = lair(STAGES - 1).admitted();
    let (before, home, order) = (lair.before(), lair.key(0).public(), lair.credential.id());
    let tokens = |effects: &[Effect]| -> Vec<u32> {
        let token = |effect: &Effect| match effect {
            Effect::Send { message: ServingMessage::Next(next), .. } => Some(next.pos),
            _ => None,
        };
        effects.iter().filter_map(token).collect()
    };
    let sampled = |pos| Input::Done(JobResult::Token { order, pos, token: 7 });
    lair.computes(before, lair.rows(0, 4, 1, Some(lair.first())));
    let effects = lair.host.step(1, sampled(4));
    assert!(tokens(&effects).is_empty(), "reading a prompt gives no token: {effects:?}");
    // The same ticket again, and one for reading on, release nothing.
    let effects = lair.tell(home, lair.first());
    assert!(tokens(&effects).is_empty());
    let ticket = lair.sign(lair.ticket(2, TicketKind::Decode, 4, 6, lair.first().ticket.id()));
    let effects = lair.tell(home, ticket);
    assert_eq!(tokens(&effects), [4]);
    lair.computes(before, lair.rows(4, 1, 2, None));
    assert_eq!(tokens(&lair.host.step(1, sampled(5))), [5]);
    // The token after the chunk's last waits for the next payword.
    lair.computes(before, lair.rows(5, 1, 2, None));
    assert!(tokens(&lair.host.step(1, sampled(6))).is_empty());
}

#[test]
fn refusals_say_what_was_expected_and_fit_a_message() {
    let order = Hash([1; 32]);
    let refusal = Refusal::Allowance { cu: 4, got: 5 };
    assert!(refusal.to_string().contains('4') && refusal.to_string().contains('5'));
    assert!(!refusal.may_retry() && Refusal::Busy { max: 1 }.may_retry());
    let long = Refusal::Trouble { reason: "ä".repeat(2000) };
    assert!(long.message(order, 1).text.len() <= 512);
    assert_eq!(refusal.kind().name(), "Allowance");
}
