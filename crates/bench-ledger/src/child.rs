//! Start processes of this program, end exactly those, and read what the system says of them.
//!
//! A process ends when its standard input closes, so none outlives this one; one that does not is ended by its id.

use crate::{error::LedgerBenchError, flags::Role};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds that its threads ran.
    pub(crate) cpu: f64,
    /// Bytes in memory at the moment.
    pub(crate) resident: u64,
    /// The most there ever were.
    pub(crate) peak: u64,
}

/// Processor time and memory of the process `id`, or of this one (`self`); zeros where the system does not say.
pub(crate) fn usage(id: &str) -> Usage {
    let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let (stat, status) = (read("stat"), read("status"));
    // Fields 14 and 15 (proc(5)); the name before them, in parentheses, may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Usage {
        cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident: bytes("VmRSS:"),
        peak: bytes("VmHWM:"),
    }
}

/// A running process.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    what: String,
    log: PathBuf,
}

impl Process {
    /// Start `role` with its `work` on standard input. What it logs goes to `log`.
    pub(crate) fn start(
        again: &[&str],
        role: Role,
        work: &str,
        log: &Path,
    ) -> Result<Self, LedgerBenchError> {
        let program = std::env::current_exe().map_err(LedgerBenchError::io("find this program's file"))?;
        let errors = fs::File::create(log).map_err(LedgerBenchError::at("write", log))?;
        let mut child = Command::new(program)
            .args(again)
            .args(["--role", role.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(LedgerBenchError::io(format!("start a process ({})", role.name())))?;
        let what = format!("process {} ({})", child.id(), role.name());
        let output = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let mut process = Self { child, output, what, log: log.into() };
        let input = process.child.stdin.as_mut().expect("standard input is a pipe");
        let sent = writeln!(input, "{work}").and_then(|()| input.flush());
        match sent {
            Ok(()) => Ok(process),
            Err(cause) => Err(process.unexpected("that it reads its work", cause.to_string())),
        }
    }
    /// The next line that it prints.
    pub(crate) fn line(&mut self, expected: &'static str) -> Result<String, LedgerBenchError> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(self.unexpected(expected, "the end of its output".into())),
            Ok(_) => Ok(line.trim().into()),
            Err(cause) => Err(self.unexpected(expected, cause.to_string())),
        }
    }
    pub(crate) fn unexpected(&self, expected: &'static str, got: String) -> LedgerBenchError {
        LedgerBenchError::Child { what: self.what.clone(), expected, got, log: self.log.clone() }
    }
    pub(crate) fn usage(&self) -> Usage {
        usage(&self.child.id().to_string())
    }
    /// Ask it to end and wait until it has.
    pub(crate) fn end(mut self) {
        self.finish();
    }
    fn finish(&mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // By its id; an error means that it has just ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = usage("self");
        assert!(own.peak >= own.resident);
        assert!(cfg!(not(target_os = "linux")) || own.resident > 0);
        assert_eq!(usage("no process").resident, 0);
    }
}
