//! Measure what one microbatch of a stage costs: CPU seconds, tape and peak memory.
//!
//! `cargo run --release -p tessera-model --example stage_cost -- [WIDTH] [RUNS] [THREADS] [again]` takes the middle
//! stage of a model of that width (two blocks, 8 sequences of 256 tokens) and prints the median CPU time of forward
//! and backward, and what each value that could be kept between the two costs to make again; with `again`, backward
//! starts from the input alone. Linux only: CPU time and peak memory come from `/proc`.

use std::error::Error;
use tessera_arith::{
    ArithError, Mat, MatMut, Store, attention, gemm, norm,
    rope::{self, RopeTable},
    swiglu,
};
use tessera_canon::List;
use tessera_model::{GradSum, RunSpec, Sign, StageInput, StageTarget, StageWeights, Workspace};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (width, runs, threads) = (number(512)?, number(9)?, number(1)?);
    let again = arguments.next().is_some();
    let spec = stage_spec(width)?;
    tessera_arith::set_threads(threads);
    let weights = StageWeights::init(&spec, 1)?;
    let mut workspace = Workspace::new(&spec)?;
    let mut sum = GradSum::zero(&weights);
    let values = spec.boundary_values();
    let x: Vec<f32> = (0..values).map(|i| ((i * 37 % 1013) as f32 - 506.0) / 300.0).collect();
    let dy: Vec<f32> = (0..values).map(|i| ((i * 53 % 997) as f32 - 498.0) * 1e-6).collect();
    let (mut times, mut tape) = (Vec::new(), 0);
    for _ in 0..runs {
        let start = cpu_ticks()?;
        let (input, target) = (StageInput::Hidden(&x), StageTarget::Grad(&dy));
        let middle = if again {
            weights.forward(input, &mut workspace)?;
            let middle = cpu_ticks()?;
            weights.backward(input, target, &mut workspace, Some((&mut sum, Sign::Add)))?;
            middle
        } else {
            let (_, kept) = weights.forward_keep(input, &mut workspace)?;
            let middle = cpu_ticks()?;
            tape = kept.bytes();
            weights.backward_kept(kept, target, &mut workspace, Some((&mut sum, Sign::Add)))?;
            middle
        };
        times.push((cpu_ticks()? - start, middle - start));
    }
    times.sort_unstable();
    let (total, forward) = times[times.len() / 2];
    let (total, forward) = (total / 1_000_000, forward / 1_000_000);
    println!(
        "cpu_ms={total} forward_ms={forward} tape_bytes={tape} peak_kb={} sum={}",
        peak()?,
        digest(&sum)
    );
    remake(&spec, runs)
}

/// How often an operation is repeated in one measurement.
const REPEATS: u64 = 8;

/// Print bytes per token and the median CPU time per sub-layer of making again what backward needs.
fn remake(spec: &RunSpec, runs: usize) -> Result<(), Box<dyn Error>> {
    let (rows, model) = (spec.microbatch_tokens(), &spec.model);
    let (d, kv, ff, head_dim) =
        (model.d_model as usize, model.kv_width(), model.d_ff as usize, model.head_dim());
    let (heads, kv_heads, seq) = (model.heads as usize, model.kv_heads as usize, model.seq_len as usize);
    let wave = |len: usize| (0..len).map(|i| ((i * 37 % 1013) as f32 - 506.0) / 300.0).collect::<Vec<f32>>();
    let (x, gain, w) = (wave(rows * d), wave(d), wave(ff.max(d) * d));
    let (mut normed, mut inverse) = (wave(rows * d), vec![0.0; rows]);
    let (mut q, mut k) = (wave(rows * d), wave(rows * kv));
    let (mut gate, up, mut inner) = (wave(rows * ff), wave(rows * ff), wave(rows * ff));
    let (table, positions) = (
        RopeTable::new(seq, head_dim, model.rope_theta.get())?,
        (0..rows).map(|row| (row % seq) as u32).collect::<Vec<u32>>(),
    );
    let shape = attention::Shape { batch: rows / seq, seq, heads, kv_heads, head_dim };
    let product = |outer: usize, y: &mut [f32]| {
        let (x, w) = (Mat::new(&x, rows, d)?, Mat::new(&w[..outer * d], outer, d)?);
        gemm(MatMut::new(y, rows, outer)?, x, w.t(), Store::Set)
    };
    let row = |what: &str, bytes: usize, work: &mut dyn FnMut() -> Result<(), ArithError>| {
        let mut times = Vec::new();
        for _ in 0..runs {
            // The clock of `/proc` is coarse.
            let start = cpu_ticks()?;
            (0..REPEATS).try_for_each(|_| work())?;
            times.push((cpu_ticks()? - start) / REPEATS);
        }
        times.sort_unstable();
        println!("{what}: {bytes} bytes/token, {:.1} ms", times[times.len() / 2] as f64 / 1e6);
        Ok::<(), Box<dyn Error>>(())
    };
    row("normed", 4 * d + 4, &mut || norm::rms_forward(&x, &gain, 1e-5, &mut normed, &mut inverse))?;
    row("q and k", 4 * (d + kv), &mut || product(d, &mut q).and_then(|()| product(kv, &mut k)))?;
    row("q and k, rotated", 4 * (d + kv), &mut || {
        rope::rotate(&mut q, heads, &positions, &table)?;
        rope::rotate(&mut k, kv_heads, &positions, &table)
    })?;
    row("v", 4 * kv, &mut || product(kv, &mut k))?;
    row("attention output", 4 * d, &mut || attention::forward(shape, &x, &k, &k, &mut normed))?;
    row("gate and up", 8 * ff, &mut || product(ff, &mut gate).and_then(|()| product(ff, &mut inner)))?;
    row("inner", 4 * ff, &mut || swiglu::forward(&gate, &up, &mut inner))
}

/// A number that any difference between two sums changes.
fn digest(sum: &GradSum) -> i64 {
    sum.values().iter().fold(0, |hash: i64, value| hash.wrapping_mul(31).wrapping_add(*value))
}

/// Two blocks of the wanted width in the middle of a model.
fn stage_spec(width: usize) -> Result<RunSpec, Box<dyn Error>> {
    let mut spec = RunSpec::preset("tiny")?;
    let (heads, ff) = match width {
        128 => (4, 512),
        512 => (8, 1376),
        768 => (12, 3072),
        _ => return Err("WIDTH is one of 128, 512, 768".into()),
    };
    spec.model.d_model = width as u32;
    (spec.model.heads, spec.model.kv_heads, spec.model.d_ff) = (heads, heads, ff);
    (spec.model.layers, spec.model.seq_len, spec.model.qk_norm) = (6, 256, false);
    spec.batch.sequences = 8;
    spec.stages = List::new(vec![4; 3]).map_err(|_| "three stages fit")?;
    Ok(spec)
}

/// Nanoseconds of CPU time of all threads of this process.
fn cpu_ticks() -> Result<u64, Box<dyn Error>> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(total)
}

/// Peak resident memory in KiB.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
