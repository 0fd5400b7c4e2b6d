//! Measure one optimizer step against the forward and backward passes of the tokens it consumes.
//!
//! A step is applied to a fresh copy of the same state every time, so that its cost does not drift with
//! the weights. Newton-Schulz is replayed at the stage's own matrices; the rest of the step is momentum, descent,
//! AdamW for gains and outer tables, clipping, and turning integers into gradients.

use crate::{
    data,
    error::BenchError,
    flags::{MuonFlags, isa_name},
    measure::{Sample, interleave, repeat, time},
    report::{Report, Row},
    shape::Subject,
    stage::Pass,
};
use tessera_arith::{ArithError, optim, with_isa, with_threads};
use tessera_model::{GradSum, Role, StageState};

/// Iterations of Newton-Schulz in Muon's step (Jordan 2024).
const NEWTON_SCHULZ_STEPS: usize = 5;
/// What is measured for each setting.
const PARTS: [&str; 3] = ["forward-backward", "apply", "newton-schulz"];

pub(crate) fn run(flags: &MuonFlags) -> Result<Report, BenchError> {
    let common = &flags.common;
    let mut report = Report::new("muon", common);
    let subject = Subject::new(&flags.size)?;
    let mut workspace = subject.workspace()?;
    let state = StageState::init(subject.weights.spec(), flags.size.part.stage())?;
    let mut sum = GradSum::zero(&subject.weights);
    Pass::Kept.run(&subject, &mut workspace, &mut sum)?;
    let mut discarded = GradSum::zero(&subject.weights);
    let plan = subject.weights.plan();
    let mut matrices: Vec<(usize, usize, Vec<f32>)> = plan
        .tensors
        .iter()
        .filter(|tensor| matches!(tensor.role, Role::Hidden | Role::ResidualOutput))
        .map(|tensor| (tensor.rows, tensor.cols, data::numbers(7, tensor.len(), 0.05)))
        .collect();
    let settings = common.settings();
    let name = |part: &str, index: usize| {
        let (isa, threads) = settings[index];
        format!("model::{part}/{}/isa={}/threads={threads}", flags.size.keys(), isa_name(isa))
    };
    let labels: Vec<String> =
        (0..settings.len()).flat_map(|index| PARTS.map(|part| name(part, index))).collect();
    let timings = interleave(&labels, common.rounds, |case, calls| {
        let (isa, threads) = settings[case / PARTS.len()];
        with_isa(isa, || {
            with_threads(threads, || match case % PARTS.len() {
                0 => repeat(calls, || Pass::Kept.run(&subject, &mut workspace, &mut discarded).map(|_| ())),
                1 => {
                    let mut total = Sample::default();
                    for _ in 0..calls {
                        let mut fresh = state.clone();
                        total += time(|| fresh.apply(&sum, 1).map(|_| ()))?;
                    }
                    Ok(total)
                }
                _ => Ok(repeat(calls, || {
                    matrices.iter_mut().try_for_each(|(rows, cols, matrix)| {
                        optim::orthogonalise(matrix, *rows, *cols, NEWTON_SCHULZ_STEPS)
                    })
                })
                .map_err(|error: ArithError| error)?),
            })
        })
    })?;
    let (rows, parameters) = (subject.rows as f64, plan.parameters() as f64 / 1e6);
    for (index, timings) in timings.chunks_exact(PARTS.len()).enumerate() {
        let [passes, apply, orthogonal] = timings else { continue };
        let microbatches = flags.step_tokens as f64 / rows;
        let (passing, applying) = (passes.median() * microbatches, apply.median());
        let step = Sample { wall: passing.wall + applying.wall, cpu: passing.cpu + applying.cpu };
        let share = |part: Sample, whole: Sample| 100.0 * part.wall / whole.wall;
        report.rows.push(
            Row::rate(name(PARTS[0], index), "tokens/s", rows, passes).with("step_ms", step.wall * 1e3),
        );
        let row = Row::rate(name(PARTS[1], index), "Mparam/s", parameters, apply);
        report.rows.push(row.with("of_step_%", share(apply.median(), step)));
        let row = Row::rate(name(PARTS[2], index), "Mparam/s", parameters, orthogonal);
        let of_apply = share(orthogonal.median(), apply.median());
        report
            .rows
            .push(row.with("of_apply_%", of_apply).with("of_step_%", share(orthogonal.median(), step)));
    }
    report.notes.push(format!(
        "of step: share of forward, backward and optimizer of a step of {} tokens; of apply: of the optimizer",
        flags.step_tokens
    ));
    Ok(report)
}
