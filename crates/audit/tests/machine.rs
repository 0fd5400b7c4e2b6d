//! Audit real units of a real stage, message by message: every verdict, every refusal, every silence.

mod world;

use tessera_audit::{
    AuditParams,
    attackers::{self, Attacker},
    audit::{AuditVerdict, Auditor, FaultKind, Ignored, Input, MAX_TASKS, Refusal, Request},
    draw::pick::{Pick, Seed},
    unit::{Direction, UnitId},
};
use tessera_canon::{Hash, PublicKey, Signed};
use world::{Did, Honest, Outcome, World};

fn world() -> World {
    World::new(&[0, 1, 2, 3], AuditParams { canary_rate: 0, ..AuditParams::default() })
}

/// Seat 0 works under `attacker` and its first unit is audited by seat 1.
fn audited(world: &mut World, attacker: &mut dyn Attacker) -> (Did, Seed, Outcome) {
    let did = world.work(0, 2, attacker);
    let seed = world.anchor(&[&did.headers[0].value]);
    let outcome = audit(world, &did, &seed, 1, Some(attacker));
    (did, seed, outcome)
}

fn audit(
    world: &mut World,
    did: &Did,
    seed: &Seed,
    auditor: usize,
    worker: Option<&mut dyn Attacker>,
) -> Outcome {
    let unit = did.leaves[0].unit.clone();
    let pick = Pick { unit, auditor: world.seats[auditor].key.public(), second: None };
    world.allow(&pick, did, 0);
    let task = world.task(did, 0, seed, None);
    world.audit(auditor, task, worker, None, None, None)
}

#[test]
fn an_honest_unit_matches_in_one_step() {
    let mut world = world();
    let (_, _, outcome) = audited(&mut world, &mut Honest);
    assert_eq!(outcome.verdict, Some(AuditVerdict::Match));
    assert!(outcome.dispute.is_none() && outcome.faults.is_empty());
    assert_eq!((outcome.messages, outcome.steps), (4, 0), "two tensors, a commitment, a reveal");
}

#[test]
fn each_wrong_tensor_is_named() {
    use attackers::*;
    let cases: Vec<(Box<dyn Attacker>, AuditVerdict)> = vec![
        (Box::new(r13_activations::Activations), AuditVerdict::Y),
        (Box::new(r14_input_gradient::InputGradient), AuditVerdict::Dx),
        (Box::new(r08_last_place::LastPlace), AuditVerdict::Dx),
        (Box::new(r06_lazy::Lazy), AuditVerdict::Y),
        (Box::new(OnlyDw), AuditVerdict::Dw),
        (Box::new(r26_edge_denial::EdgeDenial), AuditVerdict::Inputs),
        (Box::new(r22_withholding::Withholding), AuditVerdict::NoData),
    ];
    for (mut attacker, expected) in cases {
        let mut world = world();
        let (did, _, outcome) = audited(&mut world, &mut *attacker);
        assert_eq!(outcome.verdict, Some(expected), "{}", attacker.name());
        let (leaf, mine) = match outcome.dispute {
            Some(both) => both,
            None => {
                assert_eq!(expected, AuditVerdict::NoData);
                assert!(outcome.steps <= 5, "{}", outcome.steps);
                continue;
            }
        };
        assert_eq!(leaf, did.leaves[0]);
        assert_eq!(mine, did.truth[0], "the auditor holds the truth");
    }
}

/// Right y and dx, wrong dW: nobody but a replica can see it.
struct OnlyDw;
impl Attacker for OnlyDw {
    fn row(&self) -> u8 {
        1
    }
    fn name(&self) -> &'static str {
        "only dW"
    }
    fn leaf(&mut self, leaf: &mut tessera_audit::unit::UnitLeaf) {
        leaf.dw = Hash([3; 32]);
    }
}

#[test]
fn a_neighbour_that_is_away_costs_time_and_itself_but_not_the_worker() {
    let mut world = world();
    world.silent = vec![world.up.public()];
    let (_, _, outcome) = audited(&mut world, &mut Honest);
    assert_eq!(outcome.verdict, Some(AuditVerdict::Match), "the worker is holder of last resort");
    assert_eq!(outcome.faults, vec![(world.up.public(), FaultKind::Unavailable)]);
    assert_eq!(outcome.steps, 1);
    // Both away, and the worker too: it should have kept what it signed for.
    let mut world = self::world();
    world.silent = vec![world.up.public(), world.seats[0].key.public()];
    let (_, _, outcome) = audited(&mut world, &mut Honest);
    assert_eq!(outcome.verdict, Some(AuditVerdict::NoData));
}

#[test]
fn a_canary_clears_itself_and_only_itself() {
    let params = AuditParams { canary_rate: 5000, ..AuditParams::default() };
    let mut world = World::new(&[0, 1, 2, 3], params);
    let (mut found, mut plain) = (0, 0);
    for _ in 0..12 {
        let did = world.work(0, 1, &mut Honest);
        let seed = world.anchor(&[&did.headers[0].value]);
        let outcome = audit(&mut world, &did, &seed, 1, None);
        match did.canary {
            Some(_) => {
                assert_eq!(outcome.verdict, Some(AuditVerdict::Canary));
                assert_eq!(
                    outcome.reveal.unwrap().value.verdict,
                    AuditVerdict::Dw,
                    "the auditor spoke first"
                );
                found += 1;
            }
            None => {
                assert_eq!(outcome.verdict, Some(AuditVerdict::Match));
                plain += 1;
            }
        }
        assert!(outcome.dispute.is_none());
        // A lie in another digest beside a canary stays a lie.
        let mut lie = attackers::r14_input_gradient::InputGradient;
        let did = world.work(0, 1, &mut lie);
        let seed = world.anchor(&[&did.headers[0].value]);
        assert_eq!(audit(&mut world, &did, &seed, 1, None).verdict, Some(AuditVerdict::Dx));
        world.close(&did.sum);
    }
    assert!(found > 0 && plain > 0, "{found} canaries, {plain} others");
}

#[test]
fn a_second_audit_tells_false_words_and_echoes_apart() {
    use attackers::*;
    let own = |world: &World| UnitId {
        run: world.run(),
        generation: 0,
        step: 0,
        stage: 1,
        label: [0; 16],
        slot: 1,
        worker: PublicKey([0; 32]),
    };
    type Case = (&'static str, bool, fn(UnitId) -> Option<Box<dyn Attacker>>, Option<FaultKind>);
    let cases: [Case; 5] = [
        ("honest", false, |_| None, None),
        (
            "colluding",
            true,
            |_| Some(Box::new(r19_colluding_auditor::ColludingAuditor)),
            Some(FaultKind::FalseVerdict),
        ),
        ("echo", false, |unit| Some(Box::new(r20_lazy_auditor::LazyAuditor { unit })), Some(FaultKind::Echo)),
        (
            "framing",
            false,
            |unit| Some(Box::new(r21_false_accusation::FalseAccusation { unit })),
            Some(FaultKind::FalseVerdict),
        ),
        ("honest about a cheat", true, |_| None, None),
    ];
    for (name, bad_work, make, expected) in cases {
        let mut world = world();
        let mut lazy = r06_lazy::Lazy;
        let did = if bad_work { world.work(0, 1, &mut lazy) } else { world.work(0, 1, &mut Honest) };
        let seed = world.anchor(&[&did.headers[0].value]);
        let (first, second) = (world.seats[1].key.public(), world.seats[2].key.public());
        let pick = Pick { unit: did.leaves[0].unit.clone(), auditor: first, second: Some(second) };
        world.allow(&pick, &did, 0);
        let leaf = &did.leaves[0];
        let leaked =
            tessera_audit::UnitDigests { x: leaf.x, y: leaf.y, dy: leaf.dy, dx: leaf.dx, dw: leaf.dw };
        let mut cheat = make(own(&world));
        let task = world.task(&did, 0, &seed, None);
        let cheat = cheat.as_deref_mut().map(|cheat| cheat as &mut dyn Attacker);
        let told = world.audit(1, task, None, cheat, Some(&leaked), None);
        let task = world.task(&did, 0, &seed, Some(first));
        let outcome = world.audit(2, task, None, None, None, told.reveal);
        let faults: Vec<FaultKind> = outcome.faults.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(faults, expected.into_iter().collect::<Vec<_>>(), "{name}");
        assert!(outcome.faults.iter().all(|(account, _)| *account == first), "{name}");
    }
}

#[test]
fn what_would_widen_who_holds_what_is_refused_by_name() {
    let mut world = world();
    let did = world.work(0, 1, &mut Honest);
    let seed = world.anchor(&[&did.headers[0].value]);
    let unit = did.leaves[0].unit.clone();
    let (drawn, other) = (world.seats[1].key.public(), world.seats[2].key.public());
    let stranger = PublicKey([77; 32]);
    world.allow(&Pick { unit: unit.clone(), auditor: drawn, second: None }, &did, 0);

    // Attack 28, against the worker, by a seat of the next stage.
    let mut attacker = attackers::r28_forbidden_requests::ForbiddenRequests;
    for request in attacker.requests(&unit) {
        let refused = world.seats[0].served.serve(&stranger, &request).err();
        let refused = refused.unwrap_or_else(|| panic!("{request:?} was answered"));
        let past = matches!(refused, Refusal::Generation { .. } | Refusal::NotDrawn { .. });
        assert!(refused.is_offence() || past, "{request:?}: {refused}");
    }
    let mut refused =
        |asker: &PublicKey, request: &Request| world.seats[0].served.serve(asker, request).err();
    let weights = |stage, generation| Request::Weights { stage, generation };
    assert_eq!(refused(&drawn, &weights(2, 0)), Some(Refusal::OtherStage { own: 1, asked: 2 }));
    assert_eq!(refused(&drawn, &weights(1, 3)), Some(Refusal::Generation { now: 0, asked: 3 }));
    assert_eq!(refused(&stranger, &weights(1, 0)), Some(Refusal::NotOfStage { asker: stranger, stage: 1 }));
    assert_eq!(refused(&drawn, &weights(1, 0)), None, "a replica may have its own stage");
    assert_eq!(refused(&drawn, &Request::Tokens { unit: unit.clone() }), Some(Refusal::Tokens));
    let tensor = Request::Tensor { unit: unit.clone(), direction: Direction::Forward };
    assert_eq!(refused(&other, &tensor), Some(Refusal::NotDrawn { asker: other }));
    for _ in 0..4 {
        assert_eq!(refused(&drawn, &tensor), None);
    }
    assert_eq!(refused(&drawn, &tensor), Some(Refusal::TooOften));
    let past = UnitId { generation: 1, ..unit.clone() };
    let old = Request::Tensor { unit: past, direction: Direction::Forward };
    assert_eq!(refused(&drawn, &old), Some(Refusal::Generation { now: 0, asked: 1 }));

    // The leaf is for one who has committed under its own name.
    let key = world.seats[1].key.clone();
    let commitment =
        |auditor| tessera_audit::audit::AuditCommitment { unit: unit.clone(), auditor, commit: Hash::ZERO };
    let forged = Signed::new(&key, tessera_audit::audit::REVEAL, commitment(drawn));
    let mut refused =
        |asker: &PublicKey, request: &Request| world.seats[0].served.serve(asker, request).err();
    assert_eq!(refused(&drawn, &Request::Open(forged)), Some(Refusal::Commitment { asker: drawn }));
    let borrowed = Signed::new(&key, tessera_audit::audit::COMMITMENT, commitment(other));
    assert_eq!(refused(&drawn, &Request::Open(borrowed)), Some(Refusal::Commitment { asker: drawn }));
    let good = Signed::new(&key, tessera_audit::audit::COMMITMENT, commitment(drawn));
    assert_eq!(refused(&drawn, &Request::Open(good.clone())), None);

    // After a rollback, units of before and of after are told apart, and both can be audited.
    world.seats[0].served.enter_generation(1, unit.step);
    assert_eq!(world.seats[0].served.serve(&drawn, &Request::Open(good)).err(), None);
    let again = UnitId { generation: 1, ..unit.clone() };
    let again = Request::Tensor { unit: again, direction: Direction::Forward };
    let refused = world.seats[0].served.serve(&drawn, &again).err();
    assert_eq!(refused, Some(Refusal::NotDrawn { asker: drawn }));
    let _ = seed;
}

#[test]
fn an_auditor_takes_nothing_that_does_not_fit() {
    let mut world = world();
    let did = world.work(0, 2, &mut Honest);
    let seed = world.anchor(&[&did.headers[0].value]);
    let pick = Pick { unit: did.leaves[0].unit.clone(), auditor: world.seats[1].key.public(), second: None };
    world.allow(&pick, &did, 0);
    let task = world.task(&did, 0, &seed, None);
    let (unit, drawn) = (task.unit.clone(), world.seats[1].key.public());
    let mut auditor = Auditor::new(world.seats[1].key.clone(), world.params.clone());
    auditor.step(0, Input::Assign(Box::new(task.clone()))).unwrap();
    assert_eq!(auditor.step(0, Input::Assign(Box::new(task.clone()))), Err(Ignored::NotExpected));
    let request = Request::Tensor { unit: unit.clone(), direction: Direction::Forward };
    let Ok(tessera_audit::audit::Answer::Tensor { values, receipt, .. }) =
        world.up_served.serve(&drawn, &request)
    else {
        panic!("the neighbour serves");
    };
    let values = tessera_audit::audit::numbers(&values);
    let tensor = |values: Vec<f32>, receipt, direction, from| Input::Tensor {
        from,
        unit: unit.clone(),
        direction,
        values,
        receipt,
        other: None,
    };
    let up = world.up.public();
    let mut changed = values.to_vec();
    changed[5] = f32::from_bits(changed[5].to_bits() ^ 1);
    let fault = auditor.step(0, tensor(changed.clone(), receipt.clone(), Direction::Forward, up)).unwrap();
    assert!(matches!(
        fault[..],
        [tessera_audit::audit::Effect::Fault { kind: FaultKind::BadTensor, account, .. }] if account == up
    ));
    let stranger = PublicKey([77; 32]);
    let ignored = auditor.step(0, tensor(changed, receipt.clone(), Direction::Forward, stranger));
    assert_eq!(ignored, Err(Ignored::BadTensor), "a stranger is no party to blame");
    let swapped = auditor.step(0, tensor(values.to_vec(), receipt.clone(), Direction::Backward, stranger));
    assert_eq!(swapped, Err(Ignored::BadTensor), "an input is no gradient");
    let short = auditor.step(0, tensor(values[1..].to_vec(), receipt.clone(), Direction::Forward, stranger));
    assert_eq!(short, Err(Ignored::BadTensor));
    auditor.step(0, tensor(values.to_vec(), receipt, Direction::Forward, stranger)).unwrap();
    assert_eq!(auditor.bytes(), 4 * values.len());
    assert_eq!(
        auditor.step(0, Input::Computed { unit: unit.clone(), result: None }),
        Err(Ignored::NotExpected)
    );

    // Tasks are bounded, and its own units are nobody's to audit for it.
    let mut crowded = Auditor::new(world.seats[1].key.clone(), world.params.clone());
    for n in 0..=MAX_TASKS {
        let mut task = task.clone();
        task.unit.label[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let taken = crowded.step(0, Input::Assign(Box::new(task)));
        assert_eq!(taken.is_err(), n == MAX_TASKS);
    }
    let mut own = Auditor::new(world.seats[0].key.clone(), world.params.clone());
    assert_eq!(own.step(0, Input::Assign(Box::new(task))), Err(Ignored::NotExpected));
}
