//! `tessera doctor`: can this machine take part, and how fast is it?

use crate::context::Output;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tessera_arith::{Isa, Mat, MatMut, Store, conform, gemm, isa, with_threads};

/// Disk space below which a node should not start, bytes.
const LEAST_DISK: u64 = 2 << 30;
/// Receive buffer that QUIC asks for, bytes; the kernel caps it silently.
const WANTED_BUFFER: u64 = 2 << 20;
/// Memory of a validator or a small trainer, bytes.
const LEAST_MEMORY: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Folder whose disk is checked
    #[arg(long, value_name = "DIR", env = "TESSERA_DIR", default_value = ".")]
    dir: PathBuf,
    /// Addresses that must be free, for UDP and TCP
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Works, but worse than it could.
    Warn,
    /// Cannot take part.
    Bad,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    advice: &'static str,
}

fn check(name: &'static str, good: bool, otherwise: Verdict, found: String, advice: &'static str) -> Check {
    Check { name, verdict: if good { Verdict::Good } else { otherwise }, found, advice }
}

pub(crate) fn run(doctor: Doctor, output: Output) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // One thread and all: a fault of one core or of the division of work shows in the second only.
    let mut counts = vec![1, threads];
    counts.dedup();
    let runs: Vec<Run> = counts.into_iter().map(conformance).collect();
    let conforms = runs.iter().all(|run| run.report.conforms());
    let speed = with_threads(threads, gemm_speed);
    let available: Vec<String> = Isa::available().into_iter().map(isa_name).collect();
    let build = if cfg!(debug_assertions) { "; a release build is several times faster" } else { "" };
    let existing = existing(&doctor.dir);
    let mut checks = vec![
        check(
            "arithmetic",
            conforms,
            Verdict::Bad,
            describe(&runs),
            "this machine computes other bits than the rest: report it with the processor's name; do not train",
        ),
        check(
            "instructions",
            isa() != Isa::Portable,
            Verdict::Warn,
            format!("{} in use, of {}", isa_name(isa()), available.join(", ")),
            "without AVX2 and FMA the same bits take many times longer",
        ),
        check(
            "speed",
            speed >= 1.0,
            Verdict::Warn,
            format!("{speed:.1} GFLOP/s in matrix products with {}{build}", count(threads)),
            "it will be slow",
        ),
        disk(&existing),
        writes(&existing),
    ];
    checks.extend(memory());
    checks.extend(receive_buffer());
    checks.extend(doctor.listen.iter().map(port));
    let bad = checks.iter().filter(|check| check.verdict == Verdict::Bad).count();
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.name,
                "verdict": match check.verdict { Verdict::Good => "good", Verdict::Warn => "warn", Verdict::Bad => "bad" },
                "found": check.found,
                "advice": (check.verdict != Verdict::Good).then_some(check.advice),
            })
        })
        .collect();
    let object = json!({
        "can_join": bad == 0, "conforms": conforms, "exact_tier": conforms,
        "expected_root": hex(&conform::ROOT), "conformance": runs.iter().map(Run::json).collect::<Vec<_>>(),
        "gflops": (speed * 10.0).round() / 10.0, "isa": isa_name(isa()), "threads": threads, "checks": list,
    });
    output.result(&object, || {
        let mut text = String::new();
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Bad => "BAD ",
            };
            text += &format!("{mark} {:<14} {}\n", check.name, check.found);
            if check.verdict != Verdict::Good {
                text += &format!("     {:<14} -> {}\n", "", check.advice);
            }
        }
        text += if conforms {
            "the exact tier may count on this machine's arithmetic\n"
        } else {
            "this machine must not join the exact tier\n"
        };
        text + if bad == 0 { "this machine can take part\n" } else { "this machine cannot take part yet\n" }
    });
    match bad {
        0 => Ok(()),
        // The object is printed; an error would print a second one.
        _ if output.json => std::process::exit(1),
        _ => bail!("{bad} of {} checks failed", checks.len()),
    }
}

/// The conformance suite on a number of threads.
struct Run {
    threads: usize,
    took: Duration,
    report: conform::Report,
}

impl Run {
    fn json(&self) -> Value {
        let mismatch = |mismatch: &conform::Mismatch| {
            json!({
                "operation": mismatch.operation, "expected": hex(&mismatch.expected), "got": hex(&mismatch.got),
            })
        };
        json!({
            "threads": self.threads, "isa": isa_name(isa()), "conforms": self.report.conforms(),
            "root": hex(&self.report.root), "ms": self.took.as_millis() as u64,
            "mode_fault": self.report.environment.fault(),
            "mismatches": self.report.mismatches().iter().map(mismatch).collect::<Vec<_>>(),
        })
    }
}

fn conformance(threads: usize) -> Run {
    let start = Instant::now();
    let report = with_threads(threads, conform::run);
    Run { threads, took: start.elapsed(), report }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of an instruction set, as `--isa` of the measurements takes it.
fn isa_name(isa: Isa) -> String {
    format!("{isa:?}").to_lowercase()
}

/// `1 thread`, `2 threads`.
fn count(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Says how each run of the suite ended, and of one that failed which operations differ.
fn describe(runs: &[Run]) -> String {
    let one = |run: &Run| {
        let outcome = if run.report.conforms() { "conforms" } else { "DIFFERS" };
        let (threads, ms) = (count(run.threads), run.took.as_millis());
        let mut text = format!("{outcome} with {threads} in {ms} ms, root {}", &hex(&run.report.root)[..16]);
        if let Some(fault) = run.report.environment.fault() {
            text += &format!("; {fault}");
        }
        for mismatch in run.report.mismatches() {
            let (expected, got) = (hex(&mismatch.expected), hex(&mismatch.got));
            text += &format!("; {}: expected {}, got {}", mismatch.operation, &expected[..16], &got[..16]);
        }
        text
    };
    format!("on {}: {}", isa_name(isa()), runs.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// Billions of operations a second in 256 x 256 matrix products, measured for a moment.
fn gemm_speed() -> f64 {
    const N: usize = 256;
    let a: Vec<f32> = (0..N * N).map(|i| (i % 17) as f32 * 0.25 - 2.0).collect();
    let mut c = vec![0.0f32; N * N];
    let (start, mut rounds) = (Instant::now(), 0u32);
    while start.elapsed() < Duration::from_millis(300) {
        let product = (MatMut::new(&mut c, N, N), Mat::new(&a, N, N), Mat::new(&a, N, N));
        let (Ok(out), Ok(left), Ok(right)) = product else { return 0.0 };
        if gemm(out, left, right, Store::Set).is_err() {
            return 0.0;
        }
        rounds += 1;
    }
    2.0 * (N * N * N) as f64 * f64::from(rounds) / start.elapsed().as_secs_f64() / 1e9
}

/// The nearest folder above `path` that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|above| above.is_dir());
    found.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

fn disk(folder: &Path) -> Check {
    let advice = "free some space, or choose another --dir";
    match rustix::fs::statvfs(folder) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{:.1} GB free in {}", free as f64 / 1e9, folder.display());
            check("disk", free >= LEAST_DISK, Verdict::Bad, found, advice)
        }
        Err(error) => check("disk", false, Verdict::Warn, format!("{}: {error}", folder.display()), advice),
    }
}

fn writes(folder: &Path) -> Check {
    let path = folder.join(format!(".tessera-doctor-{}", std::process::id()));
    let start = Instant::now();
    let written = fs::File::create(&path).and_then(|mut file| {
        for _ in 0..8 {
            file.write_all(&[7; 4096])?;
            file.sync_all()?;
        }
        Ok(())
    });
    let each = start.elapsed() / 8;
    // Whatever the outcome, nothing shall be left behind.
    let _ = fs::remove_file(&path);
    match written {
        Ok(()) => {
            let found = format!("{:.1} ms for a safe write", each.as_secs_f64() * 1e3);
            check(
                "writing",
                each < Duration::from_millis(100),
                Verdict::Warn,
                found,
                "a validator needs a faster disk",
            )
        }
        Err(error) => {
            let found = format!("{}: {error}", folder.display());
            check("writing", false, Verdict::Bad, found, "choose a --dir where this user may write")
        }
    }
}

fn memory() -> Option<Check> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let bytes = line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? << 10;
    let found = format!("{:.1} GB available", bytes as f64 / 1e9);
    Some(check(
        "memory",
        bytes >= LEAST_MEMORY,
        Verdict::Warn,
        found,
        "a node may be ended by the system: close other programs",
    ))
}

fn receive_buffer() -> Option<Check> {
    let text = fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?;
    let bytes: u64 = text.trim().parse().ok()?;
    let found = format!("receive buffers of at most {} kB", bytes >> 10);
    let advice = "packets get lost at high rates; as root: sysctl -w net.core.rmem_max=7500000";
    Some(check("sockets", bytes >= WANTED_BUFFER, Verdict::Warn, found, advice))
}

fn port(address: &SocketAddr) -> Check {
    let taken = UdpSocket::bind(address).map(drop).and_then(|()| TcpListener::bind(address).map(drop));
    let found = match &taken {
        Ok(()) => format!("{address} is free"),
        Err(error) => format!("{address}: {error}"),
    };
    check(
        "port",
        taken.is_ok(),
        Verdict::Bad,
        found,
        "stop the program that listens there or choose another port",
    )
}
