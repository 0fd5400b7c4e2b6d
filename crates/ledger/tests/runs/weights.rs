//! Compare risk weights with a reference model in exact arithmetic (`scripts/make_weight_vectors.py`), and with
//! the table of the ownership specification, section 4.2.

use crate::world::*;
use tessera_ledger::{action::*, query, record::RunTerms, run};

const VECTORS: &str = include_str!("../fixtures/weights.txt");

fn terms() -> RunTerms {
    let mut world = World::new(1, params());
    world.ok(0, create_run(RUN, 1, 1));
    query::run_terms(world.get(), &RUN).expect("just created")
}

fn rule(name: &str, percent: &str, half_life: &str) -> RiskRule {
    match name {
        "proportional" => RiskRule::LossProportional(LossProportional {}),
        _ => RiskRule::Blend(Blend {
            percent: percent.parse().expect("a number"),
            half_life_percent: half_life.parse().expect("a number"),
        }),
    }
}

/// Loss-proportional weights are exact; the half-life term is within the two units that `half_power` states.
#[test]
fn weights_follow_the_reference_model() {
    let (mut terms, mut checked, mut largest) = (terms(), 0, 0);
    let (mut f_star, mut least, mut before, mut exact) = (0, 0, 0, true);
    for line in VECTORS.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["history", name, percent, half_life, loss_0, total] => {
                terms.rule = rule(name, percent, half_life);
                terms.loss_0 = loss_0.parse().expect("a number");
                f_star = total.parse().expect("a number");
                (least, before, exact) = (terms.loss_0, run::WEIGHT_MAX, name == "proportional");
            }
            ["w", loss, done, weight] => {
                let expected: u32 = weight.parse().expect("a number");
                least = least.min(loss.parse().expect("a number"));
                let done = done.parse().expect("a number");
                let got = run::next_weight(&terms, f_star, least, done, before);
                let apart = got.abs_diff(expected);
                assert!(apart <= if exact { 0 } else { 2 }, "{line}: got {got}");
                (before, largest, checked) = (got, largest.max(apart), checked + 1);
            }
            _ => {}
        }
    }
    assert_eq!(checked, 1500);
    println!("{checked} weights, at most {largest} of 65536 apart");
}

#[test]
fn the_table_of_rules_is_reproduced() {
    let numbers =
        |words: &[&str]| words.iter().map(|word| word.parse().expect("a number")).collect::<Vec<u32>>();
    let mut losses = vec![];
    let mut rows = 0;
    for line in VECTORS.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["curve", ..] => losses = numbers(&words[1..]),
            ["parts", name, percent, half_life, ..] => {
                let terms = RunTerms { rule: rule(name, percent, half_life), loss_0: losses[0], ..terms() };
                let (mut least, mut weight, mut weights) = (losses[0], run::WEIGHT_MAX, vec![]);
                for (window, loss) in (0u64..).zip(&losses) {
                    least = least.min(*loss);
                    weight = run::next_weight(&terms, losses.len() as u64, least, window, weight);
                    weights.push(u64::from(weight));
                }
                let total: u64 = weights.iter().sum();
                let share = |some: &[u64]| (100_000 * some.iter().sum::<u64>() / total) as u32;
                let got = [
                    share(&weights[..10]),
                    share(&weights[..20]),
                    share(&weights[..100]),
                    share(&weights[500..]),
                ];
                for (got, expected) in got.iter().zip(numbers(&words[4..])) {
                    assert!(got.abs_diff(expected) <= 3, "{line}: got {got}");
                }
                rows += 1;
            }
            _ => {}
        }
    }
    assert_eq!(rows, 5);
    // The specification's own figures: first 1 %, 10 % and last 50 % of the work, in per cent.
    for row in ["parts proportional 0 1 1687 2828 11337 48653", "parts blend 50 25 2492 4745 20832 29878"] {
        assert!(VECTORS.contains(row), "{row}");
    }
}
