//! Turn flags into the run specification of one stage to measure.

use crate::{
    data,
    error::BenchError,
    flags::{SizeFlags, refuse, unfit},
};
use tessera_model::{Real, RunSpec, StageInput, StageTarget, StageWeights, Workspace};

/// Sizes of a stage.
#[derive(Debug, PartialEq)]
pub struct Preset {
    name: &'static str,
    blocks: u32,
    d_model: u32,
    heads: u32,
    kv_heads: u32,
    d_ff: u32,
    vocab: u32,
    sequences: u32,
    seq_len: u32,
    qk_norm: bool,
}

/// `d512` is the shape of the engine's first trial; `nano` and `base` are two layers of these run presets, with
/// as many tokens as `d512`.
const PRESETS: [Preset; 3] = [
    Preset {
        name: "d512",
        blocks: 2,
        d_model: 512,
        heads: 8,
        kv_heads: 8,
        d_ff: 1376,
        vocab: 4096,
        sequences: 8,
        seq_len: 256,
        qk_norm: false,
    },
    Preset {
        name: "nano",
        blocks: 2,
        d_model: 128,
        heads: 4,
        kv_heads: 2,
        d_ff: 512,
        vocab: 1024,
        sequences: 8,
        seq_len: 256,
        qk_norm: true,
    },
    Preset {
        name: "base",
        blocks: 2,
        d_model: 768,
        heads: 12,
        kv_heads: 12,
        d_ff: 3072,
        vocab: 4096,
        sequences: 4,
        seq_len: 512,
        qk_norm: true,
    },
];

impl Preset {
    /// The sizes named `text`.
    pub(crate) fn parse(text: &str) -> Result<&'static Preset, BenchError> {
        match PRESETS.iter().find(|preset| preset.name == text) {
            Some(preset) => Ok(preset),
            None => {
                let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                let expected = format!("one of {}", names.join(", "));
                unfit(expected, "change single sizes with their own flags")
            }
        }
    }
}

/// Which part of a model a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Activations in, activations out.
    Middle,
    /// With the embedding.
    First,
    /// With the head and the loss.
    Last,
    /// A model of one stage.
    Whole,
}

impl Part {
    const NAMES: [(&'static str, Part); 4] =
        [("middle", Part::Middle), ("first", Part::First), ("last", Part::Last), ("whole", Part::Whole)];

    pub(crate) fn parse(text: &str) -> Result<Part, BenchError> {
        match Part::NAMES.into_iter().find(|(name, _)| *name == text) {
            Some((_, part)) => Ok(part),
            None => unfit("one of middle, first, last, whole", "middle has no vocabulary"),
        }
    }
    pub(crate) fn name(self) -> &'static str {
        // Every part is in the list.
        Part::NAMES.into_iter().find(|(_, part)| *part == self).map_or("", |(name, _)| name)
    }
    /// Index of the stage in its run.
    pub(crate) fn stage(self) -> u16 {
        u16::from(matches!(self, Part::Middle | Part::Last))
    }
}

impl SizeFlags {
    /// The smallest run that has the stage. Its data are never read.
    pub(crate) fn spec(&self) -> Result<RunSpec, BenchError> {
        let preset = self.preset;
        let mut spec = RunSpec::preset("micro")?;
        let model = &mut spec.model;
        let blocks = self.blocks.unwrap_or(preset.blocks);
        let inner = u16::try_from(u64::from(blocks) * 2).unwrap_or(0);
        let outer = match self.part {
            Part::Middle => vec![2, inner, 2],
            Part::First => vec![inner, 2],
            Part::Last => vec![2, inner],
            Part::Whole => vec![inner],
        };
        if inner == 0 || inner > 2000 {
            return refuse("blocks", "1 to 1000", &blocks.to_string(), "a block is attention and MLP");
        }
        model.layers = outer.iter().map(|&count| u32::from(count)).sum::<u32>() / 2;
        model.d_model = self.d_model.unwrap_or(preset.d_model);
        model.heads = self.heads.unwrap_or(preset.heads);
        model.kv_heads = self.kv_heads.unwrap_or(preset.kv_heads);
        model.d_ff = self.d_ff.unwrap_or(preset.d_ff);
        model.vocab = self.vocab.unwrap_or(preset.vocab);
        model.seq_len = self.seq_len.unwrap_or(preset.seq_len);
        model.qk_norm = self.qk_norm.unwrap_or(preset.qk_norm);
        // Large enough for every weight to have a gradient that the first step's grid resolves well.
        model.init_std = Real::new(INIT_STD).unwrap_or(model.init_std);
        spec.batch.sequences = self.sequences.unwrap_or(preset.sequences);
        spec.eval.microbatches = 1;
        spec.data.held_out_blocks = spec.data.held_out_blocks.max(spec.batch.sequences);
        spec.stages = outer.try_into().expect("three entries are fewer than the most a run may have");
        spec.validate()?;
        Ok(spec)
    }

    /// `preset=.../part=...`, with every size that is not the preset's.
    pub(crate) fn keys(&self) -> String {
        let mut keys = format!("preset={}/part={}", self.preset.name, self.part.name());
        let sizes = [
            ("blocks", self.blocks),
            ("d_model", self.d_model),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("d_ff", self.d_ff),
            ("vocab", self.vocab),
            ("sequences", self.sequences),
            ("seq_len", self.seq_len),
            ("qk_norm", self.qk_norm.map(u32::from)),
        ];
        for (name, size) in sizes {
            if let Some(size) = size {
                keys += &format!("/{name}={size}");
            }
        }
        keys
    }
}

const INIT_STD: f64 = 0.05;
/// Standard deviation of the output's gradient in the middle of a model.
const OUTPUT_GRADIENT: f32 = 0.002;

/// One stage with an input and a target.
pub(crate) struct Subject {
    pub(crate) weights: StageWeights,
    /// Tokens of the microbatch.
    pub(crate) rows: usize,
    /// Input of a first stage, labels of a last one.
    pub(crate) tokens: Vec<u32>,
    pub(crate) labels: Vec<u32>,
    /// Input of other stages, gradient of their outputs.
    pub(crate) hidden: Vec<f32>,
    pub(crate) gradient: Vec<f32>,
}

impl Subject {
    pub(crate) fn new(size: &SizeFlags) -> Result<Subject, BenchError> {
        let spec = size.spec()?;
        let weights = StageWeights::init(&spec, size.part.stage())?;
        let (rows, values, vocab) = (spec.microbatch_tokens(), spec.boundary_values(), spec.model.vocab);
        let (first, last) = (weights.plan().first, weights.plan().last);
        Ok(Subject {
            weights,
            rows,
            tokens: if first { data::tokens(1, rows, vocab) } else { Vec::new() },
            labels: if last { data::tokens(2, rows, vocab) } else { Vec::new() },
            hidden: if first { Vec::new() } else { data::numbers(3, values, 1.0) },
            gradient: if last { Vec::new() } else { data::numbers(4, values, OUTPUT_GRADIENT) },
        })
    }
    pub(crate) fn workspace(&self) -> Result<Workspace, BenchError> {
        Ok(Workspace::new(self.weights.spec())?)
    }
    pub(crate) fn input(&self) -> StageInput<'_> {
        if self.weights.plan().first {
            StageInput::Tokens(&self.tokens)
        } else {
            StageInput::Hidden(&self.hidden)
        }
    }
    pub(crate) fn target(&self) -> StageTarget<'_> {
        if self.weights.plan().last {
            StageTarget::Labels(&self.labels)
        } else {
            StageTarget::Grad(&self.gradient)
        }
    }
}
