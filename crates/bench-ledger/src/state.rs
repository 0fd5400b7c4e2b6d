//! Measure a large state in processes of their own: one makes it, one opens it afresh and is measured.

use crate::{
    child::{Process, usage},
    error::LedgerBenchError,
    flags::{LedgerBench, Role},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tessera_validator::measure::{ProofSize, StateLoad, grow_state, time_blocks};

/// Notes that a measured block spends, and as many that it makes.
const RESHAPED: u64 = 64;

#[derive(Serialize, Deserialize)]
struct Work {
    folder: PathBuf,
    accounts: u64,
    blocks: u64,
    transfers: u64,
}

impl Work {
    fn load(self) -> StateLoad {
        let Self { folder, accounts, blocks, transfers } = self;
        StateLoad { folder, accounts, notes: accounts, blocks, transfers, reshaped: RESHAPED }
    }
}

/// Sizes in bytes of proofs of one cell each, and the time of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) bytes: usize,
    pub(crate) most: usize,
    pub(crate) header: usize,
    pub(crate) certificate: usize,
    pub(crate) cell: usize,
    pub(crate) path: usize,
    pub(crate) check_ms: f64,
}

/// Times in milliseconds, memory in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) open: f64,
    pub(crate) read: Vec<f64>,
    pub(crate) root: Vec<f64>,
    pub(crate) apply: Vec<f64>,
    pub(crate) durable: Vec<f64>,
    pub(crate) writes: u64,
    pub(crate) cpu: f64,
    pub(crate) resident: u64,
    pub(crate) peak: u64,
    pub(crate) present: Proof,
    pub(crate) absent: Proof,
}

fn work<T: DeserializeOwned>() -> Result<T, LedgerBenchError> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(LedgerBenchError::io("read the work"))?;
    serde_json::from_str(&line).map_err(|cause| LedgerBenchError::io("understand the work")(cause.into()))
}

fn say<T: Serialize>(value: &T) -> Result<(), LedgerBenchError> {
    let text = serde_json::to_string(value)
        .map_err(|cause| LedgerBenchError::io("write the result")(cause.into()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(LedgerBenchError::io("say the result"))
}

/// Make the state, saying how far it is, at last `true`.
pub(crate) fn grow() -> Result<(), LedgerBenchError> {
    let load = work::<Work>()?.load();
    let all = load.accounts + load.notes;
    let mut said = Ok(());
    grow_state(&load, |cells| {
        if said.is_ok() {
            said = say(&(cells == all));
        }
    })?;
    said
}

/// Time blocks on the state.
pub(crate) fn time() -> Result<(), LedgerBenchError> {
    let load = work::<Work>()?.load();
    let before = usage("self").cpu;
    let times = time_blocks(&load)?;
    let own = usage("self");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let proof = |size: ProofSize| Proof {
        bytes: size.bytes,
        most: size.most,
        header: size.header,
        certificate: size.certificate,
        cell: size.cell,
        path: size.path,
        check_ms: ms(size.check),
    };
    let of = |part: fn(&tessera_validator::measure::BlockTime) -> Duration| {
        times.blocks.iter().map(|block| ms(part(block))).collect()
    };
    say(&Times {
        open: ms(times.open),
        read: of(|block| block.read),
        root: of(|block| block.root),
        apply: of(|block| block.apply),
        durable: of(|block| block.durable),
        writes: times.blocks.iter().map(|block| block.writes).sum(),
        cpu: own.cpu - before,
        resident: own.resident,
        peak: own.peak,
        present: proof(times.present),
        absent: proof(times.absent),
    })
}

/// Make the state of `bench` in `scratch`; returns seconds on the clock and on processors.
pub(crate) fn make(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
) -> Result<(f64, f64), LedgerBenchError> {
    let mut process = start(bench, again, scratch, Role::Grow, 0)?;
    let began = Instant::now();
    while process.line("progress")? == "false" {}
    let took = (began.elapsed().as_secs_f64(), process.usage().cpu);
    process.end();
    Ok(took)
}

/// Time blocks with `transfers` each on it.
pub(crate) fn measure(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
    transfers: u64,
) -> Result<Times, LedgerBenchError> {
    let mut process = start(bench, again, scratch, Role::Time, transfers)?;
    let line = process.line("times")?;
    let times = serde_json::from_str(&line).map_err(|_| process.unexpected("times", line.clone()))?;
    process.end();
    Ok(times)
}

fn start(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
    role: Role,
    transfers: u64,
) -> Result<Process, LedgerBenchError> {
    let work =
        Work { folder: scratch.join("state"), accounts: bench.accounts, blocks: bench.blocks, transfers };
    let text =
        serde_json::to_string(&work).map_err(|cause| LedgerBenchError::io("write the work")(cause.into()))?;
    Process::start(again, role, &text, &scratch.join(format!("{}.log", role.name())))
}
