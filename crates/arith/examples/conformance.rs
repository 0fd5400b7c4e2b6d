//! Run the conformance suite on every instruction set of this machine and several thread counts.
//!
//! Prints a table and the root; ends with 1 if any of it is not the committed one. `--rows` prints the row
//! digests and the root alone, as `conform.rs` commits them. It measures nothing but how long a run took.

use std::{process::ExitCode, time::Instant};
use tessera_arith::{Isa, conform, with_isa, with_threads};

const THREADS: [usize; 5] = [1, 2, 3, 5, 8];

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--rows") {
        let report = conform::run();
        for row in &report.rows {
            println!("    row(\"{}\", \"{}\"),", row.operation, hex(&row.digest));
        }
        println!("{}", hex(&report.root));
        return ExitCode::SUCCESS;
    }
    println!("expected {}", hex(&conform::ROOT));
    println!("{:<9} {:>7} {:>9}  result", "isa", "threads", "seconds");
    let (mut failed, mut runs) = (0, 0);
    for isa in Isa::available() {
        for threads in THREADS {
            let start = Instant::now();
            let report = with_isa(isa, || with_threads(threads, conform::run));
            let seconds = start.elapsed().as_secs_f64();
            let result = if report.conforms() { "conforms".to_owned() } else { hex(&report.root) };
            println!("{:<9} {threads:>7} {seconds:>9.2}  {result}", format!("{isa:?}"));
            if let Some(fault) = report.environment.fault() {
                println!("    floating-point mode: {fault}");
            }
            for mismatch in report.mismatches() {
                println!("    {}: expected {}", mismatch.operation, hex(&mismatch.expected));
                println!(
                    "    {:width$}  got      {}",
                    "",
                    hex(&mismatch.got),
                    width = mismatch.operation.len()
                );
            }
            failed += usize::from(!report.conforms());
            runs += 1;
        }
    }
    println!("{} of {runs} runs conform", runs - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
