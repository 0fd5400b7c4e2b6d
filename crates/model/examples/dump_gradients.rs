//! Write microbatches of a preset, with logits, loss and every gradient, for a check by another program.
//!
//! `cargo run -p tessera-model --example dump_gradients -- tiny FOLDER` makes three cases: the initial weights,
//! weights after some steps of training (gains are no longer one), and a model without QK-norm whose weights
//! start ten times larger. Each is a folder with `weights.safetensors` (names of Hugging Face's Llama
//! checkpoints), `gradients.safetensors` (the same names: the integers of the gradient sum times their grid),
//! `logits.safetensors` `[rows, vocab]` and `case.json` (shapes, tokens, labels, loss, and the spacing of each
//! tensor's grid: a gradient was rounded to its nearest multiple). `scripts/check_gradients_pytorch.py` reads them.

use safetensors::{Dtype, SafeTensorError, serialize_to_file, tensor::TensorView};
use serde_json::json;
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use tessera_model::{
    Dataset, GradSum, Real, RunSpec, Sign, StageInput, StageState, StageTarget, Workspace, central,
};

/// Steps of training before the second case.
const STEPS: u32 = 6;

/// Name, shape and values.
type Tensor = (String, Vec<usize>, Vec<f32>);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let preset = arguments.next().unwrap_or_else(|| "tiny".into());
    let folder = PathBuf::from(arguments.next().ok_or("expected a preset and a folder to write to")?);
    let spec = RunSpec::preset(&preset)?;
    let data = Dataset::embedded(&spec)?;
    dump(&folder.join("initial"), &spec, &data, &central::init(&spec)?)?;
    dump(&folder.join("trained"), &spec, &data, &central::train(&spec, &data, STEPS, |_| {})?.stages)?;
    let mut other = spec;
    other.model.qk_norm = false;
    other.model.init_std = Real::new(0.2).ok_or("0.2 is a number")?;
    dump(&folder.join("without-qk-norm"), &other, &data, &central::init(&other)?)
}

/// Compute the first microbatch of the stages' step and write it to `folder`.
fn dump(folder: &Path, spec: &RunSpec, data: &Dataset, stages: &[StageState]) -> Result<(), Box<dyn Error>> {
    let step = stages.first().map_or(0, StageState::step);
    let batch = data.microbatch(spec, step, 0)?;
    let mut workspace = Workspace::new(spec)?;
    // outputs[s] is what stage s computed; the input of stage s + 1.
    let mut outputs: Vec<Vec<f32>> = Vec::new();
    for stage in stages {
        let input = outputs.last().map_or(StageInput::Tokens(&batch.tokens), |x| StageInput::Hidden(x));
        outputs.push(stage.forward(input, &mut workspace)?);
    }
    let (mut loss, mut downstream) = (None, None::<Vec<f32>>);
    let (mut weights, mut gradients, mut grids) = (Vec::new(), Vec::new(), serde_json::Map::new());
    for (number, stage) in stages.iter().enumerate().rev() {
        let input = match number.checked_sub(1) {
            Some(before) => StageInput::Hidden(&outputs[before]),
            None => StageInput::Tokens(&batch.tokens),
        };
        let target = downstream.as_deref().map_or(StageTarget::Labels(&batch.labels), StageTarget::Grad);
        let mut sum = GradSum::zero(stage.weights());
        let out = stage.weights().backward(input, target, &mut workspace, Some((&mut sum, Sign::Add)))?;
        loss = loss.or(out.loss);
        downstream = out.dx;
        let plan = stage.weights().plan();
        for (at, (tensor, range)) in plan.tensors.iter().zip(plan.offsets()).enumerate() {
            let grid = 2f64.powi(stage.weights().exponents()[at]);
            let values = sum.values()[range].iter().map(|&units| (units as f64 * grid) as f32).collect();
            weights.push((tensor.name.clone(), tensor.shape(), stage.weights().tensors()[at].clone()));
            gradients.push((tensor.name.clone(), tensor.shape(), values));
            grids.insert(tensor.name.clone(), grid.into());
        }
    }
    fs::create_dir_all(folder)?;
    write(&folder.join("weights.safetensors"), &weights)?;
    write(&folder.join("gradients.safetensors"), &gradients)?;
    let logits = outputs.pop().ok_or("a run has stages")?;
    let shape = vec![batch.tokens.len(), spec.model.vocab as usize];
    write(&folder.join("logits.safetensors"), &[("logits".into(), shape, logits)])?;
    let model = &spec.model;
    let case = json!({
        "preset": spec.name.to_string(), "step": step, "sequences": spec.batch.sequences, "loss": loss,
        "tokens": batch.tokens, "labels": batch.labels, "grids": grids,
        "model": {
            "d_model": model.d_model, "layers": model.layers, "heads": model.heads, "kv_heads": model.kv_heads,
            "seq_len": model.seq_len, "rope_theta": model.rope_theta.get(), "norm_eps": model.norm_eps.get(),
            "qk_norm": model.qk_norm,
        },
    });
    Ok(fs::write(folder.join("case.json"), case.to_string())?)
}

fn write(path: &Path, tensors: &[Tensor]) -> Result<(), Box<dyn Error>> {
    let raw: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&raw)
        .map(|((name, shape, _), bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    Ok(serialize_to_file(views, None, path)?)
}
