//! Run the measurements one after the other and set each beside its limit and its aim.

use crate::{
    error::LedgerBenchError,
    figures::{Figures as _, Samples, row},
    flags::{LedgerBench, Part},
    limits,
    load::{self, Committee, Plan, Seen},
    network::Network,
    relay::Impairment,
    state::{self, Proof},
};
use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};
use tessera_bench::{Report, Row};
use tessera_chain::MAX_BLOCK_TXS;

/// Longest that the whole may wait for stragglers, in the error's words.
const GRACE_SECONDS: u64 = 60;
/// Time between blocks where they shall come as fast as they can, milliseconds.
const FASTEST_MS: u64 = 1;
/// Transactions in the blocks that are timed on the large state: those of a quarter second, and a full block.
const BLOCK_TRANSFERS: [u64; 2] = [250, MAX_BLOCK_TXS as u64];

/// Say what is being measured, on standard error.
fn progress(text: &str) {
    // Progress that cannot be shown is no reason to stop.
    let _ =
        writeln!(std::io::stderr(), "{}{text}", if std::io::stderr().is_terminal() { "" } else { "bench: " });
}

/// All rows that were asked for.
pub(crate) fn report(bench: &LedgerBench, again: &[&str]) -> Result<Report, LedgerBenchError> {
    let failed = || LedgerBenchError::io("make a folder for the processes");
    let scratch = match &bench.scratch {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(failed())?;
            tempfile::tempdir_in(folder).map_err(failed())?
        }
        None => tempfile::tempdir().map_err(failed())?,
    };
    let measured = measure(bench, again, scratch.path());
    if let Err(LedgerBenchError::Child { .. }) = &measured {
        // The error names a file in it.
        let _ = scratch.keep();
    }
    measured
}

fn measure(bench: &LedgerBench, again: &[&str], scratch: &Path) -> Result<Report, LedgerBenchError> {
    let mut report = Report::begin("ledger", bench.revision.clone(), 1);
    let wants = |part| bench.only.contains(&part);
    let cores = report.machine.cores as f64;
    let mut signatures = None;
    if wants(Part::Limits) {
        progress("signature checks");
        let limit = limits::signatures();
        signatures = Some(limit.median);
        report.rows.push(limit);
        progress("blocks as fast as they can come");
        let seen = sparse(bench, again, scratch, (FASTEST_MS, FASTEST_MS), None, "fastest")?;
        let name = format!("validator::blocks/validators={}/interval_ms={FASTEST_MS}", bench.validators);
        let rate = Samples::new(vec![seen.blocks_per_second]);
        let blocks = seen.blocks_per_second * seen.took;
        let per_cpu = blocks / seen.validators_cpu;
        let line = row(name, "blocks/s", &rate, per_cpu, 1e3 / seen.blocks_per_second);
        report
            .rows
            .push(line.with_spread("final", &seen.finality).with("cores", seen.validators_cpu / seen.took));
    }
    if wants(Part::Load) {
        for rate in &bench.rate {
            progress(&format!("{rate} transactions a second for {} s", bench.seconds));
            let seen =
                run(bench, again, scratch, (bench.interval_ms, bench.idle_ms), None, "load", |network| {
                    load::steady(network, bench.validators.into(), *rate, bench.seconds)
                })?;
            report.rows.push(load_row(bench, *rate, &seen, signatures.map(|limit| limit * cores)));
        }
    }
    if wants(Part::Finality) {
        for one_way in &bench.one_way_ms {
            progress(&format!("time to finality, {one_way} ms between hosts"));
            let delay = Duration::from_millis(u64::from(*one_way));
            let links = Impairment { one_way: delay, rate: f64::from(bench.mbit) * 1e6 / 8.0 };
            let links = (*one_way > 0).then_some(links);
            let seen = sparse(bench, again, scratch, (bench.interval_ms, bench.idle_ms), links, "finality")?;
            report.rows.push(finality_row(bench, *one_way, &seen));
        }
    }
    if wants(Part::State) {
        state_rows(bench, again, scratch, &mut report)?;
    }
    report.notes.push(format!(
        "final: from the offer at one validator until that validator has applied the final block; block interval {} ms under load, {} ms idle",
        bench.interval_ms, bench.idle_ms
    ));
    report.notes.push("aims: 1,000 tx/s for 60 s, all included; final p50 <= 250 ms; root <= 50 ms; peak <= 1 GB; proof <= 1 kB in <= 2 ms".into());
    report.settle(&bench.results, bench.store)?;
    Ok(report)
}

/// Offer a plan to a fresh committee and end it.
fn run(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
    timing: (u64, u64),
    links: Option<Impairment>,
    name: &str,
    plan: impl FnOnce(&mut Network) -> Plan,
) -> Result<Seen, LedgerBenchError> {
    let folder = scratch.join(name);
    let failed = || LedgerBenchError::at("use", &folder);
    std::fs::create_dir_all(&folder).map_err(failed())?;
    let plan = plan(&mut Network::new(bench.validators, bench.senders)?);
    // Relays go on while this thread waits for a process.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(LedgerBenchError::io("start a runtime"))?;
    let seen = runtime.block_on(async {
        let committee = Committee::start(bench, again, &folder, timing, links).await?;
        let seen = load::offer(&committee, &folder, plan).await?;
        committee.end();
        Ok::<_, LedgerBenchError>(seen)
    })?;
    std::fs::remove_dir_all(&folder).map_err(failed())?;
    if seen.everywhere < seen.taken {
        let lost = seen.taken - seen.everywhere;
        return Err(LedgerBenchError::Lost { lost, taken: seen.taken, seconds: GRACE_SECONDS });
    }
    Ok(seen)
}

fn sparse(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
    timing: (u64, u64),
    links: Option<Impairment>,
    name: &str,
) -> Result<Seen, LedgerBenchError> {
    run(bench, again, scratch, timing, links, name, |network| {
        load::sparse(network, bench.validators.into(), bench.samples)
    })
}

fn load_row(bench: &LedgerBench, rate: u32, seen: &Seen, checks: Option<f64>) -> Row {
    let name = format!("validator::load/validators={}/rate={rate}/s={}", bench.validators, bench.seconds);
    let per_cpu_second = seen.everywhere as f64 / seen.validators_cpu;
    let mut row = row(name, "tx/s", &seen.by_second, per_cpu_second, seen.finality.median())
        .with("taken_%", 100.0 * seen.taken as f64 / seen.offered.max(1) as f64)
        .with("included_%", 100.0 * seen.everywhere as f64 / seen.taken.max(1) as f64)
        .with_spread("final", &seen.finality)
        .with("blocks/s", seen.blocks_per_second)
        .with("block_p50_tx", seen.block_txs.median())
        .with("tx_B", seen.tx_bytes as f64)
        .with("disk_B/tx", seen.disk as f64 / seen.everywhere.max(1) as f64)
        .with("peak_MB", seen.peak as f64 / 1e6)
        .with("cores", seen.validators_cpu / seen.took)
        .with("own_cores", seen.own_cpu / seen.took)
        // A block holds so many transactions; the interval allows so many blocks.
        .with(
            "of_blocks_%",
            100.0 * seen.by_second.median() / (MAX_BLOCK_TXS as f64 * 1e3 / bench.interval_ms as f64),
        );
    if let Some(checks) = checks {
        // Each validator checks each signature once at least, all on this machine.
        row = row.with("of_checks_%", 100.0 * seen.by_second.median() * f64::from(bench.validators) / checks);
    }
    if let Some(why) = &seen.refusal {
        progress(&format!(
            "{} transactions were refused, the first because {why}",
            seen.offered - seen.taken
        ));
    }
    row
}

fn finality_row(bench: &LedgerBench, one_way: u32, seen: &Seen) -> Row {
    let links = if one_way > 0 { format!("/mbit={}", bench.mbit) } else { String::new() };
    let name = format!("validator::finality/validators={}/one_way_ms={one_way}{links}", bench.validators);
    let (rate, per_cpu) =
        (Samples::new(vec![1e3 / seen.finality.median()]), f64::from(bench.samples) / seen.validators_cpu);
    row(name, "1/s", &rate, per_cpu, seen.finality.median())
        .with_spread("final", &seen.finality)
        .with("final_least_ms", seen.finality.least())
        // Block, votes to notarize, votes to finalize.
        .with("three_delays_ms", 3.0 * f64::from(one_way))
        .with("blocks/s", seen.blocks_per_second)
        .with("cores", seen.validators_cpu / seen.took)
        .with("own_cores", seen.own_cpu / seen.took)
}

fn state_rows(
    bench: &LedgerBench,
    again: &[&str],
    scratch: &Path,
    report: &mut Report,
) -> Result<(), LedgerBenchError> {
    progress(&format!("a state of {} accounts and as many notes", bench.accounts));
    let (wall, cpu) = state::make(bench, again, scratch)?;
    let (cells, size) = (2.0 * bench.accounts as f64, format!("accounts={0}/notes={0}", bench.accounts));
    let name = format!("validator::state::grow/{size}");
    report.rows.push(row(name, "cells/s", &Samples::new(vec![cells / wall]), cells / cpu, wall * 1e3));
    let mut last = None;
    for transfers in BLOCK_TRANSFERS {
        progress(&format!("blocks of {transfers} transfers on it"));
        let times = state::measure(bench, again, scratch, transfers)?;
        let root = Samples::new(times.root.clone());
        let rates = Samples::new(root_rates(&times.root));
        let name = format!("validator::state::root/{size}/transfers={transfers}");
        let per_cpu = bench.blocks as f64 / times.cpu.max(1e-9);
        let line = row(name, "blocks/s", &rates, per_cpu, root.median())
            .with_spread("root", &root)
            .with_spread("read", &Samples::new(times.read.clone()))
            .with_spread("apply", &Samples::new(times.apply.clone()))
            .with_spread("durable", &Samples::new(times.durable.clone()))
            .with("writes", times.writes as f64 / bench.blocks as f64)
            .with("open_ms", times.open)
            .with("resident_MB", times.resident as f64 / 1e6)
            .with("peak_MB", times.peak as f64 / 1e6);
        report.rows.push(line);
        last = Some(times);
    }
    if let Some(times) = last {
        report.rows.push(proof_row(&size, "present", &times.present));
        report.rows.push(proof_row(&size, "absent", &times.absent));
    }
    Ok(())
}

fn root_rates(times: &[f64]) -> Vec<f64> {
    times.iter().map(|ms| 1e3 / ms).collect()
}

fn proof_row(size: &str, what: &str, proof: &Proof) -> Row {
    let name = format!("chain::light::verify_state/{size}/account={what}");
    let rate = 1e3 / proof.check_ms;
    row(name, "proofs/s", &Samples::new(vec![rate]), rate, proof.check_ms)
        .with("proof_B", proof.bytes as f64)
        .with("most_B", proof.most as f64)
        .with("header_B", proof.header as f64)
        .with("certificate_B", proof.certificate as f64)
        .with("cell_B", proof.cell as f64)
        .with("path_B", proof.path as f64)
}
