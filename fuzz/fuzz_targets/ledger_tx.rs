//! Feed arbitrary bytes to the decoder of transactions: no panic, and one encoding per value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tessera_canon::{decode, encode};
use tessera_ledger::SignedTx;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = decode::<SignedTx>(bytes) {
        assert_eq!(&encode(&tx)[..], bytes);
    }
});
