//! Show that keeping a tape, and planning memory, change no bit; and that a unit that fails leaves no trace.

mod plain;

use plain::Plain;
use tessera_arith::with_threads;
use tessera_canon::List;
use tessera_model::{
    BackwardOut, GradSum, ModelError, Real, RunSpec, Sign, StageInput, StageTarget, StageWeights, Workspace,
};

/// Shapes like the presets', small: head groups, QK-norm, thin stages, more rows than one tile of the head.
fn specs() -> Vec<RunSpec> {
    let tiny = RunSpec::preset("tiny").unwrap();
    let shape = |heads, kv_heads, qk_norm, stages: &[u16], sequences| {
        let mut spec = tiny.clone();
        (spec.model.heads, spec.model.kv_heads, spec.model.qk_norm) = (heads, kv_heads, qk_norm);
        spec.model.layers = u32::from(stages.iter().sum::<u16>()) / 2;
        spec.stages = List::new(stages.to_vec()).unwrap();
        spec.batch.sequences = sequences;
        spec.model.init_std = Real::new(0.2).unwrap();
        spec
    };
    let mut odd = shape(2, 1, true, &[1, 2, 1], 3);
    (odd.model.d_model, odd.model.d_ff, odd.model.vocab, odd.model.seq_len) = (36, 52, 261, 21);
    vec![
        tiny.clone(),
        shape(4, 4, false, &[2, 2, 2], 2),
        shape(4, 2, false, &[1, 2, 1], 2),
        shape(4, 1, true, &[2, 4, 2], 17),
        shape(4, 2, true, &[4], 2),
        odd,
    ]
}

struct Unit {
    tokens: Vec<u32>,
    labels: Vec<u32>,
    hidden: Vec<f32>,
    dy: Vec<f32>,
}

impl Unit {
    fn new(spec: &RunSpec, seed: usize) -> Self {
        let (rows, vocab) = (spec.microbatch_tokens(), spec.model.vocab as usize);
        let tokens = |factor: usize| (0..rows).map(|i| ((i * factor + seed) % vocab) as u32).collect();
        let wave = |factor: usize, size: f32| {
            let values = 0..spec.boundary_values();
            values.map(|i| (((i * factor + seed * 7) % 1013) as f32 - 506.0) * size).collect()
        };
        Self { tokens: tokens(31), labels: tokens(53), hidden: wave(37, 3e-3), dy: wave(59, 1e-6) }
    }
    fn input(&self, weights: &StageWeights) -> StageInput<'_> {
        match weights.plan().first {
            true => StageInput::Tokens(&self.tokens),
            false => StageInput::Hidden(&self.hidden),
        }
    }
    fn target(&self, weights: &StageWeights) -> StageTarget<'_> {
        match weights.plan().last {
            true => StageTarget::Labels(&self.labels),
            false => StageTarget::Grad(&self.dy),
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn compare(weights: &StageWeights, out: &BackwardOut, sum: &GradSum, plain: &Plain, what: &str) {
    let (stage, first) = (weights.plan().stage, weights.plan().first);
    assert_eq!(out.loss.map(f32::to_bits), plain.loss.map(f32::to_bits), "{what}, stage {stage}: loss");
    assert_eq!(out.dx.is_none(), first);
    if let Some(dx) = &out.dx {
        assert!(bits(dx) == bits(&plain.dx), "{what}, stage {stage}: dx");
    }
    for (tensor, range) in weights.plan().tensors.iter().zip(weights.plan().offsets()) {
        let same = sum.values()[range.clone()] == plain.sum[range];
        assert!(same, "{what}, stage {stage}: gradient of {}", tensor.name);
    }
    assert!(sum.values().iter().any(|value| *value != 0));
}

#[test]
fn a_kept_tape_and_planned_memory_have_the_bits_of_the_plain_computation() {
    for spec in specs() {
        // One workspace for all stages and units, so that memory is used again by what it does not fit exactly.
        let mut workspace = Workspace::new(&spec).unwrap();
        for stage in (0..spec.stage_count()).chain(0..spec.stage_count()) {
            let weights = StageWeights::init(&spec, stage).unwrap();
            let (unit, other) = (Unit::new(&spec, 1), Unit::new(&spec, 2));
            let (input, target) = (unit.input(&weights), unit.target(&weights));
            let plain = plain::run(&weights, input, target);
            let forward = weights.forward(input, &mut workspace).unwrap();
            assert!(bits(&forward) == bits(&plain.output), "stage {stage}: output");
            let mut sum = GradSum::zero(&weights);
            let out = weights.backward(input, target, &mut workspace, Some((&mut sum, Sign::Add))).unwrap();
            compare(&weights, &out, &sum, &plain, "backward");
            for threads in [1, 3] {
                with_threads(threads, || {
                    let (output, kept) = weights.forward_keep(input, &mut workspace).unwrap();
                    assert!(bits(&output) == bits(&plain.output), "stage {stage}: kept output");
                    assert!(kept.is_of(input) && !kept.is_of(other.input(&weights)));
                    assert!(kept.bytes() >= weights.tape_bytes());
                    // Another unit passes in between, as in a pipeline.
                    let (_, between) = weights.forward_keep(other.input(&weights), &mut workspace).unwrap();
                    let mut sum = GradSum::zero(&weights);
                    let accumulate = Some((&mut sum, Sign::Add));
                    let out = weights.backward_kept(kept, target, &mut workspace, accumulate).unwrap();
                    compare(&weights, &out, &sum, &plain, "backward_kept");
                    assert_eq!(sum.microbatches(), 1);
                    let unsummed =
                        weights.backward_kept(between, other.target(&weights), &mut workspace, None).unwrap();
                    let again =
                        weights.backward(other.input(&weights), other.target(&weights), &mut workspace, None);
                    assert_eq!(unsummed, again.unwrap());
                    let (_, kept) = weights.forward_keep(input, &mut workspace).unwrap();
                    let accumulate = Some((&mut sum, Sign::Subtract));
                    weights.backward_kept(kept, target, &mut workspace, accumulate).unwrap();
                    assert_eq!(sum, GradSum::zero(&weights), "taken out again");
                });
            }
        }
    }
}

#[test]
fn a_tape_of_other_weights_is_refused() {
    let spec = RunSpec::preset("tiny").unwrap();
    let mut workspace = Workspace::new(&spec).unwrap();
    let unit = Unit::new(&spec, 1);
    let state = tessera_model::StageState::init(&spec, 1).unwrap();
    let later = {
        let mut later = state.clone();
        let mut sum = GradSum::zero(later.weights());
        for _ in 0..4 {
            let (input, target) = (unit.input(later.weights()), unit.target(later.weights()));
            later.backward(input, target, &mut workspace, &mut sum).unwrap();
        }
        later.apply(&sum, 4).unwrap();
        later
    };
    let mut other_run = spec.clone();
    other_run.seed += 1;
    let others = [
        later.snapshot(),
        StageWeights::init(&other_run, 1).unwrap(),
        StageWeights::init(&spec, 0).unwrap(),
        StageWeights::init(&spec, 2).unwrap(),
    ];
    for weights in &others {
        let (_, kept) = state.forward_keep(StageInput::Hidden(&unit.hidden), &mut workspace).unwrap();
        let mut sum = GradSum::zero(weights);
        let (zero, target) = (sum.clone(), unit.target(weights));
        let refused = weights.backward_kept(kept, target, &mut workspace, Some((&mut sum, Sign::Add)));
        assert!(matches!(refused, Err(ModelError::WrongTape { .. })), "{refused:?}");
        assert_eq!(sum, zero);
    }
    // And a sum of another step, with the right tape.
    let (_, kept) = state.forward_keep(StageInput::Hidden(&unit.hidden), &mut workspace).unwrap();
    let mut sum = GradSum::zero(later.weights());
    let refused = state.backward_kept(kept, StageTarget::Grad(&unit.dy), &mut workspace, &mut sum);
    assert!(matches!(refused, Err(ModelError::SumMismatch { .. })), "{refused:?}");
}

/// Units that fail at the door, in the middle of the pass, and after its last tensor.
#[test]
fn a_unit_that_fails_leaves_the_sum_as_it_was() {
    for spec in specs() {
        let mut workspace = Workspace::new(&spec).unwrap();
        for stage in 0..spec.stage_count() {
            let weights = StageWeights::init(&spec, stage).unwrap();
            let unit = Unit::new(&spec, 3);
            let (input, target) = (unit.input(&weights), unit.target(&weights));
            let mut sum = GradSum::zero(&weights);
            for _ in 0..2 {
                weights.backward(input, target, &mut workspace, Some((&mut sum, Sign::Add))).unwrap();
            }
            let before = sum.clone();
            let mut bad = Unit::new(&spec, 4);
            let mut poisons = vec![];
            if !weights.plan().last {
                poisons.extend([f32::NAN, f32::INFINITY, f32::MAX, 3e38, 1e38, 1e36, 1e34]);
            }
            for poison in poisons {
                bad.dy[5] = poison;
                for sign in [Sign::Add, Sign::Subtract] {
                    let target = bad.target(&weights);
                    let (_, kept) = weights.forward_keep(bad.input(&weights), &mut workspace).unwrap();
                    let tape = weights.backward_kept(kept, target, &mut workspace, Some((&mut sum, sign)));
                    let input = bad.input(&weights);
                    let again = weights.backward(input, target, &mut workspace, Some((&mut sum, sign)));
                    match (&tape, &again) {
                        (Ok(a), Ok(b)) => assert_eq!(a, b),
                        (Err(ModelError::NotFinite { .. }), Err(ModelError::NotFinite { .. })) => {
                            assert!(sum == before, "stage {stage}: {poison:e} left a trace");
                        }
                        other => panic!("stage {stage}, {poison:e}: {other:?}"),
                    }
                    // What went in is taken out for the next case.
                    if tape.is_ok() {
                        let undo = if sign == Sign::Add { Sign::Subtract } else { Sign::Add };
                        for _ in 0..2 {
                            let sum = Some((&mut sum, undo));
                            weights.backward(bad.input(&weights), target, &mut workspace, sum).unwrap();
                        }
                        assert!(sum == before);
                    }
                }
            }
            if !weights.plan().first {
                bad.hidden[9] = f32::NAN;
                let refused = weights.forward_keep(bad.input(&weights), &mut workspace);
                assert!(matches!(refused, Err(ModelError::NotFinite { .. })));
                let target = unit.target(&weights);
                let sum = Some((&mut sum, Sign::Add));
                let refused = weights.backward(bad.input(&weights), target, &mut workspace, sum);
                assert!(matches!(refused, Err(ModelError::NotFinite { .. })));
            }
            assert!(sum == before);
        }
    }
}
