//! Have drawn auditors judge a subject: commit, then reveal; two thirds rule.
//!
//! A panel is asked for in one block and drawn with the next one's beacon from the held seats of the same stage:
//! not the parties, not operators related to them, no operator twice. The beacon also picks claims of every report
//! for audits. An auditor who says nothing costs nobody anything; without two thirds there is no ruling. A word on the
//! side of the ruling is an accepted audit, which [`issuance`] pays for.

use crate::{
    accounts::issuance,
    action::{AUDIT, AuditCommit, AuditOpening, AuditReveal},
    cell::Key,
    error::TxError,
    event::{AuditRevealed, PanelDrawn},
    extraction::operator::operator_of,
    keys,
    record::{AuditStats, AuditVote, Claim, MAX_AUDITORS, Panel, Run, Stage, StageReport, Verdict},
    runs::policy,
    seat,
    store::{Stop, View},
    trust::{canary, dispute, params, slashing},
};
use std::collections::BTreeSet;
use tessera_canon::{Domain, Hash, List, PublicKey, digest};

const PICK: Domain = Domain::new("tessera/ledger/audit-pick/v1");
const DRAW: Domain = Domain::new("tessera/ledger/audit-draw/v1");

/// Words that must agree in a panel of `auditors`.
pub fn quorum(auditors: usize) -> usize {
    (2 * auditors).div_ceil(3).max(1)
}

pub(crate) fn stats(view: &View<'_>, run: &Hash) -> Result<AuditStats, Stop> {
    let none = AuditStats {
        run: *run,
        panels: 0,
        places: 0,
        revealed: 0,
        tested: 0,
        found: 0,
        guilty: 0,
        innocent: 0,
        open_ended: 0,
    };
    Ok(view.get(&keys::audit_stats(run))?.unwrap_or(none))
}

/// Ask for a panel on `id`, about work in a stage of `run`, none of `parties` in it. Drawn in the next block.
pub(crate) fn ask(
    view: &mut View<'_>,
    id: Hash,
    run: &Hash,
    place: (u32, u16, u16),
    parties: Vec<PublicKey>,
) {
    let (window, stage, index) = place;
    let parties = List::new(parties.into_iter().take(2).collect()).unwrap_or_default();
    let auditors = List::default();
    let panel = Panel { id, run: *run, window, stage, index, parties, drawn: None, auditors };
    view.put(keys::panel(&id), panel);
    view.list_add(keys::list_of_panels(), id);
}

/// At a block's start: draw what earlier blocks asked for, with this block's beacon. Refuses nothing.
pub(crate) fn draw(view: &mut View<'_>) -> Result<(), Stop> {
    let lists = [keys::list_of_panels(), keys::list_of_reports(), keys::list_of_canaries()];
    view.want(lists.iter().map(keys::list_length))?;
    for id in view.list_items(&keys::list_of_panels())? {
        view.list_remove(keys::list_of_panels(), id);
        if let Some(panel) = view.get::<Panel>(&keys::panel(&id))? {
            seat_auditors(view, panel)?;
        }
    }
    for key in view.list_items(&keys::list_of_reports())? {
        view.list_remove(keys::list_of_reports(), key);
        if let Some(mut report) = view.get::<StageReport>(&key)? {
            report.seed = view.context.beacon;
            pick(view, &report)?;
            view.put(key, report);
        }
    }
    canary::draw(view)
}

fn seat_auditors(view: &mut View<'_>, mut panel: Panel) -> Result<(), Stop> {
    let beacon = view.context.beacon;
    let Some(stage) = view.get::<Stage>(&keys::stage(&panel.run, panel.stage))? else { return Ok(()) };
    let mut order: Vec<(Hash, PublicKey)> = seat::held_seats(view, &stage)?
        .into_iter()
        .map(|seat| (digest(DRAW, &(beacon, (panel.id, seat.account))), seat.account))
        .collect();
    order.sort_unstable();
    let mut taken = BTreeSet::new();
    for party in panel.parties.iter() {
        taken.insert(operator_of(view, &panel.run, party)?);
    }
    let mut auditors: Vec<PublicKey> = Vec::new();
    for (_, account) in order {
        if auditors.len() < MAX_AUDITORS && taken.insert(operator_of(view, &panel.run, &account)?) {
            auditors.push(account);
        }
    }
    let mut stats = stats(view, &panel.run)?;
    stats.panels += 1;
    stats.places += auditors.len() as u64;
    view.emit(PanelDrawn {
        panel: panel.id,
        run: panel.run,
        stage: panel.stage,
        auditors: auditors.len() as u16,
    });
    panel.drawn = Some(view.context.height);
    panel.auditors = List::new(auditors).unwrap_or_default();
    view.put(keys::audit_stats(&panel.run), stats);
    view.put(keys::panel(&panel.id), panel);
    Ok(())
}

/// Pick claims of a report for audits: `audit_rate` of them, more of accounts that are watched.
fn pick(view: &mut View<'_>, report: &StageReport) -> Result<(), Stop> {
    let (id, beacon) = (&report.run, view.context.beacon);
    let rate = policy::of(view, id)?.audit_rate;
    let factor = params::load(view)?.watch_factor.max(1);
    let Some(run) = view.get::<Run>(&keys::run(id))? else { return Ok(()) };
    for index in 0..report.claims {
        let key = keys::claim(id, report.window, report.stage, index);
        let below = |rate: u128| u128::from(digest(PICK, &(beacon, key)).low_u64()) * 10_000 < rate << 64;
        if !below(u128::from(rate) * u128::from(factor)) {
            continue;
        }
        let Some(claim) = view.get::<Claim>(&key)? else { continue };
        let watched = run.clock() < slashing::conduct(view, id, &claim.account)?.watched_until;
        if watched || below(rate.into()) {
            let place = (report.window, report.stage, index);
            ask(view, keys::audit_id(&key), id, place, vec![claim.account]);
            view.list_remove(keys::list_of_panels(), keys::audit_id(&key));
            if let Some(panel) = view.get::<Panel>(&keys::panel(&keys::audit_id(&key)))? {
                seat_auditors(view, panel)?;
            }
        }
    }
    Ok(())
}

fn not_drawn(panel: &Hash) -> Stop {
    TxError::Unknown { what: "drawn panel", id: panel.to_string() }.into()
}

/// The panel, if `sender` is one of its auditors, and the height of its draw.
fn for_auditor(view: &View<'_>, id: &Hash, sender: &PublicKey) -> Result<(Panel, u64), Stop> {
    let panel: Panel = view.must(&keys::panel(id), "panel", id)?;
    let drawn = panel.drawn.ok_or_else(|| not_drawn(id))?;
    if !panel.auditors.contains(sender) {
        return Err(TxError::Role { expected: "an auditor of the panel".into(), got: *sender }.into());
    }
    Ok((panel, drawn))
}

/// Last height at which the auditors of a panel may reveal.
pub(crate) fn reveal_end(view: &View<'_>, panel: &Panel) -> Result<Option<u64>, Stop> {
    let params = params::load(view)?;
    Ok(panel
        .drawn
        .map(|drawn| drawn.saturating_add(params.commit_blocks).saturating_add(params.reveal_blocks)))
}

pub(crate) fn commit(view: &mut View<'_>, sender: &PublicKey, action: &AuditCommit) -> Result<(), Stop> {
    let (panel, drawn) = for_auditor(view, &action.panel, sender)?;
    let until = drawn.saturating_add(params::load(view)?.commit_blocks);
    let now = view.context.height;
    if now > until {
        return Err(TxError::Late { what: "the audit's commitment", until, now }.into());
    }
    let key = keys::audit_vote(&panel.id, sender);
    if view.get::<AuditVote>(&key)?.is_some() {
        return Err(TxError::Duplicate { what: "commitment of auditor", id: sender.to_string() }.into());
    }
    let (commit, digest) = (action.commit, Hash::ZERO);
    view.put(key, AuditVote { panel: panel.id, auditor: *sender, commit, verdict: None, digest });
    seat::heard(view, &panel.run, sender)
}

pub(crate) fn reveal(view: &mut View<'_>, sender: &PublicKey, action: &AuditReveal) -> Result<(), Stop> {
    let (panel, drawn) = for_auditor(view, &action.panel, sender)?;
    let params = params::load(view)?;
    let (now, after) = (view.context.height, drawn.saturating_add(params.commit_blocks));
    let until = after.saturating_add(params.reveal_blocks);
    if now <= after {
        return Err(TxError::Early { what: "an audit's reveal", after, now }.into());
    }
    if now > until {
        return Err(TxError::Late { what: "an audit's reveal", until, now }.into());
    }
    let key = keys::audit_vote(&panel.id, sender);
    let mut vote: AuditVote = view.must(&key, "commitment of auditor", sender)?;
    if vote.verdict.is_some() {
        return Err(TxError::Duplicate { what: "reveal of auditor", id: sender.to_string() }.into());
    }
    let opening = AuditOpening {
        panel: panel.id,
        auditor: *sender,
        verdict: action.verdict,
        digest: action.digest,
        salt: action.salt,
    };
    let got = digest(AUDIT, &opening);
    if got != vote.commit {
        return Err(TxError::Reveal { expected: Some(vote.commit), got }.into());
    }
    vote.verdict = Some(action.verdict);
    vote.digest = action.digest;
    let ruled = ruling(view, &panel)?.is_some();
    view.put(key, vote);
    accept(view, &panel, ruled, sender)?;
    let mut stats = stats(view, &panel.run)?;
    stats.revealed += 1;
    view.put(keys::audit_stats(&panel.run), stats);
    view.emit(AuditRevealed { panel: panel.id, auditor: *sender, verdict: action.verdict });
    let claim = keys::claim(&panel.run, panel.window, panel.stage, panel.index);
    if panel.id == keys::audit_id(&claim)
        && action.verdict != Verdict::Innocent
        && ruling(view, &panel)?.is_some_and(|ruling| ruling != Verdict::Innocent)
    {
        dispute::open_by_audit(view, &panel, &claim, until)?;
    }
    seat::heard(view, &panel.run, sender)
}

/// Whether a word stands on the side of a ruling: for the accused or against it.
pub(crate) fn agrees(said: Verdict, ruling: Verdict) -> bool {
    (said == Verdict::Innocent) == (ruling == Verdict::Innocent)
}

/// Count the words that the ruling accepts: those on its side, each once. The word that completes two thirds brings
/// those before it; a side that has two thirds keeps them, so no later word takes an acceptance back.
fn accept(view: &mut View<'_>, panel: &Panel, ruled: bool, sender: &PublicKey) -> Result<(), Stop> {
    let Some(ruling) = ruling(view, panel)? else { return Ok(()) };
    for vote in votes(view, panel)? {
        let right = vote.verdict.is_some_and(|said| agrees(said, ruling));
        if right && (!ruled || vote.auditor == *sender) {
            issuance::audit_accepted(view, &panel.run, &vote.auditor)?;
        }
    }
    Ok(())
}

/// The words of a panel's auditors, those who gave none left out.
pub(crate) fn votes(view: &View<'_>, panel: &Panel) -> Result<Vec<AuditVote>, Stop> {
    view.want(panel.auditors.iter().map(|auditor| keys::audit_vote(&panel.id, auditor)))?;
    let mut votes = Vec::new();
    for auditor in panel.auditors.iter() {
        votes.extend(view.get::<AuditVote>(&keys::audit_vote(&panel.id, auditor))?);
    }
    Ok(votes)
}

/// The gravest verdict that two thirds say at least, or innocence if two thirds say so.
pub(crate) fn ruling(view: &View<'_>, panel: &Panel) -> Result<Option<Verdict>, Stop> {
    let said: Vec<Verdict> = votes(view, panel)?.iter().filter_map(|vote| vote.verdict).collect();
    Ok(decide(panel.auditors.len(), &said))
}

fn decide(auditors: usize, said: &[Verdict]) -> Option<Verdict> {
    let needed = quorum(auditors);
    let grave = [Verdict::Fraud, Verdict::Mismatch, Verdict::HonestError];
    grave.into_iter().find(|level| said.iter().filter(|verdict| *verdict >= level).count() >= needed).or_else(
        || {
            let innocent = said.iter().filter(|verdict| **verdict == Verdict::Innocent).count();
            (innocent >= needed).then_some(Verdict::Innocent)
        },
    )
}

/// Remove a panel and its words.
pub(crate) fn forget(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let key: Key = keys::panel(id);
    let Some(panel) = view.get::<Panel>(&key)? else { return Ok(()) };
    for vote in votes(view, &panel)? {
        view.delete(keys::audit_vote(id, &vote.auditor));
    }
    if panel.drawn.is_none() {
        view.list_remove(keys::list_of_panels(), *id);
    }
    view.delete(key);
    Ok(())
}

/// The audit rate that counts, in 1/10 000: what the policy sets, times the part of canaries that were found once
/// at least `LEAST_TESTED` words told of one.
pub fn measured_rate(audit_rate: u16, stats: Option<&AuditStats>) -> u16 {
    const LEAST_TESTED: u64 = 30;
    match stats {
        Some(stats) if stats.tested >= LEAST_TESTED => {
            (u128::from(audit_rate) * u128::from(stats.found.min(stats.tested)) / u128::from(stats.tested))
                as u16
        }
        _ => audit_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Fraud, HonestError, Innocent, Mismatch};

    #[test]
    fn two_thirds_rule_and_less_do_not() {
        assert_eq!([1, 2, 3].map(quorum), [1, 2, 2]);
        assert_eq!(decide(3, &[Fraud, Mismatch]), Some(Mismatch));
        assert_eq!(decide(3, &[Fraud, Innocent, HonestError]), Some(HonestError));
        assert_eq!(decide(3, &[Fraud, Innocent, Innocent]), Some(Innocent));
        assert_eq!(decide(3, &[Fraud, Innocent]), None);
        assert_eq!(decide(3, &[Fraud]), None);
        assert_eq!(decide(0, &[]), None);
    }

    #[test]
    fn the_rate_that_counts_follows_the_canaries() {
        let mut stats = AuditStats {
            run: Hash::ZERO,
            panels: 0,
            places: 0,
            revealed: 0,
            tested: 29,
            found: 0,
            guilty: 0,
            innocent: 0,
            open_ended: 0,
        };
        assert_eq!(measured_rate(200, None), 200);
        assert_eq!(measured_rate(200, Some(&stats)), 200);
        (stats.tested, stats.found) = (40, 30);
        assert_eq!(measured_rate(200, Some(&stats)), 150);
    }
}
