//! `tessera demo`: a whole swarm on this machine, from an empty folder to a paid completion.
//!
//! The demo is only a conductor. It starts the public commands of this same program as separate processes with
//! separate folders and keys, watches what they print, and tells what it saw. Nothing here trains, signs or
//! decides; whatever the demo does, a user can do by hand with the same commands.

mod cheat;
mod child;
mod progress;
mod scenario;
mod summary;
mod swarm;

use crate::{context::Output, node::stop_signal};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Demo {
    /// Seats in each stage
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    seats: u16,
    /// Run to train: tiny, nano, micro
    #[arg(long, default_value = "nano")]
    preset: String,
    /// Optimizer steps; by default those of the preset
    #[arg(long)]
    steps: Option<u32>,
    /// A short run: fewer and smaller steps, for continuous integration
    #[arg(long, conflicts_with = "steps")]
    small: bool,
    /// Without a trainer that cheats and is caught; so is every run with --small or with one seat a stage
    #[arg(long)]
    honest: bool,
    /// Kill one trainer in the middle of a step with SIGKILL and start it again
    #[arg(long)]
    kill: bool,
    /// Kill one validator, too, while the run trains, and start it again
    #[arg(long)]
    kill_validator: bool,
    /// Text to continue at the end
    #[arg(long, default_value = "Call me Ishmael.")]
    prompt: String,
    /// Folder for keys, ledgers and states; by default a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Demo {
    /// Whether one trainer cheats. Its auditor must have another seat of its stage, and a dispute takes longer than a
    /// short run.
    fn has_cheat(&self) -> bool {
        tessera_node::seat::cheat::AVAILABLE && !self.honest && !self.small && self.seats > 1
    }
}

pub(crate) async fn run(demo: Demo, output: Output) -> Result<()> {
    let mut stop = stop_signal(false)?;
    let (folder, temporary) = match &demo.dir {
        Some(dir) => (dir.clone(), false),
        None => (std::env::temp_dir().join(format!("tessera-demo-{}", std::process::id())), true),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let outcome = tokio::select! {
        outcome = scenario::play(&demo, &folder) => Some(outcome),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    // The children end when their standard input closes, which dropping the scenario did.
    let result = match outcome {
        None => {
            eprintln!("stopped; nothing is left running");
            Ok(())
        }
        Some(Ok(report)) => {
            output.result(&report.to_json(), || report.to_text());
            Ok(())
        }
        Some(Err(error)) => {
            eprintln!("the logs of all processes are in {}", folder.display());
            return Err(error);
        }
    };
    if temporary {
        // Processes that are just ending may still write.
        for _ in 0..20 {
            if std::fs::remove_dir_all(&folder).is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    result
}
