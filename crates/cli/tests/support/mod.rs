//! Start `tessera` processes, wait for what they print, kill them: what the tests of whole processes share.
//!
//! Nothing here sleeps to let something happen: a test waits for a line with a deadline that is far longer than
//! anything takes, and a test that waits in vain fails with what was said instead. Every process is ended with
//! its [`Node`].

#![allow(dead_code, reason = "every test file uses another part")]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    // The environment of whoever runs the tests must not choose another folder or network.
    command.env_remove("TESSERA_DIR").env_remove("TESSERA_NETWORK").env_remove("TESSERA_LOG");
    command
}

/// What a command that ended gave.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) said: String,
}

/// Run `tessera ARGS --json` to its end.
pub(crate) fn tessera<S: AsRef<str>>(args: &[S]) -> Done {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let output = program().args(&args).arg("--json").stdin(Stdio::null()).output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Run `tessera ARGS --json`, which must succeed, and take its object.
pub(crate) fn succeed<S: AsRef<str>>(args: &[S]) -> Value {
    let done = tessera(args);
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    assert_eq!(done.code, 0, "tessera {} failed: {}", args.join(" "), done.said);
    done.json
}

/// Run `tessera ARGS --json`, which must fail with `code` and an error that holds all of `parts`.
#[track_caller]
pub(crate) fn refuse<S: AsRef<str>>(args: &[S], code: i32, parts: &[&str]) {
    let done = tessera(args);
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    assert_eq!(done.code, code, "tessera {}: {} {}", args.join(" "), done.json, done.said);
    holds(&done.said, parts);
}

/// `text` holds all of `parts`.
#[track_caller]
pub(crate) fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

/// The text in a field.
#[track_caller]
pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name:?} in {value}")).to_owned()
}

/// A path as an argument.
pub(crate) fn show(path: &Path) -> String {
    path.display().to_string()
}

/// A node: `tessera ARGS --json --while-stdin`, with the same arguments at every start.
pub(crate) struct Node {
    pub(crate) name: String,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    lines: Option<Receiver<Value>>,
    /// Everything it has told since its last start and a test has looked at.
    pub(crate) told: Vec<Value>,
}

impl Node {
    /// Start a node; what it says on standard error goes to `logs/NAME.log`.
    pub(crate) fn start(name: &str, logs: &Path, args: Vec<String>) -> Self {
        let log = logs.join(format!("{name}.log"));
        let mut node = Self { name: name.into(), args, log, child: None, lines: None, told: Vec::new() };
        node.again();
        node
    }
    /// Start it again after it ended.
    pub(crate) fn again(&mut self) {
        assert!(self.child.is_none(), "{} is running", self.name);
        self.told.clear();
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut child = program()
            .args(&self.args)
            .args(["--json", "--while-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        (self.child, self.lines) = (Some(child), Some(lines));
    }
    /// Add an argument for the next starts.
    pub(crate) fn push(&mut self, arg: &str) {
        self.args.push(arg.into());
    }
    /// Take back the last argument.
    pub(crate) fn pop(&mut self) {
        self.args.pop();
    }
    /// Wait for a line that `wanted` accepts; lines before it are kept in `told`.
    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.as_ref().expect("a started node").recv_timeout(left) {
                Ok(line) => {
                    self.told.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{} never told {what}; {}", self.name, self.story()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended before it told {what}; {}", self.name, self.story())
                }
            }
        }
    }
    /// Wait for an event by name.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait(name, |line| line["event"] == name)
    }
    /// Take what has been told by now, without waiting.
    pub(crate) fn listen(&mut self) -> &[Value] {
        if let Some(lines) = &self.lines {
            self.told.extend(lines.try_iter());
        }
        &self.told
    }
    /// The last events and the end of the log, for a failed test.
    fn story(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail = |lines: Vec<String>| lines[lines.len().saturating_sub(12)..].join("\n");
        let told = self.told.iter().map(Value::to_string).collect();
        let log = log.lines().map(str::to_owned).collect();
        format!("last events:\n{}\nlog:\n{}", tail(told), tail(log))
    }
    /// What it said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
    /// SIGKILL; afterwards `told` holds everything that it told.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if let Some(lines) = self.lines.take() {
            self.told.extend(lines.iter());
        }
    }
    /// Close its standard input and wait until it has ended by itself.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        drop(self.child.as_mut().expect("a started node").stdin.take());
        self.ended()
    }
    /// Wait until it has ended by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let lines = self.lines.take().expect("a started node");
        let end = Instant::now() + PATIENCE;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.told.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{} did not end; {}", self.name, self.story()),
            }
        }
        self.child.take().expect("a started node").wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A network on this machine with funded participants.
pub(crate) struct World {
    pub(crate) home: tempfile::TempDir,
    pub(crate) network: PathBuf,
    pub(crate) validators: Vec<Node>,
}

impl World {
    /// Keys for `participants`, and a network of four validators that funds them; nothing is started yet.
    pub(crate) fn new(participants: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let out = show(&home.path().join("network"));
        let mut args = ["network", "new", "--params", "demo", "--out", &out].map(String::from).to_vec();
        for name in participants {
            let made = succeed(&["wallet", "new", "--dir", &show(&home.path().join(name))]);
            args.extend(["--fund".into(), format!("{}=1000", text(&made, "key"))]);
        }
        let network = PathBuf::from(text(&succeed(&args), "network"));
        Self { home, network, validators: Vec::new() }
    }
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
    /// `COMMAND... --dir HOME/name --network FILE`.
    pub(crate) fn command(&self, name: &str, command: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = command.iter().map(ToString::to_string).collect();
        all.extend(["--dir".into(), show(&self.dir(name)), "--network".into(), show(&self.network)]);
        all
    }
    pub(crate) fn start_validators(&mut self) {
        for index in 0..4 {
            let name = format!("validator-{index}");
            let args = self.command(&format!("network/{name}"), &["node", "--validate"]);
            self.validators.push(Node::start(&name, self.home.path(), args));
        }
        for validator in &mut self.validators {
            validator.wait("its first blocks", |line| height(line) >= 2);
        }
    }
}

/// The height of a block event, else 0.
pub(crate) fn height(line: &Value) -> u64 {
    if line["event"] == "block" { line["height"].as_u64().unwrap_or(0) } else { 0 }
}
