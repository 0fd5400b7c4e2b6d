//! `tessera audit`: what was audited in a run, what was disputed, what it cost whom; and `tessera explain UNIT`.
//!
//! Two sources, told apart: the ledger, every line of it proved against a final header, and this folder's own book of
//! audits. Each record of the book carries the proof that its unit was anchored; it is checked here against the anchor
//! that the ledger holds.

use crate::context::{Output, Place, Shown};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};
use tessera_canon::Hash;
use tessera_node::{
    amount,
    audits::{
        record::{AuditBook, AuditRecord, UnitName},
        trail::{DisputeTrail, Trail, WindowAnchor},
    },
    folder::Folder,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    place: Place,
    /// Run id
    run: Hash,
    /// Only this window
    #[arg(long, value_name = "N")]
    window: Option<u32>,
    /// The run's specification: then operations in disputes are told by name
    #[arg(long, value_name = "SPEC.toml")]
    spec: Option<PathBuf>,
}

/// Whether a record's unit stands below the anchor on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchored {
    Yes,
    No,
    /// The ledger no longer holds the report, or not yet.
    Unknown,
}

impl Anchored {
    fn of(record: &AuditRecord, anchors: &[WindowAnchor]) -> Self {
        let Ok(unit) = record.unit.parse::<UnitName>() else { return Self::No };
        let of_window = |at: &&WindowAnchor| (at.window, at.stage) == (record.window, unit.stage);
        match anchors.iter().find(of_window) {
            None => Self::Unknown,
            Some(at) if record.is_anchored(&at.anchor) => Self::Yes,
            Some(_) => Self::No,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Yes => "anchored",
            Self::No => "NOT ANCHORED",
            Self::Unknown => "anchor not held",
        }
    }
}

/// The audits of this folder in a run.
fn book(place: &Place, run: &Hash) -> Result<Vec<AuditRecord>> {
    // A curious visitor has no folder, and none is made for it.
    if !place.dir.exists() {
        return Ok(Vec::new());
    }
    let folder = Folder::open(&place.dir)?.run_path(run);
    AuditBook::of(&folder).read().with_context(|| format!("cannot read the audits in {}", folder.display()))
}

pub(crate) async fn run(audit: Audit, output: Output) -> Result<()> {
    let spec = audit.spec.as_ref().map(crate::run::read_spec).transpose()?;
    let mut records = book(&audit.place, &audit.run)?;
    let visitor = audit.place.enter().await?;
    let mut trail = Trail::read(&visitor.ledger, audit.run, spec.as_ref()).await?;
    visitor.leave().await;
    if let Some(window) = audit.window {
        trail.anchors.retain(|anchor| anchor.window == window);
        trail.disputes.retain(|dispute| dispute.window == window);
        records.retain(|record| record.window == window);
    }
    let checks: Vec<Anchored> = records.iter().map(|record| Anchored::of(record, &trail.anchors)).collect();
    let own: Vec<Value> = records
        .iter()
        .zip(&checks)
        .map(|(record, anchored)| {
            json!({
                "unit": record.unit, "window": record.window, "generation": record.generation,
                "worker": record.worker, "verdict": record.verdict, "differing": record.differing(),
                "computed": record.computed, "claimed": record.claimed, "anchored": anchored.name(),
            })
        })
        .collect();
    let object = json!({
        "run": audit.run, "height": trail.height, "indexed_from": trail.indexed_from,
        "disputes_guilty": trail.guilty, "disputes_innocent": trail.innocent,
        "disputes_open_ended": trail.open_ended, "anchors": trail.anchors, "disputes": trail.disputes,
        "penalties": trail.penalties, "rollbacks": trail.rollbacks, "own_audits": own,
    });
    output.result(&object, || page(&trail, &records, &checks));
    let false_proofs = checks.iter().filter(|check| **check == Anchored::No).count();
    if false_proofs > 0 {
        let what =
            format!("{false_proofs} records of this folder name units that the ledger does not anchor");
        return Err(Shown(what).into());
    }
    Ok(())
}

fn page(trail: &Trail, records: &[AuditRecord], checks: &[Anchored]) -> String {
    let mut text = format!("audits as of block {}\n", trail.height);
    text += "anchors     (what each stage committed to, and the beacon that drew its audits)\n";
    for at in &trail.anchors {
        let drawn = if at.seed == Hash::ZERO { "not drawn yet".into() } else { at.seed.short() };
        text += &format!(
            "            window {:>3} stage {}  anchor {}  draw {}  block {}\n",
            at.window,
            at.stage,
            at.anchor.short(),
            drawn,
            at.height
        );
    }
    text += &format!(
        "disputes    {} lost by the accused, {} won, {} without a verdict\n",
        trail.guilty, trail.innocent, trail.open_ended
    );
    for dispute in &trail.disputes {
        text += &story(dispute);
    }
    text += &costs(trail, |_| true);
    if !records.is_empty() {
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for record in records {
            *verdicts.entry(&record.verdict).or_default() += 1;
        }
        let counts: Vec<String> =
            verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        let anchored = checks.iter().filter(|check| **check == Anchored::Yes).count();
        text += &format!(
            "own audits  {}; {anchored} of {} proved to be anchored\n",
            counts.join(", "),
            records.len()
        );
        for record in records.iter().filter(|record| record.verdict != "match") {
            text += &format!(
                "            {}  {}  tessera explain {}\n",
                record.verdict,
                short(&record.worker),
                record.unit
            );
        }
    }
    text
}

/// A dispute, message by message.
fn story(dispute: &DisputeTrail) -> String {
    let step = dispute.step.map_or(String::new(), |step| format!(" step {step}"));
    let mut text = format!(
        "  {}  window {} stage {}{step}: {} accuses {}, bond {} U\n",
        dispute.dispute.short(),
        dispute.window,
        dispute.stage,
        dispute.challenger.short(),
        dispute.accused.short(),
        nano(&dispute.bond),
    );
    for message in &dispute.messages {
        text += &format!(
            "            block {:>5}  {} {}\n",
            message.height,
            message.sender.short(),
            message.what
        );
    }
    if let Some(operation) = &dispute.operation {
        text += &format!("            judged: {operation}\n");
    }
    match (dispute.closed, dispute.verdict) {
        (Some(height), verdict) => {
            text += &format!("            block {height:>5}  verdict: {}\n", verdict.unwrap_or("none"));
        }
        (None, _) => text += "            still open\n",
    }
    text
}

/// Penalties of the accounts that `of` wants, and all rollbacks.
fn costs(trail: &Trail, of: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for penalty in trail.penalties.iter().filter(|penalty| of(&penalty.account.to_string())) {
        text += &format!(
            "penalty     block {}: {} for {}: {} pending shares void, {} more to be taken, {} U of its bond, {} U of that to the challenger\n",
            penalty.height,
            penalty.account.short(),
            penalty.verdict,
            penalty.voided,
            penalty.debt,
            nano(&penalty.bond),
            nano(&penalty.to_challenger),
        );
    }
    for back in &trail.rollbacks {
        text += &format!(
            "rollback    block {}: number {}, to step {}\n",
            back.height, back.generation, back.step
        );
    }
    text
}

/// What was checked of a unit, by whom, with which digests, and what it cost whom.
pub(crate) async fn explain_unit(place: &Place, unit: UnitName, output: Output) -> Result<()> {
    let name = unit.to_string();
    let mut records = book(place, &unit.run)?;
    records.retain(|record| record.unit == name);
    let visitor = place.enter().await?;
    let mut trail = Trail::read(&visitor.ledger, unit.run, None).await?;
    visitor.leave().await;
    // A dispute names the step and who did the work; which unit of the step it is stands in the auditor's book.
    trail.disputes.retain(|dispute| (dispute.stage, dispute.step) == (unit.stage, Some(unit.step)));
    let mut accounts: Vec<String> = records.iter().map(|record| record.worker.clone()).collect();
    accounts.extend(trail.disputes.iter().map(|dispute| dispute.accused.to_string()));
    trail.penalties.retain(|penalty| accounts.contains(&penalty.account.to_string()));
    let audits: Vec<Value> = records
        .iter()
        .map(|record| {
            json!({
                "window": record.window, "generation": record.generation, "worker": record.worker,
                "verdict": record.verdict, "differing": record.differing(), "computed": record.computed,
                "claimed": record.claimed, "anchored": Anchored::of(record, &trail.anchors).name(),
            })
        })
        .collect();
    let object = json!({
        "unit": name, "height": trail.height, "audits": audits, "disputes": trail.disputes,
        "penalties": trail.penalties, "rollbacks": trail.rollbacks,
    });
    output.result(&object, || {
        let mut text =
            format!("unit {} of step {}, stage {}, run {}\n", unit.unit, unit.step, unit.stage, unit.run);
        if records.is_empty() {
            text += "audits      none in this folder; who audited it keeps the digests\n";
        }
        for record in &records {
            text += &format!(
                "audit       of {} in window {}, generation {}: {} ({})\n",
                short(&record.worker),
                record.window,
                record.generation,
                record.verdict,
                Anchored::of(record, &trail.anchors).name()
            );
            text += &digests(record);
        }
        text += "disputes    (about this step of this stage)\n";
        for dispute in &trail.disputes {
            text += &story(dispute);
        }
        text + &costs(&trail, |account| accounts.iter().any(|known| known == account))
    });
    Ok(())
}

/// The digests side by side.
fn digests(record: &AuditRecord) -> String {
    let differing = record.differing();
    let row = |name: &str, computed: Option<&String>, claimed: Option<&String>| {
        let side = |digest: Option<&String>| digest.map_or("not known".into(), |digest| short(digest));
        let mark = if differing.contains(&name) { "   DIFFERS" } else { "" };
        format!("            {name:<3} computed {}   claimed {}{mark}\n", side(computed), side(claimed))
    };
    let (a, b) = (record.computed.as_ref(), record.claimed.as_ref());
    row("x", a.map(|d| &d.x), b.map(|d| &d.x))
        + &row("y", a.map(|d| &d.y), b.map(|d| &d.y))
        + &row("dy", a.map(|d| &d.dy), b.map(|d| &d.dy))
        + &row("dx", a.map(|d| &d.dx), b.map(|d| &d.dx))
        + &row("dw", a.map(|d| &d.dw), b.map(|d| &d.dw))
}

fn short(hex: &str) -> String {
    hex.get(..8).unwrap_or(hex).into()
}

/// nano-U as U.
fn nano(text: &str) -> String {
    text.parse().map_or_else(|_| text.into(), amount::show)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_node::audits::record::Digests;

    #[test]
    fn digests_stand_side_by_side_and_a_difference_is_marked() {
        let side = |y: &str| Digests {
            x: "11".repeat(32),
            y: y.repeat(32),
            dy: "33".repeat(32),
            dx: "44".repeat(32),
            dw: "55".repeat(32),
        };
        let unit = UnitName { run: Hash([1; 32]), stage: 2, step: 3, unit: 4 };
        let record = AuditRecord {
            unit: unit.to_string(),
            window: 1,
            generation: 0,
            worker: "ab".repeat(32),
            verdict: "output differs".into(),
            computed: Some(side("22")),
            claimed: Some(side("99")),
            ticket: String::new(),
        };
        let text = digests(&record);
        assert!(text.contains("y   computed 22222222   claimed 99999999   DIFFERS"), "{text}");
        assert_eq!(text.matches("DIFFERS").count(), 1, "{text}");
        let at = |window| WindowAnchor {
            window,
            stage: 2,
            anchor: Hash([3; 32]),
            seed: Hash::ZERO,
            generation: 0,
            height: 9,
        };
        assert_eq!(Anchored::of(&record, &[at(0)]), Anchored::Unknown);
        assert_eq!(Anchored::of(&record, &[at(1)]), Anchored::No);
    }
}
