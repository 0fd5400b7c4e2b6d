//! Measure a window's held-out loss by a drawn committee: commit, reveal, median (ownership specification 4.2).
//!
//! ```text
//! window closes -> Drawing -- next block's beacon --> Committing -- all, or time --> Revealing -- all, or time --> Closed
//! ```
//! Members are drawn from the held seats of all stages but the last, whose quorum reports the figure that the
//! committee is to check; an account is bound to one stage for life, so none of them worked in the last one.
//! Both tails are clipped by taking the median: the upper one of an even number, so that the weight falls only
//! if more than half of those who revealed measured that little. If at most half of the committee reveals, or
//! none can be drawn, the last stage's figure stands. Reports of the next window wait for the result, so that
//! the weight of every window follows from the losses before it and from nobody's timing.
//!
//! Phases change at the start of blocks only: the order of transactions in a block cannot matter. A member
//! that committed and did not reveal loses a twentieth of its bond to the public fund.

use crate::{
    account,
    action::{EVALUATED, EvalCommit, EvalReveal, Evaluated},
    error::TxError,
    event::{EvaluationClosed, EvaluationDrawn},
    keys,
    record::{CommitteeParams, EvalMember, Evaluation, EvaluationPhase, Run, RunTerms, Stage},
    run,
    runs::bond,
    seat,
    store::{Stop, View},
};
use tessera_canon::{Domain, Hash, List, PublicKey, digest};

const DRAW: Domain = Domain::new("tessera/ledger/evaluation-draw/v1");
/// Most members: what the event that names them can hold.
const MOST_MEMBERS: u16 = 64;

fn params(view: &View<'_>) -> Result<CommitteeParams, Stop> {
    Ok(view.get(&keys::committee_params())?.unwrap_or_default())
}

/// Begin the evaluation of the window that `run` has just closed; `reported` is the last stage's figure.
pub(crate) fn start(view: &mut View<'_>, run: &Run, window: u32, reported: u32) {
    let evaluation = Evaluation {
        run: run.run,
        window,
        phase: EvaluationPhase::Drawing,
        until: view.context.height,
        members: 0,
        reported,
        loss: reported,
    };
    view.put(keys::evaluation(&run.run), evaluation);
    view.list_add(keys::list_of_evaluations(), run.run);
}

/// Refuse while the window before `run.window` is being evaluated.
pub(crate) fn check_closed(view: &View<'_>, run: &Run) -> Result<(), Stop> {
    match view.get::<Evaluation>(&keys::evaluation(&run.run))? {
        Some(last) if last.phase != EvaluationPhase::Closed => {
            Err(TxError::Evaluating { window: last.window, until: last.until }.into())
        }
        _ => Ok(()),
    }
}

/// The upper median of `values`, which must not be empty: more than half of them are at most this.
pub fn median(values: &mut [u32]) -> u32 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// At the start of a block: draw committees, end phases.
pub(crate) fn step(view: &mut View<'_>) -> Result<(), Stop> {
    let runs = view.list_items(&keys::list_of_evaluations())?;
    if runs.is_empty() {
        return Ok(());
    }
    view.want(runs.iter().map(keys::evaluation).chain([keys::committee_params()]))?;
    for id in runs {
        if let Some(evaluation) = view.get::<Evaluation>(&keys::evaluation(&id))? {
            advance(view, evaluation)?;
        }
    }
    Ok(())
}

fn advance(view: &mut View<'_>, mut evaluation: Evaluation) -> Result<(), Stop> {
    let (height, params) = (view.context.height, params(view)?);
    let id = evaluation.run;
    let (terms, mut run) = run::load(view, &id)?;
    match evaluation.phase {
        EvaluationPhase::Drawing => {
            let members = draw(view, &terms, evaluation.window, params.size)?;
            evaluation.members = members.len() as u16;
            if members.is_empty() {
                return close(view, &terms, &mut run, evaluation, &[]);
            }
            evaluation.phase = EvaluationPhase::Committing;
            evaluation.until = height.saturating_add(params.commit_blocks);
            for (index, account) in (0u16..).zip(members.iter().copied()) {
                let window = evaluation.window;
                let member = EvalMember { run: id, window, index, account, commitment: None, loss: None };
                view.put(keys::eval_member(&id, index), member);
            }
            let members = List::new(members).unwrap_or_default();
            view.emit(EvaluationDrawn { run: id, window: evaluation.window, members });
        }
        EvaluationPhase::Committing => {
            let members = members(view, &evaluation)?;
            if height <= evaluation.until && members.iter().any(|member| member.commitment.is_none()) {
                return Ok(());
            }
            evaluation.phase = EvaluationPhase::Revealing;
            evaluation.until = height.saturating_add(params.reveal_blocks);
        }
        EvaluationPhase::Revealing => {
            let members = members(view, &evaluation)?;
            let missing = |member: &EvalMember| member.commitment.is_some() && member.loss.is_none();
            if height <= evaluation.until && members.iter().any(missing) {
                return Ok(());
            }
            return close(view, &terms, &mut run, evaluation, &members);
        }
        EvaluationPhase::Closed => return Ok(()),
    }
    view.put(keys::evaluation(&id), evaluation);
    Ok(())
}

/// Up to `size` accounts with seats outside the last stage, by a hash that depends on this block's beacon.
fn draw(view: &View<'_>, terms: &RunTerms, window: u32, size: u16) -> Result<Vec<PublicKey>, Stop> {
    let stages: Vec<u16> = (0..terms.stages.saturating_sub(1)).collect();
    view.want(stages.iter().map(|stage| keys::stage(&terms.run, *stage)))?;
    let mut places = Vec::new();
    for stage in stages {
        let stage: Stage = view.must(&keys::stage(&terms.run, stage), "stage", stage)?;
        for seat in (0..stage.used).filter(|seat| stage.held >> seat & 1 == 1) {
            let tie = digest(DRAW, &((view.context.beacon, terms.run), (window, (stage.stage, seat))));
            places.push((tie, stage.stage, seat));
        }
    }
    places.sort_unstable();
    places.truncate(size.min(MOST_MEMBERS).into());
    let mut members = Vec::new();
    for (_, stage, seat) in places {
        members.extend(seat::at(view, &terms.run, stage, seat)?.map(|seat| seat.account));
    }
    Ok(members)
}

fn members(view: &View<'_>, evaluation: &Evaluation) -> Result<Vec<EvalMember>, Stop> {
    let of = |index| keys::eval_member(&evaluation.run, index);
    view.want((0..evaluation.members).map(of))?;
    let mut members = Vec::new();
    for index in 0..evaluation.members {
        members.extend(view.get::<EvalMember>(&of(index))?);
    }
    Ok(members)
}

/// The result sets the running minimum and with it the weight of windows to come.
fn close(
    view: &mut View<'_>,
    terms: &RunTerms,
    run: &mut Run,
    mut evaluation: Evaluation,
    members: &[EvalMember],
) -> Result<(), Stop> {
    let mut losses: Vec<u32> = members.iter().filter_map(|member| member.loss).collect();
    let revealed = losses.len() as u16;
    if 2 * losses.len() > members.len() {
        evaluation.loss = median(&mut losses);
    }
    for member in members.iter().filter(|member| member.commitment.is_some() && member.loss.is_none()) {
        let held = bond::held(view, &run.run, &member.account)?;
        let lost = bond::take(view, &run.run, &member.account, held / 20)?;
        account::to_fund(view, lost)?;
    }
    run::learn(terms, run, evaluation.loss);
    view.emit(EvaluationClosed {
        run: run.run,
        window: evaluation.window,
        loss: evaluation.loss,
        revealed,
        next_weight: run.weight,
    });
    evaluation.phase = EvaluationPhase::Closed;
    evaluation.until = view.context.height;
    view.list_remove(keys::list_of_evaluations(), run.run);
    view.put(keys::run(&run.run), run.clone());
    view.put(keys::evaluation(&run.run), evaluation);
    Ok(())
}

/// The evaluation of `window` in phase `expected`, and the sender's place in its committee.
fn place(
    view: &View<'_>,
    run: &Hash,
    window: u32,
    sender: &PublicKey,
    expected: EvaluationPhase,
    name: &'static str,
) -> Result<EvalMember, Stop> {
    let evaluation: Evaluation = view.must(&keys::evaluation(run), "evaluation of run", run)?;
    let got = match evaluation.phase {
        EvaluationPhase::Drawing => "being drawn",
        EvaluationPhase::Committing => "taking commitments",
        EvaluationPhase::Revealing => "taking reveals",
        EvaluationPhase::Closed => "closed",
    };
    if evaluation.window != window {
        return Err(TxError::WindowOrder { expected: evaluation.window, got: window }.into());
    }
    if evaluation.phase != expected {
        return Err(TxError::Phase { expected: name, got }.into());
    }
    let member = members(view, &evaluation)?.into_iter().find(|member| member.account == *sender);
    let expected = || "a member of the evaluation committee".to_string();
    member.ok_or_else(|| TxError::Role { expected: expected(), got: *sender }.into())
}

pub(crate) fn commit(view: &mut View<'_>, sender: &PublicKey, action: &EvalCommit) -> Result<(), Stop> {
    let phase = EvaluationPhase::Committing;
    let mut member = place(view, &action.run, action.window, sender, phase, "taking commitments")?;
    if member.commitment.is_some() {
        return Err(TxError::Duplicate { what: "commitment of", id: sender.to_string() }.into());
    }
    member.commitment = Some(action.hash);
    view.put(keys::eval_member(&action.run, member.index), member);
    seat::heard(view, &action.run, sender)
}

pub(crate) fn reveal(view: &mut View<'_>, sender: &PublicKey, action: &EvalReveal) -> Result<(), Stop> {
    let phase = EvaluationPhase::Revealing;
    let mut member = place(view, &action.run, action.window, sender, phase, "taking reveals")?;
    if member.loss.is_some() {
        return Err(TxError::Duplicate { what: "reveal of", id: sender.to_string() }.into());
    }
    let measured = Evaluated {
        network: view.context.network,
        run: action.run,
        window: action.window,
        account: *sender,
        loss: action.loss,
        salt: action.salt,
    };
    let got = digest(EVALUATED, &measured);
    if action.loss == 0 || member.commitment != Some(got) {
        return Err(TxError::Reveal { expected: member.commitment, got }.into());
    }
    member.loss = Some(action.loss);
    view.put(keys::eval_member(&action.run, member.index), member);
    seat::heard(view, &action.run, sender)
}
