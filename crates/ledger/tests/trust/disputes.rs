//! Dispute games through transactions: whoever is honest wins, and what breaks the rules is refused by name.

use crate::{
    machine::{Account, name},
    setting::*,
    world::*,
};
use std::sync::Arc;
use tessera_canon::{Blob, Domain, Hash, Prf};
use tessera_ledger::{
    Event, TxError,
    action::*,
    query,
    record::{ClaimState, DisputePhase, Verdict},
    referee::NoReferee,
    trust::kind::Kind,
    tx::SignedTx,
};

fn verdict(events: &[Event]) -> Option<Option<Verdict>> {
    events.iter().find_map(|event| match event {
        Event::DisputeClosed(closed) => Some(closed.verdict),
        _ => None,
    })
}

#[test]
fn a_false_claim_is_narrowed_to_one_step_and_convicted() {
    let mut world = start(6);
    world.close_window(RUN, 9_000_000);
    let (lie, truth) = (a_plain_lie(), Account::honest());
    let id = claim_key(&world, 0, 2);
    let action = open(&world, 0, 2, Some(&lie));
    let before = world.balance(3);
    world.ok(3, action);
    assert_eq!(claim(&world, 0, 2).1.state, ClaimState::Disputed);
    assert_eq!(world.balance(3), before - BOND - 500_000);
    assert_eq!(play(&mut world, id, &lie, |path, said| truth.first_false(path, said)), None);
    let stats = query::audit_stats(world.get(), &RUN).unwrap();
    assert_eq!((stats.guilty, stats.innocent), (1, 0));
    let claim = claim(&world, 0, 2).1;
    assert_eq!((claim.state, claim.voided), (ClaimState::Void, claim.shares));
    // Seven choices, one opening: nothing but fees is lost.
    assert_eq!(world.balance(3), before - 8 * 500_000);
    assert!(world.state.0.values().all(|cell| !matches!(
        cell.unpack(),
        Some(
            tessera_ledger::Record::Dispute(_)
                | tessera_ledger::Record::DisputeLevel(_)
                | tessera_ledger::Record::DisputeProof(_)
        )
    )));
}

/// A key that was given up answers for what it signed in its time, and only for that.
#[test]
fn rotating_a_key_neither_hides_a_lie_nor_makes_one() {
    let rotate = |world: &mut World, to: u32| {
        let statement = Rotation { network: world.network, account: public(2), key: public(to) };
        let action = RotateKey { key: public(to), signature: key(to).sign(ROTATION, &statement) };
        let account = query::account(world.get(), &public(2)).unwrap();
        let body = tessera_ledger::Tx {
            network: world.network,
            sender: public(2),
            nonce: account.nonce,
            fee: 500_000,
            fee_from: Default::default(),
            action: action.into(),
        };
        let signer = account.signer_at(world.height + 1);
        let signer = (0..1000).map(key).find(|key| key.public() == signer).unwrap();
        let receipt = world.block(&[SignedTx::sign(&signer, body)]).receipts.remove(0);
        assert_eq!(receipt.error, None);
        world.blocks(4);
    };
    let signed = |world: &World, window: u32, by: u32| {
        let mut action = open(world, window, 2, Some(&a_plain_lie()));
        let accusation = action.accusation.as_mut().unwrap();
        let statement = Statement {
            network: world.network,
            run: RUN,
            window,
            stage: 0,
            account: public(2),
            generation: 0,
            step: 0,
            root: accusation.root,
            rest: Hash::ZERO,
        };
        accusation.signature = key(by).sign(STATEMENT, &statement);
        action
    };
    let mut world = start(6);
    // Keys 2, 302 and 303 one after the other; each window is reported while its key is in force.
    world.close_window(RUN, 9_000_000);
    rotate(&mut world, 302);
    let (_, report) = world.full_report(RUN, 0, Some(9_000_000)).unwrap();
    let mut seats = query::seats_of_stage(world.get(), &RUN, 0);
    seats.retain(|seat| seat.account != public(2));
    let report = world.sign_report(report.report, &seats);
    world.ok(0, report);
    rotate(&mut world, 303);
    for (window, by, holds) in
        [(0, 302, false), (0, 303, false), (1, 303, false), (1, 304, false), (0, 2, true), (1, 302, true)]
    {
        let action = signed(&world, window, by);
        let error = world.run(3, action).error;
        let refused = TxError::Evidence { detail: "the accused did not sign the statement" };
        assert_eq!(error, (!holds).then_some(refused), "window {window}, key {by}");
    }
}

#[test]
fn random_games_end_as_they_should() {
    let games: u64 = std::env::var("TESSERA_GAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let games = games.min(1000);
    let mut random = Prf::new(Domain::new("tessera/test/ledger-games/v1"), b"1");
    let fresh = {
        let mut world = start(5);
        world.close_window(RUN, 9_000_000);
        world
    };
    for game in 0..games {
        let mut world = fresh.clone();
        let id = claim_key(&world, 0, 1);
        if game % 2 == 0 {
            let lie = Account::lie(&mut random);
            convict(&mut world, 2, 0, 1, &lie);
            assert_eq!(claim(&world, 0, 1).1.state, ClaimState::Void, "game {game}: {lie:?}");
        } else {
            let truth = Account::honest();
            let action = open(&world, 0, 1, Some(&truth));
            world.ok(2, action);
            let refused = play(&mut world, id, &truth, |_, said| random.below(said.len() as u64) as usize);
            assert_eq!(refused, None);
            assert_ne!(claim(&world, 0, 1).1.state, ClaimState::Void, "game {game}");
        }
    }
}

#[test]
fn a_turn_that_is_let_pass_is_lost() {
    let mut world = start(5);
    world.close_window(RUN, 9_000_000);
    let truth = Account::honest();
    // The accused says nothing, although it is right.
    let action = open(&world, 0, 1, Some(&truth));
    world.ok(2, action);
    let id = claim_key(&world, 0, 1);
    let early = world.run(3, ResolveDispute { dispute: id }).error;
    assert!(matches!(early, Some(TxError::Early { .. })), "{early:?}");
    let mut closed = None;
    while closed.is_none() {
        closed = verdict(&world.block(&[]).events);
    }
    assert_eq!(closed, Some(Some(Verdict::Mismatch)));
    // The challenger says nothing.
    let action = open(&world, 0, 3, Some(&truth));
    world.ok(2, action);
    let id = claim_key(&world, 0, 3);
    world.ok(3, step(id, truth.commit(&[])));
    let before = world.balance(3);
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    assert_eq!(world.balance(3), before + BOND);
    assert_eq!(claim(&world, 0, 3).1.state, ClaimState::Pending);
}

#[test]
fn messages_against_the_rules_are_refused_by_name() {
    let trust = tessera_ledger::trust::TrustParams { step_blocks: 40, ..trust_params() };
    let mut world = start_with(5, tessera_ledger::Parameters { trust, ..parameters() });
    world.close_window(RUN, 9_000_000);
    let (lie, truth) = (a_plain_lie(), Account::honest());
    let refused = |world: &mut World, who: u32, action: Action| {
        let before = world.state.clone();
        let error = world.run(who, action).error.expect("it breaks the rules");
        let kept = |state: &tessera_ledger::MemState| {
            let mut cells = state.0.clone();
            cells.retain(|_, cell| {
                matches!(
                    cell.unpack(),
                    Some(tessera_ledger::Record::Dispute(_) | tessera_ledger::Record::DisputeLevel(_))
                )
            });
            cells
        };
        assert_eq!(kept(&before), kept(&world.state), "{error}");
        error
    };
    let good = open(&world, 0, 1, Some(&lie));
    let own = refused(&mut world, 1, good.clone().into());
    assert!(matches!(own, TxError::Role { .. }), "{own}");
    let cheap = refused(&mut world, 2, OpenDispute { bond: 1, ..good.clone() }.into());
    assert!(matches!(cheap, TxError::Parameter { what: "the bond of a dispute", .. }), "{cheap}");
    let mut forged = good.clone();
    forged.accusation = Some(Accusation { root: Hash([1; 32]), ..accusation(&world, 0, 1, &lie) });
    let forged = refused(&mut world, 2, forged.into());
    assert!(matches!(forged, TxError::Evidence { .. }), "{forged}");
    let mut other = good.clone();
    other.accusation = Some(Accusation { evidence: truth.evidence(), ..accusation(&world, 0, 1, &lie) });
    let other = refused(&mut world, 2, other.into());
    assert!(matches!(other, TxError::Evidence { .. }), "{other}");
    let mut unjudged = good.clone();
    unjudged.accusation = Some(Accusation { kind: Kind::Row, ..accusation(&world, 0, 1, &lie) });
    let unjudged = refused(&mut world, 2, unjudged.into());
    assert!(matches!(unjudged, TxError::NoReferee { .. }), "{unjudged}");
    world.ok(2, good.clone());
    let twice = refused(&mut world, 3, good.into());
    assert!(matches!(twice, TxError::Duplicate { what: "dispute of claim", .. }), "{twice}");

    let id = claim_key(&world, 0, 1);
    let first = lie.commit(&[]);
    let turn = refused(&mut world, 2, step(id, name(&first, 0, 1)).into());
    assert!(matches!(turn, TxError::Turn { .. }), "{turn}");
    let role = refused(&mut world, 3, step(id, first.clone()).into());
    assert!(matches!(role, TxError::Role { .. }), "{role}");
    let unbound = refused(&mut world, 1, step(id, truth.commit(&[])).into());
    assert!(matches!(unbound, TxError::Child { level: 0, .. }), "{unbound}");
    for bytes in [0, 31, 33, 65 * 32] {
        let children = Blob::new(vec![1; bytes]).unwrap();
        let odd = refused(&mut world, 1, step(id, Commit { head: None, children }).into());
        assert!(matches!(odd, TxError::Parameter { what: "bytes of children", .. }), "{odd}");
    }
    let Step::Commit(headed) = first.clone() else { unreachable!("it commits") };
    let headed = Commit { head: Some(Hash::ZERO), ..headed };
    let headed = refused(&mut world, 1, step(id, headed).into());
    assert!(matches!(headed, TxError::Child { level: 0, .. }), "{headed}");
    world.ok(1, step(id, first.clone()));
    let Step::NameChild(good) = name(&first, 0, 2) else { unreachable!("it names") };
    let Step::NameChild(none) = name(&first, 0, 0) else { unreachable!("it names") };
    let mut not_there = good.clone();
    not_there.child.value = Hash([1; 32]);
    let mut wrong_count = good.clone();
    wrong_count.child.path.count += 1;
    for wrong in [
        not_there,
        wrong_count,
        NameChild { before: None, ..good.clone() },
        NameChild { before: none.child.clone().into(), ..good.clone() },
        NameChild { before: good.before.clone(), ..none },
    ] {
        let error = refused(&mut world, 2, step(id, wrong).into());
        assert!(matches!(error, TxError::Child { level: 0, .. }), "{error}");
    }
    let unknown = refused(&mut world, 2, step(Hash([1; 32]), good).into());
    assert!(matches!(unknown, TxError::Unknown { what: "dispute", .. }), "{unknown}");

    // On to the proof.
    let mut path = vec![truth.first_false(&[], &lie.children(&[]))];
    world.ok(2, step(id, name(&first, 0, path[0])));
    while dispute(&world, &id).unwrap().phase != DisputePhase::Prove {
        let committed = lie.commit(&path);
        world.ok(1, step(id, committed.clone()));
        let at = truth.first_false(&path, &lie.children(&path));
        world.ok(2, step(id, name(&committed, path.len(), at)));
        path.push(at);
    }
    let prove = |at, bytes: usize, last| {
        let part = Blob::new(vec![7; bytes]).unwrap();
        step(id, Prove { at, part, last })
    };
    for odd in [prove(1, 64, true), prove(0, 64, false), prove(0, 5057, true)] {
        let error = refused(&mut world, 1, odd.into());
        assert!(matches!(error, TxError::Parameter { what: "part of the proof", .. }), "{error}");
    }
    for odd in [prove(0, 63, true), prove(0, 64, true)] {
        let error = refused(&mut world, 1, odd.into());
        assert!(matches!(error, TxError::Referee { .. }), "{error}");
    }
    // Late: past the deadline but before anybody closed it.
    let deadline = dispute(&world, &id).unwrap().deadline;
    while world.height < deadline {
        world.blocks(1);
    }
    let late = refused_or_closed(&mut world, 1, step(id, lie.prove(&path)));
    assert!(matches!(late, TxError::Late { .. } | TxError::Unknown { .. }), "{late}");
}

fn refused_or_closed(world: &mut World, who: u32, action: DisputeStep) -> TxError {
    world.run(who, action).error.expect("too late")
}

#[test]
fn without_a_referee_no_game_begins_and_none_convicts() {
    let mut world = start(5);
    world.close_window(RUN, 9_000_000);
    let action = open(&world, 0, 1, Some(&a_plain_lie()));
    let referee = std::mem::replace(&mut world.referee, Arc::new(NoReferee));
    let error = world.run(2, action.clone()).error;
    assert_eq!(error, Some(TxError::NoReferee { kind: "Dot".into() }));
    // Were the referee to vanish during a game, silence would not convict.
    world.referee = referee;
    let before = world.balance(2);
    world.ok(2, action);
    world.referee = Arc::new(NoReferee);
    let id = claim_key(&world, 0, 1);
    while dispute(&world, &id).is_some() {
        world.blocks(1);
    }
    assert_eq!(world.balance(2), before - 500_000);
    assert_eq!(claim(&world, 0, 1).1.state, ClaimState::Pending);
    assert_eq!(query::audit_stats(world.get(), &RUN).unwrap().open_ended, 1);
}
