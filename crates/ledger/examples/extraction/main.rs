//! Print what a coalition had to contribute until it covered 80, 90, 95 and 100 % of a run's stages, beside the
//! formula of the extraction report; `docs/extraction.md` keeps a copy.
//!
//! ```text
//! cargo run --release -p tessera-ledger --example extraction [HISTORIES]
//! ```

mod simulation;

use simulation::{Reached, Setting, coupons, simulate};

const LEVELS: [u32; 4] = [80, 90, 95, 100];

/// `kappa` for covering `wanted` of the stages by `identities` draws: each asks for theta/(S x R) of F.
fn kappa(setting: &Setting, identities: f64) -> f64 {
    let seats = f64::from(setting.stages) * f64::from(setting.seats);
    identities * f64::from(setting.theta) / 10_000.0 / seats
}

fn main() {
    let histories: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4);
    let base = Setting {
        stages: 30,
        seats: 4,
        designers: 60,
        share: 0,
        churn: 15,
        theta: 5000,
        start: 30,
        stay: false,
        newcomers: 60,
        seed: 0,
    };
    println!("S = {}, R = {}, theta = {}; mean of {histories} histories", base.stages, base.seats, 0.5);
    println!(
        "coalition              | covers | identities: seen, S ln 1/(1-c), exact | part of F: asked, kappa, all work | windows | gaps closed"
    );
    for (name, stay, start) in [("leaves", false, 30), ("stays", true, 30), ("stays, from 1st", true, 1)] {
        for share in [20, 60] {
            let mut sums = [Reached::default(); LEVELS.len()];
            for seed in 0..histories {
                let setting = Setting { share, stay, start, seed: seed + 1000 * share, ..base };
                for (sum, one) in sums.iter_mut().zip(simulate(setting, &LEVELS)) {
                    sum.identities += one.identities;
                    sum.admission += one.admission;
                    sum.contributed += one.contributed;
                    sum.windows += one.windows;
                    sum.closed += one.closed;
                }
            }
            for (level, sum) in LEVELS.iter().zip(sums) {
                let n = histories as f64;
                let stages = f64::from(base.stages);
                let wanted = (base.stages as u32 * level).div_ceil(100);
                let (exact, _) = coupons(base.stages.into(), wanted);
                let formula = match level {
                    100 => exact,
                    _ => stages * (100.0 / f64::from(100 - level)).ln(),
                };
                println!(
                    "{name:16} p = {share:2}% |  {level:3}%  | {:10.1} {formula:15.1} {exact:9.1}        | {:8.3} {:9.3} {:9.3}      | {:7.1} | {:5.1}%",
                    sum.identities as f64 / n,
                    sum.admission / n,
                    kappa(&base, formula),
                    sum.contributed / n,
                    f64::from(sum.windows) / n,
                    100.0 * sum.closed / n,
                );
            }
        }
    }
}
