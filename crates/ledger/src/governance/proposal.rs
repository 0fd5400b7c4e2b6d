//! Post proposals, close their votes and carry out what passed, when its time has come.

use crate::{
    account,
    error::TxError,
    event::{Executed, Proposed, VotingEnded},
    governance::{
        action::{Execute, Motion, Propose},
        enact, history, tally, terms,
    },
    keys,
    record::{Credits, Proposal, ProposalMotion, ProposalState, Proposer, Tally, Wide},
    store::{Stop, View},
};
use ruint::aliases::U256;
use tessera_canon::{Hash, PublicKey, Text};

fn parameter(what: &'static str, expected: impl ToString, got: impl ToString) -> Stop {
    TxError::Parameter { what, expected: expected.to_string(), got: got.to_string() }.into()
}

/// Both chambers as they were at the end of the block before this one.
fn totals(view: &View<'_>, run: &Hash) -> Result<(u128, Wide), Stop> {
    let height = view.context.height;
    let (shares, work) = (history::all_shares(run), history::all_work(run));
    view.want([keys::history(&shares), keys::history(&work), keys::assembly(run)])?;
    let now = if *run == Hash::ZERO {
        view.get::<crate::record::ValidatorTotals>(&keys::validator_totals())?.map_or(0, |all| all.bonded)
    } else {
        view.must::<Credits>(&keys::credits(run), "run", run)?.active
    };
    let total = history::power(view, &shares, height, U256::from(now))?;
    let now = history::assembly(view, run)?.work.0;
    Ok((total.saturating_to(), Wide(history::power(view, &work, height, now)?)))
}

pub(crate) fn propose(
    view: &mut View<'_>,
    id: &Hash,
    sender: &PublicKey,
    action: &Propose,
) -> Result<(), Stop> {
    let (run, height) = (action.run, view.context.height);
    view.want([keys::governance(), keys::proposer(sender), keys::assembly(&run), keys::params()])?;
    let terms = terms::of(view)?;
    if action.class != action.motion.class() {
        return Err(parameter(
            "the class of the motion",
            format!("{:?}", action.motion.class()),
            format!("{:?}", action.class),
        ));
    }
    enact::check(view, &run, &action.motion)?;
    let open = view.get::<Proposer>(&keys::proposer(sender))?.map_or(0, |proposer| proposer.open);
    if open >= terms.open_most {
        return Err(TxError::TooMany { what: "open proposals", max: terms.open_most.into() }.into());
    }
    if action.deposit < terms.deposit {
        return Err(parameter("the deposit", format!("at least {}", terms.deposit), action.deposit));
    }
    // A proposal that waits is looked at in every epoch: not for ever.
    let year = terms.year_epochs.saturating_mul(view.params()?.epoch_blocks.max(1));
    let latest = height.saturating_add(year);
    if action.not_before > latest {
        let what = "the height before which it is not executed";
        return Err(parameter(what, format!("at most {latest}"), action.not_before));
    }
    let (total, work) = totals(view, &run)?;
    if total == 0 {
        return Err(TxError::Shares { needed: 1, got: 0 }.into());
    }
    account::debit(view, sender, action.deposit)?;
    view.put(keys::proposer(sender), Proposer { account: *sender, open: open + 1 });
    // A pause is for emergencies: it can be voted on at once.
    let delay = if matches!(action.motion, Motion::PauseRun(_)) { 0 } else { terms.voting_delay };
    let opens = height.saturating_add(delay.max(1));
    let ends = opens.saturating_add(terms.voting_period.max(1) - 1);
    let mut assembly = history::assembly(view, &run)?;
    if assembly.latest != height {
        (assembly.earlier, assembly.busy_before) = (assembly.latest, assembly.busy_until);
    }
    assembly.latest = height;
    assembly.busy_until = assembly.busy_until.max(ends.saturating_add(terms.late_extension));
    view.put(keys::assembly(&run), assembly);
    view.put(
        keys::proposal(id),
        Proposal {
            id: *id,
            run,
            proposer: *sender,
            class: action.class,
            state: ProposalState::Open,
            posted: height,
            opens,
            ends,
            ready: action.not_before,
            deposit: action.deposit,
            total,
            work,
        },
    );
    view.put(keys::motion(id), ProposalMotion { proposal: *id, motion: action.motion.clone() });
    view.put(
        keys::tally(id),
        Tally {
            proposal: *id,
            yes: 0,
            no: 0,
            abstain: 0,
            work_yes: Wide::default(),
            work_no: Wide::default(),
            quorum_at: None,
        },
    );
    view.list_add(keys::list_of_pending_proposals(), *id);
    view.list_add(keys::list_of_proposals(&run), *id);
    view.emit(Proposed { proposal: *id, run, proposer: *sender, class: action.class, opens, ends });
    Ok(())
}

/// Bring a proposal as far as this height allows. Returns whether anything changed.
fn advance(view: &mut View<'_>, id: &Hash) -> Result<bool, Stop> {
    view.want([keys::proposal(id), keys::tally(id), keys::motion(id), keys::governance()])?;
    let (Some(mut proposal), Some(tally), Some(motion)) = (
        view.get::<Proposal>(&keys::proposal(id))?,
        view.get::<Tally>(&keys::tally(id))?,
        view.get::<ProposalMotion>(&keys::motion(id))?,
    ) else {
        return Ok(false);
    };
    let (height, before) = (view.context.height, proposal.state);
    if proposal.state == ProposalState::Open {
        // A pause need not wait for the end once no vote could stop it.
        let certain = matches!(motion.motion, Motion::PauseRun(_)) && tally::is_certain(&proposal, &tally);
        if height > proposal.ends || certain {
            close(view, &mut proposal, &tally, &motion.motion)?;
        }
    }
    if proposal.state == ProposalState::Passed && height >= proposal.ready {
        let enacted = view.attempt(|view| enact::enact(view, &proposal.run, &motion.motion))?;
        let mut reason = String::new();
        proposal.state = match enacted {
            Ok(()) => ProposalState::Executed,
            Err(error) => {
                reason = error.to_string();
                let stale = matches!(error, TxError::Stale { .. });
                if stale { ProposalState::Stale } else { ProposalState::Failed }
            }
        };
        while reason.len() > 128 {
            reason.pop();
        }
        let reason = Text::new(reason).unwrap_or_default();
        view.emit(Executed { proposal: *id, state: proposal.state, reason });
    }
    if proposal.state == before {
        return Ok(false);
    }
    if !matches!(proposal.state, ProposalState::Open | ProposalState::Passed) {
        view.list_remove(keys::list_of_pending_proposals(), *id);
    }
    view.put(keys::proposal(id), proposal);
    Ok(true)
}

/// End the vote: the result, the deposit and the timelock.
fn close(view: &mut View<'_>, proposal: &mut Proposal, tally: &Tally, motion: &Motion) -> Result<(), Stop> {
    let passed = tally::passes(proposal, tally);
    proposal.state = if passed { ProposalState::Passed } else { ProposalState::Rejected };
    let deposit = std::mem::take(&mut proposal.deposit);
    let burned = if tally::burns_deposit(tally) { deposit } else { 0 };
    if burned > 0 {
        account::burn(view, burned)?;
    } else {
        account::credit(view, &proposal.proposer, deposit)?;
    }
    let terms = terms::of(view)?;
    let pause = matches!(motion, Motion::PauseRun(_));
    let delay = if pause { 0 } else { terms.delay(proposal.class) };
    // The delay runs from the end of the vote, not from when somebody closes it.
    let ended = proposal.ends.min(view.context.height);
    proposal.ready = proposal.ready.max(ended.saturating_add(delay));
    if let Some(mut proposer) = view.get::<Proposer>(&keys::proposer(&proposal.proposer))? {
        proposer.open = proposer.open.saturating_sub(1);
        if proposer.open == 0 {
            view.delete(keys::proposer(&proposal.proposer));
        } else {
            view.put(keys::proposer(&proposal.proposer), proposer);
        }
    }
    view.emit(VotingEnded {
        proposal: proposal.id,
        passed,
        yes: tally.yes,
        no: tally.no,
        total: proposal.total,
        burned,
        ready: proposal.ready,
    });
    Ok(())
}

pub(crate) fn execute(view: &mut View<'_>, action: &Execute) -> Result<(), Stop> {
    let id = &action.proposal;
    let proposal: Proposal = view.must(&keys::proposal(id), "proposal", id)?;
    if advance(view, id)? {
        return Ok(());
    }
    let now = view.context.height;
    Err(match proposal.state {
        ProposalState::Open => TxError::Early { what: "the end of the vote", after: proposal.ends, now },
        ProposalState::Passed => {
            TxError::Early { what: "execution", after: proposal.ready.saturating_sub(1), now }
        }
        ProposalState::Rejected => TxError::Closed { proposal: *id, got: "rejected" },
        ProposalState::Executed => TxError::Closed { proposal: *id, got: "executed" },
        ProposalState::Stale => TxError::Closed { proposal: *id, got: "stale" },
        ProposalState::Failed => TxError::Closed { proposal: *id, got: "failed" },
    }
    .into())
}

/// Step 9 of an epoch boundary: every proposal whose time has come, the oldest first.
pub(crate) fn boundary(view: &mut View<'_>) -> Result<(), Stop> {
    let list = keys::list_of_pending_proposals();
    view.want([keys::list_length(&list)])?;
    let ids = view.list_items(&list)?;
    view.want(ids.iter().flat_map(|id| [keys::proposal(id), keys::tally(id), keys::motion(id)]))?;
    let mut order = Vec::with_capacity(ids.len());
    for id in ids {
        let posted = view.get::<Proposal>(&keys::proposal(&id))?.map_or(0, |proposal| proposal.posted);
        order.push((posted, id));
    }
    order.sort_unstable();
    for (_, id) in order {
        advance(view, &id)?;
    }
    Ok(())
}
