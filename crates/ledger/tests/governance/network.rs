//! Vote on the network: bonded U and work across runs, class P.

use crate::{accounts::bond, hall::*, world::*};
use tessera_canon::Hash;
use tessera_ledger::{
    action::*,
    governance::{parameter::Parameter, record::ProposalState::*},
    query,
};

const NETWORK: Hash = Hash::ZERO;

fn bonded() -> World {
    let mut world = World::voting_run(10);
    // Workers 0 to 3 are validators, and 8 and 9 who never worked.
    for (account, amount) in [(0, 1), (1, 1), (2, 1), (3, 1), (8, 4), (9, 4)] {
        world.ok(account, bond(&world, account, 500 + account, amount * 10_000_000));
    }
    world.blocks(4);
    world
}

#[test]
fn the_protocol_needs_bonds_and_work_and_waits_longest() {
    let mut world = bonded();
    let id = world.propose(9, NETWORK, change(Parameter::FeePerByte, 10, 20));
    let proposal = world.proposal(&id);
    assert_eq!(proposal.total, 120_000_000);
    assert_eq!(proposal.work, query::assembly(world.get(), &NETWORK).unwrap().work);
    assert_eq!(proposal.work, query::assembly(world.get(), &RUN).unwrap().work, "there is one run");
    world.votes(&id, Choice::Yes, [0, 1, 2, 3, 8]);
    world.until_done(&id);
    let proposal = world.proposal(&id);
    assert_eq!((proposal.state, proposal.ready), (Executed, proposal.ends + 56));
    assert_eq!(query::params(world.get()).unwrap().fee_per_byte, 20);
    assert_eq!(world.balance(9), RICH - 40_000_000 - 2 * 500_000);
}

#[test]
fn two_thirds_of_the_bonds_without_work_change_nothing() {
    let mut world = bonded();
    let id = world.propose(9, NETWORK, change(Parameter::FeeToFund, 0, 1));
    world.votes(&id, Choice::Yes, [8, 9]);
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!((tally.yes, tally.work_yes.0), (80_000_000, ruint::aliases::U256::ZERO));
    world.until_done(&id);
    assert_eq!(world.stands(&id), Rejected);
}

#[test]
fn every_parameter_of_the_network_can_be_voted_within_its_bounds() {
    let mut world = bonded();
    let cases = [
        (Parameter::LapseBlocks, 6, 7, 0),
        (Parameter::SettleDelay, 3, 4, 1 << 40),
        (Parameter::LockBlocks, 40, 41, 49),
        (Parameter::FeeFlat, 1_000, 999, 1_000_001),
        (Parameter::FeePerByte, 10, 11, u128::MAX),
        (Parameter::FeeToFund, 0, 1, 2),
        (Parameter::RunBond, 1_000_000, 5, u128::MAX),
        (Parameter::ValidatorBond, 1_000_000, 2_000_000, u128::MAX),
        (Parameter::IssuancePart, 10_000, 5_000, 10_001),
    ];
    for (parameter, old, _, beyond) in cases {
        let refused = world.refused(9, motion(NETWORK, change(parameter, old, beyond)));
        let forbidden = parameter == Parameter::IssuancePart;
        assert_eq!(refused, if forbidden { "Forbidden" } else { "Parameter" }, "{parameter:?}");
    }
    let (first, second) = cases.split_at(5);
    let ids: Vec<Hash> = [first, second]
        .into_iter()
        .map(|part| {
            let part: Vec<_> = part.iter().map(|&(parameter, old, new, _)| (parameter, old, new)).collect();
            world.propose(9, NETWORK, changes(&part))
        })
        .collect();
    world.until_open(&ids[1]);
    for id in &ids {
        for account in [0, 1, 2, 3, 8] {
            world.ok(account, vote(*id, Choice::Yes));
        }
    }
    for id in &ids {
        world.until_done(id);
        assert_eq!(world.stands(id), Executed);
    }
    let params = query::params(world.get()).unwrap();
    assert_eq!((params.lapse_blocks, params.settle_delay, params.lock_blocks), (7, 4, 41));
    assert_eq!((params.fee_flat, params.fee_per_byte, params.fee_to_fund), (999, 11, true));
    assert_eq!(params.run_bond, 5);
    assert_eq!(query::issuance(world.get()).unwrap().part, 5_000);
    let small = bond(&world, 7, 700, 1_999_999);
    assert_eq!(world.refused(7, small), "Parameter");
}

#[test]
fn a_bond_made_after_the_proposal_has_no_vote() {
    let mut world = bonded();
    let id = world.propose(9, NETWORK, change(Parameter::FeeFlat, 1_000, 2_000));
    world.ok(5, bond(&world, 5, 555, 900_000_000));
    world.ok(8, ValidatorUnbond {});
    world.until_open(&id);
    assert_eq!(world.refused(5, vote(id, Choice::No)), "NoPower");
    // Who leaves votes with what was bonded; it can still be slashed for longer than the vote takes.
    world.ok(8, vote(id, Choice::Yes));
    assert_eq!(query::tally(world.get(), &id).unwrap().yes, 40_000_000);
    // Bonded U is not delegated.
    assert_eq!(world.refused(9, Delegate { run: NETWORK, to: Some(public(1)) }), "Unknown");
}
