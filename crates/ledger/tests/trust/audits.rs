//! Panels: drawn by a later beacon, commit then reveal, two thirds, escalation to the game, canaries.

use crate::{machine::Account, setting::*, world::*};
use tessera_canon::{Domain, Hash, digest};
use tessera_ledger::{
    Cell, TxError,
    action::*,
    genesis::Parameters,
    keys, query,
    record::{AuditBudget, AuditStats, ClaimState, DisputePhase, Panel, Verdict},
    runs::policy::Policy,
    trust::TrustParams,
};

const SALT: Domain = Domain::new("tessera/test/salt/v1");

/// Every claim is audited, every canary stands.
fn audited() -> Parameters {
    let base = parameters();
    Parameters {
        policy: Policy { audit_rate: 10_000, ..base.policy.clone() },
        trust: TrustParams { canary_rate: 10_000, canary_pay: 70_000, ..trust_params() },
        base: tessera_ledger::Params { fee_to_fund: true, ..base.base.clone() },
        ..base
    }
}
fn opening(panel: &Hash, auditor: u32, verdict: Verdict, computed: Hash) -> AuditOpening {
    let salt = digest(SALT, &(auditor, *panel));
    AuditOpening { panel: *panel, auditor: public(auditor), verdict, digest: computed, salt }
}
fn commit(opening: &AuditOpening) -> AuditCommit {
    AuditCommit { panel: opening.panel, commit: digest(AUDIT, opening) }
}
fn reveal(opening: &AuditOpening) -> AuditReveal {
    let AuditOpening { panel, verdict, digest, salt, .. } = opening.clone();
    AuditReveal { panel, verdict, digest, salt }
}
fn panel(world: &World, id: &Hash) -> Panel {
    query::panel(world.get(), id).expect("it was asked for")
}
fn stats(world: &World) -> AuditStats {
    query::audit_stats(world.get(), &RUN).expect("something happened")
}
fn until(world: &mut World, height: u64) {
    while world.height < height {
        world.blocks(1);
    }
}
/// All auditors of `id` say what `says` gives for each, in time.
fn speak(world: &mut World, id: &Hash, says: &[Option<Verdict>], computed: Hash) {
    let panel = panel(world, id);
    let drawn = panel.drawn.expect("drawn");
    let words: Vec<(u32, AuditOpening)> = panel
        .auditors
        .iter()
        .zip(says)
        .filter_map(|(auditor, says)| {
            let auditor = world.index_of(auditor);
            Some((auditor, opening(id, auditor, (*says)?, computed)))
        })
        .collect();
    let commits: Vec<_> = words.iter().map(|(who, word)| world.tx(*who, commit(word))).collect();
    let outcome = world.block(&commits);
    assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
    until(world, drawn + 3);
    let reveals: Vec<_> = words.iter().map(|(who, word)| world.tx(*who, reveal(word))).collect();
    let outcome = world.block(&reveals);
    assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
}
fn all(verdict: Verdict) -> [Option<Verdict>; 3] {
    [Some(verdict); 3]
}

/// A dispute without an accusation, its panel drawn; returns its id.
fn ask(world: &mut World, challenger: u32, window: u32, of: u32) -> Hash {
    let id = claim_key(world, window, of);
    let action = open(world, window, of, None);
    world.ok(challenger, action);
    world.blocks(1);
    let panel = panel(world, &id);
    assert_eq!(panel.auditors.len(), 3);
    assert!(!panel.auditors.contains(&public(of)) && !panel.auditors.contains(&public(challenger)));
    id
}

#[test]
fn two_thirds_of_a_drawn_panel_rule_and_the_ruling_takes_effect() {
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    give_bond(&mut world, 2, 4_000_000);
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &[Some(Verdict::Fraud), None, Some(Verdict::Fraud)], Hash::ZERO);
    let deadline = dispute(&world, &id).unwrap().deadline;
    let early = world.run(3, ResolveDispute { dispute: id }).error;
    assert!(matches!(early, Some(TxError::Early { .. })), "{early:?}");
    while dispute(&world, &id).is_some() && world.height <= deadline {
        world.blocks(1);
    }
    // By anybody, unless this block is a boundary and closes it itself.
    let closed = world.run(5, ResolveDispute { dispute: id }).error;
    assert!(matches!(closed, None | Some(TxError::Unknown { .. })), "{closed:?}");
    let conduct = query::conduct(world.get(), &RUN, &public(2)).unwrap();
    assert_eq!(conduct.void_through, Some(1));
    assert_eq!(bond_of(&world, 2), 3_000_000);
    assert_eq!(query::owner(world.get(), &RUN, &public(2)).unwrap().pending, 0);
    assert!(query::panel(world.get(), &id).is_none(), "the panel of a closed dispute is gone");
    assert_eq!((stats(&world).guilty, stats(&world).revealed), (1, 2));
}

/// Audits accepted since the last boundary, by auditor in the order of the draw.
fn accepted(world: &World, panel: &Panel) -> Vec<u32> {
    let count =
        |of| query::read::<tessera_ledger::record::AuditCount>(world.get(), &keys::audit_count(&RUN, of));
    panel.auditors.iter().map(|auditor| count(auditor).map_or(0, |count| count.accepted)).collect()
}

#[test]
fn words_on_the_side_of_the_ruling_are_accepted_audits() {
    let base = tessera_ledger::Params { epoch_blocks: 1_000, ..parameters().base };
    let mut world = start_with(7, Parameters { base, ..parameters() });
    world.close_window(RUN, 9_000_000);
    let (no, fraud) = (Some(Verdict::Innocent), Some(Verdict::Fraud));
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &[fraud, no, Some(Verdict::HonestError)], Hash::ZERO);
    assert_eq!(accepted(&world, &panel(&world, &id)), [1, 0, 1]);
    // Without a ruling nothing is accepted.
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &[fraud, no, None], Hash::ZERO);
    assert_eq!(accepted(&world, &panel(&world, &id)), [0, 0, 0]);
}

#[test]
fn an_innocent_claim_earns_the_challengers_bond_with_its_auditors() {
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &all(Verdict::Innocent), Hash::ZERO);
    let auditors: Vec<u32> = panel(&world, &id).auditors.iter().map(|a| world.index_of(a)).collect();
    let before: Vec<u128> = auditors.iter().map(|i| world.balance(*i)).collect();
    let accused = world.balance(2);
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    let each = BOND / 2 / 3;
    for (i, before) in auditors.iter().zip(before) {
        assert_eq!(world.balance(*i), before + each);
    }
    assert_eq!(world.balance(2), accused + BOND - 3 * each);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
}

#[test]
fn without_two_thirds_nobody_wins() {
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &[Some(Verdict::Fraud), Some(Verdict::Innocent), None], Hash::ZERO);
    let deadline = dispute(&world, &id).unwrap().deadline;
    let before = world.balance(3);
    // Closing it by hand needs a ruling; the boundary ends it without one.
    while world.height <= deadline {
        if (world.height + 1).is_multiple_of(4) && world.height == deadline {
            break;
        }
        world.blocks(1);
    }
    if dispute(&world, &id).is_some() {
        let error = world.run(5, ResolveDispute { dispute: id }).error;
        assert!(
            matches!(error, Some(TxError::Quorum { expected: 2, got: 2 } | TxError::Unknown { .. })),
            "{error:?}"
        );
    }
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    assert_eq!(world.balance(3), before + BOND);
    assert_eq!(stats(&world).open_ended, 1);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
}

#[test]
fn auditors_are_held_to_their_role_and_phase() {
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    let id = ask(&mut world, 3, 0, 2);
    let auditor = world.index_of(&panel(&world, &id).auditors[0]);
    let word = opening(&id, auditor, Verdict::Innocent, Hash::ZERO);
    let role = world.run(2, commit(&word)).error;
    assert!(matches!(role, Some(TxError::Role { .. })), "{role:?}");
    world.ok(auditor, commit(&word));
    let again = [world.tx(auditor, commit(&word)), world.tx(auditor, reveal(&word))];
    let receipts = world.block(&again).receipts;
    let (twice, early) = (receipts[0].error.clone(), receipts[1].error.clone());
    assert!(matches!(twice, Some(TxError::Duplicate { what: "commitment of auditor", .. })), "{twice:?}");
    let drawn = panel(&world, &id).drawn.unwrap();
    assert!(matches!(early, Some(TxError::Early { .. })), "{early:?}");
    until(&mut world, drawn + 3);
    let second = world.index_of(&panel(&world, &id).auditors[1]);
    let late = world.run(second, commit(&opening(&id, second, Verdict::Innocent, Hash::ZERO))).error;
    assert!(matches!(late, Some(TxError::Late { .. })), "{late:?}");
    let other = AuditReveal { verdict: Verdict::Fraud, ..reveal(&word) };
    let other = world.run(auditor, other).error;
    assert!(matches!(other, Some(TxError::Reveal { .. })), "{other:?}");
    world.ok(auditor, reveal(&word));
    let again = world.run(auditor, reveal(&word)).error;
    assert!(matches!(again, Some(TxError::Duplicate { .. } | TxError::Late { .. })), "{again:?}");
}

#[test]
fn the_loser_of_a_ruling_may_escalate_and_false_auditors_pay() {
    // Attack 25: a bribed panel convicts an honest trainer.
    let mut world = start(7);
    world.close_window(RUN, 9_000_000);
    let id = ask(&mut world, 3, 0, 2);
    speak(&mut world, &id, &all(Verdict::Fraud), Hash::ZERO);
    let auditors: Vec<u32> = panel(&world, &id).auditors.iter().map(|a| world.index_of(a)).collect();
    for auditor in &auditors {
        give_bond(&mut world, *auditor, 3_000_000);
    }
    let escalate = || step(id, Escalate { bond: BOND });
    let early = world.run(2, escalate()).error;
    assert!(matches!(early, Some(TxError::Early { .. })), "{early:?}");
    let end = panel(&world, &id).drawn.unwrap() + 6;
    until(&mut world, end);
    let role = world.run(3, escalate()).error;
    assert!(matches!(role, Some(TxError::Role { .. })), "{role:?}");
    let before = world.balance(2);
    world.ok(2, escalate());
    assert_eq!(dispute(&world, &id).unwrap().phase, DisputePhase::Accuse);
    let truth = Account::honest();
    let bring = accusation(&world, 0, 2, &truth);
    world.ok(3, step(id, Step::Accuse(bring)));
    assert_eq!(play(&mut world, id, &truth, |_, _| 0), None);
    assert!(dispute(&world, &id).is_none());
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
    // Its own bond back and the challenger's; nine messages were paid.
    assert_eq!(world.balance(2), before + BOND - 9 * 500_000);
    for auditor in auditors {
        assert_eq!(bond_of(&world, auditor), 2_000_000, "each pays for its false word");
    }
}

#[test]
fn an_audit_drawn_by_the_beacon_freezes_a_false_claim_until_it_can_be_contested() {
    let mut world = start_with(7, audited());
    world.close_window(RUN, 9_000_000);
    world.blocks(1);
    assert_eq!((stats(&world).panels, stats(&world).places), (7, 21));
    let key = claim_key(&world, 0, 2);
    let id = keys::audit_id(&key);
    speak(&mut world, &id, &all(Verdict::Mismatch), Hash([1; 32]));
    let open = dispute(&world, &key).expect("the ruling froze the claim");
    assert_eq!((open.audit, open.bond, claim(&world, 0, 2).1.state), (true, 0, ClaimState::Disputed));
    while dispute(&world, &key).is_some() {
        world.blocks(1);
    }
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Void);
    assert_eq!(query::conduct(world.get(), &RUN, &public(2)).unwrap().mismatches, 1);
    // Everybody else's claim goes on.
    assert_eq!(claim(&world, 0, 1).1.state, ClaimState::Pending);
}

#[test]
fn the_audit_rate_is_that_of_the_policy_and_higher_for_the_watched() {
    let base = parameters();
    let mut world =
        start_with(10, Parameters { policy: Policy { audit_rate: 1000, ..base.policy.clone() }, ..base });
    for _ in 0..20 {
        world.close_window(RUN, 9_000_000);
    }
    world.blocks(1);
    let panels = stats(&world).panels;
    // 200 claims at 10 %: within 4 standard deviations (4.2) of 20.
    assert!((3..=37).contains(&panels), "{panels}");
}

fn sealed(of: u32, window: u32) -> SealedCanary {
    SealedCanary {
        run: RUN,
        window,
        account: public(of),
        truth: Hash([1; 32]),
        shown: Hash([2; 32]),
        salt: Hash([3; 32]),
    }
}
fn open_canary(world: &World, of: u32, window: u32) -> OpenCanary {
    let SealedCanary { truth, shown, salt, .. } = sealed(of, window);
    OpenCanary { run: RUN, window, stage: 0, index: claim(world, window, of).0, truth, shown, salt }
}

#[test]
fn canaries_measure_auditors_pay_finders_and_excuse_only_work_that_was_done() {
    let mut world = start_with(7, audited());
    let seal =
        |of: u32, window: u32| SealCanary { run: RUN, window, commit: digest(CANARY, &sealed(of, window)) };
    let wrong = world.run(2, seal(2, 1)).error;
    assert!(matches!(wrong, Some(TxError::WindowOrder { .. })), "{wrong:?}");
    let outsider = world.run(8, seal(8, 0)).error;
    assert!(matches!(outsider, Some(TxError::NotMember { .. })), "{outsider:?}");
    for of in [2, 4] {
        let before = world.balance(of);
        world.ok(of, seal(of, 0));
        assert_eq!(world.balance(of), before - 500_000 - trust_params().canary_deposit);
    }
    let twice = world.run(2, seal(2, 0)).error;
    assert!(matches!(twice, Some(TxError::Duplicate { .. })), "{twice:?}");
    world.close_window(RUN, 9_000_000);
    world.blocks(1);
    // Account 2's canary is found by two who did the work; one passes it.
    let key = claim_key(&world, 0, 2);
    let id = keys::audit_id(&key);
    let auditors: Vec<u32> = panel(&world, &id).auditors.iter().map(|a| world.index_of(a)).collect();
    give_bond(&mut world, auditors[2], 1_000_000);
    let other = keys::audit_id(&claim_key(&world, 0, 4));
    // Both panels speak in the same phase: commit first.
    let words: Vec<(u32, AuditOpening)> = auditors
        .iter()
        .zip([Verdict::Mismatch, Verdict::Mismatch, Verdict::Innocent])
        .map(|(who, verdict)| (*who, opening(&id, *who, verdict, Hash([1; 32]))))
        .chain(panel(&world, &other).auditors.iter().map(|auditor| {
            let who = world.index_of(auditor);
            // Account 4 did not do the work: the truth is another digest.
            (who, opening(&other, who, Verdict::Mismatch, Hash([9; 32])))
        }))
        .collect();
    let commits: Vec<_> = words.iter().map(|(who, word)| world.tx(*who, commit(word))).collect();
    assert!(world.block(&commits).receipts.iter().all(tessera_ledger::Receipt::ok));
    let drawn = panel(&world, &id).drawn.unwrap();
    until(&mut world, drawn + 3);
    let reveals: Vec<_> = words.iter().map(|(who, word)| world.tx(*who, reveal(word))).collect();
    assert!(world.block(&reveals).receipts.iter().all(tessera_ledger::Receipt::ok));
    assert!(dispute(&world, &key).is_some());
    let early = open_canary(&world, 2, 0);
    let early = world.run(2, early).error;
    assert!(matches!(early, Some(TxError::Early { .. })), "{early:?}");
    until(&mut world, drawn + 6);
    // The run has lost enough for two finders: as if its auctions had paid fees.
    let budget = AuditBudget { run: RUN, left: 170_000 };
    world.state.0.insert(keys::audit_budget(&RUN), Cell::pack(&budget.into()));
    let finder = world.balance(auditors[0]);
    let mut forged = open_canary(&world, 2, 0);
    forged.truth = Hash([9; 32]);
    let forged = world.run(2, forged).error;
    assert!(matches!(forged, Some(TxError::Reveal { .. })), "{forged:?}");
    let action = open_canary(&world, 2, 0);
    world.ok(2, action);
    assert_eq!(world.balance(auditors[0]), finder + 70_000);
    let budget = query::read::<AuditBudget>(world.get(), &keys::audit_budget(&RUN));
    let left = budget.map(|budget| budget.left);
    assert_eq!(left, Some(170_000 - 2 * 70_000 + 70_000), "two were paid, and what the third lost is new");
    assert_eq!(bond_of(&world, auditors[2]), 1_000_000 - 70_000);
    let stats = stats(&world);
    assert_eq!((stats.tested, stats.found), (3, 2));
    assert!(dispute(&world, &key).is_none(), "the canary explains the finding");
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
    // For account 4 it does not.
    let fourth = claim_key(&world, 0, 4);
    let action = open_canary(&world, 4, 0);
    world.ok(4, action);
    while dispute(&world, &fourth).is_some() {
        world.blocks(1);
    }
    assert_eq!(claim(&world, 0, 4).1.state, ClaimState::Void);
}

#[test]
fn the_order_of_reveals_in_a_block_does_not_show() {
    let mut world = start_with(7, audited());
    world.close_window(RUN, 9_000_000);
    world.blocks(1);
    let key = claim_key(&world, 0, 2);
    let id = keys::audit_id(&key);
    let auditors: Vec<u32> = panel(&world, &id).auditors.iter().map(|a| world.index_of(a)).collect();
    let verdicts = [Verdict::Innocent, Verdict::Mismatch, Verdict::Fraud];
    let words: Vec<AuditOpening> =
        auditors.iter().zip(verdicts).map(|(who, says)| opening(&id, *who, says, Hash::ZERO)).collect();
    let commits: Vec<_> =
        auditors.iter().zip(&words).map(|(who, word)| world.tx(*who, commit(word))).collect();
    world.block(&commits);
    let drawn = panel(&world, &id).drawn.unwrap();
    until(&mut world, drawn + 3);
    let reveals: Vec<_> =
        auditors.iter().zip(&words).map(|(who, word)| world.tx(*who, reveal(word))).collect();
    let mut roots = std::collections::BTreeSet::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = world.clone();
        let txs: Vec<_> = order.iter().map(|i| reveals[*i].clone()).collect();
        assert!(world.block(&txs).receipts.iter().all(tessera_ledger::Receipt::ok));
        assert!(dispute(&world, &key).is_some());
        while dispute(&world, &key).is_some() {
            world.blocks(1);
        }
        roots.insert(world.state.root());
    }
    assert_eq!(roots.len(), 1);
}
