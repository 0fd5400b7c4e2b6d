//! Let series begin and end, roll notes over, and hold prices for a whole series.

use crate::world::*;
use tessera_canon::List;
use tessera_ledger::{
    Cell, CreditRules, Parameters, TxError, action::*, keys, payword::Chain, query, record::*,
    runs::policy::Policy, series,
};

fn world() -> World {
    let rules = CreditRules { series_epochs: 10, ..CreditRules::demo() };
    World::serving_run_with(8, Parameters { credits: rules, ..Parameters::from(params()) })
}
fn current(world: &World) -> u16 {
    query::credits(world.get(), &RUN).unwrap().series
}
fn next_series(world: &mut World) {
    let before = current(world);
    while current(world) == before {
        world.blocks(1);
    }
}

#[test]
fn a_note_lives_for_its_series_and_the_next_and_then_goes_to_the_pool_untouched() {
    let mut world = world();
    let note = world.note_for(5, 100);
    assert_eq!(query::note(world.get(), &note).unwrap().series, 0);
    next_series(&mut world);
    // In the next series it can still be locked.
    let chain = Chain::new([1; 32], 100);
    let order = LockOrder { series: 0, ..world.order(5, vec![note], &chain) };
    let (id, home) = world.lock(5, order);
    let settlement = world.settlement(id, 60, &chain);
    world.ok(home, settlement);
    world.blocks(8);
    let change = query::notes_of(world.get(), &public(5)).remove(0);
    assert_eq!((change.cu, change.series), (40, 0));
    let before = query::credits(world.get(), &RUN).unwrap();
    let owed = before.owner_in;
    next_series(&mut world);
    // Nothing was written to the note; its state is derived.
    let kept = query::note(world.get(), &change.id).unwrap();
    assert_eq!(kept, change);
    assert_eq!(query::usable(world.get(), &kept), None);
    let after = query::credits(world.get(), &RUN).unwrap();
    let ended = query::series(world.get(), &RUN, 0).unwrap();
    assert_eq!((ended.notes, after.total), (0, before.total));
    // All free notes of series 0 went to the pool in that block and on to the owners.
    assert_eq!(after.notes, 0);
    assert!(after.owner_in > owed + before.notes * 9 / 10, "{} {}", after.owner_in - owed, before.notes);
    let network = world.network;
    let used = world.run(5, reshape(network, vec![change.id], vec![NoteOutput { owner: owner(1), cu: 40 }]));
    assert_eq!(used.error, Some(TxError::NoteExpired { note: change.id, series: 0, now: 2 }));
}

#[test]
fn the_change_of_a_session_whose_series_ended_goes_to_the_pool() {
    let mut world = world();
    let note = world.note_for(5, 100);
    next_series(&mut world);
    // Shortly before series 0 ends.
    world.blocks(4 * 8);
    let chain = Chain::new([2; 32], 100);
    let order = LockOrder { series: 0, open_until: world.height + 12, ..world.order(5, vec![note], &chain) };
    let (id, home) = world.lock(5, order);
    let settlement = world.settlement(id, 30, &chain);
    while current(&world) < 2 {
        world.blocks(1);
    }
    let total = query::credits(world.get(), &RUN).unwrap().total;
    world.ok(home, settlement);
    world.blocks(8);
    assert_eq!(query::lock(world.get(), &id).unwrap().state, LockState::Final);
    assert!(query::notes_of(world.get(), &public(5)).iter().all(|n| query::usable(world.get(), n).is_none()));
    assert_eq!(query::note(world.get(), &keys::note_id(&id, 0)), None);
    let credits = query::credits(world.get(), &RUN).unwrap();
    assert_eq!((credits.total, credits.locked), (total, 0));
}

#[test]
fn rolling_over_costs_a_tenth_rounded_up() {
    let mut world = world();
    let note = world.note_for(5, 101);
    let early = world.run(5, RollNote { note }).error;
    assert_eq!(early, Some(TxError::NotToRoll { expected: 0, got: 0 }));
    next_series(&mut world);
    let foreign = world.run(6, RollNote { note }).error.unwrap();
    assert!(matches!(foreign, TxError::NotOwner { .. }), "{foreign}");
    let before = query::credits(world.get(), &RUN).unwrap();
    world.ok(5, RollNote { note });
    let rolled = query::notes_of(world.get(), &public(5)).remove(0);
    assert_eq!((rolled.cu, rolled.series), (90, 1));
    let after = query::credits(world.get(), &RUN).unwrap();
    assert_eq!(before.notes - after.notes, 11);
    assert_eq!(before.total, after.total);
    let sums = query::series(world.get(), &RUN, 1).unwrap();
    assert_eq!(sums.notes, 90);
    next_series(&mut world);
    assert_eq!(query::usable(world.get(), &rolled), Some(NoteState::Unspent));
}

#[test]
fn a_price_holds_for_its_series_and_moves_by_a_fifth() {
    let price = |prompt_tokens, generated_tokens| ChunkPrice { prompt_tokens, generated_tokens };
    assert_eq!(series::next_price(&price(512, 64), &price(512, 64)), price(512, 64));
    assert_eq!(series::next_price(&price(512, 64), &price(1, u32::MAX)), price(410, 76));
    assert_eq!(series::next_price(&price(512, 64), &price(600, 60)), price(600, 60));
    assert_eq!(series::next_price(&price(u32::MAX, 1), &price(u32::MAX, 5)), price(u32::MAX, 1));

    let mut world = world();
    assert_eq!(query::price_of(world.get(), &RUN, 0), Some(price(512, 64)));
    // As a vote would, the policy wants another price.
    let policy = Policy { price: price(300, 70), pending_windows: 1, ..Policy::default() };
    world.state.0.insert(keys::run_policy(&RUN), Cell::pack(&RunPolicy { run: RUN, policy }.into()));
    world.blocks(4);
    assert_eq!(query::price_of(world.get(), &RUN, 0), Some(price(512, 64)));
    next_series(&mut world);
    assert_eq!(query::price_of(world.get(), &RUN, 1), Some(price(410, 70)));
    next_series(&mut world);
    assert_eq!(query::price_of(world.get(), &RUN, 2), Some(price(328, 70)));
    assert_eq!(query::price_of(world.get(), &RUN, 1), Some(price(410, 70)));
    next_series(&mut world);
    assert_eq!(query::price_of(world.get(), &RUN, 3), Some(price(300, 70)));
}

#[test]
fn a_lock_takes_notes_of_both_live_series_and_of_no_other() {
    let mut world = world();
    let old = world.note_for(5, 10);
    next_series(&mut world);
    let new = world.note_for(5, 10);
    // `note_for` splits a note of the first series: roll one so that both series are there.
    world.ok(5, RollNote { note: new });
    let rolled = query::notes_of(world.get(), &public(5)).into_iter().find(|n| n.series == 1).unwrap();
    let chain = Chain::new([3; 32], 19);
    let mixed = world.order(5, vec![old, rolled.id], &chain);
    let refused = world.run(5, LockNotes { order: mixed, owners: List::default() }).error.unwrap();
    assert!(matches!(refused, TxError::Mixed { .. }), "{refused}");
    for (note, series) in [(old, 0), (rolled.id, 1)] {
        let order = LockOrder { series, ..world.order(5, vec![note], &chain) };
        world.ok(5, LockNotes { order, owners: List::default() });
    }
    let order = LockOrder { series: 2, ..world.order(5, vec![old], &chain) };
    let refused = world.run(5, LockNotes { order, owners: List::default() }).error;
    assert_eq!(refused, Some(TxError::Series { expected: 1, got: 2 }));
}
