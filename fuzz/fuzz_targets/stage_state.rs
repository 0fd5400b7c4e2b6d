//! Feed arbitrary bytes to the decoder of stage states: no panic, and one encoding per state.
//!
//! The length of a state follows from the specification, so raw bytes would rarely get past it: the input
//! replaces the beginning of a true state of the smallest preset.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tessera_model::{RunSpec, StageState};

static STATE: LazyLock<(RunSpec, Vec<u8>)> = LazyLock::new(|| {
    let spec = RunSpec::preset("tiny").unwrap();
    let state = StageState::init(&spec, 0).unwrap().to_bytes();
    (spec, state)
});

fuzz_target!(|bytes: &[u8]| {
    let (spec, state) = &*STATE;
    let mut whole = state.clone();
    let length = bytes.len().min(whole.len());
    whole[..length].copy_from_slice(&bytes[..length]);
    for bytes in [bytes, &whole] {
        if let Ok(state) = StageState::from_bytes(spec, 0, bytes) {
            assert_eq!(state.to_bytes(), bytes);
        }
    }
});
