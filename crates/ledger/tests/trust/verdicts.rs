//! What verdicts cost, whom, and whom not (P1, P10, P12, PEND).

use crate::{machine::Account, setting::*, world::*};
use tessera_canon::{Hash, PublicKey, digest};
use tessera_ledger::{
    MemState, Record, TxError,
    action::*,
    query,
    record::{ClaimState, MemberState, Owner, Verdict},
};

/// Close windows until `window` is the next, one boundary at least between them.
fn advance(world: &mut World, window: u32) {
    while query::run(world.get(), &RUN).unwrap().window < window {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
}
fn shares(state: &MemState, of: u32) -> Owner {
    query::owner(|key| state.get(key), &RUN, &public(of)).expect("it worked")
}

#[test]
fn the_first_mismatch_costs_units_and_the_second_everything_pending() {
    let mut world = start(6);
    give_bond(&mut world, 2, 10_000_000);
    advance(&mut world, 2);
    let first = claim(&world, 1, 2).1;
    let before = shares(&world.state, 2);
    convict(&mut world, 3, 1, 2, &a_plain_lie());
    // The claim is void; two more microbatches (`first_units`) are owed; the audit's cost is paid from the bond.
    let cost = u128::from(first.wu) * 1_000;
    assert_eq!(bond_of(&world, 2), 10_000_000 - cost);
    let conduct = query::conduct(world.get(), &RUN, &public(2)).unwrap();
    let unit = first.shares / u128::from(first.microbatches);
    assert_eq!((conduct.mismatches, conduct.void_through, conduct.barred_until), (1, None, 0));
    assert_eq!(conduct.debt, 2 * unit);
    assert_eq!(shares(&world.state, 2).pending, before.pending - first.shares);
    assert!(query::member(world.get(), &RUN, &public(2)).unwrap().seat.is_some(), "it keeps its seat");
    // The debt is taken from the claim of window 0 when that matures.
    advance(&mut world, 4);
    while claim(&world, 0, 2).1.state == ClaimState::Pending {
        world.blocks(1);
    }
    let zero = claim(&world, 0, 2).1;
    assert_eq!((zero.state, zero.voided), (ClaimState::Active, 2 * unit));
    assert_eq!(query::conduct(world.get(), &RUN, &public(2)).unwrap().debt, 0);
    assert_eq!(shares(&world.state, 2).shares, zero.shares - zero.voided);

    // The second one.
    let id = claim_key(&world, 3, 2);
    let action = open(&world, 3, 2, Some(&a_plain_lie()));
    world.ok(3, action);
    let truth = Account::honest();
    let others: Vec<Owner> = (0..6).filter(|i| *i != 2).map(|i| shares(&world.state, i)).collect();
    let pending = shares(&world.state, 2).pending;
    let (bond, balance) = (bond_of(&world, 2), world.balance(3));
    play(&mut world, id, &a_plain_lie(), |path, said| truth.first_false(path, said));
    let after: Vec<Owner> = (0..6).filter(|i| *i != 2).map(|i| shares(&world.state, i)).collect();
    for (before, after) in others.iter().zip(&after) {
        assert_eq!(
            before.shares + before.pending,
            after.shares + after.pending,
            "P10: a verdict changes nobody else's shares"
        );
    }
    assert!(pending > 0);
    assert_eq!(shares(&world.state, 2).pending, 0);
    let taken = bond - bond_of(&world, 2);
    assert_eq!(taken, bond.min(1_000_000), "max of the floor and three median claims, as far as it goes");
    // Half of it, at most twice the audit's cost, besides the own bond; eight fees were paid, one before `balance`.
    let reward = (taken / 2).min(2 * u128::from(claim(&world, 3, 2).1.wu) * 1_000);
    assert_eq!(world.balance(3), balance + BOND + reward - 7 * 500_000);
    let member = query::member(world.get(), &RUN, &public(2)).unwrap();
    assert_eq!((member.state, member.seat), (MemberState::Lapsed, None));
    let refused = world.run(2, join(RUN, 2)).error;
    assert!(matches!(refused, Some(TxError::Barred { until: 7, now: 4, .. })), "{refused:?}");
    // A report that still counts its work makes a void claim.
    let seats = query::seats_of_stage(world.get(), &RUN, 0);
    let mut entries: Vec<WorkEntry> =
        (0..6).map(|i| WorkEntry { account: public(i), microbatches: 2 }).collect();
    entries.sort_by_key(|entry| entry.account);
    let report = world.report(RUN, 0, entries, Some(8_000_000));
    let report = world.sign_report(report, &seats);
    world.ok(1, report);
    assert_eq!(claim(&world, 4, 2).1.state, ClaimState::Void);
    assert_eq!(shares(&world.state, 2).pending, 0);
    advance(&mut world, 7);
    let seated = world.run(2, join(RUN, 2));
    assert!(seated.ok(), "after A windows it may join again: {:?}", seated.error);
}

#[test]
fn evidence_after_maturity_touches_the_bond_only() {
    let mut world = start(6);
    give_bond(&mut world, 2, 10_000_000);
    advance(&mut world, 5);
    let claim = claim(&world, 0, 2).1;
    assert_eq!(claim.state, ClaimState::Active);
    let before = shares(&world.state, 2);
    // Two mismatches in a row, both late.
    for (window, left) in [(0, 10_000_000 - 20_000), (1, 10_000_000 - 20_000 - 1_000_000)] {
        if crate::setting::claim(&world, window, 2).1.state == ClaimState::Active {
            convict(&mut world, 3, window, 2, &a_plain_lie());
            assert_eq!(bond_of(&world, 2), left);
        }
    }
    let after = shares(&world.state, 2);
    assert_eq!(after.shares + after.pending, before.shares + before.pending, "P12");
    assert_eq!(crate::setting::claim(&world, 0, 2).1, claim);
    // Long after, not even that.
    advance(&mut world, 9);
    let old = open(&world, 0, 4, Some(&a_plain_lie()));
    let error = world.run(3, old).error;
    assert!(matches!(error, Some(TxError::Late { .. })), "{error:?}");
}

#[test]
fn a_disputed_claim_waits_while_the_others_of_its_window_mature() {
    let mut world = start(6);
    advance(&mut world, 3);
    let truth = Account::honest();
    let id = claim_key(&world, 0, 2);
    let action = open(&world, 0, 2, Some(&truth));
    world.ok(3, action);
    world.ok(2, step(id, truth.commit(&[])));
    // Window 3 closes: window 0 matures at the next boundary.
    world.close_window(RUN, 9_000_000);
    while query::run(world.get(), &RUN).unwrap().matured == 0 {
        world.blocks(1);
    }
    assert_eq!(claim(&world, 0, 1).1.state, ClaimState::Active);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Disputed);
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    // At the second boundary after it, so that there is an epoch for somebody else's dispute.
    let closed = world.height / 4;
    while world.height / 4 < closed + 2 {
        assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending, "at {}", world.height);
        world.blocks(1);
    }
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Active);
    let ones: Vec<_> = [1, 2].map(|i| shares(&world.state, i).shares).to_vec();
    assert_eq!(ones[0], ones[1]);
}

#[test]
fn a_claim_that_is_void_cannot_be_disputed() {
    let mut world = start(6);
    advance(&mut world, 1);
    convict(&mut world, 3, 0, 2, &a_plain_lie());
    let again = open(&world, 0, 2, Some(&a_plain_lie()));
    let error = world.run(3, again).error;
    assert_eq!(error, Some(TxError::ClaimState { expected: "pending", got: "void" }));
}

#[test]
fn every_share_of_work_is_active_pending_or_void() {
    // P1, with verdicts of every rung in between.
    let mut world = start(6);
    advance(&mut world, 2);
    convict(&mut world, 3, 1, 2, &a_lie(1));
    advance(&mut world, 4);
    convict(&mut world, 3, 3, 2, &a_lie(2));
    advance(&mut world, 9);
    let claims: u128 = world
        .state
        .0
        .values()
        .filter_map(|cell| match cell.unpack() {
            Some(Record::Claim(claim)) => Some(u128::from(claim.wu) * u128::from(claim.weight)),
            _ => None,
        })
        .sum();
    let credits = query::credits(world.get(), &RUN).unwrap();
    assert_eq!(credits.active + credits.pending + credits.voided, claims);
    assert!(credits.voided > 0 && credits.active > 0 && credits.pending > 0);
}

/// P10: whatever the verdict, every cell that says what another account has or did stays as it was. The block with
/// the verdict is compared with one without it.
#[test]
fn a_verdict_changes_nobody_elses_cells() {
    let mut compared = 0;
    for (case, verdict) in [Verdict::HonestError, Verdict::Mismatch, Verdict::Fraud].into_iter().enumerate() {
        let mut world = start(8);
        let accused = 1 + case as u32;
        give_bond(&mut world, accused, 10_000_000);
        advance(&mut world, 5);
        let id = claim_key(&world, 3, accused);
        let action = open(&world, 3, accused, None);
        // A dispute takes 13 blocks: so that it does not end at a boundary.
        while world.height % 4 != 2 {
            world.blocks(1);
        }
        world.ok(7, action);
        world.blocks(1);
        let panel = query::panel(world.get(), &id).unwrap();
        let word = |auditor: PublicKey| AuditOpening {
            panel: id,
            auditor,
            verdict,
            digest: Hash::ZERO,
            salt: Hash::ZERO,
        };
        let commits: Vec<_> = panel
            .auditors
            .iter()
            .map(|auditor| {
                let who = world.index_of(auditor);
                world.tx(who, AuditCommit { panel: id, commit: digest(AUDIT, &word(*auditor)) })
            })
            .collect();
        assert!(world.block(&commits).receipts.iter().all(tessera_ledger::Receipt::ok));
        while world.height < panel.drawn.unwrap() + 3 {
            world.blocks(1);
        }
        let reveals: Vec<_> = panel
            .auditors
            .iter()
            .map(|auditor| {
                let AuditOpening { panel, verdict, digest, salt, .. } = word(*auditor);
                let who = world.index_of(auditor);
                world.tx(who, AuditReveal { panel, verdict, digest, salt })
            })
            .collect();
        assert!(world.block(&reveals).receipts.iter().all(tessera_ledger::Receipt::ok));
        let deadline = dispute(&world, &id).unwrap().deadline;
        while world.height < deadline {
            world.blocks(1);
        }
        assert!(!(deadline + 1).is_multiple_of(4), "not at a boundary, which would close it itself");
        let mut without = world.clone();
        world.ok(9, ResolveDispute { dispute: id });
        without.ok(9, Transfer { to: public(9), amount: 0 });
        let whose = |cell: &tessera_ledger::Cell| match cell.unpack() {
            Some(Record::Owner(owner)) => Some(owner.account),
            Some(Record::Claim(claim)) => Some(claim.account),
            Some(Record::Vesting(vesting)) => Some(vesting.account),
            Some(Record::Conduct(conduct)) => Some(conduct.account),
            Some(Record::Member(member)) => Some(member.account),
            _ => None,
        };
        for (key, cell) in &world.state.0 {
            if let Some(account) = whose(cell).filter(|account| *account != public(accused)) {
                assert_eq!(without.state.get(key), Some(*cell), "{verdict:?}, {}", account.short());
                compared += 1;
            }
        }
        let own = shares(&world.state, accused);
        let before = shares(&without.state, accused);
        assert_eq!(own.shares, before.shares, "P12");
        let claim = claim(&world, 3, accused).1;
        let lost = if verdict == Verdict::Fraud { before.pending } else { claim.shares };
        assert_eq!(own.pending, before.pending - lost, "{verdict:?}");
        let taken = 10_000_000 - bond_of(&world, accused);
        let cost = u128::from(claim.wu) * 1_000;
        let expected = [0, cost, 1_000_000][case];
        assert_eq!(taken, expected, "{verdict:?}");
    }
    assert!(compared > 100, "{compared}");
}
