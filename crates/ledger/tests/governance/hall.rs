//! Help tests to propose and to vote in few words.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use crate::world::*;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    action::*,
    block::Receipt,
    genesis::Parameters,
    governance::{
        parameter::Parameter,
        record::{Proposal, ProposalState},
        terms::GovernanceTerms,
    },
    query,
    runs::policy::Policy,
};

pub const DEPOSIT: u128 = 1_000_000;

/// Epochs of 4 blocks; votes of 10 blocks after 2. Shares move freely as soon as they are active, so that only
/// votes hold them.
pub fn parameters() -> Parameters {
    let parameters = Parameters::from(params());
    let policy = Policy { transfer_lock: 0, ..parameters.policy.clone() };
    Parameters { policy, ..parameters }
}
/// As [`parameters`] with other rules of voting.
pub fn with_terms(terms: GovernanceTerms) -> Parameters {
    Parameters { governance: terms, ..parameters() }
}
pub fn change(parameter: Parameter, old: u128, new: u128) -> Motion {
    changes(&[(parameter, old, new)])
}
pub fn changes(list_of: &[(Parameter, u128, u128)]) -> Motion {
    let changes =
        list_of.iter().map(|&(parameter, old, new)| Change { parameter, old, new }).collect::<Vec<_>>();
    Changes { changes: list(changes) }.into()
}
pub fn motion(run: Hash, motion: impl Into<Motion>) -> Propose {
    let motion = motion.into();
    Propose { run, class: motion.class(), motion, deposit: DEPOSIT, not_before: 0 }
}
pub fn vote(proposal: Hash, choice: Choice) -> Vote {
    Vote { proposal, choice, of: list(vec![]) }
}
pub fn for_others(proposal: Hash, choice: Choice, mut of: Vec<PublicKey>) -> Vote {
    of.sort_unstable();
    Vote { proposal, choice, of: list(of) }
}

impl World {
    /// As [`World::serving_run`], with [`parameters`].
    pub fn voting_run(accounts: u32) -> Self {
        Self::new(accounts, parameters()).trained()
    }
    /// The run of [`World::serving_run`] in this world.
    pub fn trained(mut self) -> Self {
        self.seated_run(RUN, 2, 4);
        for window in 0..4 {
            self.close_window(RUN, 10_000_000 - window * 1_000_000);
        }
        self.blocks(12);
        self
    }
    /// Post a motion; returns the proposal's id.
    pub fn propose(&mut self, sender: u32, run: Hash, what: impl Into<Motion>) -> Hash {
        self.ok(sender, motion(run, what)).tx
    }
    pub fn proposal(&self, id: &Hash) -> Proposal {
        query::proposal(self.get(), id).expect("the proposal exists")
    }
    pub fn stands(&self, id: &Hash) -> ProposalState {
        self.proposal(id).state
    }
    /// Blocks until votes are taken in the next one.
    pub fn until_open(&mut self, id: &Hash) {
        while self.height + 1 < self.proposal(id).opens {
            self.blocks(1);
        }
    }
    pub fn votes(&mut self, id: &Hash, choice: Choice, accounts: impl IntoIterator<Item = u32>) {
        self.until_open(id);
        for account in accounts {
            self.ok(account, vote(*id, choice));
        }
    }
    /// Blocks until neither a vote nor a delay is left.
    pub fn until_done(&mut self, id: &Hash) {
        while matches!(self.stands(id), ProposalState::Open | ProposalState::Passed) {
            self.blocks(1);
        }
    }
    /// All four owners of a serving run say yes; the result.
    pub fn carry(&mut self, run: Hash, what: impl Into<Motion>) -> ProposalState {
        let id = self.propose(0, run, what);
        self.votes(&id, Choice::Yes, 0..4);
        self.until_done(&id);
        self.stands(&id)
    }
    pub fn policy(&self) -> Policy {
        query::run_policy(self.get(), &RUN).expect("the run exists").policy
    }
    pub fn held_shares(&self, of: u32) -> u128 {
        query::owner(self.get(), &RUN, &public(of)).map_or(0, |owner| owner.shares)
    }
    pub fn active(&self) -> u128 {
        query::credits(self.get(), &RUN).expect("the run exists").active
    }
    pub fn give(&mut self, from: u32, to: u32, amount: u128) -> Receipt {
        self.run(from, TransferShares { run: RUN, to: public(to), amount })
    }
    /// The refusal's variant.
    pub fn refused(&mut self, sender: u32, action: impl Into<Action>) -> String {
        let error = self.run(sender, action).error.expect("it is refused");
        format!("{error:?}").split([' ', '{', '(']).next().unwrap_or_default().to_string()
    }
}
