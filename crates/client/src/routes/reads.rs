//! Answer queries from proved cells. Each function runs several times and must tolerate missing cells.

use super::{Args, Problem};
use crate::{
    View,
    json::{exact, json},
};
use serde_json::{Value, json as object};
use tessera_canon::{Describe, Hash};
use tessera_ledger::{Key, keys, query, record::*};

pub(super) type Found = Result<Option<Value>, Problem>;

pub(super) fn one(record: Option<impl Describe>) -> Found {
    Ok(record.as_ref().map(json))
}

/// A page of the list `id`: its length, and what `item` makes of each id.
pub(super) fn page(
    view: &View,
    args: &Args,
    id: &Hash,
    mut item: impl FnMut(&Hash) -> Option<Value>,
) -> Found {
    let (from, limit) = args.page()?;
    let total = view.read::<ListLength>(&keys::list_length(id)).map_or(0, |length| length.count);
    let slots = from.min(total)..from.saturating_add(limit).min(total);
    // Look at every cell of a round before the next, so that all are fetched together.
    let ids: Vec<Option<ListSlot>> = slots.clone().map(|at| view.read(&keys::list_slot(id, at))).collect();
    let items: Vec<Value> = ids.iter().flatten().filter_map(|slot| item(&slot.id)).collect();
    let next = (slots.end < total).then(|| exact(slots.end));
    Ok(Some(object!({ "total": exact(total), "from": exact(from), "next": next, "items": items })))
}

pub(super) fn network(view: &View, _: &Args) -> Found {
    let (globals, params) = (query::globals(view.source()), query::params(view.source()));
    let runs = view.read::<ListLength>(&keys::list_length(&keys::list_of_runs())).map_or(0, |l| l.count);
    Ok(globals.zip(params).map(|(globals, params)| {
        object!({ "money": json(&globals), "params": json(&params), "runs": exact(runs) })
    }))
}

fn run_json(view: &View, run: &Hash) -> Option<Value> {
    let (terms, state, credits) = (
        query::run_terms(view.source(), run),
        query::run(view.source(), run),
        query::credits(view.source(), run),
    );
    Some(object!({
        "run": run, "terms": json(&terms?), "state": json(&state?), "credits": credits.as_ref().map(json),
    }))
}

pub(super) fn runs(view: &View, args: &Args) -> Found {
    page(view, args, &keys::list_of_runs(), |run| {
        let (terms, state) = (query::run_terms(view.source(), run), query::run(view.source(), run));
        let (terms, state) = (terms?, state?);
        Some(object!({
            "run": run, "creator": terms.creator, "state": state.state.describe(), "windows": terms.windows(),
            "window": state.window, "loss_min": state.loss_min, "created": exact(terms.created),
        }))
    })
}

pub(super) fn run(view: &View, args: &Args) -> Found {
    Ok(run_json(view, &args.hash("run")?))
}

pub(super) fn owner(view: &View, args: &Args) -> Found {
    let (run, account) = (args.hash("run")?, args.key("account")?);
    let due = query::due_credits(view.source(), &run, &account);
    Ok(query::owner(view.source(), &run, &account).map(|owner| {
        let mut shown = json(&owner);
        shown["credits_due"] = exact(due);
        shown
    }))
}

pub(super) fn pool(view: &View, args: &Args) -> Found {
    let credits = query::credits(view.source(), &args.hash("run")?);
    Ok(credits.map(|c| {
        object!({
            "run": c.run, "pool": exact(c.pool), "distributed": exact(c.owner_in), "claimed": exact(c.owner_out),
            "active_shares": exact(c.active), "acc": c.acc.describe(), "rem": exact(c.rem),
        })
    }))
}

pub(super) fn supply(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let (terms, state, credits) = (
        query::run_terms(view.source(), &run),
        query::run(view.source(), &run),
        query::credits(view.source(), &run),
    );
    let (Some(terms), Some(state), Some(c)) = (terms, state, credits) else { return Ok(None) };
    Ok(Some(object!({
        "run": run, "total": exact(c.total), "declared": exact(terms.supply), "parts": terms.supply_epochs,
        "minted_parts": state.minted_parts, "pool": exact(c.pool), "notes": exact(c.notes),
        "auctioned": exact(c.auctioned), "locked": exact(c.locked),
        "due_to_owners": exact(c.owner_in.saturating_sub(c.owner_out)), "series": c.series,
    })))
}

pub(super) fn stage(view: &View, args: &Args) -> Found {
    let (run, at) = (args.hash("run")?, args.short("stage")?);
    let stage = query::stage(view.source(), &run, at);
    let seats = query::seats_of_stage(view.source(), &run, at);
    Ok(stage
        .map(|stage| object!({ "stage": json(&stage), "seats": seats.iter().map(json).collect::<Vec<_>>() })))
}

pub(super) fn stages(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let Some(terms) = query::run_terms(view.source(), &run) else { return Ok(None) };
    let stages: Vec<Option<Stage>> =
        (0..terms.stages).map(|stage| query::stage(view.source(), &run, stage)).collect();
    let stages: Vec<Value> = stages.iter().flatten().map(json).collect();
    Ok(Some(object!({ "run": run, "items": stages })))
}

pub(super) fn window(view: &View, args: &Args) -> Found {
    let (run, at) = (args.hash("run")?, args.number("window")?);
    let at = u32::try_from(at)
        .map_err(|_| Problem::argument("window", "an integer of at most 32 bits", &at.to_string()))?;
    let (window, terms) = (query::window(view.source(), &run, at), query::run_terms(view.source(), &run));
    let stages = 0..terms.map_or(0, |terms| terms.stages);
    let reports: Vec<Option<StageReport>> =
        stages.map(|stage| query::stage_report(view.source(), &run, at, stage)).collect();
    let reports: Vec<Value> = reports.iter().flatten().map(json).collect();
    Ok(window.map(|window| object!({ "window": json(&window), "reports": reports })))
}

pub(super) fn claims(view: &View, args: &Args) -> Found {
    let (run, window, stage) = (args.hash("run")?, args.number("window")?, args.short("stage")?);
    let window = u32::try_from(window)
        .map_err(|_| Problem::argument("window", "an integer of at most 32 bits", &window.to_string()))?;
    let report = query::stage_report(view.source(), &run, window, stage);
    let claims = query::claims_of_stage(view.source(), &run, window, stage);
    Ok(report.map(
        |report| object!({ "report": json(&report), "items": claims.iter().map(json).collect::<Vec<_>>() }),
    ))
}

pub(super) fn seat(view: &View, args: &Args) -> Found {
    one(query::seat(view.source(), &args.hash("run")?, args.short("stage")?, args.short("seat")?))
}

pub(super) fn member(view: &View, args: &Args) -> Found {
    one(query::member(view.source(), &args.hash("run")?, &args.key("account")?))
}

pub(super) fn account(view: &View, args: &Args) -> Found {
    let key = args.key("account")?;
    Ok(query::account(view.source(), &key).map(|account| {
        let mut shown = json(&account);
        shown["owner_hash"] = object!(keys::owner_hash(&key));
        shown
    }))
}

pub(super) fn portfolio(view: &View, args: &Args) -> Found {
    let key = args.key("account")?;
    page(view, args, &keys::list_of_holdings(&key), |run| {
        let due = query::due_credits(view.source(), run, &key);
        let mut shown = json(&query::owner(view.source(), run, &key)?);
        shown["credits_due"] = exact(due);
        Some(shown)
    })
}

pub(super) fn notes(view: &View, args: &Args) -> Found {
    let list = keys::list_of_notes(&keys::owner_hash(&args.key("account")?));
    page(view, args, &list, |id| query::note(view.source(), id).as_ref().map(json))
}

pub(super) fn note(view: &View, args: &Args) -> Found {
    one(query::note(view.source(), &args.hash("note")?))
}

pub(super) fn order(view: &View, args: &Args) -> Found {
    let id = args.hash("order")?;
    let (lock, escrow, settlement) = (
        query::lock(view.source(), &id),
        query::escrow(view.source(), &id),
        query::settlement(view.source(), &id),
    );
    Ok(lock.map(|lock| {
        object!({
            "lock": json(&lock), "escrow": escrow.as_ref().map(json), "settlement": settlement.as_ref().map(json),
        })
    }))
}

/// The home and what it was drawn from, so that anyone can draw it again.
pub(super) fn home(view: &View, args: &Args) -> Found {
    let id = args.hash("order")?;
    let (lock, escrow) = (query::lock(view.source(), &id), query::escrow(view.source(), &id));
    Ok(lock.zip(escrow).map(|(lock, escrow)| {
        object!({
            "order": id, "home": lock.home, "attempt": lock.attempt, "locked_at": exact(lock.locked_at),
            "beacon": escrow.beacon, "first_note": escrow.first_note,
        })
    }))
}

pub(super) fn policy(view: &View, args: &Args) -> Found {
    one(query::run_policy(view.source(), &args.hash("run")?))
}

pub(super) fn extraction(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let report = query::extraction(view.source(), &run);
    let measurements = query::measurements(view.source(), &run);
    let Some(_) = query::run_terms(view.source(), &run) else { return Ok(None) };
    Ok(Some(object!({
        "run": run, "report": report.as_ref().map(json),
        "measurements": measurements.iter().map(json).collect::<Vec<_>>(),
    })))
}

pub(super) fn evaluation(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let committee = query::committee(view.source(), &run);
    Ok(query::evaluation(view.source(), &run).map(|evaluation| {
        object!({
            "evaluation": json(&evaluation), "committee": committee.iter().map(json).collect::<Vec<_>>(),
        })
    }))
}

pub(super) fn children(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let (terms, lineage) = (query::run_terms(view.source(), &run), query::lineage(view.source(), &run));
    let children = page(view, args, &keys::list_of_children(&run), |child| Some(object!(child)))?;
    Ok(terms.and(children).map(|mut children| {
        children["lineage"] = object!(lineage.as_ref().map(json));
        children
    }))
}

pub(super) fn proposals(view: &View, args: &Args) -> Found {
    let list = keys::list_of_proposals(&args.hash("run")?);
    page(view, args, &list, |id| query::proposal(view.source(), id).as_ref().map(json))
}

pub(super) fn proposal(view: &View, args: &Args) -> Found {
    let id = args.hash("proposal")?;
    let (proposal, motion, tally) = (
        query::proposal(view.source(), &id),
        query::motion(view.source(), &id),
        query::tally(view.source(), &id),
    );
    Ok(proposal.map(|proposal| {
        object!({
            "proposal": json(&proposal), "motion": motion.as_ref().map(json), "tally": tally.as_ref().map(json),
        })
    }))
}

pub(super) fn power(view: &View, args: &Args) -> Found {
    let (id, account) = (args.hash("proposal")?, args.key("account")?);
    let Some(proposal) = query::proposal(view.source(), &id) else { return Ok(None) };
    let (votes, work) = query::power(view.source(), &proposal, &account);
    let ballot = query::ballot(view.source(), &id, &account);
    Ok(Some(object!({
        "proposal": id, "account": account, "posted": exact(proposal.posted), "votes": exact(votes),
        "work": work.to_string(), "ballot": ballot.as_ref().map(json),
    })))
}

pub(super) fn validators(view: &View, _: &Args) -> Found {
    let (set, issuance) = (query::validator_set(view.source()), query::issuance(view.source()));
    let bonds = view.read::<ListLength>(&keys::list_length(&keys::list_of_bonds())).map_or(0, |l| l.count);
    Ok(Some(object!({
        "set": set.as_ref().map(json), "issuance": issuance.as_ref().map(json), "bonds": exact(bonds),
    })))
}

pub(super) fn bond(view: &View, args: &Args) -> Found {
    one(query::bond(view.source(), &args.key("account")?))
}

/// The record at a key, whatever it is.
pub(super) fn cell(view: &View, args: &Args) -> Found {
    let key: Key = args.hash("key")?;
    let record = view.cell(&key).map(|cell| cell.unpack().as_ref().map(json));
    Ok(Some(object!({ "key": key, "present": record.is_some(), "record": record.flatten() })))
}
