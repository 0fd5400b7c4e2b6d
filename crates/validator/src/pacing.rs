//! Keep the chain's pace: wait before a proposal until it is due, and before a vote on a block from the future.
//!
//! Sits between the engine and the application. It must not wait inside the application, which would hold up
//! finalization. A wait ends early with the view: the engine then drops the request.

use crate::{
    application::{App, now_ms},
    mempool::Mempool,
};
use commonware_consensus::{Application, marshal::ancestry::Ancestry};
use commonware_cryptography::Digested;
use commonware_glue::stateful::Mailbox as Stateful;
use commonware_runtime::Spawner;
use commonware_storage::Context as StorageContext;
use futures::{
    StreamExt as _,
    future::{Either, select},
};
use std::{pin::pin, time::Duration};
use tessera_chain::{Block, Context, Header, Scheme};

/// How far ahead of the local clock a block may be before a vote is held back.
const CLOCK_DRIFT: Duration = Duration::from_secs(2);
/// Longest time that a vote is held back: longer than a view lasts, so a block from further in the future
/// gathers no quorum.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// When blocks are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one block to the next while transactions wait, milliseconds.
    pub interval_ms: u64,
    /// From one block to the next while none waits, milliseconds.
    pub idle_ms: u64,
}

impl Timing {
    /// What networks use: four blocks a second under load, one while idle.
    pub const STANDARD: Self = Self { interval_ms: 250, idle_ms: 1000 };
}

impl Default for Timing {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// The application, with waits before it.
pub(crate) struct Paced<E: Spawner + StorageContext> {
    inner: Stateful<E, App>,
    pool: Mempool,
    timing: Timing,
}

impl<E: Spawner + StorageContext> Clone for Paced<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), pool: self.pool.clone(), timing: self.timing }
    }
}

impl<E: Spawner + StorageContext> Paced<E> {
    pub(crate) fn new(inner: Stateful<E, App>, pool: Mempool, timing: Timing) -> Self {
        Self { inner, pool, timing }
    }
    /// Wait until a block after `parent` is due.
    async fn wait_for_turn(&self, clock: &E, parent: &Header) {
        let until = |due: u64| Duration::from_millis(due.saturating_sub(now_ms(clock)));
        let Timing { interval_ms, idle_ms } = self.timing;
        // Bounded by the interval, so that a parent from the future cannot stop the chain.
        clock
            .sleep(until(parent.time_ms.saturating_add(interval_ms)).min(Duration::from_millis(interval_ms)))
            .await;
        let mut arrival = pin!(self.pool.arrival());
        // Poll once, so that an arrival between the look and the wait is not missed.
        if futures::poll!(arrival.as_mut()).is_pending() && self.pool.len() == 0 {
            let rest = until(parent.time_ms.saturating_add(idle_ms)).min(Duration::from_millis(idle_ms));
            if let Either::Right(_) = select(pin!(clock.sleep(rest)), arrival).await {
                tracing::trace!("a transaction ends the idle wait");
            }
        }
    }
}

impl<E: Spawner + StorageContext> Application<E> for Paced<E> {
    type SigningScheme = Scheme;
    type Context = Context;
    type Block = Block;
    type Input = ();

    async fn propose(
        &mut self,
        context: (E, Context),
        ancestry: impl Ancestry<Block>,
        input: (),
    ) -> Option<Digested<Block>> {
        let parent = ancestry.clone().next().await?.inner().header().clone();
        self.wait_for_turn(&context.0, &parent).await;
        self.inner.propose(context, ancestry, input).await
    }

    async fn verify(&mut self, context: (E, Context), ancestry: impl Ancestry<Block>) -> bool {
        if let Some(block) = ancestry.peek() {
            let ahead =
                Duration::from_millis(block.inner().header().time_ms.saturating_sub(now_ms(&context.0)));
            context.0.sleep(ahead.saturating_sub(CLOCK_DRIFT).min(LONGEST_HOLD)).await;
        }
        self.inner.verify(context, ancestry).await
    }
}
