//! The whole protocol at once, in its short form: cheats of several kinds among seats that crash. The long form is the
//! example `trust`.

use std::collections::BTreeSet;
use tessera_ledger::record::Verdict;
use tessera_sim::{
    SwarmSim,
    scenario::{Outcome, Scenario},
};
use tessera_swarm::Phase;

fn scenario() -> Scenario {
    Scenario {
        seed: 1,
        stages: 4,
        seats: 4,
        steps: 160,
        one_in: 5,
        unit_rate: 3_000,
        crash_ms: 3_000,
        limit_ms: 2_000_000,
    }
}

fn nobody_halts(sim: &SwarmSim) {
    for account in sim.accounts() {
        let halted = sim.trainer(&account).is_some_and(|trainer| *trainer.phase() == Phase::Halted);
        let notes = sim.notes(&account);
        assert!(!halted, "{:?}: {:#?}", sim.home(&account), &notes[notes.len().saturating_sub(25)..]);
    }
}

/// What holds of every such swarm.
fn check(outcome: &Outcome) {
    assert!(outcome.finished, "{outcome:?}");
    assert_eq!(outcome.honest_convicted, 0);
    assert_eq!(
        outcome.complaints,
        Vec::<String>::new(),
        "honest seats have nothing to say about honest seats"
    );
    assert!(outcome.roots.iter().all(|roots| roots.len() == 1), "{:?}", outcome.roots);
}

#[test]
fn cheats_fall_and_nobody_else_is_touched() {
    let cheated = scenario().play(nobody_halts);
    let clean = Scenario { one_in: 0, ..scenario() }.play(nobody_halts);
    check(&cheated);
    check(&clean);
    let guilty: BTreeSet<_> = cheated.cheats.iter().map(|cheat| cheat.account).collect();
    for cheat in &cheated.cheats {
        println!("{}: {} false units, {:?}", cheat.name, cheat.falsified, cheat.verdicts);
        assert!(cheat.verdicts.iter().any(|(verdict, _)| *verdict == Verdict::Fraud), "{cheat:?}");
        assert!(cheated.shares[&cheat.account] < clean.shares[&cheat.account], "{cheat:?}");
    }
    println!(
        "{} rollbacks, {} steps done again, {} crashes; clean run {} crashes",
        cheated.rollbacks, cheated.redone, cheated.kills, clean.kills
    );
    assert_eq!(cheated.cheats.len(), 3);
    assert!(cheated.rollbacks > 0 && cheated.kills > 0 && clean.kills > 0);
    assert_eq!(cheated.roots, clean.roots, "every false unit was undone");
    assert_eq!(cheated.loss, clean.loss);
    // A unit costs its stage the same whoever does it: what the cheats lose, the others do.
    let counted = |outcome: &Outcome| outcome.microbatches.values().sum::<u64>();
    assert_eq!(counted(&cheated), counted(&clean));
    let honest = |outcome: &Outcome| -> u128 {
        outcome.shares.iter().filter(|(account, _)| !guilty.contains(account)).map(|(_, shares)| shares).sum()
    };
    assert!(honest(&cheated) >= honest(&clean), "the honest together lost shares");
}
