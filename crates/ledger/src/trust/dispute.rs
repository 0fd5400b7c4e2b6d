//! Open, advance and close disputes (ownership specification 9.3 rows 15-17).
//!
//! Turns end at a height. At the next epoch boundary, or earlier by [`ResolveDispute`] of anyone, a turn that was
//! let pass is lost: by the challenger, who then loses the bond, or by the accused, as a mismatch. A panel's ruling
//! stands if its loser did not escalate in time. Where the network's referee cannot judge the kind, nobody is
//! convicted: the dispute ends open.
//!
//! The loser pays: the challenger's bond goes to the accused, half of it to the auditors who were right if there
//! was a panel; an accused who escalated and lost pays its counter-bond to the challenger.

use crate::{
    account,
    action::{Accusation, DisputeStep, Escalate, OpenDispute, ResolveDispute, STATEMENT, Statement, Step},
    error::TxError,
    event::{DisputeClosed, DisputeMoved, DisputeOpened, FalseAudit, Reason},
    keys,
    record::{Claim, ClaimState, Dispute, DisputePhase, Panel, Run, RunTerms, StageReport, Verdict, Work},
    runs::policy,
    store::{Stop, View},
    trust::{game, kind::Kind, opening, panel, params, slashing},
};
use tessera_canon::{Hash, PublicKey};

const KINDS: [Kind; 3] = [Kind::Dot, Kind::Row, Kind::State];

pub(crate) fn phase_name(phase: DisputePhase) -> &'static str {
    match phase {
        DisputePhase::Panel => "a panel's ruling or an escalation",
        DisputePhase::Accuse => "the challenger's accusation",
        DisputePhase::Commit => "the accused's commitment",
        DisputePhase::Name => "the challenger's choice",
        DisputePhase::Prove => "the accused's proof",
        DisputePhase::Open => "the accused's opening",
        DisputePhase::Weigh => "the challenger's word on what was opened",
    }
}

/// Refuse evidence of a window for which an honest seat need not keep its material any more.
pub(crate) fn check_age(view: &View<'_>, dispute: &Dispute) -> Result<(), Stop> {
    let run: Run = view.must(&keys::run(&dispute.run), "run", dispute.run)?;
    let until = dispute.window.saturating_add(params::load(view)?.evidence_windows);
    if run.window > until {
        let (until, now) = (until.into(), run.window.into());
        return Err(TxError::Late { what: "evidence of this window (window)", until, now }.into());
    }
    Ok(())
}

/// The accused signed the evidence, and the referee can judge its kind.
fn check_accusation(view: &View<'_>, dispute: &Dispute, accusation: &Accusation) -> Result<(), Stop> {
    if !view.referee.supports(accusation.kind) {
        return Err(TxError::NoReferee { kind: format!("{:?}", accusation.kind) }.into());
    }
    let statement = Statement {
        network: view.context.network,
        run: dispute.run,
        window: dispute.window,
        stage: dispute.stage,
        account: dispute.accused,
        generation: accusation.generation,
        step: accusation.step,
        root: accusation.root,
        rest: accusation.rest,
    };
    let signed = |key: &PublicKey| key.verify(STATEMENT, &statement, &accusation.signature);
    if !account::signed_then(view, &dispute.accused, window_of(view, dispute)?, signed)? {
        return Err(TxError::Evidence { detail: "the accused did not sign the statement" }.into());
    }
    if !accusation.path.verify(accusation.evidence, &accusation.root) {
        return Err(TxError::Evidence { detail: "the evidence is not part of the statement" }.into());
    }
    Ok(())
}

/// The dispute is about what `accusation` names.
fn take(dispute: &mut Dispute, accusation: &Accusation) {
    dispute.kind = Some(accusation.kind);
    dispute.evidence = accusation.evidence;
    dispute.work = Some(Work { generation: accusation.generation, step: accusation.step });
}

/// The heights in which the accused worked on the window: since its stage reported the one before, up to the report.
pub(crate) fn window_of(view: &View<'_>, dispute: &Dispute) -> Result<(u64, u64), Stop> {
    let key = |window| keys::stage_report(&dispute.run, window, dispute.stage);
    let report: StageReport = view.must(&key(dispute.window), "report of stage", dispute.stage)?;
    let from = match dispute.window.checked_sub(1) {
        Some(before) => view.get::<StageReport>(&key(before))?.map_or(0, |report| report.height),
        None => view.must::<RunTerms>(&keys::run_terms(&dispute.run), "run", dispute.run)?.created,
    };
    Ok((from, report.height))
}

fn check_bond(view: &View<'_>, got: u128) -> Result<(), Stop> {
    let least = params::load(view)?.dispute_bond;
    if got < least {
        return Err(TxError::Parameter {
            what: "the bond of a dispute",
            expected: format!("at least {least}"),
            got: got.to_string(),
        }
        .into());
    }
    Ok(())
}

/// Check that `sender` may dispute claim `place` (window, stage, index) with `bond`. The dispute as it begins, whose turn
/// is the accused's, and its claim.
pub(crate) fn prepare(
    view: &View<'_>,
    sender: &PublicKey,
    run_id: &Hash,
    place: (u32, u16, u16),
    bond: u128,
) -> Result<(Dispute, Claim), Stop> {
    let (window, stage, index) = place;
    let key = keys::claim(run_id, window, stage, index);
    view.want([keys::run(run_id), key, keys::dispute(&key), keys::trust_params()])?;
    let run: Run = view.must(&keys::run(run_id), "run", run_id)?;
    let claim: Claim = view.must(&key, "claim", index)?;
    if claim.state == ClaimState::Disputed || view.get::<Dispute>(&keys::dispute(&key))?.is_some() {
        return Err(TxError::Duplicate { what: "dispute of claim", id: key.to_string() }.into());
    }
    let condemned = slashing::condemned(&slashing::conduct(view, run_id, &claim.account)?, &claim);
    let late = claim.state == ClaimState::Active;
    if claim.state == ClaimState::Void || (condemned && !late) {
        return Err(TxError::ClaimState { expected: "pending", got: "void" }.into());
    }
    // Evidence counts for as long again after a claim has matured; then only its bond is at stake.
    let horizon = u64::from(policy::of(view, run_id)?.pending_windows);
    let (until, now) = (u64::from(claim.window) + 1 + 2 * horizon, run.clock());
    if late && now > until {
        return Err(TxError::Late { what: "a dispute of this claim (window)", until, now }.into());
    }
    if claim.account == *sender {
        return Err(
            TxError::Role { expected: "another account than the claim's".into(), got: *sender }.into()
        );
    }
    check_bond(view, bond)?;
    let dispute = Dispute {
        id: key,
        run: *run_id,
        window,
        stage,
        index,
        challenger: *sender,
        accused: claim.account,
        bond,
        counter: 0,
        audit: false,
        paneled: false,
        late,
        phase: DisputePhase::Commit,
        kind: None,
        evidence: Hash::ZERO,
        unit: None,
        work: None,
        level: 0,
        proof: 0,
        deadline: view.context.height.saturating_add(params::load(view)?.step_blocks),
    };
    Ok((dispute, claim))
}

/// Take the challenger's bond, freeze the claim and enter the dispute.
pub(crate) fn start(view: &mut View<'_>, dispute: Dispute, mut claim: Claim) -> Result<(), Stop> {
    account::charge_for(view, &dispute.challenger, dispute.bond, (Reason::DisputeBond, &dispute.id))?;
    if !dispute.late {
        claim.state = ClaimState::Disputed;
        view.put(dispute.id, claim);
    }
    enter(view, dispute);
    Ok(())
}

pub(crate) fn open(view: &mut View<'_>, sender: &PublicKey, action: &OpenDispute) -> Result<(), Stop> {
    let place = (action.window, action.stage, action.index);
    let (mut dispute, claim) = prepare(view, sender, &action.run, place, action.bond)?;
    if let Some(accusation) = &action.accusation {
        check_age(view, &dispute)?;
        check_accusation(view, &dispute, accusation)?;
        take(&mut dispute, accusation);
    } else {
        let step = params::load(view)?;
        dispute.paneled = true;
        dispute.phase = DisputePhase::Panel;
        dispute.deadline = [1, step.commit_blocks, step.reveal_blocks]
            .iter()
            .fold(dispute.deadline, |sum, blocks| sum.saturating_add(*blocks));
        panel::ask(view, dispute.id, &action.run, place, vec![dispute.accused, *sender]);
    }
    start(view, dispute, claim)
}

fn enter(view: &mut View<'_>, dispute: Dispute) {
    view.list_add(keys::list_of_disputes(), dispute.id);
    view.emit(DisputeOpened {
        dispute: dispute.id,
        run: dispute.run,
        window: dispute.window,
        stage: dispute.stage,
        challenger: dispute.challenger,
        accused: dispute.accused,
        bond: dispute.bond,
    });
    view.put(keys::dispute(&dispute.id), dispute);
}

/// A drawn audit ruled against a claim: freeze it until the accused had time to escalate.
pub(crate) fn open_by_audit(
    view: &mut View<'_>,
    audit: &Panel,
    key: &Hash,
    reveal_end: u64,
) -> Result<(), Stop> {
    let Some(mut claim) = view.get::<Claim>(key)? else { return Ok(()) };
    let conduct = slashing::conduct(view, &audit.run, &claim.account)?;
    if claim.state != ClaimState::Pending || slashing::condemned(&conduct, &claim) {
        return Ok(());
    }
    let deadline = reveal_end.saturating_add(params::load(view)?.step_blocks);
    // Whose word completed the two thirds depends on the order in a block; who is rewarded must not.
    let (accused, challenger) = (claim.account, audit.auditors.first().copied().unwrap_or(claim.account));
    claim.state = ClaimState::Disputed;
    view.put(*key, claim);
    enter(
        view,
        Dispute {
            id: *key,
            run: audit.run,
            window: audit.window,
            stage: audit.stage,
            index: audit.index,
            challenger,
            accused,
            bond: 0,
            counter: 0,
            audit: true,
            paneled: true,
            late: false,
            phase: DisputePhase::Panel,
            kind: None,
            evidence: Hash::ZERO,
            unit: None,
            work: None,
            level: 0,
            proof: 0,
            deadline,
        },
    );
    Ok(())
}

/// The panel that spoke in a dispute.
fn panel_of(view: &View<'_>, dispute: &Dispute) -> Result<Option<Panel>, Stop> {
    if !dispute.paneled {
        return Ok(None);
    }
    let id = if dispute.audit { keys::audit_id(&dispute.id) } else { dispute.id };
    view.get(&keys::panel(&id))
}

pub(crate) fn step(view: &mut View<'_>, sender: &PublicKey, action: &DisputeStep) -> Result<(), Stop> {
    let mut dispute: Dispute = view.must(&keys::dispute(&action.dispute), "dispute", action.dispute)?;
    let (now, until) = (view.context.height, dispute.deadline);
    if now > until {
        return Err(TxError::Late { what: "the dispute's next message", until, now }.into());
    }
    let wanted = match &action.step {
        Step::Commit(_) => DisputePhase::Commit,
        Step::NameChild(_) => DisputePhase::Name,
        // Units that the game cannot hold are proven to be so before the first level.
        Step::Prove(_) if dispute.level == 0 && dispute.phase == DisputePhase::Commit => DisputePhase::Commit,
        Step::Prove(_) => DisputePhase::Prove,
        Step::Escalate(_) => DisputePhase::Panel,
        Step::Accuse(_) => DisputePhase::Accuse,
        Step::Open(_) => DisputePhase::Open,
        Step::Proceed(_) => DisputePhase::Weigh,
    };
    if dispute.phase != wanted {
        let (expected, got) = (phase_name(dispute.phase), phase_name(wanted));
        return Err(TxError::Turn { expected, got }.into());
    }
    let turn = match &action.step {
        Step::Commit(_) | Step::Prove(_) | Step::Open(_) => Some(dispute.accused),
        Step::NameChild(_) | Step::Proceed(_) => Some(dispute.challenger),
        // Who may send these is decided below.
        Step::Escalate(_) | Step::Accuse(_) => None,
    };
    if turn.is_some_and(|turn| turn != *sender) {
        let expected = turn.map(|turn| turn.to_string()).unwrap_or_default();
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    dispute.deadline = now.saturating_add(params::load(view)?.step_blocks);
    match &action.step {
        Step::Commit(commit) => game::commit(view, &mut dispute, commit)?,
        Step::NameChild(name) => game::name(view, &mut dispute, name)?,
        Step::Prove(prove) => {
            if let Some(verdict) = game::prove(view, &mut dispute, prove)? {
                return close(view, dispute, Some(verdict), true);
            }
        }
        Step::Escalate(escalate) => self::escalate(view, &mut dispute, sender, escalate)?,
        Step::Accuse(accusation) => accuse(view, &mut dispute, sender, accusation)?,
        Step::Open(opening) => opening::open(view, &mut dispute, opening)?,
        Step::Proceed(_) => dispute.phase = DisputePhase::Commit,
    }
    view.emit(DisputeMoved {
        dispute: dispute.id,
        phase: dispute.phase,
        level: dispute.level,
        deadline: dispute.deadline,
    });
    view.put(keys::dispute(&dispute.id), dispute);
    Ok(())
}

/// The loser of the ruling asks for the game; without a ruling the challenger may.
fn escalate(
    view: &mut View<'_>,
    dispute: &mut Dispute,
    sender: &PublicKey,
    action: &Escalate,
) -> Result<(), Stop> {
    if !KINDS.iter().any(|kind| view.referee.supports(*kind)) {
        return Err(TxError::NoReferee { kind: "any".into() }.into());
    }
    let Some(panel) = panel_of(view, dispute)? else {
        return Err(TxError::Unknown { what: "panel", id: dispute.id.to_string() }.into());
    };
    let now = view.context.height;
    let after = panel::reveal_end(view, &panel)?.unwrap_or(now);
    if now <= after {
        return Err(TxError::Early { what: "an escalation", after, now }.into());
    }
    let against = panel::ruling(view, &panel)?.is_some_and(|ruling| ruling != Verdict::Innocent);
    let loser = if against { dispute.accused } else { dispute.challenger };
    if loser != *sender {
        return Err(TxError::Role { expected: loser.to_string(), got: *sender }.into());
    }
    check_bond(view, action.bond)?;
    account::charge_for(view, sender, action.bond, (Reason::DisputeBond, &dispute.id))?;
    if against {
        dispute.counter += action.bond;
    } else {
        dispute.bond += action.bond;
    }
    dispute.phase = DisputePhase::Accuse;
    Ok(())
}

/// The auditors of a dispute's panel who ruled against the claim, in the order of the draw.
fn accusers(view: &View<'_>, dispute: &Dispute) -> Result<Vec<PublicKey>, Stop> {
    let Some(panel) = panel_of(view, dispute)? else { return Ok(Vec::new()) };
    let mut votes = panel::votes(view, &panel)?;
    votes.retain(|vote| vote.verdict.is_some_and(|verdict| verdict != Verdict::Innocent));
    Ok(votes.iter().map(|vote| vote.auditor).collect())
}

/// The challenger brings the evidence; after a drawn audit, any auditor who ruled against the claim.
fn accuse(
    view: &mut View<'_>,
    dispute: &mut Dispute,
    sender: &PublicKey,
    accusation: &Accusation,
) -> Result<(), Stop> {
    if dispute.audit {
        if !accusers(view, dispute)?.contains(sender) {
            let expected = "an auditor who ruled against the claim".to_string();
            return Err(TxError::Role { expected, got: *sender }.into());
        }
        dispute.challenger = *sender;
    } else if dispute.challenger != *sender {
        return Err(TxError::Role { expected: dispute.challenger.to_string(), got: *sender }.into());
    }
    check_accusation(view, dispute, accusation)?;
    take(dispute, accusation);
    dispute.phase = DisputePhase::Commit;
    Ok(())
}

pub(crate) fn resolve(view: &mut View<'_>, action: &ResolveDispute) -> Result<(), Stop> {
    let dispute: Dispute = view.must(&keys::dispute(&action.dispute), "dispute", action.dispute)?;
    let (now, after) = (view.context.height, dispute.deadline);
    if now <= after {
        return Err(TxError::Early { what: "closing the dispute", after, now }.into());
    }
    if dispute.phase == DisputePhase::Panel {
        let panel = panel_of(view, &dispute)?;
        let ruling = panel.as_ref().map(|panel| panel::ruling(view, panel)).transpose()?.flatten();
        if ruling.is_none() {
            let panel = panel.map_or(0, |panel| panel.auditors.len());
            let votes = panel_of(view, &dispute)?.map(|panel| panel::votes(view, &panel)).transpose()?;
            let got = votes.unwrap_or_default().iter().filter(|vote| vote.verdict.is_some()).count() as u32;
            return Err(TxError::Quorum { expected: panel::quorum(panel) as u32, got }.into());
        }
    }
    expire(view, dispute)
}

/// Close a dispute whose turn is over.
fn expire(view: &mut View<'_>, dispute: Dispute) -> Result<(), Stop> {
    let verdict = match dispute.phase {
        DisputePhase::Panel => {
            let panel = panel_of(view, &dispute)?;
            panel.map(|panel| panel::ruling(view, &panel)).transpose()?.flatten()
        }
        DisputePhase::Accuse | DisputePhase::Name => Some(Verdict::Innocent),
        DisputePhase::Open => Some(Verdict::Mismatch),
        DisputePhase::Weigh => None,
        DisputePhase::Commit | DisputePhase::Prove => {
            let judged = dispute.kind.is_some_and(|kind| view.referee.supports(kind));
            judged.then_some(Verdict::Mismatch)
        }
    };
    close(view, dispute, verdict, false)
}

/// At an epoch boundary: close every dispute whose turn is over.
pub(crate) fn sweep(view: &mut View<'_>) -> Result<(), Stop> {
    let open = view.list_items(&keys::list_of_disputes())?;
    view.want(open.iter().map(keys::dispute))?;
    for id in open {
        if let Some(dispute) = view.get::<Dispute>(&keys::dispute(&id))?
            && view.context.height > dispute.deadline
        {
            expire(view, dispute)?;
        }
    }
    Ok(())
}

/// End a dispute. `proven`: by the referee, so that words of auditors against it were false.
pub(crate) fn close(
    view: &mut View<'_>,
    mut dispute: Dispute,
    verdict: Option<Verdict>,
    proven: bool,
) -> Result<(), Stop> {
    if dispute.audit
        && dispute.phase == DisputePhase::Panel
        && let Some(first) = accusers(view, &dispute)?.first()
    {
        dispute.challenger = *first;
    }
    thaw(view, &dispute)?;
    let mut stats = panel::stats(view, &dispute.run)?;
    let (bond, won) = ((Reason::DisputeBond, &dispute.id), (Reason::DisputeWon, &dispute.id));
    match verdict {
        None => {
            stats.open_ended += 1;
            account::credit_for(view, &dispute.challenger, dispute.bond, bond)?;
            account::credit_for(view, &dispute.accused, dispute.counter, bond)?;
        }
        Some(Verdict::Innocent) => {
            stats.innocent += 1;
            let rest = pay_auditors(view, &dispute)?;
            account::credit_for(view, &dispute.accused, rest, won)?;
            account::credit_for(view, &dispute.accused, dispute.counter, bond)?;
        }
        Some(verdict) => {
            stats.guilty += 1;
            view.put(keys::audit_stats(&dispute.run), stats.clone());
            account::credit_for(view, &dispute.challenger, dispute.bond, bond)?;
            account::credit_for(view, &dispute.challenger, dispute.counter, won)?;
            slashing::punish(view, &dispute, verdict)?;
        }
    }
    view.put(keys::audit_stats(&dispute.run), stats);
    if let Some(verdict) = verdict.filter(|_| proven) {
        charge_auditors(view, &dispute, verdict)?;
    }
    if dispute.paneled && !dispute.audit {
        panel::forget(view, &dispute.id)?;
    }
    game::forget(view, &dispute);
    view.delete(keys::dispute(&dispute.id));
    view.list_remove(keys::list_of_disputes(), dispute.id);
    view.emit(DisputeClosed {
        dispute: dispute.id,
        run: dispute.run,
        accused: dispute.accused,
        verdict,
        game: proven || dispute.phase != DisputePhase::Panel,
    });
    Ok(())
}

/// A frozen claim is pending again. For the rest of this epoch and the whole next one it can be disputed anew.
fn thaw(view: &mut View<'_>, dispute: &Dispute) -> Result<(), Stop> {
    let Some(mut claim) = view.get::<Claim>(&dispute.id)? else { return Ok(()) };
    if claim.state != ClaimState::Disputed {
        return Ok(());
    }
    let run: Run = view.must(&keys::run(&dispute.run), "run", dispute.run)?;
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    claim.not_before = u32::try_from(epoch).unwrap_or(u32::MAX).saturating_add(2);
    if claim.window < run.matured && !claim.ripe {
        claim.ripe = true;
        view.list_add(keys::list_of_ripe(&dispute.run), dispute.id);
    }
    claim.state = ClaimState::Pending;
    view.put(dispute.id, claim);
    Ok(())
}

/// Pay half of the challenger's bond to the auditors who said that the claim is right. Returns the rest.
fn pay_auditors(view: &mut View<'_>, dispute: &Dispute) -> Result<u128, Stop> {
    let Some(panel) = panel_of(view, dispute)? else { return Ok(dispute.bond) };
    let mut right = panel::votes(view, &panel)?;
    right.retain(|vote| vote.verdict == Some(Verdict::Innocent));
    let mut rest = dispute.bond;
    let each = (dispute.bond / 2).checked_div(right.len() as u128).unwrap_or(0);
    for vote in right {
        account::credit_for(view, &vote.auditor, each, (Reason::DisputeWon, &dispute.id))?;
        rest -= each;
    }
    Ok(rest)
}

/// Auditors whose word the referee refuted pay as for a fraud of their own.
fn charge_auditors(view: &mut View<'_>, dispute: &Dispute, verdict: Verdict) -> Result<(), Stop> {
    let Some(panel) = panel_of(view, dispute)? else { return Ok(()) };
    let amount = params::load(view)?.slash_floor;
    let innocent = verdict == Verdict::Innocent;
    for vote in panel::votes(view, &panel)? {
        if vote.verdict.is_some_and(|said| (said == Verdict::Innocent) != innocent) {
            let bond = slashing::false_audit(view, &dispute.run, &vote.auditor, amount)?;
            view.emit(FalseAudit { panel: panel.id, auditor: vote.auditor, bond });
        }
    }
    Ok(())
}

/// Ask auditors of a stage about something that is no claim, such as a chunk of a session. Drawn in the next block.
pub(crate) fn open_session(
    view: &mut View<'_>,
    id: Hash,
    run: &Hash,
    stage: u16,
    client: &PublicKey,
    host: &PublicKey,
) {
    panel::ask(view, id, run, (0, stage, 0), vec![*host, *client]);
}

/// The ruling on [`open_session`]'s subject once its auditors had their time; the panel is then removed.
pub(crate) fn session_verdict(view: &mut View<'_>, id: &Hash) -> Result<Option<Verdict>, Stop> {
    let panel: Panel = view.must(&keys::panel(id), "panel", id)?;
    let now = view.context.height;
    let after = panel::reveal_end(view, &panel)?.unwrap_or(now);
    if now <= after {
        return Err(TxError::Early { what: "the panel's ruling", after, now }.into());
    }
    let ruling = panel::ruling(view, &panel)?;
    panel::forget(view, id)?;
    Ok(ruling)
}
