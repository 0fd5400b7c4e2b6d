//! Lock the shares that voted until the votes on their proposals are closed (ownership specification 6.1).
//!
//! Each ballot keeps how many shares it locks and leads to the account's ballot before it. What is locked now
//! is the largest amount among ballots whose proposal is still open: the same shares may vote on several. The
//! chain is cleaned at each vote and when nothing in it locks any more, so it is no longer than the proposals that
//! were open at the last vote.

use crate::{
    keys,
    record::{Ballot, Proposal, ProposalState, VoteLock},
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// The account's ballots on proposals that take votes, newest first.
fn live(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<Vec<Ballot>, Stop> {
    let mut ballots = Vec::new();
    let Some(head) = view.get::<VoteLock>(&keys::vote_lock(run, account))? else { return Ok(ballots) };
    let mut at = head.newest;
    while at != Hash::ZERO {
        let (ballot, proposal) = (keys::ballot(&at, account), keys::proposal(&at));
        view.want([ballot, proposal])?;
        let Some(ballot) = view.get::<Ballot>(&ballot)? else { break };
        let proposal = view.get::<Proposal>(&proposal)?;
        at = ballot.older;
        if proposal.is_some_and(|proposal| proposal.state == ProposalState::Open) {
            ballots.push(ballot);
        }
    }
    Ok(ballots)
}

/// Shares of `account` that must not move now.
pub(crate) fn locked(view: &mut View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    let ballots = live(view, run, account)?;
    if ballots.is_empty() && view.get::<VoteLock>(&keys::vote_lock(run, account))?.is_some() {
        view.delete(keys::vote_lock(run, account));
    }
    Ok(ballots.iter().map(|ballot| ballot.locked).max().unwrap_or(0))
}

/// Put a new ballot at the head of its account's chain.
pub(crate) fn push(view: &mut View<'_>, run: &Hash, mut ballot: Ballot) -> Result<(), Stop> {
    let account = ballot.account;
    let chain = live(view, run, &account)?;
    let mut older = Hash::ZERO;
    for mut kept in chain.into_iter().rev() {
        let id = kept.proposal;
        kept.older = std::mem::replace(&mut older, id);
        view.put(keys::ballot(&id, &account), kept);
    }
    ballot.older = older;
    let newest = ballot.proposal;
    view.put(keys::ballot(&newest, &account), ballot);
    view.put(keys::vote_lock(run, &account), VoteLock { run: *run, account, newest });
    Ok(())
}
