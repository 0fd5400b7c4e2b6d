//! Compute a unit again and digest what it gives: the one function that every check comes down to.
//!
//! ```text
//! middle stage   x, dy        -> y = forward(x); (dx, dW) = backward(x, dy)
//! first stage    tokens, dy   -> y; dW; no dx
//! last stage     x, labels    -> loss of every token in place of y; (dx, dW)
//! probe          x or tokens  -> y, or the loss of every token on the last stage; nothing else
//! ```
//! The worker and its auditors call the same code, with weights of the same state root; the arithmetic gives the
//! same bits on every machine, so equal digests are expected and any difference is a proof. `dW` is digested as the
//! integers that the swarm adds up, so the digest stands for exactly what the unit contributes.
//!
//! **Keyed trace.** [`Outputs::trace`] hashes the tensors themselves under the beacon and the auditor's key. The
//! specification hashes the outputs of all operations; here it is the outputs of the unit. Either way an auditor needs
//! the bytes and not only digests that somebody told it, and whoever helps it must send as many bytes as `dW` has.

use crate::{tensors, unit::UnitId};
use tessera_canon::{Domain, Hash, PublicKey, digest, digest_parts, record};
use tessera_model::{GradSum, ModelError, Sign, StageInput, StageTarget, StageWeights, Workspace};

const TRACE: Domain = Domain::new("tessera/audit/trace/v1");
/// Values hashed at a time.
const PIECE: usize = 1 << 16;

record! {
    /// The digests of a unit's tensors; [`Hash::ZERO`] where it has no such tensor.
    pub struct UnitDigests { pub x: Hash, pub y: Hash, pub dy: Hash, pub dx: Hash, pub dw: Hash }
}

/// What a unit is computed from, besides the weights.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    pub input: StageInput<'a>,
    /// `None` for a probe that goes forward only. On the last stage a probe has labels and is told by `probe`.
    pub target: Option<StageTarget<'a>>,
    /// Whether the unit goes forward only.
    pub probe: bool,
}

/// Why a unit cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum ReexecError {
    /// The weights at hand are not those of the unit.
    #[error(
        "the unit is of {expected}, the weights at hand are of {got}; an auditor needs those of the unit's step"
    )]
    WrongState { expected: String, got: String },
    /// The unit lacks its gradient or labels.
    #[error("stage {stage}: a unit that trains needs {needed}")]
    NoTarget { stage: u16, needed: &'static str },
    /// A NaN or infinity: the unit is void, and nobody may have committed it.
    #[error("the unit is void: {0}")]
    Void(ModelError),
    /// The tensors do not fit the stage.
    #[error(transparent)]
    Model(ModelError),
}

impl From<ModelError> for ReexecError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::NotFinite { .. } => Self::Void(error),
            other => Self::Model(other),
        }
    }
}

/// Everything a unit gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// Activations `[rows, d_model]`; on the last stage the loss of every token `[rows]`.
    pub y: Vec<f32>,
    /// Gradient of the input `[rows, d_model]`; empty on the first stage and for probes.
    pub dx: Vec<f32>,
    /// The microbatch's gradient on the step's grid; `None` for probes.
    pub dw: Option<GradSum>,
}

/// The digests of the unit, computed from `weights` of its step.
pub fn reexec(
    unit: &UnitId,
    weights: &StageWeights,
    work: Work<'_>,
    workspace: &mut Workspace,
) -> Result<UnitDigests, ReexecError> {
    Ok(execute(unit, weights, work, workspace)?.digests(weights, work))
}

/// The same with all tensors, for the worker itself and for traces.
pub fn execute(
    unit: &UnitId,
    weights: &StageWeights,
    work: Work<'_>,
    workspace: &mut Workspace,
) -> Result<Outputs, ReexecError> {
    check_state(unit, weights)?;
    let (stage, last) = (weights.plan().stage, weights.plan().last);
    let missing = |needed| ReexecError::NoTarget { stage, needed };
    if work.probe {
        let y = match (last, work.target) {
            (true, Some(StageTarget::Labels(labels))) => weights.evaluate(work.input, labels, workspace)?,
            (true, _) => return Err(missing("the labels of its tokens")),
            (false, _) => weights.forward(work.input, workspace)?,
        };
        return Ok(Outputs { y, dx: Vec::new(), dw: None });
    }
    let target = work.target.ok_or(missing("the gradient of its output, or its labels on the last stage"))?;
    let mut sum = GradSum::zero(weights);
    if last {
        let out = weights.backward(work.input, target, workspace, Some((&mut sum, Sign::Add)))?;
        return Ok(Outputs { y: out.losses, dx: out.dx.unwrap_or_default(), dw: Some(sum) });
    }
    let (y, kept) = weights.forward_keep(work.input, workspace)?;
    let out = weights.backward_kept(kept, target, workspace, Some((&mut sum, Sign::Add)))?;
    Ok(Outputs { y, dx: out.dx.unwrap_or_default(), dw: Some(sum) })
}

fn check_state(unit: &UnitId, weights: &StageWeights) -> Result<(), ReexecError> {
    let (expected, got) =
        ((unit.run, unit.stage, unit.step), (weights.spec().run_id(), weights.plan().stage, weights.step()));
    if expected == got {
        return Ok(());
    }
    let show =
        |(run, stage, step): (Hash, u16, u64)| format!("run {} stage {stage} step {step}", run.short());
    Err(ReexecError::WrongState { expected: show(expected), got: show(got) })
}

impl Outputs {
    /// The digests of these outputs, computed from `work`.
    pub fn digests(&self, weights: &StageWeights, work: Work<'_>) -> UnitDigests {
        let width = weights.spec().model.d_model as usize;
        let boundary = |values: &[f32]| {
            if values.is_empty() { Hash::ZERO } else { tensors::boundary(values, width) }
        };
        UnitDigests {
            x: match work.input {
                StageInput::Tokens(tokens) => tensors::tokens(tokens),
                StageInput::Hidden(x) => boundary(x),
            },
            y: if weights.plan().last { tensors::losses(&self.y) } else { boundary(&self.y) },
            dy: match work.target {
                Some(StageTarget::Labels(labels)) => tensors::tokens(labels),
                Some(StageTarget::Grad(dy)) if !work.probe => boundary(dy),
                _ => Hash::ZERO,
            },
            dx: boundary(&self.dx),
            dw: self.dw.as_ref().map_or(Hash::ZERO, |sum| tensors::gradient(sum, weights.plan())),
        }
    }

    /// A hash of all outputs that belongs to one auditor, unit and beacon.
    pub fn trace(&self, beacon: &Hash, auditor: &PublicKey, unit: &UnitId) -> Hash {
        let key = digest(TRACE, &(*beacon, (*auditor, unit.id())));
        let mut pieces = Vec::new();
        for values in [&self.y, &self.dx] {
            for piece in values.chunks(PIECE) {
                let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
                pieces.push(digest_parts(TRACE, [&key.0[..], &bytes]));
            }
        }
        for piece in self.dw.iter().flat_map(|sum| sum.values().chunks(PIECE)) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            pieces.push(digest_parts(TRACE, [&key.0[..], &bytes]));
        }
        digest_parts(TRACE, pieces.iter().map(|piece| &piece.0[..]))
    }
}
