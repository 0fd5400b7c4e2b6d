//! Know the machine: its name for stored results, and the two limits that everything else is a share of.
//!
//! The peak counts two operations per fused multiply-add, from registers only (`arith::peak`). The read rate
//! is that of a buffer much larger than the last cache, each thread reading its own part.

use crate::{
    data,
    error::BenchError,
    flags::{MachineFlags, isa_name},
    measure::{Sample, Timing, interleave, time},
    report::{Report, Row},
};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use tessera_arith::{Isa, peak};

/// Bytes of the buffer that is read: several times a large last cache.
const BUFFER: usize = 256 << 20;
/// Multiply-add rounds per call: some milliseconds with any instruction set but the software one.
const STEPS: u64 = 400_000;

/// What identifies a machine among stored results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Threads that may run at once.
    pub cores: usize,
    /// The widest instruction set of the kernels.
    pub isa: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let cpu = named.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let isa = Isa::available().last().copied().map(isa_name).unwrap_or_default();
        Machine { cpu, cores, isa }
    }
    /// A name for files: letters, digits and `-`.
    pub fn fingerprint(&self) -> String {
        let text = format!("{}-{}-{}", self.cpu, self.cores, self.isa).to_lowercase();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }
}

/// How many programs wanted to run over the last minute; absent where the system does not say.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Calls `body` on `threads` threads at once, with the number of each.
pub(crate) fn on_threads(threads: usize, body: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let body = &body;
            scope.spawn(move || body(thread));
        }
        body(0);
    });
}

/// A multiply-add peak to measure beside other cases.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
}

impl Peak {
    pub(crate) fn name(self) -> String {
        format!("arith::peak::fma_chains/isa={}/threads={}", isa_name(self.isa), self.threads)
    }
    fn steps(self) -> u64 {
        if self.isa == Isa::Portable { STEPS / 100 } else { STEPS }
    }
    pub(crate) fn run(self, calls: u32) -> Sample {
        let steps = self.steps() * u64::from(calls);
        let work = || {
            on_threads(self.threads, |_| {
                black_box(peak::fma_chains(self.isa, steps));
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(sample) = time(work);
        sample
    }
    /// Operations of one call.
    pub(crate) fn operations(self) -> f64 {
        peak::fma_chains(self.isa, 1) as f64 * self.steps() as f64 * self.threads as f64
    }
    pub(crate) fn row(self, timing: &Timing) -> Row {
        Row::rate(self.name(), "GFLOP/s", self.operations() / 1e9, timing)
    }
}

/// The buffer whose reading is measured.
pub(crate) struct Memory(Vec<f32>);

impl Memory {
    pub(crate) fn new() -> Memory {
        // Written once, so that every page exists.
        Memory(data::numbers(5, BUFFER / 4, 1.0))
    }
    pub(crate) fn name(threads: usize) -> String {
        format!("arith::peak::read_stream/threads={threads}")
    }
    pub(crate) fn run(&self, threads: usize, calls: u32) -> Sample {
        let part = self.0.len().div_ceil(threads);
        let work = || {
            on_threads(threads, |thread| {
                let own = self.0.chunks(part).nth(thread).unwrap_or_default();
                for _ in 0..calls {
                    black_box(peak::read_stream(black_box(own)));
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(sample) = time(work);
        sample
    }
    pub(crate) fn row(threads: usize, timing: &Timing) -> Row {
        Row::rate(Memory::name(threads), "GB/s", BUFFER as f64 / 1e9, timing)
    }
}

/// The limits of this machine, with every instruction set it has unless some are named.
pub(crate) fn run(flags: &MachineFlags) -> Result<Report, BenchError> {
    let common = &flags.common;
    let mut report = Report::new("machine", common);
    let isas = if common.isa.is_empty() { Isa::available() } else { common.isa.clone() };
    let peaks: Vec<Peak> = isas
        .into_iter()
        .flat_map(|isa| common.threads.iter().map(move |&threads| Peak { isa, threads }))
        .collect();
    let memory = Memory::new();
    let mut labels: Vec<String> = peaks.iter().map(|peak| peak.name()).collect();
    labels.extend(common.threads.iter().map(|&threads| Memory::name(threads)));
    let timings = interleave(&labels, common.rounds, |case, calls| {
        Ok(match peaks.get(case) {
            Some(peak) => peak.run(calls),
            None => memory.run(common.threads[case - peaks.len()], calls),
        })
    })?;
    let (of_peaks, of_memory) = timings.split_at(peaks.len());
    report.rows.extend(peaks.iter().zip(of_peaks).map(|(peak, timing)| peak.row(timing)));
    report
        .rows
        .extend(common.threads.iter().zip(of_memory).map(|(&threads, timing)| Memory::row(threads, timing)));
    report.notes.push("GFLOP/s: two operations per fused multiply-add; GB/s: 10^9 bytes read".into());
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_file_names_and_tell_machines_apart() {
        let machine = Machine { cpu: "AMD EPYC (TM) @ 2.6/GHz".into(), cores: 2, isa: "avx512".into() };
        assert_eq!(machine.fingerprint(), "amd-epyc-tm-2-6-ghz-2-avx512");
        assert_ne!(Machine { cores: 4, ..machine.clone() }.fingerprint(), machine.fingerprint());
        assert!(Machine::here().cores > 0);
    }

    #[test]
    fn every_thread_has_its_own_number() {
        let seen = std::sync::Mutex::new(Vec::new());
        on_threads(3, |thread| seen.lock().unwrap().push(thread));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
