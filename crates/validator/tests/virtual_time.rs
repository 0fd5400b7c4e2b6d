//! Whole committees in virtual time. Each run checks one history, its replay and the ledger's invariants.
//!
//! More seeds: `TESSERA_SEEDS=20 cargo nextest run -p tessera-validator --test virtual_time` repeats every
//! scenario with that many seeds.

use tessera_validator::simulation::{Scenario, Summary, Trouble, run};

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let count = std::env::var("TESSERA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (0..count).map(move |at| first + 1000 * at)
}

fn each(scenario: &Scenario) -> Vec<Summary> {
    seeds(scenario.seed)
        .map(|seed| {
            let scenario = Scenario { seed, ..scenario.clone() };
            run(&scenario).unwrap_or_else(|reason| panic!("{scenario:?}: {reason}"))
        })
        .collect()
}

#[test]
fn one_seed_is_one_history_and_every_transfer_arrives() {
    let scenario = Scenario { seed: 1, ..Scenario::default() };
    let (first, second) = (each(&scenario), each(&scenario));
    assert_eq!(first, second);
    for summary in &first {
        assert_eq!(summary.crashes, 0);
        assert!(summary.transactions > 20, "blocks carry the clients' transfers: {summary:?}");
    }
    let other = each(&Scenario { seed: 2, ..scenario });
    assert_ne!(first[0].digest, other[0].digest);
}

#[test]
fn a_fifth_of_all_messages_may_be_lost() {
    each(&Scenario {
        seed: 3,
        loss_percent: 20,
        latency_ms: 60,
        jitter_ms: 40,
        height: 10,
        ..Scenario::default()
    });
}

#[test]
fn validators_may_crash_at_random() {
    let trouble = Trouble::Crashes { every_ms: 1500, down_ms: 700 };
    for summary in each(&Scenario { seed: 4, trouble, height: 14, ..Scenario::default() }) {
        assert!(summary.crashes > 0);
    }
}

#[test]
fn all_may_crash_at_once() {
    let trouble = Trouble::Blackout { at_ms: 2000, down_ms: 1000 };
    for summary in each(&Scenario { seed: 5, trouble, height: 14, ..Scenario::default() }) {
        assert_eq!(summary.crashes, 4);
    }
}

#[test]
fn a_late_joiner_downloads_the_state() {
    each(&Scenario { seed: 6, trouble: Trouble::LateJoiner { view: 8 }, height: 14, ..Scenario::default() });
}

#[test]
fn a_partition_heals_without_a_fork() {
    let trouble = Trouble::Partition { from_ms: 1500, to_ms: 4000 };
    for summary in each(&Scenario { seed: 7, trouble, height: 12, ..Scenario::default() }) {
        assert!(summary.virtual_ms > 3000, "no half has a quorum: {summary:?}");
    }
}
