//! `tessera bench`: speed and memory against this machine's limits and its last stored results.
//!
//! Everything is measured by `tessera-bench`; this only prints.

use crate::context::Output;
use anyhow::Result;
use tessera_bench::Bench;

pub(crate) fn run(bench: Bench, output: Output) -> Result<()> {
    if let Some(report) = bench.run()? {
        output.result(&report.json(), || report.text());
    }
    Ok(())
}
