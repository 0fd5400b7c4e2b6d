//! Check a run: one history among the honest, equal to its replay, and going on after the trouble.

use super::{Scenario, Summary, byzantine::Misdeeds, committee::Committee, lock};
use crate::application::App;
use commonware_consensus::{
    marshal::{self, Identifier, standard::Standard},
    types::Height,
};
use commonware_cryptography::{blake3, ed25519};
use commonware_glue::{
    simulate::{
        exit::ExitCondition, processed::ProcessedHeight, property::Property, tracker::ProgressTracker,
    },
    stateful::Mailbox as Stateful,
};
use commonware_runtime::deterministic;
use std::{pin::Pin, sync::Arc};
use tessera_audit::referee::TrustReferee;
use tessera_canon::Hash;
use tessera_chain::Block;
use tessera_ledger::{MemState, invariants};

type Marshal = marshal::core::Mailbox<Scheme, Standard<Block>>;
type Scheme = tessera_chain::Scheme;

/// One simulated validator, for the checks.
#[derive(Clone)]
pub(super) struct Inspect {
    index: usize,
    honest: bool,
    /// Whether the run goes on without it.
    may_end: bool,
    /// `None` where it refused to start.
    parts: Option<(Marshal, Stateful<deterministic::Context, App>)>,
}

impl Inspect {
    pub(super) fn new(
        index: usize,
        committee: &Committee,
        parts: Option<(Marshal, Stateful<deterministic::Context, App>)>,
    ) -> Self {
        let scenario = &committee.scenario;
        Self { index, honest: index < scenario.honest(), may_end: scenario.may_end(index), parts }
    }
    async fn block(&self, height: u64) -> Option<Block> {
        let (marshal, _) = self.parts.as_ref()?;
        let found = marshal.get_block(Identifier::Height(Height::new(height))).await?;
        Some(found.inner().clone())
    }
}

impl ProcessedHeight for Inspect {
    async fn processed_height(&self) -> u64 {
        match &self.parts {
            Some((marshal, _)) => {
                marshal.get_processed().await.map_or(0, |processed| processed.height().get())
            }
            None => 0,
        }
    }
}

/// Ends a run when all honest validators have applied enough blocks, and enough of them after the last trouble.
#[derive(Clone)]
pub(super) struct Caught {
    height: u64,
    healed_ms: u64,
    honest: usize,
}

impl Caught {
    pub(super) fn up(scenario: &Scenario) -> Self {
        Self { height: scenario.height, healed_ms: scenario.healed_ms(), honest: scenario.honest() }
    }
    async fn up_with(&self, validator: &Inspect) -> bool {
        let height = validator.processed_height().await;
        if height < self.height {
            return false;
        }
        self.healed_ms == 0
            || validator
                .block(height.saturating_sub(super::BLOCKS_AFTER))
                .await
                .is_some_and(|block| block.header().time_ms >= self.healed_ms)
    }
}

impl ExitCondition<ed25519::PublicKey, Inspect> for Caught {
    fn name(&self) -> &str {
        "every honest validator is up, caught up, and went on after the last trouble"
    }
    fn requires_polling(&self) -> bool {
        true
    }
    fn reached<'a>(
        &'a self,
        _: &'a ProgressTracker<ed25519::PublicKey>,
        states: &'a [&'a Inspect],
        _: usize,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(async move {
            // Late joiners and those that crashed are waited for.
            let honest: Vec<_> = states.iter().filter(|state| state.honest).collect();
            if honest.len() < self.honest {
                return Ok(false);
            }
            for state in honest.into_iter().filter(|state| state.parts.is_some() && !state.may_end) {
                if !self.up_with(state).await {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

/// All validators have one history, and it replays to the state that they store.
#[derive(Clone)]
pub(super) struct SameHistory {
    committee: Committee,
}

impl SameHistory {
    pub(super) fn of(committee: &Committee) -> Self {
        Self { committee: committee.clone() }
    }
    async fn compare(&self, validators: &[&Inspect]) -> Result<(), String> {
        let scenario = &self.committee.scenario;
        let (torn, running): (Vec<&Inspect>, Vec<&Inspect>) = validators
            .iter()
            .copied()
            .filter(|state| state.honest && state.parts.is_some())
            .partition(|state| state.may_end);
        let mut end = u64::MAX;
        for validator in &running {
            end = end.min(validator.processed_height().await);
        }
        let mut state = MemState::new(&self.committee.genesis);
        let mut walk = Walk::default();
        for height in 1..=end {
            let mut agreed: Option<Block> = None;
            for validator in running.iter().chain(&torn) {
                // A validator that synced its state or pruned does not have the blocks before.
                let Some(block) = validator.block(height).await else { continue };
                same_block(&mut agreed, block, validator.index)?;
            }
            let block = agreed.ok_or_else(|| format!("nobody has block {height}"))?;
            walk.step(&self.committee, &mut state, block)?;
        }
        let last = walk.last.as_ref().ok_or("a scenario has at least one block")?;
        let (mut oldest, mut oldest_changes) = (Vec::new(), Vec::new());
        for validator in &running {
            oldest_changes.push(self.compare_state(validator, &state, last).await?);
            oldest.push(oldest_block(validator, end).await);
        }
        let mut mended = 0;
        for validator in torn {
            if validator.processed_height().await >= end {
                self.compare_state(validator, &state, last).await?;
                mended += 1;
            }
        }
        let virtual_ms = last.header().time_ms - walk.first_ms;
        *lock(&self.committee.found) = Some(Summary {
            history: String::new(),
            digest: last.header().digest(),
            height: end,
            transactions: walk.transactions,
            crashes: 0,
            virtual_ms,
            blocks_after: walk.times.iter().filter(|time| **time >= scenario.healed_ms()).count() as u64,
            misdeeds: 0,
            refusals: Vec::new(),
            mended,
            oldest,
            oldest_changes,
        });
        Ok(())
    }
    /// Compare every cell of a validator that has applied the last compared block, or more; returns the oldest state
    /// change that it keeps.
    async fn compare_state(
        &self,
        validator: &Inspect,
        state: &MemState,
        last: &Block,
    ) -> Result<u64, String> {
        let index = validator.index;
        let Some((_, stateful)) = &validator.parts else {
            return Err(format!("validator {index} is not up"));
        };
        let mut expected = state.clone();
        let databases = stateful.subscribe_databases().await;
        let stored = databases.read().await;
        let root = Hash(stored.root().0);
        // It may have applied more blocks since: replay those too.
        let mut header = last.header().clone();
        while header.state_root != root {
            let Some(block) = validator.block(header.height + 1).await else {
                return Err(format!("validator {index} stores a state that no block has"));
            };
            header = block.header().clone();
            expected.run_block_with(header.execution(), Arc::new(TrustReferee), block.txs());
        }
        for (key, cell) in &expected.0 {
            let got = stored.get(&blake3::Digest(key.0)).await.map_err(|error| error.to_string())?;
            if got != Some(*cell) {
                return Err(format!("validator {index} stores {got:?} at {key}, replay gives {cell:?}"));
            }
        }
        Ok(stored.bounds().start.as_u64())
    }
}

/// The oldest block up to `end` from which on the validator has all.
async fn oldest_block(validator: &Inspect, end: u64) -> u64 {
    let mut oldest = end;
    while oldest > 1 && validator.block(oldest - 1).await.is_some() {
        oldest -= 1;
    }
    oldest
}

/// Take `block` as the one at its height, or find that another validator has another.
fn same_block(agreed: &mut Option<Block>, block: Block, index: usize) -> Result<(), String> {
    if let Some(other) = agreed
        && other.header().digest() != block.header().digest()
    {
        return Err(format!("validator {index} has another block at height {}", block.header().height));
    }
    agreed.get_or_insert(block);
    Ok(())
}

/// A replay under way.
#[derive(Default)]
struct Walk {
    first_ms: u64,
    transactions: u64,
    times: Vec<u64>,
    last: Option<Block>,
}

impl Walk {
    /// Check the next block and execute it.
    fn step(&mut self, committee: &Committee, state: &mut MemState, block: Block) -> Result<(), String> {
        let (header, height) =
            (block.header(), self.last.as_ref().map_or(1, |last| last.header().height + 1));
        if header.network != committee.genesis.network_id() || header.height != height {
            return Err(format!(
                "the header at height {height} says {} of {}",
                header.height, header.network
            ));
        }
        if header.seed.is_some() != (height > 1) {
            return Err(format!("block {height} has a wrong seed"));
        }
        if let Some(parent) = &self.last
            && (header.time_ms <= parent.header().time_ms || header.parent != parent.header().digest())
        {
            return Err(format!("block {height} does not follow its parent"));
        }
        not_forbidden(&committee.misdeeds, &block)?;
        let outcome = state.run_block_with(header.execution(), Arc::new(TrustReferee), block.txs());
        if let Some(receipt) = outcome.receipts.iter().find(|receipt| !receipt.includable()) {
            return Err(format!("block {height} has a transaction that may not be included: {receipt:?}"));
        }
        if tessera_chain::event_root(&outcome.events) != header.event_root {
            return Err(format!("the events of block {height} are not those of its header"));
        }
        invariants::check(state).map_err(|violation| format!("after block {height}: {violation:?}"))?;
        self.transactions += block.txs().len() as u64;
        self.times.push(header.time_ms);
        if height == 1 {
            self.first_ms = header.time_ms;
        }
        self.last = Some(block);
        Ok(())
    }
}

fn not_forbidden(misdeeds: &Misdeeds, block: &Block) -> Result<(), String> {
    let header = block.header();
    match misdeeds.forbids(&header.digest()) {
        true => Err(format!("block {} breaks a rule and became final", header.height)),
        false => Ok(()),
    }
}

impl Property<ed25519::PublicKey, Inspect> for SameHistory {
    fn name(&self) -> &str {
        "one history, equal to its replay"
    }
    fn check<'a>(
        &'a self,
        _: &'a ProgressTracker<ed25519::PublicKey>,
        states: &'a [&'a Inspect],
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(self.compare(states))
    }
}
