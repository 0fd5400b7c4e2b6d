//! Show that U is issued by the schedule alone.

use crate::{accounts::bond, hall::parameters, world::*};
use tessera_ledger::{
    Event,
    action::*,
    event::Issued,
    genesis::{Parameters, SecurityTerms},
    issuance, keys,
    payword::Chain,
    query,
    record::{Issuance, NoteState},
    tx::SignedTx,
};

/// 1 000 000 in the first epoch, half after every 8 epochs, at least 1 % in a year of 1000 epochs.
fn terms() -> SecurityTerms {
    // 2^32 x 2^(-1/8), rounded.
    SecurityTerms { first: 1_000_000, keep: 3_938_502_376, tail: 100, ..SecurityTerms::demo() }
}
fn issuing() -> Parameters {
    // No tail: it would be far above these amounts.
    Parameters { security: SecurityTerms { tail: 0, ..terms() }, ..parameters() }
}

#[test]
fn the_schedule_halves_and_ends_in_its_tail() {
    let mut state = Issuance { scheduled: 10_000_000_000, rate: 1_000_000, part: 10_000 };
    let mut next = || issuance::next(&mut state, terms().keep, terms().tail, 1000);
    let allowed: Vec<u128> = (0..400).map(|_| next()).collect();
    assert_eq!(allowed[..4], [1_000_000, 917_004, 840_896, 771_105]);
    // Half of 1 000 000 within rounding down.
    assert!((499_990..=500_000).contains(&allowed[8]), "{}", allowed[8]);
    // The tail: 1 % of 10 000 000 000 and what was added, in a thousandth of a year.
    let tail = allowed.iter().position(|amount| *amount < 110_000).unwrap();
    assert!((25..28).contains(&tail), "{tail}");
    assert!(allowed[tail + 2..].iter().all(|amount| (100_000..=101_600).contains(amount)));
    assert!(allowed[tail + 2..].windows(2).all(|pair| pair[0] <= pair[1]), "it grows with what there is");
    assert_eq!(state.scheduled, 10_000_000_000 + allowed.iter().sum::<u128>());
    // A tail of 1 % grows by 1 % in a year and no more.
    let before = state.scheduled;
    let year: u128 = (0..1000).map(|_| issuance::next(&mut state, 0, 100, 1000)).sum();
    assert!(year <= before / 100 + before / 10_000 && year >= before / 100 - 1_000_000, "{year} of {before}");
}

/// The defaults of a public network that begins with nothing; figures by a separate computation.
#[test]
fn the_default_schedule_year_by_year() {
    let terms = SecurityTerms::default();
    let mut state = Issuance { scheduled: 0, rate: terms.first.into(), part: 10_000 };
    let mut years = Vec::new();
    for _ in 0..12 {
        let mut year = 0;
        for _ in 0..terms.year_epochs {
            year += issuance::next(&mut state, terms.keep, terms.tail, terms.year_epochs);
        }
        years.push(year);
    }
    // Nano-U: 44.4 million U in the first year, half as much every two years, then 1 % of what there is.
    assert_eq!(years[0], 44_419_278_236_398_488);
    assert_eq!(years[1], 31_409_304_260_037_990);
    assert_eq!(years[2], 22_209_824_610_020_881);
    assert_eq!(years[9], 1_963_144_067_078_375);
    assert_eq!(years[10], 1_503_387_566_231_015);
    assert_eq!(years[11], 1_491_668_587_225_300);
    assert_eq!(state.scheduled, 149_913_950_525_123_621);
    let growth = years[11] * 10_000 / (state.scheduled - years[11]);
    assert_eq!(growth, 100, "1 % of what was there");
}

#[test]
fn the_schedule_stops_at_the_largest_number() {
    let mut state = Issuance { scheduled: u128::MAX - 5, rate: 1_000_000, part: 10_000 };
    assert_eq!(issuance::next(&mut state, terms().keep, 100, 1000), 5);
    assert_eq!(issuance::next(&mut state, terms().keep, 100, 1000), 0);
}

/// What each boundary of `blocks` blocks issued; `txs` are those of the next block.
fn issued(world: &mut World, blocks: u64, mut txs: impl FnMut(&mut World) -> Vec<SignedTx>) -> Vec<Issued> {
    let mut all = Vec::new();
    for _ in 0..blocks {
        let txs = txs(world);
        let outcome = world.block(&txs);
        all.extend(outcome.events.into_iter().filter_map(|event| match event {
            Event::Issued(event) => Some(event),
            _ => None,
        }));
    }
    all
}
fn nothing(_: &mut World) -> Vec<SignedTx> {
    Vec::new()
}

#[test]
fn validators_are_paid_for_the_blocks_that_they_proposed() {
    let mut world = World::new(6, issuing());
    // Blocks of the test are proposed by 1000. Before it is bonded nobody is paid.
    let first = issued(&mut world, 4, nothing);
    assert_eq!((first[0].validators, first[0].auditors, first[0].fund), (0, 0, 300_000));
    world.ok(1, bond(&world, 1, 1000, 1_000_000));
    let second = issued(&mut world, 3, nothing);
    assert_eq!(second[0].validators, 0, "it joins the next set");
    let before = world.balance(1);
    let third = issued(&mut world, 4, nothing);
    // Half of 840 896 in 4 blocks of 105 112; all of them are its own.
    assert_eq!((third[0].allowed, third[0].validators), (840_896, 420_448));
    assert_eq!(world.balance(1), before + 420_448);
    assert_eq!(third[0].fund, 840_896 - 420_448 - 168_179);
    // It leaves the set at the next boundary, and is paid up to there.
    world.ok(1, ValidatorUnbond {});
    let last = issued(&mut world, 3, nothing);
    assert_eq!(last[0].validators, 4 * (771_105 / 2 / 4));
    assert_eq!(issued(&mut world, 4, nothing)[0].validators, 0);
}

/// A history with many sessions and one with none issue the same.
#[test]
fn usage_issues_nothing() {
    let start = |parameters: Parameters| {
        let mut world = World::new(8, parameters);
        world.seated_run(RUN, 2, 4);
        for window in 0..4 {
            world.close_window(RUN, 10_000_000 - window * 1_000_000);
        }
        world.blocks(12);
        world.ok(1, bond(&world, 1, 1000, 1_000_000));
        world
    };
    let (mut idle, mut busy) = (start(issuing()), start(issuing()));
    assert_eq!(idle.state, busy.state);
    let note = busy.note_for(5, 60);
    // The busy one needed two more blocks for the note.
    while idle.height < busy.height {
        idle.blocks(1);
    }
    let quiet = issued(&mut idle, 80, nothing);
    let (mut used, mut open) = (0, None);
    let loud = issued(&mut busy, 80, |world| {
        let step = world.height % 16;
        if step == 1 {
            let mine = query::notes_of(world.get(), &public(5));
            let Some(note) = mine.into_iter().find(|note| note.state == NoteState::Unspent && note.cu > 3)
            else {
                return Vec::new();
            };
            let chain = Chain::new([used as u8; 32], note.cu as u32);
            let order = world.order(5, vec![note.id], &chain);
            open = Some((order.id(), chain));
            return vec![world.tx(5, LockNotes { order, owners: list(vec![]) })];
        }
        match &open {
            Some((order, chain)) if step == 4 => {
                let settlement = world.settlement(*order, 3, chain);
                open = None;
                used += 3;
                vec![world.tx(5, settlement)]
            }
            _ => Vec::new(),
        }
    });
    assert!(used >= 12, "{used} credits were used of note {note}");
    let left: u64 = query::notes_of(busy.get(), &public(5)).iter().map(|note| note.cu).sum();
    assert!(left <= 60 - 9, "{left} credits are left of 60");
    assert_eq!(quiet, loud);
    let issued_of = |world: &World| query::globals(world.get()).unwrap().issued;
    assert_eq!(issued_of(&idle), issued_of(&busy));
    assert!(issued_of(&idle) > 8 * RICH);
}

#[test]
fn a_public_network_begins_with_its_defaults() {
    let mut world = World::new(2, Parameters::default());
    world.blocks(2);
    assert_eq!(query::governance(world.get()), Some(Default::default()));
    assert_eq!(query::issuance(world.get()).unwrap().scheduled, 2 * RICH);
}

#[test]
fn a_network_without_a_schedule_issues_nothing() {
    let mut world = World::voting_run(8);
    world.ok(1, bond(&world, 1, 1000, 1_000_000));
    world.blocks(20);
    assert_eq!(query::globals(world.get()).unwrap().issued, 8 * RICH);
    assert!(world.state.get(&keys::issuance()).is_some());
    assert_eq!(query::read::<Issuance>(world.get(), &keys::issuance()).unwrap().scheduled, 8 * RICH);
}
