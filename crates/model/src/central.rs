//! Train and evaluate a whole run in one process: the reference that a swarm must equal bit for bit.
//!
//! The same functions a trainer uses, called in the plainest order: microbatch after microbatch through all
//! stages. With the `f32` wire codec the state roots are those of any swarm that counts the same
//! microbatches.

use crate::{
    data::{Dataset, Microbatch},
    error::ModelError,
    gradient::GradSum,
    layer,
    spec::RunSpec,
    stage::{StageInput, StageTarget},
    state::{StageState, StepReport},
    workspace::{Kept, Workspace},
};
use tessera_canon::Hash;

/// What an observer sees after each step.
#[derive(Clone, Debug)]
pub struct StepView<'a> {
    /// Steps done, this one included.
    pub step: u64,
    /// Loss of each microbatch in nats per token, before the step, in order.
    pub losses: &'a [f32],
    /// What each stage's optimizer did.
    pub reports: &'a [StepReport],
    /// The stages after the step.
    pub stages: &'a [StageState],
}

/// The end of a reference run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// State root of each stage.
    pub roots: Vec<Hash>,
    /// Mean training loss of each step in nats per token, before the step.
    pub losses: Vec<f32>,
    /// The stages.
    pub stages: Vec<StageState>,
}

/// All stages before the first step.
pub fn init(spec: &RunSpec) -> Result<Vec<StageState>, ModelError> {
    (0..spec.stage_count()).map(|stage| StageState::init(spec, stage)).collect()
}

/// Run one microbatch through all stages forward and backward; returns its loss. `sums` holds one gradient
/// sum per stage. What the stages keep in between is that of this one microbatch.
pub fn microbatch(
    stages: &[StageState],
    sums: &mut [GradSum],
    batch: &Microbatch,
    workspace: &mut Workspace,
) -> Result<f32, ModelError> {
    let (last, before) = stages.split_last().ok_or(ModelError::NoSuchStage { got: 0, count: 0 })?;
    let mut kept: Vec<Kept> = Vec::new();
    let mut hidden: Option<Vec<f32>> = None;
    for stage in before {
        let input = hidden.as_deref().map_or(StageInput::Tokens(&batch.tokens), StageInput::Hidden);
        let (output, tape) = stage.forward_keep(input, workspace)?;
        kept.push(tape);
        hidden = Some(output);
    }
    // The last stage runs both ways at once.
    let input = hidden.as_deref().map_or(StageInput::Tokens(&batch.tokens), StageInput::Hidden);
    let out = last.backward(input, StageTarget::Labels(&batch.labels), workspace, &mut sums[before.len()])?;
    let mut gradient = out.dx.unwrap_or_default();
    for ((stage, sum), tape) in before.iter().zip(sums).zip(kept).rev() {
        let out = stage.backward_kept(tape, StageTarget::Grad(&gradient), workspace, sum)?;
        gradient = out.dx.unwrap_or_default();
    }
    Ok(out.loss.expect("the last stage, which every run has, yields a loss"))
}

/// Train `steps` steps from the beginning, calling `observer` after each.
pub fn train(
    spec: &RunSpec,
    data: &Dataset,
    steps: u32,
    mut observer: impl FnMut(StepView<'_>),
) -> Result<Trained, ModelError> {
    let mut stages = init(spec)?;
    let mut workspace = Workspace::new(spec)?;
    let mut course = Vec::new();
    for step in 0..u64::from(steps) {
        let mut sums: Vec<GradSum> = stages.iter().map(|stage| GradSum::zero(stage.weights())).collect();
        let mut losses = Vec::new();
        for index in 0..spec.batch.microbatches {
            let batch = data.microbatch(spec, step, index)?;
            losses.push(microbatch(&stages, &mut sums, &batch, &mut workspace)?);
        }
        let mut reports = Vec::new();
        for (stage, sum) in stages.iter_mut().zip(&sums) {
            reports.push(stage.apply(sum, spec.batch.microbatches)?);
        }
        course.push(layer::mean(&losses));
        observer(StepView { step: step + 1, losses: &losses, reports: &reports, stages: &stages });
    }
    Ok(Trained { roots: stages.iter().map(StageState::state_root).collect(), losses: course, stages })
}

/// Mean held-out loss in nats per token over the run's evaluation microbatches.
pub fn evaluate(spec: &RunSpec, data: &Dataset, stages: &[StageState]) -> Result<f32, ModelError> {
    let mut workspace = Workspace::new(spec)?;
    let mut losses = Vec::new();
    let (last, before) = stages.split_last().ok_or(ModelError::NoSuchStage { got: 0, count: 0 })?;
    for index in 0..spec.eval.microbatches {
        let batch = data.held_out(spec, index)?;
        let mut hidden: Option<Vec<f32>> = None;
        for stage in before {
            let input = hidden.as_deref().map_or(StageInput::Tokens(&batch.tokens), StageInput::Hidden);
            hidden = Some(stage.forward(input, &mut workspace)?);
        }
        let input = hidden.as_deref().map_or(StageInput::Tokens(&batch.tokens), StageInput::Hidden);
        losses.extend(last.evaluate(input, &batch.labels, &mut workspace)?);
    }
    Ok(layer::mean(&losses))
}
