//! `tessera bench`: speed and memory against this machine's limits and its last stored results.
//!
//! Everything is measured by `tessera-bench` and `tessera-bench-ledger`; this only prints.

use crate::context::Output;
use anyhow::Result;
use tessera_bench_ledger::LedgerBench;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Arithmetic(tessera_bench::Bench),
    /// Transactions a second, time to finality, the root of a large state, a light client's work
    Ledger(LedgerBench),
}

pub(crate) fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::Arithmetic(bench) => {
            if let Some(report) = bench.run()? {
                output.result(&report.json(), || report.text());
            }
        }
        Command::Ledger(bench) => {
            // It has runtimes of its own, which do not start within one.
            let report = std::thread::scope(|scope| {
                scope.spawn(|| bench.run(&["bench", "ledger"])).join().expect("a panic was printed already")
            })?;
            if let Some(report) = report {
                output.result(&report.json(), || LedgerBench::text(&report));
            }
        }
    }
    Ok(())
}
