//! Work honestly until everybody is used to it, then cheat.
//!
//! Audit rates have a floor, so the first bad unit is as likely to be found as any other seat's; what is pending by
//! then is what it loses.

use super::{Attacker, r06_lazy::Lazy};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 9: honest for `honest` units, then lazy.
#[derive(Clone, Copy, Debug)]
pub struct Delayed {
    pub honest: u64,
}

impl Attacker for Delayed {
    fn row(&self) -> u8 {
        9
    }
    fn name(&self) -> &'static str {
        "delayed"
    }
    fn cheats(&mut self) -> bool {
        let honest = self.honest > 0;
        self.honest = self.honest.saturating_sub(1);
        !honest
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        Lazy.outputs(unit, outputs);
    }
}
