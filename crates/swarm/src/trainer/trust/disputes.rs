//! Play this seat's disputes on the ledger, as the accused or as the challenger.
//!
//! What a unit was computed from is set aside the moment its dispute is seen, so neither time nor a rollback can take it
//! away before the game is over.

use super::{Case, Demanded};
use crate::{Effect, Job, Note, OpenDispute, PlayJob, trainer::Trainer};
use tessera_audit::unit::Direction;
use tessera_canon::{Blob, Hash, decode, encode};
use tessera_dispute::claim::UnitClaim;
use tessera_ledger::{
    action::{DisputeStep, Opening, Proceed, Step},
    record::{Dispute, DisputePhase},
};

/// Windows after which a demand that the ledger did not take is forgotten.
const DEMAND_WINDOWS: u32 = 64;

impl Trainer {
    /// Look at this seat's open disputes and order the next message where it has the turn.
    pub(in crate::trainer) fn review_disputes(&mut self) {
        let open = self.roster.disputes.clone();
        for case in self.trust.cases.values_mut() {
            case.seen |= open.iter().any(|open| open.dispute.evidence == case.claim.digest());
        }
        // A case is over once its dispute has come and gone; one that never came stays until it is too old.
        let oldest = self.progress.saturating_sub(2 * crate::store::HISTORY as u64);
        self.trust.cases.retain(|evidence, case| {
            open.iter().any(|open| open.dispute.evidence == *evidence)
                || (!case.seen && case.claim.step >= oldest)
        });
        self.trust.answered.retain(|(dispute, _), _| open.iter().any(|open| open.dispute.id == *dispute));
        let oldest = self.roster.open_window.saturating_sub(DEMAND_WINDOWS);
        self.trust.demanded.retain(|(window, _, _), _| *window >= oldest);
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
            DisputePhase::Open if accused => return self.open_claim(&open),
            DisputePhase::Weigh if !accused => return self.weigh(&open),
            DisputePhase::Panel | DisputePhase::Accuse | DisputePhase::Open | DisputePhase::Weigh => false,
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
            number: case.number,
            input: numbers(&case.input),
            gradient: numbers(&case.gradient),
            claim: case.claim.clone(),
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
        let (claim, number) = (leaf.claim(), super::number_of(&leaf.unit.label));
        self.note(Note::Disputed { step: claim.step, unit: number });
        let case = Case { claim, number, input, gradient, seen: true, played: None };
        self.trust.cases.insert(evidence, case);
    }

    /// Whether this turn was answered a moment ago; else it is noted as answered now.
    fn answered(&mut self, dispute: &Dispute) -> bool {
        let again = 4 * self.config.tuning.retry;
        let turn = (dispute.id, dispute.phase as u8);
        let before = self.trust.answered.insert(turn, self.now);
        if before.is_some_and(|at| self.now < at + again) {
            self.trust.answered.insert(turn, before.unwrap_or_default());
            return true;
        }
        false
    }

    /// As the accused: show the claim that is demanded.
    fn open_claim(&mut self, open: &OpenDispute) {
        let dispute = &open.dispute;
        let (Some(work), Some(unit)) = (&dispute.work, dispute.unit) else { return };
        let place = (work.step, work.generation);
        let found = self.trust.served.retention().committed(place).and_then(|committed| {
            let leaf = committed.commitment.leaves().get(unit as usize)?.clone();
            let (_, path) = committed.commitment.open(&leaf.unit)?;
            Some((leaf.claim(), path))
        });
        let Some((claim, path)) = found else { return };
        let Ok(bytes) = Blob::new(encode(&claim)) else { return };
        if !self.answered(dispute) {
            self.set_aside(claim.digest());
            self.on_played(dispute.id, Some(Opening { claim: bytes, path }.into()));
        }
    }

    /// As the challenger: go on if what was opened is not what this seat computed, else let the turn pass.
    fn weigh(&mut self, open: &OpenDispute) {
        let dispute = &open.dispute;
        let Some(place) = dispute.unit else { return };
        let key = (dispute.window, dispute.accused, place);
        let Some(claim) = open.opened.as_ref().and_then(|o| decode::<UnitClaim>(&o.claim).ok()) else {
            return;
        };
        let Some(Demanded { unit, mine, input, gradient }) = self.trust.demanded.get(&key).cloned() else {
            return;
        };
        let told = (claim.x, claim.dy, claim.y, claim.dx, claim.dw);
        if told == (mine.x, mine.dy, mine.y, mine.dx, mine.dw) || self.answered(dispute) {
            return;
        }
        let (number, seen, evidence) = (super::number_of(&unit.label), true, claim.digest());
        let case = Case { claim, number, input, gradient, seen, played: None };
        self.trust.cases.insert(evidence, case);
        self.on_played(dispute.id, Some(Proceed {}.into()));
    }

    pub(in crate::trainer) fn on_played(&mut self, dispute: Hash, step: Option<Step>) {
        if let Some(step) = step {
            self.effects.push(Effect::Move(Box::new(DisputeStep { dispute, step })));
        }
    }
}
