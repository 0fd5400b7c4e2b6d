//! Fail when an operation of this crate has no trace: every public function must be listed here.

use crate::cases::{self, Mood, Random};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use tessera_arith::trace::Operation;

/// Public functions, and the operations that trace them.
const TRACED: &[(&str, &str)] = &[
    ("attention::backward", "attention backward"),
    ("attention::decode", "attention decode"),
    ("attention::forward", "attention forward"),
    ("elementwise::add", "add"),
    ("elementwise::add_assign", "add"),
    ("elementwise::scale", "scale"),
    ("embed::gather", "gather"),
    ("embed::scatter_add", "scatter_add"),
    ("gemm::gemm", "gemm"),
    ("gemm::gemm_symmetric", "gemm_symmetric"),
    ("grid::dequantise", "dequantise"),
    ("grid::merge", "merge"),
    ("grid::quantise_add", "quantise_add"),
    ("grid::quantise_sub", "quantise_sub"),
    ("loss::cross_entropy", "cross_entropy"),
    ("loss::cross_entropy_in_place", "cross_entropy"),
    ("norm::rms_backward", "rms_backward"),
    ("norm::rms_forward", "rms_forward"),
    ("optim::adamw", "adamw"),
    ("optim::clip", "clip"),
    ("optim::descend", "descend"),
    ("optim::global_norm", "global_norm"),
    ("optim::momentum", "momentum"),
    ("optim::newton_schulz", "newton_schulz"),
    ("optim::newton_schulz_gram", "newton_schulz_gram"),
    ("optim::orthogonalise", "newton_schulz_gram"),
    ("quantise::decode", "quantise decode"),
    ("quantise::encode", "quantise encode"),
    ("reduce::dot", "dot"),
    ("reduce::max", "max"),
    ("reduce::sum", "sum"),
    ("reduce::sum_squares", "sum_squares"),
    ("rope::rotate", "rope"),
    ("rope::rotate_back", "rope"),
    ("scalar::exp", "exp"),
    ("scalar::exp_slice", "exp"),
    ("scalar::log", "log"),
    ("scalar::log_slice", "log"),
    ("scalar::rsqrt", "rsqrt"),
    ("scalar::rsqrt_slice", "rsqrt"),
    ("scalar::sigmoid", "sigmoid"),
    ("scalar::sigmoid_slice", "sigmoid"),
    ("scalar::silu", "silu"),
    ("scalar::silu_slice", "silu"),
    ("scalar::softmax", "softmax"),
    ("swiglu::backward", "swiglu backward"),
    ("swiglu::backward_in_place", "swiglu backward"),
    ("swiglu::forward", "swiglu forward"),
];

/// Public functions that compute no numbers of a model.
const OTHERS: &[&str] = &[
    "conform::run",
    "elementwise::finite",
    "environment::environment",
    "grid::greatest",
    "isa::isa",
    "isa::with_isa",
    "parallel::set_threads",
    "parallel::threads",
    "parallel::with_threads",
    "peak::fma_chains",
    "peak::read_stream",
];

/// Adds the public functions of the files under `folder` to `found`, as module::function; methods are left out.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            // These two are what is tested here.
            if stem != "referee" && stem != "trace" {
                functions(&path, found);
            }
            continue;
        }
        let module =
            if stem == "mod" { folder.file_name().unwrap().to_str().unwrap().to_owned() } else { stem };
        let mut in_macro = false;
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("pub fn ") {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.insert(format!("{module}::{name}"));
            }
            // `scalar` makes its functions by a macro: a line holds the kernel and the names of two functions.
            in_macro = line == "functions! {" || in_macro && line != "}";
            if in_macro && line != "functions! {" {
                let words: Vec<&str> = line.split_whitespace().collect();
                found.extend(words[1..3].iter().map(|name| format!("{module}::{name}")));
            }
        }
    }
}

#[test]
fn every_public_function_has_a_trace() {
    let mut found = BTreeSet::new();
    functions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let listed: BTreeSet<String> = TRACED
        .iter()
        .map(|(function, _)| function)
        .chain(OTHERS)
        .map(|function| (*function).to_owned())
        .collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "give these a trace::Operation and a case, and list them: {missing:?}");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "these no longer exist: {gone:?}");
}

#[test]
fn every_operation_has_a_case_and_a_function() {
    let names: BTreeSet<&str> = Operation::NAMES.into_iter().collect();
    assert_eq!(names.len(), Operation::NAMES.len(), "a name is used twice");
    let cases = cases::all(&mut Random(1), Mood::Ordinary);
    let run: BTreeSet<&str> = cases.iter().map(|case| case.operation.name()).collect();
    assert_eq!(run, names);
    let listed: BTreeMap<&str, &str> = TRACED.iter().map(|(function, name)| (*name, *function)).collect();
    assert_eq!(listed.keys().copied().collect::<BTreeSet<_>>(), names);
    // Every output tensor is compared, and nothing else.
    for case in &cases {
        let outputs =
            case.operation.tensors().into_iter().filter(|t| t.role == tessera_arith::trace::Role::Output);
        let outputs: BTreeSet<&str> = outputs.map(|tensor| tensor.name).collect();
        let compared: BTreeSet<&str> = case.outputs.iter().map(|(name, _)| *name).collect();
        assert_eq!(outputs, compared, "{}", case.operation.name());
    }
}
