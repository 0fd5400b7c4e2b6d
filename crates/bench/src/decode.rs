//! Measure cached decoding of one sequence, token by token, against the memory's read rate.
//!
//! All stages of the preset are held in one process and called one after another. A token must read every
//! weight once (of the embedding one row), and the keys and values of its context: decoding can be no faster
//! than that reading. Each call makes the token after `context` positions and then forgets it.

use crate::{
    data,
    error::BenchError,
    flags::{DecodeFlags, isa_name, refuse},
    machine::Memory,
    measure::{interleave, memory, progress, repeat},
    report::{Report, Row},
};
use tessera_arith::{Isa, with_isa, with_threads};
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
    let timings = interleave(&labels, common.rounds, |index, calls| {
        let Some(case) = cases.get(index) else {
            return Ok(buffer.run(common.threads[index - cases.len()], calls));
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
    let limits: Vec<Row> =
        common.threads.iter().zip(of_memory).map(|(&threads, timing)| Memory::row(threads, timing)).collect();
    let weights = weight_bytes(&stages) as f64;
    for (case, timing) in cases.iter().zip(of_cases) {
        let cached = 8.0 * ((case.context + 1) * spec.model.kv_width()) as f64 * f64::from(spec.model.layers);
        let mut row = Row::rate(name(case), "tokens/s", 1.0, timing);
        let rate = (weights + cached) * row.median / 1e9;
        row = row.with("GB/s", rate);
        let limit = common.threads.iter().position(|&threads| threads == case.threads);
        if let Some(at) = limit {
            row = row.with("read_%", 100.0 * rate / limits[at].median);
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
