//! Say what one stage holds: its range of sub-layers, and every tensor with its name, shape and role.
//!
//! Tensor names are those of Hugging Face's Llama checkpoints (linear weights `[out, in]`, row-major), so
//! that an export needs no renaming. A plan is derived from the run spec alone and holds no numbers.

use crate::spec::RunSpec;
use std::ops::Range;

/// One half of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubLayerKind {
    Attention,
    Mlp,
}

/// A sub-layer: `x + f(RmsNorm(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubLayer {
    /// Layer it belongs to, counted over the whole model.
    pub layer: u32,
    pub kind: SubLayerKind,
}

/// What a tensor is for; decides its optimizer and its initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Token embedding `[vocab, d_model]`.
    Embedding,
    /// A matrix between two hidden spaces.
    Hidden,
    /// A hidden matrix that writes into the residual stream: starts smaller.
    ResidualOutput,
    /// Output head `[vocab, d_model]`.
    Head,
    /// Gains of a normalisation: one row, starts at one.
    Gain,
}

/// Name, shape and role of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    pub name: String,
    pub rows: usize,
    /// Columns; a gain is one row.
    pub cols: usize,
    pub role: Role,
}

impl TensorPlan {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }
    /// Never true: every tensor of a valid spec has values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Shape as a checkpoint states it: gains have rank 1.
    pub fn shape(&self) -> Vec<usize> {
        if self.role == Role::Gain { vec![self.cols] } else { vec![self.rows, self.cols] }
    }
}

/// What a stage holds and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePlan {
    /// Index of the stage, from 0.
    pub stage: u16,
    /// Its sub-layers, counted over the whole model.
    pub range: Range<u32>,
    pub sub_layers: Vec<SubLayer>,
    /// Whether it holds the embedding and takes tokens.
    pub first: bool,
    /// Whether it holds the final norm, the head and the loss.
    pub last: bool,
    /// Its tensors in order of use.
    pub tensors: Vec<TensorPlan>,
}

impl StagePlan {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(TensorPlan::len).sum()
    }
    /// Ranges of each tensor in the stage's parameters laid end to end.
    pub fn offsets(&self) -> Vec<Range<usize>> {
        let mut at = 0;
        self.tensors
            .iter()
            .map(|tensor| {
                let range = at..at + tensor.len();
                at = range.end;
                range
            })
            .collect()
    }
}

impl RunSpec {
    /// The plan of stage `stage`; `None` where the run has fewer stages.
    pub fn stage_plan(&self, stage: u16) -> Option<StagePlan> {
        let count = u32::from(*self.stages.get(usize::from(stage))?);
        let start: u32 = self.stages[..usize::from(stage)].iter().map(|&n| u32::from(n)).sum();
        let range = start..start + count;
        let sub_layers: Vec<SubLayer> = range.clone().map(sub_layer).collect();
        let (first, last) = (stage == 0, stage + 1 == self.stage_count());
        let (vocab, d) = (self.model.vocab as usize, self.model.d_model as usize);
        let tensor = |name: &str, rows, cols, role| TensorPlan { name: name.to_string(), rows, cols, role };
        let mut tensors = Vec::new();
        if first {
            tensors.push(tensor("model.embed_tokens.weight", vocab, d, Role::Embedding));
        }
        for sub_layer in &sub_layers {
            tensors.extend(self.sub_layer_tensors(*sub_layer));
        }
        if last {
            tensors.push(tensor("model.norm.weight", 1, d, Role::Gain));
            tensors.push(tensor("lm_head.weight", vocab, d, Role::Head));
        }
        Some(StagePlan { stage, range, sub_layers, first, last, tensors })
    }

    fn sub_layer_tensors(&self, sub_layer: SubLayer) -> Vec<TensorPlan> {
        let model = &self.model;
        let (d, ff, kv) = (model.d_model as usize, model.d_ff as usize, model.kv_width());
        let tensor = |name: &str, rows, cols, role| TensorPlan {
            name: format!("model.layers.{}.{name}.weight", sub_layer.layer),
            rows,
            cols,
            role,
        };
        match sub_layer.kind {
            SubLayerKind::Attention => {
                let mut tensors = vec![
                    tensor("input_layernorm", 1, d, Role::Gain),
                    tensor("self_attn.q_proj", d, d, Role::Hidden),
                    tensor("self_attn.k_proj", kv, d, Role::Hidden),
                    tensor("self_attn.v_proj", kv, d, Role::Hidden),
                    tensor("self_attn.o_proj", d, d, Role::ResidualOutput),
                ];
                if model.qk_norm {
                    tensors.push(tensor("self_attn.q_norm", 1, model.head_dim(), Role::Gain));
                    tensors.push(tensor("self_attn.k_norm", 1, model.head_dim(), Role::Gain));
                }
                tensors
            }
            SubLayerKind::Mlp => vec![
                tensor("post_attention_layernorm", 1, d, Role::Gain),
                tensor("mlp.gate_proj", ff, d, Role::Hidden),
                tensor("mlp.up_proj", ff, d, Role::Hidden),
                tensor("mlp.down_proj", d, ff, Role::ResidualOutput),
            ],
        }
    }
}

fn sub_layer(index: u32) -> SubLayer {
    let kind = if index.is_multiple_of(2) { SubLayerKind::Attention } else { SubLayerKind::Mlp };
    SubLayer { layer: index / 2, kind }
}

/// Parameters of the whole model. Needs only a model section whose numbers are in range.
pub(crate) fn parameter_count(spec: &RunSpec) -> u64 {
    let total = |index| spec.sub_layer_tensors(sub_layer(index)).iter().map(|t| t.len() as u64).sum::<u64>();
    let model = &spec.model;
    let outer = u64::from(model.d_model) * (2 * u64::from(model.vocab) + 1);
    u64::from(model.layers) * (total(0) + total(1)) + outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn stages_cut_the_model_without_gap_or_overlap() {
        for name in crate::preset::NAMES {
            let spec = RunSpec::preset(name).unwrap();
            let plans: Vec<StagePlan> =
                (0..spec.stage_count()).map(|s| spec.stage_plan(s).unwrap()).collect();
            assert!(spec.stage_plan(spec.stage_count()).is_none());
            let mut next = 0;
            let mut names = BTreeSet::new();
            for plan in &plans {
                assert_eq!(plan.range.start, next);
                next = plan.range.end;
                assert!(plan.tensors.iter().all(|t| names.insert(t.name.clone())), "a tensor in two stages");
                assert_eq!(plan.offsets().last().unwrap().end, plan.parameters());
            }
            assert_eq!(next, 2 * spec.model.layers);
            let parameters: usize = plans.iter().map(StagePlan::parameters).sum();
            assert_eq!(parameters as u64, parameter_count(&spec));
            assert!(plans[0].first && plans[plans.len() - 1].last);
        }
    }

    #[test]
    fn presets_have_the_announced_sizes() {
        let millions = |name| parameter_count(&RunSpec::preset(name).unwrap()) as f64 / 1e6;
        assert!((1.5..2.5).contains(&millions("nano")), "{}", millions("nano"));
        assert!((17.0..23.0).contains(&millions("micro")), "{}", millions("micro"));
        assert!((115.0..130.0).contains(&millions("base")), "{}", millions("base"));
    }
}
