//! Turn reported work into pending shares, window by window (ownership specification 4.1, 4.2, 4.4).
//!
//! Stages of a window report in any order and all its claims have one weight. When the last stage has
//! reported, the window closes: the running minimum of the loss sets the next weight (at once, or when a
//! committee has measured it: [`evaluation`]), exclusivity may end, and after the last window the run serves.

use crate::{
    account,
    action::{LossSource, REPORT, ReportWindow},
    error::TxError,
    event::{BondReturned, StageReported, WindowClosed},
    governance, keys,
    ownership::vesting,
    record::{Claim, ClaimState, Credits, Member, Run, RunState, RunTerms, Stage, StageReport, Window},
    run,
    runs::{evaluation, policy},
    seat, shares,
    store::{Stop, View},
    trust,
};
use tessera_canon::{Hash, PublicKey, digest};

/// Signatures that make a report of a stage with `held` seats: more than half.
pub fn quorum(held: u32) -> u32 {
    held / 2 + 1
}

pub(crate) fn report(view: &mut View<'_>, sender: &PublicKey, action: &ReportWindow) -> Result<(), Stop> {
    let report = &action.report;
    let id = report.run;
    let (terms, mut run) = run::load(view, &id)?;
    if report.network != view.context.network {
        return Err(TxError::SignedForOtherNetwork {
            what: "the report",
            expected: view.context.network,
            got: report.network,
        }
        .into());
    }
    if !seat::in_training(&run) {
        return Err(run::wrong_state(&run, "exclusive or open"));
    }
    if report.window != run.window {
        return Err(TxError::WindowOrder { expected: run.window, got: report.window }.into());
    }
    let generation = trust::rollback::newest(view, &id)?.map_or(0, |newest| newest.generation);
    if report.generation != generation {
        return Err(TxError::Parameter {
            what: "the report's generation (rollbacks of the run)",
            expected: generation.to_string(),
            got: report.generation.to_string(),
        }
        .into());
    }
    if report.stage >= terms.stages {
        return Err(TxError::Unknown { what: "stage", id: report.stage.to_string() }.into());
    }
    if terms.loss_source == LossSource::Committee {
        evaluation::check_closed(view, &run)?;
    }
    let window_key = keys::window(&id, report.window);
    let stage_key = keys::stage(&id, report.stage);
    view.want(
        [
            window_key,
            stage_key,
            keys::credits(&id),
            keys::member(&id, sender),
            keys::run_policy(&id),
            keys::rollback(&id, 0),
        ]
        .into_iter()
        .chain(report.entries.iter().map(|e| keys::member(&id, &e.account)))
        .chain(report.entries.iter().map(|e| keys::owner(&id, &e.account)))
        .chain(report.entries.iter().map(|e| keys::conduct(&id, &e.account))),
    )?;
    let stage: Stage = view.must(&stage_key, "stage", report.stage)?;
    let mut window = view.get::<Window>(&window_key)?.unwrap_or(Window {
        run: id,
        window: report.window,
        weight: run.weight,
        reported: 0,
        wu: 0,
        loss: None,
        closed: false,
        median: 0,
        horizon: policy::of(view, &id)?.pending_windows,
    });
    if window.reported >> report.stage & 1 == 1 {
        return Err(TxError::Duplicate { what: "report of stage", id: report.stage.to_string() }.into());
    }
    let last_stage = report.stage + 1 == terms.stages;
    if report.loss.is_some() != last_stage || report.loss == Some(0) {
        return Err(TxError::Parameter {
            what: "the loss",
            expected: if last_stage {
                "above 0".into()
            } else {
                "absent, it comes from the last stage".into()
            },
            got: format!("{:?}", report.loss),
        }
        .into());
    }
    check_work(view, &terms, action)?;
    let signers = check_quorum(view, &stage, action)?;

    let mut credits: Credits = view.must(&keys::credits(&id), "run", id)?;
    let mut total = 0u64;
    for (index, entry) in (0u16..).zip(report.entries.iter()) {
        // Within u64 and u128: creation bounds the planned work by 2^62, the weight by 2^16.
        let wu = u64::from(entry.microbatches) * stage.wu;
        let made = u128::from(wu) * u128::from(window.weight);
        let mut owner = shares::load_or_new(view, &credits, &entry.account)?;
        // The work must be accounted for, so a barred account's claim is void rather than the report refused.
        let void = trust::barred(view, &run, &entry.account)?;
        if void {
            credits.voided += made;
        } else {
            owner.pending += made;
            credits.pending += made;
        }
        view.put(keys::owner(&id, &entry.account), owner);
        total += wu;
        view.put(
            keys::claim(&id, report.window, report.stage, index),
            Claim {
                run: id,
                window: report.window,
                stage: report.stage,
                account: entry.account,
                microbatches: entry.microbatches,
                wu,
                weight: window.weight,
                shares: made,
                voided: if void { made } else { 0 },
                state: if void { ClaimState::Void } else { ClaimState::Pending },
                not_before: 0,
                ripe: false,
            },
        );
    }
    view.put(keys::credits(&id), credits);
    view.put(
        keys::stage_report(&id, report.window, report.stage),
        StageReport {
            run: id,
            window: report.window,
            stage: report.stage,
            claims: report.entries.len() as u16,
            state_root: report.state_root,
            generation: report.generation,
            anchor: report.anchor,
            seed: Hash::ZERO,
            loss: report.loss,
            signers,
            height: view.context.height,
        },
    );
    view.list_add(keys::list_of_reports(), keys::stage_report(&id, report.window, report.stage));
    view.emit(StageReported {
        run: id,
        window: report.window,
        stage: report.stage,
        wu: total,
        weight: window.weight,
        state_root: report.state_root,
        loss: report.loss,
    });
    run.f_done += total;
    if run.state == RunState::Exclusive {
        // Only designers can hold a place while the run is exclusive.
        run.f_designer += total;
    }
    window.reported |= 1 << report.stage;
    window.wu += total;
    window.loss = window.loss.or(report.loss);
    if window.reported.count_ones() == u32::from(terms.stages) {
        close(view, &terms, &mut run, &mut window)?;
    }
    view.put(window_key, window);
    view.put(keys::run(&id), run);
    seat::heard(view, &id, sender)
}

/// Entries ascend, belong to the stage and sum to the window's microbatches.
fn check_work(view: &View<'_>, terms: &RunTerms, action: &ReportWindow) -> Result<(), Stop> {
    let report = &action.report;
    if let Some(at) = report.entries.windows(2).position(|pair| pair[0].account >= pair[1].account) {
        return Err(TxError::NotAscending { what: "the accounts", at: at + 1 }.into());
    }
    let expected = terms.window_microbatches(report.window);
    let got = report.entries.iter().map(|entry| u64::from(entry.microbatches)).sum();
    if got != expected {
        return Err(TxError::WorkSum { expected, got }.into());
    }
    for entry in report.entries.iter() {
        let member = view.get::<Member>(&keys::member(&report.run, &entry.account))?;
        let seated = member.filter(|member| member.seated);
        if seated.and_then(|member| member.stage) != Some(report.stage) {
            return Err(TxError::NotMember { account: entry.account, detail: " bound to this stage" }.into());
        }
    }
    Ok(())
}

/// More than half of the held seats signed; each signer counts as heard. Returns the bits of the signers.
fn check_quorum(view: &mut View<'_>, stage: &Stage, action: &ReportWindow) -> Result<u64, Stop> {
    let mut seats = seat::held_seats(view, stage)?;
    let digest = digest(REPORT, &action.report);
    if let Some(at) = action.signatures.windows(2).position(|pair| pair[0].seat >= pair[1].seat) {
        return Err(TxError::NotAscending { what: "the signing seats", at: at + 1 }.into());
    }
    let needed = quorum(seats.len() as u32);
    let held: Vec<_> =
        action.signatures.iter().filter(|s| s.seat < 64 && stage.held >> s.seat & 1 == 1).collect();
    if (held.len() as u32) < needed {
        return Err(TxError::Quorum { expected: needed, got: held.len() as u32 }.into());
    }
    let mut signers = 0u64;
    for signed in held {
        let Some(seat) = seats.iter_mut().find(|seat| seat.seat == signed.seat) else { continue };
        if !account::signer(view, &seat.account)?.verify_digest(&digest, &signed.signature) {
            return Err(TxError::SeatSignature { seat: signed.seat }.into());
        }
        signers |= 1 << signed.seat;
        seat.heard = view.context.height;
        view.put(keys::seat(&stage.run, stage.stage, seat.seat), seat.clone());
    }
    Ok(signers)
}

fn close(view: &mut View<'_>, terms: &RunTerms, run: &mut Run, window: &mut Window) -> Result<(), Stop> {
    window.closed = true;
    window.median = median_claim(view, terms, window.window)?;
    let loss = window.loss.unwrap_or(run.loss_min);
    run.window += 1;
    match terms.loss_source {
        LossSource::LastStage => run::learn(terms, run, loss),
        LossSource::Committee => evaluation::start(view, run, window.window, loss),
    }
    view.emit(WindowClosed {
        run: run.run,
        window: window.window,
        wu: window.wu,
        loss,
        next_weight: run.weight,
    });
    let finished = run.window == run.windows;
    if run.state == RunState::Exclusive
        && (run.f_designer >= terms.f_exclusive || run.window >= terms.exclusive_windows || finished)
    {
        run::end_exclusive(view, terms, run)?;
    }
    if run.state == RunState::Open {
        return_bond(view, terms, run, finished)?;
        if finished {
            run::enter(view, run, RunState::Serving);
        }
    }
    Ok(())
}

/// The lower median of a window's claims, in work units; 0 without any.
fn median_claim(view: &View<'_>, terms: &RunTerms, window: u32) -> Result<u64, Stop> {
    let run = &terms.run;
    view.want((0..terms.stages).map(|stage| keys::stage_report(run, window, stage)))?;
    let mut claims = Vec::new();
    for stage in 0..terms.stages {
        let report = view.get::<StageReport>(&keys::stage_report(run, window, stage))?;
        let count = report.map_or(0, |report| report.claims);
        claims.extend((0..count).map(|index| keys::claim(run, window, stage, index)));
    }
    view.want(claims.iter().copied())?;
    let mut work = Vec::new();
    for key in claims {
        work.extend(view.get::<Claim>(&key)?.map(|claim| claim.wu));
    }
    work.sort_unstable();
    Ok(work.get(work.len().saturating_sub(1) / 2).copied().unwrap_or(0))
}

/// The designers' bond comes back in equal parts at the closes of the first half of the open windows; all of it
/// when training is `finished`. Parts are differences of whole multiples, so that their sum is exact.
pub(crate) fn return_bond(
    view: &mut View<'_>,
    terms: &RunTerms,
    run: &mut Run,
    finished: bool,
) -> Result<(), Stop> {
    let parts = terms.windows().saturating_sub(run.opened).div_ceil(2).max(1);
    let done = if finished { parts } else { run.window.saturating_sub(run.opened).min(parts) };
    // `bond x done / parts`, formed so that no product overflows: the rest is below `parts`.
    let (whole, rest) = (terms.bond / u128::from(parts), terms.bond % u128::from(parts));
    let returned = whole * u128::from(done) + rest * u128::from(done) / u128::from(parts);
    let amount = run.bond.saturating_sub(terms.bond - returned);
    if amount > 0 {
        run.bond -= amount;
        account::credit(view, &terms.creator, amount)?;
        view.emit(BondReturned { run: run.run, to: terms.creator, amount });
    }
    Ok(())
}

/// Close the window in progress before all stages have reported, if any has: the owners ended training.
/// Without the last stage's report the loss is unknown and the weight stays.
pub(crate) fn close_early(view: &mut View<'_>, terms: &RunTerms, run: &mut Run) -> Result<(), Stop> {
    let key = keys::window(&run.run, run.window);
    if let Some(mut window) = view.get::<Window>(&key)? {
        close(view, terms, run, &mut window)?;
        view.put(key, window);
    }
    Ok(())
}

/// At an epoch boundary: claims past their horizon become active; those of an aborted run become void.
pub(crate) fn mature(view: &mut View<'_>, terms: &RunTerms, run: &mut Run) -> Result<(), Stop> {
    let aborted = run.state == RunState::Aborted;
    vesting::settle_ripe(view, &run.run, aborted)?;
    // The window in progress may hold claims too; an aborted run takes no more.
    let end = if aborted { run.window.saturating_add(1) } else { run.window };
    while run.matured < end {
        let horizon = view.get::<Window>(&keys::window(&run.run, run.matured))?.map_or(0, |w| w.horizon);
        let horizon = u64::from(horizon);
        let elapsed = u64::from(run.window) + u64::from(run.serving_epochs);
        if !aborted && elapsed < u64::from(run.matured) + 1 + horizon {
            break;
        }
        let window = run.matured;
        view.want((0..terms.stages).map(|stage| keys::stage_report(&run.run, window, stage)))?;
        for stage in 0..terms.stages {
            if let Some(report) = view.get::<StageReport>(&keys::stage_report(&run.run, window, stage))? {
                mature_stage(view, &run.run, &report, aborted)?;
            }
        }
        run.matured += 1;
    }
    Ok(())
}

fn mature_stage(view: &mut View<'_>, run: &Hash, report: &StageReport, void: bool) -> Result<(), Stop> {
    let (window, stage) = (report.window, report.stage);
    let key_of = |index| keys::claim(run, window, stage, index);
    view.want((0..report.claims).map(key_of))?;
    let mut claims = Vec::new();
    for index in 0..report.claims {
        claims.extend(view.get::<Claim>(&key_of(index))?.map(|claim| (key_of(index), claim)));
    }
    view.want(claims.iter().flat_map(|(_, claim)| governance::work::keys_of(run, &claim.account)))?;
    view.want(claims.iter().flat_map(|(_, claim)| {
        let account = &claim.account;
        [keys::owner(run, account), keys::conduct(run, account), keys::vesting(run, account)]
    }))?;
    let lock = vesting::lock(view, run)?;
    let mut credits: Credits = view.must(&keys::credits(run), "run", run)?;
    for (key, claim) in claims {
        vesting::settle(view, &mut credits, key, claim, void, &lock)?;
    }
    view.put(keys::credits(run), credits);
    Ok(())
}
