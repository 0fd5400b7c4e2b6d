//! Provoke the refusals of disputes, audits, penalties and the transfer lock.

use crate::{
    Table, machine,
    setting::{self, a_plain_lie, accusation, claim_key, convict, dispute, open, step},
    world::*,
};
use tessera_canon::Hash;
use tessera_ledger::{action::*, query, record::DisputePhase, runs::policy::Policy, trust::kind::Kind};

pub(crate) fn cases(t: &mut Table) {
    let mut strict = setting::parameters();
    (strict.bounds.deterrence, strict.policy) = (true, Policy::default());
    let mut world = World::new(2, strict);
    let weak =
        CreateRun { policy: Some(Policy { audit_rate: 50, ..Policy::default() }), ..create_run(RUN, 1, 1) };
    t.case(&mut world, 0, weak, "Deterrence");

    let mut world = setting::start(6);
    world.close_window(RUN, 9_000_000);
    let (lie, truth) = (a_plain_lie(), machine::Account::honest());
    let good = open(&world, 0, 1, Some(&lie));
    let with = |accusation| OpenDispute { accusation: Some(accusation), ..good.clone() };
    let row = with(Accusation { kind: Kind::Row, ..accusation(&world, 0, 1, &lie) });
    t.case(&mut world, 2, row, "NoReferee");
    let forged = with(Accusation { root: Hash::ZERO, ..accusation(&world, 0, 1, &lie) });
    t.case(&mut world, 2, forged, "Evidence");
    world.ok(2, good);
    let id = claim_key(&world, 0, 1);
    t.case(&mut world, 1, step(id, truth.commit(&[])), "Child");
    t.case(&mut world, 1, step(id, Escalate { bond: 1 }), "Turn");
    let mut path = Vec::new();
    while dispute(&world, &id).unwrap().phase != DisputePhase::Prove {
        let committed = lie.commit(&path);
        world.ok(1, step(id, committed.clone()));
        let at = truth.first_false(&path, &lie.children(&path));
        world.ok(2, step(id, machine::name(&committed, path.len(), at)));
        path.push(at);
    }
    let part = tessera_canon::Blob::new(vec![0; 3]).unwrap();
    t.case(&mut world, 1, step(id, Prove { at: 0, part, last: true }), "Referee");
    world.ok(1, step(id, lie.prove(&path)));
    let again = open(&world, 0, 1, Some(&lie));
    t.case(&mut world, 2, again, "ClaimState");
    world.close_window(RUN, 9_000_000);
    convict(&mut world, 2, 1, 1, &lie);
    t.case(&mut world, 1, join(RUN, 1), "Barred");

    let panel = claim_key(&world, 1, 3);
    let ask = open(&world, 1, 3, None);
    world.ok(2, ask);
    world.blocks(1);
    let auditor = query::panel(world.get(), &panel).unwrap().auditors[0];
    let auditor = world.index_of(&auditor);
    world.ok(auditor, AuditCommit { panel, commit: Hash::ZERO });
    world.blocks(3);
    let verdict = tessera_ledger::record::Verdict::Innocent;
    let reveal = AuditReveal { panel, verdict, digest: Hash::ZERO, salt: Hash::ZERO };
    t.case(&mut world, auditor, reveal, "Reveal");
    while query::owner(world.get(), &RUN, &public(4)).unwrap().shares == 0 {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    let amount = query::owner(world.get(), &RUN, &public(4)).unwrap().shares;
    t.case(&mut world, 4, TransferShares { run: RUN, to: public(0), amount }, "SharesLocked");
}
