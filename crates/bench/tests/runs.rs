//! Run every measurement at small sizes, and refuse impossible ones.

use clap::Parser as _;
use std::path::Path;
use tessera_bench::{Bench, BenchError, Report};

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(subcommand)]
    bench: Bench,
}

const SMALL: &str =
    "--blocks 1 --d-model 32 --heads 4 --kv-heads 2 --d-ff 48 --vocab 300 --sequences 2 --seq-len 16";

fn bench(line: &str, results: &Path) -> Result<Option<Report>, BenchError> {
    let words = ["bench"].into_iter().chain(line.split_whitespace()).chain(["--results"]).map(String::from);
    Command::parse_from(words.chain([results.display().to_string()])).bench.run()
}

fn names(report: &Report) -> Vec<&str> {
    report.rows.iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn a_product_stands_beside_the_peak_and_then_beside_its_past() {
    let folder = tempfile::tempdir().unwrap();
    let line = "gemm --shape 33x40x65 --layout nn,tn,nt,tt --isa portable --threads 1 --rounds 2 --store";
    let first = bench(line, folder.path()).unwrap().unwrap();
    let expected = ["nn", "tn", "nt", "tt"]
        .map(|layout| format!("arith::gemm/m=33/n=40/k=65/layout={layout}/isa=portable/threads=1"));
    assert_eq!(names(&first)[..4], expected);
    assert_eq!(names(&first)[4], "arith::peak::fma_chains/isa=portable/threads=1");
    for row in &first.rows[..4] {
        assert!(row.last.is_none() && row.median > 0.0 && row.best >= row.median);
        let share = 100.0 * row.median / first.rows[4].median;
        assert!((row.figures["peak_%"] / share - 1.0).abs() < 1e-9);
    }
    let second = bench(line, folder.path()).unwrap().unwrap();
    for (now, then) in second.rows.iter().zip(&first.rows) {
        let last = now.last.as_ref().unwrap();
        assert!((last.median_ratio - now.median / then.median).abs() < 1e-9);
    }
    assert!(second.text().contains("compared with"));
}

#[test]
fn a_stage_reports_memory_and_where_its_time_goes() {
    let folder = tempfile::tempdir().unwrap();
    for (part, loss) in [("middle", false), ("last", true), ("first", false), ("whole", true)] {
        let line = format!("stage --preset nano --part {part} {SMALL} --threads 1,2 --rounds 1");
        let report = bench(&line, folder.path()).unwrap().unwrap();
        let names = names(&report);
        for operation in ["gemm", "attention", "norm", "rope", "swiglu", "gradient-rounding", "other"] {
            let ending = format!("/operation={operation}");
            assert_eq!(names.iter().filter(|name| name.ends_with(&ending)).count(), 2, "{part} {operation}");
        }
        assert_eq!(names.iter().any(|name| name.ends_with("/operation=loss")), loss, "{part}");
        let shares = report.rows.iter().filter(|row| row.name.contains("threads=1/operation"));
        let total: f64 = shares.map(|row| row.figures["share_%"]).sum();
        assert!((total - 100.0).abs() < 1e-6, "shares of {part} sum to {total}");
        assert!(cfg!(not(target_os = "linux")) || report.rows[0].figures["peak_memory_MB"] > 1.0);
    }
}

#[test]
fn decoding_and_the_optimizer_report_their_shares() {
    let folder = tempfile::tempdir().unwrap();
    let report =
        bench("decode --preset tiny --context 1,31 --threads 1 --rounds 1", folder.path()).unwrap().unwrap();
    assert!(names(&report)[1].starts_with("model::decode/preset=tiny/context=31/isa="));
    assert!(report.rows[0].figures["read_%"] > 0.0);
    let report = bench(&format!("muon {SMALL} --threads 1 --rounds 1"), folder.path()).unwrap().unwrap();
    assert!(names(&report)[1].starts_with("model::apply/preset=d512/part=middle/blocks=1/d_model=32/"));
    assert!(report.rows[1].figures["of_step_%"] > 0.0);
    assert_eq!(report.json()["rows"].as_array().unwrap().len(), 3);
}

/// A peer must find all it needs, with sizes that add up.
#[test]
fn a_dump_holds_the_stage() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("dump");
    let line = format!("stage {SMALL} --threads 1 --dump {}", target.display());
    assert!(bench(&line, folder.path()).unwrap().is_none());
    let case: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(target.join("case.json")).unwrap()).unwrap();
    let size = |name: &str| std::fs::metadata(target.join(name)).unwrap().len();
    let parameters = 2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48;
    assert_eq!((size("weights.bin"), size("gradients.bin")), (4 * parameters, 4 * parameters));
    for name in ["input.bin", "output.bin", "input_gradient.bin", "output_gradient.bin"] {
        assert_eq!(size(name), 4 * 2 * 16 * 32, "{name}");
    }
    assert_eq!(case["model"]["first_layer"], 1);
    assert_eq!(case["tensors"].as_array().unwrap().len(), 9);
    let gradients = std::fs::read(target.join("gradients.bin")).unwrap();
    assert!(gradients.chunks_exact(4).filter(|bytes| **bytes != [0; 4]).count() > parameters as usize / 2);
}

#[test]
fn impossible_flags_say_what_was_expected() {
    let refused = |line: &str| {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Command::try_parse_from(words).unwrap_err().to_string()
    };
    for (line, expected) in [
        ("gemm --shape 0x3x4", "three sizes from 1 to 32768 as MxNxK"),
        ("gemm --shape 3x4", "three sizes"),
        ("gemm --layout nx", "one of nn, tn, nt, tt"),
        ("gemm --isa mmx", "expected one of portable"),
        ("gemm --threads 0", "a number from 1 to 256"),
        ("gemm --rounds 0", "a number from 1 to 10000"),
        ("stage --preset huge", "one of d512, nano, base"),
        ("stage --part end", "one of middle, first, last, whole"),
        ("stage --pass none", "one of kept, recomputed, backward"),
        ("decode --preset huge", "one of tiny, nano, micro, base"),
        ("muon --step-tokens 0", "--step-tokens"),
    ] {
        let error = refused(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("stage --d-model 0", "model.d_model"),
        ("stage --heads 7 --kv-heads 7", "model.heads"),
        ("stage --seq-len 0", "model.seq_len"),
        ("stage --sequences 0", "batch.sequences"),
        ("stage --blocks 0", "--blocks: expected 1 to 1000"),
        ("muon --d-ff 0", "model.d_ff"),
        ("decode --preset tiny --context 0", "--context: expected numbers from 1 to 31"),
        ("decode --preset tiny --context 32", "--context: expected numbers from 1 to 31"),
    ] {
        let error = bench(line, folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
