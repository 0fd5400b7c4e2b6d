//! Follow one run from its creation to the use of its credits, with every amount checked.

mod world;

use tessera_canon::{Hash, List};
use tessera_ledger::{TxError, action::*, keys, payword::Chain, query, record::*, session};
use world::{market::*, *};

#[test]
fn seats_are_filled_evenly_and_kept_for_life() {
    let mut world = World::new(6, params());
    world.seated_run(RUN, 2, 4);
    let count = |world: &World, stage| query::seats_of_stage(world.get(), &RUN, stage).len();
    assert_eq!((count(&world, 0), count(&world, 1)), (2, 2));
    let before: Vec<_> =
        (0..4).map(|i| query::member(world.get(), &RUN, &public(i)).unwrap().stage).collect();
    // Silence, then anyone may lapse a seat; its holder comes back to the same stage.
    world.blocks(6);
    let stage = before[2].unwrap();
    let seat = query::member(world.get(), &RUN, &public(2)).unwrap().seat.unwrap();
    world.ok(5, LapseSeat { run: RUN, stage, seat });
    assert_eq!(count(&world, stage), 1);
    let cell = query::seat(world.get(), &RUN, stage, seat).unwrap();
    assert_eq!(cell.state, SeatState::Lapsed);
    world.ok(2, join(RUN, 77));
    world.blocks(1);
    let member = query::member(world.get(), &RUN, &public(2)).unwrap();
    assert_eq!((member.state, member.stage), (MemberState::Seated, Some(stage)));
    let seat = query::seat(world.get(), &RUN, stage, member.seat.unwrap()).unwrap();
    assert_eq!(&*seat.endpoint, "127.0.0.1:4077");
    world.ok(2, UpdateEndpoint { run: RUN, endpoint: "127.0.0.1:9".parse().unwrap() });
    let seat = query::seat(world.get(), &RUN, stage, member.seat.unwrap()).unwrap();
    assert_eq!((&*seat.endpoint, seat.heard), ("127.0.0.1:9", world.height));
}

#[test]
fn designers_who_do_too_little_lose_bond_and_shares() {
    let mut world = World::new(4, params());
    let mut create = create_run(RUN, 2, 4);
    create.exclusive_blocks = 10;
    let start = world.balance(0);
    world.ok(0, create);
    for i in 0..4 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    // One stage of two reports: less than the least work when the deadline comes.
    let (sender, report) = world.full_report(RUN, 0, None).unwrap();
    world.ok(sender, report);
    world.blocks(12);
    let run = query::run(world.get(), &RUN).unwrap();
    // 12 x 10 wu of a least 180.
    assert_eq!((run.state, run.f_designer, run.bond), (RunState::Aborted, 120, 0));
    let credits = query::credits(world.get(), &RUN).unwrap();
    assert_eq!((credits.pending, credits.active, credits.voided), (0, 0, 120 * 65536));
    assert_eq!(query::globals(world.get()).unwrap().fund, 1_000_000);
    assert!(world.balance(0) < start - 1_000_000);
}

#[test]
fn a_run_is_trained_owned_sold_and_used() {
    let mut world = World::new(8, params());
    let start = world.balance(0);
    world.seated_run(RUN, 2, 4);
    world.close_window(RUN, 10_000_000);
    let run = query::run(world.get(), &RUN).unwrap();
    assert_eq!((run.state, run.window, run.f_done, run.f_designer), (RunState::Open, 1, 360, 360));
    assert_eq!(run.weight, 59578); // 10/11 of 65536
    for loss in [8_000_000, 9_000_000, 5_500_000] {
        world.close_window(RUN, loss);
    }
    let run = query::run(world.get(), &RUN).unwrap();
    // The third window's worse loss did not raise the weight.
    assert_eq!((run.state, run.loss_min, run.weight, run.bond), (RunState::Serving, 5_500_000, 32768, 0));
    let weights: Vec<u32> = (0..4).map(|w| query::window(world.get(), &RUN, w).unwrap().weight).collect();
    assert_eq!(weights, [65536, 59578, 47662, 47662]);
    world.blocks(12);
    let credits = query::credits(world.get(), &RUN).unwrap();
    let made: u128 = weights.iter().map(|w| u128::from(*w) * 360).sum();
    assert_eq!((credits.active, credits.pending, credits.total, credits.pool), (made, 0, 10_000, 0));
    // Less than one note waits in the public lane, for which nobody applied.
    let pot = query::lane(world.get(), &RUN).unwrap().public_pot;
    assert!(pot < 16 && credits.owner_in == 10_000 - pot, "{pot}");
    // Stage 1 costs twice stage 0; each stage has two seats that share evenly.
    for i in 0..4 {
        let stage = query::member(world.get(), &RUN, &public(i)).unwrap().stage.unwrap();
        let owner = query::owner(world.get(), &RUN, &public(i)).unwrap();
        assert_eq!(owner.shares, made * u128::from(stage + 1) / 6);
        let due = query::due_credits(world.get(), &RUN, &public(i));
        // A sixth and a third of 9987; of the third the last fraction is still in the remainder.
        assert_eq!(due, if stage == 0 { 1664 } else { 3328 });
        assert_eq!(query::holdings_of(world.get(), &public(i)).len(), 1);
    }
    assert!(world.balance(0) > start - 10 * 500_000, "the bond came back");

    // A sale: owner 0 claims and asks for all, user 6 buys 100 at 50 nano-U each.
    world.ok(0, ClaimCredits { run: RUN, to: owner(0) });
    let note = query::notes_of(world.get(), &public(0)).remove(0);
    let (seller, buyer) = (world.balance(0), world.balance(6));
    let wanted = [ask_notes(0, 50, note.cu.into(), vec![note.id]), bid(6, 60, 100)];
    world.auction(&credits_of(RUN), &wanted);
    // Two transactions each; 30 bp of 5000 from the seller.
    assert_eq!(world.balance(0), seller + 5000 - 15 - 1_000_000);
    assert_eq!(world.balance(6), buyer - 5000 - 1_000_000);
    let rest = query::notes_of(world.get(), &public(0)).remove(0);
    assert_eq!(rest.cu, note.cu - 100);

    // A session: lock 100, use 30.
    let bought = query::notes_of(world.get(), &public(6)).remove(0);
    let chain = Chain::new([5; 32], 100);
    let order = world.order(6, vec![bought.id], &chain);
    let id = order.id();
    let before = world.balance(6);
    world.ok(6, LockNotes { order: order.clone(), owners: List::default() });
    assert_eq!(world.balance(6), before - 100_000 - 500_000);
    let lock = query::lock(world.get(), &id).unwrap();
    assert_eq!((lock.state, lock.home), (LockState::Locking, Default::default()));
    // The double spend is refused by name.
    let mut again = order.clone();
    again.salt += 1;
    let refused = world.run(6, LockNotes { order: again, owners: List::default() });
    assert_eq!(refused.error, Some(TxError::Locked { note: bought.id, order: id }));
    // The home was drawn at the start of that block, with its beacon.
    let lock = query::lock(world.get(), &id).unwrap();
    let seats: Vec<_> = query::seats_of_stage(world.get(), &RUN, 0).iter().map(|s| (s.account, 8)).collect();
    let escrow = query::escrow(world.get(), &id).unwrap();
    assert_eq!(escrow.beacon, world.context().beacon);
    assert_eq!(session::expected_home(&escrow.beacon, &escrow.first_note, 0, &seats), Some(lock.home));

    let home = world.index_of(&lock.home);
    let before_settling = world.balance(home);
    let settlement = world.settlement(id, 29, &chain);
    let legs = settlement.legs.clone();
    world.ok(home, settlement);
    let payword = chain.word(30).unwrap();
    world.ok(home, RaiseSettle { order: id, chunks: 30, payword, legs, route: None });
    // Two fees, and one bond: the home corrected itself.
    assert_eq!(world.balance(home), before_settling - 1_000_000 - 1_000);
    let user_before = world.balance(6);
    world.blocks(8);
    assert_eq!(query::lock(world.get(), &id).unwrap().state, LockState::Final);
    // Two stages at 10 nano-U a credit: 600 for 30, of which 12 go to the insurance.
    assert_eq!(world.balance(home), before_settling - 1_000_000 + 294);
    assert_eq!(world.balance(6), user_before + 100_000 - 600);
    assert_eq!(query::lane(world.get(), &RUN).unwrap().insurance, 12);
    let notes = query::notes_of(world.get(), &public(6));
    assert_eq!(notes.iter().map(|n| n.cu).collect::<Vec<_>>(), [70]);
    assert_eq!(notes[0].id, keys::note_id(&id, 0));
    assert_eq!(query::note(world.get(), &bought.id).unwrap().state, NoteState::Spent);
    world.wait_for(Asset::Cu, false);
    let again = world.commit(&credits_of(RUN), &ask_notes(6, 1, 1, vec![bought.id]));
    let refused = world.block(&[again]).receipts.remove(0);
    assert_eq!(refused.error, Some(TxError::Spent { note: bought.id, by: id }));
    // The 30 used credits went back to the owners: 5 or 10 each, with what their fractions add.
    let due: u64 = (0..4).map(|i| query::due_credits(world.get(), &RUN, &public(i))).sum();
    let credits = query::credits(world.get(), &RUN).unwrap();
    let pot = query::lane(world.get(), &RUN).unwrap().public_pot;
    assert_eq!(credits.owner_in, 10_030 - pot);
    assert!((3 * 1660 + 30 - pot..=8_370).contains(&due), "{due}");
}

#[test]
fn an_unused_lock_runs_out_for_its_fee() {
    let mut world = World::serving_run(6);
    let note = world.note_for(5, 10);
    let order = world.order(5, vec![note], &Chain::new([1; 32], 10));
    let before = world.balance(5);
    world.ok(5, LockNotes { order: order.clone(), owners: List::default() });
    world.blocks(20);
    assert_eq!(query::lock(world.get(), &order.id()).unwrap().state, LockState::Expired);
    assert_eq!(world.balance(5), before - 500_000);
    assert_eq!(query::notes_of(world.get(), &public(5))[0].cu, 9);
}

#[test]
fn notes_of_several_owners_are_merged_with_their_signatures() {
    let mut world = World::serving_run(7);
    let (a, b) = (world.note_for(5, 10), world.note_for(6, 20));
    let reshaping = Reshaping {
        network: world.network,
        inputs: list(vec![a, b]),
        outputs: list(vec![NoteOutput { owner: owner(1), cu: 30 }]),
    };
    let proofs = vec![proof(5, RESHAPE, &reshaping), proof(6, RESHAPE, &reshaping)];
    world.ok(1, Reshape { reshaping, owners: list(proofs) });
    assert!(query::notes_of(world.get(), &public(5)).is_empty());
    assert!(query::notes_of(world.get(), &public(1)).iter().any(|note| note.cu == 30));
}

#[test]
fn moved_shares_earn_from_then_on() {
    let mut world = World::serving_run(6);
    // Past the transfer lock: eight epochs of four blocks.
    world.blocks(4 * 8);
    let shares = query::owner(world.get(), &RUN, &public(1)).unwrap().shares;
    let due = query::due_credits(world.get(), &RUN, &public(1));
    world.ok(1, TransferShares { run: RUN, to: public(5), amount: shares });
    assert_eq!(query::due_credits(world.get(), &RUN, &public(1)), due);
    assert_eq!(query::due_credits(world.get(), &RUN, &public(5)), 0);
    assert_eq!(query::owner(world.get(), &RUN, &public(5)).unwrap().shares, shares);
    assert_ne!(world.state.root(), Hash::ZERO);
}
