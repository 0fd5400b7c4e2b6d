//! The system's central promise in virtual time: whatever happens to the seats, the weights are those of one
//! process on one machine, no unit is lost, and everybody's work is on the ledger.

use std::sync::OnceLock;
use tessera_canon::Hash;
use tessera_ledger::{query, record::RunState};
use tessera_model::{Dataset, RunSpec, central};
use tessera_net::sim::Profile;
use tessera_sim::{SimConfig, SwarmSim};
use tessera_swarm::Note;

/// Virtual time that any of these runs may take, milliseconds.
const LIMIT: u64 = 600_000;

/// Roots of the single-process run of the `tiny` preset.
fn reference() -> &'static [Hash] {
    static ROOTS: OnceLock<Vec<Hash>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let spec = RunSpec::preset("tiny").unwrap();
        let data = Dataset::embedded(&spec).unwrap();
        central::train(&spec, &data, spec.steps, |_| {}).unwrap().roots
    })
}

fn check(sim: &mut SwarmSim) {
    let done = sim.run_until(LIMIT, |s| s.finished() && run_state(s) == RunState::Serving);
    assert!(done, "not finished after {} ms: {}; {:?}", sim.now_ms(), standing(sim), sim.offences());
    assert!(sim.offences().is_empty(), "{:?}", sim.offences());
    for (stage, roots) in sim.roots().iter().enumerate() {
        assert_eq!(roots.iter().copied().collect::<Vec<_>>(), vec![reference()[stage]], "stage {stage}");
    }
    let terms = query::run_terms(|k| sim.ledger().state().get(k), &run(sim)).unwrap();
    for window in 0..terms.windows() {
        for stage in 0..terms.stages {
            let claims = query::claims_of_stage(|k| sim.ledger().state().get(k), &run(sim), window, stage);
            let total: u64 = claims.iter().map(|c| u64::from(c.microbatches)).sum();
            assert_eq!(total, terms.window_microbatches(window), "window {window}, stage {stage}");
        }
    }
}

fn run(_: &SwarmSim) -> Hash {
    RunSpec::preset("tiny").unwrap().run_id()
}
fn run_state(sim: &SwarmSim) -> RunState {
    query::run(|k| sim.ledger().state().get(k), &run(sim)).unwrap().state
}
fn standing(sim: &SwarmSim) -> String {
    let mut text = String::new();
    for stage in 0..3 {
        for index in 0..3 {
            if let Some(account) = (0..1).find_map(|_| {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.account(stage, index))).ok()
            }) && let Some(trainer) = sim.trainer(&account)
            {
                text += &format!("{stage}/{index}: step {} {:?}; ", trainer.progress(), trainer.phase());
            }
        }
    }
    text
}

#[test]
fn one_two_and_three_seats_a_stage_reach_the_same_bits_as_one_process() {
    for seats in 1..=3 {
        check(&mut SwarmSim::new(SimConfig::tiny(1, seats)));
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_history() {
    let history = |seed| {
        let mut sim = SwarmSim::new(SimConfig::tiny(seed, 2));
        assert!(sim.run_until(LIMIT, SwarmSim::finished));
        (sim.log_hash(), sim.ledger().state().root())
    };
    let first = history(5);
    assert_eq!(first, history(5));
    assert_ne!(first.0, history(6).0);
}

#[test]
fn a_seat_killed_in_the_middle_of_a_step_costs_no_unit_whichever_stage_it_is_in() {
    for (stage, offset_ms) in [(0, 7), (1, 63), (2, 141)] {
        let mut sim = SwarmSim::new(SimConfig::tiny(2, 2));
        assert!(sim.run_until(LIMIT, |s| s.slowest() >= 4));
        let victim = sim.account(stage, 0);
        sim.run_until(offset_ms, |_| false);
        sim.kill(victim);
        sim.run_until(4_000, |_| false);
        sim.restart(victim);
        check(&mut sim);
    }
}

#[test]
fn the_only_seat_of_a_stage_may_die_and_come_back() {
    for stage in 0..3 {
        let mut sim = SwarmSim::new(SimConfig::tiny(3, 1));
        assert!(sim.run_until(LIMIT, |s| s.slowest() >= 3));
        let victim = sim.account(stage, 0);
        sim.run_until(50, |_| false);
        sim.kill(victim);
        sim.run_until(6_000, |_| false);
        sim.restart(victim);
        check(&mut sim);
    }
}

#[test]
fn a_seat_that_lost_its_disk_downloads_the_state() {
    let mut sim = SwarmSim::new(SimConfig::tiny(4, 2));
    assert!(sim.run_until(LIMIT, |s| s.slowest() >= 4));
    let victim = sim.account(1, 1);
    sim.kill(victim);
    sim.wipe(victim);
    sim.run_until(3_000, |_| false);
    sim.restart(victim);
    check(&mut sim);
    assert!(sim.notes(&victim).iter().any(|note| matches!(note, Note::Fetched { .. })));
}

#[test]
fn all_killed_at_once_and_started_again_go_on_where_they_stood() {
    for offset_ms in [0, 40, 90, 160, 230] {
        let mut sim = SwarmSim::new(SimConfig::tiny(7, 2));
        assert!(sim.run_until(LIMIT, |s| s.slowest() >= 5));
        sim.run_until(offset_ms, |_| false);
        let all: Vec<_> = (0..3).flat_map(|stage| [0, 1].map(|i| (stage, i))).collect();
        let all: Vec<_> = all.into_iter().map(|(stage, i)| sim.account(stage, i)).collect();
        all.iter().for_each(|account| sim.kill(*account));
        sim.run_until(2_000, |_| false);
        all.iter().for_each(|account| sim.restart(*account));
        assert!(sim.slowest() == 0, "nothing is loaded yet");
        sim.run_until(10_000, |s| s.slowest() >= 5);
        assert!(sim.slowest() >= 5, "it began again at step {}", sim.slowest());
        check(&mut sim);
    }
}

#[test]
fn lost_messages_and_a_partition_only_cost_time() {
    let mut config = SimConfig::tiny(8, 2);
    config.links = Profile { loss_ppm: 50_000, ..Profile::HOME };
    config.tuning.retry = 1_500;
    let mut sim = SwarmSim::new(config);
    assert!(sim.run_until(LIMIT, |s| s.slowest() >= 4));
    let apart = [sim.account(0, 1), sim.account(2, 0)];
    sim.isolate(&apart);
    sim.run_until(8_000, |_| false);
    sim.heal();
    check(&mut sim);
}

/// Many seeds with random kills: the slow lane sets `TESSERA_SEEDS`; the ordinary suite runs a few.
#[test]
fn random_kills_never_change_a_bit() {
    let seeds: u64 = std::env::var("TESSERA_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    for seed in 100..100 + seeds {
        let mut sim = SwarmSim::new(SimConfig::tiny(seed, 1 + (seed % 3) as u16));
        let mut draw =
            tessera_canon::Prf::new(tessera_canon::Domain::new("tessera/test/kills/v1"), &seed.to_be_bytes());
        for _ in 0..4 {
            sim.run_until(200 + draw.below(3_000), |_| false);
            let (stage, index) = (draw.below(3) as u16, draw.below(1 + seed % 3) as u16);
            let victim = sim.account(stage, index);
            if sim.trainer(&victim).is_none() {
                continue;
            }
            sim.kill(victim);
            sim.run_until(draw.below(5_000), |_| false);
            if seed % 3 > 0 && draw.below(4) == 0 {
                sim.wipe(victim);
            }
            sim.restart(victim);
        }
        check(&mut sim);
    }
}
