//! Check every field of a run specification against its range and against the others.
//!
//! A specification comes from a stranger and sizes every later allocation, so nothing may use one that has
//! not passed here. Each refusal names the field, what was expected, what came, and what to do.

use crate::spec::{RunSpec, SpecError};
use std::fmt::Display;

/// Most parameters a run may have, all stages together.
pub(crate) const MAX_PARAMETERS: u64 = 1 << 36;
/// Most values of the widest activation of one microbatch.
pub(crate) const MAX_ACTIVATION_VALUES: u64 = 1 << 31;
/// Largest token block list of a manifest.
pub(crate) const MAX_BLOCKS: u32 = 1 << 28;

fn refuse(
    field: &'static str,
    expected: impl Display,
    got: impl Display,
    advice: &'static str,
) -> Result<(), SpecError> {
    Err(SpecError::Field { field, expected: expected.to_string(), got: got.to_string(), advice })
}

fn range<T: PartialOrd + Display + Copy>(
    field: &'static str,
    got: T,
    least: T,
    most: T,
) -> Result<(), SpecError> {
    if got >= least && got <= most {
        return Ok(());
    }
    refuse(field, format_args!("{least} to {most}"), got, "choose a value in this range")
}

fn name(field: &'static str, got: &str) -> Result<(), SpecError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&got.len()) && got.chars().all(good) {
        return Ok(());
    }
    refuse(field, "1 to 64 letters, digits, `-`, `_` or `.`", format_args!("{got:?}"), "choose a plain name")
}

impl RunSpec {
    /// Check every rule; the first broken one is reported.
    pub fn validate(&self) -> Result<(), SpecError> {
        name("name", &self.name)?;
        range("steps", self.steps, 1, 100_000_000)?;
        range("window_steps", self.window_steps, 1, self.steps.min(100_000))?;
        range("wu_flops", self.wu_flops, 1, 1_000_000_000_000_000)?;
        self.validate_model()?;
        self.validate_stages()?;
        self.validate_batch()?;
        self.validate_optimizer()?;
        self.validate_data()?;
        let arithmetic = &self.arithmetic;
        let advice = "run a program version with this arithmetic, or publish the run for this one";
        if arithmetic.version != crate::ARITHMETIC_VERSION {
            return refuse("arithmetic.version", crate::ARITHMETIC_VERSION, arithmetic.version, advice);
        }
        let root = crate::conformance_root();
        if arithmetic.conformance_root != root {
            return refuse("arithmetic.conformance_root", root, arithmetic.conformance_root, advice);
        }
        Ok(())
    }

    fn validate_model(&self) -> Result<(), SpecError> {
        let model = &self.model;
        range("model.d_model", model.d_model, 8, 32_768)?;
        range("model.layers", model.layers, 1, 1024)?;
        range("model.heads", model.heads, 1, 512)?;
        range("model.kv_heads", model.kv_heads, 1, model.heads)?;
        range("model.d_ff", model.d_ff, 8, 131_072)?;
        range("model.vocab", model.vocab, 256, 1 << 20)?;
        range("model.seq_len", model.seq_len, 2, 65_536)?;
        range("model.rope_theta", model.rope_theta.get(), 10.0, 1e9)?;
        range("model.norm_eps", model.norm_eps.get(), 1e-10, 1e-2)?;
        range("model.init_std", model.init_std.get(), 1e-6, 1.0)?;
        if !model.d_model.is_multiple_of(2 * model.heads) {
            let expected =
                format_args!("a number whose double divides d_model = {}", model.d_model).to_string();
            return refuse(
                "model.heads",
                expected,
                model.heads,
                "heads must be equal and of even width (RoPE)",
            );
        }
        if !model.heads.is_multiple_of(model.kv_heads) {
            let expected = format!("a divisor of heads = {}", model.heads);
            return refuse("model.kv_heads", expected, model.kv_heads, "query heads share key heads evenly");
        }
        if model.head_dim() > 512 {
            return refuse("model.heads", "heads at most 512 wide", model.head_dim(), "use more heads");
        }
        let parameters = crate::plan::parameter_count(self);
        if parameters > MAX_PARAMETERS {
            return refuse(
                "model",
                format_args!("at most {MAX_PARAMETERS} parameters"),
                parameters,
                "shrink it",
            );
        }
        Ok(())
    }

    fn validate_stages(&self) -> Result<(), SpecError> {
        range("stages (number of entries)", self.stages.len(), 1, crate::spec::MAX_STAGES)?;
        if let Some(empty) = self.stages.iter().position(|&count| count == 0) {
            return refuse(
                "stages",
                "at least one sub-layer a stage",
                format_args!("0 at position {empty}"),
                "drop it",
            );
        }
        let sum: u64 = self.stages.iter().map(|&count| u64::from(count)).sum();
        let expected = 2 * u64::from(self.model.layers);
        if sum != expected {
            let expected = format!("entries that sum to 2 * layers = {expected}");
            return refuse("stages", expected, sum, "attention and MLP count as one sub-layer each");
        }
        Ok(())
    }

    fn validate_batch(&self) -> Result<(), SpecError> {
        let batch = &self.batch;
        range("batch.microbatches", batch.microbatches, 1, 65_536)?;
        range("batch.sequences", batch.sequences, 1, 4096)?;
        let tokens = u64::from(batch.sequences) * u64::from(self.model.seq_len);
        let widest = u64::from(self.model.d_ff.max(self.model.vocab).max(self.model.d_model));
        let values = tokens.saturating_mul(widest);
        if values > MAX_ACTIVATION_VALUES {
            let expected = format!("sequences * seq_len * widest layer at most {MAX_ACTIVATION_VALUES}");
            return refuse("batch.sequences", expected, values, "use smaller microbatches and more of them");
        }
        Ok(())
    }

    fn validate_optimizer(&self) -> Result<(), SpecError> {
        let optimizer = &self.optimizer;
        range("optimizer.learning_rate", optimizer.learning_rate.get(), 1e-9, 1.0)?;
        range("optimizer.outer_learning_rate", optimizer.outer_learning_rate.get(), 1e-9, 1.0)?;
        range("optimizer.momentum", optimizer.momentum.get(), 0.0, 0.9999)?;
        range("optimizer.beta1", optimizer.beta1.get(), 0.0, 0.9999)?;
        range("optimizer.beta2", optimizer.beta2.get(), 0.0, 0.99999)?;
        range("optimizer.epsilon", optimizer.epsilon.get(), 1e-20, 1e-2)?;
        range("optimizer.weight_decay", optimizer.weight_decay.get(), 0.0, 1.0)?;
        range("optimizer.clip", optimizer.clip.get(), 1e-6, 1e9)?;
        range("optimizer.final_fraction", optimizer.final_fraction.get(), 0.0, 1.0)?;
        if optimizer.warmup_steps >= self.steps {
            let expected = format!("less than steps = {}", self.steps);
            let advice = "a run must reach its peak rate";
            return refuse("optimizer.warmup_steps", expected, optimizer.warmup_steps, advice);
        }
        Ok(())
    }

    fn validate_data(&self) -> Result<(), SpecError> {
        let data = &self.data;
        name("data.source", &data.source)?;
        range("data.blocks", data.blocks, 1, MAX_BLOCKS)?;
        range("data.held_out_blocks", data.held_out_blocks, 1, MAX_BLOCKS)?;
        range("eval.microbatches", self.eval.microbatches, 1, 65_536)?;
        let needed = u64::from(self.eval.microbatches) * u64::from(self.batch.sequences);
        if needed > u64::from(data.held_out_blocks) {
            let expected = format!(
                "eval.microbatches * batch.sequences at most data.held_out_blocks = {}",
                data.held_out_blocks
            );
            return refuse("eval.microbatches", expected, needed, "evaluate less, or hold out a longer text");
        }
        Ok(())
    }
}
