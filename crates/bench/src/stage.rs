//! Measure forward and backward of one stage: tokens per second, share of the peak, memory, time by operation.
//!
//! GFLOP/s follow the analytic count of the model (`tessera_model::flops`): forward once, backward twice that.
//! What a pass computes again is not counted, so recomputing shows as a lower rate. Peak memory is that of the
//! whole process, so it is meant for a process that measures one pass of one shape and nothing else.

use crate::{
    error::BenchError,
    flags::{StageFlags, isa_name, unfit},
    gemm::{peak_row, shares},
    machine::Peak,
    measure::{interleave, memory, repeat},
    profile,
    report::{Report, Row},
    shape::Subject,
};
use tessera_arith::{with_isa, with_threads};
use tessera_model::{BackwardOut, GradSum, Sign, StageWeights, Workspace, flops};

/// How forward and backward of a microbatch share their work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Forward, keeping a tape; then backward from it: what a trainer does whose memory holds its units.
    Kept,
    /// Forward, then backward from the kept input, which runs forward again.
    Recomputed,
    /// Backward alone, with the forward pass inside it; the output is not handed out.
    Backward,
}

impl Pass {
    const NAMES: [(&'static str, Pass); 3] =
        [("kept", Pass::Kept), ("recomputed", Pass::Recomputed), ("backward", Pass::Backward)];

    pub(crate) fn parse(text: &str) -> Result<Pass, BenchError> {
        match Pass::NAMES.into_iter().find(|(name, _)| *name == text) {
            Some((_, pass)) => Ok(pass),
            None => {
                let names = Pass::NAMES.map(|(name, _)| name).join(", ");
                unfit(format!("one of {names}"), "kept is what a trainer does")
            }
        }
    }
    pub(crate) fn name(self) -> &'static str {
        // Every pass is in the list.
        Pass::NAMES.into_iter().find(|(_, pass)| *pass == self).map_or("", |(name, _)| name)
    }
    /// How often the pass runs forward.
    pub(crate) fn forwards(self) -> f64 {
        match self {
            Pass::Recomputed => 2.0,
            Pass::Kept | Pass::Backward => 1.0,
        }
    }
    /// Computes one microbatch and adds its gradient to `sum`.
    pub(crate) fn run(
        self,
        subject: &Subject,
        workspace: &mut Workspace,
        sum: &mut GradSum,
    ) -> Result<BackwardOut, BenchError> {
        let (weights, input): (&StageWeights, _) = (&subject.weights, subject.input());
        if self == Pass::Kept {
            let (_, kept) = weights.forward_keep(input, workspace)?;
            return Ok(weights.backward_kept(kept, subject.target(), workspace, Some((sum, Sign::Add)))?);
        }
        if self == Pass::Recomputed {
            weights.forward(input, workspace)?;
        }
        Ok(weights.backward(input, subject.target(), workspace, Some((sum, Sign::Add)))?)
    }
}

pub(crate) fn run(flags: &StageFlags) -> Result<Report, BenchError> {
    let common = &flags.common;
    let mut report = Report::new("stage", common);
    let subject = Subject::new(&flags.size)?;
    let mut workspace = subject.workspace()?;
    let mut sum = GradSum::zero(&subject.weights);
    let before = memory().0;
    let settings = common.settings();
    let peaks: Vec<Peak> = settings.iter().map(|&(isa, threads)| Peak { isa, threads }).collect();
    let stage = format!("model::stage/{}/pass={}", flags.size.keys(), flags.pass.name());
    let mut labels: Vec<String> = settings
        .iter()
        .map(|(isa, threads)| format!("{stage}/isa={}/threads={threads}", isa_name(*isa)))
        .collect();
    labels.extend(peaks.iter().map(|peak| peak.name()));
    let timings = interleave(&labels, common.rounds, |case, calls| match settings.get(case) {
        Some(&(isa, threads)) => with_isa(isa, || {
            with_threads(threads, || {
                repeat(calls, || flags.pass.run(&subject, &mut workspace, &mut sum).map(|_| ()))
            })
        }),
        None => Ok(peaks[case - settings.len()].run(calls)),
    })?;
    // Before anything else allocates.
    let most = memory().1;
    let (of_stage, of_peaks) = timings.split_at(settings.len());
    let spec = subject.weights.spec();
    let operations = flops::stage_microbatch(spec, subject.weights.plan().stage) as f64 / 1e9;
    for ((&(isa, threads), timing), name) in settings.iter().zip(of_stage).zip(&labels) {
        let rate = Row::rate(name.clone(), "GFLOP/s", operations, timing);
        let gflops = (rate.median, rate.per_cpu_second);
        let rate = match peak_row(&peaks, of_peaks, isa, threads) {
            Some(peak) => shares(rate, &peak),
            None => rate,
        };
        let mut row = Row::rate(name.clone(), "tokens/s", subject.rows as f64, timing)
            .with("GFLOP/s", gflops.0)
            .with("GFLOP/CPU_s", gflops.1);
        row.figures.extend(rate.figures);
        if !flags.no_profile {
            let parts = with_isa(isa, || {
                with_threads(threads, || profile::replay(&subject, flags.pass, common.rounds))
            })?;
            report.rows.push(row);
            report.rows.extend(profile::rows(name, &parts, timing, subject.rows as f64));
        } else {
            report.rows.push(row);
        }
    }
    report.rows.extend(peaks.iter().zip(of_peaks).map(|(peak, timing)| peak.row(timing)));
    let parameters = 4.0 * subject.weights.plan().parameters() as f64;
    report.notes.push(format!(
        "memory: at most {:.1} MB in all, {:.1} MB when all weights, sums and inputs were in place; the weights are {:.1} MB",
        most as f64 / 1e6,
        before as f64 / 1e6,
        parameters / 1e6
    ));
    for row in &mut report.rows {
        if labels[..settings.len()].contains(&row.name) {
            row.figures.insert("peak_memory_MB".into(), most as f64 / 1e6);
        }
    }
    if !flags.no_profile {
        report.notes.push(
            "operation rows are replayed: the same operations at the same shapes and counts, timed one by one; \
             `other` is what the whole stage takes beyond them"
                .into(),
        );
    }
    Ok(report)
}
