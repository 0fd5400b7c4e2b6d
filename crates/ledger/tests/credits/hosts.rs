//! Bond hosts, slash them for what two signatures prove, and let posted fees follow use.

use crate::world::*;
use std::collections::BTreeMap;
use tessera_canon::{Hash, List, Signature};
use tessera_ledger::{
    CreditRules, Parameters, TxError,
    action::*,
    credits::host::moved,
    credits::settle,
    payword::Chain,
    query,
    ticket::{ROUTE, Route, SignedRoute, SignedTicket, TICKET, Ticket, TicketKind},
};

const FEE: u128 = 500_000;

fn world(rules: CreditRules) -> World {
    World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) })
}
fn host_of(world: &World, stage: u16, at: usize) -> u32 {
    world.index_of(&query::seats_of_stage(world.get(), &RUN, stage)[at].account)
}
fn session(world: &mut World, cu: u32) -> (Hash, u32, Chain) {
    let note = world.note_for(6, cu.into());
    let chain = Chain::new([cu as u8; 32], cu);
    let order = LockOrder { open_until: world.height + 30, ..world.order(6, vec![note], &chain) };
    let (id, home) = world.lock(6, order);
    (id, home, chain)
}

#[test]
fn a_fee_moves_by_an_eighth_towards_seventy_percent() {
    assert_eq!(moved(1_000, 70, 100, u128::MAX), 1_000);
    assert_eq!(moved(1_000, 71, 100, u128::MAX), 1_125);
    assert_eq!(moved(1_000, 69, 100, u128::MAX), 875);
    assert_eq!(moved(1_000, 100, 100, 1_100), 1_100);
    assert_eq!(moved(1_000, 50, 0, u128::MAX), 1_000, "nothing promised, nothing measured");
    assert_eq!((moved(1, 0, 100, 5), moved(4, 100, 100, 9)), (1, 5));
    assert_eq!(moved(u128::MAX, 100, 100, u128::MAX), u128::MAX);
}

#[test]
fn whoever_loses_its_seat_promises_nothing_any_more() {
    let mut world = world(CreditRules::demo());
    let (a, b) = (host_of(&world, 0, 0), host_of(&world, 1, 0));
    for host in [a, b] {
        world.ok(host, HostBond { run: RUN, cu: 50, bond: 500 });
    }
    let capacity = |world: &World, stage| {
        let key = tessera_ledger::keys::capacity(&RUN, stage);
        query::read::<tessera_ledger::record::Capacity>(world.get(), &key).map_or(0, |all| all.cu)
    };
    assert_eq!((capacity(&world, 0), capacity(&world, 1)), (50, 50));
    world.ok(a, LeaveRun { run: RUN });
    let seat = query::member(world.get(), &RUN, &public(b)).unwrap().seat.unwrap();
    world.blocks(7);
    world.ok(6, LapseSeat { run: RUN, stage: 1, seat });
    assert_eq!((capacity(&world, 0), capacity(&world, 1)), (0, 0));
    // The bond stays until the host leaves as such.
    for host in [a, b] {
        let bonded = query::host(world.get(), &RUN, &public(host)).unwrap();
        assert_eq!((bonded.bond, bonded.cu), (500, 0));
    }
}

#[test]
fn pay_is_reduced_in_proportion_to_the_orders_cap() {
    assert_eq!(settle::pay_per_chunk(&[10, 20, 30], 60), [10, 20, 30]);
    assert_eq!(settle::pay_per_chunk(&[10, 20, 30], 59), [9, 19, 29]);
    assert_eq!(settle::pay_per_chunk(&[u128::MAX, u128::MAX], 100), [50, 50]);
    // The specification's example: of 132 U, 3 insure (2 % rounded up) and 129 are paid.
    let (paid, insured) = settle::split(&BTreeMap::from([(public(0), 132)]));
    assert_eq!((paid[&public(0)], insured), (129, 3));
    let (paid, insured) = settle::split(&BTreeMap::new());
    assert_eq!((paid.len(), insured), (0, 0));
}

#[test]
fn a_stages_posted_fee_follows_the_use_of_its_capacity() {
    let rules = CreditRules { fee_epochs: 2, first_fee: 80, ..CreditRules::demo() };
    let mut world = world(rules);
    let (a, b) = (host_of(&world, 0, 0), host_of(&world, 1, 0));
    let price = |world: &World, stage| query::stage_price(world.get(), &RUN, stage).map_or(80, |p| p.price);
    // Stage 0 promises little, stage 1 a lot.
    for (sender, cu) in [(a, 10), (b, 1_000)] {
        world.ok(sender, HostBond { run: RUN, cu, bond: u128::from(cu) * 10 });
    }
    let moves = |world: &mut World| {
        while query::lane(world.get(), &RUN).unwrap().fee_age != 0 {
            world.blocks(1);
        }
    };
    moves(&mut world);
    let start = (price(&world, 0), price(&world, 1));
    let (id, home, chain) = session(&mut world, 40);
    let settlement = world.settlement(id, 40, &chain);
    world.ok(home, settlement);
    while query::lane(world.get(), &RUN).unwrap().used == 0 {
        world.blocks(1);
    }
    let before = (price(&world, 0), price(&world, 1));
    assert!(before.0 <= start.0 && before.1 <= start.1);
    world.blocks(1);
    moves(&mut world);
    // 40 used of 20, and 40 of 2000.
    assert_eq!(price(&world, 0), before.0 + before.0 / 8);
    assert_eq!(price(&world, 1), before.1 - before.1 / 8);
    assert_eq!(query::lane(world.get(), &RUN).unwrap().used, 0);
}

#[test]
fn a_bond_covers_capacity_goes_with_the_seat_and_comes_back_late() {
    let mut world = world(CreditRules::demo());
    let host = host_of(&world, 1, 0);
    let start = world.balance(host);
    world.ok(host, HostBond { run: RUN, cu: 50, bond: 500 });
    world.ok(host, HostBond { run: RUN, cu: 60, bond: 100 });
    let capacity = |world: &World| query::capacity(world.get(), &RUN, 1).map_or(0, |c| c.cu);
    assert_eq!(capacity(&world), 60);
    let refused = world.run(7, HostBond { run: RUN, cu: 1, bond: 10 }).error.unwrap();
    assert!(matches!(refused, TxError::NotMember { .. }), "{refused}");
    // A lapsed seat promises nothing; the bond stays.
    world.blocks(6);
    let seat = query::member(world.get(), &RUN, &public(host)).unwrap().seat.unwrap();
    world.ok(7, LapseSeat { run: RUN, stage: 1, seat });
    assert_eq!(capacity(&world), 0);
    assert_eq!(query::host(world.get(), &RUN, &public(host)).unwrap().bond, 600);
    world.ok(host, HostExit { run: RUN });
    let again = world.run(host, HostBond { run: RUN, cu: 1, bond: 10 }).error.unwrap();
    assert!(matches!(again, TxError::NotMember { .. } | TxError::HostLeaves { .. }), "{again}");
    let leaves = query::host(world.get(), &RUN, &public(host)).unwrap().leaves.unwrap();
    // One epoch of grace and one pending window of the test network.
    while world.height < leaves * 4 - 1 {
        world.blocks(1);
        assert_eq!(world.balance(host), start - 600 - 4 * FEE);
    }
    world.blocks(1);
    assert_eq!(world.balance(host), start - 4 * FEE);
}

fn ticket(order: Hash, j: u32, pos_to: u32) -> Ticket {
    let payword = Hash([j as u8; 32]);
    Ticket {
        order,
        attempt: 0,
        j,
        payword,
        kind: TicketKind::Decode,
        pos_from: 1,
        pos_to,
        previous: Hash::ZERO,
    }
}

#[test]
fn two_tickets_of_one_number_cost_the_home_its_bond() {
    let mut world = world(CreditRules::demo());
    for at in 0..2 {
        let host = host_of(&world, 0, at);
        world.ok(host, HostBond { run: RUN, cu: 100, bond: 1_000 });
    }
    let (id, home, _) = session(&mut world, 20);
    let sign = |ticket: Ticket| SignedTicket { signature: key(home).sign(TICKET, &ticket), ticket };
    let report =
        |a: SignedTicket, b: SignedTicket| ReportHomeEquivocation { evidence: TwoTickets { a, b }.into() };
    let (one, two) = (sign(ticket(id, 3, 10)), sign(ticket(id, 3, 11)));
    let next = sign(ticket(id, 4, 11));
    assert_eq!(
        world.run(7, report(one.clone(), next)).error,
        Some(TxError::NotConflict { what: "a home's statements" })
    );
    let forged = SignedTicket { signature: Signature([0; 64]), ..two.clone() };
    assert_eq!(
        world.run(7, report(one.clone(), forged)).error,
        Some(TxError::HomeSignature { home: public(home) })
    );
    let (fund, reporter) = (world.fund(), world.balance(7));
    world.ok(7, report(one.clone(), two.clone()));
    assert_eq!(world.fund(), fund + 900);
    assert_eq!(world.balance(7), reporter - FEE + 100);
    let host = query::host(world.get(), &RUN, &public(home)).unwrap();
    assert_eq!((host.bond, host.cu), (0, 0));
    let again = world.run(7, report(one, two)).error.unwrap();
    assert!(matches!(again, TxError::Duplicate { .. }), "{again}");
    // Two routes of one attempt of another session.
    let (id, home, _) = session(&mut world, 21);
    let route = |at: usize| {
        let hosts = list(vec![public(home), public(host_of(&world, 1, at))]);
        let route = Route { order: id, attempt: 0, home: public(home), hosts };
        SignedRoute { signature: key(home).sign(ROUTE, &route), route }
    };
    let evidence = TwoRoutes { a: route(0), b: route(1) };
    let before = query::host(world.get(), &RUN, &public(home)).unwrap().bond;
    assert_eq!(before, 1_000, "the other home was drawn: it is the one with a bond");
    world.ok(7, ReportHomeEquivocation { evidence: evidence.into() });
    assert_eq!(query::host(world.get(), &RUN, &public(home)).unwrap().bond, 0);
}

#[test]
fn two_orders_over_one_note_cost_its_owner_the_lock_fee() {
    let mut world = world(CreditRules::demo());
    let note = world.note_for(6, 50);
    let order = |salt| LockOrder { salt, ..world.order(6, vec![note], &Chain::new([1; 32], 50)) };
    let signed = |order: LockOrder| SignedOrder { owner: proof(6, ORDER, &order), order };
    let (a, b) = (signed(order(1)), signed(order(2)));
    let same = ReportClientEquivocation { note, a: a.clone(), b: a.clone() };
    assert_eq!(world.run(7, same).error, Some(TxError::NotConflict { what: "two orders over the note" }));
    let stolen = SignedOrder { owner: proof(7, ORDER, &b.order), order: b.order.clone() };
    let foreign = world.run(7, ReportClientEquivocation { note, a: a.clone(), b: stolen }).error.unwrap();
    assert!(matches!(foreign, TxError::NotOwner { .. }), "{foreign}");
    let reporter = world.balance(7);
    let before = query::credits(world.get(), &RUN).unwrap();
    let receipt = world.ok(7, ReportClientEquivocation { note, a: a.clone(), b: b.clone() });
    assert_eq!(world.balance(7), reporter - FEE, "whoever reports gains nothing");
    let rest = query::note(world.get(), &tessera_ledger::keys::note_id(&receipt.tx, 0)).unwrap();
    assert_eq!((rest.cu, rest.owner), (49, owner(6)));
    assert_eq!(query::credits(world.get(), &RUN).unwrap().total, before.total);
    // A note that one of the orders has locked is left alone.
    let locked = world.note_for(6, 50);
    let order = |salt| LockOrder { salt, ..world.order(6, vec![locked], &Chain::new([1; 32], 50)) };
    let (a, b) = (signed(order(1)), signed(order(2)));
    world.ok(6, LockNotes { order: a.order.clone(), owners: List::default() });
    let refused = world.run(7, ReportClientEquivocation { note: locked, a, b }).error.unwrap();
    assert!(matches!(refused, TxError::Locked { .. }), "{refused}");
}

#[test]
fn refusals_make_a_home_less_likely_and_the_fourth_costs_bond() {
    let mut world = world(CreditRules::demo());
    let mut counts = BTreeMap::<u32, u16>::new();
    let mut slashed = 0;
    for cu in 30..40 {
        for at in 0..2 {
            let host = host_of(&world, 0, at);
            if query::host(world.get(), &RUN, &public(host)).is_none_or(|host| host.cu == 0) {
                world.ok(host, HostBond { run: RUN, cu: 100, bond: 1_000 });
            }
        }
        let (id, home, _) = session(&mut world, cu);
        let height = world.height;
        let refusal = Refusal { network: world.network, order: id, attempt: 0, host: public(home), height };
        let witnesses = witnesses(2, REFUSAL, &refusal);
        let report = ReportRefusal { refusal, witnesses };
        let (fund, bond) =
            (world.fund(), query::host(world.get(), &RUN, &public(home)).map_or(0, |host| host.bond));
        world.ok(5, report.clone());
        let again = world.run(4, report).error.unwrap();
        assert!(matches!(again, TxError::Duplicate { .. }), "{again}");
        let count = counts.entry(home).or_default();
        *count += 1;
        let host = query::host(world.get(), &RUN, &public(home)).unwrap();
        assert_eq!(host.refusals, *count);
        let lost = if *count > 3 { bond / 10 } else { 0 };
        assert_eq!((bond - host.bond, world.fund() - fund), (lost, lost));
        slashed += lost;
    }
    assert!(slashed > 0, "ten refusals of two homes: one has more than three");
}

#[test]
fn what_a_host_paid_in_is_lost_by_conviction_and_else_comes_back_when_it_leaves() {
    for convicted in [false, true] {
        let mut world = world(CreditRules::demo());
        let (id, home, chain) = session(&mut world, 40);
        let settlement = world.settlement(id, 40, &chain);
        world.ok(home, settlement);
        world.blocks(8);
        // 40 x 10 for its stage, less 2 %: it has no bond, but 8 nano-U at stake.
        let insured = |world: &World| query::host(world.get(), &RUN, &public(home)).unwrap().insured;
        let pool = |world: &World| query::lane(world.get(), &RUN).unwrap().insurance;
        assert_eq!((insured(&world), pool(&world)), (8, 16));
        if convicted {
            world.ok(6, DisputeSession { order: id, chunk: 1, stage: 0, commitment: Hash::ZERO });
            let judgement = SessionJudgement { network: world.network, order: id, guilty: true };
            let fund = world.fund();
            world.ok(5, JudgeSession { witnesses: witnesses(3, JUDGEMENT, &judgement), judgement });
            assert_eq!((insured(&world), pool(&world), world.fund()), (0, 8, fund + 8));
        } else {
            let before = world.balance(home);
            world.ok(home, HostExit { run: RUN });
            world.blocks(16);
            assert_eq!((insured(&world), pool(&world)), (0, 8));
            assert_eq!(world.balance(home), before - FEE + 8);
        }
    }
}
