//! Hold the traces to what the operations compute: same bits, steps the referee confirms, and no wrong step that
//! passes.

mod cases;
mod coverage;
mod dispute;
mod interface;

use cases::{Case, Mood, Owned, Random};
use std::collections::BTreeSet;
use tessera_arith::{
    Isa,
    attention::Shape,
    referee,
    trace::{Arithmetic, At, Data, Kind, Opcode, Role, Source, Step, Tracer},
    with_isa,
};

/// Elements of `len`, the first and the last among them.
fn some_of(random: &mut Random, len: usize, count: usize) -> BTreeSet<usize> {
    let edges = [0, len.saturating_sub(1)].into_iter().filter(|index| *index < len);
    edges.chain((0..count).filter(|_| len > 0).map(|_| random.below(len))).collect()
}

fn same(case: &Case, tensor: &str, a: u64, b: u64) -> bool {
    let kind = case.operation.tensors().into_iter().find(|known| known.name == tensor).unwrap().kind;
    a == b || kind == Kind::Number && referee::same(a as u32, b as u32)
}

/// What an input holds, with one NaN for all.
fn input_bits(case: &Case, at: At) -> u64 {
    match &case.inputs.iter().find(|(name, _)| *name == at.tensor).unwrap().1 {
        Owned::Numbers(x) if x[at.index].is_nan() => u64::from(referee::NAN),
        Owned::Numbers(x) => u64::from(x[at.index].to_bits()),
        Owned::Indices(x) => u64::from(x[at.index]),
        Owned::Sums(x) => x[at.index] as u64,
        Owned::Bytes(x) => u64::from(x[at.index]),
    }
}

/// Checks one element: every step is right, its operands are what their sources say. Returns the inner values it
/// rests on.
fn check_element(case: &Case, tracer: &Tracer, at: At) -> BTreeSet<At> {
    let name = case.operation.name();
    let trace = tracer.trace(at).unwrap();
    assert!(trace.is_chain() || trace.len() <= 64, "{name} {at:?}: a program of {} steps", trace.len());
    let mut results: Vec<u64> = Vec::new();
    let mut inner = BTreeSet::new();
    let mut operand = |value: tessera_arith::trace::Value, results: &[u64]| match value.source {
        Source::Constant => {}
        Source::Step(n) => assert_eq!(results[n], value.bits, "{name} {at:?}: step {n}"),
        Source::Input(input) => assert_eq!(input_bits(case, input), value.bits, "{name} {at:?}: {input:?}"),
        Source::Inner(other) => {
            inner.insert(other);
            let bits = tracer.trace(other).unwrap().output().bits;
            assert_eq!(bits, value.bits, "{name} {at:?}: {other:?}");
        }
    };
    for step in trace.steps() {
        step.operands[..step.opcode.arity()].iter().for_each(|value| operand(*value, &results));
        assert!(step.judge(), "{name} {at:?}, step {}: {step:08x?}", results.len());
        results.push(step.result);
    }
    operand(trace.output(), &results);
    assert_eq!(results.len(), trace.len());
    inner
}

/// Every output of every operation, on every instruction set, equals the last step of its trace; and every step
/// down to the inputs is confirmed by the referee.
#[test]
fn traces_end_in_the_bits_the_operations_wrote() {
    for (seed, mood) in [(1, Mood::Ordinary), (2, Mood::Hostile), (3, Mood::Poisoned)]
        .repeat(4)
        .iter()
        .enumerate()
        .map(|(round, (seed, mood))| (100 * round as u64 + seed, *mood))
    {
        let mut reference: Option<Vec<Vec<u64>>> = None;
        for isa in Isa::available() {
            let cases = with_isa(isa, || cases::all(&mut Random(seed), mood));
            let mut random = Random(seed + 1000);
            let mut values = Vec::new();
            for case in &cases {
                let tracer = case.tracer(Arithmetic::Native);
                let mut found = Vec::new();
                for (tensor, written) in &case.outputs {
                    for index in some_of(&mut random, written.len(), 4) {
                        let at = At { tensor, index };
                        let bits = tracer.trace(at).unwrap().output().bits;
                        assert!(
                            same(case, tensor, bits, written[index]),
                            "{:?} on {isa:?}, {tensor}[{index}]: traced {bits:08x}, written {:08x}",
                            case.operation,
                            written[index]
                        );
                        assert_eq!(tracer.value(at), Ok(bits));
                        found.push(bits);
                    }
                }
                values.push(found);
            }
            assert_eq!(&values, reference.get_or_insert(values.clone()));
        }
    }
}

/// Attention has the most rules about which elements count: all outputs of a few small shapes.
#[test]
fn all_outputs_of_attention_are_traced() {
    let moods =
        [Mood::Ordinary, Mood::Hostile, Mood::Poisoned, Mood::LastKeyInfinite, Mood::FirstRowInfinite];
    for (seed, mood) in (10..).zip(moods) {
        for (batch, seq, heads, kv_heads, head_dim) in [(2, 3, 4, 2, 2), (1, 66, 2, 1, 1), (1, 130, 1, 1, 1)]
        {
            let shape = Shape { batch, seq, heads, kv_heads, head_dim };
            let mut all = Vec::new();
            cases::attention(&mut Random(seed), mood, shape, &mut all);
            for case in all {
                let tracer = case.tracer(Arithmetic::Native);
                for (tensor, written) in &case.outputs {
                    for (index, written) in written.iter().enumerate() {
                        let bits = tracer.value(At { tensor, index }).unwrap();
                        assert!(
                            same(&case, tensor, bits, *written),
                            "{:?} {mood:?} {tensor}[{index}]: traced {bits:08x}, written {written:08x}",
                            case.operation
                        );
                    }
                }
            }
        }
    }
}

/// Walks from outputs down to the inputs, as far as a few hundred elements.
#[test]
fn every_step_down_to_the_inputs_is_confirmed_by_the_referee() {
    let mut opcodes = BTreeSet::new();
    let mut tensors = BTreeSet::new();
    for (seed, mood) in (20..26).zip([Mood::Ordinary, Mood::Hostile, Mood::Poisoned].into_iter().cycle()) {
        let mut random = Random(seed);
        for case in cases::all(&mut random, mood) {
            let tracer = case.tracer(Arithmetic::Native);
            for (tensor, written) in &case.outputs {
                for index in some_of(&mut random, written.len(), 1) {
                    let mut open = vec![At { tensor, index }];
                    let mut seen = BTreeSet::new();
                    while let Some(at) = open.pop() {
                        if seen.len() < 150 && seen.insert(at) {
                            tensors.insert((case.operation.name(), at.tensor));
                            opcodes.extend(tracer.trace(at).unwrap().steps().map(|step| step.opcode));
                            let inner = check_element(&case, &tracer, at);
                            // A few of each tensor, so that all tensors are reached.
                            let mut taken = std::collections::BTreeMap::new();
                            open.extend(inner.into_iter().filter(|at| {
                                let count = taken.entry(at.tensor).or_insert(0);
                                *count += 1;
                                *count <= 3
                            }));
                        }
                    }
                }
            }
        }
    }
    let all: BTreeSet<Opcode> = Opcode::ALL.into_iter().collect();
    assert_eq!(opcodes, all, "an opcode no trace uses, or one missing from the list");
    let mut random = Random(26);
    for operation in cases::all(&mut random, Mood::Ordinary).iter().map(|case| &case.operation) {
        for tensor in operation.tensors().iter().filter(|tensor| tensor.role != Role::Input) {
            assert!(
                tensors.contains(&(operation.name(), tensor.name)),
                "{} never visits {tensor:?}",
                operation.name()
            );
        }
    }
}

/// A validator that uses no floating-point instruction finds the same values.
#[test]
fn the_referee_evaluates_whole_elements_to_the_same_bits() {
    for (seed, mood) in [(40, Mood::Ordinary), (41, Mood::Hostile), (42, Mood::Poisoned)] {
        let mut random = Random(seed);
        for case in cases::all(&mut random, mood) {
            let tracer = case.tracer(Arithmetic::Referee);
            for (tensor, written) in &case.outputs {
                for index in some_of(&mut random, written.len(), 1) {
                    let bits = tracer.value(At { tensor, index }).unwrap();
                    assert!(
                        same(&case, tensor, bits, written[index]),
                        "{:?} {tensor}[{index}]",
                        case.operation
                    );
                }
            }
        }
    }
}

/// The steps without their numbers.
fn wiring(steps: impl Iterator<Item = Step>) -> Vec<(Opcode, Vec<Source>)> {
    let sources =
        |step: &Step| step.operands[..step.opcode.arity()].iter().map(|value| value.source).collect();
    steps.map(|step| (step.opcode, sources(&step))).collect()
}

/// Which steps there are, and where their operands come from, can be known without the numbers.
#[test]
fn wiring_does_not_depend_on_numbers() {
    for seed in 60..64 {
        let mut random = Random(seed);
        for case in cases::all(&mut random, Mood::Hostile) {
            let indices = case.inputs.iter().filter_map(|(name, owned)| match owned {
                Owned::Indices(x) => Some((*name, Data::Indices(x))),
                _ => None,
            });
            let blank = Tracer::blank(case.operation.clone(), &indices.collect::<Vec<_>>()).unwrap();
            let known = case.tracer(Arithmetic::Native);
            for tensor in case.operation.tensors().iter().filter(|tensor| tensor.role != Role::Input) {
                for index in some_of(&mut random, tensor.len, 2) {
                    let at = At { tensor: tensor.name, index };
                    let (a, b) = (known.trace(at).unwrap(), blank.trace(at).unwrap());
                    assert_eq!(wiring(a.steps()), wiring(b.steps()), "{:?} {at:?}", case.operation);
                    assert_eq!(a.output().source, b.output().source);
                }
            }
        }
    }
}

/// A validator without any tensor judges steps from opened operands.
#[test]
fn steps_are_judged_from_opened_operands() {
    let mut random = Random(70);
    for case in cases::all(&mut random, Mood::Hostile) {
        let indices = case.inputs.iter().filter_map(|(name, owned)| match owned {
            Owned::Indices(x) => Some((*name, Data::Indices(x))),
            _ => None,
        });
        let blank = Tracer::blank(case.operation.clone(), &indices.collect::<Vec<_>>()).unwrap();
        let known = case.tracer(Arithmetic::Native);
        for (tensor, written) in &case.outputs {
            for index in some_of(&mut random, written.len(), 2) {
                let at = At { tensor, index };
                let opened = known.trace(at).unwrap();
                let Some(n) = (!opened.is_empty()).then(|| random.below(opened.len())) else { continue };
                let (theirs, mut judged) =
                    (opened.step(n).unwrap(), blank.trace(at).unwrap().step(n).unwrap());
                for (operand, opened) in judged.operands.iter_mut().zip(theirs.operands) {
                    if operand.source != Source::Constant {
                        operand.bits = opened.bits;
                    }
                }
                judged.result = theirs.result;
                assert!(judged.judge() && judged == theirs, "{:?} {at:?} step {n}", case.operation);
            }
        }
    }
}
