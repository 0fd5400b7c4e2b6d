//! Play this seat's disputes on the ledger, as the accused or as the challenger.
//!
//! What a unit was computed from is set aside the moment its dispute is seen, so neither time nor a rollback can take it
//! away before the game is over.

use super::Case;
use crate::{Effect, Job, Note, OpenDispute, PlayJob, trainer::Trainer};
use tessera_audit::unit::Direction;
use tessera_canon::Hash;
use tessera_ledger::{
    action::{DisputeStep, Step},
    record::DisputePhase,
};

impl Trainer {
    /// Look at this seat's open disputes and order the next message where it has the turn.
    pub(in crate::trainer) fn review_disputes(&mut self) {
        let open = self.roster.disputes.clone();
        for case in self.trust.cases.values_mut() {
            case.seen |= open.iter().any(|open| open.dispute.evidence == case.leaf.claim().digest());
        }
        // A case is over once its dispute has come and gone; one that never came stays until it is too old.
        let oldest = self.progress.saturating_sub(2 * crate::store::HISTORY as u64);
        self.trust.cases.retain(|evidence, case| {
            open.iter().any(|open| open.dispute.evidence == *evidence)
                || (!case.seen && case.leaf.unit.step >= oldest)
        });
        for dispute in open {
            self.play(dispute);
        }
    }

    fn play(&mut self, open: OpenDispute) {
        let dispute = &open.dispute;
        let accused = dispute.accused == self.me;
        let my_turn = match dispute.phase {
            DisputePhase::Commit | DisputePhase::Prove => accused,
            DisputePhase::Name => dispute.challenger == self.me,
            DisputePhase::Panel | DisputePhase::Accuse => false,
        };
        if accused && !self.trust.cases.contains_key(&dispute.evidence) {
            self.set_aside(dispute.evidence);
        }
        let turn = (dispute.phase as u8, dispute.level);
        let (now, again) = (self.now, 4 * self.config.tuning.retry);
        let Some(case) = self.trust.cases.get_mut(&dispute.evidence).filter(|_| my_turn) else { return };
        if case.played.is_some_and(|(phase, level, at)| (phase, level) == turn && now < at + again) {
            return;
        }
        case.played = Some((turn.0, turn.1, now));
        let numbers = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|b| tessera_audit::audit::numbers(b));
        let job = PlayJob {
            number: super::number_of(&case.leaf.unit.label),
            input: numbers(&case.input),
            gradient: numbers(&case.gradient),
            leaf: case.leaf.clone(),
            open,
        };
        // Who lets a turn pass loses, so this goes first.
        self.trust.jobs.push_front(Job::Play(Box::new(job)));
    }

    /// Keep what the accused unit was computed from.
    fn set_aside(&mut self, evidence: Hash) {
        let Some(leaf) = self.trust.own.get(&evidence).cloned() else { return };
        let place = leaf.unit.place();
        let retention = self.trust.served.retention();
        let values =
            |label, direction| retention.tensor(place, label, direction).map(|kept| kept.values.clone());
        let (input, gradient) =
            (values(&leaf.unit.label, Direction::Forward), values(&leaf.out, Direction::Backward));
        self.note(Note::Disputed { step: leaf.unit.step, unit: super::number_of(&leaf.unit.label) });
        self.trust.cases.insert(evidence, Case { leaf, input, gradient, seen: true, played: None });
    }

    pub(in crate::trainer) fn on_played(&mut self, dispute: Hash, step: Option<Step>) {
        if let Some(step) = step {
            self.effects.push(Effect::Move(Box::new(DisputeStep { dispute, step })));
        }
    }
}
