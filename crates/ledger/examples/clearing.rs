//! Print how long auctions take: the pure function at 100 000 orders, and the boundary that settles a batch in memory.
//! `cargo run --release -p tessera-ledger --example clearing`
#![allow(clippy::disallowed_methods)] // measures, and is not part of the ledger

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;
use tessera_canon::{Blob, Domain, Hash, List, Prf, SecretKey, Text};
use tessera_ledger::{
    Action, BlockContext, FeeSource, MemState, Parameters, Params, SignedTx, Tx,
    action::*,
    genesis::{Genesis, GenesisAccount},
    market::clearing::{Order, clear},
};
use world::{create_run, key, list};

fn main() {
    for (name, prices) in [("1000 prices", 1000), ("a million prices", 1_000_000), ("one price", 1)] {
        let mut random = Prf::new(Domain::new("tessera/example/clearing/v1"), b"");
        let orders: Vec<Order> = (0..100_000u64)
            .map(|number| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&number.to_be_bytes());
                let side = if number % 2 == 0 { Side::Bid } else { Side::Ask };
                let (limit, quantity) = (1 + random.below(prices), 1 + random.below(1000));
                Order { id: Hash(id), side, limit: limit.into(), quantity: quantity.into() }
            })
            .collect();
        let start = Instant::now();
        let cleared = clear(&orders, 1, &Hash::ZERO);
        let took = start.elapsed();
        println!(
            "100000 orders at {name}: {took:?}, price {:?}, volume {}",
            cleared.price.unwrap_or(0),
            cleared.volume
        );
    }
    for count in [1000, 4000, 16_000] {
        boundary(count);
    }
}

/// A batch of `count` opened bids of one account, which all get their money back.
fn boundary(count: u64) {
    let (key, run) = (key(0), Hash([9; 32]));
    let mut params = Parameters::from(Params { epoch_blocks: 4, ..Params::demo() });
    params.market.max_orders = u32::MAX;
    let genesis = Genesis {
        name: Text::default(),
        time_ms: 0,
        validators: List::default(),
        accounts: list(vec![GenesisAccount { key: key.public(), balance: 1 << 100 }]),
        params,
        consensus: Blob::default(),
    };
    let network = genesis.network_id();
    let (mut state, mut nonce) = (MemState::new(&genesis), 0);
    let mut sign = |action: Action| {
        let fee_from = FeeSource::default();
        let tx = Tx { network, sender: key.public(), nonce, fee: 500_000, fee_from, action };
        nonce += 1;
        SignedTx::sign(&key, tx)
    };
    let mut block = |height: u64, txs: &[SignedTx]| {
        let beacon = Hash([height as u8; 32]);
        let context = BlockContext {
            network,
            height,
            time_ms: height,
            beacon,
            proposer: SecretKey::from_seed([2; 32]).public(),
        };
        let start = Instant::now();
        let outcome = state.run_block(context, txs);
        let refused = outcome.receipts.iter().filter(|receipt| !receipt.ok()).count();
        (start.elapsed(), refused, outcome.writes.len())
    };
    let created = block(1, &[sign(create_run(run, 1, 1).into())]);
    let market = MarketId { asset: Asset::Cu, run, series: 0 };
    let terms = OrderTerms { side: Side::Bid, limit: 5, quantity: 3, to: Hash::ZERO };
    let commit = || OrderCommit {
        market: market.clone(),
        seal: seal(&key.public(), &terms, &Hash::ZERO),
        collateral: MoneyCollateral { amount: 15 }.into(),
    };
    let commits: Vec<SignedTx> = (0..count).map(|_| sign(commit().into())).collect();
    let put_in = block(4, &commits);
    let reveals: Vec<SignedTx> = commits
        .iter()
        .map(|tx| sign(OrderReveal { order: tx.id(), terms: terms.clone(), salt: Hash::ZERO }.into()))
        .collect();
    let opened = block(6, &reveals);
    assert_eq!((created.1, put_in.1, opened.1), (0, 0, 0), "everything was accepted");
    let (took, _, writes) = block(8, &[]);
    println!("boundary that settles {count} bids: {took:?}, {writes} cells written");
}
