//! `tessera node`: take part in a network until told to stop.
//!
//! The first Ctrl-C (or SIGTERM) ends every role cleanly; a second one ends the process at once, which loses
//! nothing that was stored.

use crate::context::{Output, Place};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{io::Write as _, net::SocketAddr, path::PathBuf};
use tessera_model::RunSpec;
use tessera_node::{
    daemon::{Daemon, DaemonOptions},
    folder::KeepBlocks,
    seat::{self, SeatConfig, cheat::Cheat},
    validator::Choices,
};
use tokio::sync::{broadcast::error::RecvError, watch};

/// Memory for tapes unless told otherwise.
const DEFAULT_TAPE_MIB: u32 = (seat::DEFAULT_TAPE_BYTES >> 20) as u32;

#[derive(Debug, clap::Args)]
pub(crate) struct Node {
    #[command(flatten)]
    place: Place,
    /// UDP address to listen on; by default the one in DIR/node.json, else a free port on 127.0.0.1
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Keep the ledger with the other validators (DIR needs a validator's key and share)
    #[arg(long)]
    validate: bool,
    /// If the ledger in DIR is damaged or lacks votes, set it aside and fetch the state from the other validators
    ///
    /// The damaged folder is moved to DIR/ledger.damaged-N, never deleted; a sound ledger is left as it is. The notes
    /// of its last votes are kept, and the validator begins after them. This is never done without being asked for:
    /// where those notes are lost too, a validator could vote twice in a view. Of 3f + 1 validators no more than f
    /// may be repaired at a time (of 4, one): wait until it makes blocks again before the next.
    #[arg(long, requires = "validate")]
    repair: bool,
    /// In a new folder, download the state from the other validators instead of executing every block
    #[arg(long, requires = "validate")]
    sync: bool,
    /// Blocks to keep, or "all" for an archive; by default what DIR/node.json says, else 16384
    #[arg(long, value_name = "N|all", requires = "validate")]
    keep_blocks: Option<KeepBlocks>,
    /// Answer queries about the ledger over HTTP on this TCP address, for example 127.0.0.1:8080
    ///
    /// Off unless asked for. There is no encryption and no login: on an address that others reach, anyone may
    /// ask. Every answer is checked against the committee's key first. See GET /openapi.json.
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:8080")]
    http: Option<SocketAddr>,
    /// Train the run of this specification: ask for a seat, keep it, earn shares
    #[arg(long, value_name = "SPEC.toml")]
    run: Option<PathBuf>,
    /// The text that the run trains on, if its specification does not name an embedded one
    #[arg(long, value_name = "FILE", requires = "run")]
    corpus: Option<PathBuf>,
    /// Serve the run once it is trained
    #[arg(long, requires = "run")]
    serve: bool,
    /// Threads of arithmetic; the result does not depend on them
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Memory for what forward passes leave to their backward passes; the result does not depend on it
    ///
    /// A backward pass that finds nothing left runs forward again, which takes about a quarter more time in all.
    /// With 0 every one does. Weights, sums and kept inputs are not counted here.
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_TAPE_MIB, requires = "run")]
    tape_memory: u32,
    /// Memory for what auditors may ask for: tensors and receipts of the last steps
    ///
    /// A seat that no longer has what it signed for cannot defend its work. See docs/trust.md for how much is enough.
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "run")]
    audit_memory: u32,
    /// For demonstrations: cheat, and be caught (lazy, sign-flip). Costs the shares and gains nothing
    #[arg(long, value_name = "HOW", requires = "run", hide = true)]
    cheat: Option<Cheat>,
    /// Address at which other seats reach this one, if it differs from --listen
    #[arg(long, value_name = "IP:PORT")]
    endpoint: Option<SocketAddr>,
    /// Stop when standard input closes, for programs that supervise nodes
    #[arg(long)]
    while_stdin: bool,
}

/// Tell what happens: one JSON object per line on standard output, or a line of text on standard error.
#[derive(Clone, Copy)]
pub(crate) struct Events(pub(crate) bool);
impl Events {
    /// `object` has a field `event`; `text` says the same to people.
    pub(crate) fn tell(self, object: &Value, text: impl FnOnce() -> String) {
        if self.0 {
            // Whoever listened may have gone; that is no reason to leave the network.
            let _ = writeln!(std::io::stdout(), "{object}");
        } else {
            eprintln!("{}", text());
        }
    }
}

/// Turns true at the first request to stop; the second one ends the process.
pub(crate) fn stop_signal(while_stdin: bool) -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    if while_stdin {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            std::io::copy(&mut input, &mut std::io::sink()).ok();
            sender.send_replace(true);
        });
    }
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
            if sender.send_replace(true) {
                std::process::exit(130);
            }
            eprintln!("stopping; once more to stop at once");
        }
    });
    Ok(receiver)
}

pub(crate) async fn run(node: Node, output: Output) -> Result<()> {
    let events = Events(output.json);
    let mut stop = stop_signal(node.while_stdin)?;
    let seat = node.run.as_ref().map(|path| seat_config(path, &node)).transpose()?;
    let options = DaemonOptions {
        dir: node.place.dir,
        network: node.place.network,
        listen: node.listen,
        validate: node.validate,
        choices: Choices { repair: node.repair, sync: node.sync, keep_blocks: node.keep_blocks },
        http: node.http,
    };
    let daemon = Daemon::start(&options).await?;
    let (key, name) = (daemon.key.public(), daemon.network.genesis.name.to_string());
    let object = json!({
        "event": "started", "key": key, "address": daemon.address, "network": name,
        "network_id": daemon.network.id, "validate": node.validate, "process": std::process::id(),
        "http": daemon.http.as_ref().map(|http| http.address()),
    });
    events.tell(&object, || {
        let role = if node.validate { "validating" } else { "watching" };
        format!("{role} network {name} as {} on {}", key.short(), daemon.address)
    });
    if let Some(aside) = daemon.validator.as_ref().and_then(|validator| validator.set_aside.as_ref()) {
        let what = format!(
            "the damaged ledger is now in {}; fetching the state from the other validators",
            aside.display()
        );
        events.tell(&json!({ "event": "repairing", "set_aside": aside, "what": what }), || what.clone());
    }
    let mut seat_stop = stop.clone();
    let (failure, seat) = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => (None, Ok(())),
        failure = validating(&daemon, events) => (Some(failure), Ok(())),
        ended = training(&daemon, seat, events, &mut seat_stop) => (None, ended),
    };
    let at_stop = daemon.stop().await;
    seat?;
    match failure.or(at_stop) {
        None => {
            events.tell(&json!({ "event": "stopped" }), || "stopped".into());
            Ok(())
        }
        Some(reason) => bail!(
            "the validator ended: {reason}; see that its disk has room, then start it again on the same folder to continue"
        ),
    }
}

/// What the flags say about a seat; the key and the address are filled in once they are known.
struct SeatPlan {
    spec: RunSpec,
    corpus: Option<String>,
    serve: bool,
    threads: usize,
    tape_bytes: usize,
    retention_bytes: usize,
    cheat: Option<Cheat>,
    endpoint: Option<SocketAddr>,
}

fn seat_config(path: &PathBuf, node: &Node) -> Result<SeatPlan> {
    let corpus = match &node.corpus {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the corpus {} as UTF-8 text", path.display()))?,
        ),
        None => None,
    };
    let spec = crate::run::read_spec(path)?;
    Ok(SeatPlan {
        spec,
        corpus,
        serve: node.serve,
        threads: node.threads,
        tape_bytes: bytes(node.tape_memory),
        retention_bytes: bytes(node.audit_memory),
        cheat: node.cheat,
        endpoint: node.endpoint,
    })
}

/// `mib` MiB in bytes, or all there can be.
fn bytes(mib: u32) -> usize {
    usize::try_from(u64::from(mib) << 20).unwrap_or(usize::MAX)
}

/// Train and serve; never returns where no run was given.
async fn training(
    daemon: &Daemon,
    plan: Option<SeatPlan>,
    events: Events,
    stop: &mut watch::Receiver<bool>,
) -> Result<()> {
    let Some(plan) = plan else { return std::future::pending().await };
    let config = SeatConfig {
        key: daemon.key.clone(),
        spec: plan.spec,
        corpus: plan.corpus,
        endpoint: plan.endpoint.unwrap_or(daemon.address),
        threads: plan.threads,
        tape_bytes: plan.tape_bytes,
        retention_bytes: plan.retention_bytes,
        serve: plan.serve,
        cheat: plan.cheat,
    };
    let (sink, mut queue) = seat::event::Events::new(4096);
    let teller = tokio::spawn(async move {
        while let Some(event) = queue.recv().await {
            match serde_json::to_value(&event) {
                Ok(object) => events.tell(&object, || event.sentence()),
                Err(error) => tracing::warn!(%error, "an event could not be written"),
            }
        }
    });
    let light = daemon.network.light_client()?;
    let (switchboard, ledger) = (daemon.switchboard.clone(), daemon.ledger.clone());
    let ended = seat::run(switchboard, ledger, light, &daemon.folder, config, sink, stop.clone()).await;
    teller.await.ok();
    Ok(ended?)
}

/// Tell every final block; returns if the validator ends by itself, and never where there is none.
async fn validating(daemon: &Daemon, events: Events) -> String {
    let Some(validator) = &daemon.validator else { return std::future::pending().await };
    let mut feed = validator.answerer().validator().subscribe();
    let ended = validator.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            reason = &mut ended => return reason.unwrap_or_else(|| "it was stopped".into()),
            news = feed.recv() => match news {
                Ok(block) => {
                    let (height, txs) = (block.header.height, block.txs.len());
                    let object = json!({
                        "event": "block", "height": height, "txs": txs, "time_ms": block.header.time_ms,
                        "state_root": block.header.state_root,
                    });
                    // People want to see blocks that do something.
                    if events.0 || txs > 0 {
                        events.tell(&object, || format!("block {height}: {txs} transactions"));
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return "its feed ended".into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        node: Node,
    }

    /// What `tessera node --run SPEC FLAGS` plans for its seat.
    fn plan(flags: &[&str]) -> SeatPlan {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, RunSpec::preset("tiny").unwrap().to_toml()).unwrap();
        let run = path.display().to_string();
        let args = ["node", "--dir", "somewhere", "--run", &run].into_iter().chain(flags.iter().copied());
        let node = Command::parse_from(args).node;
        seat_config(&path, &node).unwrap()
    }

    #[test]
    fn tape_memory_is_told_in_mib_and_may_be_nothing() {
        assert_eq!(plan(&[]).tape_bytes, seat::DEFAULT_TAPE_BYTES);
        assert_eq!(plan(&["--tape-memory", "0"]).tape_bytes, 0);
        assert_eq!(plan(&["--tape-memory", "3"]).tape_bytes, 3 * 1024 * 1024);
    }

    #[test]
    fn a_seat_is_honest_unless_it_is_told_to_cheat() {
        assert_eq!(plan(&[]).cheat, None);
        assert_eq!(plan(&["--cheat", "lazy"]).cheat, Some(Cheat::Lazy));
        assert_eq!(plan(&["--audit-memory", "3"]).retention_bytes, 3 * 1024 * 1024);
    }

    #[test]
    fn more_tape_memory_than_there_is_means_all() {
        let most = usize::try_from(u64::from(u32::MAX) << 20).unwrap_or(usize::MAX);
        assert_eq!(plan(&["--tape-memory", &u32::MAX.to_string()]).tape_bytes, most);
    }
}
