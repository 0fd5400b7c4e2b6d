//! Audit a friend's bad unit and call it right.
//!
//! A second auditor of a tenth of all audits finds it; a canary does too.

use super::Attacker;
use crate::{
    audit::{AuditVerdict, Computed},
    reexec::UnitDigests,
};
use tessera_canon::Hash;

/// Row 19: reports the friend's digests, which it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColludingAuditor;

impl Attacker for ColludingAuditor {
    fn row(&self) -> u8 {
        19
    }
    fn name(&self) -> &'static str {
        "colluding auditor"
    }
    fn report(&mut self, leaked: Option<&UnitDigests>) -> Option<Computed> {
        let digests = leaked?.clone();
        Some(Computed { digests, trace: Hash::ZERO, repeated_trace: None })
    }
    fn verdict(&mut self, _: AuditVerdict) -> AuditVerdict {
        AuditVerdict::Match
    }
}
