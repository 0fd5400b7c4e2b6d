//! Play the whole protocol with many cheats and without, side by side, and print what differs as JSON.
//!
//! `cargo run --release -p tessera-sim --example trust -- STAGES SEATS STEPS SEED > bench/results/trust.json`

use serde_json::{Value, json};
use std::{collections::BTreeSet, process::ExitCode};
use tessera_canon::PublicKey;
use tessera_ledger::Event;
use tessera_sim::scenario::{Outcome, Scenario};

fn main() -> ExitCode {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [stages, seats, steps, seed] = given[..] else {
        eprintln!("usage: trust STAGES SEATS STEPS SEED");
        return ExitCode::from(2);
    };
    let scenario = Scenario {
        seed,
        stages: stages as u16,
        seats: seats as u16,
        steps: steps as u32,
        one_in: 5,
        unit_rate: 2_000,
        crash_ms: 10_000,
        limit_ms: 20_000 * steps,
    };
    let clean = Scenario { one_in: 0, ..scenario.clone() };
    let (with, without) = std::thread::scope(|scope| {
        let without = scope.spawn(|| play("clean", &clean));
        (play("cheats", &scenario), without.join())
    });
    let Ok(without) = without else { return ExitCode::FAILURE };
    match serde_json::to_string_pretty(&report(&scenario, &with, &without)) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("the result is no JSON: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Play with a line of progress every hundred steps.
fn play(name: &str, scenario: &Scenario) -> Outcome {
    let mut shown = 0;
    let outcome = scenario.play(|sim| {
        let step = sim.slowest();
        if step / 100 != shown {
            shown = step / 100;
            let back =
                sim.ledger().events.iter().filter(|event| matches!(event, Event::RolledBack(_))).count();
            eprintln!("{name}: step {step}, {back} rollbacks, {} s of virtual time", sim.now_ms() / 1000);
        }
    });
    eprintln!("{name}: {outcome:?}");
    outcome
}

fn report(scenario: &Scenario, with: &Outcome, without: &Outcome) -> Value {
    let guilty: BTreeSet<PublicKey> = with.cheats.iter().map(|cheat| cheat.account).collect();
    let honest = || with.shares.iter().filter(|(account, _)| !guilty.contains(account));
    let before = |account: &PublicKey| without.shares.get(account).copied().unwrap_or(0);
    let ratios: Vec<f64> = honest()
        .filter(|(account, _)| before(account) > 0)
        .map(|(account, shares)| *shares as f64 / before(account) as f64)
        .collect();
    let cheats: Vec<Value> = with
        .cheats
        .iter()
        .map(|cheat| {
            let verdicts: Vec<Value> =
                cheat.verdicts.iter().map(|(verdict, at)| json!([format!("{verdict:?}"), at])).collect();
            json!({
                "row": cheat.row, "name": cheat.name, "stage": cheat.stage, "seat": cheat.seat,
                "began": cheat.began, "falsified": cheat.falsified, "verdicts": verdicts,
                "bond": cheat.bond.to_string(), "voided": cheat.voided.to_string(),
                "shares": with.shares.get(&cheat.account).copied().unwrap_or(0).to_string(),
                "shares_if_honest": before(&cheat.account).to_string(),
            })
        })
        .collect();
    let side = |outcome: &Outcome| {
        json!({
            "finished": outcome.finished, "virtual_seconds": outcome.virtual_ms / 1000,
            "loss_micro_nats": outcome.loss, "rollbacks": outcome.rollbacks, "steps_redone": outcome.redone,
            "kills": outcome.kills, "wipes": outcome.wipes, "disputes": outcome.disputes,
            "acquitted": outcome.acquitted, "honest_convicted": outcome.honest_convicted,
            "complaints": outcome.complaints, "refused": outcome.refused,
        })
    };
    json!({
        "stages": scenario.stages, "seats": scenario.seats, "steps": scenario.steps, "seed": scenario.seed,
        "unit_rate": scenario.unit_rate,
        "with": side(with), "without": side(without), "cheats": cheats,
        "same_roots": with.roots == without.roots,
        "honest": {
            "accounts": ratios.len(),
            "least_share_ratio": ratios.iter().copied().fold(f64::INFINITY, f64::min),
            "mean_share_ratio": ratios.iter().sum::<f64>() / ratios.len().max(1) as f64,
        },
    })
}
