//! Count a stage's floating-point operations from the run spec, so that pay never rests on a worker's word.
//!
//! Counted are the multiply-adds of matrix products, two operations each, for one microbatch of
//! `T = sequences * seq_len` tokens:
//!
//! - a linear layer `[out, in]`: `2 * T * out * in`;
//! - causal attention: scores and weighted values, each `2 * sequences * heads * head_dim * n * (n + 1) / 2`
//!   with `n = seq_len`;
//! - the head: a linear layer. The embedding is a look-up and counts nothing.
//!
//! The backward pass counts twice the forward pass (gradient to the input, gradient to the weights), as is
//! usual (Kaplan et al. 2020, appendix B). The recomputation of the forward pass in backward is not
//! counted: it is how this implementation saves memory, not work the model needs. Norms, rotations,
//! activations and the optimizer are left out: below one per cent at these shapes.

use crate::{
    plan::{Role, SubLayerKind},
    spec::RunSpec,
};

/// Operations of the forward pass of one microbatch through `stage`; 0 where there is no such stage.
pub fn stage_forward(spec: &RunSpec, stage: u16) -> u64 {
    let Some(plan) = spec.stage_plan(stage) else { return 0 };
    let tokens = spec.microbatch_tokens() as u64;
    let linear: u64 = plan
        .tensors
        .iter()
        .filter(|tensor| matches!(tensor.role, Role::Hidden | Role::ResidualOutput | Role::Head))
        .map(|tensor| 2 * tokens * tensor.len() as u64)
        .sum();
    let (sequences, n) = (u64::from(spec.batch.sequences), u64::from(spec.model.seq_len));
    let attention = 4 * sequences * u64::from(spec.model.d_model) * (n * (n + 1) / 2);
    let attentions = plan.sub_layers.iter().filter(|s| s.kind == SubLayerKind::Attention).count() as u64;
    linear + attentions * attention
}

/// Operations of the forward and backward pass of one microbatch through `stage`.
pub fn stage_microbatch(spec: &RunSpec, stage: u16) -> u64 {
    3 * stage_forward(spec, stage)
}

/// Operations of one microbatch through all stages.
pub fn model_microbatch(spec: &RunSpec) -> u64 {
    (0..spec.stage_count()).map(|stage| stage_microbatch(spec, stage)).sum()
}

impl RunSpec {
    /// Work units that one microbatch in `stage` earns: its operations over `wu_flops`, rounded down, at
    /// least 1.
    pub fn work_units(&self, stage: u16) -> u64 {
        (stage_microbatch(self, stage) / self.wu_flops).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out by hand for the middle stage of `nano`: two layers, 512 tokens.
    #[test]
    fn nano_middle_stage_by_hand() {
        let spec = RunSpec::preset("nano").unwrap();
        let linear = 2 * 512 * 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 512);
        let attention = 2 * (2 * 2 * 4 * 4 * 32 * (128 * 129 / 2));
        assert_eq!(stage_microbatch(&spec, 1), 3 * (linear + attention));
        assert_eq!(spec.work_units(1), 3 * (linear + attention) / 1_000_000);
        assert_eq!(stage_forward(&spec, 0), stage_forward(&spec, 1), "the embedding is free");
        assert!(stage_forward(&spec, 2) > stage_forward(&spec, 1), "the head is not");
        assert_eq!(stage_forward(&spec, 9), 0);
    }

    #[test]
    fn a_unit_is_never_free() {
        let mut spec = RunSpec::preset("tiny").unwrap();
        spec.wu_flops = 1_000_000_000_000;
        assert_eq!(spec.work_units(0), 1);
    }
}
