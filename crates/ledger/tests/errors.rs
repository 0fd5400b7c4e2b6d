//! Provoke every reason for refusal once, each by one case, and read its name and figures.

#[path = "trust/machine.rs"]
mod machine;
#[path = "errors/runs.rs"]
mod runs_room;
#[path = "trust/setting.rs"]
mod setting;
#[path = "errors/trust.rs"]
mod trust_room;
mod world;

use std::collections::BTreeSet;
use tessera_canon::{Hash, Text};
use tessera_ledger::{
    CreditRules, TxError, account,
    action::*,
    genesis::{Parameters, Params},
    payword::Chain,
    query,
    record::{Note, NoteState, Seat},
    ticket::{Route, SignedRoute},
    tx::{SignedTx, Tx},
};
use world::{market::*, *};

/// The variant's name.
fn name(error: &TxError) -> String {
    format!("{error:?}").split([' ', '{', '(']).next().unwrap_or_default().to_string()
}

/// Every variant before the rooms' own blocks, from the source, so that a new one without a case fails this test.
fn every_name() -> BTreeSet<String> {
    let source = include_str!("../src/error.rs");
    let body =
        source.split("pub enum TxError {").nth(1).expect("the enum").split("\n}").next().expect("its end");
    let body = body.split("\n    // ").next().expect("its common part");
    body.lines()
        .filter(|line| line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase))
        .map(|line| line.trim().split([' ', ',', '{']).next().unwrap_or_default().to_string())
        .collect()
}

#[derive(Default)]
struct Table(BTreeSet<String>);
impl Table {
    fn case(&mut self, world: &mut World, sender: u32, action: impl Into<Action>, expected: &str) -> TxError {
        let action = action.into();
        let before = query::account(world.get(), &public(sender)).expect("a funded account");
        let receipt = world.run(sender, action.clone());
        let error = receipt.error.clone().unwrap_or_else(|| panic!("{action:?} should give {expected}"));
        assert_eq!(name(&error), expected, "{error}");
        assert!(receipt.includable());
        let after = query::account(world.get(), &public(sender)).expect("a funded account");
        assert_eq!(after.nonce, before.nonce + 1);
        self.0.insert(expected.to_string());
        error
    }
    fn envelope(&mut self, world: &mut World, tx: SignedTx, expected: &str) {
        let before = world.state.clone();
        let receipt = world.block(&[tx]).receipts.remove(0);
        let error = receipt.error.clone().unwrap_or_else(|| panic!("should give {expected}"));
        assert_eq!(name(&error), expected, "{error}");
        assert!(receipt.rejected());
        assert_eq!(world.state, before, "a transaction that cannot be included changes nothing");
        self.0.insert(expected.to_string());
    }
}

fn envelopes(table: &mut Table) {
    let mut world = World::new(3, Params { epoch_blocks: 1000, ..params() });
    let body = |world: &World| Tx {
        network: world.network,
        sender: public(1),
        nonce: 0,
        fee: 500_000,
        fee_from: tessera_ledger::FeeSource::default(),
        action: Transfer { to: public(2), amount: 1 }.into(),
    };
    let good = body(&world);
    let wrong = SignedTx::sign(&key(1), Tx { network: Hash::ZERO, ..good.clone() });
    table.envelope(&mut world, wrong, "WrongNetwork");
    let wrong = SignedTx::sign(&key(2), good.clone());
    table.envelope(&mut world, wrong, "BadSignature");
    let wrong = SignedTx::sign(&key(1), Tx { nonce: 1, ..good.clone() });
    table.envelope(&mut world, wrong, "WrongNonce");
    let wrong = SignedTx::sign(&key(1), Tx { fee: 1, ..good.clone() });
    table.envelope(&mut world, wrong, "FeeTooSmall");
    let wrong = SignedTx::sign(&key(1), Tx { fee: RICH + 1, ..good });
    table.envelope(&mut world, wrong, "FeeFunds");
    let entries = vec![WorkEntry { account: public(1), microbatches: 1 }; MAX_SEATS];
    let report = world.report(RUN, 0, entries, None);
    let signatures = vec![SeatSignature { seat: 0, signature: NO_SIGNATURE }; MAX_SEATS];
    let largest = ReportWindow { report, signatures: list(signatures) };
    // The largest action fits: the limit is a second line of defence behind the bounds in the types.
    let largest = SignedTx::sign(&key(1), Tx { action: largest.into(), ..body(&world) });
    assert!(largest.size() < tessera_ledger::MAX_TX_BYTES, "{}", largest.size());
    assert_eq!(account::least_fee(&params(), 100), params().fee_flat + 100 * params().fee_per_byte);
}

fn runs(table: &mut Table) {
    let mut world = World::new(8, params());
    let t = table;
    let funds = t.case(&mut world, 1, Transfer { to: public(2), amount: RICH }, "Funds");
    assert!(funds.to_string().contains("1000000000000 nano-U are needed"));
    t.case(&mut world, 0, CreateRun { seats: 0, ..create_run(RUN, 2, 4) }, "Parameter");
    world.ok(0, create_run(RUN, 2, 4));
    t.case(&mut world, 0, create_run(RUN, 2, 4), "Duplicate");
    t.case(&mut world, 0, join(Hash::ZERO, 0), "Unknown");
    t.case(&mut world, 7, join(RUN, 7), "NotDesigner");
    let nowhere = JoinRun { run: RUN, endpoint: Text::new("localhost").unwrap() };
    t.case(&mut world, 0, nowhere, "Endpoint");
    for i in 0..4 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    t.case(&mut world, 0, join(RUN, 0), "AlreadyMember");
    let move_on = UpdateEndpoint { run: RUN, endpoint: "1.2.3.4:5".parse().unwrap() };
    t.case(&mut world, 7, move_on, "NotMember");
    let holder = world.index_of(&query::seat(world.get(), &RUN, 0, 0).unwrap().account);
    world.ok(holder, UpdateEndpoint { run: RUN, endpoint: "1.2.3.4:5".parse().unwrap() });
    let silent = t.case(&mut world, 7, LapseSeat { run: RUN, stage: 0, seat: 0 }, "NotSilent");
    assert_eq!(silent, TxError::NotSilent { silent: 1, needed: 6 });

    let (sender, good) = world.full_report(RUN, 0, None).unwrap();
    let seats: Vec<Seat> = query::seats_of_stage(world.get(), &RUN, 0);
    let edit = |world: &World, change: &dyn Fn(&mut WindowReport)| {
        let mut report = good.report.clone();
        change(&mut report);
        world.sign_report(report, &seats)
    };
    let bad = edit(&world, &|r| r.window = 1);
    t.case(&mut world, sender, bad, "WindowOrder");
    let bad = edit(&world, &|r| r.network = Hash::ZERO);
    t.case(&mut world, sender, bad, "SignedForOtherNetwork");
    let bad = edit(&world, &|r| r.entries = list(r.entries.iter().take(1).cloned().collect()));
    let sum = t.case(&mut world, sender, bad, "WorkSum");
    assert_eq!(sum, TxError::WorkSum { expected: 12, got: 6 });
    let bad = edit(&world, &|r| r.entries = list(r.entries.iter().rev().cloned().collect()));
    t.case(&mut world, sender, bad, "NotAscending");
    let mut bad = good.clone();
    bad.signatures = list(bad.signatures.iter().take(1).cloned().collect());
    assert_eq!(t.case(&mut world, sender, bad, "Quorum"), TxError::Quorum { expected: 2, got: 1 });
    let mut bad = good.clone();
    bad.report.state_root = Hash::ZERO;
    t.case(&mut world, sender, bad, "SeatSignature");

    for loss in [10, 9, 8, 7] {
        world.close_window(RUN, loss * 1_000_000);
    }
    for i in 4..6 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    t.case(&mut world, 7, join(RUN, 7), "NoSeat");
    let state = t.case(&mut world, sender, good, "RunState");
    assert!(state.to_string().contains("it is serving"));
    t.case(&mut world, 7, TransferShares { run: RUN, to: public(1), amount: 1 }, "Shares");
    t.case(&mut world, 7, ClaimCredits { run: RUN, to: owner(7) }, "NothingDue");
}

fn credits(t: &mut Table) {
    let mut world = World::serving_run(8);
    let network = world.network;
    let (first, second) = (world.note_for(5, 10), world.note_for(6, 10));
    let to_self = |cu| vec![NoteOutput { owner: owner(5), cu }];
    t.case(&mut world, 5, reshape(network, vec![first], to_self(11)), "Sum");
    t.case(&mut world, 5, reshape(network, vec![second], to_self(10)), "NotOwner");

    // A second run, so that notes can be mixed.
    let other = Hash([4; 32]);
    world.seated_run(other, 2, 4);
    for _ in 0..4 {
        world.close_window(other, 5_000_000);
    }
    world.blocks(12);
    world.ok(1, ClaimCredits { run: other, to: owner(5) });
    let foreign = query::notes_of(world.get(), &public(5)).into_iter().find(|n| n.run == other).unwrap();
    t.case(&mut world, 5, reshape(network, vec![first, foreign.id], to_self(10 + foreign.cu)), "Mixed");

    let chain = Chain::new([3; 32], 10);
    let lock = |order: LockOrder| LockNotes { order, owners: list(vec![]) };
    let order = world.order(5, vec![first], &chain);
    t.case(&mut world, 5, lock(LockOrder { series: 3, ..order.clone() }), "Series");
    t.case(&mut world, 5, lock(LockOrder { open_until: 1, ..order.clone() }), "OpenUntil");
    t.case(&mut world, 5, lock(LockOrder { fee_per_cu: u128::MAX, ..order.clone() }), "Overflow");
    // Without hosts there is no home.
    let mut empty = world.clone();
    for seat in query::seats_of_stage(empty.get(), &RUN, 0) {
        empty.blocks(7);
        empty.ok(7, LapseSeat { run: RUN, stage: 0, seat: seat.seat });
    }
    let late = empty.order(5, vec![first], &chain);
    t.case(&mut empty, 5, lock(late), "NoHome");

    let order = world.order(5, vec![first], &chain);
    let id = order.id();
    world.ok(5, lock(order));
    t.case(&mut world, 5, reshape(network, vec![first], to_self(10)), "Locked");
    let settle = |chunks, word: Hash| SettleSession { order: id, chunks, payword: word, legs: list(vec![]) };
    let raise = |chunks, payword| RaiseSettle { order: id, chunks, payword, legs: list(vec![]), route: None };
    let word = |chunks| chain.word(chunks).unwrap();
    t.case(&mut world, 5, settle(11, word(10)), "Chunks");
    t.case(&mut world, 5, settle(5, word(4)), "Payword");
    t.case(&mut world, 5, ExpireLock { order: id }, "Early");
    t.case(&mut world, 5, FinalizeSession { order: id }, "OrderState");
    world.ok(5, settle(5, word(5)));
    t.case(&mut world, 5, raise(5, word(5)), "NotBetter");
    // Four blocks later raising is over, whether or not a boundary made it final.
    let posted = query::settlement(world.get(), &id).unwrap().height;
    while world.height < posted + 3 {
        world.blocks(1);
    }
    let error = world.run(5, raise(6, word(6))).error.unwrap();
    assert!(["Late", "OrderState"].contains(&name(&error).as_str()), "{error}");
    world.blocks(4);
    assert_eq!(query::note(world.get(), &first).unwrap().state, NoteState::Spent);
    t.case(&mut world, 5, reshape(network, vec![first], to_self(10)), "Spent");
}

/// Boundaries far apart, so that a lock is past its time before one expires it.
fn late_settlement(t: &mut Table) {
    let mut world = World::serving_run(8);
    let note = world.note_for(5, 10);
    let chain = Chain::new([8; 32], 10);
    // A boundary every 4 blocks, delay 3: choose an end just after a boundary.
    while !world.height.is_multiple_of(4) {
        world.blocks(1);
    }
    let mut order = world.order(5, vec![note], &chain);
    order.open_until = world.height + 2;
    let id = order.id();
    world.ok(5, LockNotes { order, owners: list(vec![]) });
    world.blocks(4);
    let late = SettleSession { order: id, chunks: 1, payword: chain.word(1).unwrap(), legs: list(vec![]) };
    // open_until + delay = 5 blocks past the boundary; this is the 6th.
    t.case(&mut world, 5, late, "Late");
}

fn market(t: &mut Table) {
    let mut parameters = free_shares(params());
    parameters.market.max_orders = 2;
    parameters.market.credit_fees = 1;
    let mut world = World::trained_run(8, parameters, 9000, 90);
    world.next_boundary();
    let cu = credits_of(RUN);
    let note = world.claim_note(RUN, 0);
    let commit =
        |collateral: Collateral, market: MarketId| OrderCommit { market, seal: Hash::ZERO, collateral };
    let money = || Collateral::from(MoneyCollateral { amount: 100 });
    let notes = |notes| Collateral::from(NoteCollateral { notes: list(notes) });
    let shares = || Collateral::from(ShareCollateral { amount: 1 });

    // Every case takes a block: the second half of a batch of 4 has two.
    world.wait_for(Asset::Cu, true);
    t.case(&mut world, 5, commit(money(), cu.clone()), "AuctionPhase");
    world.wait_for(Asset::Share, false);
    t.case(&mut world, 5, commit(notes(vec![note]), shares_of(RUN)), "Parameter");
    world.wait_for(Asset::Cu, false);
    t.case(&mut world, 5, commit(shares(), cu.clone()), "Parameter");
    world.wait_for(Asset::Cu, false);
    t.case(&mut world, 5, commit(money(), MarketId { series: 1, ..cu.clone() }), "Series");
    world.wait_for(Asset::Cu, false);
    t.case(&mut world, 5, commit(notes(vec![note]), cu.clone()), "NotOwner");

    // Orders with every kind of mistake: two fill the batch.
    let good = bid(5, 10, 3);
    world.wait_for(Asset::Cu, true);
    world.wait_for(Asset::Cu, false);
    let low = OrderTerms { limit: 11, ..good.terms.clone() };
    let seal_low = seal(&public(6), &low, &salt(6));
    let collateral = Collateral::from(MoneyCollateral { amount: 32 });
    let txs = [
        world.commit(&cu, &good),
        world.tx(6, OrderCommit { market: cu.clone(), seal: seal_low, collateral }),
        world.commit(&cu, &bid(7, 1, 1)),
    ];
    let receipts = world.block(&txs).receipts;
    assert!(receipts[0].ok() && receipts[1].ok());
    assert_eq!(receipts[2].error, Some(TxError::BookFull { most: 2 }));
    t.0.insert("BookFull".into());
    let [first, second] = [txs[0].id(), txs[1].id()];
    world.wait_for(Asset::Cu, true);
    let open = |order, terms: &OrderTerms, of| OrderReveal { order, terms: terms.clone(), salt: salt(of) };
    let txs = [
        world.tx(5, OrderCancel { order: first }),
        world.tx(6, open(first, &good.terms, 5)),
        world.tx(5, open(first, &good.terms, 6)),
        world.tx(6, open(second, &low, 6)),
        world.tx(5, open(first, &good.terms, 5)),
        world.tx(5, open(first, &good.terms, 5)),
    ];
    let receipts = world.block(&txs).receipts;
    let names: Vec<_> = receipts.iter().map(|r| r.error.as_ref().map_or("-".into(), name)).collect();
    assert_eq!(names, ["AuctionPhase", "Role", "Seal", "Collateral", "-", "Duplicate"]);
    assert_eq!(receipts[3].error, Some(TxError::Collateral { needed: 33, got: 32 }));
    t.0.extend(names);

    // A note for sale is not free; one that is bound cannot be sold.
    world.wait_for(Asset::Cu, true);
    world.wait_for(Asset::Cu, false);
    let network = world.network;
    let tx = world.commit(&cu, &ask_notes(0, 1, 1, vec![note]));
    assert!(world.block(&[tx]).receipts[0].ok());
    let all = query::note(world.get(), &note).unwrap().cu;
    t.case(
        &mut world,
        0,
        reshape(network, vec![note], vec![NoteOutput { owner: owner(0), cu: all }]),
        "Offered",
    );
    world.wait_for(Asset::Cu, true);
    world.wait_for(Asset::Cu, false);
    world.blocks(1);
    let mut free = query::notes_of(world.get(), &public(0)).remove(0);
    free.flags = tessera_ledger::record::Note::BOUND;
    let (id, key) = (free.id, tessera_ledger::keys::note(&free.id));
    world.state.0.insert(key, tessera_ledger::Cell::pack(&free.into()));
    t.case(&mut world, 0, commit(notes(vec![id]), cu.clone()), "NotForSale");

    // Fees in credits.
    let due = || tessera_ledger::FeeSource::Due(tessera_ledger::tx::FromDue { run: RUN });
    let with = |note| tessera_ledger::FeeSource::Note(tessera_ledger::tx::FromNote { note });
    let pay = Transfer { to: public(1), amount: 1 };
    // Not at a boundary, which changes more than the envelope.
    let quiet = |world: &mut World| {
        if (world.height + 1).is_multiple_of(4) {
            world.blocks(1);
        }
    };
    for (sender, source, expected) in
        [(0, with(id), "FeeNote"), (5, due(), "FeeCredits"), (0, due(), "NoMedian")]
    {
        quiet(&mut world);
        let tx = world.tx_from(sender, pay.clone(), source);
        t.envelope(&mut world, tx, expected);
    }

    // Three batches give the credits a median; then the bound of an epoch speaks.
    for _ in 0..3 {
        let note = world.claim_note(RUN, 0);
        let wanted = [ask_notes(0, 500_000, 1, vec![note]), bid(5, 500_000, 1)];
        world.auction(&cu, &wanted);
    }
    quiet(&mut world);
    let tx = world.tx_from(0, pay, due());
    t.envelope(&mut world, tx, "FeeQuota");

    // A wrapper whose last change waits for a sale: half of the run earns 50 credits an epoch, which nobody buys.
    let half = query::owner(world.get(), &RUN, &public(0)).unwrap().shares / 2;
    world.ok(0, AutoSellWrap { run: RUN, amount: half });
    world.next_boundary();
    world.next_boundary();
    world.ok(0, AutoSellUnwrap { run: RUN, amount: 1 });
    world.next_boundary();
    t.case(&mut world, 0, AutoSellUnwrap { run: RUN, amount: 1 }, "PoolBusy");

    let cap = tessera_ledger::Policy::default().host_fee_cap + 1;
    t.case(&mut world, 0, HostAsk { run: RUN, stage: 0, price: cap, capacity: 1 }, "Cap");
}

/// What series, homes, hosts and evidence refuse.
fn credits_room(t: &mut Table) {
    let rules = CreditRules { series_epochs: 20, failover_blocks: 1, ..CreditRules::demo() };
    let mut world = World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) });
    let network = world.network;
    // Hosts.
    let host = world.index_of(&query::seats_of_stage(world.get(), &RUN, 0)[0].account);
    t.case(&mut world, host, HostBond { run: RUN, cu: 10, bond: 99 }, "HostBond");
    world.ok(host, HostBond { run: RUN, cu: 10, bond: 100 });
    world.ok(host, HostExit { run: RUN });
    t.case(&mut world, host, HostExit { run: RUN }, "HostLeaves");
    // Homes.
    let note = world.note_for(5, 10);
    let chain = Chain::new([3; 32], 10);
    let order = LockOrder { open_until: world.height + 30, ..world.order(5, vec![note], &chain) };
    let cheap = LockNotes { order: LockOrder { fee_per_cu: 19, ..order.clone() }, owners: list(vec![]) };
    let cap = t.case(&mut world, 5, cheap, "FeeCap");
    assert_eq!(cap, TxError::FeeCap { posted: 20, got: 19 });
    let (id, home) = world.lock(5, order.clone());
    let ask = |attempt, j_start| {
        let request = FailoverRequest { network, order: id, attempt, j_start };
        Failover { signature: key(5).sign(FAILOVER, &request), request }
    };
    world.blocks(1);
    t.case(&mut world, 1, ask(2, 0), "Attempt");
    t.case(&mut world, 1, ask(1, 11), "JStart");
    let unsigned = Failover { signature: NO_SIGNATURE, ..ask(1, 0) };
    t.case(&mut world, 1, unsigned, "SessionSignature");
    let mut foreign = ask(1, 0);
    foreign.request.network = Hash::ZERO;
    t.case(&mut world, 1, foreign, "SignedForOtherNetwork");
    let mut settlement = world.settlement(id, 3, &chain);
    settlement.legs = list(vec![Leg { attempt: 0, hosts: list(vec![public(home)]) }]);
    t.case(&mut world, home, settlement, "LegHosts");
    // Evidence.
    let route = Route { order: id, attempt: 0, home: public(home), hosts: world.leg(&id, 0).hosts };
    let signed = SignedRoute { signature: NO_SIGNATURE, route };
    let mut other = signed.clone();
    other.route.hosts = list(vec![public(home)]);
    let report = |a: &SignedRoute, b: &SignedRoute| ReportHomeEquivocation {
        evidence: TwoRoutes { a: a.clone(), b: b.clone() }.into(),
    };
    t.case(&mut world, 1, report(&signed, &signed), "NotConflict");
    t.case(&mut world, 1, report(&signed, &other), "HomeSignature");
    let refusal = Refusal { network, order: id, attempt: 0, host: public(home), height: world.height - 1 };
    t.case(&mut world, 1, ReportRefusal { refusal, witnesses: list(vec![]) }, "Witnesses");
    // Series.
    let kept = world.note_for(5, 10);
    t.case(&mut world, 5, RollNote { note: kept }, "NotToRoll");
    while query::credits(world.get(), &RUN).unwrap().series < 2 {
        world.blocks(4);
    }
    t.case(&mut world, 5, RollNote { note: kept }, "NoteExpired");
}

/// A note of the public lane must stay as it is.
fn bound_notes(t: &mut Table) {
    let rules = CreditRules { public_note: 1, public_life: 100, ..CreditRules::demo() };
    let mut world = World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) });
    let note = world.note_for(5, 100);
    let chain = Chain::new([4; 32], 100);
    let order = world.order(5, vec![note], &chain);
    let (id, home) = world.lock(5, order);
    let settlement = world.settlement(id, 100, &chain);
    world.ok(home, settlement);
    world.ok(6, PublicApply { run: RUN, owner: owner(6) });
    world.blocks(8);
    world.ok(6, PublicApply { run: RUN, owner: owner(6) });
    world.blocks(4);
    let bound = query::notes_of(world.get(), &public(6)).remove(0);
    assert_eq!((bound.cu, bound.flags), (1, Note::BOUND | Note::PUBLIC));
    let network = world.network;
    let away = reshape(network, vec![bound.id], vec![NoteOutput { owner: owner(1), cu: 1 }]);
    t.case(&mut world, 6, away, "Bound");
}

#[test]
fn every_refusal_has_its_case() {
    let mut table = Table::default();
    envelopes(&mut table);
    runs(&mut table);
    credits(&mut table);
    late_settlement(&mut table);
    runs_room::cases(&mut table);
    market(&mut table);
    trust_room::cases(&mut table);
    credits_room(&mut table);
    bound_notes(&mut table);
    let missing: Vec<_> = every_name().difference(&table.0).cloned().collect();
    // Nothing the types allow is longer than the limit; `account` checks it all the same.
    assert_eq!(missing, ["TooBig"]);
}
