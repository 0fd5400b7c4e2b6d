//! One wrong element of any operation of a unit, in either role, is judged rightly, within the sizes of the design.

use crate::setting::*;
use std::collections::BTreeMap;
use tessera_canon::{Domain, Prf};
use tessera_dispute::{account::Account, program::Made};
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
            let index = random.below(len as u64) as usize;
            // A result that is itself false: the copies follow it, so that the first false entry is the original.
            let bit = random.below(64) as u32;
            let mut liar = liar(&honest, at, index, bit);
            let what = format!("stage {stage} {operation} {tensor}[{index}] bit {bit}");
            // The accused lies.
            let ended = duel(&world, &mut liar, &mut honest);
            assert!(!ended.timed_out, "{what}: {ended:?}");
            assert_eq!(ended.verdict, Some(Verdict::Mismatch), "{what}: {ended:?}");
            let part = material.program.part_of(at);
            assert_eq!(ended.path[..2], [part, at - material.program.parts[part].start], "{what}");
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
