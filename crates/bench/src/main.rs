//! Run the measurements without building the whole network: `cargo run --release -p tessera-bench -- gemm`.
//!
//! `tessera bench` offers the same. Exit codes: 0 done, 1 failed, 2 wrong usage.

use clap::Parser as _;
use std::{io::Write as _, process::ExitCode};

/// Measure speed and memory against this machine's limits and its last stored results
#[derive(Debug, clap::Parser)]
#[command(name = "tessera-bench", version, max_term_width = 100)]
struct Cli {
    /// Print one JSON object on standard output, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    bench: tessera_bench::Bench,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.bench.run() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            let text = if cli.json { report.json().to_string() } else { report.text() };
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
