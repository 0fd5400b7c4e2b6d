//! Every number of random histories over all rooms is explained by proved events: whatever moves one must be told.

#[path = "../../ledger/tests/histories/history.rs"]
mod history;
#[path = "../../ledger/tests/trust/machine.rs"]
mod machine;
#[path = "../../ledger/tests/world/mod.rs"]
mod world;

use history::{ACCOUNTS, History};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tessera_canon::{Hash, SecretKey};
use tessera_client::{
    explain::{Explanation, explain},
    testing::TestChain,
};
use tessera_ledger::{Event, query};
use world::*;

/// A random history on a chain that proves.
struct Told {
    chain: TestChain,
    events: Vec<Event>,
    /// Kinds of actions that took effect.
    kinds: BTreeSet<&'static str>,
}

fn tell(seed: u64, total: usize) -> Told {
    let mut history = History::new(seed);
    history.proposer = SecretKey::from_seed([1; 32]);
    let pristine = history.world.clone();
    let genesis = genesis(ACCOUNTS, History::parameters(seed));
    assert_eq!(genesis.network_id(), pristine.network, "the world has another beginning");
    let chain = TestChain::start_with(genesis, seed, Arc::new(machine::MachineReferee));
    let (mut done, mut events, mut kinds) = (0, Vec::new(), BTreeSet::new());
    while done < total {
        let mut now = pristine.clone();
        (now.state, now.height) = (chain.state(), chain.height());
        history.world = now;
        let txs = history.txs();
        let by_id: BTreeMap<Hash, &'static str> =
            txs.iter().map(|tx| (tx.id(), tx.body.action.kind())).collect();
        let outcome = chain.block_of_any(txs);
        done += outcome.receipts.len();
        kinds
            .extend(outcome.receipts.iter().filter(|receipt| receipt.ok()).map(|receipt| by_id[&receipt.tx]));
        events.extend(outcome.events);
    }
    Told { chain, events, kinds }
}

/// What does not come out, with its lines.
fn gap(found: &Explanation) -> Option<String> {
    let bad = found.parts.iter().find(|part| !part.holds())?;
    let last = bad.lines.iter().rev().take(12).map(|line| format!("{line:?}")).collect::<Vec<_>>().join("\n");
    Some(format!(
        "{:?}: {} sums to {:?}, the cell holds {}\n{last}",
        found.subject, bad.what, bad.sum, bad.cell
    ))
}

#[tokio::test(start_paused = true)]
async fn every_number_of_random_histories_is_explained() {
    let total = std::env::var("TESSERA_TXS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let (mut kinds, mut reasons, mut gaps) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let (mut subjects, mut lines) = (0, 0);
    for seed in 0..2 {
        let told = tell(seed, total / 2);
        kinds.extend(told.kinds);
        let genesis = told.chain.genesis();
        let client = told.chain.client(told.chain.honest());
        let state = told.chain.state();
        // An account that nobody sent anything to is none.
        let accounts = (0..ACCOUNTS + 2).map(public);
        let there = accounts.filter(|key| query::account(|at: &Hash| state.get(at), key).is_some());
        let mut ids: Vec<Hash> = there.map(|key| Hash(key.0)).collect();
        ids.extend(query::runs(|key: &Hash| state.get(key)));
        let mut notes = Vec::new();
        for event in &told.events {
            match event {
                Event::Locked(locked) => ids.push(locked.order),
                Event::NoteCreated(made) => notes.push(made.note),
                Event::DisputeOpened(opened) => ids.push(opened.dispute),
                Event::Charged(moved) => drop(reasons.insert(format!("{:?} taken", moved.reason))),
                Event::Credited(moved) => drop(reasons.insert(format!("{:?} given", moved.reason))),
                _ => {}
            }
        }
        // Notes have one number and two events each: some of them stand for all.
        ids.extend(notes.into_iter().step_by(9));
        for id in ids {
            let found = explain(&client, &genesis, id).await.unwrap();
            subjects += 1;
            lines += found.parts.iter().map(|part| part.lines.len()).sum::<usize>();
            gaps.extend(gap(&found));
        }
    }
    println!("{subjects} subjects, {lines} lines, {} kinds of actions took effect", kinds.len());
    println!("money moved for {reasons:?}");
    assert!(gaps.is_empty(), "{} do not come out\n{}", gaps.len(), gaps.join("\n"));
    assert!(kinds.len() >= 45, "{} kinds: {kinds:?}", kinds.len());
}
