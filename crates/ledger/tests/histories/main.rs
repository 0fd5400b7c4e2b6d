//! Run long random histories of every action, valid and not, and check what must hold for all of them.

mod conformance;
#[path = "../../../canon/tests/formats/mod.rs"]
mod formats;
#[path = "history.rs"]
mod history;
#[path = "../trust/machine.rs"]
mod machine;
mod votes;
#[path = "../world/mod.rs"]
mod world;

use history::{HISTORY, History, governance};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, Prf};
use tessera_ledger::{
    BlockSession, Event, FeeSource, MemState, SignedTx, action::*, block::Need, keys, payword::Chain,
};
use world::*;

/// The keys that refused transactions alone may change.
fn fee_keys(txs: &[SignedTx]) -> BTreeSet<Hash> {
    txs.iter().map(|tx| keys::account(&tx.body.sender)).chain([keys::globals()]).collect()
}

fn long_history(seed: u64, total: usize) -> (Hash, BTreeMap<&'static str, [usize; 2]>) {
    let mut history = History::new(seed);
    let (mut done, mut kinds) = (0, BTreeMap::<&'static str, [usize; 2]>::new());
    let (mut created, mut spent) = (BTreeSet::new(), BTreeSet::new());
    while done < total {
        let txs = history.txs();
        let before = history.world.state.clone();
        let outcome = history.world.block(&txs);
        for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
            kinds.entry(tx.body.action.kind()).or_default()[usize::from(!receipt.ok())] += 1;
        }
        let in_u = txs.iter().all(|tx| tx.body.fee_from == FeeSource::default());
        if in_u && outcome.receipts.iter().all(|receipt| !receipt.ok()) {
            let mut idle = before.clone();
            let idle = idle.run_block_with(history.world.context(), history.world.referee.clone(), &[]);
            let fees = fee_keys(&txs);
            let left: Vec<_> = outcome.writes.iter().filter(|(key, _)| !fees.contains(key)).collect();
            let idle: Vec<_> = idle.writes.iter().filter(|(key, _)| !fees.contains(key)).collect();
            assert_eq!(left, idle, "a refused transaction changed more than its fee and nonce");
        }
        governance::check(&before, &history.world, &outcome);
        for event in &outcome.events {
            match event {
                Event::NoteCreated(event) => assert!(created.insert(event.note), "created twice"),
                Event::NoteSpent(event) => {
                    assert!(created.contains(&event.note) && spent.insert(event.note), "spent twice");
                }
                _ => {}
            }
        }
        done += txs.len();
    }
    (history.world.state.root(), kinds)
}

#[test]
fn every_invariant_holds_through_random_histories() {
    let mut kinds = BTreeMap::<&'static str, [usize; 2]>::new();
    let total = std::env::var("TESSERA_TXS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    for seed in 0..4 {
        let (root, of_seed) = long_history(seed, total / 4);
        let [ok, refused] = [0, 1].map(|at| of_seed.values().map(|counts| counts[at]).sum::<usize>());
        println!("seed {seed}: {ok} took effect, {refused} were refused, root {}", root.short());
        for (kind, counts) in of_seed {
            let sum = kinds.entry(kind).or_default();
            sum[0] += counts[0];
            sum[1] += counts[1];
        }
    }
    println!("{kinds:?}");
    let tried: BTreeSet<&str> = kinds.keys().copied().collect();
    let known = conformance::actions();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(tried, known, "every action was tried");
    let rare: Vec<_> = kinds.iter().filter(|(_, [ok, refused])| *ok < 2 || *refused < 2).collect();
    assert!(rare.is_empty(), "action, how many took effect, how many were refused: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_state() {
    assert_eq!(long_history(11, 600), long_history(11, 600));
    assert_ne!(long_history(11, 600).0, long_history(12, 600).0);
}

/// Run a block, handing over at most `at_once` of the needed keys at a time.
fn run_starved(
    state: &MemState,
    world: &World,
    txs: &[SignedTx],
    at_once: usize,
) -> (tessera_ledger::Outcome, usize) {
    fn drive<T>(
        state: &MemState,
        session: &mut BlockSession,
        at_once: usize,
        stops: &mut usize,
        mut call: impl FnMut(&mut BlockSession) -> Result<T, Need>,
    ) -> T {
        loop {
            match call(session) {
                Ok(value) => return value,
                Err(Need(keys)) => {
                    assert!(!keys.is_empty());
                    *stops += 1;
                    for key in keys.into_iter().take(at_once) {
                        session.supply(key, state.get(&key));
                    }
                }
            }
        }
    }
    let (mut session, mut stops) = (BlockSession::with_referee(world.context(), world.referee.clone()), 0);
    if at_once == usize::MAX {
        for (key, cell) in &state.0 {
            session.supply(*key, Some(*cell));
        }
    }
    drive(state, &mut session, at_once, &mut stops, BlockSession::begin);
    for tx in txs {
        drive(state, &mut session, at_once, &mut stops, |session| session.apply(tx));
    }
    drive(state, &mut session, at_once, &mut stops, BlockSession::end);
    (session.finish(), stops)
}

#[test]
fn being_interrupted_at_every_read_changes_nothing() {
    let mut history = History::new(21);
    let (mut done, mut most) = (0, 0);
    while done < 800 {
        let txs = history.txs();
        let before = history.world.state.clone();
        let outcome = history.world.block(&txs);
        let (starved, stops) = run_starved(&before, &history.world, &txs, 1);
        assert!(starved == outcome, "one key at a time, height {}", history.world.height);
        let (full, _) = run_starved(&before, &history.world, &txs, usize::MAX);
        assert!(full == outcome, "everything supplied, height {}", history.world.height);
        done += txs.len();
        most = most.max(stops);
    }
    assert!(most > 50, "the interruptions were real: {most}");
}

#[test]
fn the_order_of_independent_transactions_does_not_show() {
    let mut world = World::serving_run(10);
    let other = Hash([3; 32]);
    world.ok(0, create_run(other, 2, 10));
    let notes: Vec<Hash> = (4..7).map(|i| world.note_for(i, 10)).collect();
    let (first, second) = (Chain::new([1; 32], 10), Chain::new([2; 32], 10));
    let (a, b) = (world.order(4, vec![notes[0]], &first), world.order(5, vec![notes[1]], &second));
    let note = reshape(world.network, vec![notes[2]], vec![NoteOutput { owner: owner(9), cu: 10 }]);
    let mut txs = vec![
        world.tx(1, ClaimCredits { run: RUN, to: owner(9) }),
        world.tx(2, ClaimCredits { run: RUN, to: owner(9) }),
        world.tx(3, join(other, 3)),
        world.tx(4, LockNotes { order: a, owners: list(vec![]) }),
        world.tx(5, LockNotes { order: b, owners: list(vec![]) }),
        world.tx(6, note),
        world.tx(7, join(other, 7)),
        world.tx(8, join(other, 8)),
        world.tx(9, Transfer { to: public(8), amount: 5 }),
        world.tx(0, Transfer { to: public(8), amount: 6 }),
    ];
    let mut random = Prf::new(HISTORY, b"order");
    let mut roots = BTreeSet::new();
    for _ in 0..40 {
        let mut world = world.clone();
        let outcome = world.block(&txs);
        assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
        // The draws of the next block must not depend on the order either.
        world.blocks(2);
        roots.insert(world.state.root());
        let order = random.permutation(txs.len());
        txs = order.iter().map(|i| txs[*i as usize].clone()).collect();
    }
    assert_eq!(roots.len(), 1);
}
