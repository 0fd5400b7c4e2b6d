//! Take the flags of `bench ledger`, and refuse impossible ones with what was expected.

use crate::{error::LedgerBenchError, member, state};
use std::path::PathBuf;

/// Flags of `bench ledger`.
#[derive(Clone, Debug, clap::Args)]
pub struct LedgerBench {
    /// What to measure
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "limits,load,finality,state"
    )]
    pub only: Vec<Part>,
    /// Validator processes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub validators: u8,
    /// Signed transactions a second that are offered to all validators together
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1000")]
    pub rate: Vec<u32>,
    /// How long they are offered, seconds
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=3600))]
    pub seconds: u32,
    /// Accounts that send them in turn
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub senders: u16,
    /// Delay between hosts one way, milliseconds, of each measurement of finality; 0 is the loopback
    #[arg(long, value_name = "MS,...", value_delimiter = ',', default_value = "0,20,40")]
    pub one_way_ms: Vec<u32>,
    /// Rate of each host's link up and down, Mbit/s, where there is a delay
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub mbit: u32,
    /// Transactions whose time to finality is taken, for each delay
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: u32,
    /// Accounts of the large state, and as many notes
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub accounts: u64,
    /// Blocks that are timed on the large state
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub blocks: u64,
    /// Least time from one block to the next while transactions wait, milliseconds
    #[arg(long, value_name = "MS", default_value_t = tessera_validator::Timing::STANDARD.interval_ms)]
    pub interval_ms: u64,
    /// The same while none waits
    #[arg(long, value_name = "MS", default_value_t = tessera_validator::Timing::STANDARD.idle_ms)]
    pub idle_ms: u64,
    /// Where the processes store (some gigabytes for the large state); removed at the end
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Keep the results, for later runs to be compared with
    #[arg(long)]
    pub store: bool,
    /// Folder of stored results
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Source revision to note beside the results
    #[arg(long, value_name = "TEXT", env = "TESSERA_REVISION", hide_env = true)]
    pub revision: Option<String>,
    /// Be one of the other processes; its work comes over standard input
    #[arg(long, hide = true)]
    pub role: Option<Role>,
}

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What this machine could do at most
    Limits,
    /// Transactions a second
    Load,
    /// Time to finality
    Finality,
    /// A large state and a light client
    State,
}

/// What a process that this one started does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Be a validator
    Validator,
    /// Make a large state
    Grow,
    /// Time blocks on it
    Time,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Grow => "grow",
            Self::Time => "time",
        }
    }
    pub(crate) fn play(self) -> Result<(), LedgerBenchError> {
        match self {
            Self::Validator => member::play(),
            Self::Grow => state::grow(),
            Self::Time => state::time(),
        }
    }
}
