//! Show that the tapes a worker holds save time and nothing else: any budget gives the same bytes.

use std::sync::{Arc, LazyLock};
use tessera_canon::Hash;
use tessera_model::{Dataset, RunSpec, StageWeights};
use tessera_swarm::{Extra, Job, JobResult, MemoryStore, UnitSet, Worker};
use tessera_wire::{Tensor, training::StepRecord};

static TINY: LazyLock<(Arc<RunSpec>, Arc<Dataset>)> = LazyLock::new(|| {
    let spec = RunSpec::preset("tiny").unwrap();
    let data = Dataset::embedded(&spec).unwrap();
    (Arc::new(spec), Arc::new(data))
});

fn worker(stage: u16, budget: Option<usize>) -> Worker {
    let (spec, data) = &*TINY;
    let store = Box::new(MemoryStore::default());
    let mut worker = Worker::new(spec.clone(), stage, Some(data.clone()), store).unwrap();
    if let Some(budget) = budget {
        worker.set_tape_budget(budget);
    }
    assert!(matches!(worker.execute(Job::Load), JobResult::Loaded { .. }));
    worker
}

fn tensor(seed: usize, size: f32) -> Tensor {
    let (spec, _) = &*TINY;
    let values: Vec<f32> =
        (0..spec.boundary_values()).map(|i| ((i * 37 + seed * 101) % 211) as f32 - 105.0).collect();
    let values: Vec<f32> = values.iter().map(|value| value * size).collect();
    Tensor::from_f32(&values, spec.microbatch_tokens(), spec.model.d_model as usize).unwrap()
}

fn input(stage: u16, unit: u32) -> Option<Tensor> {
    (stage > 0).then(|| tensor(unit as usize, 1e-2))
}

fn forward(worker: &mut Worker, step: u64, unit: u32, input: Option<Tensor>) -> Tensor {
    match worker.execute(Job::Forward { step, unit, input }) {
        JobResult::Forwarded { tensor, .. } => tensor,
        other => panic!("forward of {unit}: {other:?}"),
    }
}

fn backward(worker: &mut Worker, step: u64, unit: u32, input: Option<Tensor>) -> Option<Tensor> {
    let output_gradient = Some(tensor(50 + unit as usize, 1e-5));
    match worker.execute(Job::Backward { step, unit, input, output_gradient, accumulate: true }) {
        JobResult::Backwarded { tensor, .. } => tensor,
        other => panic!("backward of {unit}: {other:?}"),
    }
}

/// Everything a neighbour or replica can see of two steps: outputs, gradients, sums, roots.
#[derive(Debug, PartialEq, Default)]
struct Seen {
    tensors: Vec<Option<Tensor>>,
    sums: Vec<bytes::Bytes>,
    roots: Vec<Hash>,
}

fn two_steps(stage: u16, budget: Option<usize>) -> (Seen, Vec<usize>) {
    let (spec, _) = &*TINY;
    let units = spec.batch.microbatches;
    let (mut worker, mut seen, mut held) = (worker(stage, budget), Seen::default(), Vec::new());
    for step in 0..2 {
        let before = worker.state().state_root();
        for unit in 0..units {
            seen.tensors.push(Some(forward(&mut worker, step, unit, input(stage, unit))));
        }
        held.push(worker.tape_bytes());
        for unit in 0..units {
            seen.tensors.push(backward(&mut worker, step, unit, input(stage, unit)));
        }
        // Once more, as after a lost message, and out again, as at the barrier.
        let again = units - 1;
        seen.tensors.push(backward(&mut worker, step, again, input(stage, again)));
        let output_gradient = Some(tensor(50 + again as usize, 1e-5));
        let extra = vec![Extra { unit: again, input: input(stage, again), output_gradient }];
        match worker.execute(Job::Sum { step, units: UnitSet::of(0..units), extra: extra.clone() }) {
            JobResult::Summed { sum, .. } => seen.sums.push(sum),
            other => panic!("{other:?}"),
        }
        // A tape of this step must not outlive it.
        forward(&mut worker, step, 0, input(stage, 0));
        let record = StepRecord { step, state_root: before, credits: Default::default(), loss: None };
        let close = Job::Close { record, units: UnitSet::of(0..units), extra, others: vec![], keep: vec![] };
        match worker.execute(close) {
            JobResult::Closed { state_root, saved: Ok(()), .. } => seen.roots.push(state_root),
            other => panic!("{other:?}"),
        }
        assert_eq!(worker.tape_bytes(), 0);
    }
    (seen, held)
}

#[test]
fn any_budget_gives_the_same_sums_and_roots() {
    let (spec, _) = &*TINY;
    for stage in [0, 1] {
        let mut probe = worker(stage, None);
        forward(&mut probe, 0, 0, input(stage, 0));
        let size = probe.tape_bytes();
        assert!(size > 0);
        let units = spec.batch.microbatches as usize;
        let (reference, held) = two_steps(stage, None);
        assert_eq!(held, [units * size; 2], "every unit's tape is held");
        for (budget, tapes) in [(0, 0), (size - 1, 0), (size, 1), (3 * size - 1, 2)] {
            let (seen, held) = two_steps(stage, Some(budget));
            assert!(seen == reference, "stage {stage}, {budget} bytes");
            assert_eq!(held, [tapes * size; 2], "stage {stage}, {budget} bytes");
        }
    }
}

#[test]
fn a_tape_is_used_only_for_the_input_it_came_from() {
    let reference = {
        let mut fresh = worker(1, Some(0));
        backward(&mut fresh, 0, 2, Some(tensor(77, 1e-2)))
    };
    let mut worker = worker(1, None);
    forward(&mut worker, 0, 2, input(1, 2));
    let held = worker.tape_bytes();
    // A replay delivers the unit with another activation: its gradient is that activation's.
    assert_eq!(backward(&mut worker, 0, 2, Some(tensor(77, 1e-2))), reference);
    assert_eq!(worker.tape_bytes(), held);
    // A second forward job replaces the tape.
    forward(&mut worker, 0, 2, Some(tensor(77, 1e-2)));
    assert_eq!(worker.tape_bytes(), held);
    assert_eq!(backward(&mut worker, 0, 2, Some(tensor(77, 1e-2))), reference);
    assert_eq!(worker.tape_bytes(), 0);
}

#[test]
fn probes_and_earlier_steps_keep_no_tape() {
    let (spec, _) = &*TINY;
    let mut worker = worker(1, None);
    let probe = spec.batch.microbatches;
    forward(&mut worker, 0, probe, input(1, 0));
    assert_eq!(worker.tape_bytes(), 0);
    let weights = StageWeights::init(spec, 1).unwrap();
    assert!(weights.tape_bytes() > 0);
    let first = forward(&mut worker, 0, 1, input(1, 1));
    for unit in 0..spec.batch.microbatches {
        backward(&mut worker, 0, unit, input(1, unit));
    }
    let record = StepRecord {
        step: 0,
        state_root: worker.state().state_root(),
        credits: Default::default(),
        loss: None,
    };
    let units = UnitSet::of(0..spec.batch.microbatches);
    let closed = worker.execute(Job::Close { record, units, extra: vec![], others: vec![], keep: vec![] });
    assert!(matches!(closed, JobResult::Closed { .. }), "{closed:?}");
    // A late neighbour asks for a unit of the closed step: it is served with the old weights.
    assert_eq!(forward(&mut worker, 0, 1, input(1, 1)), first);
    assert_eq!(worker.tape_bytes(), 0);
}
