//! Describe a run completely: architecture, cut into stages, batch, optimizer, data, arithmetic.
//!
//! A designer writes a [`RunSpec`] as TOML. It is validated field by field and hashed, through the
//! canonical codec, to the `run_id` that every later message, seat and share refers to: two parties with
//! the same `run_id` compute the same bits. Nothing here touches data or weights.
//!
//! ```
//! use tessera_model::RunSpec;
//! let spec = RunSpec::preset("nano").unwrap();
//! assert_eq!(RunSpec::from_toml(&spec.to_toml()).unwrap().run_id(), spec.run_id());
//! let typo = spec.to_toml().replace("d_model = 128", "d_model = 130");
//! assert!(RunSpec::from_toml(&typo).unwrap_err().to_string().contains("model.heads"));
//! ```

use crate::real::Real;
use serde::{Deserialize, Serialize};
use tessera_canon::{
    Domain, Hash, List, Text,
    bytes::BufMut,
    codec::{Buf, Error, FixedSize, Read, Write},
    decode, digest, record,
};

const RUN: Domain = Domain::new("tessera/run/v1");
/// Most stages a run may have.
pub const MAX_STAGES: usize = 64;
/// Longest accepted TOML text of a specification, bytes.
pub const MAX_SPEC_TOML_BYTES: usize = 64 * 1024;

/// Why a run specification was refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The text is not TOML of this shape: syntax, a missing, unknown or mistyped field.
    #[error("run spec is not valid TOML for this version: {0}")]
    Toml(String),
    /// One field breaks its rule.
    #[error("run spec field `{field}`: expected {expected}, got {got}; {advice}")]
    Field { field: &'static str, expected: String, got: String, advice: &'static str },
    /// No preset has this name.
    #[error("unknown preset {got:?}: expected one of {}; or pass the path of a TOML run spec", crate::preset::NAMES.join(", "))]
    Preset { got: String },
    /// Canonical bytes that do not decode.
    #[error(transparent)]
    Decode(#[from] tessera_canon::DecodeError),
    /// The corpus offered for the manifest cannot be used.
    #[error("run spec field `data`: {0}")]
    Data(#[from] Box<crate::data::DataError>),
}

macro_rules! unit_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vmeta])* $variant),* }
        impl Write for $name {
            fn write(&self, buf: &mut impl BufMut) {
                match self { $(Self::$variant => ($tag as u8).write(buf)),* }
            }
        }
        impl FixedSize for $name {
            const SIZE: usize = 1;
        }
        impl Read for $name {
            type Cfg = ();
            fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
                match u8::read_cfg(buf, &())? {
                    $($tag => Ok(Self::$variant),)*
                    other => Err(Error::InvalidEnum(other)),
                }
            }
        }
    };
}

unit_enum! {
    /// How activations and their gradients are written between stages.
    pub enum WireCodec {
        /// Little-endian IEEE single precision: lossless, the exact tier.
        0 => F32,
    }
}
unit_enum! {
    /// Which optimizer moves the hidden matrices.
    pub enum OptimizerKind {
        /// Momentum orthogonalised by Newton-Schulz; embedding, head and gains use AdamW.
        0 => Muon,
        /// AdamW for every tensor.
        1 => AdamW,
    }
}
unit_enum! {
    /// The learning rate's course after the warm-up.
    pub enum Schedule {
        /// Stay at the peak.
        0 => Constant,
        /// Fall on a straight line to the final fraction.
        1 => Linear,
        /// Fall on half a cosine to the final fraction.
        2 => Cosine,
    }
}

record! {
    /// A Llama-style decoder: RMSNorm, RoPE, grouped-query causal attention, SwiGLU, untied head.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ModelSpec {
        /// Width of the residual stream.
        pub d_model: u32,
        /// Layers; each is an attention and an MLP sub-layer.
        pub layers: u32,
        /// Query heads; each is `d_model / heads` wide.
        pub heads: u32,
        /// Key and value heads; divides `heads`.
        pub kv_heads: u32,
        /// Inner width of the MLP.
        pub d_ff: u32,
        /// Tokens of the tokenizer.
        pub vocab: u32,
        /// Tokens of one training sequence, and the most a cached decode may hold.
        pub seq_len: u32,
        /// Base of the rotary embedding's wavelengths.
        pub rope_theta: Real,
        /// Added to the mean square under the root of RMSNorm.
        pub norm_eps: Real,
        /// Normalise queries and keys per head, with gains.
        pub qk_norm: bool,
        /// Standard deviation of initial weights; residual outputs are scaled down by `sqrt(2 * layers)`.
        pub init_std: Real,
    }
}
record! {
    /// What one optimizer step consumes.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct BatchSpec {
        /// Microbatches in a step.
        pub microbatches: u32,
        /// Sequences in a microbatch.
        pub sequences: u32,
    }
}
record! {
    /// How gradients become steps.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct OptimizerSpec {
        pub kind: OptimizerKind,
        /// Peak rate for hidden matrices (Muon's update has the RMS of AdamW's, so rates are comparable).
        pub learning_rate: Real,
        /// Peak rate for embedding, head and gains.
        pub outer_learning_rate: Real,
        /// Muon's momentum.
        pub momentum: Real,
        pub beta1: Real,
        pub beta2: Real,
        pub epsilon: Real,
        /// Decoupled decay of matrices, embedding and head; gains never decay.
        pub weight_decay: Real,
        /// Greatest Euclidean norm of a stage's mean gradient.
        pub clip: Real,
        pub schedule: Schedule,
        /// Steps of linear growth from zero.
        pub warmup_steps: u32,
        /// Rate of the last step as a fraction of the peak.
        pub final_fraction: Real,
    }
}
record! {
    /// Which text is learned, committed block by block.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct DataSpec {
        /// Name of the corpus, for people; `moby-dick` is embedded in the program.
        #[serde(with = "as_text")]
        pub source: Text<64>,
        /// Merkle root over the token blocks, training blocks first, then held-out ones.
        pub manifest_root: Hash,
        /// Identity of the tokenizer, see [`crate::Tokenizer::hash`].
        pub tokenizer_hash: Hash,
        /// Training blocks of `seq_len + 1` tokens.
        pub blocks: u32,
        /// Held-out blocks.
        pub held_out_blocks: u32,
    }
}
record! {
    /// How the run's loss is measured.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct EvaluationSpec {
        /// Held-out microbatches in one evaluation.
        pub microbatches: u32,
    }
}
record! {
    /// The arithmetic every result is defined by.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ArithmeticSpec {
        /// Version of the canonical arithmetic.
        pub version: u32,
        /// Root of its conformance vectors.
        pub conformance_root: Hash,
    }
}
record! {
    /// Everything that defines a run.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct RunSpec {
        /// Name for people: letters, digits, `-`, `_`, `.`.
        #[serde(with = "as_text")]
        pub name: Text<64>,
        /// Makes runs that are otherwise equal different.
        pub seed: u64,
        /// Optimizer steps of the whole run.
        pub steps: u32,
        /// Steps in a window, the unit of reports, audits and rewards.
        pub window_steps: u32,
        /// Floating-point operations in one work unit.
        pub wu_flops: u64,
        /// Codec of the boundaries between stages.
        pub wire: WireCodec,
        /// Sub-layers (attention and MLP count separately) of each stage, in order; they sum to `2 * layers`.
        #[serde(with = "as_list")]
        pub stages: List<u16, MAX_STAGES>,
        pub model: ModelSpec,
        pub batch: BatchSpec,
        pub optimizer: OptimizerSpec,
        pub data: DataSpec,
        pub eval: EvaluationSpec,
        pub arithmetic: ArithmeticSpec,
    }
}

impl RunSpec {
    /// Parse and validate a specification. Unknown fields are errors.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        if text.len() > MAX_SPEC_TOML_BYTES {
            let reason = format!("expected at most {MAX_SPEC_TOML_BYTES} bytes, got {}", text.len());
            return Err(SpecError::Toml(reason));
        }
        let spec: Self = toml::from_str(text).map_err(|error| SpecError::Toml(error.to_string()))?;
        spec.validate()?;
        Ok(spec)
    }
    /// Decode and validate the canonical bytes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, SpecError> {
        let spec: Self = decode(bytes)?;
        spec.validate()?;
        Ok(spec)
    }
    /// One of the shipped specifications: `tiny`, `nano`, `micro`, `base`.
    pub fn preset(name: &str) -> Result<Self, SpecError> {
        crate::preset::preset(name)
    }
    /// The specification as TOML; [`RunSpec::from_toml`] reads it back to the same `run_id`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self)
            .expect("a run spec holds only numbers, names and flat lists, which TOML can write")
    }
    /// Hash of the canonical encoding: the run's identity.
    pub fn run_id(&self) -> Hash {
        digest(RUN, self)
    }
    /// The same specification with the manifest of `text` (tokenizer, root, numbers of blocks) filled in.
    pub fn with_corpus(mut self, source: &str, text: &str) -> Result<Self, SpecError> {
        self.data.source = Text::new(source).map_err(|error| SpecError::Field {
            field: "data.source",
            expected: "at most 64 bytes".into(),
            got: error.got.to_string(),
            advice: "choose a shorter name",
        })?;
        let manifest = crate::data::Dataset::tokenize(&self, text).map_err(Box::new)?.manifest();
        self.data.manifest_root = manifest.root;
        self.data.tokenizer_hash = manifest.tokenizer_hash;
        self.data.blocks = manifest.blocks;
        self.data.held_out_blocks = manifest.held_out_blocks;
        self.validate()?;
        Ok(self)
    }
    /// Number of stages.
    pub fn stage_count(&self) -> u16 {
        self.stages.len() as u16
    }
    /// Windows of the run; the last one may be shorter.
    pub fn window_count(&self) -> u32 {
        self.steps.div_ceil(self.window_steps)
    }
    /// Tokens of one microbatch.
    pub fn microbatch_tokens(&self) -> usize {
        self.batch.sequences as usize * self.model.seq_len as usize
    }
    /// f32 values that cross a boundary per microbatch and direction: `[sequences * seq_len, d_model]`.
    pub fn boundary_values(&self) -> usize {
        self.microbatch_tokens() * self.model.d_model as usize
    }
}

impl ModelSpec {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        (self.d_model / self.heads) as usize
    }
    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.head_dim() * self.kv_heads as usize
    }
}

/// Serde for bounded texts.
mod as_text {
    use super::*;
    pub(super) fn serialize<S: serde::Serializer, const N: usize>(
        text: &Text<N>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }
    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Text<N>, D::Error> {
        Text::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Serde for bounded lists.
mod as_list {
    use super::*;
    pub(super) fn serialize<S: serde::Serializer, T: Serialize, const N: usize>(
        list: &List<T, N>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter())
    }
    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<List<T, N>, D::Error> {
        List::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
