//! Keep the last states of a stage where a crash cannot take them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};
use tessera_wire::training::StepRecord;

/// A state as it was saved.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Steps closed.
    pub progress: u64,
    /// The canonical bytes of the state ([`tessera_model::StageState::to_bytes`]).
    pub state: Vec<u8>,
    /// Rollbacks of the run that this state knows of.
    pub generation: u32,
    /// What is on record of the steps that a report may still need.
    pub records: Vec<StepRecord>,
}

/// A store failed; nothing that was saved before is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("could not save the state of step {progress}: {reason}; training waits and tries again")]
    Save { progress: u64, reason: String },
    #[error("could not read a saved state: {reason}")]
    Load { reason: String },
}

/// States that are kept: audits compute units of past steps again, and a run may be rolled back that far.
pub const HISTORY: usize = 64;

/// Durable storage of stage states. `save` returns only once the state survives a crash, sets those of the same and later
/// steps aside as undone, and keeps the [`HISTORY`] newest of each kind.
pub trait StateStore: Send {
    /// Keep `saved`.
    fn save(&mut self, saved: &Saved) -> Result<(), StoreError>;
    /// The state with this progress, or the newest intact one. A damaged one counts as absent and is reported
    /// by [`StateStore::damaged`].
    fn load(&mut self, progress: Option<u64>) -> Result<Option<Saved>, StoreError>;
    /// The newest intact state that is no newer than `progress`.
    fn load_before(&mut self, progress: u64) -> Result<Option<Saved>, StoreError>;
    /// States with this progress that a rollback has undone: work on them can still be disputed.
    fn load_undone(&mut self, progress: u64) -> Result<Vec<Saved>, StoreError>;
    /// Descriptions of damaged states found so far, for the operator.
    fn damaged(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A store in memory that outlives the worker that uses it: what a simulated disk is.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    present: BTreeMap<u64, Saved>,
    undone: VecDeque<Saved>,
}

impl StateStore for MemoryStore {
    fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        let mut kept = self
            .0
            .lock()
            .map_err(|e| StoreError::Save { progress: saved.progress, reason: e.to_string() })?;
        let later = kept.present.split_off(&saved.progress);
        let other = later.into_values().filter(|later| later.generation != saved.generation);
        kept.undone.extend(other);
        while kept.undone.len() > HISTORY {
            kept.undone.pop_front();
        }
        kept.present.insert(saved.progress, saved.clone());
        while kept.present.len() > HISTORY {
            kept.present.pop_first();
        }
        Ok(())
    }
    fn load(&mut self, progress: Option<u64>) -> Result<Option<Saved>, StoreError> {
        let kept = self.0.lock().map_err(|e| StoreError::Load { reason: e.to_string() })?;
        Ok(match progress {
            Some(p) => kept.present.get(&p).cloned(),
            None => kept.present.values().next_back().cloned(),
        })
    }
    fn load_before(&mut self, progress: u64) -> Result<Option<Saved>, StoreError> {
        let kept = self.0.lock().map_err(|e| StoreError::Load { reason: e.to_string() })?;
        Ok(kept.present.range(..=progress).next_back().map(|(_, saved)| saved.clone()))
    }
    fn load_undone(&mut self, progress: u64) -> Result<Vec<Saved>, StoreError> {
        let kept = self.0.lock().map_err(|e| StoreError::Load { reason: e.to_string() })?;
        Ok(kept.undone.iter().filter(|saved| saved.progress == progress).cloned().collect())
    }
}
