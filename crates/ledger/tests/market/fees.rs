//! Pay fees with credits, down to an account that never had any U to spare.

use crate::world::{market::*, *};
use tessera_canon::Hash;
use tessera_ledger::{
    action::*,
    keys,
    market::fee::{FEE_CHANGE, in_credits},
    query,
    tx::{FeeSource, FromDue, FromNote},
};

#[test]
fn credits_for_a_fee_are_rounded_up() {
    // A tenth more than the median says: 500 at 100 are 5.5 credits.
    assert_eq!([1, 90, 91, 500].map(|fee| in_credits(fee, 100)), [1, 1, 2, 6].map(Some));
    assert_eq!(in_credits(0, 100), Some(0));
    assert_eq!(in_credits(5, 0), None);
    assert_eq!(in_credits(u128::MAX, 1), None);
    assert_eq!(in_credits(u128::MAX, u128::MAX), Some(2));
}

/// Three batches at 200 000 nano-U a credit: a fee of 500 000 costs ceil(2.75) = 3 credits.
fn priced(world: &mut World, mut note: Hash) -> Hash {
    for _ in 0..3 {
        let wanted = [ask_notes(0, 200_000, 10, vec![note]), bid(1, 200_000, 10)];
        note = keys::note_id(&world.auction(&credits_of(RUN), &wanted)[0], 1);
    }
    assert_eq!(query::last_median(world.get(), &RUN), Some(200_000));
    note
}

/// One stage, one host: of a session's fees of 10 it must pay a hundred, and of those the client one credit.
#[test]
fn a_wrong_chunk_is_worth_the_median_price() {
    for reserve in [0, 190_000, 250_000] {
        let mut parameters = free_shares(params());
        parameters.policy.reserve = reserve;
        let mut world = World::trained_run(4, parameters, 100, 1);
        world.ok(0, HostBond { run: RUN, cu: 10, bond: 1_000_000 });
        world.next_boundary();
        let note = world.claim_note(RUN, 0);
        if reserve <= 200_000 {
            priced(&mut world, note);
        }
        let notes = query::notes_of(world.get(), &public(0));
        let note = notes.into_iter().max_by_key(|note| note.cu).unwrap();
        let chain = tessera_ledger::payword::Chain::new([1; 32], note.cu as u32);
        let order = LockOrder { fee_per_cu: 100_000, ..world.order(0, vec![note.id], &chain) };
        let (id, home) = world.lock(0, order);
        let settlement = world.settlement(id, 20, &chain);
        world.ok(home, settlement);
        world.blocks(8);
        world.ok(0, DisputeSession { order: id, chunk: 1, stage: 0, commitment: Hash::ZERO });
        let fees = query::settlement(world.get(), &id).unwrap().fees;
        let fund = world.fund();
        let judgement = SessionJudgement { network: world.network, order: id, guilty: true };
        world.ok(1, JudgeSession { witnesses: witnesses(3, JUDGEMENT, &judgement), judgement });
        let worth = reserve.max(if reserve <= 200_000 { 200_000 } else { 0 });
        assert_eq!(world.fund(), fund + fees * 10 - worth.min(fees * 10), "reserve {reserve}, fees {fees}");
    }
}

#[test]
fn a_note_pays_and_leaves_change() {
    let mut world = World::trained_run(4, free_shares(params()), 100, 1);
    world.next_boundary();
    let note = world.claim_note(RUN, 0);
    let source = |note| FeeSource::Note(FromNote { note });
    let note = priced(&mut world, note);
    let before = (world.balance(0), query::globals(world.get()).unwrap());
    let tx = world.tx_from(0, Transfer { to: public(2), amount: 5 }, source(note));
    let id = tx.id();
    assert!(world.block(&[tx]).receipts[0].ok());
    assert_eq!(world.balance(0), before.0 - 5, "no U was paid");
    assert_eq!(query::globals(world.get()).unwrap(), before.1);
    assert_eq!(world.free_credits(&RUN, 0), 67);
    let change = query::note(world.get(), &keys::note_id(&id, FEE_CHANGE)).unwrap();
    assert_eq!(change.cu, 67);
    // A transaction that fails pays all the same.
    let tx = world.tx_from(0, Transfer { to: public(2), amount: RICH * 2 }, source(change.id));
    let receipt = world.block(&[tx]).receipts.remove(0);
    assert!(!receipt.ok() && receipt.includable());
    assert_eq!(world.free_credits(&RUN, 0), 64);
    // The six went to the pool, and on to the run's only owner.
    world.next_boundary();
    assert_eq!(query::due_credits(world.get(), &RUN, &public(0)), 6);
}

#[test]
fn what_credits_pay_in_an_epoch_is_bounded() {
    let mut parameters = free_shares(params());
    parameters.market.credit_fees = 1_200_000;
    let mut world = World::trained_run(4, parameters, 4000, 40);
    world.next_boundary();
    let note = world.claim_note(RUN, 0);
    priced(&mut world, note);
    world.next_boundary();
    let from_due = || FeeSource::Due(FromDue { run: RUN });
    let mut txs: Vec<_> =
        (0..3).map(|_| world.tx_from(0, Transfer { to: public(2), amount: 1 }, from_due())).collect();
    let receipts = world.block(&txs).receipts;
    assert!(receipts[0].ok() && receipts[1].ok());
    assert_eq!(
        receipts[2].error,
        Some(tessera_ledger::TxError::FeeQuota { run: RUN, most: 1_200_000 }),
        "three fees of 500 000 are more than 1 200 000"
    );
    assert!(receipts[2].rejected());
    world.next_boundary();
    txs.drain(..2);
    assert!(world.block(&txs).receipts[0].ok(), "the next epoch has its own bound");
}

/// Section 5.4: trained, with every nano-U spent on joining; the claim pays its own fee.
#[test]
fn a_newcomer_needs_no_u_to_claim() {
    let mut world = World::new(4, free_shares(params()));
    world.ok(0, CreateRun { supply: 1000, supply_epochs: 1, ..even_run(RUN) });
    world.ok(0, join(RUN, 0));
    world.blocks(1);
    world.close_window(RUN, 11_000_000);
    // Account 4 is new: somebody gives it one fee, with which it joins.
    let new = 4;
    world.keys.push(key(new));
    world.ok(0, Transfer { to: public(new), amount: 500_000 });
    world.ok(new, join(RUN, new));
    world.blocks(1);
    assert_eq!(world.balance(new), 0);
    world.train_on(RUN);
    world.next_boundary();
    let due = query::due_credits(world.get(), &RUN, &public(new));
    assert!(due > 100, "it trained half of three windows: {due}");
    // Before its credits have a price they pay nothing.
    let from_due = || FeeSource::Due(FromDue { run: RUN });
    let claim = || ClaimCredits { run: RUN, to: owner(new) };
    let tx = world.tx_from(new, claim(), from_due());
    let receipt = world.block(&[tx]).receipts.remove(0);
    assert!(receipt.rejected(), "{receipt:?}");
    let note = world.claim_note(RUN, 0);
    priced(&mut world, note);
    let tx = world.tx_from(new, claim(), from_due());
    let receipt = world.block(&[tx]).receipts.remove(0);
    assert_eq!(receipt.error, None);
    assert_eq!((world.balance(new), world.free_credits(&RUN, new)), (0, due - 3));
    // With the note it sells, still without U: from there on it has some.
    let note = query::notes_of(world.get(), &public(new)).remove(0);
    world.wait_for(Asset::Cu, false);
    let ask = ask_notes(new, 1000, 50, vec![note.id]);
    let wanted = [ask, bid(1, 300_000, 50)];
    // Its only note is for sale, so the fee cannot come from it; what the pool paid out since can.
    let refused = {
        let tx = world.commit(&credits_of(RUN), &wanted[0]);
        world.block(&[tx]).receipts.remove(0)
    };
    assert!(refused.rejected(), "a balance of nothing pays no fee");
    let split = Reshaping {
        network: world.network,
        inputs: list(vec![note.id]),
        outputs: list(vec![NoteOutput { owner: owner(new), cu: note.cu }]),
    };
    let tx = world.tx_from(
        new,
        Reshape { reshaping: split, owners: list(vec![]) },
        FeeSource::Note(FromNote { note: note.id }),
    );
    // The fee comes first: the note is spent when the action looks for it.
    let receipt = world.block(&[tx]).receipts.remove(0);
    assert!(matches!(receipt.error, Some(tessera_ledger::TxError::Spent { .. })), "{receipt:?}");
    let change = query::notes_of(world.get(), &public(new)).remove(0);
    assert_eq!(change.cu, note.cu - 3);
    // Three credits came back to the pool and are due in part to the newcomer: enough for one fee more after a while.
    assert_eq!(world.balance(new), 0);
}
