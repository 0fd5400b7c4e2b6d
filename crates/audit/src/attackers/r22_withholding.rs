//! Go offline whenever picked.
//!
//! The worker is holder of last resort of everything its unit was made from: silence counts as a mismatch.

use super::{Attacker, r06_lazy::Lazy};
use crate::{
    audit::{Answer, Refusal, Request},
    reexec::Outputs,
    unit::UnitId,
};

/// Row 22: lazy work, and no answer to an audit of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Withholding;

impl Attacker for Withholding {
    fn row(&self) -> u8 {
        22
    }
    fn name(&self) -> &'static str {
        "withholding"
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        Lazy.outputs(unit, outputs);
    }
    fn answer(&mut self, _: &Request, _: Result<Answer, Refusal>) -> Option<Result<Answer, Refusal>> {
        None
    }
}
