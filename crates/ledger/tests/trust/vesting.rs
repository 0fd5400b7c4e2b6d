//! The transfer lock through real blocks: what it refuses, when it lets go, and that splitting frees nothing.

use crate::{setting::*, world::*};
use tessera_ledger::{TxError, action::*, query};

fn movable(world: &World, of: u32) -> u128 {
    query::movable_shares(world.get(), &RUN, &public(of), (world.height / 4) as u32)
}
fn held(world: &World, of: u32) -> u128 {
    query::owner(world.get(), &RUN, &public(of)).map_or(0, |owner| owner.shares)
}

#[test]
fn a_quarter_moves_at_once_and_everything_after_the_lock_and_serving() {
    let mut world = start(6);
    while query::run(world.get(), &RUN).unwrap().window < 4 {
        world.close_window(RUN, 9_000_000);
    }
    while held(&world, 2) == 0 {
        world.blocks(1);
    }
    let (all, free) = (held(&world, 2), movable(&world, 2));
    assert_eq!(free, all / 4);
    let move_to = |amount| TransferShares { run: RUN, to: public(7), amount };
    let error = world.run(2, move_to(free + 1)).error;
    assert_eq!(error, Some(TxError::SharesLocked { needed: free + 1, movable: free }));
    world.ok(2, move_to(free));
    assert_eq!(movable(&world, 2), 0);
    assert_eq!(movable(&world, 7), free, "what was free stays free in other hands");
    world.ok(7, TransferShares { run: RUN, to: public(2), amount: free });
    // The lock only opens, here until two of eight parts are left: the run does not serve yet.
    let mut before = movable(&world, 2);
    for _ in 0..60 {
        world.blocks(1);
        assert!(movable(&world, 2) >= before);
        before = movable(&world, 2);
    }
    assert_eq!(held(&world, 2), all);
    assert_eq!(all - before, (3 * all * 2).div_ceil(4 * 8));
    // Training ends; everything is free when the lock of the last claims and two epochs of serving are over.
    while query::run(world.get(), &RUN).unwrap().window < 20 {
        world.close_window(RUN, 9_000_000);
    }
    world.blocks(4 * 4);
    let whole = held(&world, 2);
    assert!(movable(&world, 2) < whole);
    world.blocks(4 * 12);
    assert_eq!(movable(&world, 2), whole);
    world.ok(2, TransferShares { run: RUN, to: public(7), amount: whole });
}

#[test]
fn two_identities_are_never_freer_than_one() {
    // One account works for two others in one world; in the other they share its work.
    let share = |world: &mut World, parts: [u32; 3]| {
        let seats = query::seats_of_stage(world.get(), &RUN, 0);
        let mut entries: Vec<WorkEntry> = (0u32..3)
            .zip(parts)
            .filter(|(_, work)| *work > 0)
            .map(|(i, work)| WorkEntry { account: public(i), microbatches: work })
            .collect();
        entries.sort_by_key(|entry| entry.account);
        let report = world.report(RUN, 0, entries, Some(9_000_000));
        let report = world.sign_report(report, &seats);
        world.ok(0, report);
    };
    let (mut one, mut two) = (start(4), start(4));
    for window in 0..12 {
        share(&mut one, [5, 7, 0]);
        let split = window % 6;
        share(&mut two, [5, split + 1, 6 - split]);
        let (whole, parts) = (held(&one, 1), held(&two, 1) + held(&two, 2));
        assert_eq!(whole, parts, "P3");
        let (free, parts) = (movable(&one, 1), movable(&two, 1) + movable(&two, 2));
        assert!(parts <= free && free - parts < 2, "{parts} of two, {free} of one");
    }
    assert!(movable(&one, 1) > 0);
}

#[test]
fn when_an_owner_claims_credits_does_not_change_what_is_locked() {
    let mut worlds = [start(4), start(4)];
    for (i, world) in worlds.iter_mut().enumerate() {
        while query::run(world.get(), &RUN).unwrap().window < 20 {
            world.close_window(RUN, 9_000_000);
        }
        for _ in 0..6 {
            world.blocks(4);
            let due = query::due_credits(world.get(), &RUN, &public(1));
            // P8: one claims as often as it can, the other only at the end.
            let claim = ClaimCredits { run: RUN, to: owner(1) };
            if i == 0 && due > 0 {
                world.ok(1, claim);
            } else {
                world.ok(1, Transfer { to: public(2), amount: 1 });
            }
        }
    }
    let [often, once] = &worlds;
    assert_eq!((held(often, 1), movable(often, 1)), (held(once, 1), movable(once, 1)));
    let cu = |world: &World| {
        let notes = query::notes_of(world.get(), &public(1));
        notes.iter().map(|note| note.cu).sum::<u64>() + query::due_credits(world.get(), &RUN, &public(1))
    };
    assert_eq!(cu(often), cu(once));
}
