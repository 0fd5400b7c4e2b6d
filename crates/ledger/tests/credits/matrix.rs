//! Walk through the table of partial failures (ownership specification 3.7): who loses what, to the unit.
//!
//! Two stages at 10 nano-U a credit; a transaction costs its sender 500 000, a settlement's bond is 1000.

use crate::world::*;
use tessera_canon::{Hash, List};
use tessera_ledger::{
    CreditRules, Parameters, TxError,
    action::*,
    keys,
    payword::Chain,
    query,
    record::*,
    ticket::{ROUTE, Route, SignedRoute},
};

const FEE: u128 = 500_000;
const USER: u32 = 6;

struct Scene {
    world: World,
    chain: Chain,
    note: Hash,
    id: Hash,
    home: u32,
    /// U of the user before it locked.
    start: u128,
}

/// A session of a note of 40 credits, opened.
fn scene() -> Scene {
    scene_with(CreditRules::demo())
}
fn scene_with(rules: CreditRules) -> Scene {
    scene_in(World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) }))
}
fn scene_in(mut world: World) -> Scene {
    let note = world.note_for(USER, 40);
    let chain = Chain::new([7; 32], 40);
    let start = world.balance(USER);
    let order = LockOrder { open_until: world.height + 20, ..world.order(USER, vec![note], &chain) };
    let (id, home) = world.lock(USER, order);
    Scene { world, chain, note, id, home, start }
}

impl Scene {
    fn change(&self) -> u64 {
        query::note(self.world.get(), &keys::note_id(&self.id, 0)).map_or(0, |note| note.cu)
    }
    fn state(&self) -> LockState {
        query::lock(self.world.get(), &self.id).unwrap().state
    }
    fn insurance(&self) -> u128 {
        query::lane(self.world.get(), &RUN).unwrap().insurance
    }
    fn second_host(&self) -> u32 {
        self.world.index_of(&query::seats_of_stage(self.world.get(), &RUN, 1)[0].account)
    }
    fn failover(&self, j_start: u32) -> Failover {
        let attempt = query::lock(self.world.get(), &self.id).unwrap().attempt + 1;
        let request = FailoverRequest { network: self.world.network, order: self.id, attempt, j_start };
        Failover { signature: key(USER).sign(FAILOVER, &request), request }
    }
    fn final_session(&mut self, chunks: u32) {
        let settlement = self.world.settlement(self.id, chunks, &self.chain);
        self.world.ok(self.home, settlement);
        self.world.blocks(8);
        assert_eq!(self.state(), LockState::Final);
    }
}

#[test]
fn a_client_that_vanishes_pays_for_what_it_agreed_to() {
    let mut scene = scene();
    let (host, home) = (scene.second_host(), scene.home);
    let before = (scene.world.balance(home), scene.world.balance(host));
    scene.final_session(25);
    // 25 credits x 2 stages x 10 = 500, of which 10 insure; 245 for each host.
    assert_eq!(scene.change(), 15);
    assert_eq!(scene.world.balance(USER), scene.start - FEE - 500);
    assert_eq!(scene.world.balance(home), before.0 - FEE + 245);
    assert_eq!(scene.world.balance(host), before.1 + 245);
    assert_eq!(scene.insurance(), 10);
    assert_eq!(query::note(scene.world.get(), &scene.note).unwrap().state, NoteState::Spent);
}

#[test]
fn a_client_that_never_opens_loses_the_lock_fee_alone() {
    let mut scene = scene();
    scene.world.blocks(28);
    assert_eq!((scene.state(), scene.change()), (LockState::Expired, 39));
    assert_eq!(scene.world.balance(USER), scene.start - FEE);
}

#[test]
fn a_stage_host_that_dies_in_a_chunk_costs_the_client_nothing_for_it() {
    // The home settles what was delivered: 10 of 11 chunks that were begun.
    let mut scene = scene();
    scene.final_session(10);
    assert_eq!(scene.change(), 30);
    assert_eq!(scene.world.balance(USER), scene.start - FEE - 200);
}

#[test]
fn a_home_that_dies_is_replaced_and_each_attempt_is_paid_for_its_chunks() {
    let mut scene = scene();
    // The home has some blocks before it can be replaced.
    let early = scene.world.run(1, scene.failover(12)).error.unwrap();
    assert!(matches!(early, TxError::Early { what: "another home", .. }), "{early}");
    scene.world.blocks(5);
    let first = scene.home;
    let request = scene.failover(12);
    scene.world.ok(1, request);
    assert_eq!(scene.state(), LockState::Locking);
    scene.world.blocks(1);
    let lock = query::lock(scene.world.get(), &scene.id).unwrap();
    let second = scene.world.index_of(&lock.home);
    assert_eq!((lock.state, lock.attempt), (LockState::Open, 1));
    assert_ne!(second, first, "the other seat of stage 0");
    // The home that was replaced settles nothing any more.
    let late = SettleSession { legs: List::default(), ..scene.world.settlement(scene.id, 12, &scene.chain) };
    let refused = scene.world.run(first, late).error.unwrap();
    assert!(matches!(refused, TxError::Role { .. }), "{refused}");
    let before = (scene.world.balance(first), scene.world.balance(second));
    let settlement = scene.world.settlement(scene.id, 30, &scene.chain);
    scene.world.ok(second, settlement);
    // But its work is paid once its route is shown: chunks 1 to 12.
    let hosts = scene.world.leg(&scene.id, 0).hosts;
    let route = Route { order: scene.id, attempt: 0, home: public(first), hosts };
    let signed = SignedRoute { signature: key(first).sign(ROUTE, &route), route };
    let raise = RaiseSettle {
        order: scene.id,
        chunks: 30,
        payword: scene.chain.word(30).unwrap(),
        legs: List::default(),
        route: Some(signed),
    };
    scene.world.ok(first, raise);
    scene.world.blocks(8);
    // 30 x 20 = 600; insurance 12. Stage 0: 120 and 180, stage 1: 300 (one host).
    let part = |earned: u128| earned * 588 / 600;
    assert_eq!(scene.world.balance(first), before.0 - FEE + part(120));
    assert_eq!(scene.world.balance(second), before.1 - FEE + part(180));
    assert_eq!(scene.world.balance(USER), scene.start - FEE - 600);
    assert_eq!(scene.insurance(), 600 - part(120) - part(180) - part(300));
    assert_eq!(scene.change(), 10);
}

#[test]
fn a_home_that_is_not_there_at_the_draw_costs_nothing() {
    let mut world = World::serving_run(8);
    let note = world.note_for(USER, 40);
    let start = world.balance(USER);
    let order = world.order(USER, vec![note], &Chain::new([1; 32], 40));
    let id = order.id();
    // Both seats of stage 0 lapse in the block that locks.
    world.blocks(7);
    let order = LockOrder { open_until: world.height + 10, ..order };
    let id = if order.id() == id { id } else { order.id() };
    let mut txs = vec![world.tx(USER, LockNotes { order, owners: List::default() })];
    for (sender, seat) in query::seats_of_stage(world.get(), &RUN, 0).iter().enumerate() {
        txs.push(world.tx(4 + sender as u32, LapseSeat { run: RUN, stage: 0, seat: seat.seat }));
    }
    assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
    world.blocks(1);
    assert_eq!(query::lock(world.get(), &id).unwrap().state, LockState::Expired);
    assert_eq!(query::note(world.get(), &keys::note_id(&id, 0)).unwrap().cu, 40);
    assert_eq!(world.balance(USER), start - FEE);
}

#[test]
fn a_guilty_host_pays_ten_times_the_fees_and_no_credit_is_made() {
    // Posted fees stand still, although stage 1 has capacity that is not used.
    let mut scene = scene_with(CreditRules { fee_epochs: 1_000, ..CreditRules::demo() });
    let host = scene.second_host();
    scene.world.ok(host, HostBond { run: RUN, cu: 100, bond: 20_000 });
    scene.final_session(20);
    let total = query::credits(scene.world.get(), &RUN).unwrap().total;
    let dispute = |stage, chunk| DisputeSession { order: scene.id, chunk, stage, commitment: Hash([3; 32]) };
    let (open, out_of_range) = (dispute(1, 20), dispute(1, 21));
    let refused = scene.world.run(USER, out_of_range).error.unwrap();
    assert_eq!(refused, TxError::Chunks { max: 20, got: 21 });
    let before = scene.world.balance(USER);
    scene.world.ok(USER, open.clone());
    assert_eq!(scene.world.balance(USER), before - FEE - 1_000_000);
    let again = scene.world.run(USER, open).error.unwrap();
    assert!(matches!(again, TxError::Duplicate { .. }), "{again}");
    let fund = scene.world.fund();
    let judgement = SessionJudgement { network: scene.world.network, order: scene.id, guilty: true };
    let few = JudgeSession { witnesses: witnesses(2, JUDGEMENT, &judgement), judgement: judgement.clone() };
    assert_eq!(scene.world.run(1, few).error, Some(TxError::Witnesses { needed: 3, got: 2 }));
    let verdict = JudgeSession { witnesses: witnesses(3, JUDGEMENT, &judgement), judgement };
    scene.world.ok(1, verdict.clone());
    // 20 x 20 = 400 in fees: 4000 from the bond, which then covers all the same the capacity of 100.
    let bonded = query::host(scene.world.get(), &RUN, &public(host)).unwrap();
    assert_eq!((bonded.bond, bonded.cu), (16_000, 100));
    assert_eq!(scene.world.fund(), fund + 4_000);
    assert_eq!(scene.world.balance(USER), before - 3 * FEE + FEE);
    assert_eq!(query::credits(scene.world.get(), &RUN).unwrap().total, total);
    let again = scene.world.run(1, verdict).error.unwrap();
    assert!(matches!(again, TxError::Duplicate { .. }), "{again}");
}

/// A drawn host of the same stage re-does the chunk; nobody asks the validators.
#[test]
fn a_panel_of_the_stage_decides_where_the_validators_do_not() {
    let trust = tessera_ledger::trust::TrustParams {
        commit_blocks: 4,
        reveal_blocks: 4,
        ..tessera_ledger::trust::TrustParams::demo()
    };
    for (said, kept) in
        [(Verdict::Fraud, 1_000_000), (Verdict::Innocent, 0), (Verdict::HonestError, 1_000_000)]
    {
        let credits = CreditRules { fee_epochs: 1_000, ..CreditRules::demo() };
        let parameters = Parameters { credits, trust: trust.clone(), ..Parameters::from(params()) };
        let mut scene = scene_in(World::serving_run_with(8, parameters));
        let host = scene.second_host();
        scene.world.ok(host, HostBond { run: RUN, cu: 100, bond: 20_000 });
        scene.final_session(20);
        let before = (scene.world.balance(USER), scene.world.balance(host));
        scene.world.ok(USER, DisputeSession { order: scene.id, chunk: 1, stage: 1, commitment: Hash::ZERO });
        scene.world.blocks(1);
        let panel = query::panel(scene.world.get(), &scene.id).expect("it was drawn");
        // Two seats in the stage: the other one is asked.
        assert_eq!(panel.auditors.len(), 1);
        let auditor = scene.world.index_of(&panel.auditors[0]);
        assert_ne!(auditor, host);
        let (digest, salt) = (Hash([1; 32]), Hash([2; 32]));
        let opening = AuditOpening { panel: panel.id, auditor: public(auditor), verdict: said, digest, salt };
        let commit = tessera_canon::digest(AUDIT, &opening);
        scene.world.ok(auditor, AuditCommit { panel: panel.id, commit });
        scene.world.blocks(4);
        scene.world.ok(auditor, AuditReveal { panel: panel.id, verdict: said, digest, salt });
        scene.world.blocks(60);
        assert!(query::panel(scene.world.get(), &scene.id).is_none(), "what is decided is forgotten");
        let bonded = query::host(scene.world.get(), &RUN, &public(host)).unwrap().bond;
        assert_eq!(bonded, if said == Verdict::Fraud { 16_000 } else { 20_000 });
        assert_eq!(scene.world.balance(USER), before.0 - FEE - 1_000_000 + kept);
        assert_eq!(
            scene.world.balance(host),
            before.1 + if said == Verdict::Innocent { 1_000_000 } else { 0 }
        );
    }
}

#[test]
fn a_client_that_doubts_a_right_chunk_pays_the_host_and_one_that_nobody_judges_pays_nothing() {
    for judged in [true, false] {
        let mut scene = scene();
        scene.final_session(20);
        let host = scene.second_host();
        let before = (scene.world.balance(USER), scene.world.balance(host));
        let dispute = DisputeSession { order: scene.id, chunk: 1, stage: 1, commitment: Hash::ZERO };
        scene.world.ok(USER, dispute);
        if judged {
            let judgement = SessionJudgement { network: scene.world.network, order: scene.id, guilty: false };
            let witnesses = witnesses(4, JUDGEMENT, &judgement);
            scene.world.ok(4, JudgeSession { judgement, witnesses });
            assert_eq!(scene.world.balance(host), before.1 + 1_000_000);
        }
        scene.world.blocks(60);
        let bond = if judged { 1_000_000 } else { 0 };
        assert_eq!(scene.world.balance(USER), before.0 - FEE - bond);
        // Twelve epochs later it is too late.
        let late = DisputeSession { order: scene.id, chunk: 1, stage: 0, commitment: Hash::ZERO };
        assert!(scene.world.run(USER, late).error.is_some());
    }
}

#[test]
fn a_home_that_tickets_more_than_it_delivers_gains_one_chunk() {
    // The client revealed the payword of chunk 4, got nothing for it, and stopped.
    let mut scene = scene();
    scene.final_session(4);
    assert_eq!(scene.change(), 40 - 3 - 1);
    assert_eq!(scene.world.balance(USER), scene.start - FEE - 3 * 20 - 20);
}

#[test]
fn while_a_stage_has_no_host_no_note_grows_older() {
    let rules = CreditRules { series_epochs: 4, ..CreditRules::demo() };
    let mut world = World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) });
    let note = world.note_for(USER, 40);
    let series = |world: &World| query::credits(world.get(), &RUN).unwrap().series;
    world.blocks(8);
    for seat in query::seats_of_stage(world.get(), &RUN, 1) {
        world.ok(4, LapseSeat { run: RUN, stage: 1, seat: seat.seat });
    }
    let before = series(&world);
    // Ten times the life of a series.
    world.blocks(4 * 4 * 10);
    assert_eq!(series(&world), before);
    // With a host the clock goes on, and in the end the note expires.
    world.ok(5, join(RUN, 5));
    world.blocks(4 * 4);
    assert_eq!(series(&world), before + 1);
    world.blocks(4 * 4 * 2);
    let kept = query::note(world.get(), &note).unwrap();
    assert_eq!(query::usable(world.get(), &kept), None);
}

#[test]
fn a_wrong_poster_loses_its_bond_and_only_the_homes_word_corrects_hosts() {
    let mut scene = scene();
    let (home, host) = (scene.home, scene.second_host());
    let other = scene.world.index_of(&query::seats_of_stage(scene.world.get(), &RUN, 1)[1].account);
    // The payer names a host that served nothing.
    let mut wrong = scene.world.settlement(scene.id, 10, &scene.chain);
    wrong.legs = list(vec![Leg { attempt: 0, hosts: list(vec![public(home), public(other)]) }]);
    scene.world.ok(USER, wrong.clone());
    let raise = |chunks, legs, route| RaiseSettle {
        order: scene.id,
        chunks,
        payword: scene.chain.word(chunks).unwrap(),
        legs,
        route,
    };
    // The host's own word is worth nothing.
    let legs = list(vec![scene.world.leg(&scene.id, 0)]);
    let own_word = raise(10, legs, None);
    let refused = scene.world.run(host, own_word).error.unwrap();
    assert_eq!(refused, TxError::NotBetter { settled: 10, got: 10 });
    let route =
        Route { order: scene.id, attempt: 0, home: public(home), hosts: scene.world.leg(&scene.id, 0).hosts };
    let signed = SignedRoute { signature: key(home).sign(ROUTE, &route), route };
    let (fund, before) = (scene.world.fund(), scene.world.balance(host));
    let shown = raise(10, List::default(), Some(signed));
    scene.world.ok(host, shown);
    assert_eq!(scene.world.fund(), fund + 1_000);
    scene.world.blocks(8);
    // 10 x 20 = 200, less 2 %.
    assert_eq!(scene.world.balance(host), before - FEE + 98);
    assert_eq!(scene.world.balance(USER), scene.start - 2 * FEE - 200 - 1_000);
}

#[test]
fn a_session_never_pays_more_than_its_order_allows() {
    // The posted price of stage 1 is raised to the skies between lock and settlement.
    let mut scene = scene();
    let key = keys::stage_price(&RUN, 1);
    let dear = StagePrice { run: RUN, stage: 1, price: 1 << 90, auctioned: true };
    scene.world.state.0.insert(key, tessera_ledger::Cell::pack(&dear.into()));
    scene.final_session(40);
    // The order allows 1000 a credit. The cap of the run's policy holds before: 10 and 1e9, in proportion.
    let paid = scene.start - FEE - scene.world.balance(USER);
    assert!((40 * 998..=40 * 1000).contains(&paid), "{paid}");
}
