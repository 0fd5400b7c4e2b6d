//! Follow orders through their batch: sealing, opening, payment, delivery, what comes back.

use crate::world::{market::*, *};
use std::collections::BTreeSet;
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{BlockSession, Event, Policy, TxError, action::*, block::Need, keys, query, record::*};

/// Six accounts; account 0 owns the run and has claimed 100 credits, of which account 5 has 40 in a note.
fn market() -> (World, Hash, Hash) {
    market_with(free_shares(params()))
}
fn market_with(parameters: tessera_ledger::Parameters) -> (World, Hash, Hash) {
    let mut world = World::trained_run(7, parameters, 100, 1);
    world.next_boundary();
    let note = world.claim_note(RUN, 0);
    let outputs = vec![NoteOutput { owner: owner(5), cu: 40 }, NoteOutput { owner: owner(0), cu: 60 }];
    let receipt = world.ok(0, reshape(world.network, vec![note], outputs));
    let (forty, sixty) = (keys::note_id(&receipt.tx, 0), keys::note_id(&receipt.tx, 1));
    (world, forty, sixty)
}

#[test]
fn credits_change_hands_at_one_price() {
    let (mut world, forty, sixty) = market();
    let cu = credits_of(RUN);
    // 5 sells 40 at 10 or more, 0 sells 30 of its 60 at 15; 1 buys 50 up to 20, 2 buys 10 up to 12.
    let mut generous = bid(1, 20, 50);
    generous.collateral = MoneyCollateral { amount: 5_000 }.into();
    let wanted =
        [ask_notes(5, 10, 40, vec![forty]), ask_notes(0, 15, 30, vec![sixty]), generous, bid(2, 12, 10)];
    let before: Vec<u128> = (0..7).map(|i| world.balance(i)).collect();
    let globals = query::globals(world.get()).unwrap();
    let orders = world.put_in(&cu, &wanted);
    // Sealed: nothing can be read but the escrows; excess hides the size.
    let (batch, _) = query::batch_at(world.get(), Asset::Cu, world.height);
    assert_eq!(query::orders(world.get(), &cu, batch).len(), 4);
    assert!(query::book(world.get(), &cu, batch).is_empty());
    assert_eq!(world.balance(1), before[1] - 500_000 - 5_000);
    assert_eq!(query::note(world.get(), &forty).unwrap().state, NoteState::Offered);
    world.open(&cu, &wanted, &orders);
    assert_eq!(query::book(world.get(), &cu, batch).len(), 4);
    world.wait_for(Asset::Cu, false);
    let outcome = world.block(&[]);
    // D(15) = 50, S(15) = 70: 50 units; at 20 too, with the same pressure, so the least: 15.
    let cleared: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|e| if let Event::AuctionCleared(e) = e { Some(e.clone()) } else { None })
        .collect();
    assert_eq!((cleared[0].price, cleared[0].volume, cleared[0].fees), (Some(15), 50, 3));
    let after: Vec<u128> = (0..7).map(|i| world.balance(i)).collect();
    let net = |i: usize| after[i] as i128 - before[i] as i128 + 2 * 500_000;
    // 5: 40 x 15 less 2 (30 bp of 600, rounded up); 0: 10 x 15 less 1; 1 pays 750; 2 has all back.
    assert_eq!([net(5), net(0), net(1), net(2)], [598, 149, -750, 0]);
    let now = query::globals(world.get()).unwrap();
    // Of the fees of 3 one is burned and two go to the fund; the demonstration burns the transactions' fees.
    assert_eq!(now.fund - globals.fund, 2);
    assert_eq!(now.burned - globals.burned, 1 + 8 * 500_000);
    assert_eq!(
        (world.free_credits(&RUN, 1), world.free_credits(&RUN, 0), world.free_credits(&RUN, 5)),
        (50, 50, 0)
    );
    assert_eq!(query::notes_of(world.get(), &public(1))[0].id, keys::note_id(&orders[2], 0));
    assert_eq!(query::note(world.get(), &sixty).unwrap().state, NoteState::Spent);
    assert_eq!(query::notes_of(world.get(), &public(0))[0].id, keys::note_id(&orders[1], 1));
    assert!(query::order(world.get(), &orders[0]).is_none());
    let head = query::price_head(world.get(), Asset::Cu, &RUN).unwrap();
    assert_eq!((head.batches, head.last, head.median), (1, 15, None));
    assert_eq!(
        query::price_history(world.get(), Asset::Cu, &RUN),
        vec![PricePoint { epoch: world.height / 4, price: 15, volume: 50 }]
    );
}

#[test]
fn an_order_that_is_not_opened_loses_a_twentieth() {
    let (mut world, forty, _) = market();
    let wanted = [bid(1, 10, 33), ask_notes(5, 10, 40, vec![forty])];
    let before = (world.balance(1), query::globals(world.get()).unwrap().fund);
    world.put_in(&credits_of(RUN), &wanted);
    world.next_boundary();
    // 5 % of 330 is 16.5: 17 are lost; of 40 credits 2.
    assert_eq!(world.balance(1), before.0 - 500_000 - 17);
    assert_eq!(query::globals(world.get()).unwrap().fund, before.1 + 17);
    assert_eq!(world.free_credits(&RUN, 5), 38);
    // Account 0, who owns the run, is due the two.
    assert_eq!(query::due_credits(world.get(), &RUN, &public(0)), 2);
    assert_eq!(query::price_head(world.get(), Asset::Cu, &RUN), None);
}

#[test]
fn a_withdrawn_order_gets_everything_back() {
    let (mut world, forty, _) = market();
    let wanted = [bid(1, 10, 33), ask_notes(5, 10, 40, vec![forty])];
    let before = world.balance(1);
    // Both halves of an epoch of 4 blocks have two: put in and withdraw in the first.
    while !(world.height + 1).is_multiple_of(4) {
        world.blocks(1);
    }
    let orders = world.put_in(&credits_of(RUN), &wanted);
    let cancel = [
        world.tx(1, OrderCancel { order: orders[0] }),
        world.tx(5, OrderCancel { order: orders[1] }),
        world.tx(5, OrderCancel { order: orders[1] }),
    ];
    let receipts = world.block(&cancel).receipts;
    assert!(receipts[0].ok() && receipts[1].ok());
    assert!(matches!(receipts[2].error, Some(TxError::Unknown { what: "order", .. })));
    assert_eq!(world.balance(1), before - 2 * 500_000);
    assert_eq!(world.free_credits(&RUN, 5), 40);
    assert_eq!(query::note(world.get(), &forty).unwrap().state, NoteState::Unspent);
    world.next_boundary();
    assert_eq!(world.balance(1), before - 2 * 500_000);
}

#[test]
fn shares_change_hands_and_earn_for_the_seller_until_then() {
    // 30 credits an epoch for 40 epochs.
    let mut world = World::trained_run(6, free_shares(params()), 1200, 40);
    world.next_boundary();
    let all = world.shares(&RUN, 0);
    let market = shares_of(RUN);
    let wanted = [ask_shares(0, 3, all / 2), bid(1, 5, all / 8)];
    let orders = world.put_in(&market, &wanted);
    assert_eq!(world.shares(&RUN, 0), all - all / 2);
    let due = query::due_credits(world.get(), &RUN, &public(0));
    let refused = world.run(0, TransferShares { run: RUN, to: public(2), amount: all }).error;
    assert!(matches!(refused, Some(TxError::Shares { .. })), "{refused:?}");
    let (seller, buyer) = (world.balance(0), world.balance(1));
    world.open(&market, &wanted, &orders);
    world.wait_for(Asset::Share, false);
    world.blocks(1);
    assert_eq!(world.shares(&RUN, 1), all / 8);
    assert_eq!(world.shares(&RUN, 0), all - all / 8);
    // Supply presses: the least price, 3; the buyer's escrow was at 5.
    let money = all / 8 * 3;
    assert_eq!(world.balance(1), buyer - 500_000 + all / 8 * 2);
    assert_eq!(world.balance(0), seller - 500_000 + money - (money * 30).div_ceil(10_000));
    // Of the credits of the epochs between, the seller got all; of the last distribution an eighth is the buyer's.
    let epochs = query::run(world.get(), &RUN).unwrap().minted_parts;
    let minted = u64::from(epochs) * 30;
    let (sold, bought) = (
        query::due_credits(world.get(), &RUN, &public(0)),
        query::due_credits(world.get(), &RUN, &public(1)),
    );
    assert!(sold > due && bought <= 3, "{sold}, {bought}");
    assert!(minted - sold - bought <= 1, "{minted} were minted, {sold} and {bought} are due");
    assert!(query::holdings_of(world.get(), &keys::escrow_account(&orders[0])).is_empty());
    assert_eq!(query::price_head(world.get(), Asset::Share, &RUN).unwrap().last, 3);
}

#[test]
fn forfeited_shares_work_for_the_public_fund() {
    let mut world = World::trained_run(6, free_shares(params()), 4000, 40);
    world.next_boundary();
    let all = world.shares(&RUN, 0);
    world.put_in(&shares_of(RUN), &[ask_shares(0, 3, all)]);
    world.wait_for(Asset::Share, true);
    world.wait_for(Asset::Share, false);
    world.blocks(1);
    let lost = all.div_ceil(20);
    let fund = query::owner(world.get(), &RUN, &keys::fund_account()).unwrap();
    assert_eq!((fund.shares, world.shares(&RUN, 0)), (lost, all - lost));
    // The fund's 5 credits an epoch are sold to whoever bids.
    let before = query::globals(world.get()).unwrap().fund;
    world.next_boundary();
    world.auction(&credits_of(RUN), &[bid(1, 1000, 10)]);
    let got = world.free_credits(&RUN, 1);
    assert!((5..=10).contains(&got), "{got}");
    // Nobody competes, so the price is what the buyer offers or the reserve, as demand and supply decide.
    let price = query::price_head(world.get(), Asset::Cu, &RUN).unwrap().last;
    let money = price * u128::from(got);
    let fee = (money * 30).div_ceil(10_000);
    assert_eq!(query::globals(world.get()).unwrap().fund - before, money - fee + (fee - fee / 2));
}

#[test]
fn the_reserve_holds_and_is_bounded_by_the_median() {
    let mut world = World::new(7, free_shares(params()));
    let policy = Policy { reserve: 50, pending_windows: 1, transfer_lock: 0, ..Policy::default() };
    let create = CreateRun { policy: Some(policy), supply: 4000, supply_epochs: 1, ..even_run(RUN) };
    world.ok(0, create);
    world.ok(0, join(RUN, 0));
    world.blocks(1);
    world.train_on(RUN);
    world.next_boundary();
    let mut note = world.claim_note(RUN, 0);
    let mut sell = |world: &mut World, ask: u128, limit: u128| {
        let orders = world.auction(&credits_of(RUN), &[ask_notes(0, ask, 10, vec![note]), bid(1, limit, 10)]);
        if world.free_credits(&RUN, 1) > 0
            && query::note(world.get(), &note).unwrap().state == NoteState::Spent
        {
            note = keys::note_id(&orders[0], 1);
        }
    };
    sell(&mut world, 10, 49);
    assert_eq!(query::price_head(world.get(), Asset::Cu, &RUN), None, "below the reserve nothing trades");
    for (ask, limit) in [(10, 50), (10, 70), (61, 61)] {
        assert_eq!(query::reserve_bound(world.get(), &RUN), None);
        sell(&mut world, ask, limit);
    }
    // Prices 50, (50 + 70) / 2, 61; the demonstration's median takes three.
    let prices: Vec<u128> =
        query::price_history(world.get(), Asset::Cu, &RUN).iter().map(|p| p.price).collect();
    assert_eq!(prices, [50, 60, 61]);
    assert_eq!(query::last_median(world.get(), &RUN), Some(60));
    assert_eq!(query::reserve_bound(world.get(), &RUN), Some(75));
    // The history is a ring of 32; the median takes the last 30.
    for _ in 0..34 {
        sell(&mut world, 80, 80);
    }
    let history = query::price_history(world.get(), Asset::Cu, &RUN);
    assert_eq!(history.len(), 32);
    assert!(history.iter().all(|point| point.price == 80 && point.volume == 10));
    assert!(history.windows(2).all(|pair| pair[0].epoch + 1 == pair[1].epoch));
    assert_eq!(query::last_median(world.get(), &RUN), Some(80));
}

/// Section 4.9: the crowd's valuation from the work that went in.
#[test]
fn implied_value_follows_from_work_and_weight() {
    use tessera_ledger::market::price::implied_value;
    // T = 600 000 at weight 1/5, T = 400 000 at weight 1; a work unit costs 1 (given in thousandths).
    assert_eq!(implied_value(1000, 600_000 << 16, 65_536 / 5), Some(3_000_045_777));
    assert_eq!(implied_value(1000, 400_000 << 16, 65_536), Some(400_000_000));
    assert_eq!(implied_value(1, u128::MAX, 1), Some(u128::MAX));
    assert_eq!(implied_value(2, u128::MAX, 1), None);
    let mut world = World::trained_run(2, free_shares(params()), 100, 1);
    world.next_boundary();
    let (run, all) = (query::run(world.get(), &RUN).unwrap(), world.shares(&RUN, 0));
    assert_eq!(query::implied_value(world.get(), &RUN, 7), Some(7 * all / u128::from(run.weight)));
}

#[test]
fn baskets_move_whole_or_not_at_all() {
    let other = Hash([4; 32]);
    let mut world = World::trained_run(4, free_shares(params()), 100, 1);
    world.train(other, 100, 1);
    world.next_boundary();
    let part = |run, amount| BasketPart { run, amount };
    let basket = |parts| BasketTransfer { parts: list(parts), to: public(3) };
    let (mine, theirs) = (world.shares(&RUN, 0), world.shares(&other, 0));
    let refused = world.run(0, basket(vec![part(other, 5), part(RUN, mine + 1)])).error;
    assert_eq!(refused, Some(TxError::Shares { needed: mine + 1, got: mine }));
    assert_eq!(world.shares(&other, 3), 0);
    let refused = world.run(0, basket(vec![part(RUN, 5), part(other, 5)])).error;
    assert_eq!(refused, Some(TxError::NotAscending { what: "the runs", at: 1 }));
    assert!(matches!(world.run(0, basket(vec![])).error, Some(TxError::Parameter { .. })));
    world.ok(0, basket(vec![part(other, 5), part(RUN, 7)]));
    assert_eq!((world.shares(&other, 3), world.shares(&RUN, 3)), (5, 7));
    assert_eq!((world.shares(&other, 0), world.shares(&RUN, 0)), (theirs - 5, mine - 7));
    assert_eq!(query::holdings_of(world.get(), &public(3)).len(), 2);
}

/// Reads are asked for together: more orders do not make the boundary start again more often.
#[test]
fn a_boundary_asks_for_its_cells_in_bulk() {
    let stops = |pairs: u32| {
        let mut world = World::trained_run(2 + 2 * pairs, free_shares(params()), 4000, 1);
        world.next_boundary();
        let note = world.claim_note(RUN, 0);
        let mut outputs: Vec<NoteOutput> =
            (0..pairs).map(|i| NoteOutput { owner: owner(2 + i), cu: 5 }).collect();
        outputs.push(NoteOutput { owner: owner(0), cu: 4000 - u64::from(pairs) * 5 });
        let split = world.ok(0, reshape(world.network, vec![note], outputs)).tx;
        let mut wanted = Vec::new();
        for i in 0..pairs {
            wanted.push(ask_notes(2 + i, 10, 5, vec![keys::note_id(&split, i)]));
            wanted.push(bid(2 + pairs + i, 10, 5));
        }
        let orders = world.put_in(&credits_of(RUN), &wanted);
        world.open(&credits_of(RUN), &wanted, &orders);
        world.wait_for(Asset::Cu, false);
        world.height += 1;
        let mut session = BlockSession::new(world.context());
        let mut stops = 0;
        while let Err(Need(keys)) = session.begin() {
            stops += 1;
            keys.iter().for_each(|key| session.supply(*key, world.state.get(key)));
        }
        stops
    };
    let (few, many) = (stops(2), stops(15));
    println!("the boundary stopped {few} times for 4 orders, {many} times for 30");
    assert!(many <= few + 2 && few < 40, "{few}, {many}");
}

#[test]
fn the_order_of_independent_orders_does_not_show() {
    let mut world = World::serving_run(10);
    let note = world.note_for(4, 10);
    world.ok(3, HostBond { run: RUN, cu: 100, bond: 1000 });
    world.wait_for(Asset::Share, false);
    let (cu, shares) = (credits_of(RUN), shares_of(RUN));
    let holder = |world: &World, who| query::member(world.get(), &RUN, &public(who)).unwrap().stage.unwrap();
    let stage = holder(&world, 3);
    let mut txs = vec![
        world.tx(0, AutoSellWrap { run: RUN, amount: 1000 }),
        world.tx(1, AutoSellWrap { run: RUN, amount: 3000 }),
        world.commit(&shares, &ask_shares(2, 5, 1000)),
        world.tx(3, HostAsk { run: RUN, stage, price: 5, capacity: 100 }),
        world.commit(&cu, &ask_notes(4, 5, 10, vec![note])),
        world.commit(&cu, &bid(5, 9, 30)),
        world.commit(&cu, &bid(6, 9, 30)),
        world.commit(&shares, &bid(7, 9, 30)),
        world.tx(8, Transfer { to: public(2), amount: 5 }),
    ];
    let mut random = Prf::new(Domain::new("tessera/test/order/v1"), b"");
    let mut roots = BTreeSet::new();
    for _ in 0..30 {
        let mut world = world.clone();
        let outcome = world.block(&txs);
        assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
        world.blocks(20);
        roots.insert(world.state.root());
        txs = random.permutation(txs.len()).iter().map(|i| txs[*i as usize].clone()).collect();
    }
    assert_eq!(roots.len(), 1);
}

/// A series may end while its last batch is open: nobody is sold credits that have died.
#[test]
fn orders_for_a_dead_series_come_back() {
    let mut parameters = free_shares(params());
    parameters.credits.series_epochs = 3;
    let (mut world, forty, _) = market_with(parameters);
    let cu = credits_of(RUN);
    // The boundary that clears the batch is the one that ends the series of the notes.
    let series = |world: &World| query::credits(world.get(), &RUN).unwrap().series;
    while series(&world) == 0 {
        world.next_boundary();
    }
    world.next_boundary();
    world.next_boundary();
    assert_eq!(series(&world), 1);
    let wanted = [ask_notes(5, 10, 40, vec![forty]), bid(1, 10, 40), bid(2, 10, 5)];
    let before = (world.balance(1), world.balance(2));
    let orders = world.put_in(&cu, &wanted);
    // The last bid stays sealed: it is not to blame either.
    world.open(&cu, &wanted[..2], &orders[..2]);
    world.wait_for(Asset::Cu, false);
    let outcome = world.block(&[]);
    let returned = outcome.events.iter().filter(|event| matches!(event, Event::OrderReturned(_))).count();
    assert_eq!((returned, series(&world)), (3, 2));
    assert!(!outcome.events.iter().any(|event| matches!(event, Event::AuctionCleared(_))));
    assert_eq!((world.balance(1), world.balance(2)), (before.0 - 1_000_000, before.1 - 500_000));
    assert_eq!(query::note(world.get(), &forty).unwrap().state, NoteState::Unspent);
    assert_eq!(query::price_head(world.get(), Asset::Cu, &RUN), None);
    world.wait_for(Asset::Cu, false);
    let late = world.commit(&cu, &wanted[1]);
    let refused = world.block(&[late]).receipts.remove(0).error;
    assert_eq!(refused, Some(TxError::Series { expected: 2, got: 0 }));
}
