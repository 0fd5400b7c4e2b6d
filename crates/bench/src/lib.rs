//! Measure the arithmetic and whole stages, as shares of what this machine can do and against its past.
//!
//! A speed alone says little: every figure here stands beside the limit it runs into, the multiply-add peak or
//! the memory's read rate, measured in the same run, and beside the last stored result of the same machine.
//! Cases take turns, so that a busy moment of the machine meets all of them; time is taken on the wall and in
//! CPU seconds, which other programs disturb less.
//!
//! - [`Bench::Machine`]: the limits themselves. - [`Bench::Gemm`]: matrix products by shape and layout.
//! - [`Bench::Stage`]: forward and backward of a stage, with its memory and where the time goes.
//! - [`Bench::Decode`]: one sequence, token by token, from the cache. - [`Bench::Muon`]: the optimizer's step.
//!
//! `bench/README.md` says how to read, run and store results. The flags are `clap` arguments, so that the
//! `tessera` command and this crate's own small program offer the same.
//!
//! ```
//! use clap::Parser as _;
//! #[derive(clap::Parser)]
//! struct Command {
//!     #[command(subcommand)]
//!     bench: tessera_bench::Bench,
//! }
//! let command = Command::parse_from(["bench", "gemm", "--shape", "64x48x32", "--threads", "1", "--rounds", "1"]);
//! let report = command.bench.run()?.expect("a measurement reports");
//! assert!(report.text().contains("arith::gemm/m=64/n=48/k=32/layout=nn"));
//! # Ok::<(), tessera_bench::BenchError>(())
//! ```
//!
//! Nothing here checks results (the tests of `arith` and `model` do) and nothing fails because it was slow.

mod data;
mod decode;
mod error;
mod flags;
mod gemm;
mod machine;
mod measure;
mod muon;
mod peer;
mod profile;
mod report;
mod shape;
mod stage;
mod store;

pub use error::BenchError;
pub use flags::{Bench, Common};
pub use machine::Machine;
pub use report::{Last, Report, Row};

impl Bench {
    /// Measures. Progress goes to standard error; results are stored if that was asked for.
    ///
    /// `None` when there is nothing to report: `stage --dump` and `stage --serve` work for another program.
    pub fn run(&self) -> Result<Option<Report>, BenchError> {
        let (common, mut report) = match self {
            Bench::Machine(flags) => (&flags.common, machine::run(flags)?),
            Bench::Gemm(flags) => (&flags.common, gemm::run(flags)?),
            Bench::Stage(flags) => match (&flags.dump, flags.serve) {
                (Some(folder), _) => return peer::dump(flags, folder).map(|()| None),
                (None, true) => return peer::serve(flags).map(|()| None),
                (None, false) => (&flags.common, stage::run(flags)?),
            },
            Bench::Decode(flags) => (&flags.common, decode::run(flags)?),
            Bench::Muon(flags) => (&flags.common, muon::run(flags)?),
        };
        report.settle(&common.results, common.store)?;
        Ok(Some(report))
    }
}
