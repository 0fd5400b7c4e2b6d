//! Send another tensor with the same statistics: the rows in another order.
//!
//! A monitor is blind to it by design; audits and duplicates are not.

use super::Attacker;
use crate::{reexec::Outputs, unit::UnitId};

/// Row 27; `columns` is the width of a boundary.
#[derive(Clone, Copy, Debug)]
pub struct Mimic {
    pub columns: usize,
}

impl Mimic {
    fn turn(&self, values: &mut Vec<f32>) {
        let rows: Vec<&[f32]> = values.chunks_exact(self.columns.max(1)).rev().collect();
        *values = rows.concat();
    }
}

impl Attacker for Mimic {
    fn row(&self) -> u8 {
        27
    }
    fn name(&self) -> &'static str {
        "mimic of statistics"
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        self.turn(&mut outputs.y);
        self.turn(&mut outputs.dx);
    }
}
