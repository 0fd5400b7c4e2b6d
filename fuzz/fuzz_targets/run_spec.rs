//! Feed arbitrary text and bytes to the decoders of run specifications: no panic, and what is accepted survives
//! both of its own encodings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tessera_model::RunSpec;

fuzz_target!(|bytes: &[u8]| {
    let from_text = std::str::from_utf8(bytes).ok().and_then(|text| RunSpec::from_toml(text).ok());
    let from_bytes = RunSpec::from_canonical(bytes).ok();
    for spec in [from_text, from_bytes].into_iter().flatten() {
        assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap().run_id(), spec.run_id());
    }
});
