//! Close a step: agree on who counts which unit, exchange integer sums, apply the optimizer, announce the state.
//!
//! Each seat decides alone. It closes when it can cover the step's microbatches with disjoint sums: its own
//! over some of its units, and other seats' over theirs. Two seats may choose different covers and still reach
//! the same bits, because the total is the same integer. In the ordinary case all choose the same cover.

use super::{Note, Phase, Trainer, work::StepWork};
use crate::{Extra, Job, Share, StoreError, UnitSet};
use bytes::Bytes;
use std::collections::BTreeMap;
use tessera_canon::{Blob, Hash, List, PublicKey};
use tessera_wire::training::{Have, Measured, Partial, StepCredit, StepRecord, WantPartial};

/// A cover of a step: who counts which microbatches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan(BTreeMap<PublicKey, UnitSet>);

impl Trainer {
    /// Units that this seat or a live replica has.
    pub(super) fn cover(&self) -> UnitSet {
        self.current.haves.values().fold(self.current.done.clone(), |all, (_, units)| all.union(units))
    }

    pub(super) fn forget_have(&mut self, peer: &PublicKey) {
        self.current.haves.remove(peer);
        self.current.plan = None;
    }

    /// Tell the replicas which units this seat has.
    pub(super) fn repeat_have(&mut self) {
        if self.phase != Phase::Working || self.finished() {
            return;
        }
        let losses =
            self.current.losses.iter().map(|(unit, loss)| Measured { unit: *unit, loss: *loss }).collect();
        let have = Have {
            run: self.branch,
            step: self.progress,
            incarnation: self.config.incarnation,
            units: self.current.done.to_blob(),
            losses: List::new(losses).unwrap_or_default(),
        };
        let replicas: Vec<_> = self.replicas().map(|(key, _)| *key).collect();
        replicas.into_iter().for_each(|peer| self.send(peer, have.clone()));
    }

    pub(super) fn on_have(&mut self, from: PublicKey, message: Have) {
        if message.run != self.branch || message.step != self.progress || self.phase != Phase::Working {
            return;
        }
        if self.peers.get(&from).and_then(|p| p.incarnation()) != Some(message.incarnation) {
            return;
        }
        let expected = self.config.shape.units_of(message.step);
        let units = UnitSet::from_blob(&message.units).intersection(&expected);
        let before = self.current.haves.insert(from, (message.incarnation, units.clone()));
        if before.is_none_or(|(_, old)| old != units) {
            self.current.last_change = self.now;
        }
        for Measured { unit, loss } in message.losses.iter() {
            if self.config.shape.is_probe(*unit) && expected.contains(*unit) {
                self.current.losses.entry(*unit).or_insert(*loss);
            }
        }
    }

    /// The cover this seat would choose now, if the step can be covered.
    fn plan(&self) -> Option<Plan> {
        let (step, work) = (self.progress, &self.current);
        let expected = self.config.shape.units_of(step);
        let mut rest = self.config.shape.microbatches_of(step);
        let mut covered = self.cover();
        let mut shares: BTreeMap<PublicKey, UnitSet> = BTreeMap::new();
        if !expected.is_subset(&covered) {
            // Sums received from seats that are gone still count, but only whole.
            for (peer, (units, _)) in &work.partials {
                let gone = !work.haves.contains_key(peer);
                if gone && units.is_subset(&rest) && !units.is_subset(&covered) {
                    rest = rest.minus(units);
                    covered = covered.union(units);
                    shares.insert(*peer, units.clone());
                }
            }
        }
        if !expected.is_subset(&covered) {
            return None;
        }
        let mut seats: Vec<(u16, PublicKey, &UnitSet)> = work
            .haves
            .iter()
            .map(|(peer, (_, units))| (self.index_of(peer), *peer, units))
            .chain([(self.config.seat, self.me, &work.done)])
            .collect();
        seats.sort_by_key(|(index, peer, _)| (*index, *peer));
        for (_, peer, units) in seats {
            let share = rest.intersection(units);
            rest = rest.minus(&share);
            if !share.is_empty() {
                shares.insert(peer, share);
            }
        }
        rest.is_empty().then_some(Plan(shares))
    }

    /// If the step is covered, see that every sum of the cover is asked for.
    pub(super) fn try_close(&mut self) {
        if self.finished() || self.current.closing || self.closed.is_some() {
            return;
        }
        let plan = self.plan();
        if plan != self.current.plan {
            self.current.plan = plan;
            self.current.partial_sent.clear();
            self.current.asked = self.now;
        }
        let Some(plan) = &self.current.plan else { return };
        let mine = plan.0.get(&self.me).cloned().unwrap_or_default();
        let replicas: Vec<_> = self.replicas().map(|(key, _)| *key).collect();
        if mine.is_empty() {
            return;
        }
        let all_committed = self.all_committed(&plan.0);
        match &self.current.own_partial {
            Some((units, _)) if *units == mine && !all_committed => self.share_commit(&replicas),
            Some((units, sum)) if *units == mine => {
                let message = partial(self.branch, self.progress, units, sum);
                for peer in &replicas {
                    if self.current.partial_sent.insert(*peer)
                        && let Some(message) = message.clone()
                    {
                        self.send(*peer, message);
                    }
                }
                self.share_commit(&replicas);
            }
            _ => self.current.wanted_partial = Some(mine),
        }
    }

    /// The urgent jobs of the barrier: a sum that replicas wait for, or the close itself.
    pub(super) fn barrier_job(&mut self) -> Option<Job> {
        if self.phase != Phase::Working || self.finished() || self.current.closing || self.closed.is_some() {
            return None;
        }
        if let Some(units) = self.current.wanted_partial.take()
            && let Some(extra) = self.extra(&units)
        {
            return Some(Job::Sum { step: self.progress, units, extra });
        }
        let plan = self.current.plan.clone()?;
        let mut others = Vec::new();
        for (peer, units) in plan.0.iter().filter(|(peer, _)| **peer != self.me) {
            match (self.current.partials.get(peer), self.commitment_of(peer, units)) {
                (Some((got, sum)), Some(committed)) if got == units => {
                    others.push(Share { account: *peer, sum: sum.clone(), root: committed.sum });
                }
                _ => return None,
            }
        }
        let units = plan.0.get(&self.me).cloned().unwrap_or_default();
        let extra = self.extra(&units)?;
        let record = self.record(&plan)?;
        self.current.closing = true;
        self.current.closed_as = Some(record.clone());
        Some(Job::Close { record, units, extra, others, keep: self.records.clone() })
    }

    /// What of this seat's sum does not belong to `units`.
    fn extra(&self, units: &UnitSet) -> Option<Vec<Extra>> {
        let counted = self.current.done.intersection(&self.config.shape.microbatches_of(self.progress));
        if !units.is_subset(&counted) {
            return None;
        }
        counted
            .minus(units)
            .iter()
            .map(|number| {
                let unit = self.current.units.get(&number)?;
                Some(Extra {
                    unit: number,
                    input: unit.input.clone(),
                    output_gradient: unit.output_gradient.clone(),
                })
            })
            .collect()
    }

    fn record(&self, plan: &Plan) -> Option<StepRecord> {
        let (step, shape) = (self.progress, &self.config.shape);
        let loss = if self.is_last() && shape.measures(step) {
            let losses: Vec<u64> = self.current.losses.values().copied().collect();
            if losses.len() < shape.probes as usize {
                return None;
            }
            Some(losses.iter().sum::<u64>() / losses.len() as u64)
        } else {
            None
        };
        let credit = |(account, units): (&PublicKey, &UnitSet)| {
            let header = self.commitment_of(account, units)?.header;
            Some(StepCredit { account: *account, microbatches: units.len(), header })
        };
        let credits = plan.0.iter().map(credit).collect::<Option<Vec<_>>>()?;
        Some(StepRecord { step, state_root: self.state_root, credits: List::new(credits).ok()?, loss })
    }

    pub(super) fn on_summed(&mut self, step: u64, units: UnitSet, sum: Bytes, root: Hash) {
        if step == self.progress {
            self.commit(&units, root);
            self.current.own_partial = Some((units, sum));
        }
    }

    pub(super) fn on_partial(&mut self, from: PublicKey, message: Partial) {
        if message.run == self.branch && message.step == self.progress && self.phase == Phase::Working {
            let units = UnitSet::from_blob(&message.units);
            if !units.is_subset(&self.config.shape.microbatches_of(message.step)) {
                return self.offence(from, "a sum over units that this step does not have".into());
            }
            self.current.partials.insert(from, (units, message.sum.bytes().clone()));
        }
    }

    pub(super) fn on_want_partial(&mut self, from: PublicKey, message: WantPartial) {
        if message.run != self.branch {
            return;
        }
        let units = UnitSet::from_blob(&message.units);
        let kept = self
            .previous
            .iter()
            .chain([&self.current])
            .filter(|work| work.step == message.step)
            .find_map(|work| work.own_partial.clone().filter(|(have, _)| *have == units));
        match kept {
            Some((units, sum)) => {
                self.current.commit_sent.remove(&from);
                self.share_commit(&[from]);
                if let Some(message) = partial(self.branch, message.step, &units, &sum) {
                    self.send(from, message);
                }
            }
            None if message.step == self.progress && units.is_subset(&self.current.done) => {
                self.current.partial_sent.remove(&from);
                self.current.wanted_partial = Some(units);
            }
            None => {}
        }
    }

    /// A seat sent another sum than it committed to: it is asked again, by way of a new connection.
    pub(super) fn on_refused(&mut self, step: u64, account: PublicKey) {
        if step != self.progress {
            return;
        }
        self.current.closing = false;
        self.current.partials.remove(&account);
        self.current.commits.remove(&account);
        self.offence(account, "a sum that is not the one of its commitment".into());
    }

    /// Ask again for sums that a covered step still lacks.
    pub(super) fn retry_barrier(&mut self) {
        if self.unsaved_since.is_some() {
            return;
        }
        let retry = self.config.tuning.retry / 2;
        let Some(plan) = self.current.plan.clone() else { return };
        if self.current.closing || self.now < self.current.asked + retry {
            return;
        }
        self.current.asked = self.now;
        self.current.partial_sent.clear();
        self.current.commit_sent.clear();
        let me = self.me;
        for (peer, units) in plan.0.iter().filter(|(peer, _)| **peer != me) {
            let uncommitted = self.commitment_of(peer, units).is_none();
            if uncommitted || self.current.partials.get(peer).is_none_or(|(got, _)| got != units) {
                let want = WantPartial { run: self.branch, step: self.progress, units: units.to_blob() };
                self.send(*peer, want);
            }
        }
    }

    pub(super) fn save_job(&self) -> Option<Job> {
        let since = self.unsaved_since?;
        (self.now >= since + self.config.tuning.retry).then_some(Job::Save)
    }

    pub(super) fn on_saved(&mut self, saved: Result<(), StoreError>) {
        match saved {
            Ok(()) => {
                self.unsaved_since = None;
                if let Some((progress, state_root, weights)) = self.closed.take() {
                    self.finish_step(progress, state_root, weights);
                }
            }
            Err(error) => {
                self.unsaved_since = Some(self.now);
                self.note(Note::Trouble { what: error.to_string() });
            }
        }
    }

    /// The step is closed and its state is on disk: announce it and go on.
    fn finish_step(&mut self, progress: u64, state_root: Hash, weights: Hash) {
        let step = self.progress;
        // As it was when the job began: a replica may have committed anew since.
        let Some(record) = self.current.closed_as.take() else {
            return self.halt(format!("step {step} was closed without a record"));
        };
        let training = &self.current.training_losses;
        let training_loss =
            (!training.is_empty()).then(|| training.iter().sum::<u64>() / training.len() as u64);
        self.note(Note::Closed {
            step,
            state_root,
            credits: record.credits.iter().map(|c| (c.account, c.microbatches)).collect(),
            held_out_loss: record.loss,
            training_loss,
        });
        let loss = record.loss;
        self.records.push(record);
        self.progress = progress;
        self.state_root = state_root;
        self.weights = weights;
        self.trust.advance(progress);
        self.behind_since = None;
        self.router.settle();
        let finished = std::mem::replace(&mut self.current, StepWork::new(progress, self.now));
        self.previous = Some(finished);
        if self.phase == Phase::Fetching && !self.replicas().any(|(_, p)| p.progress() > progress) {
            // The step was closed after all while its download had begun.
            self.fetch = None;
            self.phase = Phase::Working;
        }
        self.greet_all();
        self.vote();
        self.ensure_reports();
        if self.finished() {
            self.note(Note::Finished { state_root, loss });
        }
        self.begin_step();
    }
}

fn partial(run: Hash, step: u64, units: &UnitSet, sum: &Bytes) -> Option<Partial> {
    Some(Partial { run, step, units: units.to_blob(), sum: Blob::new(sum.clone()).ok()? })
}
