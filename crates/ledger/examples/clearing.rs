//! Print how long an auction of 100 000 orders takes: `cargo run --release -p tessera-ledger --example clearing`.
#![allow(clippy::disallowed_methods)] // measures, and is not part of the ledger

use std::time::Instant;
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{
    action::Side,
    market::clearing::{Order, clear},
};

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
}
