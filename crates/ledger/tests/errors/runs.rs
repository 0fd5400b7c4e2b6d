//! Provoke the refusals of runs, evaluations, bonds, forks, operators and measurements.

use crate::{Table, world::*};
use tessera_canon::{Hash, SecretKey, digest};
use tessera_ledger::{
    Policy, TxError,
    action::*,
    genesis::Parameters,
    query,
    record::{ExtractionParams, RunState},
    tx::{SignedTx, Tx},
};

pub(crate) fn cases(table: &mut Table) {
    evaluations(table);
    seats(table);
    reports_without_a_fee(table);
    measurements(table);
    aborting(table);
}

fn evaluations(t: &mut Table) {
    let mut world = World::new(9, params());
    let mut create = create_run(RUN, 3, 9);
    create.loss_source = LossSource::Committee;
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..9).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world.close_window(RUN, 9_000_000);
    let (sender, report) = world.full_report(RUN, 0, None).unwrap();
    t.case(&mut world, sender, report, "Evaluating");
    let committee = query::committee(world.get(), &RUN);
    let member = world.index_of(&committee[0].account);
    let measured = |loss| Evaluated {
        network: world.network,
        run: RUN,
        window: 0,
        account: public(member),
        loss,
        salt: Hash([3; 32]),
    };
    let hash = digest(EVALUATED, &measured(7));
    let reveal = EvalReveal { run: RUN, window: 0, loss: 7, salt: Hash([3; 32]) };
    t.case(&mut world, member, reveal.clone(), "Phase");
    let outsider = query::seats_of_stage(world.get(), &RUN, 2)[0].account;
    let outsider = world.index_of(&outsider);
    t.case(&mut world, outsider, EvalCommit { run: RUN, window: 0, hash }, "Role");
    world.ok(member, EvalCommit { run: RUN, window: 0, hash });
    t.case(&mut world, member, EvalCommit { run: RUN, window: 0, hash }, "Duplicate");
    world.blocks(4);
    t.case(&mut world, member, EvalReveal { loss: 8, ..reveal.clone() }, "Reveal");
    t.case(&mut world, member, EvalReveal { window: 1, ..reveal }, "WindowOrder");
}

fn seats(t: &mut Table) {
    let policy = Policy { pending_windows: 2, theta: 5000, ..Policy::default() };
    let mut world = World::new(8, Parameters { policy, ..Parameters::from(params()) });
    world.seated_run(RUN, 2, 4);
    world.close_window(RUN, 9_000_000);
    // Half of an average seat's 360 wu / 6 seats, in operations.
    let lacking = t.case(&mut world, 5, join(RUN, 5), "Admission");
    assert_eq!(lacking, TxError::Admission { needed: 30_000_000, got: 0 });
    t.case(&mut world, 5, LeaveRun { run: RUN }, "NotMember");
    world.ok(0, LeaveRun { run: RUN });
    t.case(&mut world, 0, WithdrawBond { run: RUN }, "Funds");
    // Coming back soon takes a bond, five median claims of 90 wu, and no work.
    world.ok(0, join(RUN, 0));
    world.blocks(1);
    assert_eq!(query::member(world.get(), &RUN, &public(0)).unwrap().bond, 5 * 60);
    t.case(&mut world, 0, WithdrawBond { run: RUN }, "BondInUse");
    world.ok(0, LeaveRun { run: RUN });
    t.case(&mut world, 0, WithdrawBond { run: RUN }, "BondLocked");

    let statement = Affiliated { network: world.network, run: RUN, account: public(1), operator: public(6) };
    let sign = |key: SecretKey| DeclareOperator {
        run: RUN,
        operator: public(6),
        signature: key.sign(AFFILIATED, &statement),
    };
    t.case(&mut world, 1, sign(key(1)), "Affiliation");
    world.ok(1, sign(key(6)));
    t.case(&mut world, 1, sign(key(6)), "Duplicate");
    let fork = ForkRun { parent: RUN, run: create_run(Hash([3; 32]), 2, 4) };
    t.case(&mut world, 0, fork, "Parameter");
}

fn reports_without_a_fee(t: &mut Table) {
    let mut world = World::new(4, params());
    world.seated_run(RUN, 2, 4);
    // Past the boundary, whose work would show in the comparison.
    world.blocks(1);
    let (sender, good) = world.full_report(RUN, 0, None).unwrap();
    let free = |world: &mut World, action: ReportWindow| {
        let nonce = query::account(world.get(), &public(sender)).unwrap().nonce;
        let action = action.into();
        let body = Tx {
            network: world.network,
            sender: public(sender),
            nonce,
            fee: 0,
            fee_from: Default::default(),
            action,
        };
        SignedTx::sign(&key(sender), body)
    };
    let mut bad = good.clone();
    bad.report.window = 1;
    let bad = free(&mut world, bad);
    t.envelope(&mut world, bad, "Waived");
    let before = world.balance(sender);
    let good = free(&mut world, good);
    assert_eq!(world.block(&[good]).receipts[0].error, None);
    assert_eq!(world.balance(sender), before);
}

fn measurements(t: &mut Table) {
    let extraction = ExtractionParams { measurement_bond: 1000, ..ExtractionParams::default() };
    let mut world = World::new(2, Parameters { extraction, ..Parameters::from(params()) });
    world.ok(0, create_run(RUN, 2, 2));
    let post =
        |mu: u16| PostMeasurement { run: RUN, mu, repair: 100, evidence: Hash([(mu % 251) as u8; 32]) };
    t.case(&mut world, 1, post(0), "Parameter");
    for mu in 0..8 {
        world.ok(1, post(2000 + mu));
    }
    t.case(&mut world, 1, post(2001), "Duplicate");
    let mild = t.case(&mut world, 1, post(1999), "Measurements");
    assert_eq!(mild, TxError::Measurements { count: 8, mu: 2000 });
    world.ok(1, post(2500));
    let counting = query::measurements(world.get(), &RUN);
    assert_eq!(counting.iter().map(|found| found.mu).min(), Some(2001), "the mildest made room");
    assert_eq!(counting.len(), 8);
}

fn aborting(t: &mut Table) {
    let exclusive_to_height_6 = |report: bool| {
        let mut world = World::new(4, params());
        let mut create = create_run(RUN, 2, 4);
        // Two exclusive windows: one report does not end the phase.
        (create.exclusive_blocks, create.exclusive_windows) = (5, 2);
        world.ok(0, create);
        let joins: Vec<SignedTx> = (0..4).map(|i| world.tx(i, join(RUN, i))).collect();
        world.block(&joins);
        world.blocks(1);
        if report {
            let (sender, report) = world.full_report(RUN, 1, Some(9_000_000)).unwrap();
            world.ok(sender, report);
        }
        while world.height < 5 {
            world.blocks(1);
        }
        world
    };
    let mut world = exclusive_to_height_6(false);
    t.case(&mut world, 3, AbortRun { run: RUN }, "Early");
    world.ok(3, AbortRun { run: RUN });
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Aborted);
    t.case(&mut world, 3, AbortRun { run: RUN }, "RunState");
    let mut world = exclusive_to_height_6(true);
    world.blocks(1);
    // 240 wu of a least 180; the boundary opens the run.
    let enough = t.case(&mut world, 3, AbortRun { run: RUN }, "DesignersDidEnough");
    assert_eq!(enough, TxError::DesignersDidEnough { f_min: 180, got: 240 });
    world.blocks(1);
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Open);
}
