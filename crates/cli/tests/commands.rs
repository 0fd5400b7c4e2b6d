//! Ask single commands for what cannot be: each answer names what was expected, what came, and what to do.

mod support;

use std::fs;
use support::{World, holds, refuse, show, succeed, tessera, text};

/// A file with `tiny`'s specification in which `from` is replaced by `to`.
fn edited(home: &tempfile::TempDir, from: &str, to: &str) -> String {
    let toml = text(&succeed(&["run", "new", "--preset", "tiny"]), "toml");
    assert!(toml.contains(from), "{from} is not in {toml}");
    let path = home.path().join("edited.toml");
    fs::write(&path, toml.replace(from, to)).unwrap();
    show(&path)
}

#[test]
fn a_wrong_run_specification_names_the_file_the_field_and_both_values() {
    let home = tempfile::tempdir().unwrap();
    let unknown = edited(&home, "steps = 12", "steps = 12\nspeed = 9");
    refuse(&["run", "reference", &unknown], 1, &["edited.toml", "speed", "expected one of", "window_steps"]);
}

#[test]
fn a_value_out_of_range_says_what_is_allowed() {
    let home = tempfile::tempdir().unwrap();
    let file = edited(&home, "steps = 12", "steps = 0");
    refuse(&["run", "reference", &file], 1, &["edited.toml", "`steps`", "expected", "got 0"]);
    refuse(&["run", "new", "--preset", "tiny", "--stages", "3,3"], 1, &["stages", "expected", "got"]);
    refuse(&["run", "new", "--preset", "mega"], 1, &["mega", "tiny, nano, micro, base"]);
}

#[test]
fn a_corpus_that_is_not_the_runs_is_refused_with_both_roots() {
    let home = tempfile::tempdir().unwrap();
    let spec = edited(&home, "steps = 12", "steps = 12");
    let corpus = home.path().join("other.txt");
    fs::write(&corpus, "Nobody here is called Ishmael.\n".repeat(400)).unwrap();
    let args = ["run", "reference", &spec, "--corpus", &show(&corpus)];
    refuse(&args, 1, &["does not match the manifest", "expected root", "moby-dick", "byte for byte"]);
    refuse(&["run", "reference", &spec, "--corpus", "/nowhere"], 1, &["cannot read the corpus /nowhere"]);
}

#[test]
fn keys_and_networks_are_never_overwritten_and_errors_are_objects_too() {
    let world = World::new(&["user"]);
    let key = fs::read(world.dir("user").join("key")).unwrap();
    let again = tessera(&["wallet", "new", "--dir", &show(&world.dir("user"))]);
    assert_eq!((again.code, &again.json["code"]), (1, &1.into()), "{}", again.said);
    holds(&text(&again.json, "error"), &[&show(&world.dir("user"))]);
    assert_eq!(fs::read(world.dir("user").join("key")).unwrap(), key);

    let network = fs::read(&world.network).unwrap();
    let out = show(world.network.parent().unwrap());
    refuse(&["network", "new", "--out", &out], 1, &["an --out folder without a network"]);
    assert_eq!(fs::read(&world.network).unwrap(), network);

    refuse(&["wallet", "show", "--dir", &show(&world.dir("user"))], 1, &["which network?", "--network FILE"]);
    // A validator's folder is needed to validate.
    let validate = world.command("user", &["node", "--validate"]);
    refuse(&validate, 1, &["is not a validator of network", "its validators are"]);
}

#[test]
fn a_wrong_flag_says_what_is_allowed() {
    refuse(&["node", "--run", "run.toml", "--tape-memory", "much"], 2, &["much", "--tape-memory <MIB>"]);
    refuse(&["node", "--tape-memory", "64"], 2, &["--run <SPEC.toml>"]);
    refuse(
        &["bench", "gemm", "--threads", "0"],
        2,
        &["--threads", "a number from 1 to 256", "1 is the calling thread"],
    );
    refuse(&["bench", "stage", "--preset", "tiny"], 2, &["tiny", "d512", "nano", "base"]);
    refuse(&["bench", "speed"], 2, &["speed", "--help"]);
}

#[test]
fn doctor_computes_the_committed_bits_with_one_thread_and_with_all() {
    let home = tempfile::tempdir().unwrap();
    // A full disk or little memory is a verdict about the machine, not about its arithmetic.
    let found = tessera(&["doctor", "--dir", &show(home.path())]).json;
    assert_eq!((&found["conforms"], &found["exact_tier"]), (&true.into(), &true.into()), "{found}");
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut counts = vec![1, threads];
    counts.dedup();
    let runs = found["conformance"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["threads"].as_u64().unwrap() as usize).collect::<Vec<_>>(), counts);
    for run in runs {
        assert_eq!((&run["root"], &run["mode_fault"]), (&found["expected_root"], &serde_json::Value::Null));
    }
    assert!(found["gflops"].as_f64().unwrap() > 0.0);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn the_list_of_queries_needs_no_network_and_a_malformed_query_is_refused_before_it_is_asked() {
    let listed = succeed(&["ledger", "get"]);
    assert!(listed["paths"].as_array().unwrap().iter().any(|path| path == "/runs/{run}"), "{listed}");
    refuse(&["ledger", "get", "/runs/12"], 1, &["expected run to be 64 hexadecimal digits", "got 12"]);
    refuse(&["ledger", "get", "/nowhere"], 1, &["expected a path of /openapi.json", "got /nowhere"]);
}
