//! Measure cached decoding of one sequence, token by token, against the memory's read rate.
//!
//! All stages of the preset are held in one process and called one after another. A token must read every
//! weight once (of the embedding one row), and the keys and values of its context: decoding can be no faster
//! than that reading. Each call makes the token after `context` positions and then forgets it.
//!
//! Two limits are measured beside it: the read rate of one large buffer, and that of the weights where they lie. On
//! a virtual machine these differ, because memory is mapped by the host in pieces of different sizes.

use crate::{
    data,
    error::BenchError,
    flags::{DecodeFlags, isa_name, refuse},
    machine::{Memory, on_threads},
    measure::{Sample, interleave, memory, progress, repeat, time},
    report::{Report, Row},
};
use std::hint::black_box;
use tessera_arith::{Isa, peak, with_isa, with_threads};
use tessera_model::{KvCache, ModelError, Role, RunSpec, StageInput, StageWeights, Workspace};

struct Case {
    /// Index of its caches.
    at: usize,
    context: usize,
    isa: Isa,
    threads: usize,
}

/// Computes the positions of `tokens` through all stages.
fn advance(
    stages: &[StageWeights],
    caches: &mut [KvCache],
    workspace: &mut Workspace,
    tokens: &[u32],
) -> Result<(), ModelError> {
    let mut hidden: Option<Vec<f32>> = None;
    for (stage, cache) in stages.iter().zip(caches) {
        let input = hidden.as_deref().map_or(StageInput::Tokens(tokens), StageInput::Hidden);
        hidden = Some(stage.decode(input, cache, workspace)?);
    }
    Ok(())
}

/// Bytes of weights that one token needs.
fn weight_bytes(stages: &[StageWeights]) -> usize {
    let tensors = stages.iter().flat_map(|stage| &stage.plan().tensors);
    tensors.map(|tensor| 4 * if tensor.role == Role::Embedding { tensor.cols } else { tensor.len() }).sum()
}

/// Reads every weight but the embedding `calls` times, each tensor by all threads together, as decoding does.
fn read_weights(stages: &[StageWeights], threads: usize, calls: u32) -> Sample {
    let tensors = || {
        let of = |stage: &'_ StageWeights| -> Vec<(bool, usize)> {
            stage.plan().tensors.iter().enumerate().map(|(at, t)| (t.role == Role::Embedding, at)).collect()
        };
        stages
            .iter()
            .flat_map(move |stage| of(stage).into_iter().map(move |(skip, at)| (skip, &stage.tensors()[at])))
    };
    let work = || {
        on_threads(threads, |thread| {
            for _ in 0..calls {
                for (_, tensor) in tensors().filter(|(embedding, _)| !embedding) {
                    let own = tensor.chunks(tensor.len().div_ceil(threads)).nth(thread).unwrap_or_default();
                    black_box(peak::read_stream(black_box(own)));
                }
            }
        });
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(sample) = time(work);
    sample
}

fn weights_name(threads: usize) -> String {
    format!("arith::peak::read_stream/over=weights/threads={threads}")
}

pub(crate) fn run(flags: &DecodeFlags) -> Result<Report, BenchError> {
    let common = &flags.common;
    let spec = RunSpec::preset(flags.preset)?;
    let limit = spec.model.seq_len as usize;
    for &context in &flags.context {
        if context == 0 || context >= limit {
            let expected = format!("numbers from 1 to {}", limit - 1);
            return refuse("context", expected, &context.to_string(), "the preset's sequences are no longer");
        }
    }
    let mut report = Report::new("decode", common);
    let mut stages = Vec::new();
    for stage in 0..spec.stage_count() {
        progress(&format!("initial weights of stage {stage} of {}", spec.stage_count()));
        stages.push(StageWeights::init(&spec, stage)?);
    }
    let mut workspace = Workspace::new(&spec)?;
    let prompt = data::tokens(1, limit, spec.model.vocab);
    let mut caches: Vec<Vec<KvCache>> = Vec::new();
    for &context in &flags.context {
        progress(&format!("prompt of {context} tokens"));
        let mut own: Vec<KvCache> = stages.iter().map(StageWeights::new_cache).collect();
        // A microbatch at a time would do as well; a prompt is one call.
        with_threads(report.machine.cores, || {
            advance(&stages, &mut own, &mut workspace, &prompt[..context])
        })?;
        caches.push(own);
    }
    let mut cases = Vec::new();
    for (isa, threads) in common.settings() {
        cases.extend(flags.context.iter().enumerate().map(|(at, &context)| Case {
            at,
            context,
            isa,
            threads,
        }));
    }
    let buffer = Memory::new();
    let name = |case: &Case| {
        let (isa, threads) = (isa_name(case.isa), case.threads);
        format!("model::decode/preset={}/context={}/isa={isa}/threads={threads}", flags.preset, case.context)
    };
    let mut labels: Vec<String> = cases.iter().map(name).collect();
    labels.extend(common.threads.iter().map(|&threads| Memory::name(threads)));
    labels.extend(common.threads.iter().map(|&threads| weights_name(threads)));
    let timings = interleave(&labels, common.rounds, |index, calls| {
        let Some(case) = cases.get(index) else {
            let limit = index - cases.len();
            let threads = common.threads[limit % common.threads.len()];
            return Ok(match limit < common.threads.len() {
                true => buffer.run(threads, calls),
                false => read_weights(&stages, threads, calls),
            });
        };
        let (own, token) = (&mut caches[case.at], [prompt[case.context]]);
        with_isa(case.isa, || {
            with_threads(case.threads, || {
                repeat(calls, || {
                    advance(&stages, own, &mut workspace, &token)?;
                    own.iter_mut().for_each(|cache| cache.truncate(case.context, &spec));
                    Ok(())
                })
            })
        })
    })?;
    let (of_cases, of_memory) = timings.split_at(cases.len());
    let mut limits: Vec<Row> =
        common.threads.iter().zip(of_memory).map(|(&threads, timing)| Memory::row(threads, timing)).collect();
    let weights = weight_bytes(&stages) as f64;
    let over_weights = common.threads.iter().zip(&of_memory[common.threads.len()..]);
    limits.extend(
        over_weights
            .map(|(&threads, timing)| Row::rate(weights_name(threads), "GB/s", weights / 1e9, timing)),
    );
    for (case, timing) in cases.iter().zip(of_cases) {
        let cached = 8.0 * ((case.context + 1) * spec.model.kv_width()) as f64 * f64::from(spec.model.layers);
        let mut row = Row::rate(name(case), "tokens/s", 1.0, timing);
        let rate = (weights + cached) * row.median / 1e9;
        row = row.with("GB/s", rate);
        let limit = common.threads.iter().position(|&threads| threads == case.threads);
        if let Some(at) = limit {
            row = row
                .with("read_%", 100.0 * rate / limits[at].median)
                .with("of_weights_%", 100.0 * rate / limits[common.threads.len() + at].median);
        }
        report.rows.push(row);
    }
    report.rows.extend(limits);
    report.notes.push(format!(
        "a token reads {:.1} MB of weights, and 2 * kv_width * layers values for each position of its context",
        weights / 1e6
    ));
    report.notes.push(format!(
        "memory: at most {:.1} MB, of which the buffer for the read rate is 268.4 MB",
        memory().1 as f64 / 1e6
    ));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: tiny has 2 layers of width 32, 4 heads, 2 of keys, inner width 64, 320 tokens, and QK-norm.
    #[test]
    fn a_token_reads_every_weight_once_and_one_row_of_the_embedding() {
        let spec = RunSpec::preset("tiny").unwrap();
        let stages: Vec<StageWeights> =
            (0..spec.stage_count()).map(|stage| StageWeights::init(&spec, stage).unwrap()).collect();
        let layer = 32 + 2 * 32 * 32 + 2 * 16 * 32 + 2 * 8 + 32 + 3 * 32 * 64;
        assert_eq!(weight_bytes(&stages), 4 * (32 + 2 * layer + 32 + 320 * 32));
    }
}
