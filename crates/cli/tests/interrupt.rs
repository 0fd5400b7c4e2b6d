//! Interrupt the demo with Ctrl-C in the middle: it ends at once, and leaves no process and no folder.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc::channel,
    time::Instant,
};
use support::{PATIENCE, program};

/// Processes of this program that work in `folder`: their arguments name it.
fn at_work(folder: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let works = |process: &u32| {
        let arguments = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(folder)
    };
    processes.filter(works).collect()
}

#[test]
fn ctrl_c_ends_the_demo_and_everything_it_started() {
    // Its own folder for temporary files shows whatever the demo leaves.
    let home = tempfile::tempdir().unwrap();
    let place = home.path().display().to_string();
    let mut demo = program()
        .args(["demo", "--preset", "tiny", "--steps", "100000"])
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let stderr = demo.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut said = Vec::new();
    let end = Instant::now() + PATIENCE;
    // By then validators and trainers run.
    while !said.iter().any(|line: &String| line.contains("has seat")) {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => said.push(line),
            Err(_) => {
                demo.kill().ok();
                panic!("the demo never got to its seats: {said:?}");
            }
        }
    }
    assert!(at_work(&place).len() > 4, "the demo's nodes run");
    let interrupted = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let ended = demo.wait().unwrap();
    said.extend(lines.iter());
    reader.join().unwrap();
    assert!(ended.success(), "ended with {ended}: {said:?}");
    assert!(said.iter().any(|line| line.contains("nothing is left running")), "{said:?}");
    assert_eq!(at_work(&place), Vec::<u32>::new(), "processes are left");
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left: {left:?}");
}
