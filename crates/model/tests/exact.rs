//! Show that results depend on nothing but the spec: not on order, grouping, cut, threads or storage.

use proptest::prelude::*;
use std::sync::LazyLock;
use tessera_arith::{Isa, with_isa, with_threads};
use tessera_canon::{Hash, List};
use tessera_model::{
    Dataset, GradSum, ModelError, RunSpec, StageInput, StageState, StageTarget, Workspace, central,
};

static TINY: LazyLock<(RunSpec, Dataset)> = LazyLock::new(|| {
    let spec = RunSpec::preset("tiny").unwrap();
    let data = Dataset::embedded(&spec).unwrap();
    (spec, data)
});

fn roots(stages: &[StageState]) -> Vec<Hash> {
    stages.iter().map(StageState::state_root).collect()
}

/// Train `steps` steps with each step's microbatches dealt out as `groups` says, each group in its own sum.
fn train_grouped(steps: u64, groups: &[Vec<u32>]) -> Vec<Hash> {
    let (spec, data) = &*TINY;
    let mut stages = central::init(spec).unwrap();
    let mut workspace = Workspace::new(spec).unwrap();
    for step in 0..steps {
        let zero = || -> Vec<GradSum> { stages.iter().map(|s| GradSum::zero(s.weights())).collect() };
        let mut total = zero();
        for group in groups {
            let mut sums = zero();
            for &index in group {
                let batch = data.microbatch(spec, step, index).unwrap();
                central::microbatch(&stages, &mut sums, &batch, &mut workspace).unwrap();
            }
            for ((total, sum), stage) in total.iter_mut().zip(&sums).zip(&stages) {
                let sent = GradSum::from_bytes(stage.weights(), &sum.to_bytes().unwrap()).unwrap();
                assert_eq!(&sent, sum);
                total.add(&sent).unwrap();
            }
        }
        for (stage, sum) in stages.iter_mut().zip(&total) {
            stage.apply(sum, spec.batch.microbatches).unwrap();
        }
    }
    roots(&stages)
}

#[test]
fn order_and_grouping_of_microbatches_leave_no_trace() {
    let (spec, data) = &*TINY;
    let reference = central::train(spec, data, 3, |_| ()).unwrap().roots;
    for groups in [
        vec![vec![3, 1, 0, 2]],
        vec![vec![2, 0], vec![1, 3]],
        vec![vec![1], vec![3, 0], vec![2]],
        vec![vec![], vec![0, 1, 2, 3]],
    ] {
        assert_eq!(train_grouped(3, &groups), reference, "{groups:?}");
    }
}

#[test]
fn threads_and_instruction_sets_leave_no_trace() {
    let (spec, data) = &*TINY;
    let run = || central::train(spec, data, 2, |_| ()).unwrap().roots;
    let reference = run();
    assert_eq!(with_threads(3, run), reference);
    for isa in Isa::available() {
        assert_eq!(with_isa(isa, run), reference, "{isa:?}");
    }
}

#[test]
fn the_cut_into_stages_does_not_change_the_function() {
    let (spec, data) = &*TINY;
    let mut whole = spec.clone();
    whole.stages = List::new(vec![4]).unwrap();
    let batch = data.held_out(spec, 0).unwrap();
    let mut workspace = Workspace::new(spec).unwrap();
    let logits = |spec: &RunSpec, states: &[StageState], workspace: &mut Workspace| {
        let mut x = states[0].forward(StageInput::Tokens(&batch.tokens), workspace).unwrap();
        for state in &states[1..] {
            x = state.forward(StageInput::Hidden(&x), workspace).unwrap();
        }
        assert_eq!(x.len(), spec.microbatch_tokens() * spec.model.vocab as usize);
        x
    };
    let parts = central::init(spec).unwrap();
    let one = central::init(&whole).unwrap();
    // The cut is part of the run's identity, so initial weights differ: carry them over by name.
    let bytes = one[0].to_bytes();
    let tensors: Vec<f32> = parts.iter().flat_map(|p| p.weights().tensors().concat()).collect();
    let mut moved = bytes.clone();
    let start = bytes.len() - 4 * (2 * tensors.len() + second_moments(&whole));
    for (slot, value) in moved[start..].chunks_exact_mut(4).zip(&tensors) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    let one = StageState::from_bytes(&whole, 0, &moved).unwrap();
    assert_eq!(logits(spec, &parts, &mut workspace), logits(&whole, &[one], &mut workspace));
}

fn second_moments(spec: &RunSpec) -> usize {
    use tessera_model::Role;
    let tensors = spec.stage_plan(0).unwrap().tensors;
    tensors.iter().filter(|t| !matches!(t.role, Role::Hidden | Role::ResidualOutput)).map(|t| t.len()).sum()
}

#[test]
fn a_microbatch_is_taken_out_exactly() {
    let (spec, data) = &*TINY;
    let state = StageState::init(spec, 0).unwrap();
    let mut workspace = Workspace::new(spec).unwrap();
    let dy: Vec<f32> = (0..spec.boundary_values()).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-4).collect();
    let (a, b) = (data.microbatch(spec, 0, 0).unwrap(), data.microbatch(spec, 0, 1).unwrap());
    let mut sum = GradSum::zero(state.weights());
    let only_a = {
        let target = StageTarget::Grad(&dy);
        state.backward(StageInput::Tokens(&a.tokens), target, &mut workspace, &mut sum).unwrap();
        sum.clone()
    };
    state.backward(StageInput::Tokens(&b.tokens), StageTarget::Grad(&dy), &mut workspace, &mut sum).unwrap();
    assert_ne!(sum, only_a);
    state.unadd(StageInput::Tokens(&b.tokens), StageTarget::Grad(&dy), &mut workspace, &mut sum).unwrap();
    assert_eq!(sum, only_a);
    sum.subtract(&only_a).unwrap();
    assert_eq!(sum, GradSum::zero(state.weights()));
    let refused =
        state.unadd(StageInput::Tokens(&b.tokens), StageTarget::Grad(&dy), &mut workspace, &mut sum);
    assert!(matches!(refused, Err(ModelError::Count { .. })));
    assert_eq!(sum, GradSum::zero(state.weights()), "a refused call changes nothing");
}

#[test]
fn decoding_with_a_cache_equals_the_full_forward_pass() {
    let (spec, data) = &*TINY;
    let stages = central::train(spec, data, 2, |_| ()).unwrap().stages;
    let mut workspace = Workspace::new(spec).unwrap();
    let seq = spec.model.seq_len as usize;
    let tokens = data.held_out(spec, 0).unwrap().tokens[..seq].to_vec();
    let mut full = stages[0].forward(StageInput::Tokens(&tokens), &mut workspace).unwrap();
    for stage in &stages[1..] {
        full = stage.forward(StageInput::Hidden(&full), &mut workspace).unwrap();
    }
    for pieces in [vec![seq], vec![1; seq], vec![5, 1, 1, 20, 5]] {
        let mut caches: Vec<_> = stages.iter().map(|s| s.weights().new_cache()).collect();
        let (mut at, mut rows) = (0, Vec::new());
        for piece in pieces {
            let mut x = stages[0]
                .decode(StageInput::Tokens(&tokens[at..at + piece]), &mut caches[0], &mut workspace)
                .unwrap();
            for (stage, cache) in stages[1..].iter().zip(&mut caches[1..]) {
                x = stage.decode(StageInput::Hidden(&x), cache, &mut workspace).unwrap();
            }
            rows.extend(x);
            at += piece;
        }
        assert_eq!(rows, full);
        let more = stages[0].decode(StageInput::Tokens(&tokens[..1]), &mut caches[0], &mut workspace);
        assert!(matches!(more, Err(ModelError::CacheFull { .. })));
        assert_eq!(caches[0].len(), seq);
        caches[0].truncate(3, spec);
        let again =
            stages[0].decode(StageInput::Tokens(&tokens[3..4]), &mut caches[0], &mut workspace).unwrap();
        let first = stages[0].forward(StageInput::Tokens(&tokens), &mut workspace).unwrap();
        assert_eq!(again, first[3 * 32..4 * 32]);
    }
}

#[test]
fn bad_calls_are_refused_and_change_nothing() {
    let (spec, data) = &*TINY;
    let stages = central::init(spec).unwrap();
    let mut workspace = Workspace::new(spec).unwrap();
    let batch = data.microbatch(spec, 0, 0).unwrap();
    let hidden = vec![0.5; spec.boundary_values()];
    let (tokens, labels) = (StageInput::Tokens(&batch.tokens), StageTarget::Labels(&batch.labels));
    assert!(matches!(stages[1].forward(tokens, &mut workspace), Err(ModelError::WrongKind { .. })));
    assert!(matches!(
        stages[0].forward(StageInput::Hidden(&hidden), &mut workspace),
        Err(ModelError::WrongKind { .. })
    ));
    let mut sum = GradSum::zero(stages[0].weights());
    let zero = sum.clone();
    assert!(stages[0].backward(tokens, labels, &mut workspace, &mut sum).is_err());
    assert!(stages[0].backward(tokens, StageTarget::Grad(&hidden[1..]), &mut workspace, &mut sum).is_err());
    let short = StageInput::Tokens(&batch.tokens[..32]);
    assert!(stages[0].backward(short, StageTarget::Grad(&hidden), &mut workspace, &mut sum).is_err());
    let mut poisoned = hidden.clone();
    poisoned[7] = f32::NAN;
    let refused = stages[0].backward(tokens, StageTarget::Grad(&poisoned), &mut workspace, &mut sum);
    assert!(matches!(refused, Err(ModelError::NotFinite { .. })));
    let mut beyond = batch.tokens.clone();
    beyond[3] = 320;
    assert!(stages[0].forward(StageInput::Tokens(&beyond), &mut workspace).is_err());
    assert_eq!(sum, zero);
    let wrong =
        stages[1].backward(StageInput::Hidden(&hidden), StageTarget::Grad(&hidden), &mut workspace, &mut sum);
    assert!(matches!(wrong, Err(ModelError::SumMismatch { .. })));
    let mut state = stages[0].clone();
    assert!(matches!(state.apply(&sum, 0), Err(ModelError::Count { .. })));
    assert!(matches!(state.apply(&sum, 4), Err(ModelError::Count { .. })));
    assert_eq!(state, stages[0]);
    assert!(StageState::init(spec, 3).is_err());
}

#[test]
fn a_state_survives_bytes_and_disk_and_a_corrupt_one_is_refused() {
    let (spec, data) = &*TINY;
    let folder = std::env::temp_dir().join(format!("tessera-model-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for state in central::train(spec, data, 2, |_| ()).unwrap().stages {
        let stage = state.stage();
        let bytes = state.to_bytes();
        let back = StageState::from_bytes(spec, stage, &bytes).unwrap();
        assert_eq!((back.state_root(), back.to_bytes()), (state.state_root(), bytes));
        let path = folder.join(format!("{stage}.safetensors"));
        state.save(&path).unwrap();
        state.save(&path).unwrap();
        assert_eq!(StageState::load(spec, stage, &path).unwrap(), state);
        assert!(StageState::load(spec, (stage + 1) % 3, &path).is_err());
        let mut stored = std::fs::read(&path).unwrap();
        let last = stored.len() - 3;
        stored[last] ^= 1;
        std::fs::write(&path, &stored).unwrap();
        assert!(matches!(StageState::load(spec, stage, &path), Err(ModelError::Corrupt { .. })));
        std::fs::write(&path, &stored[..stored.len() / 2]).unwrap();
        assert!(StageState::load(spec, stage, &path).is_err());
    }
    let missing = StageState::load(spec, 0, &folder.join("none")).unwrap_err().to_string();
    assert!(missing.contains("cannot read"), "{missing}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn training_lowers_the_held_out_loss_and_adamw_works_too() {
    let (spec, data) = &*TINY;
    let mut adamw = spec.clone();
    adamw.optimizer.kind = tessera_model::OptimizerKind::AdamW;
    for spec in [spec, &adamw] {
        let before = central::evaluate(spec, data, &central::init(spec).unwrap()).unwrap();
        let trained = central::train(spec, data, 12, |_| ()).unwrap();
        let after = central::evaluate(spec, data, &trained.stages).unwrap();
        assert!(after < before - 0.5, "{:?}: {before} to {after}", spec.optimizer.kind);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_bytes_never_panic(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>()) {
        let (spec, _) = &*TINY;
        let state = StageState::init(spec, 1).unwrap();
        let bytes = state.to_bytes();
        prop_assert!(StageState::from_bytes(spec, 1, &bytes[..cut.index(bytes.len())]).is_err());
        let mut changed = bytes.clone();
        let index = at.index(bytes.len().min(400));
        changed[index] ^= flip;
        if let Ok(other) = StageState::from_bytes(spec, 1, &changed) {
            prop_assert_ne!(other.state_root(), state.state_root());
        }
        let zero = GradSum::zero(state.weights());
        let bytes = zero.to_bytes().unwrap();
        prop_assert!(GradSum::from_bytes(state.weights(), &bytes[..cut.index(bytes.len())]).is_err());
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= flip;
        if let Ok(other) = GradSum::from_bytes(state.weights(), &changed) {
            prop_assert_ne!(other, zero);
        }
    }
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (spec, _) = &*TINY;
        let state = StageState::init(spec, 1).unwrap();
        prop_assert!(StageState::from_bytes(spec, 1, &bytes).is_err());
        prop_assert!(GradSum::from_bytes(state.weights(), &bytes).is_err());
    }
}
