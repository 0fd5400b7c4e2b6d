//! Show that honest units never differ and that one bit anywhere always does, on every kind of stage.

use std::sync::LazyLock;
use tessera_audit::{
    UnitDigests, Work, execute, reexec, reexec::ReexecError, tensors::weights_root, unit::UnitId,
};
use tessera_canon::{Hash, PublicKey, SecretKey};
use tessera_model::{
    Dataset, GradSum, Microbatch, RunSpec, StageInput, StageState, StageTarget, StageWeights, Workspace,
};

static WORLD: LazyLock<(RunSpec, Dataset)> = LazyLock::new(|| {
    let spec = RunSpec::preset("tiny").unwrap();
    let data = Dataset::embedded(&spec).unwrap();
    (spec, data)
});

fn unit(stage: u16, step: u64) -> UnitId {
    UnitId {
        run: WORLD.0.run_id(),
        generation: 0,
        step,
        stage,
        label: [1; 16],
        slot: 0,
        worker: PublicKey([2; 32]),
    }
}

/// One microbatch's tensors at every boundary: inputs of the stages, and gradients of their outputs.
struct Passage {
    batch: Microbatch,
    inputs: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

fn pass(stages: &[StageState], step: u64, microbatch: u32, workspace: &mut Workspace) -> Passage {
    let batch = WORLD.1.microbatch(&WORLD.0, step, microbatch).unwrap();
    let mut inputs: Vec<Vec<f32>> = vec![Vec::new()];
    for stage in &stages[..stages.len() - 1] {
        let input = if inputs.len() == 1 {
            StageInput::Tokens(&batch.tokens)
        } else {
            StageInput::Hidden(&inputs[inputs.len() - 1])
        };
        let y = stage.forward(input, workspace).unwrap();
        inputs.push(y);
    }
    let mut gradients = vec![Vec::new(); stages.len()];
    for at in (1..stages.len()).rev() {
        let target = if at + 1 == stages.len() {
            StageTarget::Labels(&batch.labels)
        } else {
            StageTarget::Grad(&gradients[at])
        };
        let mut sum = GradSum::zero(stages[at].weights());
        let out = stages[at].backward(StageInput::Hidden(&inputs[at]), target, workspace, &mut sum).unwrap();
        gradients[at - 1] = out.dx.unwrap();
    }
    Passage { batch, inputs, gradients }
}

impl Passage {
    fn work(&self, at: usize, stages: usize) -> Work<'_> {
        let input = if at == 0 {
            StageInput::Tokens(&self.batch.tokens)
        } else {
            StageInput::Hidden(&self.inputs[at])
        };
        let target = if at + 1 == stages {
            StageTarget::Labels(&self.batch.labels)
        } else {
            StageTarget::Grad(&self.gradients[at])
        };
        Work { input, target: Some(target), probe: false }
    }
}

fn stages() -> Vec<StageState> {
    (0..WORLD.0.stage_count()).map(|stage| StageState::init(&WORLD.0, stage).unwrap()).collect()
}

/// The digests as a worker makes them: on its own state, forward and backward apart.
fn as_worker(state: &StageState, work: Work<'_>, workspace: &mut Workspace) -> UnitDigests {
    let mut sum = GradSum::zero(state.weights());
    let out = state.backward(work.input, work.target.unwrap(), workspace, &mut sum).unwrap();
    let y = if out.losses.is_empty() { state.forward(work.input, workspace).unwrap() } else { out.losses };
    let outputs = tessera_audit::reexec::Outputs { y, dx: out.dx.unwrap_or_default(), dw: Some(sum) };
    outputs.digests(state.weights(), work)
}

/// `TESSERA_UNITS` honest units (60 if absent; 10 000 for acceptance), trained on for real.
#[test]
fn honest_units_never_differ() {
    let wanted: usize = std::env::var("TESSERA_UNITS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let (spec, mut stages) = (&WORLD.0, stages());
    let (mut worker, mut auditor) = (Workspace::new(spec).unwrap(), Workspace::new(spec).unwrap());
    let mut compared = 0;
    while compared < wanted {
        if stages[0].step() == u64::from(spec.steps) {
            stages = self::stages();
        }
        let step = stages[0].step();
        let mut sums: Vec<GradSum> = stages.iter().map(|stage| GradSum::zero(stage.weights())).collect();
        for microbatch in 0..spec.batch.microbatches {
            let passage = pass(&stages, step, microbatch, &mut worker);
            for (at, stage) in stages.iter().enumerate() {
                let work = passage.work(at, stages.len());
                let committed = as_worker(stage, work, &mut worker);
                let snapshot: StageWeights = stage.snapshot();
                let outputs = execute(&unit(at as u16, step), &snapshot, work, &mut auditor).unwrap();
                assert_eq!(outputs.digests(&snapshot, work), committed, "stage {at} step {step}");
                sums[at].add(outputs.dw.as_ref().unwrap()).unwrap();
                compared += 1;
            }
        }
        for (stage, sum) in stages.iter_mut().zip(&sums) {
            stage.apply(sum, spec.batch.microbatches).unwrap();
        }
    }
    println!("{compared} honest units compared, none differs");
}

fn flip(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() ^ 1));
}

/// One value's last place changes the digest of its own tensor. Whether it also changes a result depends on rounding:
/// the sums it enters may swallow it. The last places of a whole row of x, dy or W always show in the results here.
#[test]
fn one_unit_in_the_last_place_changes_a_digest() {
    let (spec, stages) = (&WORLD.0, stages());
    let mut workspace = Workspace::new(spec).unwrap();
    let mut passage = pass(&stages, 0, 1, &mut workspace);
    let width = spec.model.d_model as usize;
    for (at, stage) in stages.iter().enumerate() {
        let weights = stage.weights();
        let honest = reexec(&unit(at as u16, 0), weights, passage.work(at, 3), &mut workspace).unwrap();
        assert_eq!(at == 0, honest.dx == Hash::ZERO);
        let mut compute = |passage: &Passage, weights: &StageWeights| {
            reexec(&unit(at as u16, 0), weights, passage.work(at, 3), &mut workspace).unwrap()
        };
        let results = |digests: &UnitDigests| (digests.y, digests.dx, digests.dw);
        if at > 0 {
            flip(&mut passage.inputs[at][77..78]);
            assert_ne!(compute(&passage, weights).x, honest.x);
            flip(&mut passage.inputs[at][77..78]);
            flip(&mut passage.inputs[at][..width]);
            assert_ne!(results(&compute(&passage, weights)), results(&honest), "stage {at}: x");
            flip(&mut passage.inputs[at][..width]);
        }
        if at < 2 {
            flip(&mut passage.gradients[at][130..131]);
            assert_ne!(compute(&passage, weights).dy, honest.dy);
            flip(&mut passage.gradients[at][130..131]);
            flip(&mut passage.gradients[at][..width]);
            assert_ne!(results(&compute(&passage, weights)), results(&honest), "stage {at}: dy");
            flip(&mut passage.gradients[at][..width]);
        }
        // Through the stored form: nothing else may change a state. One weight alone shows in the roots.
        let mut bytes = stage.to_bytes();
        let header = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let last = weights.plan().tensors.iter().rposition(|tensor| tensor.rows > 1).unwrap();
        let (start, row) = (weights.plan().offsets()[last].start, weights.plan().tensors[last].cols);
        for offset in start..start + row {
            bytes[12 + header + 4 * offset] ^= 1;
        }
        let other = StageState::from_bytes(spec, at as u16, &bytes).unwrap();
        assert_ne!(other.state_root(), stage.state_root());
        assert_ne!(weights_root(other.weights()), weights_root(weights));
        assert_ne!(results(&compute(&passage, other.weights())), results(&honest), "stage {at}: W");
        assert_eq!(compute(&passage, weights), honest, "everything was put back");
    }
}

#[test]
fn weights_one_step_apart_give_other_digests_and_are_refused_by_name() {
    let (spec, mut stages) = (&WORLD.0, stages());
    let mut workspace = Workspace::new(spec).unwrap();
    let passage = pass(&stages, 0, 0, &mut workspace);
    let work = passage.work(1, 3);
    let old = stages[1].snapshot();
    let honest = execute(&unit(1, 0), &old, work, &mut workspace).unwrap();
    let mut sum = honest.dw.clone().unwrap();
    for number in 1..spec.batch.microbatches {
        let passage = pass(&stages, 0, number, &mut workspace);
        sum.add(&execute(&unit(1, 0), &old, passage.work(1, 3), &mut workspace).unwrap().dw.unwrap())
            .unwrap();
    }
    stages[1].apply(&sum, spec.batch.microbatches).unwrap();
    let refused = reexec(&unit(1, 0), stages[1].weights(), work, &mut workspace);
    assert!(matches!(refused, Err(ReexecError::WrongState { .. })));
    let stale = execute(&unit(1, 1), stages[1].weights(), work, &mut workspace).unwrap();
    assert_ne!(stale.digests(stages[1].weights(), work).y, honest.digests(&old, work).y);
}

#[test]
fn probes_go_forward_only_and_bad_values_void_a_unit() {
    let (spec, stages) = (&WORLD.0, stages());
    let mut workspace = Workspace::new(spec).unwrap();
    let passage = pass(&stages, 0, 0, &mut workspace);
    for (at, stage) in stages.iter().enumerate() {
        let mut work = passage.work(at, 3);
        work.probe = true;
        let outputs = execute(&unit(at as u16, 0), stage.weights(), work, &mut workspace).unwrap();
        assert!(outputs.dx.is_empty() && outputs.dw.is_none());
        let digests = outputs.digests(stage.weights(), work);
        assert_eq!((digests.dx, digests.dw), (Hash::ZERO, Hash::ZERO));
        assert_ne!(digests.y, Hash::ZERO);
    }
    let mut bad = passage.inputs[1].clone();
    for value in [f32::NAN, f32::INFINITY] {
        bad[3] = value;
        let work = Work { input: StageInput::Hidden(&bad), ..passage.work(1, 3) };
        let void = reexec(&unit(1, 0), stages[1].weights(), work, &mut workspace);
        assert!(matches!(void, Err(ReexecError::Void(_))));
    }
    // Denormals are values like others (attack 29).
    bad.fill(f32::from_bits(1));
    let work = Work { input: StageInput::Hidden(&bad), ..passage.work(1, 3) };
    reexec(&unit(1, 0), stages[1].weights(), work, &mut workspace).unwrap();
    let short = Work { input: StageInput::Hidden(&bad[1..]), ..passage.work(1, 3) };
    let refused = reexec(&unit(1, 0), stages[1].weights(), short, &mut workspace);
    assert!(matches!(refused, Err(ReexecError::Model(_))));
    let none = Work { target: None, ..passage.work(1, 3) };
    let refused = reexec(&unit(1, 0), stages[1].weights(), none, &mut workspace);
    assert!(matches!(refused, Err(ReexecError::NoTarget { .. })));
}

#[test]
fn a_trace_belongs_to_one_auditor_beacon_and_unit() {
    let (spec, stages) = (&WORLD.0, stages());
    let mut workspace = Workspace::new(spec).unwrap();
    let passage = pass(&stages, 0, 0, &mut workspace);
    let mut outputs = execute(&unit(1, 0), stages[1].weights(), passage.work(1, 3), &mut workspace).unwrap();
    let (a, b) = (SecretKey::from_seed([1; 32]).public(), SecretKey::from_seed([2; 32]).public());
    let trace = outputs.trace(&Hash([1; 32]), &a, &unit(1, 0));
    assert_eq!(trace, outputs.clone().trace(&Hash([1; 32]), &a, &unit(1, 0)));
    assert_ne!(trace, outputs.trace(&Hash([2; 32]), &a, &unit(1, 0)));
    assert_ne!(trace, outputs.trace(&Hash([1; 32]), &b, &unit(1, 0)));
    assert_ne!(trace, outputs.trace(&Hash([1; 32]), &a, &unit(2, 0)));
    flip(&mut outputs.dx[9..10]);
    assert_ne!(trace, outputs.trace(&Hash([1; 32]), &a, &unit(1, 0)));
}

/// What a leaf claims is what the dispute's own computation of the unit claims, on every kind of stage: then a
/// dispute can start from a leaf.
#[test]
fn a_leafs_claim_is_the_one_that_disputes_judge() {
    use tessera_audit::unit::UnitLeaf;
    use tessera_dispute::account::{Account, Material, Tensor};
    let (spec, stages) = (&WORLD.0, stages());
    let mut workspace = Workspace::new(spec).unwrap();
    let passage = pass(&stages, 0, 2, &mut workspace);
    for (at, stage) in stages.iter().enumerate() {
        let (unit, weights) = (unit(at as u16, 0), stage.weights());
        let UnitDigests { x, y, dy, dx, dw } =
            reexec(&unit, weights, passage.work(at, 3), &mut workspace).unwrap();
        let leaf = UnitLeaf {
            unit: unit.clone(),
            out: [2; 16],
            w_root: stage.state_root(),
            weights: weights_root(weights),
            x,
            y,
            dy,
            dx,
            dw,
            arithmetic: 1,
        };
        let input = match at {
            0 => Tensor::Indices(passage.batch.tokens.clone()),
            _ => Tensor::Numbers(passage.inputs[at].clone()),
        };
        let target = match at {
            2 => Tensor::Indices(passage.batch.labels.clone()),
            _ => Tensor::Numbers(passage.gradients[at].clone()),
        };
        let place = (at as u16, 0, unit.id());
        let material =
            Material::new(spec, place, input, target, weights.tensors(), weights.exponents()).unwrap();
        assert_eq!(Account::new(&material).unwrap().claim().unwrap(), leaf.claim(), "stage {at}");
    }
}
