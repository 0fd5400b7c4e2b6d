//! Commit to the units of a step before sums are exchanged, and take the commitments of the stage's other seats.
//!
//! A seat commits to exactly the units that its sum is over. Where it takes over units of a lost seat it commits anew,
//! under the next attempt. A sum is sent only to a stage whose seats have all committed, so that none can fit its
//! own to another's.

use crate::{Made, Note, Phase, UnitSet, trainer::Trainer};
use std::collections::BTreeMap;
use tessera_audit::{
    exchange::Commit,
    unit::{Commitment, StepContext, UnitId, UnitLeaf},
};
use tessera_canon::{Hash, PublicKey};

/// What a seat committed to in the present step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trainer) struct Committed {
    pub(in crate::trainer) units: UnitSet,
    pub(in crate::trainer) header: Hash,
    /// Root over its gradient sum.
    pub(in crate::trainer) sum: Hash,
    pub(in crate::trainer) attempt: u16,
}

impl Trainer {
    /// The window that will report `step`: the step's own, or the next one to be reported if that has been.
    fn window_of(&self, step: u64) -> u32 {
        let own = (step / self.config.shape.window_steps) as u32;
        own.max(self.roster.reported(self.config.stage))
    }

    /// What all headers of the present step have in common.
    fn context(&self) -> StepContext {
        StepContext {
            network: self.config.network,
            run: self.config.shape.run,
            window: self.window_of(self.progress),
            stage: self.config.stage,
            generation: self.generation,
            step: self.progress,
            w_root: self.state_root,
            weights: self.weights,
        }
    }

    fn leaf(&self, number: u32) -> Option<(UnitLeaf, PublicKey, PublicKey)> {
        let held = self.current.units.get(&number)?;
        let made: &Made = held.made.as_ref()?;
        let (label, out) = self.labels(self.progress, number);
        let unit = UnitId {
            run: self.config.shape.run,
            generation: self.generation,
            step: self.progress,
            stage: self.config.stage,
            label,
            slot: self.config.seat,
            worker: self.me,
        };
        let leaf = UnitLeaf {
            unit,
            out,
            w_root: self.state_root,
            weights: self.weights,
            x: made.x.or(held.x)?,
            y: made.y.or(held.y)?,
            dy: made.dy.or(held.dy)?,
            dx: held.dx.unwrap_or_default(),
            dw: made.dw,
            arithmetic: tessera_model::ARITHMETIC_VERSION,
        };
        Some((leaf, held.up.unwrap_or_default(), held.down.unwrap_or_default()))
    }

    /// Commit to `units`, whose sum has this root.
    pub(in crate::trainer) fn commit(&mut self, units: &UnitSet, root: Hash) {
        if self.current.own_commit.as_ref().is_some_and(|own| own.units == *units) {
            return;
        }
        let leaves: Option<Vec<_>> = units.iter().map(|number| self.leaf(number)).collect();
        let Some(commitment) = leaves.and_then(|leaves| Commitment::new(leaves, &[]).ok()) else {
            return self.note(Note::Trouble {
                what: format!("step {}: a unit's digests are missing, it is not committed", self.progress),
            });
        };
        let attempt = self.current.own_commit.as_ref().map_or(0, |own| own.attempt + 1);
        let place = (self.config.seat, attempt);
        let context = self.context();
        let header =
            commitment.header(&self.config.key, place, &context, root, Hash::ZERO, self.trust_previous);
        let id = header.value.id();
        self.trust_previous = id;
        for leaf in commitment.leaves() {
            self.trust.own.insert(leaf.claim().digest(), leaf.clone());
        }
        let list = commitment.list().clone();
        self.trust.known.insert(id, Commit { header: header.clone(), list });
        let kept = tessera_audit::audit::Committed { header, commitment, canary: None };
        let at = (self.progress, self.generation);
        if let Err(error) = self.trust.served.retention().keep_commitment(at, kept) {
            self.note(Note::Trouble { what: error.to_string() });
        }
        self.current.own_commit = Some(Committed { units: units.clone(), header: id, sum: root, attempt });
        self.current.commit_sent.clear();
        self.current.partial_sent.clear();
    }

    /// Send the present commitment to those replicas that lack it.
    pub(in crate::trainer) fn share_commit(&mut self, replicas: &[PublicKey]) {
        let Some(own) = &self.current.own_commit else { return };
        let Some(commit) = self.trust.known.get(&own.header).cloned() else { return };
        for peer in replicas {
            if self.current.commit_sent.insert(*peer) {
                self.tell(*peer, commit.clone());
            }
        }
    }

    pub(in crate::trainer) fn on_commit(&mut self, from: PublicKey, commit: Commit) {
        let header = &commit.header.value;
        if header.step != self.progress
            || header.generation != self.generation
            || self.phase != Phase::Working
        {
            return;
        }
        if header.worker != from {
            return self.offence(from, "a commitment of another seat".into());
        }
        if let Err(error) = self.context().admit(&commit.header, None) {
            // Its window or state may differ for a moment; what is signed wrong never counts.
            return self.note(Note::Refused { peer: from, why: error.to_string() });
        }
        let Ok(ids) = header.unit_ids(&commit.list) else {
            return self.offence(from, "a commitment whose list is not the one of its header".into());
        };
        let mut units = UnitSet::default();
        for (id, edges) in ids.iter().zip(commit.list.units.iter()) {
            let number = super::number_of(&id.label);
            if (id.label, edges.out) != self.labels(self.progress, number) {
                return self.offence(from, "a commitment to a unit that this step does not have".into());
            }
            units.insert(number);
        }
        if !units.is_subset(&self.config.shape.microbatches_of(self.progress)) {
            return self.offence(from, "a commitment to a unit that this step does not have".into());
        }
        let before = self.current.commits.get(&from);
        if before.is_some_and(|before| before.attempt > header.attempt) {
            return;
        }
        let (id, sum, attempt) = (header.id(), header.grad_root, header.attempt);
        self.current.commits.insert(from, Committed { units, header: id, sum, attempt });
        self.trust.known.insert(id, commit);
    }

    /// The commitment of `seat` to exactly `units`, if it is here.
    pub(in crate::trainer) fn commitment_of(&self, seat: &PublicKey, units: &UnitSet) -> Option<&Committed> {
        let held =
            if *seat == self.me { self.current.own_commit.as_ref() } else { self.current.commits.get(seat) };
        held.filter(|held| held.units == *units)
    }

    /// Whether every seat of a cover has committed to its share.
    pub(in crate::trainer) fn all_committed(&self, cover: &BTreeMap<PublicKey, UnitSet>) -> bool {
        cover.iter().all(|(seat, units)| self.commitment_of(seat, units).is_some())
    }
}
