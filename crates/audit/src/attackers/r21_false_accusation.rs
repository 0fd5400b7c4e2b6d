//! Audit a good unit and call it wrong.
//!
//! The dispute is exact: the accused proves one step and keeps everything, the accuser loses its bond. A second audit
//! shows it as well.

use super::{Attacker, invented};
use crate::{
    audit::{AuditVerdict, Computed},
    reexec::UnitDigests,
    unit::UnitId,
};
use tessera_canon::Hash;

/// Row 21.
#[derive(Clone, Debug)]
pub struct FalseAccusation {
    pub unit: UnitId,
}

impl Attacker for FalseAccusation {
    fn row(&self) -> u8 {
        21
    }
    fn name(&self) -> &'static str {
        "false accusation"
    }
    fn report(&mut self, leaked: Option<&UnitDigests>) -> Option<Computed> {
        let digests = UnitDigests { dx: invented(&self.unit), ..leaked?.clone() };
        Some(Computed { digests, trace: Hash::ZERO, repeated_trace: None })
    }
    fn verdict(&mut self, _: AuditVerdict) -> AuditVerdict {
        AuditVerdict::Dx
    }
}
