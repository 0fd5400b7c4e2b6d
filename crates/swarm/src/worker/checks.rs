//! Compute other seats' units again, and find this seat's next message of a dispute.
//!
//! Both need the weights of a past step: the store keeps states for that. Weights that are not those of the unit end the
//! job without a result, so that nobody is accused on the wrong ones.

use super::{AuditJob, JobResult, OwnedInput, OwnedTarget, PlayJob, Worker, WorkerError};
use tessera_audit::{
    audit::Computed,
    reexec::{ReexecError, Work, execute},
    tensors,
};
use tessera_canon::Hash;
use tessera_dispute::{
    account::{Account, AccountError, Material, Tensor as Told},
    player::{self, PlayError},
    program::ProgramError,
};
use tessera_ledger::record::DisputePhase;
use tessera_model::{StageState, StageWeights};

impl Worker {
    /// Have the weights of `step` in `self.audited`, if they are those with the root `expected`.
    fn fetch_past(&mut self, step: u64, expected: Hash) -> Result<&StageWeights, WorkerError> {
        let held = self.audited.take().filter(|(at, _)| *at == step);
        let mut found: Vec<StageWeights> = held.map(|(_, weights)| weights).into_iter().collect();
        let is_right = |weights: &StageWeights| tensors::weights_root(weights) == expected;
        if !found.iter().any(is_right) {
            found.clear();
            let present = match self.store.load(Some(step))? {
                Some(saved) => Some(StageState::from_bytes(&self.spec, self.stage, &saved.state)?.snapshot()),
                None if step == self.progress => Some(self.state.snapshot()),
                None if step == 0 => Some(StageState::init(&self.spec, self.stage)?.snapshot()),
                None => None,
            };
            found.extend(present);
            if !found.iter().any(is_right) {
                for saved in self.store.load_undone(step)? {
                    found.push(StageState::from_bytes(&self.spec, self.stage, &saved.state)?.snapshot());
                }
            }
        }
        if found.is_empty() {
            return Err(WorkerError::NoState { step, progress: self.progress });
        }
        let right = found.into_iter().find(is_right).ok_or(WorkerError::OtherWeights { step })?;
        Ok(&self.audited.insert((step, right)).1)
    }

    fn unit_input(
        &self,
        step: u64,
        number: u32,
        input: Option<Vec<f32>>,
        gradient: Option<Vec<f32>>,
    ) -> Result<(OwnedInput, OwnedTarget), WorkerError> {
        let input = match input {
            Some(hidden) => OwnedInput::Hidden(hidden),
            None => OwnedInput::Tokens(self.tokens(step, number)?.tokens),
        };
        let target = match gradient {
            Some(gradient) => OwnedTarget::Grad(gradient),
            None => OwnedTarget::Labels(self.tokens(step, number)?.labels),
        };
        Ok((input, target))
    }

    pub(super) fn audit(&mut self, job: AuditJob) -> Result<JobResult, WorkerError> {
        let AuditJob { unit, number, weights, input, gradient, auditor, beacon, repeats } = job;
        let (input, target) = self.unit_input(unit.step, number, input, gradient)?;
        self.fetch_past(unit.step, weights)?;
        let Some((_, weights)) = &self.audited else {
            return Err(WorkerError::OtherWeights { step: unit.step });
        };
        let work =
            Work { input: input.as_stage_input(), target: Some(target.as_stage_target()), probe: false };
        let result = match execute(&unit, weights, work, &mut self.workspace) {
            Ok(outputs) => Some(Computed {
                digests: outputs.digests(weights, work),
                trace: outputs.trace(&beacon, &auditor, &unit),
                repeated_trace: repeats.map(|other| outputs.trace(&beacon, &other, &unit)),
            }),
            Err(ReexecError::Void(_)) => None,
            Err(error) => return Err(WorkerError::Model(error.to_string())),
        };
        Ok(JobResult::Audited { unit, result })
    }

    pub(super) fn play(&mut self, job: PlayJob) -> Result<JobResult, WorkerError> {
        let PlayJob { open, claim, number, input, gradient } = job;
        let (dispute, step) = (open.dispute.id, claim.step);
        let (input, target) = self.unit_input(step, number, input, gradient)?;
        self.fetch_past(step, claim.weights)?;
        let Some((_, weights)) = &self.audited else {
            return Err(WorkerError::OtherWeights { step });
        };
        let x = match &input {
            OwnedInput::Tokens(tokens) => Told::Indices(tokens.clone()),
            OwnedInput::Hidden(hidden) => Told::Numbers(hidden.clone()),
        };
        let dy = match &target {
            OwnedTarget::Labels(labels) => Told::Indices(labels.clone()),
            OwnedTarget::Grad(gradient) => Told::Numbers(gradient.clone()),
        };
        let place = (claim.stage, step, claim.unit);
        let failed = |error: &dyn std::fmt::Display| WorkerError::Play(error.to_string());
        let material = match Material::new(&self.spec, place, x, dy, weights.tensors(), weights.exponents()) {
            Ok(material) => material,
            Err(AccountError::Program(ProgramError::TooLarge { .. }))
                if open.dispute.phase != DisputePhase::Name =>
            {
                let step = player::beyond(&self.spec, &claim).map_err(|error| failed(&error))?;
                return Ok(JobResult::Played { dispute, step: Some(Box::new(step)) });
            }
            Err(error) => return Err(failed(&error)),
        };
        let mut account = Account::new(&material).map_err(|error| failed(&error))?;
        #[cfg(feature = "attackers")]
        if open.dispute.phase != DisputePhase::Name
            && let Some(conduct) = &mut self.conduct
        {
            let work =
                Work { input: input.as_stage_input(), target: Some(target.as_stage_target()), probe: false };
            let generation = open.dispute.work.as_ref().map_or(0, |work| work.generation);
            conduct.tell((generation, step, number), weights, work, &mut self.workspace, &mut account);
        }
        let said = open.said.as_ref();
        match player::next(&mut account, &open.dispute, &open.levels, said) {
            Ok(step) => Ok(JobResult::Played { dispute, step: step.map(Box::new) }),
            Err(error @ PlayError::Commitment(_)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}
