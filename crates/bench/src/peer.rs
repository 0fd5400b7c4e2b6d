//! Let another program compute and time the same stage: write all it needs, and run when told.
//!
//! A dump is a folder of little-endian f32 files and `case.json`, written last, which names them. Weight
//! gradients are the integers of the gradient sum times their grid; `case.json` tells each grid's spacing.

use crate::{
    error::BenchError,
    flags::StageFlags,
    measure::{memory, time},
    shape::Subject,
};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, Write as _},
    path::Path,
};
use tessera_arith::{with_isa, with_threads};
use tessera_model::GradSum;

/// The setting of `--serve` and `--dump`: the first instruction set and number of threads named.
fn alone<T>(flags: &StageFlags, body: impl FnOnce() -> T) -> T {
    let (isa, threads) = flags.common.settings()[0];
    with_isa(isa, || with_threads(threads, body))
}

fn write(folder: &Path, name: &str, values: &[f32]) -> Result<(), BenchError> {
    let path = folder.join(name);
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(&path, bytes).map_err(BenchError::io("write", &path))
}

/// Writes weights, input, target and results of the stage to `folder`.
pub(crate) fn dump(flags: &StageFlags, folder: &Path) -> Result<(), BenchError> {
    let subject = Subject::new(&flags.size)?;
    let mut workspace = subject.workspace()?;
    let weights = &subject.weights;
    let mut sum = GradSum::zero(weights);
    let (output, back) = alone(flags, || {
        let output = weights.forward(subject.input(), &mut workspace)?;
        let back = flags.pass.run(&subject, &mut workspace, &mut sum)?;
        Ok::<_, BenchError>((output, back))
    })?;
    let (plan, model) = (weights.plan(), &weights.spec().model);
    let mut gradients = Vec::with_capacity(plan.parameters());
    let mut tensors = Vec::new();
    for (at, (tensor, range)) in plan.tensors.iter().zip(plan.offsets()).enumerate() {
        let grid = 2f64.powi(weights.exponents()[at]);
        gradients.extend(sum.values()[range].iter().map(|&units| (units as f64 * grid) as f32));
        tensors.push(json!({ "name": tensor.name, "shape": tensor.shape(), "grid": grid }));
    }
    fs::create_dir_all(folder).map_err(BenchError::io("make folder", folder))?;
    write(folder, "weights.bin", &weights.tensors().concat())?;
    write(folder, "gradients.bin", &gradients)?;
    write(folder, "output.bin", &output)?;
    write(folder, "input.bin", &subject.hidden)?;
    write(folder, "output_gradient.bin", &subject.gradient)?;
    write(folder, "input_gradient.bin", back.dx.as_deref().unwrap_or_default())?;
    let case = json!({
        "part": flags.size.part.name(), "pass": flags.pass.name(), "keys": flags.size.keys(),
        "sequences": weights.spec().batch.sequences, "loss": back.loss, "tensors": tensors,
        "tokens": subject.tokens, "labels": subject.labels,
        "model": {
            "d_model": model.d_model, "blocks": plan.sub_layers.len() / 2, "first_layer": plan.sub_layers[0].layer,
            "heads": model.heads, "kv_heads": model.kv_heads, "d_ff": model.d_ff, "vocab": model.vocab,
            "seq_len": model.seq_len, "rope_theta": model.rope_theta.get(), "norm_eps": model.norm_eps.get(),
            "qk_norm": model.qk_norm,
        },
    });
    let path = folder.join("case.json");
    fs::write(&path, case.to_string()).map_err(BenchError::io("write", &path))
}

/// Answers every line `run` on standard input with the time of one iteration and this process's memory, until
/// the input ends. The first line says that it is ready.
pub(crate) fn serve(flags: &StageFlags) -> Result<(), BenchError> {
    let subject = Subject::new(&flags.size)?;
    let mut workspace = subject.workspace()?;
    let mut sum = GradSum::zero(&subject.weights);
    let answer = |object: serde_json::Value| {
        let mut stdout = std::io::stdout();
        let written = writeln!(stdout, "{object}").and_then(|()| stdout.flush());
        written.map_err(BenchError::io("write", Path::new("standard output")))
    };
    answer(json!({ "ready": true, "tokens": subject.rows, "resident_bytes": memory().0 }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(BenchError::io("read", Path::new("standard input")))?;
        if line.trim() != "run" {
            return Err(BenchError::Request { got: line.chars().take(64).collect() });
        }
        let sample =
            alone(flags, || time(|| flags.pass.run(&subject, &mut workspace, &mut sum).map(|_| ())))?;
        let (resident, most) = memory();
        answer(json!({
            "wall_s": sample.wall, "cpu_s": sample.cpu, "resident_bytes": resident, "peak_bytes": most,
        }))?;
    }
    Ok(())
}
