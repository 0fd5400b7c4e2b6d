//! Let random histories vote much more than others do, so that motions take effect.

use crate::history::{History, governance::check};
use tessera_ledger::Event;

#[test]
fn votes_take_effect_in_random_histories() {
    let mut states = std::collections::BTreeMap::<String, usize>::new();
    let mut changed = 0;
    for seed in [31, 32] {
        let mut history = History::new(seed);
        let mut done = 0;
        while done < 3_000 {
            let mut txs = history.txs();
            // Many more votes than elsewhere, so that quorums are reached.
            for _ in 0..12 {
                if let Some((sender, action)) = history.govern() {
                    txs.push(history.world.tx(sender, action));
                }
            }
            let before = history.world.state.clone();
            let outcome = history.world.block(&txs);
            check(&before, &history.world, &outcome);
            for event in &outcome.events {
                match event {
                    Event::Executed(event) => {
                        *states.entry(format!("{:?}", event.state)).or_default() += 1;
                    }
                    Event::ParameterChanged(_) => changed += 1,
                    _ => {}
                }
            }
            done += txs.len();
        }
    }
    println!("{states:?}, {changed} parameters changed");
    assert!(changed >= 5 && states.get("Executed").is_some_and(|count| *count >= 6), "{states:?} {changed}");
    assert!(states.len() >= 2, "some lapsed: {states:?}");
}
