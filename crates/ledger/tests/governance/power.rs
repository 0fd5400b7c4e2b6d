//! Compare votes with whole states of the past, through random transfers, proposals, votes and delegations.

use crate::{accounts::bond, hall::*, world::*};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{
    MemState, SignedTx,
    action::*,
    governance::{
        parameter::Parameter,
        record::{Proposal, ProposalState},
        terms::GovernanceTerms,
    },
    query,
};

const RANDOM: Domain = Domain::new("tessera/test/power/v1");
const ACCOUNTS: u32 = 9;

/// Whole states by height: what the ledger does not keep.
struct Past(BTreeMap<u64, MemState>);
impl Past {
    /// Shares (bonded U) of `account` at the end of the block before the proposal.
    fn votes(&self, proposal: &Proposal, account: u32) -> u128 {
        let state = &self.0[&(proposal.posted - 1)];
        let get = |key: &Hash| state.get(key);
        if proposal.run == Hash::ZERO {
            query::bond(get, &public(account)).map_or(0, |bond| bond.power())
        } else {
            query::owner(get, &proposal.run, &public(account)).map_or(0, |owner| owner.shares)
        }
    }
    fn work(&self, proposal: &Proposal, account: u32) -> ruint::aliases::U256 {
        let state = &self.0[&(proposal.posted - 1)];
        query::chamber_work(|key: &Hash| state.get(key), &proposal.run, &public(account))
            .map_or(ruint::aliases::U256::ZERO, |work| work.amount.0)
    }
}

fn random_tx(world: &mut World, random: &mut Prf, ids: &[Hash]) -> SignedTx {
    let who = random.below(ACCOUNTS.into()) as u32;
    let recent = &ids[ids.len().saturating_sub(6)..];
    let id = recent.get(random.below(recent.len().max(1) as u64) as usize).copied().unwrap_or_default();
    let choice = [Choice::Yes, Choice::No, Choice::Abstain][random.below(3) as usize];
    let other = public(random.below(ACCOUNTS.into()) as u32);
    match random.below(20) {
        0..8 => {
            let held = world.held_shares(who);
            let amount = if random.below(3) == 0 { held } else { held / 8 + 1 };
            world.tx(who, TransferShares { run: RUN, to: other, amount })
        }
        8 => {
            let run = if random.below(4) == 0 { Hash::ZERO } else { RUN };
            let reserve = change(Parameter::Reserve, 0, u128::from(random.below(50)) + 1);
            let fee = change(Parameter::FeeFlat, 1000, u128::from(random.below(50)) + 1);
            world.tx(who, motion(run, if run == RUN { reserve } else { fee }))
        }
        9 => {
            let to = (random.below(3) > 0).then_some(other);
            world.tx(who, Delegate { run: RUN, to })
        }
        10 => {
            let amount = 1_000_000 + u128::from(random.below(1 << 20));
            let action = bond(world, who, 600 + who, amount);
            world.tx(who, action)
        }
        11 if random.below(4) == 0 => world.tx(who, ValidatorUnbond {}),
        11..14 => {
            // For everybody who lets `who` vote.
            let of: BTreeSet<_> = (0..ACCOUNTS)
                .map(public)
                .filter(|account| {
                    query::delegation(world.get(), &RUN, account).is_some_and(|d| d.to == public(who))
                })
                .collect();
            world.tx(who, for_others(id, choice, of.into_iter().collect()))
        }
        14 => world.tx(who, Execute { proposal: id }),
        _ => world.tx(who, vote(id, choice)),
    }
}

#[test]
fn every_vote_counts_what_the_state_before_the_proposal_says() {
    let terms = GovernanceTerms { open_most: 2, ..GovernanceTerms::demo() };
    let seeds: u64 = std::env::var("TESSERA_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    let (mut ballots, mut later, mut refused_locks, mut proposals) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let mut random = Prf::new(RANDOM, &seed.to_be_bytes());
        let mut world = World::new(ACCOUNTS, with_terms(terms.clone())).trained();
        // Claims also mature while proposals are open.
        let other = Hash([4; 32]);
        world.seated_run(other, 2, 4);
        let mut past = Past(BTreeMap::from([(world.height, world.state.clone())]));
        let mut ids = Vec::new();
        for block in 0..150 {
            if block % 30 == 10 && block < 120 {
                world.close_window(other, 5_000_000);
                past.0.insert(world.height, world.state.clone());
            }
            let count = random.below(9);
            let txs: Vec<SignedTx> = (0..count).map(|_| random_tx(&mut world, &mut random, &ids)).collect();
            // Every block ends with the invariants: among them that the powers of all accounts at each open
            // proposal's snapshot sum to its totals, and that tallies are the sums of their ballots.
            let outcome = world.block(&txs);
            past.0.insert(world.height, world.state.clone());
            for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
                match &tx.body.action {
                    Action::Propose(_) if receipt.ok() => ids.push(receipt.tx),
                    Action::TransferShares(_) => {
                        let lock = matches!(receipt.error, Some(tessera_ledger::TxError::VoteLocked { .. }));
                        refused_locks += u32::from(lock);
                    }
                    _ => {}
                }
            }
        }
        for id in &ids {
            let proposal = world.proposal(id);
            let mut sum = 0;
            for account in 0..ACCOUNTS {
                let votes = past.votes(&proposal, account);
                sum += votes;
                let Some(ballot) = query::ballot(world.get(), id, &public(account)) else { continue };
                assert_eq!(ballot.votes, votes, "account {account}, {proposal:?}");
                assert_eq!(ballot.work.0, past.work(&proposal, account), "account {account}, {proposal:?}");
                ballots += 1;
                later += u32::from(votes != world.held_shares(account));
            }
            assert_eq!(sum, proposal.total, "{proposal:?}");
            if proposal.state == ProposalState::Open && world.height <= proposal.ends {
                for account in 0..ACCOUNTS {
                    let (votes, _) = query::power(world.get(), &proposal, &public(account));
                    assert_eq!(votes, past.votes(&proposal, account));
                }
            }
        }
        proposals += ids.len();
    }
    println!(
        "{proposals} proposals, {ballots} ballots, {later} with other holdings now, {refused_locks} locks held"
    );
    let enough = proposals > 60 && ballots > 100 && later > 80 && refused_locks > 20;
    assert!(seeds < 4 || enough);
}

/// The same people with the same shares decide the same, however many accounts they use and whoever casts.
#[test]
fn identities_and_delegation_change_no_outcome() {
    let mut random = Prf::new(RANDOM, b"split");
    let mut passed = 0;
    for _ in 0..12 {
        let likely = [Choice::Yes, Choice::Yes, Choice::Yes, Choice::No, Choice::Abstain];
        let choices = [0; 4].map(|_| likely[random.below(5) as usize]);
        let parameter = [Parameter::LockFee, Parameter::Theta][random.below(2) as usize];
        let what = if parameter == Parameter::Theta {
            change(parameter, 5000, 4000)
        } else {
            change(parameter, 1, 2)
        };
        let decide = |split: u64, delegate: bool, random: &mut Prf| {
            let mut world = World::voting_run(14);
            // Each owner spreads shares over accounts of its own: owner i has i, 4 + i, 8 + i.
            for owner in 0..4u32 {
                for part in 1..=split as u32 {
                    let amount = u128::from(random.below(world.held_shares(owner) as u64 / 2)) + 1;
                    assert!(world.give(owner, owner + 4 * part, amount).ok());
                }
            }
            let accounts = |owner: u32| (0..=split as u32).map(move |part| owner + 4 * part);
            let id = world.propose(13, RUN, what.clone());
            world.until_open(&id);
            for owner in 0..4u32 {
                let choice = choices[owner as usize];
                if delegate {
                    let of: Vec<_> = accounts(owner).map(public).collect();
                    let txs: Vec<SignedTx> = accounts(owner)
                        .map(|account| world.tx(account, Delegate { run: RUN, to: Some(public(12)) }))
                        .collect();
                    world.block(&txs);
                    world.ok(12, for_others(id, choice, of));
                } else {
                    let txs: Vec<SignedTx> =
                        accounts(owner).map(|account| world.tx(account, vote(id, choice))).collect();
                    assert!(world.block(&txs).receipts.iter().all(tessera_ledger::Receipt::ok));
                }
            }
            let tally = query::tally(world.get(), &id).unwrap();
            world.until_done(&id);
            let counts = (tally.yes, tally.no, tally.abstain, tally.work_yes, tally.work_no);
            (counts, world.stands(&id) == ProposalState::Executed)
        };
        let whole = decide(0, false, &mut random);
        for (split, delegate) in [(2, false), (0, true), (2, true)] {
            assert_eq!(decide(split, delegate, &mut random), whole, "{choices:?} {parameter:?}");
        }
        passed += u32::from(whole.1);
    }
    assert!((2..12).contains(&passed), "{passed} of 12 passed");
}

/// Votes, transfers, proposals and delegations of different accounts leave one state in any order, with and
/// without an earlier proposal that takes votes.
#[test]
fn the_order_of_independent_votes_does_not_show() {
    for earlier in [true, false] {
        let mut world = World::voting_run(12);
        // Holdings with a history.
        let first = world.propose(0, RUN, change(Parameter::Reserve, 0, 5));
        for from in 0..4 {
            assert!(world.give(from, 4 + from, 1_000).ok());
        }
        if earlier {
            world.until_open(&first);
        } else {
            world.until_done(&first);
            world.blocks(8);
        }
        let mut txs = vec![
            world.tx(2, TransferShares { run: RUN, to: public(9), amount: 77 }),
            world.tx(3, TransferShares { run: RUN, to: public(9), amount: 78 }),
            world.tx(4, motion(RUN, change(Parameter::LockFee, 1, 2))),
            world.tx(5, motion(RUN, change(Parameter::LockFee, 1, 3))),
            world.tx(6, TransferShares { run: RUN, to: public(10), amount: 7 }),
            world.tx(7, Delegate { run: RUN, to: Some(public(1)) }),
            world.tx(8, bond(&world, 8, 608, 1_000_000)),
            world.tx(9, bond(&world, 9, 609, 2_000_000)),
        ];
        if earlier {
            txs.push(world.tx(0, vote(first, Choice::Yes)));
            txs.push(world.tx(1, vote(first, Choice::No)));
        }
        let mut random = Prf::new(RANDOM, b"order");
        let mut roots = BTreeSet::new();
        for _ in 0..20 {
            let mut world = world.clone();
            let outcome = world.block(&txs);
            assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
            // Nor in what later changes keep of it.
            for from in [0, 1, 6] {
                world.run(from, TransferShares { run: RUN, to: public(11), amount: 1 });
            }
            world.blocks(20);
            roots.insert(world.state.root());
            txs = random.permutation(txs.len()).iter().map(|i| txs[*i as usize].clone()).collect();
        }
        assert_eq!(roots.len(), 1, "an earlier proposal: {earlier}");
    }
}
