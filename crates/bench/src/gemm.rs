//! Measure matrix products, in turns with the multiply-add peak they are a share of.

use crate::{
    data,
    error::BenchError,
    flags::{GemmFlags, isa_name},
    machine::Peak,
    measure::{Sample, Timing, interleave, repeat},
    report::{Report, Row},
};
use tessera_arith::{ArithError, Isa, Mat, MatMut, Store, gemm, with_isa, with_threads};

struct Case {
    /// Index of its operands.
    shape: usize,
    sizes: [usize; 3],
    layout: &'static str,
    isa: Isa,
    threads: usize,
}

impl Case {
    fn name(&self) -> String {
        let ([m, n, k], isa) = (self.sizes, isa_name(self.isa));
        format!("arith::gemm/m={m}/n={n}/k={k}/layout={}/isa={isa}/threads={}", self.layout, self.threads)
    }
    fn operations(&self) -> f64 {
        self.sizes.iter().map(|&size| size as f64).product::<f64>() * 2.0
    }
    fn run(&self, operands: &mut Operands, calls: u32) -> Result<Sample, ArithError> {
        let [m, n, k] = self.sizes;
        let a = if self.layout.starts_with('n') {
            Mat::new(&operands.a, m, k)?
        } else {
            Mat::new(&operands.a, k, m)?.t()
        };
        let b = if self.layout.ends_with('n') {
            Mat::new(&operands.b, k, n)?
        } else {
            Mat::new(&operands.b, n, k)?.t()
        };
        let c = &mut operands.c;
        with_isa(self.isa, || {
            with_threads(self.threads, || repeat(calls, || gemm(MatMut::new(c, m, n)?, a, b, Store::Set)))
        })
    }
}

struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

/// Rate of `timing` over that of the peak it runs into, in per cent, by the clock and per CPU second.
pub(crate) fn shares(row: Row, peak: &Row) -> Row {
    let (wall, cpu) = (row.median / peak.median, row.per_cpu_second / peak.per_cpu_second);
    row.with("peak_%", 100.0 * wall).with("peak_CPU_%", 100.0 * cpu)
}

/// The row of the peak that `isa` on `threads` threads has.
pub(crate) fn peak_row(peaks: &[Peak], timings: &[Timing], isa: Isa, threads: usize) -> Option<Row> {
    let at = peaks.iter().position(|peak| *peak == Peak { isa, threads })?;
    Some(peaks[at].row(&timings[at]))
}

pub(crate) fn run(flags: &GemmFlags) -> Result<Report, BenchError> {
    let common = &flags.common;
    let mut report = Report::new("gemm", common);
    let mut operands: Vec<Operands> = flags
        .shape
        .iter()
        .map(|&[m, n, k]| Operands {
            a: data::numbers(1, m * k, 1.0),
            b: data::numbers(2, k * n, 1.0),
            c: vec![0.0; m * n],
        })
        .collect();
    let mut cases = Vec::new();
    for (isa, threads) in common.settings() {
        for (shape, &sizes) in flags.shape.iter().enumerate() {
            cases.extend(flags.layout.iter().map(|&layout| Case { shape, sizes, layout, isa, threads }));
        }
    }
    let peaks: Vec<Peak> =
        common.settings().into_iter().map(|(isa, threads)| Peak { isa, threads }).collect();
    let mut labels: Vec<String> = cases.iter().map(Case::name).collect();
    labels.extend(peaks.iter().map(|peak| peak.name()));
    let timings = interleave(&labels, common.rounds, |index, calls| match cases.get(index) {
        Some(case) => Ok(case.run(&mut operands[case.shape], calls)?),
        None => Ok(peaks[index - cases.len()].run(calls)),
    })?;
    let (of_cases, of_peaks) = timings.split_at(cases.len());
    for (case, timing) in cases.iter().zip(of_cases) {
        let row = Row::rate(case.name(), "GFLOP/s", case.operations() / 1e9, timing);
        report.rows.push(match peak_row(&peaks, of_peaks, case.isa, case.threads) {
            Some(peak) => shares(row, &peak),
            None => row,
        });
    }
    report.rows.extend(peaks.iter().zip(of_peaks).map(|(peak, timing)| peak.row(timing)));
    report.notes.push(
        "layout: A then B, n as named, t transposed; peak: share of the multiply-add peak of the same threads".into(),
    );
    Ok(report)
}
