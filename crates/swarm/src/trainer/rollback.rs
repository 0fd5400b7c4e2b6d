//! Go back to the step that the ledger orders, and do the run again from there without what was proven false; and go back
//! one step where replicas disagree evenly.
//!
//! A rollback begins a new branch of the run: messages carry the branch's name, so none of before is mistaken for one of
//! after. Whatever job was under way is finished first and its result dropped. Peers are unknown again until they
//! say hello from the new branch.

use super::{Note, Phase, Trainer};
use crate::{Job, JobResult};
use tessera_canon::Hash;
use tessera_wire::training::{StepRecord, branch};

/// How often a step is done again because replicas differ evenly, before this seat gives up.
const MAX_REOPENED: u32 = 3;

impl Trainer {
    /// Begin to go back if the ledger knows of more rollbacks than this seat.
    pub(super) fn notice_rollback(&mut self) {
        let newest = self.roster.generation();
        if newest <= self.generation || matches!(self.phase, Phase::Loading | Phase::Halted) {
            return;
        }
        let Some(step) = self.roster.undone_since(self.generation) else { return };
        self.phase = Phase::RollingBack { generation: newest, step: step.min(self.progress) };
        self.start_rollback();
    }

    /// As many replicas reached `other` as this seat's root. Each may be honest: where a false unit came to two of
    /// them by different ways, covers that divide the units differently have different sums. Nobody's word is taken; all
    /// go back one step and do it again. Where that does not help, a state itself is false.
    pub(super) fn reopen(&mut self, progress: u64, mine: Hash, other: Hash) {
        let Some(step) = progress.checked_sub(1) else { return };
        let before = self.reopened.filter(|(at, _)| *at == step).map_or(0, |(_, times)| times);
        let what = format!(
            "replicas of stage {} disagree evenly at step {progress}: {} against {}",
            self.config.stage,
            mine.short(),
            other.short()
        );
        if before >= MAX_REOPENED {
            return self.halt(format!("{what}; an audit must decide, nothing is overwritten"));
        }
        self.reopened = Some((step, before + 1));
        self.note(Note::Trouble { what: format!("{what}; step {step} is done again") });
        self.phase = Phase::RollingBack { generation: self.generation, step };
        self.start_rollback();
    }

    /// Begin the present step anew from the newest saved state.
    pub(super) fn reload(&mut self) {
        self.unsaved_since = None;
        self.phase = Phase::RollingBack { generation: self.generation, step: self.progress };
        self.start_rollback();
    }

    pub(super) fn start_rollback(&mut self) {
        if let Phase::RollingBack { generation, step } = self.phase
            && !self.busy
        {
            self.run(Job::RollBack { step, generation });
        }
    }

    /// Whether a result of a job belongs to the branch that is given up.
    pub(super) fn is_stale(&self, result: &JobResult) -> bool {
        let rolling = matches!(self.phase, Phase::RollingBack { .. });
        let lasting = matches!(
            result,
            JobResult::RolledBack { .. } | JobResult::Audited { .. } | JobResult::Played { .. }
        );
        rolling && !lasting
    }

    pub(super) fn on_rolled_back(
        &mut self,
        generation: u32,
        progress: u64,
        state_root: Hash,
        weights: Hash,
        records: Vec<StepRecord>,
    ) {
        let lost = self.progress.saturating_sub(progress);
        self.set_generation(generation);
        self.trust.enter(generation, progress);
        self.reports.clear();
        self.foreign.clear();
        self.roots.clear();
        self.router = Default::default();
        (self.fetch, self.export, self.closed, self.unsaved_since) = (None, None, None, None);
        self.export_wanted.clear();
        self.peers.values_mut().for_each(|peer| peer.forget());
        self.adopt(progress, state_root, weights, records);
        self.note(Note::RolledBack { generation, step: progress, lost });
        // Replicas may have kept a later state of the part that remains.
        self.phase = Phase::Settling { since: self.now };
        self.greet_all();
        self.notice_rollback();
    }

    pub(super) fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
        self.branch = branch(&self.config.shape.run, generation);
    }
}
