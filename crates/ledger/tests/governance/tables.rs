//! Work through the table of 6.1 at its edges.

use crate::hall::DEPOSIT;
use ruint::aliases::U256;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    action::*,
    governance::{
        parameter::{Class, Parameter},
        record::{Proposal, ProposalState, Tally},
        tally::*,
        terms::GovernanceTerms,
    },
    record::Wide,
};

fn case(class: Class, yes: u128, no: u128, abstain: u128, work_yes: u64) -> (Proposal, Tally) {
    let proposal = Proposal {
        id: Hash::ZERO,
        run: Hash([1; 32]),
        proposer: PublicKey([0; 32]),
        class,
        state: ProposalState::Open,
        posted: 1,
        opens: 2,
        ends: 3,
        ready: 0,
        deposit: DEPOSIT,
        total: 10_000,
        work: Wide(U256::from(1_000)),
    };
    let tally = Tally {
        proposal: Hash::ZERO,
        yes,
        no,
        abstain,
        work_yes: Wide(U256::from(work_yes)),
        work_no: Wide::default(),
        quorum_at: None,
    };
    (proposal, tally)
}

#[test]
fn quorum_and_majority_of_each_class_at_their_edges() {
    // Class, yes, no, abstentions of 10 000 shares, yes of 1 000 work; whether it passes.
    let table = [
        (Class::A, 1_000, 0, 0, 0, true),
        (Class::A, 999, 0, 0, 0, false),
        (Class::A, 501, 499, 0, 0, true),
        (Class::A, 500, 500, 0, 0, false),
        // Abstentions make the quorum and no majority.
        (Class::A, 1, 0, 999, 0, true),
        (Class::A, 0, 0, 1_000, 0, false),
        (Class::B, 2_000, 0, 0, 0, true),
        (Class::B, 1_999, 0, 0, 0, false),
        (Class::B, 1_001, 1_000, 0, 0, true),
        (Class::C, 3_300, 0, 0, 501, true),
        (Class::C, 3_300, 0, 0, 500, false),
        (Class::C, 3_299, 0, 0, 1_000, false),
        (Class::C, 6_601, 3_399, 0, 501, true),
        (Class::C, 6_600, 3_400, 0, 501, false),
        (Class::C, 10_000, 0, 0, 0, false),
        (Class::P, 3_300, 0, 0, 501, true),
        (Class::P, 3_300, 0, 0, 500, false),
        (Class::P, 6_600, 3_400, 0, 1_000, false),
    ];
    for (class, yes, no, abstain, work, passed) in table {
        let (proposal, tally) = case(class, yes, no, abstain, work);
        assert_eq!(passes(&proposal, &tally), passed, "{class:?} {yes} {no} {abstain} {work}");
    }
}

#[test]
fn deposits_burn_above_four_fifths_of_no() {
    for (yes, no, burned) in [(0, 1, true), (1, 4, false), (100, 401, true), (0, 0, false), (20, 80, false)] {
        assert_eq!(burns_deposit(&case(Class::A, yes, no, 0, 0).1), burned, "{yes} {no}");
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let (mut proposal, mut tally) = case(Class::C, u128::MAX, 0, 0, 0);
    (proposal.total, proposal.work) = (u128::MAX, Wide(U256::from(1) << 220));
    tally.work_yes = proposal.work;
    assert!(passes(&proposal, &tally) && is_certain(&proposal, &tally));
    (tally.no, tally.yes) = (u128::MAX, 0);
    assert!(!passes(&proposal, &tally) && burns_deposit(&tally));
}

#[test]
fn delays_are_those_of_the_table() {
    let (terms, day) = (GovernanceTerms::default(), 86_400);
    assert_eq!(
        [Class::A, Class::B, Class::C, Class::P].map(|class| terms.delay(class) / day),
        [1, 3, 14, 28]
    );
    assert_eq!((terms.voting_delay, terms.voting_period), (day, 5 * day));
    assert_eq!((terms.late_window, terms.late_extension), (day, 2 * day));
    // A pause of 3 days in epochs of 600 s; 14 days until another.
    assert_eq!((terms.pause_epochs * 600, terms.pause_gap), (3 * day, 14 * day));
}

#[test]
fn every_parameter_has_one_scope_and_a_name() {
    let policy = Default::default();
    let mut names = std::collections::BTreeSet::new();
    for parameter in Parameter::ALL {
        assert!(names.insert(parameter.what()));
        assert_eq!(parameter.in_policy(&policy).is_none(), parameter.of_network(), "{parameter:?}");
        let class = Motion::from(Changes {
            changes: crate::world::list(vec![Change { parameter: *parameter, old: 0, new: 1 }]),
        })
        .class();
        assert_eq!(class, parameter.class());
    }
    assert_eq!(names.len(), 22);
    // A motion with changes of several classes needs the strictest.
    let mixed = crate::hall::changes(&[(Parameter::Reserve, 0, 1), (Parameter::Theta, 0, 1)]);
    assert_eq!(mixed.class(), Class::C);
}
