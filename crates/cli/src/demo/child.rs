//! Start the program's own public commands as separate processes, read what they print, and end them.
//!
//! A long-running child gets a pipe as standard input and `--while-stdin`: when this process ends, however it
//! ends, the pipe closes and the child stops. Nothing is left running.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

/// A line of a node.
#[derive(Debug)]
pub(crate) struct Line {
    /// The node's name.
    pub(crate) node: usize,
    /// Which start of it.
    pub(crate) life: u32,
    pub(crate) event: Value,
}

/// A running node.
pub(crate) struct Node {
    process: Child,
    _stdin: Option<ChildStdin>,
}

impl Node {
    /// Start `tessera ARGS --json --while-stdin`; its events go to `lines`, its log to the file `log`.
    pub(crate) fn start(
        args: &[String],
        log: PathBuf,
        node: usize,
        life: u32,
        lines: mpsc::Sender<Line>,
    ) -> Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let mut process = program()?
            .args(args)
            .args(["--json", "--while-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        let stdout = process.stdout.take().ok_or_else(|| anyhow!("the node has no standard output"))?;
        tokio::spawn(async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if lines.send(Line { node, life, event }).await.is_err() {
                    return;
                }
            }
            let gone = serde_json::json!({ "event": "exited" });
            lines.send(Line { node, life, event: gone }).await.ok();
        });
        let stdin = process.stdin.take();
        Ok(Self { process, _stdin: stdin })
    }
    /// The process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }
    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill a node")
    }
    /// Close its standard input and wait; kill it if it does not stop.
    pub(crate) async fn stop(mut self) {
        self._stdin = None;
        if tokio::time::timeout(Duration::from_secs(8), self.process.wait()).await.is_err() {
            self.process.kill().await.ok();
        }
    }
    /// Resident memory in bytes (Linux), now and at its peak.
    pub(crate) fn resident(&self) -> Option<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let kib = |name: &str| -> Option<u64> {
            status.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
        };
        Some((kib("VmRSS:")? * 1024, kib("VmHWM:")? * 1024))
    }
}

fn program() -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(Command::new(own))
}

/// What a command that ended gave.
pub(crate) struct Output {
    pub(crate) ok: bool,
    /// The object on standard output, or null.
    pub(crate) json: Value,
    /// Standard error.
    pub(crate) said: String,
}

/// Run `tessera ARGS` to its end.
pub(crate) async fn run(args: &[String]) -> Result<Output> {
    let output = program()?
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run `tessera {}`", args.join(" ")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Output {
        ok: output.status.success(),
        json: serde_json::from_str(text.trim()).unwrap_or(Value::Null),
        said: String::from_utf8_lossy(&output.stderr).trim().to_string(),
    })
}

/// Run `tessera ARGS --json` and take its object; an error of the command is an error here.
pub(crate) async fn ask(args: &[String]) -> Result<Value> {
    let mut all = args.to_vec();
    all.push("--json".into());
    let output = run(&all).await?;
    if !output.ok {
        bail!("`tessera {}` failed: {}", args.join(" "), output.said);
    }
    Ok(output.json)
}

/// `["a", "b"]` as owned strings.
pub(crate) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
