//! Read what the ledger holds of a run's audits: anchors, disputes message by message, penalties, rollbacks.
//!
//! Places come from a validator's index, which is believed by nobody; every event and transaction is proved against a
//! final header. An index that leaves something out shows as a dispute without its end.

use crate::ledger::{LedgerClient, LedgerError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};
use tessera_client::explain::{Fact, Facts};
use tessera_dispute::program::{Made, Program};
use tessera_ledger::{
    Action, Event,
    action::Step,
    keys, query,
    record::{AuditStats, Conduct, Verdict},
    trust::kind::{Kind, Shape},
};
use tessera_model::RunSpec;
use tessera_net::Transport;

/// What a stage reported of a window, as far as audits need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowAnchor {
    pub window: u32,
    pub stage: u16,
    /// Root over what its seats committed to.
    pub anchor: Hash,
    /// The beacon that drew the audits; zeros before it.
    pub seed: Hash,
    pub generation: u32,
    pub height: u64,
}

/// One message of a dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub height: u64,
    pub sender: PublicKey,
    /// `opens`, `commits`, `names`, `proves`, ...
    pub act: &'static str,
    /// For people.
    pub what: String,
}

/// A dispute from its first message to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DisputeTrail {
    pub dispute: Hash,
    pub window: u32,
    pub stage: u16,
    pub step: Option<u64>,
    pub challenger: PublicKey,
    pub accused: PublicKey,
    /// nano-U.
    pub bond: String,
    pub opened: u64,
    pub messages: Vec<Message>,
    /// The operation that was named as the first false one, if the game came to that.
    pub operation: Option<String>,
    pub closed: Option<u64>,
    /// `None` while it is open, and where it ended without one.
    pub verdict: Option<&'static str>,
}

/// A penalty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Penalty {
    pub height: u64,
    pub account: PublicKey,
    pub verdict: &'static str,
    /// Pending shares that are void, shares to be taken from later claims; nano-U of the bond, of which so much went to
    /// the challenger.
    pub voided: String,
    pub debt: String,
    pub bond: String,
    pub to_challenger: String,
    pub barred_until: u64,
}

/// A rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rollback {
    pub height: u64,
    pub generation: u32,
    pub step: u64,
}

/// A run's audits as the ledger tells them.
#[derive(Clone, Debug, Serialize)]
pub struct Trail {
    pub height: u64,
    /// First height that the validator's index covers.
    pub indexed_from: u64,
    /// Closed disputes: guilty, innocent, without a verdict.
    pub guilty: u64,
    pub innocent: u64,
    pub open_ended: u64,
    pub anchors: Vec<WindowAnchor>,
    pub disputes: Vec<DisputeTrail>,
    pub penalties: Vec<Penalty>,
    pub rollbacks: Vec<Rollback>,
}

/// A verdict in the words of the logs.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Innocent => "innocent",
        Verdict::HonestError => "honest error",
        Verdict::Mismatch => "mismatch",
        Verdict::Fraud => "fraud",
    }
}

impl Trail {
    /// Read everything about `run`. With its specification operations are told by name, else by number.
    pub async fn read<T: Transport>(
        ledger: &LedgerClient<T>,
        run: Hash,
        spec: Option<&RunSpec>,
    ) -> Result<Self, LedgerError> {
        let view = ledger.run(&run).await?;
        let reads = ledger.read(|view_now| {
            let source = view_now.source();
            let stats: Option<AuditStats> = query::read(source, &keys::audit_stats(&run));
            let mut anchors = Vec::new();
            for window in 0..=view.run.window {
                for stage in 0..view.terms.stages {
                    if let Some(report) = query::stage_report(source, &run, window, stage) {
                        anchors.push(WindowAnchor {
                            window,
                            stage,
                            anchor: report.anchor,
                            seed: report.seed,
                            generation: report.generation,
                            height: report.height,
                        });
                    }
                }
            }
            (view_now.height, stats, anchors)
        });
        let (height, stats, anchors) = reads.await?;
        let (indexed_from, places) = ledger.history(run, height).await?;
        let facts = Facts::fetch(ledger, &places).await?;
        let mut trail = Self {
            height,
            indexed_from,
            guilty: stats.as_ref().map_or(0, |stats| stats.guilty),
            innocent: stats.as_ref().map_or(0, |stats| stats.innocent),
            open_ended: stats.as_ref().map_or(0, |stats| stats.open_ended),
            anchors,
            disputes: Vec::new(),
            penalties: Vec::new(),
            rollbacks: Vec::new(),
        };
        let mut disputes: BTreeSet<Hash> = BTreeSet::new();
        for (at, event) in facts.events() {
            match event {
                Event::DisputeOpened(opened) if opened.run == run => drop(disputes.insert(opened.dispute)),
                Event::Slashed(slashed) if slashed.run == run => trail.penalties.push(Penalty {
                    height: at,
                    account: slashed.account,
                    verdict: verdict_name(slashed.verdict),
                    voided: slashed.voided.to_string(),
                    debt: slashed.debt.to_string(),
                    bond: slashed.bond.to_string(),
                    to_challenger: slashed.to_challenger.to_string(),
                    barred_until: slashed.barred_until,
                }),
                Event::RolledBack(back) if back.run == run => {
                    trail.rollbacks.push(Rollback {
                        height: at,
                        generation: back.generation,
                        step: back.step,
                    });
                }
                _ => {}
            }
        }
        let mut programs = BTreeMap::new();
        for dispute in disputes {
            let (_, places) = ledger.history(dispute, height).await?;
            let mut all = Facts::fetch(ledger, &places).await?;
            // Its first message names the run and not the dispute.
            all.add(facts.clone());
            trail.disputes.extend(tell(dispute, &all.items, spec, &mut programs));
        }
        trail.disputes.sort_by_key(|dispute| (dispute.opened, dispute.dispute));
        Ok(trail)
    }

    /// An account's record in the run, if anything was ever found about it.
    pub async fn conduct<T: Transport>(
        ledger: &LedgerClient<T>,
        run: &Hash,
        account: &PublicKey,
    ) -> Result<Option<Conduct>, LedgerError> {
        ledger.read(|view| query::read(view.source(), &keys::conduct(run, account))).await
    }
}

/// Put a dispute together. Where it was opened more than once (its id is the claim's), the story begins with the first.
fn tell(
    id: Hash,
    facts: &[Fact],
    spec: Option<&RunSpec>,
    programs: &mut BTreeMap<u16, Option<Program>>,
) -> Option<DisputeTrail> {
    let opened = facts.iter().find_map(|fact| match fact.event() {
        Some(Event::DisputeOpened(opened)) if opened.dispute == id => Some((fact.height, opened)),
        _ => None,
    });
    let (height, opened) = opened?;
    let mut trail = DisputeTrail {
        dispute: id,
        window: opened.window,
        stage: opened.stage,
        step: None,
        challenger: opened.challenger,
        accused: opened.accused,
        bond: opened.bond.to_string(),
        opened: height,
        messages: Vec::new(),
        operation: None,
        closed: None,
        verdict: None,
    };
    let program = programs.entry(opened.stage).or_insert_with(|| {
        let spec = spec?;
        let tensors = spec.stage_plan(opened.stage)?.tensors.len();
        Program::new(spec, opened.stage, &vec![0; tensors]).ok()
    });
    let mut named: Vec<u64> = Vec::new();
    for fact in facts {
        if let Some(tx) = fact.tx() {
            let said = match &tx.body.action {
                Action::OpenDispute(open)
                    if fact.height == height
                        && (open.window, open.stage) == (opened.window, opened.stage) =>
                {
                    trail.step = open.accusation.as_ref().map(|accusation| accusation.step);
                    Some(("opens", "says that a unit is false, and shows the signed commitment".to_string()))
                }
                Action::Contradict(contradict)
                    if fact.height == height
                        && (contradict.dispute.window, contradict.dispute.stage)
                            == (opened.window, opened.stage) =>
                {
                    trail.step = contradict.dispute.accusation.as_ref().map(|accusation| accusation.step);
                    Some(("contradicts", "shows two signatures that cannot both be true".to_string()))
                }
                Action::DemandOpening(demand)
                    if fact.height == height
                        && (demand.window, demand.stage) == (opened.window, opened.stage) =>
                {
                    trail.step = Some(demand.step);
                    Some(("demands", "demands to see what was committed to".to_string()))
                }
                Action::DisputeStep(step) if step.dispute == id => {
                    Some(say(&step.step, &mut named, program.as_ref()))
                }
                _ => None,
            };
            if let Some((act, what)) = said
                && (act != "opens" && act != "demands" || tx.body.sender == opened.challenger)
            {
                let sender = tx.body.sender;
                trail.messages.push(Message { height: fact.height, sender, act, what });
            }
        } else if let Some(Event::DisputeClosed(closed)) = fact.event()
            && closed.dispute == id
        {
            trail.closed = Some(fact.height);
            trail.verdict = closed.verdict.map(verdict_name);
        }
    }
    trail.operation = operation(&named, program.as_ref());
    Some(trail)
}

/// One message in words; what was named is added to `named`, level by level.
fn say(step: &Step, named: &mut Vec<u64>, program: Option<&Program>) -> (&'static str, String) {
    let level = Kind::Dot.levels().get(named.len()).map(|level| level.shape);
    let parts = |shape: Option<Shape>, depth: usize| match (shape, depth) {
        (Some(Shape::Trace), _) => "operations",
        (Some(Shape::Part), _) => "tensors",
        (Some(Shape::Tensor), _) => "groups of chunks",
        (Some(Shape::Node), 3) => "smaller groups",
        (Some(Shape::Node), _) => "chunks",
        (Some(Shape::Chunk), _) => "numbers",
        (Some(Shape::Points) | None, _) => "partial sums",
    };
    let kind = parts(level, named.len());
    match step {
        Step::Commit(commit) => {
            ("commits", format!("commits to the {kind} ({} bytes)", commit.children.bytes().len()))
        }
        Step::NameChild(name) => {
            let index = name.child.path.index;
            named.push(index);
            let which = operation(named, program).filter(|_| named.len() <= 2);
            let which = which.map_or(String::new(), |which| format!(": {which}"));
            ("names", format!("names number {index} of the {kind} as the first false one{which}"))
        }
        Step::Prove(prove) => {
            ("proves", format!("shows the last step for judgement ({} bytes)", prove.part.bytes().len()))
        }
        Step::Escalate(_) => ("escalates", "asks for the game".into()),
        Step::Accuse(_) => ("accuses", "brings the evidence".into()),
        Step::Open(_) => ("shows", "shows what it committed to".into()),
        Step::Proceed(_) => ("goes on", "says that what was shown is false".into()),
    }
}

/// The operation that the first two names lead to.
fn operation(named: &[u64], program: Option<&Program>) -> Option<String> {
    let part = usize::try_from(*named.first()?).ok()?;
    let Some(program) = program else { return Some(format!("operation {part}")) };
    let Some(entries) = program.parts.get(part) else { return Some("the claim as a whole".into()) };
    let within = named.get(1).and_then(|at| usize::try_from(*at).ok());
    let entry = program.entries.get(entries.start + within.unwrap_or(0))?;
    Some(match entry.made {
        Made::By { step, tensor, .. } => {
            let name = program.steps.get(step)?.operation.name();
            format!("{name}, its tensor {tensor}, {:?}", entry.dims)
        }
        Made::Copy(_) => format!("a result of the unit, {:?}", entry.dims),
    })
}
