//! Attacks on audits and disputes: griefing, slashing farms, timing (ownership specification section 7).

use crate::{machine::Account, setting::*, world::*};
use tessera_canon::{Blob, Domain, Hash, digest};
use tessera_ledger::{
    Event, Parameters,
    action::*,
    genesis::SecurityTerms,
    keys, query,
    record::{ClaimState, Verdict},
    runs::policy::Policy,
};

const FEE: i128 = 500_000;

fn net(world: &World, accounts: &[u32], before: i128) -> i128 {
    worth(world, accounts) - before
}
/// Balances and bonds.
fn worth(world: &World, accounts: &[u32]) -> i128 {
    accounts.iter().map(|i| (world.balance(*i) + bond_of(world, *i)) as i128).sum()
}

/// 5: work that was not done loses its pending shares as soon as it is caught twice, and the bond with them.
#[test]
fn attack_05_fake_work() {
    let mut world = start(6);
    give_bond(&mut world, 2, 5_000_000);
    for window in 0..2 {
        world.close_window(RUN, 9_000_000);
        let before = worth(&world, &[2]);
        convict(&mut world, 3, window, 2, &a_plain_lie());
        assert!(net(&world, &[2], before) < 0);
    }
    let owner = query::owner(world.get(), &RUN, &public(2)).unwrap();
    assert_eq!((owner.shares, owner.pending), (0, 0));
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Void);
}

/// 26: disputes against honest claims cost the griefer a bond each, more than the accused pays for its answers.
#[test]
fn attack_26_griefing_challenges() {
    let mut world = start(6);
    world.close_window(RUN, 9_000_000);
    let truth = Account::honest();
    for round in 0..2 {
        let (griefer, accused) = (worth(&world, &[3]), worth(&world, &[2]));
        let id = claim_key(&world, 0, 2);
        let action = open(&world, 0, 2, Some(&truth));
        world.ok(3, action);
        // The longest game: not the evidence itself, which would end it at once.
        let longest =
            |path: &[usize], said: &[tessera_canon::Hash]| said.len() - if path.is_empty() { 2 } else { 1 };
        assert_eq!(play(&mut world, id, &truth, longest), None);
        assert_eq!(net(&world, &[3], griefer), -(BOND as i128) - 8 * FEE, "round {round}");
        assert_eq!(net(&world, &[2], accused), BOND as i128 - 8 * FEE);
        assert!(net(&world, &[2], accused) >= 0, "the bond covers eight answers");
    }
    // The claim matures with the others after it all.
    while query::run(world.get(), &RUN).unwrap().matured == 0 {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    world.blocks(4);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Active);
}

/// 26, turned round: a friend's dispute, lost on purpose just before a boundary, does not carry a false claim over it.
#[test]
fn attack_26_a_sham_dispute_is_no_shelter() {
    let mut world = start(7);
    for _ in 0..3 {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    let id = claim_key(&world, 0, 2);
    let sham = open(&world, 0, 2, Some(&Account::honest()));
    world.ok(3, sham);
    world.ok(2, step(id, Account::honest().commit(&[])));
    // Window 0 matures meanwhile; the friend lets its turn pass, and somebody closes the dispute.
    world.close_window(RUN, 9_000_000);
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    // A whole epoch lies before the claim: an honest challenger comes first.
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
    let epoch = world.height / 4;
    while world.height / 4 == epoch {
        world.blocks(1);
    }
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
    convict(&mut world, 4, 0, 2, &a_plain_lie());
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Void);
    world.blocks(12);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Void);
}

/// 27: one who is about to be caught lets its own second identity accuse it: both together only lose.
#[test]
fn attack_27_slashing_farm() {
    for bond in [0, 100_000, 1_000_000, 50_000_000] {
        let mut world = start(6);
        give_bond(&mut world, 2, bond);
        let before = worth(&world, &[2, 3]);
        for window in 0..2 {
            world.close_window(RUN, 9_000_000);
            convict(&mut world, 3, window, 2, &a_plain_lie());
        }
        let lost = -net(&world, &[2, 3], before);
        // Fees of 32 messages, reports apart.
        assert!(lost >= 32 * FEE, "bond {bond}: {lost}");
        // One audit's cost for the first offence, two for the second.
        let audit = u128::from(claim(&world, 0, 2).1.wu) * 1_000;
        let slashed = bond - bond_of(&world, 2);
        let kept = slashed as i128 - (lost - 32 * FEE);
        assert!(kept <= 3 * audit as i128, "bond {bond}: {kept} of {slashed} came back");
        let pending = query::owner(world.get(), &RUN, &public(2)).unwrap().pending;
        assert_eq!(pending, 0, "and everything pending is gone");
    }
}

/// 25: to have a false claim passed, two of the three drawn auditors must be bribed; the challenger escalates, the
/// referee refutes them, and each loses its bond's part.
#[test]
fn attack_25_bribed_auditors() {
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    give_bond(&mut world, 2, 2_000_000);
    let id = claim_key(&world, 0, 2);
    let action = open(&world, 0, 2, None);
    let challenger = worth(&world, &[3]);
    world.ok(3, action);
    world.blocks(1);
    let panel = query::panel(world.get(), &id).unwrap();
    let auditors: Vec<u32> = panel.auditors.iter().map(|a| world.index_of(a)).collect();
    for auditor in &auditors {
        give_bond(&mut world, *auditor, 3_000_000);
    }
    let word = |auditor: u32| AuditOpening {
        panel: id,
        auditor: public(auditor),
        verdict: Verdict::Innocent,
        digest: tessera_canon::Hash::ZERO,
        salt: tessera_canon::Hash::ZERO,
    };
    for auditor in &auditors[..2] {
        let commit = tessera_canon::digest(AUDIT, &word(*auditor));
        world.ok(*auditor, AuditCommit { panel: id, commit });
    }
    while world.height < panel.drawn.unwrap() + 3 {
        world.blocks(1);
    }
    for auditor in &auditors[..2] {
        let AuditOpening { panel, verdict, digest, salt, .. } = word(*auditor);
        world.ok(*auditor, AuditReveal { panel, verdict, digest, salt });
    }
    while world.height < panel.drawn.unwrap() + 6 {
        world.blocks(1);
    }
    let (lie, truth) = (a_plain_lie(), Account::honest());
    world.ok(3, step(id, Escalate { bond: BOND }));
    let bring = accusation(&world, 0, 2, &lie);
    world.ok(3, step(id, Step::Accuse(bring)));
    assert_eq!(play(&mut world, id, &lie, |path, said| truth.first_false(path, said)), None);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Void);
    assert_eq!(
        auditors.iter().map(|i| bond_of(&world, *i)).collect::<Vec<_>>(),
        [2_000_000, 2_000_000, 3_000_000]
    );
    // The challenger has its bonds back and the audit's cost; ten messages were paid.
    let cost = u128::from(claim(&world, 0, 2).1.wu) * 1_000;
    assert_eq!(net(&world, &[3], challenger), cost as i128 - 10 * FEE);
}

/// 28: no transaction moves the time at which a claim becomes active: a dispute ended early or late gives its shares
/// at a boundary, before that boundary's distribution, never in between.
#[test]
fn attack_28_timing_of_activation() {
    let mut world = start(6);
    for _ in 0..4 {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    let id = claim_key(&world, 1, 2);
    let action = open(&world, 1, 2, None);
    world.ok(3, action);
    let mut held = query::owner(world.get(), &RUN, &public(2)).unwrap().shares;
    for round in 0..60 {
        if round == 3 {
            world.close_window(RUN, 9_000_000);
        } else {
            world.block(&[]);
        }
        let now = query::owner(world.get(), &RUN, &public(2)).unwrap().shares;
        assert!(now == held || world.height.is_multiple_of(4), "active between boundaries");
        held = now;
    }
    assert!(dispute(&world, &id).is_none());
    assert_eq!(claim(&world, 1, 2).1.state, ClaimState::Active);
}

/// Everything in a run of one's own is audited, and its seats praise each other. Returns how many audits were accepted
/// and what was issued for them until all of it had its boundary.
fn audit_each_other(world: &mut World, windows: u32) -> (u32, u128) {
    let (mut accepted, mut paid) = (0, 0);
    let block = |world: &mut World, txs: &[tessera_ledger::SignedTx]| {
        let outcome = world.block(txs);
        assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
        let issued = outcome.events.iter().map(|event| match event {
            Event::Issued(issued) => issued.auditors,
            _ => 0,
        });
        issued.sum::<u128>()
    };
    for _ in 0..windows {
        let window = query::run(world.get(), &RUN).unwrap().window;
        let (sender, report) = world.full_report(RUN, 0, Some(9_000_000)).unwrap();
        let report = world.tx(sender, report);
        paid += block(world, &[report]);
        paid += block(world, &[]);
        let claims = query::claims_of_stage(world.get(), &RUN, window, 0).len() as u16;
        let audits = (0..claims).map(|index| keys::audit_id(&keys::claim(&RUN, window, 0, index)));
        let panels: Vec<_> = audits.filter_map(|id| query::panel(world.get(), &id)).collect();
        let mut words = Vec::new();
        for panel in &panels {
            for auditor in panel.auditors.iter() {
                let (verdict, digest, salt) = (Verdict::Innocent, Hash::ZERO, Hash::ZERO);
                words.push(AuditOpening { panel: panel.id, auditor: *auditor, verdict, digest, salt });
            }
        }
        let commits: Vec<_> = words
            .iter()
            .map(|word| {
                let who = world.index_of(&word.auditor);
                world.tx(who, AuditCommit { panel: word.panel, commit: digest(AUDIT, word) })
            })
            .collect();
        paid += block(world, &commits);
        while world.height < panels.iter().filter_map(|panel| panel.drawn).max().unwrap_or(0) + 3 {
            paid += block(world, &[]);
        }
        let reveals: Vec<_> = words
            .iter()
            .map(|word| {
                let AuditOpening { panel, auditor, verdict, digest, salt } = word.clone();
                let who = world.index_of(&auditor);
                world.tx(who, AuditReveal { panel, verdict, digest, salt })
            })
            .collect();
        paid += block(world, &reveals);
        accepted += words.len() as u32;
        for _ in 0..4 {
            paid += block(world, &[]);
        }
    }
    (accepted, paid)
}

/// Audits farmed (5.4): who owns every seat of a run and has all its claims audited takes nothing from the issuance, and
/// if he pays into his run to be paid for it, less than he paid.
#[test]
fn attack_audits_of_ones_own_run_are_not_paid_from_issuance() {
    let base = parameters();
    let security = SecurityTerms { first: 1_000_000_000_000, keep: u32::MAX, ..SecurityTerms::demo() };
    let policy = Policy { audit_rate: 10_000, ..base.policy.clone() };
    let mut world = start_with(6, Parameters { security, policy, ..base });
    let own: Vec<u32> = (0..9).collect();
    let before = worth(&world, &own);
    let (accepted, paid) = audit_each_other(&mut world, 5);
    println!(
        "{accepted} audits of one's own run accepted, {paid} nano-U issued, {} net",
        net(&world, &own, before)
    );
    assert!(accepted > 50);
    assert_eq!(paid, 0);
    assert!(net(&world, &own, before) <= -(2 * i128::from(accepted) * FEE), "two transactions for each");

    // One of his seats lets itself be convicted, so that its bond may be issued to the others.
    give_bond(&mut world, 5, 3_000_000);
    let before = worth(&world, &own);
    let id = claim_key(&world, 4, 5);
    let told = Domain::new("tessera/test/other/v1");
    let proof = [&digest(told, &id).0[..], &key(5).sign(told, &id).0[..]].concat();
    let action = open(&world, 4, 5, Some(&a_plain_lie()));
    world.ok(7, Contradict { dispute: action, proof: Blob::new(proof).unwrap() });
    let lost = 3_000_000 - bond_of(&world, 5);
    let (accepted, paid) = audit_each_other(&mut world, 3);
    println!(
        "{lost} nano-U of a bond lost: {accepted} audits accepted, {paid} issued, {} net",
        net(&world, &own, before)
    );
    assert!(paid > 0, "what was lost may be issued");
    assert!(paid <= lost);
    assert!(net(&world, &own, before) < 0);
}
