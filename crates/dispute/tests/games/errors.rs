//! One wrong element of any operation of a unit, in either role, is judged rightly, within the sizes of the design.

use crate::setting::*;
use std::collections::BTreeMap;
use tessera_canon::{Domain, Prf};
use tessera_dispute::{account::Account, program::Made, tensor::TensorKind};
use tessera_ledger::{
    record::Verdict,
    trust::kind::{Kind, MAX_BYTES, MAX_MESSAGES},
};

#[derive(Default)]
struct Worst {
    games: usize,
    messages: usize,
    bytes: usize,
    proof: usize,
}

/// Every tensor of every operation; of those that come several times, one.
#[test]
fn an_error_in_any_operation_convicts_whoever_made_it() {
    let spec = spec();
    let world = start(&spec);
    let mut random = Prf::new(Domain::new("tessera/test/errors/v1"), b"1");
    let mut worst: BTreeMap<&'static str, Worst> = BTreeMap::new();
    // Games that came down to the lie itself; the others ended at what else had to be false.
    let (mut reached, mut missed) = (0, Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for stage in 0..spec.stage_count() {
        let material = material(&spec, stage);
        let mut honest = Account::new(&material).unwrap();
        honest.trace().unwrap();
        for (at, entry) in material.program.entries.iter().enumerate() {
            let (operation, tensor) = match entry.made {
                Made::Copy(_) => ("copy", "results"),
                Made::By { step, tensor, .. } => (material.program.steps[step].operation.name(), tensor),
            };
            if !seen.insert((operation, tensor, entry.kind as u8)) {
                continue;
            }
            let len: usize = entry.dims.iter().product();
            let told = honest.entry(at).unwrap().clone();
            // Among some elements one that what follows will feel.
            let some: Vec<usize> = (0..16).map(|_| random.below(len as u64) as usize).collect();
            let size = |index: &usize| told.values().bits(*index).map_or(0, |bits| bits << 33);
            let index = some.into_iter().max_by_key(size).unwrap();
            let bit = if entry.kind == TensorKind::Sum { random.below(64) as u32 } else { 22 };
            let mut liar = liar(&honest, at, index, bit);
            let what = format!("stage {stage} {operation} {tensor}[{index}] bit {bit}");
            // The accused lies.
            let ended = duel(&world, &mut liar, &mut honest);
            assert!(!ended.timed_out, "{what}: {ended:?}");
            assert_eq!(ended.verdict, Some(Verdict::Mismatch), "{what}: {ended:?}");
            let part = material.program.part_of(at);
            let place = [part, at - material.program.parts[part].start];
            if ended.path.starts_with(&place) {
                reached += 1;
            } else {
                missed.push(what.clone());
            }
            assert!(ended.messages <= MAX_MESSAGES && ended.bytes <= MAX_BYTES, "{what}: {ended:?}");
            // The challenger errs, and disputes what is true.
            let innocent = duel(&world, &mut honest, &mut liar);
            assert!(!innocent.timed_out, "{what}: {innocent:?}");
            assert_eq!(innocent.verdict, Some(Verdict::Innocent), "{what}: {innocent:?}");
            let worst = worst.entry(operation).or_default();
            worst.games += 2;
            for ended in [ended, innocent] {
                worst.messages = worst.messages.max(ended.messages);
                worst.bytes = worst.bytes.max(ended.bytes);
                worst.proof = worst.proof.max(ended.proof);
            }
        }
    }
    for (operation, Worst { games, messages, bytes, proof }) in &worst {
        println!(
            "{operation:20} {games:3} games, at most {messages} messages, {bytes:5} bytes, proof {proof}"
        );
    }
    println!("{reached} came down to the element, not so: {missed:?}");
    assert!(reached >= 9 * missed.len());
    let operations = [
        "gemm",
        "rms_forward",
        "rms_backward",
        "rope",
        "attention forward",
        "attention backward",
        "swiglu forward",
        "swiglu backward",
        "cross_entropy",
        "gather",
        "scatter_add",
        "quantise_add",
        "copy",
    ];
    assert_eq!(
        worst.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        operations.into_iter().collect()
    );
    assert!(worst.values().all(|worst| worst.proof <= Kind::Dot.proof()));
}
