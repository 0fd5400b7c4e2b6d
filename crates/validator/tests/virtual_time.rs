//! Whole committees in virtual time. Each run checks one history, its replay and the ledger's invariants.
//!
//! More seeds: `TESSERA_SEEDS=20 cargo nextest run -p tessera-validator --test virtual_time` repeats every
//! scenario with that many seeds. `just ledger-seeds` runs the tests named `chaos` with 200; `TESSERA_FROM=94` leaves
//! the first 94 out.

use tessera_validator::simulation::{Misbehaviour, Scenario, Store, Summary, Trouble, run};

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let count = std::env::var("TESSERA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (0..count).map(move |at| first + 1000 * at)
}

fn one(scenario: &Scenario) -> Summary {
    run(scenario).unwrap_or_else(|reason| panic!("{scenario:?}: {reason}"))
}

fn each(scenario: &Scenario) -> Vec<Summary> {
    seeds(scenario.seed).map(|seed| one(&Scenario { seed, ..scenario.clone() })).collect()
}

#[test]
fn one_seed_is_one_history_and_every_transfer_arrives() {
    let scenario = Scenario { seed: 1, ..Scenario::default() };
    let (first, second) = (each(&scenario), each(&scenario));
    assert_eq!(first, second);
    for summary in &first {
        assert_eq!((summary.crashes, summary.misdeeds), (0, 0));
        assert!(summary.transactions > 20, "blocks carry the clients' transfers: {summary:?}");
    }
    let other = each(&Scenario { seed: 2, ..scenario });
    assert_ne!(first[0].digest, other[0].digest);
}

#[test]
fn a_fifth_of_all_messages_may_be_lost() {
    for validators in [4, 7] {
        each(&Scenario {
            seed: 3,
            validators,
            loss_percent: 20,
            latency_ms: 60,
            jitter_ms: 40,
            height: 10,
            ..Scenario::default()
        });
    }
}

#[test]
fn validators_may_crash_at_random() {
    let troubles = vec![Trouble::Crashes { every_ms: 1500, down_ms: 700 }];
    for summary in each(&Scenario { seed: 4, troubles, height: 14, ..Scenario::default() }) {
        assert!(summary.crashes > 0);
    }
}

#[test]
fn all_may_crash_at_once() {
    let troubles = vec![Trouble::Blackout { at_ms: 2000, down_ms: 1000 }];
    for summary in each(&Scenario { seed: 5, troubles, height: 14, ..Scenario::default() }) {
        assert_eq!(summary.crashes, 4);
        assert!(summary.blocks_after >= 4, "blocks went on: {summary:?}");
    }
}

#[test]
fn a_late_joiner_downloads_the_state_and_not_the_blocks() {
    let troubles = vec![Trouble::LateJoiner { view: 8 }];
    for summary in each(&Scenario { seed: 6, troubles, height: 14, ..Scenario::default() }) {
        // Its state was compared cell by cell; it never had the blocks that made most of it.
        assert!(summary.oldest[0] > 4, "the joiner has blocks from {} on", summary.oldest[0]);
        assert_eq!(summary.oldest[1..], [1, 1, 1]);
    }
}

#[test]
fn a_partition_heals_without_a_fork() {
    let troubles = vec![Trouble::Partition { from_ms: 1500, to_ms: 4000 }];
    for summary in each(&Scenario { seed: 7, troubles, height: 12, ..Scenario::default() }) {
        assert!(summary.virtual_ms > 3000, "no half has a quorum: {summary:?}");
        assert!(summary.blocks_after >= 4, "blocks went on: {summary:?}");
    }
}

#[test]
fn disks_may_fail_and_tear_writes() {
    for (seed, validators) in [(8, 4), (9, 7)] {
        let troubles = vec![Trouble::BadDisks { from_ms: 1500, to_ms: 4000, per_mille: 20 }];
        for summary in each(&Scenario { seed, validators, troubles, ..Scenario::default() }) {
            assert!(summary.refusals.is_empty(), "nobody lost votes: {summary:?}");
            assert!(summary.blocks_after >= 4, "blocks went on: {summary:?}");
        }
    }
}

#[test]
fn a_validator_whose_votes_are_gone_refuses_to_vote() {
    let lost = |index| Trouble::TornFile { index, at_ms: 2500, down_ms: 500, store: Store::AllVotes };
    for summary in each(&Scenario { seed: 10, troubles: vec![lost(1)], ..Scenario::default() }) {
        assert_eq!(summary.refusals.len(), 1, "{summary:?}");
        let refusal = &summary.refusals[0];
        assert!(refusal.starts_with("validator 1: the vote journal lacks"), "{refusal}");
        assert!(refusal.contains("--repair"), "it says what to do: {refusal}");
        assert!(summary.blocks_after >= 4, "the others go on: {summary:?}");
    }
}

#[test]
fn a_torn_file_is_mended_or_ends_its_validator_and_never_forks() {
    for store in [Store::Votes, Store::Blocks, Store::State] {
        let (mut refused, mut mended, mut runs) = (0, 0, 0);
        for seed in 0..3 {
            let troubles =
                vec![Trouble::TornFile { index: 2, at_ms: 2500 + 150 * seed, down_ms: 400, store }];
            for summary in each(&Scenario { seed: 20 + seed, troubles, height: 20, ..Scenario::default() }) {
                assert!(summary.blocks_after >= 4, "{store:?}: the others go on: {summary:?}");
                refused += summary.refusals.len() as u64;
                mended += summary.mended;
                runs += 1;
            }
        }
        // The rest ended when a part looked for what is gone, as the process of a real validator does.
        println!("{store:?}: of {runs} validators {refused} refused to start, {mended} mended themselves");
        assert!(store != Store::Votes || refused == runs, "a cut of the vote journal was not noticed");
    }
}

#[test]
fn no_kind_of_liar_forks_four_validators() {
    for (at, kind) in Misbehaviour::ALL.into_iter().enumerate() {
        let scenario =
            Scenario { seed: 40 + at as u64, byzantine: vec![kind], height: 14, ..Scenario::default() };
        for summary in each(&scenario) {
            assert!(summary.misdeeds > 0, "{kind:?} did nothing: {summary:?}");
        }
    }
}

#[test]
fn no_two_liars_fork_seven_validators() {
    for (at, pair) in Misbehaviour::ALL.chunks(2).enumerate() {
        let scenario = Scenario {
            seed: 60 + at as u64,
            validators: 7,
            byzantine: pair.to_vec(),
            loss_percent: 5,
            ..Scenario::default()
        };
        for summary in each(&scenario) {
            assert!(summary.misdeeds > 0, "{pair:?} did nothing: {summary:?}");
        }
    }
}

#[test]
fn more_liars_than_a_third_can_stop_the_ledger() {
    // What the checks above would miss if they could not fail.
    let byzantine = vec![Misbehaviour::WithholdVotes; 2];
    let error =
        run(&Scenario { seed: 70, byzantine, longest_ms: 30_000, ..Scenario::default() }).unwrap_err();
    assert!(error.contains("timeout"), "{error}");
}

#[test]
fn old_blocks_are_dropped_unless_all_are_kept() {
    let timing = tessera_validator::Timing { interval_ms: 10, idle_ms: 10 };
    let keep_blocks = Some(200);
    let scenario = Scenario {
        seed: 71,
        validators: 2,
        height: 560,
        latency_ms: 2,
        jitter_ms: 0,
        timing,
        keep_blocks,
        ..Scenario::default()
    };
    let summary = one(&scenario);
    assert_eq!(summary.oldest[1], 1, "an archive keeps all");
    let oldest = summary.oldest[0];
    assert!(oldest >= 256, "blocks from {oldest} on are left");
    assert_eq!(summary.oldest_changes[1], 0, "an archive keeps all");
    assert!(summary.height - oldest >= 200, "blocks from {oldest} on are left of {}", summary.height);
}

/// Runs with everything at once, as the seed says.
fn chaos(validators: u8, from: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (count, from) = (number("TESSERA_SEEDS").unwrap_or(2), from + number("TESSERA_FROM").unwrap_or(0));
    let (mut crashes, mut misdeeds, mut transactions, mut blocks) = (0, 0, 0, 0);
    for seed in from..from + count {
        let scenario = Scenario::chaos(seed, validators);
        let summary = one(&scenario);
        if seed == from {
            assert_eq!(one(&scenario), summary, "the same seed gives the same history");
        }
        println!(
            "seed {seed}: {} blocks, {} crashes, {} misdeeds",
            summary.height, summary.crashes, summary.misdeeds
        );
        crashes += summary.crashes;
        misdeeds += summary.misdeeds;
        transactions += summary.transactions;
        blocks += summary.height;
    }
    println!(
        "{count} seeds of {validators} validators: {blocks} blocks, {transactions} transactions, {crashes} crashes, \
         {misdeeds} misdeeds; no fork, no broken invariant, no stop"
    );
}

#[test]
fn chaos_of_four() {
    chaos(4, 10_000);
}

#[test]
fn chaos_of_seven() {
    chaos(7, 20_000);
}
