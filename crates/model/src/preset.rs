//! Ship ready specifications, from one that trains in milliseconds to GPT-2 size.
//!
//! All of them train on the embedded corpus; their manifests are committed here and checked by a test.

use crate::{
    real::Real,
    spec::{
        ArithmeticSpec, BatchSpec, DataSpec, EvaluationSpec, ModelSpec, OptimizerKind, OptimizerSpec,
        RunSpec, Schedule, SpecError, WireCodec,
    },
};
use tessera_canon::{Hash, List, Text};

/// Names of the presets, smallest first.
pub const NAMES: [&str; 4] = ["tiny", "nano", "micro", "base"];

/// Manifest of the embedded corpus for one vocabulary and sequence length.
struct Manifest {
    root: &'static str,
    tokenizer_hash: &'static str,
    blocks: u32,
    held_out_blocks: u32,
}

const fn model(d_model: u32, layers: u32, heads: u32, kv_heads: u32, d_ff: u32) -> ModelSpec {
    ModelSpec {
        d_model,
        layers,
        heads,
        kv_heads,
        d_ff,
        vocab: 4096,
        seq_len: 256,
        rope_theta: Real::literal(10_000.0),
        norm_eps: Real::literal(1e-5),
        qk_norm: true,
        init_std: Real::literal(0.02),
    }
}

pub(crate) fn preset(name: &str) -> Result<RunSpec, SpecError> {
    let (stages, model, manifest): (Vec<u16>, _, _) = match name {
        "tiny" => (vec![2, 1, 1], ModelSpec { vocab: 320, seq_len: 32, ..model(32, 2, 4, 2, 64) }, TINY),
        "nano" => (vec![4; 3], ModelSpec { vocab: 1024, seq_len: 128, ..model(128, 6, 4, 2, 512) }, NANO),
        "micro" => (vec![4; 5], model(384, 10, 6, 2, 1024), MICRO),
        "base" => (vec![2; 12], ModelSpec { seq_len: 512, ..model(768, 12, 12, 12, 3072) }, BASE),
        _ => return Err(SpecError::Preset { got: name.chars().take(64).collect() }),
    };
    let (steps, window_steps, warmup_steps, batch, eval) = match name {
        "tiny" => (12, 4, 2, (4, 2), 2),
        "nano" => (60, 10, 5, (8, 4), 8),
        "micro" => (1000, 50, 50, (16, 8), 8),
        _ => (10_000, 100, 200, (32, 8), 8),
    };
    let (learning_rate, outer_learning_rate) = match name {
        "tiny" | "nano" => (1e-2, 1e-2),
        "micro" => (6e-3, 3e-3),
        _ => (3e-3, 1e-3),
    };
    let hash = |text: &str| text.parse::<Hash>().expect("the committed hashes are 64 hexadecimal digits");
    let spec = RunSpec {
        name: Text::new(name).expect("preset names are short"),
        seed: 0,
        steps,
        window_steps,
        wu_flops: 1_000_000,
        wire: WireCodec::F32,
        stages: List::new(stages).expect("presets have at most 64 stages"),
        model,
        batch: BatchSpec { microbatches: batch.0, sequences: batch.1 },
        optimizer: OptimizerSpec {
            kind: OptimizerKind::Muon,
            learning_rate: Real::literal(learning_rate),
            outer_learning_rate: Real::literal(outer_learning_rate),
            momentum: Real::literal(0.95),
            beta1: Real::literal(0.9),
            beta2: Real::literal(0.95),
            epsilon: Real::literal(1e-8),
            weight_decay: Real::literal(0.1),
            clip: Real::literal(1.0),
            schedule: Schedule::Cosine,
            warmup_steps,
            final_fraction: Real::literal(0.1),
        },
        data: DataSpec {
            source: Text::new("moby-dick").expect("the name is short"),
            manifest_root: hash(manifest.root),
            tokenizer_hash: hash(manifest.tokenizer_hash),
            blocks: manifest.blocks,
            held_out_blocks: manifest.held_out_blocks,
        },
        eval: EvaluationSpec { microbatches: eval },
        arithmetic: ArithmeticSpec {
            version: crate::ARITHMETIC_VERSION,
            conformance_root: crate::conformance_root(),
        },
    };
    Ok(spec)
}

const TINY: Manifest = Manifest {
    root: "3fd546965a8e1ccb26852d2faba795bf7be91f3ed5cb8e4325e8d6e8b7771243",
    tokenizer_hash: "46e2ab6fdf6f76195ff5f3ef2433856495bdc89bfdf5c71c7630a51651bab182",
    blocks: 21668,
    held_out_blocks: 2402,
};
const NANO: Manifest = Manifest {
    root: "811782ba81511284259aab204731f72e96967a783f79a34c640ceb40c61e87e5",
    tokenizer_hash: "e537d1c5d8aa993ee411c9585444dd53bab87dc17c1d262cc9e68d2570ac61d6",
    blocks: 3258,
    held_out_blocks: 361,
};
const MICRO: Manifest = Manifest {
    root: "bfccadc65832dc7fd84a74d486665e6e3780a6c530bc5c144f4818bf95713016",
    tokenizer_hash: "20a8952ed4a758581188572ab988e48a1e35727544add4ac152512548ec0ede2",
    blocks: 1240,
    held_out_blocks: 139,
};
const BASE: Manifest = Manifest {
    root: "4c8db3f2399ba7e5af468ee1a0e974e952e8395ebed04ed9c7daba5e5278b90c",
    tokenizer_hash: "20a8952ed4a758581188572ab988e48a1e35727544add4ac152512548ec0ede2",
    blocks: 620,
    held_out_blocks: 69,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn every_preset_is_valid_and_matches_the_embedded_corpus() {
        for name in NAMES {
            let spec = preset(name).unwrap();
            let filled = spec.clone().with_corpus("moby-dick", corpus::MOBY_DICK).unwrap();
            assert_eq!(spec.data, filled.data, "manifest of preset {name}: correct its constants");
            spec.validate().unwrap();
        }
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let error = preset("mega").unwrap_err().to_string();
        assert!(error.contains("mega") && error.contains("nano, micro, base"), "{error}");
    }
}
