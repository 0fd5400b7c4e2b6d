//! Take units through this stage: forward, on to the next stage, back, and to whoever sent them.

use super::trust::Committed;
use super::{Note, Phase, Trainer};
use crate::{Job, Made, UnitSet};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tessera_audit::unit::Direction;
use tessera_canon::{Hash, PublicKey};
use tessera_wire::{
    Tensor,
    training::{Activation, Gradient, Seek, Sought, StepRecord, UnitId, WantUnits},
};

/// How far a unit is in this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Waits for its first job.
    Queued,
    /// A job runs.
    Running,
    /// Output known; the gradient is with the next stages.
    Forwarded,
    /// Gradient known; waits for its backward job.
    Returned,
    /// Nothing more to compute.
    Done,
}

/// Where a unit's output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// Nobody needs it (yet).
    Idle,
    /// It should go to the next stage.
    Wanted,
    /// The next stage is being asked who has it already.
    Seeking { asked: BTreeSet<PublicKey>, since: u64 },
    /// A seat of the next stage has it.
    Sent { to: PublicKey, since: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) input: Option<Tensor>,
    pub(super) output_gradient: Option<Tensor>,
    sources: Vec<PublicKey>,
    output: Option<Tensor>,
    result: Option<Tensor>,
    /// Digests of the four boundary tensors, as far as they are known and the stage has them.
    pub(super) x: Option<Hash>,
    pub(super) y: Option<Hash>,
    pub(super) dy: Option<Hash>,
    pub(super) dx: Option<Hash>,
    /// Digests that the worker made.
    pub(super) made: Option<Made>,
    /// Whose input and whose gradient it was computed from.
    pub(super) up: Option<PublicKey>,
    pub(super) down: Option<PublicKey>,
    pub(super) at: At,
    out: Out,
    replay: bool,
}

impl Unit {
    fn new(input: Option<Tensor>, source: Option<PublicKey>, replay: bool) -> Self {
        Self {
            input,
            output_gradient: None,
            sources: source.into_iter().collect(),
            output: None,
            result: None,
            x: None,
            y: None,
            dy: None,
            dx: None,
            made: None,
            up: source,
            down: None,
            at: At::Queued,
            out: Out::Idle,
            replay,
        }
    }
}

/// Everything about one step.
#[derive(Clone, Debug)]
pub(super) struct StepWork {
    pub(super) step: u64,
    pub(super) units: BTreeMap<u32, Unit>,
    /// Units that this seat has finished; of the microbatches among them, those in its sum.
    pub(super) done: UnitSet,
    pub(super) losses: BTreeMap<u32, u64>,
    pub(super) training_losses: Vec<u64>,
    /// What replicas have: incarnation and units.
    pub(super) haves: BTreeMap<PublicKey, (u64, UnitSet)>,
    pub(super) partials: BTreeMap<PublicKey, (UnitSet, Bytes)>,
    pub(super) own_partial: Option<(UnitSet, Bytes)>,
    pub(super) wanted_partial: Option<UnitSet>,
    pub(super) partial_sent: BTreeSet<PublicKey>,
    /// What this seat and its replicas committed to.
    pub(super) own_commit: Option<Committed>,
    pub(super) commits: BTreeMap<PublicKey, Committed>,
    pub(super) commit_sent: BTreeSet<PublicKey>,
    pub(super) plan: Option<super::barrier::Plan>,
    pub(super) closing: bool,
    /// What is on record of the step since its closing began.
    pub(super) closed_as: Option<StepRecord>,
    pub(super) last_change: u64,
    pub(super) asked: u64,
}

impl StepWork {
    pub(super) fn new(step: u64, now: u64) -> Self {
        Self {
            step,
            units: BTreeMap::new(),
            done: UnitSet::default(),
            losses: BTreeMap::new(),
            training_losses: Vec::new(),
            haves: BTreeMap::new(),
            partials: BTreeMap::new(),
            own_partial: None,
            wanted_partial: None,
            partial_sent: BTreeSet::new(),
            own_commit: None,
            commits: BTreeMap::new(),
            commit_sent: BTreeSet::new(),
            plan: None,
            closing: false,
            closed_as: None,
            last_change: now,
            asked: now,
        }
    }
}

impl Trainer {
    pub(super) fn is_first(&self) -> bool {
        self.config.stage == 0
    }
    pub(super) fn is_last(&self) -> bool {
        self.config.stage + 1 == self.config.shape.stages
    }
    fn id(&self, step: u64, unit: u32) -> UnitId {
        UnitId { run: self.branch, step, unit }
    }
    /// The work of `step`, if this seat is at it or has just closed it.
    fn work(&mut self, step: u64) -> Option<&mut StepWork> {
        if step == self.progress {
            Some(&mut self.current)
        } else if step + 1 == self.progress {
            Some(self.previous.get_or_insert_with(|| StepWork::new(step, 0)))
        } else {
            None
        }
    }
    pub(super) fn unit(&mut self, step: u64, unit: u32) -> Option<&mut Unit> {
        self.work(step)?.units.get_mut(&unit)
    }
    /// Check that a message names a unit of this run.
    fn check_unit(&mut self, from: PublicKey, id: &UnitId) -> bool {
        if id.run != self.branch {
            // Of before a rollback, or of after one that this seat has not heard of.
            return false;
        }
        let fits =
            id.step <= self.config.shape.steps && self.config.shape.units_of(id.step).contains(id.unit);
        if !fits {
            self.offence(from, format!("step {} of this run has no unit {}", id.step, id.unit));
        }
        fits
    }

    /// Begin the units of the present step that are this seat's by right: stage 0 has no one above it.
    pub(super) fn begin_step(&mut self) {
        self.share_out();
        let early = std::mem::take(&mut self.early);
        for (from, activation) in early {
            self.on_activation(from, activation);
        }
    }

    /// Stage 0: start those units that fall to this seat and that no live seat has.
    pub(super) fn share_out(&mut self) {
        if !self.is_first() || self.phase != Phase::Working || self.finished() {
            return;
        }
        let step = self.progress;
        let mut seats: Vec<u16> = self
            .replicas()
            .filter(|(_, p)| p.is_ready() && p.progress() + 1 >= step)
            .map(|(_, p)| p.index)
            .chain([self.config.seat])
            .collect();
        seats.sort_unstable();
        let mine = seats.iter().position(|index| *index == self.config.seat).unwrap_or(0) as u32;
        let covered = self.cover();
        for unit in self.config.shape.units_of(step).iter() {
            if unit % seats.len() as u32 == mine && !covered.contains(unit) {
                self.current.units.entry(unit).or_insert_with(|| Unit::new(None, None, false));
            }
        }
    }

    pub(super) fn on_activation(&mut self, from: PublicKey, message: Activation) {
        let Activation { id, replay, tensor, signature } = message;
        if !self.check_unit(from, &id) || self.phase != Phase::Working {
            return;
        }
        let shape = &self.config.shape;
        if (tensor.rows as usize, tensor.cols as usize) != (shape.rows, shape.width) {
            let reason = format!(
                "activation of {} x {}, this run has {} x {}",
                tensor.rows, tensor.cols, shape.rows, shape.width
            );
            return self.offence(from, reason);
        }
        if id.step == self.progress + 1 {
            let room = shape.units_of(id.step).len() as usize * self.peers.len().max(1);
            if self.early.len() < room {
                self.early.push_back((from, Activation { id, replay, tensor, signature }));
            }
            return;
        }
        if self.rebind(from, &id) {
            return;
        }
        if self.work(id.step).is_none() {
            return;
        }
        let mut unit = Unit::new(Some(tensor.clone()), Some(from), replay);
        if !self.config.shape.is_probe(id.unit) {
            let what = (id.step, id.unit, Direction::Forward);
            unit.x = self.take_delivery(from, what, &tensor, signature);
            if unit.x.is_none() {
                return;
            }
        }
        let Some(work) = self.work(id.step) else { return };
        work.units.insert(id.unit, unit);
        if replay {
            self.note(Note::Replayed { step: id.step, unit: id.unit });
        }
    }

    /// If this seat has the unit, return its gradient to `from` too, now or when it is there.
    fn rebind(&mut self, from: PublicKey, id: &UnitId) -> bool {
        let Some(unit) = self.unit(id.step, id.unit) else { return false };
        if !unit.sources.contains(&from) {
            unit.sources.push(from);
        }
        if unit.at == At::Done {
            let (tensor, dx) = (unit.result.clone().unwrap_or_else(Tensor::empty), unit.dx);
            self.return_gradient(from, id.clone(), tensor, dx);
        }
        true
    }

    fn return_gradient(&mut self, to: PublicKey, id: UnitId, tensor: Tensor, dx: Option<Hash>) {
        let what = (id.step, id.unit, Direction::Backward);
        let signature = dx.and_then(|dx| self.sign_delivery(to, what, dx));
        self.send(to, Gradient { id, tensor, signature });
    }

    pub(super) fn on_seek(&mut self, from: PublicKey, message: Seek) {
        if !self.check_unit(from, &message.id) {
            return;
        }
        let found = self.phase == Phase::Working && self.rebind(from, &message.id);
        self.send(from, Sought { id: message.id, found });
    }

    pub(super) fn on_sought(&mut self, from: PublicKey, message: Sought) {
        let (now, id) = (self.now, message.id);
        let Some(unit) = self.unit(id.step, id.unit) else { return };
        let Out::Seeking { asked, .. } = &mut unit.out else { return };
        if message.found {
            unit.out = Out::Sent { to: from, since: now };
        } else {
            asked.remove(&from);
        }
    }

    pub(super) fn on_gradient(&mut self, from: PublicKey, message: Gradient) {
        let Gradient { id, tensor, signature } = message;
        if !self.check_unit(from, &id) {
            return;
        }
        let now = self.now;
        let probe = self.config.shape.is_probe(id.unit);
        let fits = if probe {
            tensor.data.is_empty()
        } else {
            (tensor.rows as usize, tensor.cols as usize) == (self.config.shape.rows, self.config.shape.width)
        };
        if !fits {
            return self.offence(from, format!("gradient of {} x {} does not fit", tensor.rows, tensor.cols));
        }
        self.router.finished(&from, now);
        let Some(unit) = self.unit(id.step, id.unit) else { return };
        if unit.at != At::Forwarded {
            return;
        }
        if probe {
            unit.out = Out::Sent { to: from, since: now };
            return self.finish_unit(id.step, id.unit, None);
        }
        let what = (id.step, id.unit, Direction::Backward);
        let Some(digest) = self.take_delivery(from, what, &tensor, signature) else { return };
        let Some(unit) = self.unit(id.step, id.unit) else { return };
        unit.out = Out::Sent { to: from, since: now };
        unit.output_gradient = Some(tensor);
        (unit.dy, unit.down) = (Some(digest), Some(from));
        unit.at = At::Returned;
    }

    pub(super) fn on_forwarded(&mut self, step: u64, unit: u32, tensor: Tensor) {
        let digest = if self.config.shape.is_probe(unit) { None } else { self.digest_of(&tensor) };
        self.keep_made((step, unit, Direction::Forward), &tensor);
        if let Some(unit) = self.unit(step, unit)
            && unit.at == At::Running
        {
            (unit.output, unit.y) = (Some(tensor), digest);
            unit.at = At::Forwarded;
            unit.out = Out::Wanted;
        }
    }

    pub(super) fn on_backwarded(
        &mut self,
        step: u64,
        unit: u32,
        tensor: Option<Tensor>,
        accumulated: bool,
        loss: Option<u64>,
        made: Made,
    ) {
        let digest = tensor.as_ref().and_then(|tensor| self.digest_of(tensor));
        if let Some(tensor) = &tensor {
            self.keep_made((step, unit, Direction::Backward), tensor);
        }
        if let Some(unit) = self.unit(step, unit) {
            (unit.dx, unit.made) = (digest, Some(made));
        }
        if accumulated && step == self.progress {
            self.current.training_losses.extend(loss);
        }
        self.finish_unit(step, unit, tensor);
    }

    pub(super) fn on_measured(&mut self, step: u64, unit: u32, loss: u64) {
        if let Some(work) = self.work(step) {
            work.losses.insert(unit, loss);
        }
        self.finish_unit(step, unit, None);
    }

    fn finish_unit(&mut self, step: u64, unit: u32, result: Option<Tensor>) {
        let (id, now, open) = (self.id(step, unit), self.now, step == self.progress);
        let Some(work) = self.work(step) else { return };
        let Some(held) = work.units.get_mut(&unit) else { return };
        held.at = At::Done;
        held.result = result.clone();
        let dx = held.dx;
        let sources = held.sources.clone();
        work.last_change = now;
        if open {
            work.done.insert(unit);
        }
        let tensor = result.unwrap_or_else(Tensor::empty);
        for source in sources {
            self.return_gradient(source, id.clone(), tensor.clone(), dx);
        }
        if open {
            self.repeat_have();
        }
    }

    /// The next unit job: gradients before activations, late neighbours' steps before the present one.
    pub(super) fn unit_job(&mut self) -> Option<Job> {
        if self.phase != Phase::Working {
            return None;
        }
        let (last, open, shape) = (self.is_last(), self.progress, self.config.shape.clone());
        for work in self.previous.iter_mut().chain([&mut self.current]) {
            let step = work.step;
            let accumulate = step == open;
            let first = |at: At| work.units.iter().find(|(_, u)| u.at == at).map(|(number, _)| *number);
            let Some(unit) = first(At::Returned).or_else(|| first(At::Queued)) else { continue };
            let Some(held) = work.units.get_mut(&unit) else { continue };
            let returned = held.at == At::Returned;
            held.at = At::Running;
            let input = held.input.clone();
            return Some(if returned {
                Job::Backward { step, unit, input, output_gradient: held.output_gradient.clone(), accumulate }
            } else if !last {
                Job::Forward { step, unit, input }
            } else if shape.is_probe(unit) {
                Job::Measure { step, unit, input }
            } else {
                Job::Backward { step, unit, input, output_gradient: None, accumulate }
            });
        }
        None
    }

    /// Send on every output that waits for a seat of the next stage.
    pub(super) fn dispatch_units(&mut self) {
        let steps = self.previous.iter().map(|w| w.step).chain([self.current.step]).collect::<Vec<_>>();
        for step in steps {
            let waiting: Vec<u32> = match self.work(step) {
                Some(work) => work
                    .units
                    .iter()
                    .filter(|(_, u)| u.output.is_some() && matches!(u.out, Out::Wanted | Out::Seeking { .. }))
                    .map(|(unit, _)| *unit)
                    .collect(),
                None => Vec::new(),
            };
            waiting.into_iter().for_each(|unit| self.dispatch(step, unit));
        }
    }

    fn dispatch(&mut self, step: u64, number: u32) {
        let (now, next, id) = (self.now, self.config.stage + 1, self.id(step, number));
        let live = self.ready_at(next, |progress| progress >= step);
        let exact = self.ready_at(next, |progress| progress == step);
        let credits = self.config.tuning.credits;
        let Some(unit) = self.unit(step, number) else { return };
        let Some(tensor) = unit.output.clone() else { return };
        match &mut unit.out {
            Out::Wanted if unit.replay && !live.is_empty() => {
                unit.out = Out::Seeking { asked: live.iter().copied().collect(), since: now };
                for peer in live {
                    self.send(peer, Seek { id: id.clone() });
                }
                return;
            }
            Out::Seeking { asked, .. } => {
                asked.retain(|peer| live.contains(peer));
                if !asked.is_empty() {
                    return;
                }
            }
            _ => {}
        }
        let replay = unit.replay;
        let candidates = if exact.is_empty() { live } else { exact };
        // Replays must not wait behind units that may themselves be stuck with a lost seat.
        let credits = if replay { u32::MAX } else { credits };
        match self.router.pick(&candidates, credits, now) {
            Some(to) => {
                self.send_output(to, id, replay, tensor);
            }
            None => {
                if let Some(unit) = self.unit(step, number) {
                    unit.out = Out::Wanted;
                }
            }
        }
    }

    fn send_output(&mut self, to: PublicKey, id: UnitId, replay: bool, tensor: Tensor) {
        let now = self.now;
        let Some(unit) = self.unit(id.step, id.unit) else { return };
        unit.out = Out::Sent { to, since: now };
        let digest = unit.y;
        let what = (id.step, id.unit, Direction::Forward);
        let signature = digest.and_then(|y| self.sign_delivery(to, what, y));
        self.send(to, Activation { id, replay, tensor, signature });
    }

    /// Send again what the lost seat had, unless its stage has closed the step. Returns how many units.
    pub(super) fn retarget(&mut self, lost: &PublicKey) -> u32 {
        let closed_below = self
            .live_at(self.config.stage + 1)
            .iter()
            .filter_map(|p| self.peers.get(p))
            .map(|p| p.progress())
            .max()
            .unwrap_or(0);
        let mut count = 0;
        for work in self.previous.iter_mut().chain([&mut self.current]) {
            for unit in work.units.values_mut() {
                let there = matches!(&unit.out, Out::Sent { to, .. } if to == lost);
                if there && (unit.at != At::Done || work.step >= closed_below) {
                    unit.out = Out::Wanted;
                    unit.replay = true;
                    count += 1;
                }
            }
        }
        count
    }

    /// Ask again about units that have been away for long, and for units that nobody has.
    pub(super) fn retry_units(&mut self) {
        if self.phase != Phase::Working {
            return;
        }
        let (now, retry) = (self.now, self.config.tuning.retry);
        for work in self.previous.iter_mut().chain([&mut self.current]) {
            for unit in work.units.values_mut() {
                match &unit.out {
                    Out::Sent { since, .. } if unit.at == At::Forwarded && now >= since + retry => {}
                    Out::Seeking { since, .. } if now >= since + retry => {}
                    _ => continue,
                }
                unit.replay = true;
                unit.out = Out::Wanted;
            }
        }
        let work = &self.current;
        let idle = !self.busy && work.units.values().all(|u| u.at == At::Done);
        // In the first stage the lowest seat begins missing units; if nothing comes of that, the next one does.
        let turns = if self.is_first() { 1 + self.rank() } else { 1 };
        let (changed, asked) = (work.last_change + turns * retry, work.asked + retry);
        if self.finished() || !idle || now < changed.max(asked) {
            return;
        }
        let missing = self.config.shape.units_of(work.step).minus(&self.cover());
        if missing.is_empty() {
            return;
        }
        let step = work.step;
        self.current.asked = now;
        if self.is_first() {
            for unit in missing.iter() {
                self.current.units.entry(unit).or_insert_with(|| Unit::new(None, None, true));
            }
        } else {
            let want = WantUnits { run: self.branch, step, units: missing.to_blob() };
            for peer in self.live_at(self.config.stage - 1) {
                self.send(peer, want.clone());
            }
        }
    }

    pub(super) fn on_want_units(&mut self, from: PublicKey, message: WantUnits) {
        if message.run != self.branch || self.phase != Phase::Working {
            return;
        }
        let step = message.step;
        let asked = UnitSet::from_blob(&message.units).intersection(&self.config.shape.units_of(step));
        let (first, lowest) = (self.is_first(), self.is_lowest());
        let mut further = UnitSet::default();
        for number in asked.iter() {
            let id = self.id(step, number);
            let Some(work) = self.work(step) else { return };
            match work.units.get_mut(&number) {
                Some(Unit { output: Some(tensor), .. }) => {
                    let tensor = tensor.clone();
                    self.send_output(from, id, true, tensor);
                }
                Some(_) => {}
                None if first && lowest => {
                    work.units.insert(number, Unit::new(None, None, true));
                }
                None if lowest => further.insert(number),
                None => {}
            }
        }
        if !further.is_empty() {
            let want = WantUnits { run: self.branch, step, units: further.to_blob() };
            for peer in self.live_at(self.config.stage - 1) {
                self.send(peer, want.clone());
            }
        }
    }

    /// A unit that could not be computed is dropped; returns who sent it.
    pub(super) fn forget_unit(&mut self, step: u64, unit: u32) -> Option<Vec<PublicKey>> {
        self.work(step)?.units.remove(&unit).map(|unit| unit.sources)
    }
}
