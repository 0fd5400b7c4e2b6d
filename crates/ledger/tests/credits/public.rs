//! Cut, draw, use and end the credits of the public lane.

use crate::world::*;
use tessera_canon::List;
use tessera_ledger::{
    CreditRules, Event, Parameters, TxError, action::*, credits::public, payword::Chain, query, record::*,
};

const FEE: u128 = 500_000;

/// Fees go to the fund, so that it can subsidise.
fn world() -> World {
    let base = tessera_ledger::Params { fee_to_fund: true, ..params() };
    let rules = CreditRules { public_life: 5, ..CreditRules::demo() };
    World::serving_run_with(12, Parameters { credits: rules, ..Parameters::from(base) })
}

/// Use `cu` credits, so that they are allotted again at the next boundary.
fn refill(world: &mut World, cu: u32) {
    let note = world.note_for(11, cu.into());
    let chain = Chain::new([1; 32], cu);
    let order = world.order(11, vec![note], &chain);
    let (id, home) = world.lock(11, order);
    let settlement = world.settlement(id, cu, &chain);
    world.ok(home, settlement);
    while query::lock(world.get(), &id).unwrap().state != LockState::Final {
        world.blocks(1);
    }
}
fn public_notes(world: &World, of: u32) -> Vec<Note> {
    query::notes_of(world.get(), &public(of)).into_iter().filter(|n| n.flags & Note::PUBLIC != 0).collect()
}

#[test]
fn the_cut_carries_what_it_rounds_off() {
    // The specification's example 5.5: 5 % of 33 is 1.65.
    assert_eq!(public::cut(33, 500, 0), (1, 6_500));
    assert_eq!(public::cut(33, 500, 6_500), (2, 3_000));
    let (mut carry, mut sum) = (0, 0);
    for _ in 0..1000 {
        let (cu, rest) = public::cut(7, 200, carry);
        (carry, sum) = (rest, sum + cu);
    }
    assert_eq!((sum, carry), (140, 0), "2 % of 7000, exactly");
    assert_eq!(public::cut(u64::MAX, 2_000, 9_999).0, u64::MAX / 5);
}

#[test]
fn applicants_are_drawn_and_what_is_left_returns() {
    let mut world = world();
    let deposit = CreditRules::demo().public_deposit;
    refill(&mut world, 1_000);
    // 5 % of 1000 and what was left from before: three notes of 16 for five applicants.
    let pot = query::lane(world.get(), &RUN).unwrap().public_pot;
    assert_eq!(pot / 16, 3, "{pot}");
    let applicants = [4, 5, 6, 7, 8];
    let before: Vec<u128> = applicants.iter().map(|i| world.balance(*i)).collect();
    // All within the epoch, so that this cut is the one that is drawn.
    let txs: Vec<_> =
        applicants.iter().map(|i| world.tx(*i, PublicApply { run: RUN, owner: owner(*i) })).collect();
    assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
    assert_eq!(world.balance(4), before[0] - FEE - deposit);
    let again = world.run(9, PublicApply { run: RUN, owner: owner(4) }).error.unwrap();
    assert!(matches!(again, TxError::Duplicate { .. }), "{again}");
    let mut draw = None;
    while draw.is_none() {
        let outcome = world.block(&[]);
        draw = outcome.events.into_iter().find_map(|event| match event {
            Event::PublicDraw(draw) => Some(draw),
            _ => None,
        });
    }
    let draw = draw.unwrap();
    // Before the draw, the boundary returned the whole notes that nobody had, and cut again.
    let winners: Vec<u32> = applicants.into_iter().filter(|i| !public_notes(&world, *i).is_empty()).collect();
    assert_eq!((draw.applied, draw.notes as usize), (5, winners.len()));
    for (i, before) in applicants.iter().zip(&before) {
        assert_eq!(world.balance(*i), before - FEE, "every deposit came back");
        for note in public_notes(&world, *i) {
            assert_eq!((note.cu, note.flags), (16, Note::BOUND | Note::PUBLIC));
            assert_eq!(note.until, draw.epoch + 5);
        }
    }
    let pot = query::lane(world.get(), &RUN).unwrap().public_pot;
    world.blocks(8);
    assert!(query::lane(world.get(), &RUN).unwrap().public_pot < 16, "{pot}");
}

/// A world in which account 6 has won a note.
fn winner() -> (World, Note) {
    let mut world = world();
    loop {
        // The application waits for the boundary that cuts the thousand.
        let note = world.note_for(11, 1_000);
        let chain = Chain::new([1; 32], 1_000);
        let order = world.order(11, vec![note], &chain);
        let (id, home) = world.lock(11, order);
        let settlement = world.settlement(id, 1_000, &chain);
        world.ok(home, settlement);
        while query::lock(world.get(), &id).unwrap().state != LockState::Final {
            if query::application(world.get(), &RUN, &owner(6)).is_none() {
                world.ok(6, PublicApply { run: RUN, owner: owner(6) });
            } else {
                world.blocks(1);
            }
        }
        if let Some(note) = public_notes(&world, 6).pop() {
            return (world, note);
        }
    }
}

#[test]
fn a_public_note_is_used_at_half_the_host_fee_and_its_change_stays_bound() {
    let (mut world, note) = winner();
    let (start, fund) = (world.balance(6), world.fund());
    let chain = Chain::new([2; 32], 16);
    let away = LockOrder { refund_to: owner(1), ..world.order(6, vec![note.id], &chain) };
    let refused = world.run(6, LockNotes { order: away, owners: List::default() }).error;
    assert_eq!(refused, Some(TxError::Bound { note: note.id }));
    let order =
        LockOrder { fee_per_cu: 20, open_until: world.height + 8, ..world.order(6, vec![note.id], &chain) };
    let (id, home) = world.lock(6, order);
    // 16 x 20 = 320, of which the fund put in half.
    assert_eq!(world.balance(6), start - 2 * FEE - 160);
    let settlement = world.settlement(id, 10, &chain);
    world.ok(home, settlement);
    while query::lock(world.get(), &id).unwrap().state != LockState::Final {
        world.blocks(1);
    }
    // 200 were spent, half by each.
    assert_eq!(world.balance(6), start - 2 * FEE - 100);
    assert_eq!(world.fund(), fund + 3 * FEE - 100);
    let change = public_notes(&world, 6).into_iter().find(|n| n.cu == 6).unwrap();
    assert_eq!((change.flags, change.until), (note.flags, note.until));
}

#[test]
fn an_unused_public_note_ends_after_its_day() {
    let (mut world, note) = winner();
    let credits = query::credits(world.get(), &RUN).unwrap();
    while world.height < note.until * 4 - 1 {
        world.blocks(1);
    }
    assert_eq!(query::note(world.get(), &note.id).unwrap().state, NoteState::Unspent);
    world.blocks(1);
    assert_eq!(query::note(world.get(), &note.id).unwrap().state, NoteState::Spent);
    let after = query::credits(world.get(), &RUN).unwrap();
    assert_eq!((after.total, after.notes), (credits.total, credits.notes - 16));
}

#[test]
fn a_public_note_in_a_session_past_its_day_leaves_no_change() {
    let (mut world, note) = winner();
    // Locked just before its end, for longer than it.
    while world.height < note.until * 4 - 3 {
        world.blocks(1);
    }
    let chain = Chain::new([2; 32], 16);
    let order = LockOrder { open_until: world.height + 12, ..world.order(6, vec![note.id], &chain) };
    let (id, home) = world.lock(6, order);
    world.blocks(4);
    let settlement = world.settlement(id, 10, &chain);
    world.ok(home, settlement);
    while query::lock(world.get(), &id).unwrap().state != LockState::Final {
        world.blocks(1);
    }
    assert_eq!(query::note(world.get(), &tessera_ledger::keys::note_id(&id, 0)), None);
}
