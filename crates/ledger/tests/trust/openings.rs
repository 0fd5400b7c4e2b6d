//! A trainer is made to open what it committed to: it does, or it loses.

use crate::{machine::Account, setting::*, world::*};
use tessera_canon::{Blob, Hash, MerkleTree};
use tessera_ledger::{
    TxError,
    action::*,
    query,
    record::{ClaimState, DisputePhase},
};

/// The tree that account `of` committed to, with `told` at place 1.
fn tree(told: &Account) -> MerkleTree {
    MerkleTree::new(vec![Hash([5; 32]), told.evidence(), Hash([6; 32])])
}
fn demand(world: &World, window: u32, of: u32, told: &Account) -> DemandOpening {
    let Accusation { generation, step, root, rest, signature, .. } = accusation(world, window, of, told);
    let index = claim(world, window, of).0;
    DemandOpening {
        run: RUN,
        window,
        stage: 0,
        index,
        bond: BOND,
        generation,
        step,
        root,
        rest,
        unit: 1,
        signature,
    }
}
fn opening(told: &Account, at: u64) -> Opening {
    let tree = tree(told);
    let claims = [Hash([5; 32]), told.evidence(), Hash([6; 32])];
    let claim = Blob::new(claims[at as usize].0.to_vec()).unwrap();
    Opening { claim, path: tree.path(at).unwrap() }
}
fn begun(told: &Account) -> (World, Hash) {
    let mut world = start(6);
    world.close_window(RUN, 9_000_000);
    let id = claim_key(&world, 0, 2);
    let action = demand(&world, 0, 2, told);
    world.ok(3, action);
    assert_eq!(dispute(&world, &id).unwrap().phase, DisputePhase::Open);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Disputed);
    (world, id)
}

#[test]
fn a_false_claim_that_was_made_to_be_opened_is_convicted_by_the_game() {
    let (lie, truth) = (a_plain_lie(), Account::honest());
    let (mut world, id) = begun(&lie);
    let refused = |world: &mut World, who, action: Step, error: TxError| {
        assert_eq!(world.run(who, step(id, action)).error, Some(error));
    };
    let elsewhere = TxError::Evidence { detail: "the claim does not stand at the named place" };
    refused(&mut world, 2, opening(&lie, 0).into(), elsewhere.clone());
    let forged = Opening { claim: Blob::new(vec![9; 32]).unwrap(), ..opening(&lie, 1) };
    refused(&mut world, 2, forged.into(), elsewhere);
    let short = Opening { claim: Blob::new(vec![9; 31]).unwrap(), ..opening(&lie, 1) };
    assert!(matches!(world.run(2, step(id, short)).error, Some(TxError::Referee { .. })));
    assert!(matches!(world.run(4, step(id, opening(&lie, 1))).error, Some(TxError::Role { .. })));
    assert!(matches!(world.run(3, step(id, Proceed {})).error, Some(TxError::Turn { .. })));

    world.ok(2, step(id, opening(&lie, 1)));
    let open = dispute(&world, &id).unwrap();
    assert_eq!((open.phase, open.evidence), (DisputePhase::Weigh, lie.evidence()));
    assert!(matches!(world.run(2, step(id, Proceed {})).error, Some(TxError::Role { .. })));
    world.ok(3, step(id, Proceed {}));
    assert_eq!(play(&mut world, id, &lie, |path, said| truth.first_false(path, said)), None);
    assert_eq!(query::audit_stats(world.get(), &RUN).unwrap().guilty, 1);
    assert_eq!(query::rollback(world.get(), &RUN).map(|back| back.step), Some(0));
}

#[test]
fn silence_on_a_demand_is_a_mismatch() {
    let (mut world, id) = begun(&Account::honest());
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    let conduct = query::conduct(world.get(), &RUN, &public(2)).unwrap();
    assert_eq!((conduct.mismatches, claim(&world, 0, 2).1.state), (1, ClaimState::Void));
}

#[test]
fn a_true_claim_costs_neither_side_its_bond() {
    let truth = Account::honest();
    let (mut world, id) = begun(&truth);
    let before = world.balance(3);
    world.ok(2, step(id, opening(&truth, 1)));
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    assert_eq!(world.balance(3), before + BOND);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Pending);
    let stats = query::audit_stats(world.get(), &RUN).unwrap();
    assert_eq!((stats.guilty, stats.innocent, stats.open_ended), (0, 0, 1));
    // A true claim that is taken to the game all the same is acquitted, and the bond is lost.
    let (mut world, id) = begun(&truth);
    world.ok(2, step(id, opening(&truth, 1)));
    world.ok(3, step(id, Proceed {}));
    assert_eq!(play(&mut world, id, &truth, |path, said| truth.first_false(path, said)), None);
    assert_eq!(query::audit_stats(world.get(), &RUN).unwrap().innocent, 1);
}

#[test]
fn evidence_counts_while_its_material_must_be_kept() {
    let trust = tessera_ledger::trust::TrustParams { evidence_windows: 2, ..trust_params() };
    let mut world = start_with(6, tessera_ledger::Parameters { trust, ..parameters() });
    for _ in 0..3 {
        world.close_window(RUN, 9_000_000);
    }
    let late = |until, now| TxError::Late { what: "evidence of this window (window)", until, now };
    let old = demand(&world, 0, 2, &Account::honest());
    assert_eq!(world.run(3, old).error, Some(late(2, 3)));
    let old = open(&world, 0, 2, Some(&a_plain_lie()));
    assert_eq!(world.run(3, old).error, Some(late(2, 3)));
    let panel = open(&world, 0, 2, None);
    world.ok(3, panel);
    let recent = demand(&world, 1, 2, &Account::honest());
    world.ok(3, recent);
}

#[test]
fn only_what_the_accused_signed_can_be_demanded() {
    let mut world = start(6);
    world.close_window(RUN, 9_000_000);
    let told = Account::honest();
    let right = demand(&world, 0, 2, &told);
    let unsigned = TxError::Evidence { detail: "the accused did not sign the statement" };
    for wrong in [
        DemandOpening { root: Hash([1; 32]), ..right.clone() },
        DemandOpening { step: 7, ..right.clone() },
        DemandOpening { generation: 1, ..right.clone() },
        DemandOpening { rest: Hash([1; 32]), ..right.clone() },
    ] {
        assert_eq!(world.run(3, wrong).error, Some(unsigned.clone()));
    }
    let poor = DemandOpening { bond: 1, ..right.clone() };
    assert!(matches!(world.run(3, poor).error, Some(TxError::Parameter { .. })));
    world.ok(3, right.clone());
    assert!(matches!(world.run(4, right).error, Some(TxError::Duplicate { .. })));
}
