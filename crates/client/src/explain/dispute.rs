//! Tell a dispute: who accused whom of which work, which messages came, what was found, and what it cost whom.
//!
//! A dispute has the name of the claim that it is about. Its cell is gone when it ends, so everything is told by proved events
//! and transactions: those that name it, and of the blocks in which it began and ended those that name the accused or the run,
//! where the accusation, the penalty and an order to go back stand. The ledger emits them before the dispute's end, in one
//! piece; that is how they are told from those of another dispute in the same block.

use super::{Explanation, Fact, Facts, Part, Subject, Unit, rules};
use crate::{Client, LedgerError, Source, amount};
use std::collections::BTreeMap;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Action, Event, SignedTx,
    action::{Accusation, Step},
    event::{DisputeClosed, DisputeOpened, Reason},
    query,
    record::{Claim, ClaimState, Dispute, DisputePhase, Verdict},
};

/// In words.
fn said(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None => "ended open: nobody was found wrong",
        Some(Verdict::Innocent) => "the claim is right",
        Some(Verdict::HonestError) => "the claim is wrong within what honest work may be",
        Some(Verdict::Mismatch) => "the claim is wrong",
        Some(Verdict::Fraud) => "the claim is a fraud",
    }
}

/// Who has the turn, in words.
fn turn(phase: DisputePhase) -> &'static str {
    match phase {
        DisputePhase::Panel => "a panel judges, or its loser escalates",
        DisputePhase::Accuse => "the challenger must bring its accusation",
        DisputePhase::Commit => "the accused must commit to the next level",
        DisputePhase::Name => "the challenger must name what is false",
        DisputePhase::Prove => "the accused must prove the last step",
        DisputePhase::Open => "the accused must open its claim",
        DisputePhase::Weigh => "the challenger must say whether the opened claim is false",
    }
}

fn accused_of(accusation: &Accusation) -> String {
    let Accusation { kind, generation, step, evidence, .. } = accusation;
    format!("false work ({kind:?}) in step {step} of generation {generation}, evidence {evidence}")
}

/// A message of the dispute, in words.
fn message(step: &Step) -> String {
    match step {
        Step::Commit(commit) => format!("committed to {} bytes of a level", commit.children.len()),
        Step::NameChild(name) => {
            format!("named child {} of {} as false", name.child.path.index, name.child.path.count)
        }
        Step::Prove(prove) => format!("sent part {} of the proof, {} bytes", prove.at, prove.part.len()),
        Step::Escalate(escalate) => {
            format!("asked for the game with a bond of {} U", amount::show(escalate.bond))
        }
        Step::Accuse(accusation) => format!("accused of {}", accused_of(accusation)),
        Step::Open(opening) => format!("opened its claim, {} bytes", opening.claim.len()),
        Step::Proceed(_) => "said that the opened claim is false".into(),
    }
}

/// What a transaction has to do with dispute `id` of `claim`.
fn of_tx(tx: &SignedTx, id: &Hash, claim: &Claim) -> Option<String> {
    let same =
        |run: &Hash, window: u32, stage: u16| (*run, window, stage) == (claim.run, claim.window, claim.stage);
    match &tx.body.action {
        Action::OpenDispute(open) if same(&open.run, open.window, open.stage) => {
            Some(match &open.accusation {
                Some(accusation) => format!("accused of {}", accused_of(accusation)),
                None => "asked for a panel".into(),
            })
        }
        Action::DemandOpening(demand) if same(&demand.run, demand.window, demand.stage) => Some(format!(
            "demanded to see what was committed to at place {} of step {}, generation {}",
            demand.unit, demand.step, demand.generation
        )),
        Action::Contradict(told) if same(&told.dispute.run, told.dispute.window, told.dispute.stage) => {
            let of = told.dispute.accusation.as_ref().map(accused_of).unwrap_or_default();
            Some(format!("showed two signatures that contradict each other: {of}"))
        }
        Action::DisputeStep(step) if step.dispute == *id => Some(message(&step.step)),
        Action::ResolveDispute(resolve) if resolve.dispute == *id => Some("closed it after its turn".into()),
        _ => None,
    }
}

/// What an event says of dispute `id`, if it is one of its own.
fn of_event(event: &Event, id: &Hash) -> Option<String> {
    Some(match event {
        Event::DisputeOpened(opened) if opened.dispute == *id => format!(
            "opened: {} against {}, window {}, stage {}; bond {} U",
            opened.challenger,
            opened.accused,
            opened.window,
            opened.stage,
            amount::show(opened.bond)
        ),
        Event::DisputeMoved(moved) if moved.dispute == *id => {
            format!("level {}: {}, until height {}", moved.level, turn(moved.phase), moved.deadline)
        }
        Event::Contradicted(told) if told.dispute == *id => format!(
            "the accused signed something else than it claims of step {}, generation {}",
            told.step, told.generation
        ),
        Event::DisputeClosed(closed) if closed.dispute == *id => {
            let by = if closed.game { "the referee, or a turn that was let pass" } else { "a panel" };
            format!("closed by {by}: {}", said(closed.verdict))
        }
        _ => return None,
    })
}

/// What a verdict's own events say.
fn consequence(event: &Event, accused: &PublicKey, run: &Hash) -> Option<String> {
    Some(match event {
        Event::Slashed(slashed) if slashed.account == *accused && slashed.run == *run => format!(
            "cost the accused {} pending shares and {} of the next, {} U of its bond ({} U of it to the challenger); barred until {}",
            slashed.voided,
            slashed.debt,
            amount::show(slashed.bond),
            amount::show(slashed.to_challenger),
            slashed.barred_until
        ),
        Event::RolledBack(back) if back.run == *run => {
            format!(
                "the run goes back to the state before step {} (generation {})",
                back.step, back.generation
            )
        }
        Event::FalseAudit(audit) => {
            format!(
                "auditor {} was refuted and lost {} U of its bond",
                audit.auditor,
                amount::show(audit.bond)
            )
        }
        _ => return None,
    })
}

/// The consequences of a dispute's end: those between the end before it in the block and its own.
fn consequences<'a>(facts: &'a Facts, end: &'a Fact, claim: &'a Claim) -> Vec<(&'a Fact, String)> {
    let before = |fact: &&Fact| fact.height == end.height && fact.event().is_some() && fact.at < end.at;
    let all = facts.items.iter().filter(before);
    let from = all
        .clone()
        .filter(|fact| matches!(fact.event(), Some(Event::DisputeClosed(_))))
        .map(|fact| fact.at)
        .max();
    let mine = all.filter(|fact| from.is_none_or(|from| fact.at > from));
    mine.filter_map(|fact| Some((fact, consequence(fact.event()?, &claim.account, &claim.run)?))).collect()
}

/// How the money that a dispute holds came and went.
fn money(facts: &Facts, id: &Hash, rewards: &BTreeMap<(u64, u32), u128>) -> Vec<rules::Change> {
    let changes = facts.items.iter().filter_map(|fact| {
        let (plus, amount, what) = match fact.event()? {
            Event::Charged(charged) if charged.of == *id && charged.reason == Reason::DisputeBond => {
                (true, charged.amount, format!("bond of {}", charged.account))
            }
            Event::Credited(paid) if paid.of == *id && paid.reason == Reason::DisputeBond => {
                (false, paid.amount, format!("bond back to {}", paid.account))
            }
            Event::Credited(paid) if paid.of == *id && paid.reason == Reason::DisputeWon => {
                (false, paid.amount, format!("from the losing side to {}", paid.account))
            }
            _ => return None,
        };
        Some((fact.height, fact.at, plus, amount, what))
    });
    let taken = rewards
        .iter()
        .filter(|(_, amount)| **amount > 0)
        .map(|((height, _), amount)| (*height, 0, true, *amount, "from the bond of the accused".to_string()));
    let mut all: Vec<_> = changes.chain(taken).collect();
    // What is paid out of the accused's bond was taken from it first.
    all.sort_by_key(|(height, at, plus, ..)| (*height, !plus, *at));
    let change = |(height, _, plus, amount, what)| rules::Change { height, what, plus, amount };
    all.into_iter().map(change).collect()
}

/// Explain every dispute that there was about the claim `id`.
pub async fn dispute<S: Source>(client: &Client<S>, id: Hash) -> Result<Explanation, LedgerError> {
    let (height, time_ms, claim, void_through, open) = client
        .read(|view| {
            let claim: Option<Claim> = query::read(view.source(), &id);
            // What a fraud forfeits is rewritten only when its window matures.
            let conduct =
                claim.as_ref().and_then(|claim| query::conduct(view.source(), &claim.run, &claim.account));
            let void_through = conduct.and_then(|conduct| conduct.void_through);
            (view.height, view.time_ms, claim, void_through, query::dispute(view.source(), &id))
        })
        .await?;
    let subject = Subject::Dispute(id);
    let (indexed_from, places) = client.history(id, height).await?;
    let mut facts = Facts::fetch(client, &places).await?;
    let Some(claim) = claim else {
        let remarks = vec!["no claim has this name".into()];
        return Ok(Explanation { subject, height, time_ms, indexed_from, parts: Vec::new(), remarks });
    };
    let edges = facts
        .events()
        .filter(|(_, event)| matches!(event, Event::DisputeOpened(_) | Event::DisputeClosed(_)));
    let heights: std::collections::BTreeSet<u64> = edges.map(|(height, _)| height).collect();
    if !heights.is_empty() {
        for name in [Hash(claim.account.0), claim.run] {
            let (_, mut places) = client.history(name, height).await?;
            places.retain(|place| heights.contains(&place.height));
            facts.add(Facts::fetch(client, &places).await?);
        }
    }
    let mut told: Vec<(u64, bool, u32, String)> = Vec::new();
    let mut rewards = BTreeMap::new();
    for fact in &facts.items {
        let place = |what| (fact.height, fact.event().is_some(), fact.at, what);
        if let Some(tx) = fact.tx() {
            told.extend(of_tx(tx, &id, &claim).map(|what| place(format!("{} {what}", tx.body.sender))));
        }
        let Some(event) = fact.event() else { continue };
        told.extend(of_event(event, &id).map(place));
        if matches!(event, Event::DisputeClosed(DisputeClosed { dispute, .. }) if *dispute == id) {
            for (cause, what) in consequences(&facts, fact, &claim) {
                told.push((cause.height, true, cause.at, what));
                if let Some(Event::Slashed(slashed)) = cause.event() {
                    rewards.insert((cause.height, cause.at), slashed.to_challenger);
                }
            }
        }
    }
    // The messages of a block come before what they led to.
    told.sort();
    let forfeited =
        claim.state == ClaimState::Pending && void_through.is_some_and(|through| claim.window <= through);
    let state =
        if forfeited { "forfeited with all that was pending".into() } else { format!("{:?}", claim.state) };
    let mut remarks = vec![format!(
        "claim of {} on {} units of stage {}, window {}, run {}: {} shares, {} of them void, {state}",
        claim.account, claim.microbatches, claim.stage, claim.window, claim.run, claim.shares, claim.voided
    )];
    let disputes = facts.events().filter(
        |(_, event)| matches!(event, Event::DisputeOpened(DisputeOpened { dispute, .. }) if *dispute == id),
    );
    remarks.push(match (disputes.count(), &open) {
        (0, _) => "never disputed".into(),
        (count, None) => format!("disputed {count} times; no dispute is open"),
        (count, Some(Dispute { phase, deadline, .. })) => {
            format!("disputed {count} times; one is open: {}, until height {deadline}", turn(*phase))
        }
    });
    remarks.extend(told.into_iter().map(|(height, _, _, what)| format!("{height:>10}  {what}")));
    let held = open.map_or(0, |open| open.bond + open.counter);
    let parts = vec![Part::new("money held".into(), Unit::NanoU, money(&facts, &id, &rewards), held)];
    Ok(Explanation { subject, height, time_ms, indexed_from, parts, remarks })
}
