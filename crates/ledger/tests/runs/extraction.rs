//! Test the extraction report: its figures, what it calls "not measured", and its bounded reaction.

use crate::world::*;
use tessera_canon::Hash;
use tessera_ledger::{
    Event, Policy, action::*, extraction::report::THETA_STEP, genesis::Parameters, query, record::*,
};

fn world(kappa_floor: u16) -> World {
    let policy = Policy { pending_windows: 2, theta: 5000, kappa_floor, ..Policy::default() };
    let extraction = ExtractionParams { measurement_epochs: 3, measurement_bond: 1000, assumed_mu: 2500 };
    let mut world = World::new(6, Parameters { policy, extraction, ..Parameters::from(params()) });
    world.seated_run(RUN, 2, 4);
    world
}
fn report(world: &World) -> ExtractionReport {
    query::extraction(world.get(), &RUN).expect("a boundary has passed")
}
fn post(mu: u16, repair: u32) -> PostMeasurement {
    PostMeasurement { run: RUN, mu, repair, evidence: Hash([(mu / 100) as u8; 32]) }
}

#[test]
fn every_epoch_has_a_report_and_an_event() {
    let mut world = world(0);
    world.close_window(RUN, 9_000_000);
    let mut events = 0;
    for _ in 0..8 {
        let outcome = world.block(&[]);
        for event in outcome.events {
            if let Event::ExtractionReported(event) = event {
                events += 1;
                assert_eq!(event, report(&world));
                assert_eq!(event.epoch, world.height / 4);
            }
        }
    }
    assert_eq!(events, 2);
    let report = report(&world);
    // theta 1/2, ln 4 = 1.386294, R = 3.
    assert_eq!((report.kappa, report.mu, report.theta), (231_049, 2500, 5000));
    assert_eq!((report.stages, report.seats, report.held, report.identities), (2, 3, 4, 4));
    assert_eq!((report.f_done, report.warn), (360, false));
    for stage in 0..2 {
        assert_eq!(query::stage(world.get(), &RUN, stage).unwrap().identities, 2);
    }
}

#[test]
fn what_was_not_measured_is_called_so() {
    let mut world = world(0);
    world.blocks(4);
    let text = report(&world).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"mu                      not measured"), "{text}");
    assert!(lines.contains(&"repair cost             not measured"), "{text}");
    assert!(
        lines.contains(
            &"kappa                   23.10 % of F, assuming that 25.00 % of the stages can be missing"
        ),
        "{text}"
    );
    assert!(lines.contains(&"largest declared        none was declared"), "{text}");
    world.ok(5, post(3000, 420_000));
    world.blocks(4);
    let text = report(&world).to_string();
    assert!(text.contains("mu                      30.00 %, measured"), "{text}");
    assert!(text.contains("repair cost             42.00 % of F, measured"), "{text}");
}

/// Each figure is the worst that counts, for as long as it counts; then the bond comes back.
#[test]
fn the_worst_measurement_counts_until_it_ends() {
    let mut world = world(0);
    let before = world.balance(5);
    world.ok(5, post(3000, 500_000));
    world.ok(5, post(4000, 900_000));
    world.ok(5, post(1000, 100_000));
    assert_eq!(world.balance(5), before - 3 * (1000 + 500_000));
    world.blocks(4);
    let now = report(&world);
    assert_eq!((now.measured_mu, now.repair, now.mu), (Some(4000), Some(100_000), 4000));
    assert_eq!(now.kappa, 152_715, "ln 2.5 / 6");
    world.blocks(12);
    let now = report(&world);
    assert_eq!((now.measured_mu, now.repair, now.mu), (None, None, 2500));
    assert_eq!(world.balance(5), before - 3 * 500_000);
    assert!(query::measurements(world.get(), &RUN).is_empty());
}

/// Below the floor theta rises by an eighth an epoch, to 1 and not further.
#[test]
fn a_warning_raises_theta_to_one_at_most() {
    let mut world = world(9000);
    let mut thetas = vec![];
    for _ in 0..7 {
        world.blocks(4);
        let now = report(&world);
        assert!(now.warn);
        assert!(now.to_string().contains("status                  WARN"));
        thetas.push(now.theta);
    }
    assert_eq!(thetas, [5000, 6250, 7500, 8750, 10_000, 10_000, 10_000]);
    assert_eq!(THETA_STEP, 1250);
    // Above the floor nothing happens.
    let mut calm = self::world(2000);
    calm.blocks(12);
    assert_eq!((report(&calm).warn, report(&calm).theta), (false, 5000));
}

/// Whoever comes first in a block, the same measurements count afterwards.
#[test]
fn the_order_of_posts_and_declarations_does_not_show() {
    let roots = [false, true].map(|turned| {
        let mut world = world(0);
        let statement =
            Affiliated { network: world.network, run: RUN, account: public(0), operator: public(1) };
        let signature = key(1).sign(AFFILIATED, &statement);
        let mut txs = vec![
            world.tx(0, DeclareOperator { run: RUN, operator: public(1), signature }),
            world.tx(2, LeaveRun { run: RUN }),
            world.tx(4, post(3000, 7)),
            world.tx(5, post(2000, 9)),
        ];
        let statement =
            Affiliated { network: world.network, run: RUN, account: public(3), operator: public(5) };
        let signature = key(5).sign(AFFILIATED, &statement);
        txs.push(world.tx(3, DeclareOperator { run: RUN, operator: public(5), signature }));
        if turned {
            txs.reverse();
        }
        assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
        world.blocks(4);
        world.state.root()
    });
    assert_eq!(roots[0], roots[1]);
}
