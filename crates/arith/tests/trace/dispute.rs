//! Play disputes: one party gets one step wrong and goes on from there; the other finds it, the referee rules.

use crate::cases::{self, Mood, Random};
use crate::some_of;
use tessera_arith::{
    referee,
    trace::{Arithmetic, At, Data, Opcode, Operation, Source, Step, Tracer},
};

/// The steps of someone who gets step `wrong` wrong by one unit in the last place, and computes the others
/// rightly from there.
fn cheat(honest: &[Step], wrong: usize) -> Vec<Step> {
    let mut results: Vec<u64> = Vec::new();
    let mut steps = Vec::new();
    for (n, step) in honest.iter().enumerate() {
        let mut step = *step;
        for operand in &mut step.operands {
            if let Source::Step(before) = operand.source {
                operand.bits = results[before];
            }
        }
        step.result = step.ruling();
        if n == wrong {
            step.result = off_by_one(step);
        }
        results.push(step.result);
        steps.push(step);
    }
    steps
}

/// A result next to the right one.
fn off_by_one(step: Step) -> u64 {
    if step.opcode.is_number() && referee::is_nan(step.result as u32) {
        return u64::from(referee::INFINITY); // A NaN has no neighbour.
    }
    step.result ^ 1
}

/// Finds the first step after which `agree` fails, by halving. `agree` holds for 0 steps and not for `len`.
fn first_difference(len: usize, agree: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if agree(middle) { low = middle } else { high = middle }
    }
    low
}

#[test]
fn one_wrong_step_is_found_and_rejected() {
    for (seed, mood) in
        [(80, Mood::Ordinary), (81, Mood::Hostile), (82, Mood::Poisoned), (83, Mood::Ordinary)]
    {
        let mut random = Random(seed);
        for case in cases::all(&mut random, mood) {
            let tracer = case.tracer(Arithmetic::Native);
            let mut elements: Vec<At> = Vec::new();
            for tensor in case.operation.tensors() {
                // Inner values are disputed like outputs.
                if tracer.trace(At { tensor: tensor.name, index: 0 }).is_ok() {
                    let indices = some_of(&mut random, tensor.len, 1);
                    elements.extend(indices.into_iter().map(|index| At { tensor: tensor.name, index }));
                }
            }
            for at in elements {
                let honest: Vec<Step> = tracer.trace(at).unwrap().steps().collect();
                if honest.is_empty() {
                    continue;
                }
                let wrong = random.below(honest.len());
                let cheated = cheat(&honest, wrong);
                // Whoever compares prefixes is led to exactly that step, and it alone is wrong.
                let agree = |n: usize| honest[..n].iter().zip(&cheated).all(|(a, b)| a.result == b.result);
                assert_eq!(first_difference(honest.len(), agree), wrong, "{:?} {at:?}", case.operation);
                for (n, step) in cheated.iter().enumerate() {
                    assert_eq!(
                        step.judge(),
                        n != wrong,
                        "{:?} {at:?}, step {n}: {step:08x?}",
                        case.operation
                    );
                }
                // The operands of that step are not in dispute.
                let bits = |step: &Step| step.operands.map(|operand| operand.bits);
                assert_eq!(bits(&honest[wrong]), bits(&cheated[wrong]));
            }
        }
    }
}

/// The game of two rounds over a product of 8192 steps: its blocks, then the steps of one block.
#[test]
fn a_disputed_product_comes_down_to_one_fma() {
    let mut random = Random(9);
    let k = 8192;
    let (a, b) = (random.numbers(Mood::Ordinary, k), random.numbers(Mood::Ordinary, k));
    let operation =
        Operation::Gemm { m: 1, n: 1, k, a: [k, 1], b: [1, 1], c_row: 1, store: tessera_arith::Store::Set };
    let inputs = [("a", Data::Numbers(&a)), ("b", Data::Numbers(&b))];
    let tracer = Tracer::new(operation, &inputs, Arithmetic::Native).unwrap();
    let mut played = 0;
    for _ in 0..40 {
        // The cheat: one fma of one block is off, and everything after it follows.
        let (block, wrong) = (random.below(32), random.below(256));
        let honest_block = tracer.trace(At { tensor: "block", index: block }).unwrap();
        let mut acc = 0;
        let mut lied = vec![0u64];
        for (n, step) in honest_block.steps().enumerate() {
            acc = honest_block.claim(n, acc, 0).unwrap().ruling();
            if n == wrong {
                acc ^= 0x40; // Large enough to survive the rest of the chain.
            }
            assert_eq!(step.opcode, Opcode::Fma);
            lied.push(acc);
        }
        if lied[256] == honest_block.output().bits {
            continue; // Rounding has swallowed the lie: nothing is in dispute.
        }
        played += 1;
        // Round one: the sums of blocks differ from this block on, so the block itself is disputed.
        let out = tracer.trace(At { tensor: "out", index: 0 }).unwrap();
        assert!(out.is_chain() && out.len() == 31);
        let operand = out.step(block.max(1) - 1).unwrap().operands;
        let source = if block == 0 { operand[0].source } else { operand[1].source };
        assert!(block == 0 || source == Source::Inner(At { tensor: "block", index: block }));
        // Round two: 16 accumulators, then 16 between two of them.
        let (mut from, mut to) = (0, 256);
        for posted in [16, 16] {
            let points = honest_block.accumulators(from, to, posted);
            assert_eq!(points.len(), posted);
            assert_eq!(points.last().map(|point| point.0), Some(to));
            let differs = points.iter().position(|(n, bits)| lied[*n] != *bits).unwrap();
            to = points[differs].0;
            from = if differs == 0 { from } else { points[differs - 1].0 };
        }
        assert_eq!((from, to), (wrong, wrong + 1));
        // The one step: operands from the committed inputs, accumulators as both parties posted them.
        let claim = honest_block.claim(from, lied[from], lied[to]).unwrap();
        assert_eq!(claim.operands[0].source, Source::Input(At { tensor: "a", index: block * 256 + from }));
        assert!(!claim.judge(), "the liar's step passed");
        let honest = honest_block.prefix(to).unwrap();
        assert!(honest_block.claim(from, honest_block.prefix(from).unwrap(), honest).unwrap().judge());
    }
    assert!(played > 20, "too few lies survived: {played}");
}

/// 91 accumulators and 91 between them reach any step of 8192.
#[test]
fn two_rounds_of_91_reach_any_step_of_8192() {
    let len = 8192 * 16;
    let x: Vec<f32> = (0..len).map(|n| (n % 97) as f32 - 48.0).collect();
    let inputs = [("x", Data::Numbers(&x))];
    let tracer = Tracer::new(Operation::SumSquares { len }, &inputs, Arithmetic::Native).unwrap();
    let trace = tracer.trace(At { tensor: "lane", index: 3 }).unwrap();
    assert_eq!(trace.len(), 8192);
    let first = trace.accumulators(0, 8192, 91);
    assert_eq!(first.len(), 91);
    let mut start = 0;
    for (end, bits) in first {
        assert_eq!(trace.prefix(end), Some(bits));
        let second = trace.accumulators(start, end, 91);
        let steps: Vec<usize> = second.iter().map(|point| point.0).collect();
        assert_eq!(steps, (start + 1..=end).collect::<Vec<_>>(), "every step between two points");
        start = end;
    }
    assert_eq!(start, 8192);
}

#[test]
fn a_judge_takes_any_nan_for_a_nan_and_nothing_else() {
    let nan = |result: u64| Step {
        opcode: Opcode::Div,
        operands: [tessera_arith::trace::Value::number(0.0); 3],
        result,
    };
    assert!(nan(0x7fc0_0000).judge() && nan(0xffc0_0001).judge());
    assert!(!nan(0x7f80_0000).judge() && !nan(0).judge());
    // Bits above a number's 32 are not part of any result.
    assert!(!nan(0x1_7fc0_0000).judge());
    let one = tessera_arith::trace::Value::number(1.0);
    let sum = |result| Step { opcode: Opcode::Add, operands: [one; 3], result };
    assert!(sum(0x4000_0000).judge() && !sum(0x1_4000_0000).judge() && !sum(0x4000_0001).judge());
}

/// A lie deep inside an operation: one attention probability. Both parties descend from the output through the
/// sources of the operands they disagree about, and arrive at the lie.
#[test]
fn a_lie_about_a_value_on_the_way_is_traced_back_to_it() {
    let shape = tessera_arith::attention::Shape { batch: 1, seq: 40, heads: 2, kv_heads: 1, head_dim: 4 };
    let mut random = Random(12);
    // Small enough for every key to have a share of the probability.
    let mut small =
        |len| -> Vec<f32> { random.numbers(Mood::Ordinary, len).iter().map(|x| x * 0.125).collect() };
    let (q, k, v) = (small(320), small(160), small(160));
    let dout = small(320);
    let inputs = [
        ("q", Data::Numbers(&q)),
        ("k", Data::Numbers(&k)),
        ("v", Data::Numbers(&v)),
        ("dout", Data::Numbers(&dout)),
    ];
    let operation = Operation::AttentionBackward(shape);
    let honest = Tracer::new(operation.clone(), &inputs, Arithmetic::Native).unwrap();
    for (tensor, len) in
        [("probability", 3200), ("exponential", 3200), ("score", 3200), ("largest", 80), ("dot", 80)]
    {
        let value = |index: usize| honest.value(At { tensor, index }).unwrap();
        let mut values: Vec<f32> = (0..len).map(|index| f32::from_bits(value(index) as u32)).collect();
        // Row 37 of head 1, and a key it sees.
        let lie = if len == 80 { 77 } else { 77 * 40 + 20 };
        values[lie] = values[lie] * 1.25 + 0.125;
        let mut liar = Tracer::new(operation.clone(), &inputs, Arithmetic::Native).unwrap();
        liar.supply(tensor, Data::Numbers(&values)).unwrap();
        let mut at = (0..320)
            .map(|index| At { tensor: "dq", index })
            .find(|at| honest.value(*at) != liar.value(*at))
            .expect("the lie reaches an output");
        let lie = At { tensor, index: lie };
        let mut depth = 0;
        while at != lie {
            let (right, wrong) = (honest.trace(at).unwrap(), liar.trace(at).unwrap());
            let differs = right.steps().zip(wrong.steps()).find(|(a, b)| a.result != b.result);
            let pairs = match differs {
                Some((a, b)) => {
                    assert!(a.judge() && b.judge(), "the liar's steps are right for his operands");
                    a.operands.into_iter().zip(b.operands).collect()
                }
                // A copy, or a chain that starts differently.
                None => vec![(right.output(), wrong.output())],
            };
            let start = right.step(0).zip(wrong.step(0)).map(|(a, b)| (a.operands[0], b.operands[0]));
            let disputed = pairs.into_iter().chain(start).find_map(|(a, b)| match a.source {
                Source::Inner(inner) if a.bits != b.bits => Some(inner),
                _ => None,
            });
            at = disputed.expect("steps are right, so an operand differs");
            depth += 1;
            assert!(depth < 20);
        }
        assert!(depth >= 3, "{tensor} is {depth} deep");
        // Both agree on what this value rests on, and its own steps do not lead to what the liar says.
        assert_eq!(honest.value(lie), liar.value(lie));
        assert_ne!(liar.value(lie), Ok(u64::from(values[lie.index].to_bits())));
    }
}
