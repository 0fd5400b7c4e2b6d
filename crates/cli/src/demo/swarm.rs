//! Keep the nodes of the demo: start, watch, kill, stop.

use super::{
    child::{Line, Node},
    progress::Progress,
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// What the conductor knows of one node.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) key: String,
    args: Vec<String>,
    life: u32,
    process: Option<Node>,
    pub(crate) peak: u64,
    pub(crate) stage: Option<u64>,
    pub(crate) seat: Option<u64>,
    pub(crate) step: u64,
    pub(crate) working: bool,
    pub(crate) hosting: bool,
    pub(crate) height: u64,
    pub(crate) working_since: Option<Instant>,
    /// The last `trust` event's figures.
    pub(crate) trust: Value,
    /// It was told to cheat, so it may be thrown out.
    pub(crate) cheats: bool,
}

/// All nodes.
pub(crate) struct Swarm {
    pub(crate) members: Vec<Member>,
    sender: mpsc::Sender<Line>,
    lines: mpsc::Receiver<Line>,
    folder: PathBuf,
    /// Held-out losses in nats: (step, loss).
    pub(crate) losses: Vec<(u64, f64)>,
    /// When a step was first closed by stage 0, seconds of the demo.
    pub(crate) closed: Vec<(u64, Instant)>,
    pub(crate) replayed: u64,
    pub(crate) refusals: Vec<Value>,
    pub(crate) fetched: u64,
    /// The first audit that found something, and by whom.
    pub(crate) caught: Option<Value>,
    /// The newest rollback, and the most steps that any trainer did again, of all rollbacks together.
    generation: u64,
    pub(crate) steps_again: u64,
}

impl Swarm {
    pub(crate) fn new(folder: &Path) -> Self {
        let (sender, lines) = mpsc::channel(4096);
        Self {
            members: Vec::new(),
            sender,
            lines,
            folder: folder.to_path_buf(),
            losses: Vec::new(),
            closed: Vec::new(),
            replayed: 0,
            refusals: Vec::new(),
            fetched: 0,
            caught: None,
            generation: 0,
            steps_again: 0,
        }
    }
    /// Add a node and start it.
    pub(crate) fn add(&mut self, name: String, key: String, args: Vec<String>) -> Result<usize> {
        self.members.push(Member {
            name,
            key,
            args,
            life: 0,
            process: None,
            peak: 0,
            stage: None,
            seat: None,
            step: 0,
            working: false,
            hosting: false,
            height: 0,
            working_since: None,
            trust: Value::Null,
            cheats: false,
        });
        let index = self.members.len() - 1;
        self.start(index)?;
        Ok(index)
    }
    /// Start a node that is not running.
    pub(crate) fn start(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        member.life += 1;
        member.working = false;
        member.hosting = false;
        let log = self.folder.join(format!("{}.log", member.name));
        member.process = Some(Node::start(&member.args, log, index, member.life, self.sender.clone())?);
        Ok(())
    }
    /// SIGKILL.
    pub(crate) async fn kill(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        if let Some(mut process) = member.process.take() {
            process.kill().await?;
        }
        member.working = false;
        member.hosting = false;
        Ok(())
    }
    pub(crate) async fn stop_all(&mut self) {
        let ending: Vec<_> =
            self.members.iter_mut().filter_map(|member| member.process.take()).map(Node::stop).collect();
        let tasks: Vec<_> = ending.into_iter().map(tokio::spawn).collect();
        for task in tasks {
            task.await.ok();
        }
    }
    /// Take events for at most `time`, until `done`; false if time ran out.
    pub(crate) async fn watch(
        &mut self,
        progress: &Progress,
        time: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool> {
        let end = tokio::time::Instant::now() + time;
        while !done(self) {
            let next = tokio::time::timeout_at(end, self.lines.recv()).await;
            let Ok(Some(line)) = next else { return Ok(false) };
            self.take(line, progress)?;
        }
        Ok(true)
    }
    fn take(&mut self, line: Line, progress: &Progress) -> Result<()> {
        let member = &mut self.members[line.node];
        if line.life != member.life {
            return Ok(());
        }
        let event = line.event;
        let number = |name: &str| event[name].as_u64();
        match event["event"].as_str().unwrap_or_default() {
            "exited" if member.cheats => {
                member.working = false;
                progress.tell(format!("{} is out", member.name));
            }
            "exited" if member.process.is_some() => {
                let log = self.folder.join(format!("{}.log", member.name));
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
                bail!("{} ended unexpectedly: {last}", member.name);
            }
            "block" => {
                member.height = number("height").unwrap_or(0);
                if member.height.is_multiple_of(8) {
                    member.note_memory();
                }
            }
            "seated" => {
                (member.stage, member.seat) = (number("stage"), number("seat"));
                progress.tell(format!(
                    "{} has seat {} of stage {}",
                    member.name,
                    show(member.seat),
                    show(member.stage)
                ));
            }
            "working" => {
                member.step = number("step").unwrap_or(0);
                member.working = true;
                member.working_since = Some(Instant::now());
            }
            "closed" => {
                let step = number("step").unwrap_or(0);
                member.step = step + 1;
                member.note_memory();
                if let Some(loss) = number("held_out_loss") {
                    // A step that is done again counts as it was done last.
                    self.losses.retain(|(at, _)| *at < step);
                    self.losses.push((step, loss as f64 / 1e6));
                }
                if member.stage == Some(0) && self.closed.iter().all(|(at, _)| *at != step) {
                    self.closed.push((step, Instant::now()));
                }
            }
            "replayed" => self.replayed += 1,
            "fetched" => {
                self.fetched += 1;
                progress.tell(format!(
                    "{} downloaded the state of step {}",
                    member.name,
                    show(number("progress"))
                ));
            }
            "lost" => progress.tell(format!(
                "{} lost its peer {}; {} units go elsewhere",
                member.name,
                event["peer"].as_str().unwrap_or_default().get(..8).unwrap_or_default(),
                show(number("units"))
            )),
            "hosting" => {
                member.hosting = true;
                member.note_memory();
            }
            "refused" => self.refusals.push(event.clone()),
            "halted" if member.cheats => {
                let why = event["why"].as_str().unwrap_or_default();
                progress.tell(format!("{} stopped: {why}", member.name));
            }
            "cheats" => {
                member.cheats = true;
                progress.tell(format!(
                    "{} cheats: {}",
                    member.name,
                    event["how"].as_str().unwrap_or_default()
                ));
            }
            "trust" => member.trust = event["figures"].clone(),
            "audited" | "accused" | "disputed" | "said" | "rolled_back" | "fault" => {
                let (node, event) = (line.node, event.clone());
                self.tell_trust(node, &event, progress);
            }
            "halted" => bail!("{} stopped: {}", member.name, event["why"].as_str().unwrap_or_default()),
            "trouble" | "damaged" => {
                progress.tell(format!("{}: {}", member.name, event["what"].as_str().unwrap_or_default()));
            }
            _ => {}
        }
        Ok(())
    }
    /// Something of an audit, a dispute or a rollback.
    fn tell_trust(&mut self, node: usize, event: &Value, progress: &Progress) {
        let name = self.members[node].name.clone();
        let (step, unit) = (&event["step"], &event["unit"]);
        let whom = |field: &str| self.name_of(event[field].as_str().unwrap_or_default());
        match event["event"].as_str().unwrap_or_default() {
            "audited" => {
                let (computed, claimed) = (&event["computed"], &event["claimed"]);
                let differs = ["x", "dy", "y", "dx", "dw"].into_iter().find(|d| computed[*d] != claimed[*d]);
                let (Some(what), false) = (differs, event["verdict"] == "match") else { return };
                let caught = json!({
                    "auditor": name, "worker": whom("worker"), "step": step, "unit": unit, "verdict": event["verdict"],
                    "what": what, "computed": computed[what], "claimed": claimed[what],
                });
                let digest =
                    |side: &Value| side[what].as_str().unwrap_or("none").chars().take(8).collect::<String>();
                progress.tell(format!(
                    "{name} audited unit {unit} of step {step} of {}: {what} is {}, it claimed {}",
                    whom("worker"),
                    digest(computed),
                    digest(claimed)
                ));
                self.caught.get_or_insert(caught);
            }
            "accused" => progress.tell(format!(
                "{name} accuses {} on the ledger of unit {unit} of step {step}",
                whom("account")
            )),
            "disputed" => progress.tell(format!("{name} must defend unit {unit} of step {step}")),
            "said" => progress.tell(format!(
                "dispute: {name} {} in block {}",
                event["act"].as_str().unwrap_or_default(),
                event["height"]
            )),
            "fault" => progress.tell(format!(
                "{name}: {} {}",
                whom("account"),
                event["what"].as_str().unwrap_or_default()
            )),
            "rolled_back" => {
                let generation = event["generation"].as_u64().unwrap_or(0);
                if generation > self.generation {
                    self.generation = generation;
                    let again = event["lost"].as_u64().unwrap_or(0);
                    self.steps_again += again;
                    let from = step.as_u64().unwrap_or(0);
                    self.closed.retain(|(at, _)| *at < from);
                    progress.tell(format!(
                        "the run goes back to step {step}: {again} steps are done again without the false work"
                    ));
                }
            }
            _ => {}
        }
    }
    /// Highest block that any validator has told of.
    pub(crate) fn height(&self) -> u64 {
        self.members.iter().map(|member| member.height).max().unwrap_or(0)
    }
    /// The node in a seat.
    pub(crate) fn in_seat(&self, stage: u64, seat: u64) -> Option<usize> {
        self.members.iter().position(|m| m.stage == Some(stage) && m.seat == Some(seat))
    }
    /// Name of the node with a key.
    pub(crate) fn name_of(&self, key: &str) -> String {
        self.members
            .iter()
            .find(|m| m.key == key)
            .map_or_else(|| key.get(..8).unwrap_or(key).into(), |m| m.name.clone())
    }
    /// Look at the memory of every node.
    pub(crate) fn note_all_memory(&mut self) {
        self.members.iter_mut().for_each(Member::note_memory);
    }
    /// Wait until `done`, or fail with what was waited for.
    pub(crate) async fn expect(
        &mut self,
        progress: &Progress,
        seconds: u64,
        what: &str,
        done: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let came = self.watch(progress, Duration::from_secs(seconds), done).await.context("while waiting")?;
        if came {
            return Ok(());
        }
        let standing: Vec<String> = self.members.iter().map(Member::standing).collect();
        bail!("waited {seconds} s in vain for {what}; {}", standing.join(", "))
    }
}

impl Member {
    fn standing(&self) -> String {
        match (self.stage, self.seat) {
            (Some(stage), Some(seat)) => {
                let doing = if self.hosting {
                    "serves"
                } else if self.working {
                    "works"
                } else {
                    "waits"
                };
                format!("{} ({stage}.{seat}) {doing} at step {}", self.name, self.step)
            }
            _ if self.height > 0 => format!("{} at block {}", self.name, self.height),
            _ => format!("{} without a seat", self.name),
        }
    }
    fn note_memory(&mut self) {
        if let Some((_, peak)) = self.process.as_ref().and_then(Node::resident) {
            self.peak = self.peak.max(peak);
        }
    }
}

fn show(number: Option<u64>) -> String {
    number.map_or("?".into(), |n| n.to_string())
}
