//! Keep what units leave from forward to backward, within a budget of memory.
//!
//! A tape only saves time: a unit without one runs forward again, with the same bits. So the cache may drop
//! anything at any moment, and drops the oldest first: its gradient is the likeliest to have been lost on the
//! way. All tapes are of the step the seat is at; the worker clears them when its state changes.

use std::collections::VecDeque;
use tessera_model::{Kept, StageInput, Workspace};

/// Bytes of tapes a worker holds unless told otherwise: ten units of the `tessera bench stage` shape.
pub const DEFAULT_TAPE_BYTES: usize = 1 << 30;

/// Tapes by unit, oldest first.
pub(crate) struct Tapes {
    held: VecDeque<(u32, Kept)>,
    budget: usize,
}

impl Tapes {
    /// No tapes, and at most `budget` bytes of them later.
    pub(crate) fn new(budget: usize) -> Self {
        Self { held: VecDeque::new(), budget }
    }
    /// Change the budget; what does not fit is dropped.
    pub(crate) fn set_budget(&mut self, budget: usize, workspace: &mut Workspace) {
        self.budget = budget;
        self.make_room(0, workspace);
    }
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.held.iter().map(|(_, kept)| kept.bytes()).sum()
    }
    /// Drop the oldest until `bytes` more fit; false if they never do.
    pub(crate) fn make_room(&mut self, bytes: usize, workspace: &mut Workspace) -> bool {
        while self.bytes().saturating_add(bytes) > self.budget {
            let Some((_, oldest)) = self.held.pop_front() else { return false };
            workspace.recycle(oldest);
        }
        true
    }
    /// Hold the tape of `unit` in place of any earlier one.
    pub(crate) fn put(&mut self, unit: u32, kept: Kept, workspace: &mut Workspace) {
        self.drop_unit(unit, workspace);
        if self.make_room(kept.bytes(), workspace) {
            self.held.push_back((unit, kept));
        } else {
            workspace.recycle(kept);
        }
    }
    /// Forget `unit`.
    pub(crate) fn drop_unit(&mut self, unit: u32, workspace: &mut Workspace) {
        if let Some(at) = self.held.iter().position(|(held, _)| *held == unit)
            && let Some((_, kept)) = self.held.remove(at)
        {
            workspace.recycle(kept);
        }
    }
    /// The tape of `unit`, if it was made from this input at this step.
    pub(crate) fn take(&mut self, step: u64, unit: u32, input: StageInput) -> Option<Kept> {
        let fits = |(held, kept): &(u32, Kept)| *held == unit && kept.step() == step && kept.is_of(input);
        let at = self.held.iter().position(fits)?;
        self.held.remove(at).map(|(_, kept)| kept)
    }
    /// Drop everything.
    pub(crate) fn clear(&mut self, workspace: &mut Workspace) {
        self.held.drain(..).for_each(|(_, kept)| workspace.recycle(kept));
    }
}
