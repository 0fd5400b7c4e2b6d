//! Count votes: each account's power once on each proposal, by itself or by one delegate.
//!
//! Power belongs to accounts, never to delegates: whoever votes for others names them, and each of them gets a
//! ballot of its own. So delegated power cannot count twice, a delegate's own delegators do not pass to another
//! delegate, and a delegation that is withdrawn works at once. An account that votes itself replaces what its
//! delegate said for it.

use crate::{
    error::TxError,
    event::{DelegationChanged, VoteCast, VotingExtended},
    governance::{
        action::{Choice, Delegate, Vote},
        history, lock, tally, terms,
    },
    keys,
    record::{Ballot, Bond, ChamberWork, Delegation, Owner, Proposal, ProposalState, Tally, Wide},
    store::{Stop, View},
};
use ruint::aliases::U256;
use tessera_canon::{Hash, PublicKey};

/// Active shares that vote for `account` now; bonded U where `run` is [`Hash::ZERO`].
pub(crate) fn holding(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    if *run == Hash::ZERO {
        return Ok(view.get::<Bond>(&keys::validator_bond(account))?.map_or(0, |bond| bond.power()));
    }
    match view.get::<Owner>(&keys::owner(run, account))? {
        Some(owner) => history::voting_shares(view, &owner),
        None => Ok(0),
    }
}

/// The cells that [`power`] reads first.
fn keys_of_power(run: &Hash, account: &PublicKey) -> [Hash; 5] {
    [
        keys::history(&history::shares_of(run, account)),
        keys::history(&history::work_of(run, account)),
        keys::chamber_work(run, account),
        if *run == Hash::ZERO { keys::validator_bond(account) } else { keys::owner(run, account) },
        keys::wrap(run, account),
    ]
}

/// Votes and work of `account` at the snapshot of a proposal posted in block `posted`.
pub(crate) fn power(
    view: &View<'_>,
    run: &Hash,
    account: &PublicKey,
    posted: u64,
) -> Result<(u128, Wide), Stop> {
    let (shares, work) = (history::shares_of(run, account), history::work_of(run, account));
    view.want(keys_of_power(run, account))?;
    let now = U256::from(holding(view, run, account)?);
    let votes = history::power(view, &shares, posted, now)?;
    let now =
        view.get::<ChamberWork>(&keys::chamber_work(run, account))?.map_or(U256::ZERO, |work| work.amount.0);
    let work = history::power(view, &work, posted, now)?;
    // Amounts of shares and of U are `u128`.
    Ok((votes.saturating_to(), Wide(work)))
}

/// Add a ballot to a tally, or take it out again.
fn count(tally: &mut Tally, ballot: &Ballot, add: bool) {
    let (votes, work) = match ballot.choice {
        Choice::Yes => (&mut tally.yes, Some(&mut tally.work_yes)),
        Choice::No => (&mut tally.no, Some(&mut tally.work_no)),
        Choice::Abstain => (&mut tally.abstain, None),
    };
    // Sums over accounts of what they held at one time: within the total, which is a `u128`.
    *votes = if add { *votes + ballot.votes } else { *votes - ballot.votes };
    if let Some(sum) = work {
        *sum = Wide(if add { sum.0 + ballot.work.0 } else { sum.0 - ballot.work.0 });
    }
}

pub(crate) fn vote(view: &mut View<'_>, sender: &PublicKey, action: &Vote) -> Result<(), Stop> {
    let id = action.proposal;
    view.want([keys::proposal(&id), keys::tally(&id), keys::governance()])?;
    let mut proposal: Proposal = view.must(&keys::proposal(&id), "proposal", id)?;
    let mut tally: Tally = view.must(&keys::tally(&id), "proposal", id)?;
    let height = view.context.height;
    if height < proposal.opens {
        return Err(TxError::Early { what: "voting", after: proposal.opens - 1, now: height }.into());
    }
    if proposal.state != ProposalState::Open || height > proposal.ends {
        return Err(TxError::Late { what: "voting", until: proposal.ends, now: height }.into());
    }
    if let Some(at) = action.of.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(TxError::NotAscending { what: "the accounts", at: at + 1 }.into());
    }
    let own = [*sender];
    let accounts: &[PublicKey] = if action.of.is_empty() { &own } else { &action.of };
    let run = proposal.run;
    view.want(accounts.iter().flat_map(|account| {
        let own =
            [keys::ballot(&id, account), keys::delegation(&run, account), keys::vote_lock(&run, account)];
        own.into_iter().chain(keys_of_power(&run, account))
    }))?;
    for account in accounts {
        cast(view, &proposal, &mut tally, sender, account, action.choice)?;
    }
    let terms = terms::of(view)?;
    if tally.quorum_at.is_none() && tally::has_quorum(&proposal, &tally) {
        tally.quorum_at = Some(height);
        if height.saturating_add(terms.late_window) > proposal.ends {
            proposal.ends = proposal.ends.saturating_add(terms.late_extension);
            view.emit(VotingExtended { proposal: id, ends: proposal.ends });
            view.put(keys::proposal(&id), proposal);
        }
    }
    view.put(keys::tally(&id), tally);
    Ok(())
}

fn cast(
    view: &mut View<'_>,
    proposal: &Proposal,
    tally: &mut Tally,
    sender: &PublicKey,
    account: &PublicKey,
    choice: Choice,
) -> Result<(), Stop> {
    let (id, run) = (proposal.id, proposal.run);
    if account != sender {
        let delegation = view.get::<Delegation>(&keys::delegation(&run, account))?;
        if delegation.is_none_or(|delegation| delegation.to != *sender) {
            return Err(TxError::NotDelegate { account: *account, got: *sender }.into());
        }
    }
    let key = keys::ballot(&id, account);
    if let Some(mut before) = view.get::<Ballot>(&key)? {
        if account != sender || before.by == *sender {
            return Err(TxError::Duplicate { what: "vote of", id: account.to_string() }.into());
        }
        // The account itself corrects its delegate; its power and its lock stay.
        count(tally, &before, false);
        (before.by, before.choice) = (*sender, choice);
        count(tally, &before, true);
        let votes = before.votes;
        view.put(key, before);
        view.emit(VoteCast { proposal: id, account: *account, by: *sender, choice, votes });
        return Ok(());
    }
    let (votes, work) = power(view, &run, account, proposal.posted)?;
    if votes == 0 && work == Wide::default() {
        return Err(TxError::NoPower { account: *account, posted: proposal.posted }.into());
    }
    // Bonded U needs no lock: it takes longer to leave than a vote takes.
    let locked = if run == Hash::ZERO { 0 } else { votes.min(holding(view, &run, account)?) };
    let ballot = Ballot {
        proposal: id,
        account: *account,
        by: *sender,
        choice,
        votes,
        work,
        locked,
        older: Hash::ZERO,
    };
    count(tally, &ballot, true);
    lock::push(view, &run, ballot)?;
    view.emit(VoteCast { proposal: id, account: *account, by: *sender, choice, votes });
    Ok(())
}

pub(crate) fn delegate(view: &mut View<'_>, sender: &PublicKey, action: &Delegate) -> Result<(), Stop> {
    let key = keys::delegation(&action.run, sender);
    view.want([key, keys::run(&action.run)])?;
    view.must::<crate::record::Run>(&keys::run(&action.run), "run", action.run)?;
    let before = view.get::<Delegation>(&key)?.map(|delegation| delegation.to);
    if action.to == before || action.to == Some(*sender) {
        return Err(TxError::Parameter {
            what: "the delegate",
            expected: "another account than before and than the sender, or nobody".into(),
            got: action.to.map_or_else(|| "nobody".into(), |to| to.short()),
        }
        .into());
    }
    match action.to {
        Some(to) => view.put(key, Delegation { run: action.run, account: *sender, to }),
        None => view.delete(key),
    }
    view.emit(DelegationChanged { run: action.run, account: *sender, to: action.to });
    Ok(())
}
