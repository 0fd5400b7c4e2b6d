//! Refuse every kind of bad run specification with an error that names the field.

use proptest::prelude::*;
use tessera_canon::encode;
use tessera_model::{PRESETS, RunSpec};

fn tiny() -> String {
    RunSpec::preset("tiny").unwrap().to_toml()
}

/// The message for the tiny preset with one line replaced; the replaced text must be there.
fn refusal(line: &str, replacement: &str) -> String {
    let text = tiny();
    assert!(text.contains(line), "{line} is not in\n{text}");
    RunSpec::from_toml(&text.replacen(line, replacement, 1)).unwrap_err().to_string()
}

#[test]
fn presets_survive_toml_and_the_canonical_codec() {
    let mut ids = std::collections::BTreeSet::new();
    for name in PRESETS {
        let spec = RunSpec::preset(name).unwrap();
        assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        assert_eq!(RunSpec::from_canonical(&encode(&spec)).unwrap(), spec);
        assert!(ids.insert(spec.run_id()));
    }
}

#[test]
fn one_error_per_rule() {
    let cases = [
        ("name = \"tiny\"", "name = \"a b\"", "`name`"),
        ("name = \"tiny\"", "name = \"\"", "`name`"),
        ("\nsteps = 12", "\nsteps = 0", "`steps`"),
        ("window_steps = 4", "window_steps = 13", "`window_steps`"),
        ("wu_flops = 1000000", "wu_flops = 0", "`wu_flops`"),
        ("stages = [2, 1, 1]", "stages = []", "`stages (number of entries)`"),
        ("stages = [2, 1, 1]", "stages = [4, 0]", "`stages`"),
        ("stages = [2, 1, 1]", "stages = [2, 1]", "sum to 2 * layers = 4, got 3"),
        ("d_model = 32", "d_model = 4", "`model.d_model`"),
        ("d_model = 32", "d_model = 36", "`model.heads`"),
        ("layers = 2", "layers = 0", "`model.layers`"),
        ("\nheads = 4", "\nheads = 0", "`model.heads`"),
        ("\nheads = 4", "\nheads = 16\nx = 1", "unknown field"),
        ("kv_heads = 2", "kv_heads = 3", "`model.kv_heads`"),
        ("kv_heads = 2", "kv_heads = 8", "`model.kv_heads`"),
        ("d_ff = 64", "d_ff = 1", "`model.d_ff`"),
        ("vocab = 320", "vocab = 255", "`model.vocab`"),
        ("seq_len = 32", "seq_len = 1", "`model.seq_len`"),
        ("rope_theta = 10000.0", "rope_theta = 1.0", "`model.rope_theta`"),
        ("rope_theta = 10000.0", "rope_theta = nan", "finite"),
        ("norm_eps = 0.00001", "norm_eps = 0.5", "`model.norm_eps`"),
        ("init_std = 0.02", "init_std = 0.0", "`model.init_std`"),
        ("microbatches = 4", "microbatches = 0", "`batch.microbatches`"),
        ("sequences = 2", "sequences = 0", "`batch.sequences`"),
        ("\nlearning_rate = 0.01", "\nlearning_rate = 2.0", "`optimizer.learning_rate`"),
        ("outer_learning_rate = 0.01", "outer_learning_rate = 0.0", "`optimizer.outer_learning_rate`"),
        ("momentum = 0.95", "momentum = 1.0", "`optimizer.momentum`"),
        ("beta1 = 0.9", "beta1 = -0.1", "`optimizer.beta1`"),
        ("beta2 = 0.95", "beta2 = 1.0", "`optimizer.beta2`"),
        ("epsilon = 0.00000001", "epsilon = 0.0", "`optimizer.epsilon`"),
        ("weight_decay = 0.1", "weight_decay = 1.5", "`optimizer.weight_decay`"),
        ("clip = 1.0", "clip = 0.0", "`optimizer.clip`"),
        ("warmup_steps = 2", "warmup_steps = 12", "`optimizer.warmup_steps`"),
        ("final_fraction = 0.1", "final_fraction = 1.1", "`optimizer.final_fraction`"),
        ("kind = \"muon\"", "kind = \"sgd\"", "sgd"),
        ("wire = \"f32\"", "wire = \"int8\"", "int8"),
        ("\nblocks = 21668", "\nblocks = 0", "`data.blocks`"),
        ("held_out_blocks = 2402", "held_out_blocks = 3", "`eval.microbatches`"),
        ("source = \"moby-dick\"", "source = \"../secret\"", "`data.source`"),
        ("version = 1", "version = 2", "`arithmetic.version`"),
        ("conformance_root = \"", "conformance_root = \"00", "64 hexadecimal digits"),
        ("seed = 0", "seeds = 0", "unknown field"),
        ("seed = 0\n", "", "missing field"),
    ];
    for (line, replacement, expected) in cases {
        let message = refusal(line, replacement);
        assert!(message.contains(expected), "{replacement}: expected {expected} in {message}");
    }
}

#[test]
fn sizes_are_bounded_together() {
    let mut spec = RunSpec::preset("tiny").unwrap();
    (spec.model.layers, spec.model.d_model, spec.model.d_ff) = (1024, 32_768, 131_072);
    spec.model.heads = 512;
    assert!(spec.validate().unwrap_err().to_string().contains("parameters"));
    let mut spec = RunSpec::preset("tiny").unwrap();
    (spec.batch.sequences, spec.model.seq_len, spec.model.vocab) = (4096, 65_536, 4096);
    assert!(spec.validate().unwrap_err().to_string().contains("batch.sequences"));
    let mut spec = RunSpec::preset("tiny").unwrap();
    spec.arithmetic.conformance_root = tessera_canon::Hash::ZERO;
    assert!(spec.validate().unwrap_err().to_string().contains("arithmetic.conformance_root"));
    assert!(RunSpec::from_toml(&" ".repeat(1 << 20)).unwrap_err().to_string().contains("at most"));
}

#[test]
fn every_field_changes_the_run_id() {
    let text = tiny();
    let changes = [
        ("seed = 0", "seed = 1"),
        ("wu_flops = 1000000", "wu_flops = 1000001"),
        ("qk_norm = true", "qk_norm = false"),
        ("beta1 = 0.9\n", "beta1 = 0.90000001\n"),
        ("stages = [2, 1, 1]", "stages = [1, 2, 1]"),
        ("schedule = \"cosine\"", "schedule = \"linear\""),
    ];
    let id = RunSpec::from_toml(&text).unwrap().run_id();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        assert_ne!(RunSpec::from_toml(&text.replacen(from, to, 1)).unwrap().run_id(), id, "{to}");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(RunSpec::from_canonical(&bytes).is_err());
        prop_assert!(RunSpec::from_toml(&String::from_utf8_lossy(&bytes)).is_err());
    }
    #[test]
    fn a_changed_byte_is_refused_or_another_run(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let spec = RunSpec::preset("tiny").unwrap();
        let mut bytes = encode(&spec).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = RunSpec::from_canonical(&bytes) {
            prop_assert_ne!(other.run_id(), spec.run_id());
        }
    }
}
