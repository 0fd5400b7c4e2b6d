//! Run each cheat against a real stage, and say who found it, how often, how soon, and what it paid.
//!
//! Every unit is computed by the real stage, and every check is the crate's own on real bytes. A trial is one cheating
//! seat from its first unit past probation until its ban; `TESSERA_TRIALS` sets how many each row gets (3 if absent).
//! The ladder is the design's: the first mismatch within the horizon costs 100 units and raises the audit rate, the
//! second, or a proof of fraud, costs everything pending (200 units) and the seat. A lazy unit saves one unit.
//!
//! Prints one line per row; with `TESSERA_TABLE` it writes each to a file of that folder, from which `just attacks`
//! makes the table of the book.

mod world;

use tessera_audit::{
    AuditParams, Work,
    attackers::{self, Attacker},
    audit::{AuditVerdict, FaultKind},
    averaging::{RandomVector, check_products, check_sum, grad_root},
    data_end,
    draw::{
        duplicate::{self, DuplicateInput},
        pick::{Pick, Seed},
        rate::Standing,
    },
    execute,
    unit::{Commitment, Equivocation, SignedHeader, StepHeader, UnitId, UnitSecret, check_leaf},
};
use tessera_canon::{Hash, PublicKey, decode, encode};
use tessera_model::{Dataset, GradSum, StageInput, StageState, StageTarget};
use world::{Honest, STAGE, World};

const LOT: tessera_canon::Domain = tessera_canon::Domain::new("tessera/test-lot/v1");

fn trials() -> usize {
    std::env::var("TESSERA_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// What the trials of one row gave.
#[derive(Default)]
struct Tally {
    /// Bad units until the first mismatch, and until the ban.
    first: Vec<u64>,
    ban: Vec<u64>,
    by_audit: u64,
    by_duplicate: u64,
    /// Bad units that a check looked at and passed, and good ones it condemned.
    missed: u64,
    false_alarms: u64,
    audits: u64,
    payoff: Vec<f64>,
}

/// A line of the table: row, attack, found by, precision, recall, bad units (or what is said) to the first mismatch on
/// average and for 95 %, to the ban on average, net payoff in units.
fn put(order: &str, row: u8, name: &str, cells: [&str; 7]) {
    let line = format!("| {row} | {name} | {} |", cells.join(" | "));
    println!("{line}");
    if let Ok(folder) = std::env::var("TESSERA_TABLE") {
        std::fs::write(std::path::Path::new(&folder).join(order), line + "\n").unwrap();
    }
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len().max(1) as f64
}

fn p95(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
}

impl Tally {
    fn put(&self, order: &str, name: &str, row: u8) {
        let payoff = self.payoff.iter().sum::<f64>() / self.payoff.len().max(1) as f64;
        let found = self.by_audit + self.by_duplicate;
        let share = |others: u64| format!("{:.3}", found as f64 / (found + others).max(1) as f64);
        let cells = [
            format!("AUD {}, DUP {}", self.by_audit, self.by_duplicate),
            share(self.false_alarms),
            share(self.missed),
            format!("{:.1}", mean(&self.first)),
            p95(&self.first).to_string(),
            format!("{:.1}", mean(&self.ban)),
            format!("{payoff:.0}"),
        ];
        put(order, row, name, cells.each_ref().map(String::as_str));
    }
}

/// One cheating seat until its ban, or `most` bad units. `saves` is what a bad unit saves it.
fn trial(world: &mut World, attacker: &mut dyn Attacker, saves: f64, most: u64, tally: &mut Tally) {
    const UNITS: u32 = 4;
    world.seats[0].standing = Standing { units: u64::from(world.params.probation_units), flagged: None };
    let (mut bad, mut first, mut mismatches) = (0u64, None, 0);
    let mut penalty = 0.0;
    while mismatches < 2 && bad < most {
        let did = world.work(0, UNITS, attacker);
        let seed = world.anchor(&[&did.headers[0].value]);
        let candidates = world.candidates();
        for at in 0..did.leaves.len() {
            let unit = did.leaves[at].unit.clone();
            bad += u64::from(did.cheated[at]);
            // The copy of a duplicate went to an honest seat: both return y and dx, and both leaves are opened
            // after the reveal.
            let input = DuplicateInput {
                run: world.run(),
                beacon: world.epoch_beacon,
                step: unit.step,
                stage: STAGE,
                microbatch: world.next_microbatch - UNITS + at as u32,
            };
            let marked =
                duplicate::is_marked(&duplicate::draw(&world.up, &input).output, world.params.blind_rate);
            let mut found = false;
            if marked {
                let (leaf, truth) = (&did.leaves[at], &did.truth[at]);
                let same = [(leaf.y, truth.y), (leaf.dx, truth.dx), (leaf.dw, truth.dw)];
                let differ =
                    same.iter().any(|(a, b)| duplicate::compare(a, b) == duplicate::Compared::Differ);
                // A canary shows the same difference and is cleared by its seal.
                if differ && did.canary != Some(at) {
                    found = true;
                    tally.by_duplicate += 1;
                    tally.false_alarms += u64::from(!did.cheated[at]);
                } else {
                    tally.missed += u64::from(did.cheated[at] && !differ);
                }
            }
            let standing = world.seats[0].standing;
            if seed.picks(&unit, &standing, &world.params) {
                let last = world.seats[0].last_auditor;
                let pick = seed.audit(&unit, &candidates, last.as_ref(), &world.params).unwrap();
                let auditor = world.seat_of(&pick.auditor).unwrap();
                world.seats[0].last_auditor = Some(pick.auditor);
                world.allow(&pick, &did, at);
                let task = world.task(&did, at, &seed, None);
                let outcome = world.audit(auditor, task, Some(attacker), None, None, None);
                tally.audits += 1;
                let verdict = outcome.verdict.unwrap();
                if verdict.is_mismatch() {
                    found = true;
                    tally.by_audit += 1;
                    tally.false_alarms += u64::from(!did.cheated[at] && verdict != AuditVerdict::NoData);
                    if let Some((_, mine)) = &outcome.dispute {
                        assert_eq!(mine, &did.truth[at], "a dispute is opened with the truth only");
                    }
                } else {
                    tally.missed += u64::from(did.cheated[at] && did.canary != Some(at));
                }
            }
            if found {
                first.get_or_insert(bad);
                mismatches += 1;
                penalty += if mismatches == 1 { 100.0 } else { f64::from(world.params.probation_units) };
                world.seats[0].standing.flag();
                if mismatches == 2 {
                    break;
                }
            }
        }
        if !did.sum.is_empty() {
            let honest = world.work(1, 1, &mut Honest);
            world.close(&honest.sum);
        }
    }
    tally.first.extend(first);
    if mismatches == 2 {
        tally.ban.push(bad);
    }
    tally.payoff.push(saves * bad as f64 - penalty);
}

fn row(at: u64, make: impl Fn(&World) -> Box<dyn Attacker>, saves: f64, most: u64) -> Tally {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams::default());
    // Other draws for each row, so that the rows together are one sample.
    (world.beacons, world.epoch_beacon) = ((at + 1) << 32, Hash([at as u8; 32]));
    let mut tally = Tally::default();
    let mut name = (0, "");
    for _ in 0..trials() {
        let mut attacker = make(&world);
        name = (attacker.row(), attacker.name());
        trial(&mut world, &mut *attacker, saves, most, &mut tally);
    }
    tally.put(&format!("{:02}{at:02}", name.0), name.1, name.0);
    tally
}

/// Rows 1 to 3, 6 to 10, 13, 14, 22 and 27: whatever a bad unit is, a check that looks at it finds it.
#[test]
fn every_bad_unit_that_is_looked_at_is_found() {
    use attackers::*;
    type Make = fn(&World) -> Box<dyn Attacker>;
    let rows: [(Make, f64); 14] = [
        (|_| Box::new(r01_random_gradients::RandomGradients), 0.6),
        (|_| Box::new(r02_sign_flip::SignFlip { factor: 1 }), 0.0),
        (|_| Box::new(r02_sign_flip::SignFlip { factor: 1000 }), 0.0),
        (|_| Box::new(r03_scaled::Scaled { tenths: 1 }), 0.0),
        (|_| Box::new(r03_scaled::Scaled { tenths: 100 }), 0.0),
        (|_| Box::new(r06_lazy::Lazy), 1.0),
        (|_| Box::new(r07_low_precision::LowPrecision), 0.5),
        (|_| Box::new(r08_last_place::LastPlace), 0.0),
        (|_| Box::new(r09_delayed::Delayed { honest: 100 }), 1.0),
        (|_| Box::new(r10_intermittent::Intermittent::new(10)), 1.0),
        (|_| Box::new(r13_activations::Activations), 0.0),
        (|_| Box::new(r14_input_gradient::InputGradient), 0.0),
        (|_| Box::new(r22_withholding::Withholding), 1.0),
        (|world| Box::new(r27_mimic::Mimic { columns: world.columns() }), 0.0),
    ];
    let mut all = Vec::new();
    for (at, (make, saves)) in rows.into_iter().enumerate() {
        // Intermittent cheats take ten times as long; their bad units count alike.
        let tally = row(at as u64, make, saves, 2000);
        assert_eq!(tally.missed, 0, "a bad unit was looked at and passed");
        assert_eq!(tally.false_alarms, 0, "a good unit was condemned");
        assert_eq!(tally.first.len(), trials());
        let payoff = tally.payoff.iter().sum::<f64>() / tally.payoff.len() as f64;
        assert!(payoff < 0.0, "cheating paid {payoff}");
        all.extend(tally.first);
    }
    // The rate is post + blind = 2 %, so 50 bad units are expected; a geometric mean's deviation is its size over
    // the root of the number.
    let (got, deviation) = (mean(&all), 50.0 / (all.len() as f64).sqrt());
    println!("bad units to the first mismatch over all rows: {got:.1}, expected 50 +- {deviation:.1}");
    assert!((got - 50.0).abs() < 3.5 * deviation);
}

/// `verify` 13: the share of cheats found within n bad units, at the default rates and in probation.
#[test]
fn the_chance_to_be_caught_is_that_of_the_table() {
    let cheats = 400 * trials() as u64;
    let mut world = World::new(&[0, 1, 2, 3], AuditParams::default());
    let params = world.params.clone();
    for (name, standing, blind, pi) in [
        ("audits and duplicates", Standing { units: 1000, flagged: None }, params.blind_rate, 0.0199),
        ("audits alone", Standing { units: 1000, flagged: None }, 0, 0.01),
        ("probation", Standing { units: 0, flagged: None }, 0, 0.20),
        ("after a flag", Standing { units: 1000, flagged: Some(1000) }, 0, 0.10),
    ] {
        let mut until = Vec::new();
        let worker = world.seats[0].key.public();
        let mut number = 0u64;
        for _ in 0..cheats {
            let mut bad = 0u64;
            loop {
                let mut label = [0; 16];
                label[..8].copy_from_slice(&number.to_le_bytes());
                let unit = UnitId {
                    run: world.run(),
                    generation: 0,
                    step: number,
                    stage: 1,
                    label,
                    slot: 0,
                    worker,
                };
                let seed = Seed { beacon: world.beacon(), anchor: Hash([4; 32]) };
                number += 1;
                bad += 1;
                // The VRF's output is uniform; here a hash stands for it.
                let lot = tessera_canon::digest(LOT, &(seed.beacon, 1u8));
                if seed.picks(&unit, &standing, &params) || duplicate::is_marked(&lot, blind) {
                    break;
                }
            }
            until.push(bad);
        }
        for n in [10u32, 50, 100, 300] {
            let expected = 1.0 - (1.0f64 - pi).powi(n as i32);
            let got = until.iter().filter(|bad| **bad <= u64::from(n)).count() as f64 / cheats as f64;
            let deviation = (expected * (1.0 - expected) / cheats as f64).sqrt();
            println!("{name}: caught within {n}: {got:.3}, table {expected:.3} +- {deviation:.3}");
            // Where few are left the count is Poisson's: three more or less mean nothing.
            assert!((got - expected).abs() <= 4.0 * deviation + 3.0 / cheats as f64, "{name} {n}");
        }
        let (got, deviation) = (mean(&until), (1.0 / pi) / (cheats as f64).sqrt());
        println!("{name}: mean {got:.1}, table {:.1} +- {deviation:.1}", 1.0 / pi);
        assert!((got - 1.0 / pi).abs() <= 4.0 * deviation);
    }
}

/// No honest unit is ever condemned: every unit of a seat is audited, with canaries among them.
#[test]
fn honest_units_are_never_condemned() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams::default());
    let (mut audited, mut canaries) = (0u64, 0u64);
    for _ in 0..10 * trials() {
        let did = world.work(0, 4, &mut Honest);
        let seed = world.anchor(&[&did.headers[0].value]);
        for at in 0..did.leaves.len() {
            let auditor = 1 + audited as usize % 3;
            let pick = Pick {
                unit: did.leaves[at].unit.clone(),
                auditor: world.seats[auditor].key.public(),
                second: None,
            };
            world.allow(&pick, &did, at);
            let task = world.task(&did, at, &seed, None);
            let outcome = world.audit(auditor, task, None, None, None, None);
            let expected = if did.canary == Some(at) { AuditVerdict::Canary } else { AuditVerdict::Match };
            assert_eq!(outcome.verdict, Some(expected));
            assert!(outcome.dispute.is_none() && outcome.faults.is_empty());
            audited += 1;
            canaries += u64::from(did.canary == Some(at));
        }
        world.close(&did.sum);
    }
    println!("{audited} honest units audited by re-execution, {canaries} canaries, none condemned");
}

/// Row 31: one flipped bit costs one step of the ladder, whatever follows.
#[test]
fn an_honest_bit_flip_costs_one_step_of_the_ladder() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams { blind_rate: 0, ..AuditParams::default() });
    let mut attacker = attackers::r31_bit_flip::BitFlip::new(2);
    let mut mismatches = 0;
    for step in 0..20 {
        let did = world.work(0, 4, &mut attacker);
        let seed = world.anchor(&[&did.headers[0].value]);
        for at in 0..4 {
            // The worst case: every unit is audited.
            let pick = Pick {
                unit: did.leaves[at].unit.clone(),
                auditor: world.seats[1].key.public(),
                second: None,
            };
            world.allow(&pick, &did, at);
            let task = world.task(&did, at, &seed, None);
            let verdict = world.audit(1, task, None, None, None, None).verdict.unwrap();
            if verdict.is_mismatch() {
                mismatches += 1;
                assert!(step == 0 && did.cheated[at]);
                world.seats[0].standing.flag();
            }
        }
        world.close(&did.sum);
    }
    assert_eq!(mismatches, 1, "one step down, no second");
    put("31", 31, "honest bit flip", ["AUD", "-", "asserted", "1", "1", "no ban", "-"]);
}

fn refused(world: &World, header: &SignedHeader) -> bool {
    world.context().admit(header, None).is_err()
}

/// Rows 4, 18 and 23: headers say enough, no unit need be computed again.
#[test]
fn bad_headers_are_found_without_computing() {
    use attackers::*;
    let mut world = World::new(&[0, 1, 2, 3], AuditParams::default());
    // Stale: the second step's header is the first one's.
    let mut stale = r04_stale::Stale::default();
    let did = world.work(0, 2, &mut stale);
    assert!(!refused(&world, &did.headers[0]));
    world.close(&did.sum);
    let did = world.work(0, 2, &mut stale);
    assert!(refused(&world, &did.headers[0]), "old weights under a new step");

    // A free rider's claim is not covered by its list of units, so nobody can be paid for them.
    let mut rider = r18_free_rider::FreeRider { claimed: 9 };
    let did = world.work(0, 2, &mut rider);
    assert!(did.headers[0].value.unit_ids(&did.list).is_err());
    let mut honest = Honest;
    let did = world.work(0, 2, &mut honest);
    assert_eq!(did.headers[0].value.unit_ids(&did.list).unwrap().len(), 2);

    // Two headers convict, whichever was sent to whom.
    let did = world.work(2, 2, &mut r23_equivocation::Equivocating);
    let [first, second] = &did.headers[..] else { panic!("two headers") };
    assert!(!refused(&world, first) && !refused(&world, second), "each alone is fine");
    assert!(Equivocation { first: first.clone(), second: second.clone() }.verify());
    put("04", 4, "stale work", ["header", "asserted", "asserted", "1", "1", "-", "-"]);
    put("18", 18, "free rider", ["list of units", "asserted", "asserted", "1", "1", "-", "-"]);
    put("23", 23, "two headers", ["the pair", "asserted", "asserted", "1", "1", "1", "-"]);
}

/// Row 5: digests of other inputs contradict the receipts that the copier signed.
#[test]
fn copied_digests_fit_no_other_unit() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams { canary_rate: 0, ..AuditParams::default() });
    let peer = world.work(1, 1, &mut Honest);
    let mut copied = attackers::r05_copied::Copied { peer: peer.truth[0].clone() };
    let did = world.work(0, 1, &mut copied);
    let seed = world.anchor(&[&did.headers[0].value, &peer.headers[0].value]);
    let pick = Pick { unit: did.leaves[0].unit.clone(), auditor: world.seats[2].key.public(), second: None };
    world.allow(&pick, &did, 0);
    let task = world.task(&did, 0, &seed, None);
    assert_eq!(world.audit(2, task, None, None, None, None).verdict, Some(AuditVerdict::Inputs));
    put("05", 5, "copied digests", ["receipts", "asserted", "asserted", "at any audit", "-", "-", "-"]);
    // A claim names its worker: the peer's is of no use to another seat.
    let leaf = &peer.leaves[0];
    let mut taken = leaf.clone();
    taken.unit.worker = world.seats[0].key.public();
    assert_ne!(leaf.claim().digest(), taken.claim().digest());
}

/// Row 11: the data end is checked without weights, every unit of it.
#[test]
fn wrong_labels_are_found_from_the_leaf_alone() {
    let spec = tessera_model::RunSpec::preset("tiny").unwrap();
    let data = Dataset::embedded(&spec).unwrap();
    let last = spec.stage_count() - 1;
    let stage = StageState::init(&spec, last).unwrap();
    let mut workspace = tessera_model::Workspace::new(&spec).unwrap();
    let x = vec![0.25; spec.boundary_values()];
    let mut attacker = attackers::r11_wrong_tokens::WrongTokens { vocabulary: spec.model.vocab };
    for cheating in [false, true] {
        for microbatch in 0..spec.batch.microbatches {
            let mut labels = data.microbatch(&spec, 0, microbatch).unwrap().labels;
            if cheating {
                attacker.tokens(&mut labels);
            }
            let unit = UnitId {
                run: spec.run_id(),
                generation: 0,
                step: 0,
                stage: last,
                label: [1; 16],
                slot: 0,
                worker: PublicKey([1; 32]),
            };
            let work = Work {
                input: StageInput::Hidden(&x),
                target: Some(StageTarget::Labels(&labels)),
                probe: false,
            };
            let outputs = execute(&unit, stage.weights(), work, &mut workspace).unwrap();
            let digests = outputs.digests(stage.weights(), work);
            let leaf = tessera_audit::unit::UnitLeaf {
                unit,
                out: [2; 16],
                w_root: stage.state_root(),
                weights: tessera_audit::tensors::weights_root(stage.weights()),
                x: digests.x,
                y: digests.y,
                dy: digests.dy,
                dx: digests.dx,
                dw: digests.dw,
                arithmetic: 1,
            };
            assert_eq!(data_end::check_with(&data, &spec, &leaf, microbatch).is_err(), cheating);
        }
    }
    put("11", 11, "flipped labels", ["DATA, every unit", "asserted", "asserted", "1", "1", "-", "-"]);
}

/// Rows 15 and 16: wrong sums.
#[test]
fn wrong_sums_are_found_by_the_step_audit_and_the_random_vector() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams { canary_rate: 0, ..AuditParams::default() });
    let mut fold = attackers::r15_wrong_fold::WrongFold;
    let did = world.work(0, 3, &mut fold);
    // It sends what it committed, so the sum alone looks right ...
    check_sum(&did.headers[0].value, &did.sum).unwrap();
    // ... until its units are computed again and added up.
    let mut again = GradSum::zero(&world.weights);
    for leaf in &did.leaves {
        let number = (0..3)
            .find(|n| UnitSecret::of(&world.up).label(&world.run(), 0, STAGE, *n, 0) == leaf.unit.label)
            .unwrap();
        let boundary = &world.pool[number as usize];
        let work = Work {
            input: StageInput::Hidden(&boundary.x),
            target: Some(StageTarget::Grad(&boundary.dy)),
            probe: false,
        };
        let outputs = execute(&leaf.unit, &world.weights, work, &mut world.workspace).unwrap();
        assert_eq!(outputs.digests(&world.weights, work).dw, leaf.dw, "its units are right");
        again.add(outputs.dw.as_ref().unwrap()).unwrap();
    }
    assert_ne!(grad_root(&again), did.headers[0].value.grad_root);
    let params = AuditParams::default();
    let account = world.seats[0].key.public();
    let until: Vec<u64> = (0..200)
        .map(|n| {
            let seed = |step: u64| Seed { beacon: Hash([n; 32]), anchor: tessera_canon::digest(LOT, &step) };
            (1..).find(|step| seed(*step).picks_step(&account, *step, &params)).unwrap()
        })
        .collect();
    let (average, most) = (format!("{:.0} steps", mean(&until)), format!("{} steps", p95(&until)));
    put("15", 15, "wrong gradient sum", ["STEP", "asserted", "asserted", &average, &most, "-", "-"]);
    // 0.25 % of steps: 400 expected, deviation 400 / sqrt(200) = 28.
    assert!((mean(&until) - 400.0).abs() < 4.0 * 28.3);

    // A peer who is sent another sum than the committed one sees it at once.
    let mut other = did.sum.clone();
    other.add(&again).unwrap();
    assert!(check_sum(&did.headers[0].value, &other).is_err());

    // The shard aggregator.
    let sums: Vec<GradSum> = (1..4).map(|seat| world.work(seat, 2, &mut Honest).sum).collect();
    let mut total = GradSum::zero(&world.weights);
    sums.iter().for_each(|sum| total.add(sum).unwrap());
    let mut caught = 0;
    for at in 0..100 {
        let z = RandomVector::new(&world.beacon(), &world.run(), STAGE, 0);
        let products: Vec<i128> = sums.iter().map(|sum| z.product(0, sum.values())).collect();
        check_products(&products, z.product(0, total.values())).unwrap();
        let mut wrong = total.values().to_vec();
        attackers::r16_aggregator::Aggregator { at: at * 61 }.total(&mut wrong);
        caught += u32::from(check_products(&products, z.product(0, &wrong)).is_err());
    }
    let recall = format!("{:.3}", f64::from(caught) / 100.0);
    put("16", 16, "shard aggregator", ["SKETCH", "asserted", &recall, "1 step", "1 step", "-", "-"]);
    assert_eq!(caught, 100);
}

/// Row 17: replicas vote state roots.
#[test]
fn one_bit_of_another_optimizer_step_stands_alone_in_the_vote() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams::default());
    let did = world.work(0, 2, &mut Honest);
    world.close(&did.sum);
    let honest = world.root;
    let mut bytes = world.state.to_bytes();
    attackers::r17_optimizer::Optimizer.state(&mut bytes);
    let other = StageState::from_bytes(&world.spec, STAGE, &bytes).unwrap();
    assert_ne!(other.state_root(), honest);
    put("17", 17, "wrong optimizer step", ["ROOT", "asserted", "asserted", "1 step", "1 step", "-", "-"]);
}

/// Rows 19 to 21: false words of auditors, at the rate of second audits and canaries.
#[test]
fn false_words_of_auditors_come_out() {
    use attackers::*;
    let params = AuditParams { canary_rate: 0, ..AuditParams::default() };
    let mut world = World::new(&[0, 1, 2, 3], params);
    for (row, name) in
        [(19, "colluding auditor"), (20, "lazy auditor, digests leaked"), (21, "false accusation")]
    {
        let (mut audits, mut second, mut found) = (0u64, 0u64, 0u64);
        for audit in 0..40 * trials() {
            // What is kept of one step has a bound.
            if audit % 40 == 39 {
                let sum = world.work(1, 2, &mut Honest).sum;
                world.close(&sum);
            }
            let mut lazy = r06_lazy::Lazy;
            let did = if row == 19 { world.work(0, 1, &mut lazy) } else { world.work(0, 1, &mut Honest) };
            let seed = world.anchor(&[&did.headers[0].value]);
            let unit = did.leaves[0].unit.clone();
            let pick = seed.audit(&unit, &world.candidates(), None, &world.params).unwrap();
            audits += 1;
            let Some(again) = pick.second else { continue };
            second += 1;
            world.allow(&pick, &did, 0);
            let leaf = &did.leaves[0];
            let leaked =
                tessera_audit::UnitDigests { x: leaf.x, y: leaf.y, dy: leaf.dy, dx: leaf.dx, dw: leaf.dw };
            let mut cheat: Box<dyn Attacker> = match row {
                19 => Box::new(r19_colluding_auditor::ColludingAuditor),
                20 => Box::new(r20_lazy_auditor::LazyAuditor { unit }),
                _ => Box::new(r21_false_accusation::FalseAccusation { unit }),
            };
            let first = world.seat_of(&pick.auditor).unwrap();
            let task = world.task(&did, 0, &seed, None);
            let told = world.audit(first, task, None, Some(&mut *cheat), Some(&leaked), None);
            let task = world.task(&did, 0, &seed, Some(pick.auditor));
            let at = world.seat_of(&again).unwrap();
            let outcome = world.audit(at, task, None, None, None, told.reveal);
            let expected = if row == 20 { FaultKind::Echo } else { FaultKind::FalseVerdict };
            found += u64::from(outcome.faults == vec![(pick.auditor, expected)]);
        }
        let recall = format!("{:.3}", found as f64 / second.max(1) as f64);
        let per = format!("{:.1} audits", audits as f64 / second.max(1) as f64);
        put(&row.to_string(), row, name, ["second audit", "asserted", &recall, &per, "-", "-", "-"]);
        assert!(second > 0 && found == second, "{name}: {found} of {second}");
    }
    // Without leaked digests a guess of dW is wrong whenever the work was right: the auditor convicts itself by its
    // own commitment, without any second audit.
    let did = world.work(0, 1, &mut Honest);
    let seed = world.anchor(&[&did.headers[0].value]);
    let unit = did.leaves[0].unit.clone();
    let pick = Pick { unit: unit.clone(), auditor: world.seats[1].key.public(), second: None };
    world.allow(&pick, &did, 0);
    let task = world.task(&did, 0, &seed, None);
    let mut cheat = r20_lazy_auditor::LazyAuditor { unit };
    let told = world.audit(1, task, None, Some(&mut cheat), None, None).reveal.unwrap();
    let report = told.value.report.clone().unwrap();
    assert_eq!(told.value.verdict, AuditVerdict::Match);
    assert_ne!(tessera_audit::audit::compare(&did.leaves[0], &report.digests), AuditVerdict::Match);
}

/// Row 24, on whole headers.
#[test]
fn ground_headers_are_audited_like_others() {
    let params = AuditParams { post_rate: 1000, canary_rate: 0, ..AuditParams::default() };
    let mut world = World::new(&[0, 1, 2, 3], params.clone());
    let standing = Standing { units: 1000, flagged: None };
    let mut guess = world.beacon();
    let (mut audited, steps) = (0u64, 60 * trials() as u64);
    let base = world.work(0, 1, &mut Honest);
    let key = world.seats[0].key.clone();
    for step in 0..steps {
        let unit = UnitId { step, ..base.leaves[0].unit.clone() };
        let mut grinding = attackers::r24_grinding::Grinding {
            guess,
            tries: 64,
            unit: unit.clone(),
            params: params.clone(),
            standing,
        };
        let header = StepHeader { step, ..base.headers[0].value.clone() };
        let header = grinding.headers(&key, SignedHeader::new(&key, header)).remove(0);
        let believed = Seed { beacon: guess, anchor: header.value.id() };
        assert!(!believed.picks(&unit, &standing, &params), "the grinding worked on the guess");
        guess = world.beacon();
        let seed = Seed { beacon: guess, anchor: header.value.id() };
        audited += u64::from(seed.picks(&unit, &standing, &params));
    }
    let (expected, deviation) = (steps as f64 * 0.1, (steps as f64 * 0.09).sqrt());
    let said = format!("audited {audited} of {steps}; {expected:.0} +- {deviation:.0} expected");
    put("24", 24, "seed grinding", [&said, "-", "-", "-", "-", "-", "-"]);
    assert!((audited as f64 - expected).abs() <= 3.0 * deviation);
}

/// Rows 26, 29 and 30.
#[test]
fn denials_void_units_and_garbage_change_nothing() {
    use attackers::*;
    let params = AuditParams { canary_rate: 0, ..AuditParams::default() };
    let mut world = World::new(&[0, 1, 2, 3], params);
    let did = world.work(0, 1, &mut r26_edge_denial::EdgeDenial);
    let seed = world.anchor(&[&did.headers[0].value]);
    let pick = Pick { unit: did.leaves[0].unit.clone(), auditor: world.seats[1].key.public(), second: None };
    world.allow(&pick, &did, 0);
    let task = world.task(&did, 0, &seed, None);
    assert_eq!(world.audit(1, task, None, None, None, None).verdict, Some(AuditVerdict::Inputs));

    put(
        "26",
        26,
        "edge denial",
        ["RCPT, at an audit", "asserted", "asserted", "at any audit", "-", "-", "-"],
    );

    for attacker in [r29_not_finite::NotFinite::Nan, r29_not_finite::NotFinite::Infinity] {
        let mut attacker = attacker;
        let did = world.work(0, 3, &mut attacker);
        assert_eq!((did.void, did.leaves.len()), (3, 0), "{}", attacker.name());
    }
    let did = world.work(0, 1, &mut r29_not_finite::NotFinite::Denormals);
    let seed = world.anchor(&[&did.headers[0].value]);
    let pick = Pick { unit: did.leaves[0].unit.clone(), auditor: world.seats[1].key.public(), second: None };
    world.allow(&pick, &did, 0);
    let task = world.task(&did, 0, &seed, None);
    assert_eq!(world.audit(1, task, None, None, None, None).verdict, Some(AuditVerdict::Y));

    put("29", 29, "NaN, infinity", ["receiver: unit void", "asserted", "asserted", "1", "1", "-", "-"]);
    // Garbage: whatever decodes is either the honest bytes again or refused by what checks it.
    let honest = world.work(0, 4, &mut Honest);
    let header = &honest.headers[0];
    let open = {
        let units =
            honest.leaves.iter().map(|leaf| (leaf.clone(), world.up.public(), world.down.public())).collect();
        let commitment = Commitment::new(units, &[]).unwrap();
        let (leaf, path) = commitment.open(&honest.leaves[0].unit).unwrap();
        tessera_audit::audit::UnitOpen { leaf, path, x: None, dy: None }
    };
    let (mut refused, mut same, mut total) = (0, 0, 0);
    let mut malformed = r30_malformed::Malformed { count: 500 };
    let mut count = |good: bool, unchanged: bool| {
        assert!(!good || unchanged, "changed bytes were taken");
        (total, refused, same) = (total + 1, refused + u32::from(!good), same + u32::from(unchanged));
    };
    for bytes in malformed.garbage(&encode(header)) {
        let got = decode::<SignedHeader>(&bytes);
        count(got.is_ok_and(|got| world.context().admit(&got, None).is_ok()), bytes == encode(header));
    }
    for bytes in malformed.garbage(&encode(&open)) {
        let got = decode::<tessera_audit::audit::UnitOpen>(&bytes);
        let fits = |got: tessera_audit::audit::UnitOpen| {
            let receipts = got.x.is_none() && got.dy.is_none();
            receipts && check_leaf(&header.value, &honest.list.units[0], &got.leaf, &got.path).is_ok()
        };
        count(got.is_ok_and(fits), bytes == encode(&open));
    }
    let said = format!("{refused} of {total} refused, {same} unchanged");
    put("30", 30, "malformed messages", [&said, "-", "asserted", "1", "1", "-", "-"]);
    assert_eq!(refused + same, total);
}

/// Row 25, in a simulation of seat draws alone, which runs none of this crate's code: attackers with a share p of
/// all identities hold all R seats of a stage. Each generation one seat is drawn anew; an honest newcomer computes the last step again before it votes, and the capture
/// is over.
#[test]
fn a_captured_stage_meets_an_honest_newcomer() {
    let mut prf = tessera_canon::Prf::new(LOT, b"captured");
    let honest = |prf: &mut tessera_canon::Prf| prf.below(100) >= 20;
    let mut until: Vec<u64> = (0..20_000).map(|_| (1..).find(|_| honest(&mut prf)).unwrap_or(0)).collect();
    until.sort_unstable();
    let (median, average) = (until[until.len() / 2], mean(&until));
    let (said, most) = (format!("{average:.2} epochs"), format!("{} epochs", p95(&until)));
    let name = "captured stage (draws simulated, p = 0.2)";
    put("25", 25, name, ["newcomer, by formula", "-", "-", &said, &most, "-", "-"]);
    // 1 / (1 - p) = 1.25.
    assert!(median <= 2 && (average - 1.25).abs() < 0.02);
}

/// Row 28, by a stranger and by a replica that was not drawn; `machine.rs` has every refusal by its name.
#[test]
fn what_would_give_other_stages_away_is_refused() {
    let mut world = World::new(&[0, 1, 2, 3], AuditParams { canary_rate: 0, ..AuditParams::default() });
    let did = world.work(0, 1, &mut Honest);
    let unit = did.leaves[0].unit.clone();
    let mut attacker = attackers::r28_forbidden_requests::ForbiddenRequests;
    let (stranger, replica) = (PublicKey([77; 32]), world.seats[2].key.public());
    let (mut asked, mut refused) = (0, 0);
    for asker in [stranger, replica] {
        for request in attacker.requests(&unit) {
            // A replica may have its own stage's weights.
            let own =
                tessera_audit::audit::Request::Weights { stage: unit.stage, generation: unit.generation };
            if asker == stranger || request != own {
                asked += 1;
                refused += u32::from(world.seats[0].served.serve(&asker, &request).is_err());
            }
        }
    }
    put(
        "28",
        28,
        "forbidden requests",
        [&format!("{refused} of {asked} refused"), "-", "-", "1", "1", "-", "-"],
    );
    assert_eq!((refused, asked), (11, 11));
}

/// Monitors see what they should and no more (rows 1 to 3, 6, 8 and 27).
#[test]
fn monitors_hold_crude_work_of_a_real_stage_and_miss_what_imitates_it() {
    use attackers::*;
    use tessera_audit::{
        monitor::{Monitor, Tuning},
        unit::Direction,
    };
    type Make = fn(usize) -> Box<dyn Attacker>;
    let cases: [(Make, bool); 6] = [
        (|_| Box::new(r01_random_gradients::RandomGradients), true),
        (|_| Box::new(r02_sign_flip::SignFlip { factor: 1000 }), true),
        (|_| Box::new(r03_scaled::Scaled { tenths: 100 }), true),
        (|_| Box::new(r06_lazy::Lazy), true),
        (|_| Box::new(r08_last_place::LastPlace), false),
        (|columns| Box::new(r27_mimic::Mimic { columns }), false),
    ];
    let mut world = World::new(&[0, 1, 2, 3], AuditParams { canary_rate: 0, ..AuditParams::default() });
    let columns = world.columns();
    let mut monitors = [Monitor::new(columns, Tuning::ACTIVATIONS), Monitor::new(columns, Tuning::GRADIENTS)];
    let mut observe = |world: &mut World, attacker: &mut dyn Attacker, units: u32| {
        let step = world.step();
        let did = world.work(0, units, attacker);
        let mut held = 0;
        for leaf in &did.leaves {
            let store = world.seats[0].served.retention();
            let y = store.tensor((step, 0), &leaf.out, Direction::Forward).unwrap();
            let dx = store.tensor((step, 0), &leaf.unit.label, Direction::Backward).unwrap();
            let flags =
                [monitors[0].observe(&y.numbers()).unwrap(), monitors[1].observe(&dx.numbers()).unwrap()];
            held += u32::from(flags.iter().any(|flags| !flags.is_empty()));
        }
        held
    };
    let mut honest = 0;
    for step in 0..60 {
        let held = observe(&mut world, &mut Honest, 4);
        honest += if step >= 20 { held } else { 0 };
        let sum = world.work(1, 2, &mut Honest).sum;
        world.close(&sum);
    }
    println!("honest units held by monitors: {honest} of 160");
    for (make, expected) in cases {
        let mut attacker = make(columns);
        let held = observe(&mut world, &mut *attacker, 8);
        println!("row {} {}: held {held} of 8", attacker.row(), attacker.name());
        assert!(if expected { held >= 7 } else { held <= 2 }, "{}: {held}", attacker.name());
    }
    assert!(honest <= 4, "{honest}");
}
