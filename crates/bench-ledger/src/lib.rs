//! Measure the ledger: transactions a second, time to finality, the root of a large state, a light client's work.
//!
//! Validators are processes of their own with real sockets and disks, and so is the store of the large state:
//! this process starts them by its own program, ends them, and reads their processor time and memory from the
//! system. Every row stands beside its limit: signature checks of this machine, the delay of the links, the
//! aim. It is a crate of its own because it needs the consensus engine, which the other measurements do not.
//!
//! - `load`: signed transactions are offered at a steady rate to all validators; each must become final at all.
//! - `finality`: few transactions, so that only votes and links take time, at several delays between hosts.
//! - `state`: blocks on a state of a million accounts and notes; the root, the memory, the proof of one cell.
//!
//! `bench/README.md` says how to read the table. Nothing fails because it was slow; a lost transaction fails.

mod child;
mod error;
mod figures;
mod flags;
mod limits;
mod load;
mod member;
mod network;
mod relay;
mod rows;
mod state;
mod text;

pub use error::LedgerBenchError;
pub use flags::LedgerBench;

use tessera_bench::Report;

impl LedgerBench {
    /// Measure. `again` are the arguments that lead this program back here, before this command's own flags:
    /// the other processes are started with them. `None` in such a process.
    pub fn run(&self, again: &[&str]) -> Result<Option<Report>, LedgerBenchError> {
        match &self.role {
            Some(role) => role.play().map(|()| None),
            None => rows::report(self, again).map(Some),
        }
    }
    /// The results for people.
    pub fn text(report: &Report) -> String {
        text::text(report)
    }
}
