//! Run the ledger's measurements without the rest of the program: `cargo run --release -p tessera-bench-ledger -- ledger`.
//!
//! `tessera bench ledger` offers the same. Exit codes: 0 done, 1 failed, 2 wrong usage.

use clap::Parser as _;
use std::{io::Write as _, process::ExitCode};
use tessera_bench_ledger::LedgerBench;

/// Measure the ledger
#[derive(Debug, clap::Parser)]
#[command(name = "tessera-bench-ledger", version, max_term_width = 100)]
struct Cli {
    /// Print one JSON object on standard output, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Transactions a second, time to finality, the root of a large state, a light client's work
    Ledger(LedgerBench),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Ledger(bench) = cli.command;
    let filter = tracing_subscriber::EnvFilter::try_from_env("TESSERA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match bench.run(&["ledger"]) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            let text = if cli.json { report.json().to_string() } else { LedgerBench::text(&report) };
            // A reader that has seen enough (`| head -1`) is no failure.
            writeln!(std::io::stdout(), "{}", text.trim_end()).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
