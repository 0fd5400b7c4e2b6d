//! Keep the index of events up to date, and make it again from the blocks where it is behind.
//!
//! Final blocks come with their events while the validator runs. Blocks that the index lacks (it was deleted, or
//! the process was killed between a block and its entry) are executed again from the beginning, in memory, and
//! their events checked against the headers. Where that is not possible, because early blocks are gone (the
//! state was downloaded) or the state is larger than [`MAX_CELLS`], the index begins at the present and says so.

use super::index::{EventIndex, IndexError};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};
use tessera_audit::referee::TrustReferee;
use tessera_canon::Hash;
use tessera_chain::{Block, event_root};
use tessera_ledger::{Event, Genesis, MemState};
use tessera_validator::{FinalizedBlock, ValidatorHandle};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Most cells that executing old blocks may hold in memory: about 400 MB.
pub const MAX_CELLS: usize = 1 << 20;

/// The index, shared between who writes and who reads it.
#[derive(Clone, Debug)]
pub struct SharedIndex(Arc<Mutex<Option<EventIndex>>>, PathBuf);

impl SharedIndex {
    /// Open the index in `dir`; one that is damaged is made again. `None` inside where the disk does not take it:
    /// a validator works without.
    pub fn open(dir: &Path, network: Hash) -> Self {
        let opened = EventIndex::open(dir, network).or_else(|error| {
            tracing::warn!(%error, "making the index of events again");
            std::fs::remove_dir_all(dir).map_err(|cause| IndexError::Disk { path: dir.into(), cause })?;
            EventIndex::open(dir, network)
        });
        let index = opened.inspect_err(|error| tracing::warn!(%error, "there is no index of events")).ok();
        Self(Arc::new(Mutex::new(index)), dir.into())
    }
    fn lock(&self) -> MutexGuard<'_, Option<EventIndex>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// Read from the index in a thread that may wait for the disk. `None` without an index, or where it failed.
    pub async fn read<R: Send + 'static>(
        &self,
        reader: impl FnOnce(&EventIndex) -> Result<R, IndexError> + Send + 'static,
    ) -> Option<R> {
        let index = self.clone();
        let read = tokio::task::spawn_blocking(move || index.lock().as_ref().map(reader)).await.ok()??;
        read.inspect_err(|error| tracing::warn!(%error, "the index of events was not read")).ok()
    }
    fn next(&self) -> Option<u64> {
        self.lock().as_ref().map(EventIndex::next)
    }
    /// Change the index; one that fails is given up until the next start.
    fn change(&self, change: impl FnOnce(EventIndex) -> Result<EventIndex, IndexError>) {
        let mut index = self.lock();
        if let Some(held) = index.take() {
            match change(held) {
                Ok(changed) => *index = Some(changed),
                Err(error) => {
                    tracing::warn!(%error, folder = %self.1.display(), "the index of events ends here")
                }
            }
        }
    }
    fn append(&self, block: &Block, events: &[Event]) {
        self.change(|mut index| index.append(block.header().height, block.txs(), events).map(|()| index));
    }
}

/// Blocks executed again, up to `height`.
struct Replay {
    state: MemState,
    height: u64,
}

/// Why old blocks could not be executed again.
enum Unfilled {
    Gone(u64),
    TooLarge,
    Differs(u64),
}

/// Append every final block to `index` until the validator ends.
pub(super) async fn follow(
    validator: ValidatorHandle,
    genesis: Arc<Genesis>,
    index: SharedIndex,
    mut feed: Receiver<Arc<FinalizedBlock>>,
) {
    let mut replay = None;
    loop {
        let news = match feed.recv().await {
            Ok(news) => news,
            // What was lost is executed again.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let height = news.header.height;
        let Some(next) = index.next() else { return };
        if height < next {
            continue;
        }
        let complete = event_root(&news.events) == news.header.event_root;
        if height == next && complete {
            replay = None;
            index.change(|mut index| index.append(height, &news.txs, &news.events).map(|()| index));
            continue;
        }
        let to = if complete { height - 1 } else { height };
        match fill(&validator, &genesis, &index, &mut replay, to).await {
            Ok(()) => {}
            Err(why) => {
                replay = None;
                let reason = match why {
                    Unfilled::Gone(block) => format!("block {block} is not kept any more"),
                    Unfilled::TooLarge => format!("the state has more than {MAX_CELLS} cells"),
                    Unfilled::Differs(block) => {
                        format!("block {block} executed otherwise than it was certified")
                    }
                };
                let first = if complete { height } else { height + 1 };
                tracing::warn!(%reason, first, "the index of events begins anew");
                index.change(|index| index.begun_at(first));
            }
        }
        if complete && index.next() == Some(height) {
            index.change(|mut index| index.append(height, &news.txs, &news.events).map(|()| index));
        }
    }
}

/// Execute blocks again until `index` covers `to`.
async fn fill(
    validator: &ValidatorHandle,
    genesis: &Arc<Genesis>,
    index: &SharedIndex,
    replay: &mut Option<Replay>,
    to: u64,
) -> Result<(), Unfilled> {
    while let Some(next) = index.next().filter(|next| *next <= to) {
        let held = replay.take().filter(|held| held.height < next);
        let mut held = held.unwrap_or_else(|| Replay { state: MemState::new(genesis), height: 0 });
        let height = held.height + 1;
        let block = validator.block_at(height).await.ok_or(Unfilled::Gone(height))?;
        let index = index.clone();
        let executed = tokio::task::spawn_blocking(move || {
            let outcome =
                held.state.run_block_with(block.header().execution(), Arc::new(TrustReferee), block.txs());
            if event_root(&outcome.events) != block.header().event_root {
                return Err(Unfilled::Differs(height));
            }
            if held.state.0.len() > MAX_CELLS {
                return Err(Unfilled::TooLarge);
            }
            if height == next {
                index.append(&block, &outcome.events);
            }
            held.height = height;
            Ok(held)
        });
        *replay = Some(executed.await.map_err(|_| Unfilled::Differs(height))??);
    }
    Ok(())
}
