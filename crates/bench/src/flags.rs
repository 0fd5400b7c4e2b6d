//! Take the flags of every measurement, and refuse impossible ones with what was expected.

use crate::{
    error::BenchError,
    shape::{Part, Preset},
};
use std::path::PathBuf;
use tessera_arith::Isa;
use tessera_model::PRESETS;

/// Most threads that may be asked for.
const MOST_THREADS: usize = 256;
/// Most rounds that may be asked for.
const MOST_ROUNDS: u32 = 10_000;

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// The machine's limits: multiply-adds per second, bytes read per second
    Machine(MachineFlags),
    /// Matrix products by shape, layout and instruction set
    Gemm(GemmFlags),
    /// Forward and backward of one stage: tokens per second, memory, time by operation
    Stage(StageFlags),
    /// Cached decoding of one sequence, token by token
    Decode(DecodeFlags),
    /// One step of the optimizer, against the forward and backward passes of a step
    Muon(MuonFlags),
}

/// Flags of every measurement.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Numbers of threads to measure with
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2", value_parser = threads)]
    pub threads: Vec<usize>,
    /// Rounds in which all cases take their turn; medians over fewer than 7 say little
    #[arg(long, value_name = "N", default_value = "9", value_parser = rounds)]
    pub rounds: u32,
    /// Instruction sets to measure with, of those this machine has; the widest by default
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = instruction_set)]
    pub isa: Vec<Isa>,
    /// Keep the results, for later runs to be compared with
    #[arg(long)]
    pub store: bool,
    /// Folder of stored results
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Source revision to note beside the results
    #[arg(long, value_name = "TEXT", env = "TESSERA_REVISION", hide_env = true)]
    pub revision: Option<String>,
}

impl Common {
    /// The instruction sets to use, each once.
    pub(crate) fn isas(&self) -> Vec<Isa> {
        if self.isa.is_empty() {
            Isa::available().last().copied().into_iter().collect()
        } else {
            once(&self.isa)
        }
    }
    /// Every pair of instruction set and number of threads, each once.
    pub(crate) fn settings(&self) -> Vec<(Isa, usize)> {
        let threads = once(&self.threads);
        let with = |isa| threads.iter().map(move |&threads| (isa, threads));
        self.isas().into_iter().flat_map(with).collect()
    }
}

/// Flags of `machine`.
#[derive(Clone, Debug, clap::Args)]
pub struct MachineFlags {
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `gemm`.
#[derive(Clone, Debug, clap::Args)]
pub struct GemmFlags {
    /// Products C [m, n] = A [m, k] B [k, n] to measure
    #[arg(
        long, value_name = "MxNxK,...", value_delimiter = ',', value_parser = shape,
        default_value = "512x1376x2048,2048x1376x512,512x512x2048,2048x2048x2048"
    )]
    pub shape: Vec<[usize; 3]>,
    /// How A and B lie in memory: n row by row as named, t transposed
    #[arg(long, value_name = "XY,...", value_delimiter = ',', value_parser = layout, default_value = "nn,tn,nt")]
    pub layout: Vec<&'static str>,
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `stage`.
#[derive(Clone, Debug, clap::Args)]
pub struct StageFlags {
    #[command(flatten)]
    pub size: SizeFlags,
    /// How forward and backward share their work: `kept` (forward, keeping a tape, then backward),
    /// `recomputed` (forward, then backward from the input), `backward` (backward alone, with the forward pass
    /// inside it)
    #[arg(long, value_name = "NAME", default_value = "kept", value_parser = crate::stage::Pass::parse)]
    pub pass: crate::stage::Pass,
    /// Leave out the time by operation
    #[arg(long)]
    pub no_profile: bool,
    /// Write weights, input, target and results to DIR instead, for a peer to compare with
    #[arg(long, value_name = "DIR", conflicts_with = "serve")]
    pub dump: Option<PathBuf>,
    /// Make one iteration for each line `run` on standard input instead, and answer with its time and memory
    #[arg(long)]
    pub serve: bool,
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `decode`.
#[derive(Clone, Debug, clap::Args)]
pub struct DecodeFlags {
    /// Run preset whose whole model decodes
    #[arg(long, value_name = "NAME", default_value = "base", value_parser = run_preset)]
    pub preset: &'static str,
    /// Positions already in the cache when the measured token comes
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "16,128,256,504")]
    pub context: Vec<usize>,
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `muon`.
#[derive(Clone, Debug, clap::Args)]
pub struct MuonFlags {
    #[command(flatten)]
    pub size: SizeFlags,
    /// Tokens of one optimizer step
    #[arg(long, value_name = "N", default_value = "8192", value_parser = step_tokens)]
    pub step_tokens: u64,
    #[command(flatten)]
    pub common: Common,
}

/// Sizes of a stage: those of a preset, unless named.
#[derive(Clone, Debug, clap::Args)]
pub struct SizeFlags {
    /// Sizes to begin with: `d512` (two blocks of width 512, 8 x 256 tokens), `nano`, `base` (two blocks of these
    /// presets, 2048 tokens)
    #[arg(long, value_name = "NAME", default_value = "d512", value_parser = Preset::parse)]
    pub preset: &'static Preset,
    /// Which part of a model the stage is: `middle`, `first` (with the embedding), `last` (with head and loss),
    /// `whole`
    #[arg(long, value_name = "NAME", default_value = "middle", value_parser = Part::parse)]
    pub part: Part,
    /// Blocks of attention and MLP
    #[arg(long, value_name = "N")]
    pub blocks: Option<u32>,
    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    pub d_model: Option<u32>,
    /// Query heads
    #[arg(long, value_name = "N")]
    pub heads: Option<u32>,
    /// Key and value heads
    #[arg(long, value_name = "N")]
    pub kv_heads: Option<u32>,
    /// Inner width of the MLP
    #[arg(long, value_name = "N")]
    pub d_ff: Option<u32>,
    /// Tokens of the tokenizer
    #[arg(long, value_name = "N")]
    pub vocab: Option<u32>,
    /// Sequences of a microbatch
    #[arg(long, value_name = "N")]
    pub sequences: Option<u32>,
    /// Tokens of a sequence
    #[arg(long, value_name = "N")]
    pub seq_len: Option<u32>,
    /// Normalise queries and keys
    #[arg(long, value_name = "BOOL")]
    pub qk_norm: Option<bool>,
}

/// The different items of `list`, in order.
pub(crate) fn once<T: Copy + PartialEq>(list: &[T]) -> Vec<T> {
    list.iter().fold(Vec::new(), |mut seen, &item| {
        if !seen.contains(&item) {
            seen.push(item);
        }
        seen
    })
}

/// Name of an instruction set in flags and results.
pub(crate) fn isa_name(isa: Isa) -> String {
    format!("{isa:?}").to_lowercase()
}

/// The refusal of a text that is no value of a flag.
pub(crate) fn unfit<T>(expected: impl Into<String>, advice: &'static str) -> Result<T, BenchError> {
    Err(BenchError::Value { expected: expected.into(), advice })
}

/// The refusal of the value `got` of --`flag`, which only other flags make impossible.
pub(crate) fn refuse<T>(
    flag: &'static str,
    expected: impl Into<String>,
    got: &str,
    advice: &'static str,
) -> Result<T, BenchError> {
    Err(BenchError::Flag { flag, expected: expected.into(), got: got.chars().take(64).collect(), advice })
}

fn threads(text: &str) -> Result<usize, BenchError> {
    match text.parse() {
        Ok(count @ 1..=MOST_THREADS) => Ok(count),
        _ => unfit(format!("a number from 1 to {MOST_THREADS}"), "1 is the calling thread alone"),
    }
}

fn rounds(text: &str) -> Result<u32, BenchError> {
    match text.parse() {
        Ok(count @ 1..=MOST_ROUNDS) => Ok(count),
        _ => unfit(format!("a number from 1 to {MOST_ROUNDS}"), "7 or more give a sound median"),
    }
}

fn step_tokens(text: &str) -> Result<u64, BenchError> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => unfit("a number from 1 on", "runs have some thousand tokens a step"),
    }
}

fn instruction_set(text: &str) -> Result<Isa, BenchError> {
    let available = Isa::available();
    match available.iter().find(|isa| isa_name(**isa) == text) {
        Some(isa) => Ok(*isa),
        None => {
            let names: Vec<String> = available.into_iter().map(isa_name).collect();
            unfit(format!("one of {}", names.join(", ")), "those are what this machine has")
        }
    }
}

fn shape(text: &str) -> Result<[usize; 3], BenchError> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some(&[m, n, k]) if [m, n, k].iter().all(|size| (1..=32_768).contains(size)) => Ok([m, n, k]),
        _ => unfit("three sizes from 1 to 32768 as MxNxK", "write for example 512x1376x2048"),
    }
}

fn layout(text: &str) -> Result<&'static str, BenchError> {
    const LAYOUTS: [&str; 4] = ["nn", "tn", "nt", "tt"];
    match LAYOUTS.into_iter().find(|known| *known == text) {
        Some(known) => Ok(known),
        None => unfit("one of nn, tn, nt, tt", "the first letter is A, the second B"),
    }
}

fn run_preset(text: &str) -> Result<&'static str, BenchError> {
    match PRESETS.into_iter().find(|known| *known == text) {
        Some(known) => Ok(known),
        None => unfit(format!("one of {}", PRESETS.join(", ")), "those are the presets of runs"),
    }
}
