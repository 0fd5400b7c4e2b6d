//! Print the manifest of the embedded corpus for every preset, as the constants in `preset.rs` want it.
//!
//! `cargo run -p tessera-model --example preset_manifests`; run it after a change of tokenizer or sequence length.

use tessera_model::{Dataset, PRESETS, RunSpec, corpus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for name in PRESETS {
        let manifest = Dataset::tokenize(&RunSpec::preset(name)?, corpus::MOBY_DICK)?.manifest();
        println!(
            "const {}: Manifest = Manifest {{\n    root: \"{}\",\n    tokenizer_hash: \"{}\",\n    blocks: {},\n    \
             held_out_blocks: {},\n}};",
            name.to_uppercase(),
            manifest.root,
            manifest.tokenizer_hash,
            manifest.blocks,
            manifest.held_out_blocks
        );
    }
    Ok(())
}
