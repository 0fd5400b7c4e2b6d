//! Measure what no ledger on this machine can pass: how fast signatures are checked.

use crate::{
    child::usage,
    figures::{Samples, row},
};
use std::{hint::black_box, time::Instant};
use tessera_bench::Row;
use tessera_canon::{Hash, SecretKey};
use tessera_ledger::{SignedTx, Tx, action};

/// Checks in one round, and rounds.
const CHECKS: usize = 500;
const ROUNDS: usize = 15;

/// Strict Ed25519 checks of whole transactions a second, on one thread: hash, decompressed key, equation.
pub(crate) fn signatures() -> Row {
    let txs: Vec<SignedTx> = (0..CHECKS)
        .map(|at| {
            let key = SecretKey::from_seed([at as u8; 32]);
            let action = action::Transfer { to: key.public(), amount: at as u128 }.into();
            SignedTx::sign(
                &key,
                Tx {
                    network: Hash::ZERO,
                    sender: key.public(),
                    nonce: 0,
                    fee: 1,
                    fee_from: tessera_ledger::FeeSource::default(),
                    action,
                },
            )
        })
        .collect();
    let cpu = usage("self").cpu;
    let rates = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        assert!(txs.iter().all(|tx| black_box(tx).verify()), "a signature that was just made holds");
        CHECKS as f64 / began.elapsed().as_secs_f64()
    });
    let rates = Samples::new(rates.collect());
    let per_cpu_second = (ROUNDS * CHECKS) as f64 / (usage("self").cpu - cpu).max(1e-9);
    let milliseconds = 1e3 / rates.median();
    row("canon::sign::verify/threads=1".into(), "tx/s", &rates, per_cpu_second, milliseconds)
}
