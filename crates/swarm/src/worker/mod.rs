//! Do the arithmetic of a seat: the jobs a [`Trainer`](crate::Trainer) orders, one after the other.
//!
//! The worker owns the stage's state, its gradient sum and its store. It knows no peers. It is synchronous and
//! deterministic, so a simulator runs it inline and a node runs it on a thread of its own. Between a unit's
//! forward and backward job it holds the unit's tape where its budget of memory allows; results are the same
//! bits with and without.

mod checks;
#[cfg(feature = "attackers")]
mod conduct;
mod job;

pub use job::{AuditJob, Extra, Job, JobResult, Made, PlayJob, Share, WorkerError};

use crate::{DEFAULT_TAPE_BYTES, Saved, Shape, StateStore, StoreError, tapes::Tapes};
use std::sync::Arc;
use tessera_audit::tensors;
use tessera_canon::{Hash, digest_bytes};
use tessera_model::{
    Dataset, GradSum, Microbatch, RunSpec, Sign, StageInput, StageState, StageTarget, StageWeights, Workspace,
};
use tessera_wire::{
    Tensor,
    training::{PIECE, PIECE_BYTES, StateManifest, StepRecord},
};

/// The arithmetic of one seat.
pub struct Worker {
    spec: Arc<RunSpec>,
    shape: Shape,
    stage: u16,
    data: Option<Arc<Dataset>>,
    store: Box<dyn StateStore>,
    state: StageState,
    progress: u64,
    earlier: Option<(u64, StageWeights)>,
    sum: GradSum,
    workspace: Workspace,
    tapes: Tapes,
    unsaved: Option<Saved>,
    /// Rollbacks of the run that the state knows of.
    generation: u32,
    /// One unit's gradient, before it joins the sum.
    single: GradSum,
    /// Weights of the step that was audited last.
    audited: Option<(u64, StageWeights)>,
    #[cfg(feature = "attackers")]
    conduct: Option<conduct::Conduct>,
}

impl Worker {
    /// A worker for `stage` of the run; the first and the last stage need the data.
    pub fn new(
        spec: Arc<RunSpec>,
        stage: u16,
        data: Option<Arc<Dataset>>,
        store: Box<dyn StateStore>,
    ) -> Result<Self, WorkerError> {
        let state = StageState::init(&spec, stage)?;
        Ok(Self {
            shape: Shape::of(&spec),
            stage,
            data,
            store,
            sum: GradSum::zero(state.weights()),
            single: GradSum::zero(state.weights()),
            state,
            progress: 0,
            earlier: None,
            workspace: Workspace::new(&spec)?,
            tapes: Tapes::new(DEFAULT_TAPE_BYTES),
            unsaved: None,
            generation: 0,
            audited: None,
            #[cfg(feature = "attackers")]
            conduct: None,
            spec,
        })
    }

    /// Hold at most `bytes` of tapes, instead of [`DEFAULT_TAPE_BYTES`]. With fewer than one unit's, every backward
    /// job runs forward again. One more tape's memory is needed to do so.
    pub fn set_tape_budget(&mut self, bytes: usize) {
        self.tapes.set_budget(bytes, &mut self.workspace);
        self.workspace.release();
    }

    /// Bytes of tapes held now.
    pub fn tape_bytes(&self) -> usize {
        self.tapes.bytes()
    }

    /// The state as it stands, for serving and inspection.
    pub fn state(&self) -> &StageState {
        &self.state
    }

    /// Do `job`.
    pub fn execute(&mut self, job: Job) -> JobResult {
        let (name, unit) = describe(&job);
        self.attempt(job).unwrap_or_else(|error| JobResult::Failed { job: name, unit, error })
    }

    fn attempt(&mut self, job: Job) -> Result<JobResult, WorkerError> {
        match job {
            Job::Load => self.load(),
            Job::Forward { step, unit, input } => {
                let tensor = self.forward(step, unit, input)?;
                Ok(JobResult::Forwarded { step, unit, tensor })
            }
            Job::Backward { step, unit, input, output_gradient, accumulate } => {
                self.backward(step, unit, input, output_gradient, accumulate)
            }
            Job::Measure { step, unit, input } => {
                let input = self.input(step, unit, input)?;
                let labels = self.tokens(step, unit)?.labels;
                self.fetch_version(step)?;
                let weights = weights_at(&self.state, &self.earlier, self.progress, step)?;
                let losses = weights.evaluate(input.as_stage_input(), &labels, &mut self.workspace)?;
                Ok(JobResult::Measured { step, unit, loss: mean_micro_nats(&losses) })
            }
            Job::Sum { step, units, extra } => {
                self.must_be_at(step)?;
                let sum = self.sum_without(&extra, step)?;
                let root = tensors::gradient(&sum, self.state.weights().plan());
                Ok(JobResult::Summed { step, units, sum: sum.to_bytes()?.into(), root })
            }
            Job::Close { record, units: _, extra, others, keep } => self.close(record, &extra, &others, keep),
            Job::Save => Ok(JobResult::Saved(self.save())),
            Job::Export => Ok(self.export()),
            Job::Install { progress, state_root, generation, pieces, records } => {
                self.install(progress, state_root, generation, &pieces, records)
            }
            Job::RollBack { step, generation } => self.roll_back(step, generation),
            Job::Audit(job) => self.audit(*job),
            Job::Play(job) => self.play(*job),
        }
    }

    fn load(&mut self) -> Result<JobResult, WorkerError> {
        let mut records = Vec::new();
        if let Some(saved) = self.store.load(None)? {
            self.state = StageState::from_bytes(&self.spec, self.stage, &saved.state)?;
            self.tapes.clear(&mut self.workspace);
            self.progress = saved.progress;
            self.generation = saved.generation;
            records = saved.records;
        }
        self.begin();
        Ok(JobResult::Loaded {
            progress: self.progress,
            state_root: self.state.state_root(),
            weights: self.weights_root(),
            generation: self.generation,
            records,
            damaged: self.store.damaged(),
        })
    }

    /// Begin a step with empty sums.
    fn begin(&mut self) {
        self.sum = GradSum::zero(self.state.weights());
        self.single = GradSum::zero(self.state.weights());
    }

    fn weights_root(&self) -> Hash {
        tensors::weights_root(self.state.weights())
    }

    /// Replace the state by the newest one that was saved before `step`; the first follows from the specification.
    fn roll_back(&mut self, step: u64, generation: u32) -> Result<JobResult, WorkerError> {
        let mut records = Vec::new();
        match self.store.load_before(step)? {
            Some(saved) => {
                self.state = StageState::from_bytes(&self.spec, self.stage, &saved.state)?;
                self.progress = saved.progress;
                records = saved.records;
            }
            None => {
                self.state = StageState::init(&self.spec, self.stage)?;
                self.progress = 0;
            }
        }
        self.generation = generation;
        self.tapes.clear(&mut self.workspace);
        (self.earlier, self.audited) = (None, None);
        self.begin();
        let state = self.state.to_bytes();
        // Saved anew, so that a restart knows of the rollback and later states are gone.
        self.unsaved = None;
        let saved = Saved { progress: self.progress, state, generation, records: records.clone() };
        self.store.save(&saved)?;
        Ok(JobResult::RolledBack {
            generation,
            progress: self.progress,
            state_root: self.state.state_root(),
            weights: self.weights_root(),
            records,
        })
    }

    fn must_be_at(&self, step: u64) -> Result<(), WorkerError> {
        if step == self.progress {
            Ok(())
        } else {
            Err(WorkerError::NoState { step, progress: self.progress })
        }
    }

    /// Make sure that the weights `step` starts from are in memory: the present ones, or the ones before them
    /// for a late neighbour.
    fn fetch_version(&mut self, step: u64) -> Result<(), WorkerError> {
        let progress = self.progress;
        if step != progress && self.earlier.as_ref().is_none_or(|(at, _)| *at != step) {
            // The first version is nowhere on disk: it follows from the specification.
            let state = match self.store.load(Some(step))? {
                Some(saved) => StageState::from_bytes(&self.spec, self.stage, &saved.state)?,
                None if step == 0 => StageState::init(&self.spec, self.stage)?,
                None => return Err(WorkerError::NoState { step, progress }),
            };
            self.earlier = Some((step, state.snapshot()));
        }
        Ok(())
    }

    fn tokens(&self, step: u64, unit: u32) -> Result<Microbatch, WorkerError> {
        let data = self.data.as_ref().ok_or(WorkerError::NoData)?;
        let batch = if self.shape.is_probe(unit) {
            data.held_out(&self.spec, unit - self.shape.microbatches)
        } else {
            data.microbatch(&self.spec, step, unit)
        };
        batch.map_err(|error| WorkerError::Model(error.to_string()))
    }

    fn input(&self, step: u64, unit: u32, tensor: Option<Tensor>) -> Result<OwnedInput, WorkerError> {
        Ok(match tensor {
            Some(tensor) => OwnedInput::Hidden(tensor.to_f32(self.shape.rows, self.shape.width)?),
            None => OwnedInput::Tokens(self.tokens(step, unit)?.tokens),
        })
    }

    fn forward(&mut self, step: u64, unit: u32, input: Option<Tensor>) -> Result<Tensor, WorkerError> {
        let input = self.input(step, unit, input)?;
        self.fetch_version(step)?;
        let weights = weights_at(&self.state, &self.earlier, self.progress, step)?;
        // A unit of an earlier step rarely comes back here, and a probe never does.
        let comes_back = step == self.progress && self.shape.trains(step) && !self.shape.is_probe(unit);
        let keep = comes_back && {
            self.tapes.drop_unit(unit, &mut self.workspace);
            self.tapes.make_room(weights.tape_bytes(), &mut self.workspace)
        };
        let y = if keep {
            let (y, kept) = weights.forward_keep(input.as_stage_input(), &mut self.workspace)?;
            self.tapes.put(unit, kept, &mut self.workspace);
            y
        } else {
            weights.forward(input.as_stage_input(), &mut self.workspace)?
        };
        #[cfg(feature = "attackers")]
        let y = match &mut self.conduct {
            Some(conduct) if !self.shape.is_probe(unit) => conduct.forward((self.generation, step, unit), y),
            _ => y,
        };
        Ok(Tensor::from_f32(&y, self.shape.rows, self.shape.width)?)
    }

    fn backward(
        &mut self,
        step: u64,
        unit: u32,
        input: Option<Tensor>,
        output_gradient: Option<Tensor>,
        accumulate: bool,
    ) -> Result<JobResult, WorkerError> {
        if accumulate {
            self.must_be_at(step)?;
        }
        let input = self.input(step, unit, input)?;
        let target = self.target(step, unit, output_gradient)?;
        self.fetch_version(step)?;
        let weights = weights_at(&self.state, &self.earlier, self.progress, step)?;
        let (given, wanted) = (input.as_stage_input(), target.as_stage_target());
        self.single.clear();
        let sum = accumulate.then_some((&mut self.single, Sign::Add));
        let out = match self.tapes.take(step, unit, given) {
            Some(kept) => weights.backward_kept(kept, wanted, &mut self.workspace, sum)?,
            None => weights.backward(given, wanted, &mut self.workspace, sum)?,
        };
        let mut dx = out.dx;
        #[cfg(feature = "attackers")]
        if let Some(conduct) = &mut self.conduct {
            conduct.backward((self.generation, step, unit), &mut dx, &mut self.single);
        }
        let mut made = Made::default();
        if accumulate {
            let last = self.state.weights().plan().last;
            made = Made {
                x: input.tokens().map(tensors::tokens),
                y: last.then(|| tensors::losses(&out.losses)),
                dy: target.labels().map(tensors::tokens),
                dw: tensors::gradient(&self.single, self.state.weights().plan()),
            };
            self.sum.add(&self.single)?;
        }
        let tensor = match dx.take() {
            Some(dx) => Some(Tensor::from_f32(&dx, self.shape.rows, self.shape.width)?),
            None => None,
        };
        let loss = out.loss.map(|loss| micro_nats(f64::from(loss)));
        Ok(JobResult::Backwarded { step, unit, tensor, accumulated: accumulate, loss, made })
    }

    fn target(&self, step: u64, unit: u32, gradient: Option<Tensor>) -> Result<OwnedTarget, WorkerError> {
        Ok(match gradient {
            Some(tensor) => OwnedTarget::Grad(tensor.to_f32(self.shape.rows, self.shape.width)?),
            None => OwnedTarget::Labels(self.tokens(step, unit)?.labels),
        })
    }

    /// The own sum without the units that another seat keeps: their gradients are computed again and
    /// subtracted, which is exact because the sum is an integer.
    fn sum_without(&mut self, extra: &[Extra], step: u64) -> Result<GradSum, WorkerError> {
        let mut sum = self.sum.clone();
        for Extra { unit, input, output_gradient } in extra {
            let input = self.input(step, *unit, input.clone())?;
            let target = self.target(step, *unit, output_gradient.clone())?;
            self.state.unadd(
                input.as_stage_input(),
                target.as_stage_target(),
                &mut self.workspace,
                &mut sum,
            )?;
        }
        Ok(sum)
    }

    fn close(
        &mut self,
        record: StepRecord,
        extra: &[Extra],
        others: &[Share],
        keep: Vec<StepRecord>,
    ) -> Result<JobResult, WorkerError> {
        let step = record.step;
        self.must_be_at(step)?;
        if self.shape.trains(step) {
            let mut total = self.sum_without(extra, step)?;
            for share in others {
                let sum = GradSum::from_bytes(self.state.weights(), &share.sum).ok();
                let committed =
                    |sum: &GradSum| tensors::gradient(sum, self.state.weights().plan()) == share.root;
                match sum.filter(committed) {
                    Some(sum) => total.add(&sum)?,
                    None => return Ok(JobResult::Refused { step, account: share.account }),
                }
            }
            let before = self.state.snapshot();
            self.state.apply(&total, self.shape.microbatches)?;
            self.earlier = Some((step, before));
        } else {
            self.earlier = Some((step, self.state.snapshot()));
        }
        self.tapes.clear(&mut self.workspace);
        self.progress = step + 1;
        self.begin();
        let mut records = keep;
        records.push(record);
        let (progress, generation) = (self.progress, self.generation);
        self.unsaved = Some(Saved { progress, state: self.state.to_bytes(), generation, records });
        Ok(JobResult::Closed {
            progress: self.progress,
            state_root: self.state.state_root(),
            weights: self.weights_root(),
            saved: self.save(),
        })
    }

    fn save(&mut self) -> Result<(), StoreError> {
        if let Some(saved) = &self.unsaved {
            self.store.save(saved)?;
            self.unsaved = None;
        }
        Ok(())
    }

    fn export(&self) -> JobResult {
        let bytes = bytes::Bytes::from(self.state.to_bytes());
        let pieces: Vec<bytes::Bytes> = (0..bytes.len())
            .step_by(PIECE_BYTES)
            .map(|at| bytes.slice(at..bytes.len().min(at + PIECE_BYTES)))
            .collect();
        let hashes = pieces.iter().map(|piece| digest_bytes(PIECE, piece)).collect::<Vec<_>>();
        JobResult::Exported {
            manifest: StateManifest {
                run: self.shape.run,
                stage: self.stage,
                progress: self.progress,
                state_root: self.state.state_root(),
                bytes: bytes.len() as u64,
                pieces: hashes.try_into().unwrap_or_default(),
                records: Default::default(),
            },
            pieces,
        }
    }

    fn install(
        &mut self,
        progress: u64,
        expected: Hash,
        generation: u32,
        pieces: &[bytes::Bytes],
        records: Vec<StepRecord>,
    ) -> Result<JobResult, WorkerError> {
        let bytes = pieces.concat();
        let state = StageState::from_bytes(&self.spec, self.stage, &bytes)?;
        let got = state.state_root();
        if got != expected {
            return Err(WorkerError::WrongRoot { expected, got });
        }
        self.store.save(&Saved { progress, state: bytes, generation, records })?;
        self.tapes.clear(&mut self.workspace);
        self.state = state;
        self.begin();
        (self.progress, self.generation) = (progress, generation);
        (self.earlier, self.audited) = (None, None);
        self.unsaved = None;
        Ok(JobResult::Installed { progress, state_root: expected, weights: self.weights_root() })
    }
}

/// The weights that `step` starts from, once [`Worker::fetch_version`] has seen to it.
fn weights_at<'a>(
    state: &'a StageState,
    earlier: &'a Option<(u64, StageWeights)>,
    progress: u64,
    step: u64,
) -> Result<&'a StageWeights, WorkerError> {
    match earlier {
        _ if step == progress => Ok(state.weights()),
        Some((at, weights)) if *at == step => Ok(weights),
        _ => Err(WorkerError::NoState { step, progress }),
    }
}

enum OwnedInput {
    Tokens(Vec<u32>),
    Hidden(Vec<f32>),
}
impl OwnedInput {
    fn as_stage_input(&self) -> StageInput<'_> {
        match self {
            Self::Tokens(tokens) => StageInput::Tokens(tokens),
            Self::Hidden(hidden) => StageInput::Hidden(hidden),
        }
    }
    fn tokens(&self) -> Option<&[u32]> {
        if let Self::Tokens(tokens) = self { Some(tokens) } else { None }
    }
}
enum OwnedTarget {
    Grad(Vec<f32>),
    Labels(Vec<u32>),
}
impl OwnedTarget {
    fn as_stage_target(&self) -> StageTarget<'_> {
        match self {
            Self::Grad(gradient) => StageTarget::Grad(gradient),
            Self::Labels(labels) => StageTarget::Labels(labels),
        }
    }
    fn labels(&self) -> Option<&[u32]> {
        if let Self::Labels(labels) = self { Some(labels) } else { None }
    }
}

fn describe(job: &Job) -> (&'static str, Option<(u64, u32)>) {
    match job {
        Job::Load => ("load", None),
        Job::Forward { step, unit, .. } => ("forward", Some((*step, *unit))),
        Job::Backward { step, unit, .. } => ("backward", Some((*step, *unit))),
        Job::Measure { step, unit, .. } => ("measure", Some((*step, *unit))),
        Job::Sum { .. } => ("sum", None),
        Job::Close { .. } => ("close", None),
        Job::Save => ("save", None),
        Job::Export => ("export", None),
        Job::Install { .. } => ("install", None),
        Job::RollBack { .. } => ("roll back", None),
        Job::Audit(_) => ("audit", None),
        Job::Play(_) => ("play a dispute", None),
    }
}

/// Nats to whole micro-nats, for the ledger's integers.
fn micro_nats(nats: f64) -> u64 {
    (nats.max(0.0) * 1e6).round() as u64
}

/// The mean of per-token losses in micro-nats; each is rounded first, so that the sum is exact.
fn mean_micro_nats(losses: &[f32]) -> u64 {
    let sum: u64 = losses.iter().map(|loss| micro_nats(f64::from(*loss))).sum();
    sum / (losses.len().max(1) as u64)
}
