//! Cheating seats in virtual time: they are drawn, computed again, convicted on the ledger, and what they did is undone.

use std::sync::OnceLock;
use tessera_audit::attackers::{Attacker, r02_sign_flip::SignFlip, r06_lazy::Lazy};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Event, Parameters, query,
    record::{RunState, Verdict},
    runs::policy::Policy,
    trust::TrustParams,
};
use tessera_model::{Dataset, RunSpec, central};
use tessera_sim::{SimConfig, SwarmSim};
use tessera_swarm::Note;

/// Virtual time that any of these runs may take, milliseconds.
const LIMIT: u64 = 1_200_000;

/// The `tiny` run, long enough for disputes.
fn spec() -> RunSpec {
    RunSpec { steps: 60, ..RunSpec::preset("tiny").unwrap() }
}

fn reference() -> &'static [Hash] {
    static ROOTS: OnceLock<Vec<Hash>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let spec = spec();
        let data = Dataset::embedded(&spec).unwrap();
        central::train(&spec, &data, spec.steps, |_| {}).unwrap().roots
    })
}

fn config(seed: u64, seats: u16) -> SimConfig {
    let trust =
        TrustParams { unit_rate: 2_000, probation_rate: 2_000, evidence_windows: 14, ..TrustParams::demo() };
    // A dispute takes some windows here: claims must be pending for longer than that.
    let policy = Policy { pending_windows: 12, ..Parameters::demo().policy };
    let parameters = Parameters { trust, policy, ..Parameters::demo() };
    SimConfig { spec: spec(), parameters, ..SimConfig::tiny(seed, seats) }
}

fn state(sim: &SwarmSim) -> RunState {
    query::run(|key| sim.ledger().state().get(key), &spec().run_id()).unwrap().state
}

/// Who was convicted, and of what.
fn convicted(sim: &SwarmSim) -> Vec<(PublicKey, Verdict)> {
    let slashed = |event: &Event| match event {
        Event::Slashed(slashed) => Some((slashed.account, slashed.verdict)),
        _ => None,
    };
    sim.ledger().events.iter().filter_map(slashed).collect()
}

#[test]
fn a_cheat_is_convicted_and_the_weights_are_those_of_the_clean_run() {
    let conducts: [fn() -> Box<dyn Attacker>; 2] = [|| Box::new(Lazy), || Box::new(SignFlip { factor: 10 })];
    for (stage, conduct) in [(1, conducts[0]), (0, conducts[1]), (2, conducts[1])] {
        let mut sim = SwarmSim::new(config(11, 3));
        let cheat = sim.account(stage, 1);
        assert!(sim.run_until(LIMIT, |sim| sim.slowest() >= 2));
        sim.corrupt(cheat, conduct);
        let done = sim.run_until(LIMIT, |sim| sim.finished() && state(sim) == RunState::Serving);
        let convicted = convicted(&sim);
        println!("stage {stage}: {convicted:?}, {} ms", sim.now_ms());
        for event in &sim.ledger().events {
            if matches!(event, Event::DisputeOpened(_) | Event::DisputeClosed(_) | Event::RolledBack(_)) {
                println!("  {event:?}");
            }
        }
        for note in sim.notes(&cheat).iter().filter(|note| {
            matches!(
                note,
                Note::Trouble { .. } | Note::Disputed { .. } | Note::RolledBack { .. } | Note::Halted { .. }
            )
        }) {
            println!("  cheat: {note:?}");
        }
        assert!(done, "{:?}", sim.offences());
        assert!(!convicted.is_empty(), "the cheat was never caught");
        assert!(convicted.iter().all(|(account, _)| *account == cheat), "{convicted:?}");
        for (stage, roots) in sim.roots().iter().enumerate() {
            assert!(roots.contains(&reference()[stage]), "stage {stage}: {roots:?}");
        }
    }
}

#[test]
fn who_keeps_its_leaf_from_auditors_is_made_to_show_it_on_the_ledger() {
    // It computes truly: asked on the ledger, it opens, and nobody loses anything.
    let mut sim = SwarmSim::new(config(12, 3));
    let stubborn = sim.account(1, 0);
    sim.withhold(stubborn);
    assert!(sim.run_until(LIMIT, |sim| sim.finished() && state(sim) == RunState::Serving));
    let closed = |sim: &SwarmSim| -> Vec<Option<Verdict>> {
        let closed = |event: &Event| match event {
            Event::DisputeClosed(closed) => Some(closed.verdict),
            _ => None,
        };
        sim.ledger().events.iter().filter_map(closed).collect()
    };
    println!("true: {:?}", closed(&sim));
    assert!(!closed(&sim).is_empty(), "nothing was demanded");
    assert!(closed(&sim).iter().all(Option::is_none), "{:?}", closed(&sim));
    assert_eq!(convicted(&sim), vec![]);

    // It cheats: asked on the ledger it must show the false claim, and the game convicts it.
    let mut sim = SwarmSim::new(config(12, 3));
    let cheat = sim.account(1, 0);
    sim.withhold(cheat);
    sim.corrupt(cheat, || Box::new(Lazy));
    assert!(sim.run_until(LIMIT, |sim| sim.finished() && state(sim) == RunState::Serving));
    println!("false: {:?}", closed(&sim));
    let convicted = convicted(&sim);
    assert!(convicted.iter().any(|(account, verdict)| (*account, *verdict) == (cheat, Verdict::Fraud)));
    assert!(convicted.iter().all(|(account, _)| *account == cheat));
    for (stage, roots) in sim.roots().iter().enumerate() {
        assert!(roots.contains(&reference()[stage]), "stage {stage}: {roots:?}");
    }
}
