//! Rotate keys, bond and leave as a validator, and be slashed for signing twice.

use crate::world::*;
use tessera_canon::{Hash, SecretKey};
use tessera_ledger::{
    Event, TxError,
    action::*,
    evidence::{STATEMENT, Statement, StatementKind},
    query,
    record::{Bond, BondState},
    tx::{SignedTx, Tx},
};

/// `account` bonds `amount` for the consensus key number `consensus`.
pub(crate) fn bond(world: &World, account: u32, consensus: u32, amount: u128) -> ValidatorBond {
    let key = key(consensus);
    let statement = Bonding { network: world.network, account: public(account), key: key.public() };
    ValidatorBond { amount, key: key.public(), signature: key.sign(BONDING, &statement) }
}
fn rotation(world: &World, account: u32, to: &SecretKey) -> RotateKey {
    let statement = Rotation { network: world.network, account: public(account), key: to.public() };
    RotateKey { key: to.public(), signature: to.sign(ROTATION, &statement) }
}
/// A transfer by account 1, signed with `key`.
fn signed(world: &World, key: &SecretKey) -> SignedTx {
    let nonce = query::account(world.get(), &public(1)).map_or(0, |account| account.nonce);
    let action = Transfer { to: public(2), amount: 1 }.into();
    SignedTx::sign(
        key,
        Tx {
            network: world.network,
            sender: public(1),
            nonce,
            fee: 500_000,
            fee_from: Default::default(),
            action,
        },
    )
}

#[test]
fn a_rotated_key_signs_from_the_next_epoch_and_the_account_keeps_its_name() {
    let mut world = World::voting_run(8);
    let (old, new) = (key(1), key(900));
    let shares = query::owner(world.get(), &RUN, &public(1)).unwrap().shares;
    // The new key must sign too, for this account.
    let mut bad = rotation(&world, 2, &new);
    assert_eq!(world.run(1, bad.clone()).error, Some(TxError::KeySignature { key: new.public() }));
    bad.signature = NO_SIGNATURE;
    assert!(world.run(1, bad).error.is_some());
    let good = rotation(&world, 1, &new);
    world.ok(1, good);
    let from = world.height + 4;
    while world.height + 1 < from {
        let wrong = signed(&world, &new);
        let right = signed(&world, &old);
        let outcome = world.block(&[wrong, right]);
        assert_eq!(outcome.receipts[0].error, Some(TxError::BadSignature { sender: public(1) }));
        assert_eq!(outcome.receipts[1].error, None);
    }
    let (wrong, right) = (signed(&world, &old), signed(&world, &new));
    let outcome = world.block(&[wrong, right]);
    assert!(outcome.receipts[0].rejected() && outcome.receipts[1].ok(), "{:?}", outcome.receipts);
    // The same account: its shares, and its power to move them.
    world.keys[1] = new.clone();
    let nonce = query::account(world.get(), &public(1)).unwrap().nonce;
    let action = TransferShares { run: RUN, to: public(5), amount: shares }.into();
    let body = Tx {
        network: world.network,
        sender: public(1),
        nonce,
        fee: 500_000,
        fee_from: Default::default(),
        action,
    };
    assert!(world.block(&[SignedTx::sign(&new, body)]).receipts[0].ok());
    assert_eq!(query::owner(world.get(), &RUN, &public(5)).unwrap().shares, shares);
}

#[test]
fn a_trainer_signs_reports_with_its_rotated_key() {
    let mut world = World::new(6, params());
    world.seated_run(RUN, 1, 3);
    let new = key(901);
    let good = rotation(&world, 2, &new);
    world.ok(2, good);
    world.blocks(4);
    let (_, report) = world.full_report(RUN, 0, Some(9_000_000)).unwrap();
    // Signed with the old key: refused by the seat's number.
    assert!(matches!(world.run(0, report.clone()).error, Some(TxError::SeatSignature { .. })));
    let mut seats = query::seats_of_stage(world.get(), &RUN, 0);
    seats.sort_by_key(|seat| seat.seat);
    let mut signatures = Vec::new();
    for seat in &seats {
        let key = if seat.account == public(2) { new.clone() } else { key(world.index_of(&seat.account)) };
        signatures.push(SeatSignature { seat: seat.seat, signature: key.sign(REPORT, &report.report) });
    }
    world.ok(0, ReportWindow { report: report.report, signatures: list(signatures) });
}

fn state(world: &World, account: u32) -> Option<Bond> {
    query::bond(world.get(), &public(account))
}

#[test]
fn a_validator_joins_the_next_set_leaves_it_and_is_paid_back_late() {
    let mut world = World::new(6, params());
    while !world.height.is_multiple_of(4) {
        world.blocks(1);
    }
    let before = world.balance(1);
    assert_eq!(
        world.run(1, bond(&world, 1, 500, 999_999)).error.unwrap().to_string(),
        "the bond must be at least 1000000, by more than 0, got 999999"
    );
    world.ok(1, bond(&world, 1, 500, 1_000_000));
    assert_eq!(state(&world, 1).unwrap().state, BondState::Joining);
    assert_eq!(query::validator_set(world.get()).map_or(0, |set| set.size), 0);
    // Another account's consensus key, another key of the same account.
    assert!(matches!(world.run(2, bond(&world, 2, 500, 1_000_000)).error, Some(TxError::Duplicate { .. })));
    world.blocks(4);
    let set = query::validator_set(world.get()).unwrap();
    assert_eq!((set.size, set.bonded, state(&world, 1).unwrap().state), (1, 1_000_000, BondState::Active));
    world.ok(1, bond(&world, 1, 500, 5));
    assert!(matches!(world.run(1, bond(&world, 1, 501, 1_000_000)).error, Some(TxError::Duplicate { .. })));
    world.ok(1, ValidatorUnbond {});
    let left = world.height;
    assert!(matches!(world.run(1, ValidatorUnbond {}).error, Some(TxError::Duplicate { .. })));
    assert!(matches!(world.run(1, bond(&world, 1, 500, 5)).error, Some(TxError::Duplicate { .. })));
    assert!(matches!(world.run(3, ValidatorUnbond {}).error, Some(TxError::Unknown { .. })));
    world.blocks(4);
    assert_eq!(query::validator_set(world.get()).unwrap().size, 0);
    while state(&world, 1).is_some() {
        assert!(world.height < left + 214);
        world.blocks(1);
    }
    assert!(world.height >= left + 210);
    // Six transactions by account 1.
    assert_eq!(world.balance(1), before - 7 * 500_000);
    // The key is free again.
    world.ok(2, bond(&world, 2, 500, 1_000_000));
}

fn statement(world: &World, view: u64, kind: StatementKind, block: u8) -> Statement {
    Statement { network: world.network, validator: public(500), view, kind, block: Hash([block; 32]) }
}
fn evidence(first: Statement, second: Statement) -> ReportDoubleSign {
    let sign = |statement: &Statement| key(500).sign(STATEMENT, statement);
    let (first_signature, second_signature) = (sign(&first), sign(&second));
    ReportDoubleSign { first, first_signature, second, second_signature }
}

#[test]
fn who_signs_twice_loses_everything_also_after_leaving() {
    use StatementKind::{Finalize, Notarize};
    let mut world = World::new(6, params());
    world.ok(1, bond(&world, 1, 500, 50_000_019));
    world.blocks(4);
    world.ok(1, ValidatorUnbond {});
    world.blocks(8);
    // What an honest validator may sign is no evidence.
    let innocent = [
        (statement(&world, 7, Notarize, 1), statement(&world, 7, Notarize, 1), "statements about one block"),
        (
            statement(&world, 7, Notarize, 1),
            statement(&world, 8, Notarize, 2),
            "statements of two views or kinds",
        ),
        (
            statement(&world, 7, Notarize, 1),
            statement(&world, 7, Finalize, 2),
            "statements of two views or kinds",
        ),
        (
            statement(&world, 7, Notarize, 1),
            Statement { validator: public(501), ..statement(&world, 7, Notarize, 2) },
            "statements by two validators or for two networks",
        ),
    ];
    for (first, second, what) in innocent {
        assert_eq!(world.run(2, evidence(first, second)).error, Some(TxError::NotConflict { what }));
    }
    let conflict =
        |world: &World| evidence(statement(world, 7, Notarize, 1), statement(world, 7, Notarize, 2));
    let mut forged = conflict(&world);
    forged.second_signature = forged.first_signature;
    assert_eq!(world.run(2, forged).error, Some(TxError::KeySignature { key: public(500) }));
    let elsewhere = |block| Statement { network: Hash::ZERO, ..statement(&world, 7, Notarize, block) };
    let elsewhere = evidence(elsewhere(1), elsewhere(2));
    assert!(matches!(world.run(2, elsewhere).error, Some(TxError::SignedForOtherNetwork { .. })));

    let (before, fund) = (world.balance(3), query::globals(world.get()).unwrap().fund);
    let good = conflict(&world);
    world.ok(3, good.clone());
    // 5 % of 50 000 019, rounded down.
    assert_eq!(world.balance(3), before + 2_500_000 - 500_000);
    assert_eq!(query::globals(world.get()).unwrap().fund, fund + 47_500_019);
    assert_eq!(state(&world, 1), None);
    // Once; and the key never bonds again.
    assert_eq!(world.run(4, good).error, Some(TxError::Slashed { key: public(500) }));
    assert_eq!(
        world.run(1, bond(&world, 1, 500, 1_000_000)).error,
        Some(TxError::Slashed { key: public(500) })
    );
}

#[test]
fn nobody_is_convicted_once_the_bond_is_back() {
    let mut world = World::new(6, params());
    world.ok(1, bond(&world, 1, 500, 1_000_000));
    world.ok(1, ValidatorUnbond {});
    world.blocks(216);
    let late = evidence(
        statement(&world, 7, StatementKind::Propose, 1),
        statement(&world, 7, StatementKind::Propose, 2),
    );
    assert!(matches!(world.run(2, late).error, Some(TxError::Unknown { .. })));
}

#[test]
fn the_set_is_told_when_it_changes() {
    let mut world = World::new(6, params());
    let mut sizes = Vec::new();
    let mut run = |world: &mut World, action: Option<(u32, Action)>| {
        let txs: Vec<SignedTx> = action.into_iter().map(|(who, action)| world.tx(who, action)).collect();
        for event in world.block(&txs).events {
            if let Event::ValidatorSetChanged(event) = event {
                sizes.push((event.size, event.bonded));
            }
        }
    };
    for account in [1u32, 2] {
        let action = bond(&world, account, 500 + account, 1_000_000 * u128::from(account)).into();
        run(&mut world, Some((account, action)));
    }
    (0..8).for_each(|_| run(&mut world, None));
    run(&mut world, Some((1, ValidatorUnbond {}.into())));
    (0..8).for_each(|_| run(&mut world, None));
    // The first boundary makes the empty or the first set; then only changes count.
    assert_eq!(sizes.last(), Some(&(1, 2_000_000)));
    assert!(sizes.contains(&(2, 3_000_000)) && sizes.len() <= 3, "{sizes:?}");
}
