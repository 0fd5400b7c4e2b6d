//! Attack the markets: wash trades, corners, snipers of batches and of dividends.

use crate::world::{market::*, *};
use tessera_canon::Hash;
use tessera_ledger::{TxError, action::*, keys, query};

const FEE: u128 = 500_000;

/// A run whose owner, account 0, has claimed 4000 credits; the median takes all 30 batches.
fn market() -> (World, Hash) {
    let mut parameters = free_shares(params());
    parameters.market.median_batches = 30;
    let mut world = World::trained_run(8, parameters, 4000, 1);
    world.next_boundary();
    let note = world.claim_note(RUN, 0);
    (world, note)
}

/// Sell `quantity` of `note`, which is 0's, at `price`; returns the change note.
fn honest_trade(world: &mut World, note: Hash, price: u128, quantity: u128) -> Hash {
    let wanted = [ask_notes(0, price, quantity, vec![note]), bid(1, price, quantity)];
    keys::note_id(&world.auction(&credits_of(RUN), &wanted)[0], 1)
}

/// Attack 1: one who trades with himself at ten times the price to move what is displayed and what bounds the reserve.
#[test]
fn attack_01_wash_trading_moves_no_median_and_costs_the_fee() {
    let (mut world, mut note) = market();
    // The attacker, 5, buys 20 credits honestly.
    let wanted = [ask_notes(0, 1000, 20, vec![note]), bid(5, 1000, 20)];
    note = keys::note_id(&world.auction(&credits_of(RUN), &wanted)[0], 1);
    let start = world.balance(5);
    let (mut transactions, mut volume) = (0, 0);
    for batch in 0..29 {
        if batch % 2 == 0 {
            note = honest_trade(&mut world, note, 1000, 5);
            continue;
        }
        let mine = query::notes_of(world.get(), &public(5)).remove(0);
        let cu = u128::from(mine.cu);
        world.auction(&credits_of(RUN), &[ask_notes(5, 10_000, cu, vec![mine.id]), bid(5, 10_000, cu)]);
        transactions += 4;
        volume += 10_000 * cu;
    }
    let head = query::price_head(world.get(), Asset::Cu, &RUN).unwrap();
    // 14 of 30 prints were washed: neither the median nor the reserve's bound noticed.
    assert_eq!((head.batches, head.median), (30, Some(1000)));
    assert_eq!(query::reserve_bound(world.get(), &RUN), Some(1250));
    assert_eq!(world.free_credits(&RUN, 5), 20, "it has its credits still");
    let lost = start - world.balance(5) - transactions * FEE;
    println!(
        "wash: {volume} nano-U traded with oneself, {lost} lost in auction fees, median 1000 of 30 batches"
    );
    assert_eq!(lost, volume * 30 / 10_000);
}

/// Section 5.3's table: one who owns a share s of the run and buys its credits for no use pays (1 - s) of the price.
#[test]
fn attack_01_wash_use_costs_what_the_others_own() {
    println!("own share  price  cost of a credit bought from the pool");
    for percent in [5u128, 30, 60, 90] {
        let mut world = World::trained_run(6, free_shares(params()), 90_000, 90);
        world.next_boundary();
        let all = world.shares(&RUN, 0);
        let mine = all * percent / 100;
        world.ok(0, TransferShares { run: RUN, to: public(5), amount: mine });
        // All owners sell by the pool.
        world.ok(0, AutoSellWrap { run: RUN, amount: all - mine });
        world.ok(5, AutoSellWrap { run: RUN, amount: mine });
        world.next_boundary();
        world.next_boundary();
        let start = world.balance(5);
        // The pool has 2000 credits of two epochs. More are wanted, so the price is what is bid: 10, in thousandths.
        world.auction(&credits_of(RUN), &[bid(5, 10_000, 1500), bid(4, 10_000, 1500)]);
        let got = u128::from(world.free_credits(&RUN, 5));
        let price = query::price_head(world.get(), Asset::Cu, &RUN).unwrap().last;
        // What came back for the attacker's own purchases: its part of the proceeds of them.
        let proceeds = query::due_proceeds(world.get(), &RUN, &public(5));
        let sold = u128::from(world.free_credits(&RUN, 4)) + got;
        let back = proceeds * got / sold;
        let paid = start - 2 * FEE - world.balance(5);
        assert_eq!((price, paid), (10_000, price * got));
        let cost = (paid - back) / got;
        println!("{percent:>8} %  {price:>5}  {cost:>5}");
        // (1 - s) p and the network's 30 bp of s p; shares and proceeds round by less than one.
        let least = price * (100 - percent) / 100;
        assert!(cost >= least && cost <= least + price * 31 / 10_000 + 1, "{cost}, {least}");
    }
}

/// Attack 22, the price: one who buys up all credits pays the owners for them, and gets less when he lets go.
#[test]
fn attack_22_cornering_pays_the_owners() {
    let (mut world, mut note) = market();
    let (attacker, owner) = (world.balance(5), world.balance(0));
    let mut transactions = 0;
    // Others would pay 1000; the attacker takes everything for five batches at up to 3000.
    for _ in 0..5 {
        let wanted = [ask_notes(0, 900, 100, vec![note]), bid(5, 3000, 100), bid(1, 1000, 50)];
        let orders = world.auction(&credits_of(RUN), &wanted);
        note = keys::note_id(&orders[0], 1);
        transactions += 2;
        assert_eq!(world.free_credits(&RUN, 1), 0);
    }
    let spent = attacker - world.balance(5) - transactions * FEE;
    let earned = world.balance(0) + transactions * FEE - owner;
    assert_eq!(spent - earned, spent * 30 / 10_000, "all but the fee went to the owner");
    // It lets go: users pay what it is worth to them.
    let mine: Vec<Hash> = query::notes_of(world.get(), &public(5)).iter().map(|note| note.id).collect();
    world.auction(&credits_of(RUN), &[ask_notes(5, 1, 500, mine), bid(1, 1000, 500)]);
    transactions += 2;
    let net = world.balance(5) as i128 + (transactions * FEE) as i128 - attacker as i128;
    println!("corner: spent {spent}, the owner earned {earned}, the corner's net {net}");
    assert!(net <= 0, "{net}");
}

/// Attack 23: one who waits for the others' orders. He cannot join late; keeping silent costs a twentieth.
#[test]
fn attack_23_sniping_a_batch_costs_the_collateral() {
    let (mut world, note) = market();
    let cu = credits_of(RUN);
    let start = world.balance(5);
    // The attacker prepares two bids and opens only the one that suits the book it then sees.
    let wanted = [ask_notes(0, 700, 50, vec![note]), bid(1, 1000, 50), bid(5, 2000, 50)];
    world.wait_for(Asset::Cu, false);
    let other = OrderTerms { side: Side::Bid, limit: 800, quantity: 50, to: owner(5) };
    let mut txs: Vec<_> = wanted.iter().map(|wanted| world.commit(&cu, wanted)).collect();
    let collateral = 800 * 50;
    let spare = OrderCommit {
        market: cu.clone(),
        seal: seal(&public(5), &other, &salt(5)),
        collateral: MoneyCollateral { amount: collateral }.into(),
    };
    txs.push(world.tx(5, spare));
    assert!(world.block(&txs).receipts.iter().all(tessera_ledger::Receipt::ok));
    let orders: Vec<Hash> = txs.iter().map(tessera_ledger::SignedTx::id).collect();
    world.open(&cu, &wanted[..2], &orders[..2]);
    // Now the book is known: a new order is too late, and one made up now does not fit its seal.
    let late = world.commit(&cu, &bid(5, 1001, 50));
    let changed = OrderTerms { limit: 1001, ..other };
    let forged = OrderReveal { order: orders[3], terms: changed, salt: salt(5) };
    let stolen = OrderReveal { order: orders[1], terms: wanted[1].terms.clone(), salt: salt(1) };
    let txs = [late, world.tx(5, forged), world.tx(5, stolen)];
    let receipts = world.block(&txs).receipts;
    assert!(matches!(receipts[0].error, Some(TxError::AuctionPhase { .. })), "{receipts:?}");
    // The boundary may have cleared the batch in this very block: then the orders are gone.
    assert!(receipts.iter().all(|receipt| !receipt.ok()));
    world.next_boundary();
    // It opened neither: both escrows shrank, and it bought nothing.
    let lost = start - world.balance(5) - 5 * FEE;
    println!("sniper: {lost} of {} lost by keeping silent", collateral + 2000 * 50);
    assert_eq!(lost, (collateral + 2000 * 50) / 20);
    assert_eq!(world.free_credits(&RUN, 5), 0);
}

/// Attack 29: one who holds shares just for a distribution, and one who wraps just for a sale.
#[test]
fn attack_29_dividends_are_not_sniped() {
    // 100 credits an epoch.
    let mut world = World::trained_run(8, free_shares(params()), 90_00, 90);
    world.next_boundary();
    let all = world.shares(&RUN, 0);
    // Shares bought in a block before the boundary have no part in what was handed out before.
    world.ok(0, TransferShares { run: RUN, to: public(5), amount: all / 2 });
    assert_eq!(query::due_credits(world.get(), &RUN, &public(5)), 0);
    world.next_boundary();
    assert_eq!(query::due_credits(world.get(), &RUN, &public(5)), 50, "an epoch's income, like any owner's");
    world.ok(5, TransferShares { run: RUN, to: public(0), amount: all / 2 });
    world.next_boundary();
    assert_eq!(query::due_credits(world.get(), &RUN, &public(5)), 50);
    // By the market a sniper holds at least one batch of shares and pays for each trade.
    let market = shares_of(RUN);
    let (start, before) = (world.balance(6), query::due_credits(world.get(), &RUN, &public(0)));
    world.auction(&market, &[ask_shares(0, 1, all / 2), bid(6, 1, all / 2)]);
    let bought = query::run(world.get(), &RUN).unwrap().minted_parts;
    world.auction(&market, &[ask_shares(6, 1, all / 2), bid(0, 1, all / 2)]);
    let parts = query::run(world.get(), &RUN).unwrap().minted_parts;
    let lost = start - world.balance(6) - 4 * FEE;
    assert_eq!(lost, (all / 2 * 30).div_ceil(10_000), "the fee of selling again");
    // It earned half of the epochs it held, no more: the seller's price for them is his to name.
    let held = parts - bought;
    let due = query::due_credits(world.get(), &RUN, &public(6));
    assert!(due.abs_diff(50 * u64::from(held)) <= 1, "{due} for {held} epochs");
    let owner = query::due_credits(world.get(), &RUN, &public(0)) - before;
    assert!(owner >= 50 * u64::from(held));
    // The pool: 0 sells for some epochs without a buyer; 7 wraps before the big sale and leaves after it.
    world.ok(0, AutoSellWrap { run: RUN, amount: all / 2 });
    world.ok(0, TransferShares { run: RUN, to: public(7), amount: all / 4 });
    world.next_boundary();
    world.next_boundary();
    world.next_boundary();
    let start = world.balance(7);
    world.ok(7, AutoSellWrap { run: RUN, amount: all / 4 });
    world.auction(&credits_of(RUN), &[bid(1, 1000, 90)]);
    assert_eq!(query::due_proceeds(world.get(), &RUN, &public(7)), 0);
    let net = world.balance(7) as i128 - start as i128 + FEE as i128;
    assert!(net <= 0 && query::due_proceeds(world.get(), &RUN, &public(0)) > 0);
}
