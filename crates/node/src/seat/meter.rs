//! Count what audits do in a seat and what they cost it.
//!
//! Times are those that jobs took on the thread of arithmetic, where audits and units take turns; other seats of the same
//! machine make both longer alike. Digests of the seat's own units are made within its backward jobs and count as work.

use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use tessera_audit::audit::AuditVerdict;
use tessera_swarm::{Job, Note};
use tessera_wire::training::Message;

/// What audits did here since the process began.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrustFigures {
    /// Units of this stage that were looked at in draws, and audits that were drawn of them, whoever carries them out.
    pub units: u64,
    pub drawn: u64,
    /// Audits that this seat carried out, by verdict.
    pub audited: BTreeMap<&'static str, u64>,
    /// Accusations of this seat, disputes about its own units, faults of others that no game judges.
    pub accused: u64,
    pub disputed: u64,
    pub faults: u64,
    /// Rollbacks, and the steps of this seat that were done again because of them.
    pub rollbacks: u64,
    pub steps_again: u64,
    /// Bytes held for auditors now.
    pub held_bytes: u64,
    /// Milliseconds of arithmetic: audits of others and disputes, and everything.
    pub audit_ms: u64,
    pub all_ms: u64,
    /// Bytes sent: receipts, commitments and audits, and everything.
    pub audit_bytes: u64,
    pub all_bytes: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    figures: TrustFigures,
    audit: Duration,
    all: Duration,
}

/// Whether a job is for audits and disputes.
pub(super) fn is_audit(job: &Job) -> bool {
    matches!(job, Job::Audit(_) | Job::Play(_))
}

impl Meter {
    /// A job took `time`.
    pub(super) fn worked(&mut self, audit: bool, time: Duration) {
        self.all += time;
        if audit {
            self.audit += time;
        }
    }
    /// A message of so many bytes was sent.
    pub(super) fn sent(&mut self, message: &Message, bytes: usize) {
        self.figures.all_bytes += bytes as u64;
        if matches!(message, Message::Audit(_)) {
            self.figures.audit_bytes += bytes as u64;
        }
    }
    pub(super) fn noted(&mut self, note: &Note) {
        let figures = &mut self.figures;
        match note {
            Note::Drawn { units, audits, .. } => {
                figures.units += u64::from(*units);
                figures.drawn += u64::from(*audits);
            }
            Note::Audited { verdict, .. } => *figures.audited.entry(verdict_name(*verdict)).or_default() += 1,
            Note::Accused { .. } => figures.accused += 1,
            Note::Disputed { .. } => figures.disputed += 1,
            Note::Fault { .. } => figures.faults += 1,
            Note::RolledBack { lost, .. } => {
                figures.rollbacks += 1;
                figures.steps_again += lost;
            }
            _ => {}
        }
    }
    /// The figures, with what is held now.
    pub(super) fn figures(&self, held: usize) -> TrustFigures {
        TrustFigures {
            held_bytes: held as u64,
            audit_ms: self.audit.as_millis() as u64,
            all_ms: self.all.as_millis() as u64,
            ..self.figures.clone()
        }
    }
}

/// What an audit found, in the words of the logs.
pub(super) fn verdict_name(verdict: AuditVerdict) -> &'static str {
    match verdict {
        AuditVerdict::Match => "match",
        AuditVerdict::Inputs => "inputs differ",
        AuditVerdict::Y => "output differs",
        AuditVerdict::Dx => "input gradient differs",
        AuditVerdict::Dw => "weight gradient differs",
        AuditVerdict::NoData => "not opened",
        AuditVerdict::Canary => "canary",
        AuditVerdict::Sent => "sent something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollbacks_and_draws_add_up_and_only_audits_count_as_such() {
        let mut meter = Meter::default();
        meter.noted(&Note::Drawn { window: 0, units: 16, audits: 3 });
        meter.noted(&Note::Drawn { window: 1, units: 16, audits: 2 });
        meter.noted(&Note::RolledBack { generation: 1, step: 4, lost: 9 });
        meter.worked(false, Duration::from_millis(30));
        meter.worked(true, Duration::from_millis(10));
        let figures = meter.figures(77);
        assert_eq!((figures.units, figures.drawn, figures.steps_again), (32, 5, 9));
        assert_eq!((figures.audit_ms, figures.all_ms, figures.held_bytes), (10, 40, 77));
        assert!(!is_audit(&Job::Load) && !is_audit(&Job::Export));
    }
}
