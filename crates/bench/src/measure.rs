//! Take time and memory, and let cases take turns so that a busy moment of the machine meets all of them.

use crate::error::BenchError;
use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// A sample lasts at least this long; shorter work is repeated within it.
const LEAST: Duration = Duration::from_millis(40);
/// Most repetitions within a sample.
const MOST_CALLS: u32 = 100_000;

/// Seconds that something took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// On the clock.
    pub(crate) wall: f64,
    /// Of all threads of this process on a processor.
    pub(crate) cpu: f64,
}

impl std::ops::AddAssign for Sample {
    fn add_assign(&mut self, other: Sample) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

impl std::ops::Mul<f64> for Sample {
    type Output = Sample;
    fn mul(self, factor: f64) -> Sample {
        Sample { wall: self.wall * factor, cpu: self.cpu * factor }
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Runs `body` and says how long it took; the time of a body that failed is lost.
pub(crate) fn time<E>(body: impl FnOnce() -> Result<(), E>) -> Result<Sample, E> {
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    body()?;
    Ok(Sample { wall: wall.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu })
}

/// Runs `body` `calls` times and says how long that took.
pub(crate) fn repeat<E>(calls: u32, mut body: impl FnMut() -> Result<(), E>) -> Result<Sample, E> {
    time(|| (0..calls).try_for_each(|_| body()))
}

/// The samples of one case, one for each round, per call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timing(Vec<Sample>);

impl Timing {
    pub(crate) fn new(samples: Vec<Sample>) -> Timing {
        Timing(samples)
    }
    fn median_of(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.0.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => values[len / 2],
            len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
        }
    }
    /// Medians of wall and CPU seconds, each taken by itself.
    pub(crate) fn median(&self) -> Sample {
        Sample { wall: self.median_of(|sample| sample.wall), cpu: self.median_of(|sample| sample.cpu) }
    }
    /// The shortest wall time.
    pub(crate) fn best_wall(&self) -> f64 {
        self.0.iter().map(|sample| sample.wall).fold(f64::INFINITY, f64::min)
    }
}

/// Lets the cases named `labels` run in turns, `rounds` times each after a warm-up, beginning with another
/// one in every round. `run(case, calls)` makes `calls` calls of a case and returns the time of all of them.
pub(crate) fn interleave(
    labels: &[String],
    rounds: u32,
    mut run: impl FnMut(usize, u32) -> Result<Sample, BenchError>,
) -> Result<Vec<Timing>, BenchError> {
    let mut calls = Vec::new();
    for (case, label) in labels.iter().enumerate() {
        progress(&format!("warm-up    {label}"));
        // The first call pays for memory and caches; only the second says how long one takes.
        run(case, 1)?;
        let wall = run(case, 1)?.wall.max(1e-9);
        calls.push((LEAST.as_secs_f64() / wall).ceil().clamp(1.0, f64::from(MOST_CALLS)) as u32);
    }
    let mut timings = vec![Timing::default(); labels.len()];
    for round in 0..rounds {
        for turn in 0..labels.len() {
            let case = (turn + round as usize) % labels.len();
            progress(&format!("round {}/{rounds}  {}", round + 1, labels[case]));
            let sample = run(case, calls[case])?;
            timings[case].0.push(sample * (1.0 / f64::from(calls[case])));
        }
    }
    progress("");
    Ok(timings)
}

/// Shows what is being done, on one line of a terminal; silent where there is none.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).ok();
    }
}

/// Memory of this process in bytes: what it holds now, and the most it ever held. Zeros where the system does
/// not say (it is read from Linux's /proc).
pub(crate) fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_per_clock_and_the_best_is_the_shortest() {
        let sample = |wall, cpu| Sample { wall, cpu };
        let odd = Timing::new(vec![sample(3.0, 1.0), sample(1.0, 3.0), sample(2.0, 5.0)]);
        assert_eq!((odd.median(), odd.best_wall()), (sample(2.0, 3.0), 1.0));
        let even = Timing::new(vec![sample(1.0, 1.0), sample(2.0, 2.0)]);
        assert_eq!(even.median(), sample(1.5, 1.5));
    }

    #[test]
    fn cases_take_turns_and_each_round_begins_with_another() {
        let labels: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let mut order = Vec::new();
        let timings = interleave(&labels, 3, |case, calls| {
            order.push(case);
            Ok(Sample { wall: 1.0, cpu: 2.0 } * f64::from(calls))
        })
        .unwrap();
        assert_eq!(order, [0, 0, 1, 1, 2, 2, 0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert!(timings.iter().all(|timing| timing.0 == [Sample { wall: 1.0, cpu: 2.0 }; 3]));
    }

    /// Short work is repeated, and a sample is still that of one call.
    #[test]
    fn samples_are_per_call() {
        let mut most = 0;
        let timings = interleave(&["short".into()], 1, |_, calls| {
            most = most.max(calls);
            Ok(Sample { wall: 1e-3, cpu: 1e-3 } * f64::from(calls))
        })
        .unwrap();
        assert_eq!(most, 40);
        assert!((timings[0].median().wall - 1e-3).abs() < 1e-9);
    }

    #[test]
    fn memory_at_its_highest_is_not_below_what_is_held() {
        let (held, most) = memory();
        assert!(most >= held);
        assert!(cfg!(not(target_os = "linux")) || held > 0);
    }
}
