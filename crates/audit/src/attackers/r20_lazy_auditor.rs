//! Audit without computing: repeat what one was told.
//!
//! y and dx stand in neighbours' receipts, dW only with the worker. Without its help the guess is wrong and the
//! auditor accuses an honest seat; with it, a second audit's keyed trace or a canary tells.

use super::{Attacker, invented};
use crate::{
    audit::{AuditVerdict, Computed},
    reexec::UnitDigests,
    unit::UnitId,
};
use tessera_canon::Hash;

/// Row 20: reports leaked digests, or invents dW.
#[derive(Clone, Debug)]
pub struct LazyAuditor {
    pub unit: UnitId,
}

impl Attacker for LazyAuditor {
    fn row(&self) -> u8 {
        20
    }
    fn name(&self) -> &'static str {
        "lazy auditor"
    }
    fn report(&mut self, leaked: Option<&UnitDigests>) -> Option<Computed> {
        let digests = match leaked {
            Some(digests) => digests.clone(),
            None => {
                let none = Hash::ZERO;
                UnitDigests { x: none, y: none, dy: none, dx: none, dw: invented(&self.unit) }
            }
        };
        Some(Computed { digests, trace: invented(&self.unit), repeated_trace: None })
    }
    fn verdict(&mut self, _: AuditVerdict) -> AuditVerdict {
        AuditVerdict::Match
    }
}
