//! Test that a drawn committee, and nobody's timing or outlier, sets the weight of windows to come.

use crate::world::*;
use tessera_canon::digest;
use tessera_ledger::{
    Event, Policy, action::*, genesis::Parameters, query, record::*, run, runs::evaluation::median,
    tx::SignedTx,
};

/// A run of `stages` stages with three designers in each, evaluated by a committee.
fn evaluated_run(stages: u16, size: u16) -> World {
    let committee = CommitteeParams { size, commit_blocks: 4, reveal_blocks: 4 };
    let accounts = 3 * u32::from(stages);
    let mut world = World::new(accounts + 4, Parameters { committee, ..Parameters::from(params()) });
    let mut create = create_run(RUN, stages, accounts);
    create.loss_source = LossSource::Committee;
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..accounts).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world
}

fn measured(world: &World, window: u32, member: u32, loss: u32) -> Evaluated {
    let salt = digest(REPORT, &member);
    Evaluated { network: world.network, run: RUN, window, account: public(member), loss, salt }
}

/// The committee commits to `losses` in its order; those below `revealing` also reveal. Then the phases end.
fn evaluate(world: &mut World, window: u32, losses: &[u32], revealing: usize) {
    world.blocks(1);
    let members: Vec<u32> =
        query::committee(world.get(), &RUN).iter().map(|member| world.index_of(&member.account)).collect();
    assert_eq!(members.len(), losses.len());
    let commits: Vec<SignedTx> = members
        .iter()
        .zip(losses)
        .map(|(member, loss)| {
            let hash = digest(EVALUATED, &measured(world, window, *member, *loss));
            world.tx(*member, EvalCommit { run: RUN, window, hash })
        })
        .collect();
    assert!(world.block(&commits).receipts.iter().all(|receipt| receipt.ok()));
    world.blocks(1);
    let reveals: Vec<SignedTx> = members
        .iter()
        .zip(losses)
        .take(revealing)
        .map(|(member, loss)| {
            let salt = measured(world, window, *member, *loss).salt;
            world.tx(*member, EvalReveal { run: RUN, window, loss: *loss, salt })
        })
        .collect();
    assert!(world.block(&reveals).receipts.iter().all(|receipt| receipt.ok()));
    while query::evaluation(world.get(), &RUN).is_some_and(|last| last.phase != EvaluationPhase::Closed) {
        world.blocks(1);
    }
}

fn state(world: &World) -> Run {
    query::run(world.get(), &RUN).expect("the run exists")
}

#[test]
fn the_median_of_five_counts_and_the_last_stages_word_does_not() {
    let mut world = evaluated_run(3, 5);
    // The last stage says what would lower the weight most.
    world.close_window(RUN, 1);
    assert_eq!((state(&world).loss_min, state(&world).weight), (11_000_000, 65536));
    evaluate(&mut world, 0, &[u32::MAX, 6_000_000, 1, 8_000_000, 7_000_000], 5);
    assert_eq!(state(&world).loss_min, 7_000_000);
    assert_eq!(state(&world).weight, (7u64 * 65536 / 11) as u32);
    for member in query::committee(world.get(), &RUN) {
        let place = query::member(world.get(), &RUN, &member.account).unwrap();
        assert!(place.stage.unwrap() < 2, "the last stage does not judge itself");
    }
    world.close_window(RUN, 1);
    let window = query::window(world.get(), &RUN, 1).unwrap();
    assert_eq!(window.weight, (7u64 * 65536 / 11) as u32);
    // A median above the minimum changes nothing.
    evaluate(&mut world, 1, &[9_000_000; 5], 5);
    assert_eq!(state(&world).loss_min, 7_000_000);
}

#[test]
fn without_a_majority_of_reveals_the_last_stages_word_stands() {
    let mut world = evaluated_run(3, 5);
    world.close_window(RUN, 9_000_000);
    evaluate(&mut world, 0, &[1; 5], 2);
    assert_eq!(state(&world).loss_min, 9_000_000);
    world.close_window(RUN, 8_000_000);
    evaluate(&mut world, 1, &[5_000_000; 5], 3);
    assert_eq!(state(&world).loss_min, 5_000_000);
}

#[test]
fn without_a_committee_the_last_stages_word_stands() {
    let mut world = evaluated_run(1, 5);
    world.close_window(RUN, 9_000_000);
    let outcome = world.block(&[]);
    assert!(outcome.events.iter().any(|event| matches!(event, Event::EvaluationClosed(_))));
    assert_eq!(state(&world).loss_min, 9_000_000);
    // Nothing waits for it.
    world.close_window(RUN, 8_000_000);
}

#[test]
fn silence_ends_the_phases_and_the_run_goes_on() {
    let mut world = evaluated_run(2, 5);
    world.close_window(RUN, 9_000_000);
    world.blocks(1);
    assert_eq!(query::committee(world.get(), &RUN).len(), 3, "all where there are fewer");
    world.blocks(5);
    assert_eq!(query::evaluation(world.get(), &RUN).unwrap().phase, EvaluationPhase::Revealing);
    // Nobody committed, so nobody is waited for.
    world.blocks(1);
    assert_eq!(state(&world).loss_min, 9_000_000);
}

#[test]
fn another_members_commitment_cannot_be_used() {
    let mut world = evaluated_run(3, 5);
    world.close_window(RUN, 9_000_000);
    world.blocks(1);
    let members: Vec<u32> =
        query::committee(world.get(), &RUN).iter().map(|member| world.index_of(&member.account)).collect();
    let told = measured(&world, 0, members[0], 6_000_000);
    let hash = digest(EVALUATED, &told);
    let commits: Vec<SignedTx> =
        members.iter().map(|member| world.tx(*member, EvalCommit { run: RUN, window: 0, hash })).collect();
    assert!(world.block(&commits).receipts.iter().all(|receipt| receipt.ok()));
    world.blocks(1);
    let reveal = EvalReveal { run: RUN, window: 0, loss: told.loss, salt: told.salt };
    world.ok(members[0], reveal.clone());
    let copied = world.run(members[1], reveal);
    assert!(matches!(copied.error, Some(tessera_ledger::TxError::Reveal { .. })), "{copied:?}");
}

/// Whoever commits and keeps silent when it sees the others' figures pays for it.
#[test]
fn a_commitment_without_a_reveal_costs_a_twentieth_of_the_bond() {
    let policy = Policy { work_price: 1000, ..Parameters::demo().policy };
    let committee = CommitteeParams { size: 64, commit_blocks: 4, reveal_blocks: 4 };
    let parameters = Parameters { committee, policy, ..Parameters::from(params()) };
    let mut world = World::new(5, parameters);
    let mut create = create_run(RUN, 2, 2);
    create.loss_source = LossSource::Committee;
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..2).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world.close_window(RUN, 9_000_000);
    evaluate(&mut world, 0, &[9_000_000], 1);
    for i in 2..5 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    // Claims of 120 and 240 wu: the lower median is 120.
    let bond = 5 * 120 * 1000;
    world.close_window(RUN, 9_000_000);
    let fund = query::globals(world.get()).unwrap().fund;
    let seats = query::seats_of_stage(world.get(), &RUN, 0).len();
    evaluate(&mut world, 1, &vec![8_000_000; seats], 0);
    let lost: u128 = (2..5)
        .map(|i| query::member(world.get(), &RUN, &public(i)).unwrap())
        .filter(|member| member.stage == Some(0))
        .map(|member| bond - member.bond)
        .sum();
    assert!(lost > 0, "at least one of three newcomers is in stage 0 with this beacon");
    assert_eq!(query::globals(world.get()).unwrap().fund, fund + lost);
    assert_eq!(lost % (bond / 20), 0);
}

#[test]
fn the_median_clips_both_tails() {
    assert_eq!(median(&mut [5]), 5);
    assert_eq!(median(&mut [9, 1]), 9, "more than half must have measured that little");
    assert_eq!(median(&mut [u32::MAX, 1, 7, 1, u32::MAX]), 7);
    // A minority of any size cannot move it past what the others measured.
    for liars in 0..3usize {
        for lie in [0, u32::MAX] {
            let mut values = vec![lie; liars];
            values.extend((0..5 - liars).map(|i| 100 + i as u32));
            assert!((100..=104).contains(&median(&mut values)), "{liars} of 5 say {lie}");
        }
    }
}

/// Property P13: raising a measured loss never raises a weight, for every risk rule.
#[test]
fn a_raised_loss_never_raises_a_weight() {
    let mut random = tessera_canon::Prf::new(REPORT, b"p13");
    let world = evaluated_run(1, 5);
    let terms = query::run_terms(world.get(), &RUN).unwrap();
    for _ in 0..2000 {
        let percent = random.below(101) as u8;
        let rule = match random.below(2) {
            0 => RiskRule::LossProportional(LossProportional {}),
            _ => RiskRule::Blend(Blend { percent, half_life_percent: 1 + random.below(100) as u8 }),
        };
        let terms = RunTerms { rule, ..terms.clone() };
        let losses: Vec<u32> = (0..12).map(|_| 1 + random.below(12_000_000) as u32).collect();
        let raised = random.below(12) as usize;
        let weights = |lift: u32| {
            let (mut least, mut weight, mut all) = (terms.loss_0, run::WEIGHT_MAX, vec![]);
            for (at, loss) in losses.iter().enumerate() {
                least = least.min(loss + if at == raised { lift } else { 0 });
                weight = run::next_weight(&terms, terms.f_star, least, 40 * at as u64, weight);
                all.push(weight);
            }
            all
        };
        let (honest, lifted) = (weights(0), weights(1 + random.below(9_000_000) as u32));
        // Raising cannot gain while the minimum stands: only windows of the raised loss itself could rise, up
        // to what they were before it was measured.
        assert!(lifted.windows(2).all(|pair| pair[1] <= pair[0]));
        assert!(lifted[..raised] == honest[..raised]);
        let before = if raised == 0 { run::WEIGHT_MAX } else { honest[raised - 1] };
        assert!(lifted.iter().skip(raised).all(|weight| *weight <= before));
    }
}
