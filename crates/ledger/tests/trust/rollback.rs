//! Which convictions order a run back, to which step, and what a statement is bound to.

use crate::{machine::Account, setting::*, world::*};
use tessera_canon::Hash;
use tessera_ledger::{
    Event, TxError,
    action::*,
    genesis::Parameters,
    query,
    record::{ClaimState, Rollback, RunState},
    trust::TrustParams,
};

/// Account that challenges; it has no seat.
const CHALLENGER: u32 = 11;
const SEATS: u32 = 9;

/// A run of windows of two steps, so many of them reported.
fn reported(windows: u32, parameters: Parameters) -> World {
    let mut world = start_with(SEATS, parameters);
    for _ in 0..windows {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    world
}
fn newest(world: &World) -> Option<(u32, u64)> {
    query::rollback(world.get(), &RUN).map(|Rollback { generation, step, .. }| (generation, step))
}
/// Convict `of` of false work of a generation and step, all of it reported in window 2.
fn caught(world: &mut World, of: u32, work: (u32, u64)) -> Option<(u32, u64)> {
    convict_of(world, CHALLENGER, 2, of, &a_plain_lie(), work);
    assert_eq!(claim(world, 2, of).1.state, ClaimState::Void, "whatever becomes of the run");
    newest(world)
}

#[test]
fn a_run_goes_back_to_each_false_unit_that_is_still_in_its_weights() {
    let mut world = reported(3, parameters());
    assert_eq!(newest(&world), None);
    assert_eq!(caught(&mut world, 0, (0, 5)), Some((1, 5)), "the first orders it back");
    assert_eq!(caught(&mut world, 1, (0, 5)), Some((1, 5)), "the same step of that generation is undone");
    assert_eq!(caught(&mut world, 2, (0, 9)), Some((1, 5)), "and so is a later one");
    assert_eq!(caught(&mut world, 3, (0, 4)), Some((2, 4)), "an earlier one was kept");
    assert_eq!(caught(&mut world, 4, (1, 4)), Some((2, 4)), "done again, and undone by the second order");
    assert_eq!(caught(&mut world, 5, (1, 3)), Some((3, 3)), "neither order undid that");
    assert_eq!(caught(&mut world, 6, (3, 8)), Some((4, 8)), "work since the newest order");
    assert_eq!(caught(&mut world, 7, (9, 0)), Some((4, 8)), "a generation that never was");
    assert_eq!(caught(&mut world, 8, (u32::MAX, 0)), Some((4, 8)));
    // Each order stays readable under its number.
    let of = |generation| {
        let key = tessera_ledger::keys::rollback(&RUN, generation);
        query::read::<Rollback>(world.get(), &key).map(|order| (order.generation, order.step))
    };
    assert_eq!([1, 2, 3, 4, 5].map(of), [Some((1, 5)), Some((2, 4)), Some((3, 3)), Some((4, 8)), None]);
    // All that went in between was paid for: no claim but those of the convicted is void.
    for window in [0, 1] {
        let claims = query::claims_of_stage(world.get(), &RUN, window, 0);
        assert!(claims.iter().all(|claim| claim.state != ClaimState::Void));
    }
}

#[test]
fn the_order_is_an_event_of_the_block_that_convicts() {
    let mut world = reported(3, parameters());
    let (lie, truth) = (a_plain_lie(), Account::honest());
    let id = claim_key(&world, 2, 1);
    let mut action = open(&world, 2, 1, None);
    action.accusation = Some(accusation_of(&world, 2, 1, &lie, (0, 5)));
    world.ok(CHALLENGER, action);
    let mut path: Vec<usize> = Vec::new();
    let orders = |events: &[Event]| -> Vec<(u32, u64)> {
        let orders = events.iter().filter_map(|event| match event {
            Event::RolledBack(back) => Some((back.generation, back.step)),
            _ => None,
        });
        orders.collect()
    };
    loop {
        let proves = dispute(&world, &id).unwrap().phase == tessera_ledger::record::DisputePhase::Prove;
        let action = if proves { lie.prove(&path) } else { lie.commit(&path) };
        let tx = world.tx(1, step(id, action.clone()));
        let events = world.block(&[tx]).events;
        assert_eq!(orders(&events), if proves { vec![(1, 5)] } else { Vec::new() });
        if proves {
            break;
        }
        let at = truth.first_false(&path, &crate::machine::said(&action, path.len()));
        world.ok(CHALLENGER, step(id, crate::machine::name(&action, path.len(), at)));
        path.push(at);
    }
}

#[test]
fn an_acquittal_orders_nothing() {
    let mut world = reported(3, parameters());
    let truth = Account::honest();
    let id = claim_key(&world, 2, 1);
    let mut action = open(&world, 2, 1, None);
    action.accusation = Some(accusation_of(&world, 2, 1, &truth, (0, 5)));
    world.ok(CHALLENGER, action);
    assert_eq!(play(&mut world, id, &truth, |_, said| said.len() - 1), None);
    assert_eq!((dispute(&world, &id), newest(&world)), (None, None));
}

#[test]
fn tolerated_units_stay_and_one_more_does_not() {
    let trust = TrustParams { tolerated_units: 2, ..trust_params() };
    let mut world = reported(3, Parameters { trust, ..parameters() });
    assert_eq!(caught(&mut world, 0, (0, 5)), None);
    assert_eq!(caught(&mut world, 1, (0, 3)), None);
    assert_eq!(caught(&mut world, 2, (0, 4)), Some((1, 4)));
}

#[test]
fn a_fraud_undoes_all_that_was_pending_of_the_seat() {
    let mut world = reported(6, parameters());
    convict_of(&mut world, CHALLENGER, 4, 1, &a_plain_lie(), (0, 9));
    assert_eq!(newest(&world), Some((1, 9)), "one false unit may be a fault of hardware");
    convict_of(&mut world, CHALLENGER, 5, 1, &a_plain_lie(), (1, 11));
    let run = query::run(world.get(), &RUN).unwrap();
    let steps = query::run_terms(world.get(), &RUN).unwrap().window_steps;
    assert!(run.matured > 0 && run.matured < 4, "some windows have matured, some have not: {}", run.matured);
    assert_eq!(newest(&world), Some((2, u64::from(run.matured) * u64::from(steps))));
}

#[test]
fn a_trained_run_stays_as_it_is() {
    let mut world = reported(20, parameters());
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Serving);
    convict_of(&mut world, CHALLENGER, 19, 1, &a_plain_lie(), (0, 39));
    assert_eq!(claim(&world, 19, 1).1.state, ClaimState::Void);
    assert_eq!(newest(&world), None);
}

#[test]
fn a_statement_is_bound_to_all_that_was_signed() {
    let mut world = reported(3, parameters());
    let good = accusation_of(&world, 2, 1, &a_plain_lie(), (0, 5));
    let unsigned = TxError::Evidence { detail: "the accused did not sign the statement" };
    for (what, other) in [
        ("generation", Accusation { generation: 1, ..good.clone() }),
        ("step", Accusation { step: 4, ..good.clone() }),
        ("rest", Accusation { rest: Hash([1; 32]), ..good.clone() }),
        ("root", Accusation { root: Hash([1; 32]), ..good.clone() }),
    ] {
        let action = OpenDispute { accusation: Some(other), ..open(&world, 2, 1, None) };
        assert_eq!(world.run(CHALLENGER, action).error, Some(unsigned.clone()), "another {what}");
    }
    // Another window or account than the statement's.
    for (window, of) in [(1, 1), (2, 2)] {
        let action = OpenDispute { accusation: Some(good.clone()), ..open(&world, window, of, None) };
        assert_eq!(world.run(CHALLENGER, action).error, Some(unsigned.clone()), "window {window}, {of}");
    }
    let action = OpenDispute { accusation: Some(good), ..open(&world, 2, 1, None) };
    world.ok(CHALLENGER, action);
}

#[test]
fn reports_of_an_older_generation_are_refused() {
    let mut world = reported(3, parameters());
    let (sender, before) = world.full_report(RUN, 0, Some(9_000_000)).unwrap();
    assert_eq!(caught(&mut world, 0, (0, 5)), Some((1, 5)));
    let refused = world.run(sender, before).error;
    let what = "the report's generation (rollbacks of the run)";
    let expected = TxError::Parameter { what, expected: "1".into(), got: "0".into() };
    assert_eq!(refused, Some(expected));
    world.close_window(RUN, 9_000_000);
    let key = tessera_ledger::keys::stage_report(&RUN, 3, 0);
    let report = query::read::<tessera_ledger::record::StageReport>(world.get(), &key).unwrap();
    assert_eq!(report.generation, 1);
}
