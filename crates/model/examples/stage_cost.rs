//! Measure what one microbatch of a stage costs: CPU seconds, tape and peak memory.
//!
//! `cargo run --release -p tessera-model --example stage_cost -- [WIDTH] [RUNS] [THREADS] [again]` takes the middle
//! stage of a model of that width (two blocks, 8 sequences of 256 tokens) and prints the median CPU time of forward
//! and backward; with `again`, backward starts from the input alone. Linux only: CPU time and peak memory come from
//! `/proc`.

use std::error::Error;
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
    Ok(())
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
