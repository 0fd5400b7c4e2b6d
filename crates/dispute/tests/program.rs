//! The program of a unit gives the bits of the stage: every output that a unit signs, by kernels and by traces.

use tessera_arith::trace::Arithmetic;
use tessera_canon::{Domain, Hash, Prf};
use tessera_dispute::{
    account::{Account, Material, Tensor},
    program::{MAX_EMBEDDED_ROWS, Made, Origin, Program, ProgramError},
    tensor::{Values, digest},
};
use tessera_model::{GradSum, RunSpec, Sign, StageInput, StageTarget, StageWeights, Workspace};

/// Numbers of the size of activations.
fn numbers(random: &mut Prf, len: usize) -> Vec<f32> {
    (0..len).map(|_| (random.below(4001) as f32 - 2000.0) / 1024.0).collect()
}

fn check(spec: &RunSpec, stage: u16) {
    let weights = StageWeights::init(spec, stage).unwrap();
    let mut workspace = Workspace::new(spec).unwrap();
    let mut random = Prf::new(Domain::new("tessera/test/program/v1"), &[stage as u8]);
    let (rows, values) = (spec.microbatch_tokens(), spec.boundary_values());
    let indices = |random: &mut Prf| -> Vec<u32> {
        (0..rows).map(|_| random.below(u64::from(spec.model.vocab)) as u32).collect()
    };
    let (first, last) = (weights.plan().first, weights.plan().last);
    let (tokens, labels) = (indices(&mut random), indices(&mut random));
    let (hidden, gradient) = (numbers(&mut random, values), numbers(&mut random, values));
    let input = if first { StageInput::Tokens(&tokens) } else { StageInput::Hidden(&hidden) };
    let target = if last { StageTarget::Labels(&labels) } else { StageTarget::Grad(&gradient) };
    let mut sum = GradSum::zero(&weights);
    let y = match last {
        true => weights.evaluate(input, &labels, &mut workspace).unwrap(),
        false => weights.forward(input, &mut workspace).unwrap(),
    };
    let back = weights.backward(input, target, &mut workspace, Some((&mut sum, Sign::Add))).unwrap();

    let x = if first { Tensor::Indices(tokens.clone()) } else { Tensor::Numbers(hidden.clone()) };
    let dy = if last { Tensor::Indices(labels.clone()) } else { Tensor::Numbers(gradient.clone()) };
    let place = (stage, 0, Hash([7; 32]));
    let material = Material::new(spec, place, x, dy, weights.tensors(), weights.exponents()).unwrap();
    let mut account = Account::new(&material).unwrap();
    let program = &material.program;
    assert_eq!(*account.entry(program.results.y).unwrap(), Tensor::Numbers(y.clone()), "y");
    match (program.results.dx, back.dx) {
        (Some(dx), Some(expected)) => assert_eq!(*account.entry(dx).unwrap(), Tensor::Numbers(expected)),
        (dx, expected) => assert!(dx.is_none() && expected.is_none()),
    }
    let offsets = weights.plan().offsets();
    for (entry, range) in program.results.dw.iter().zip(offsets) {
        let expected = sum.values()[range].to_vec();
        assert!(expected.iter().any(|steps| *steps != 0));
        assert_eq!(*account.entry(*entry).unwrap(), Tensor::Sums(expected), "entry {entry}");
    }
    let claim = account.claim().unwrap();
    let dims: &[usize] = if last { &[rows] } else { &[rows, spec.model.d_model as usize] };
    assert_eq!(claim.y, digest(dims, Values::Numbers(&y)).unwrap());
    // The program's shape.
    let told = program.entries.iter().filter(|entry| entry.told).count();
    assert!(
        program
            .entries
            .iter()
            .all(|entry| !entry.told || !matches!(entry.made, Made::By { output: false, .. }))
    );
    println!(
        "{} stage {stage}: {} operations, {} tensors of which {told} are told, {} parts",
        &*spec.name,
        program.steps.len(),
        program.entries.len(),
        program.parts.len()
    );
    // Some elements of every output, by trace.
    for step in 0..program.steps.len() {
        for entry in program.steps[step].entries.clone() {
            if let Made::By { output: true, .. } = program.entries[entry].made {
                let len: usize = program.entries[entry].dims.iter().product();
                for index in [0, len - 1, random.below(len as u64) as usize] {
                    let expected = account.entry(entry).unwrap().values().bits(index).unwrap();
                    let traced = account.value(entry, index, Arithmetic::Referee).unwrap();
                    assert_eq!(
                        traced, expected,
                        "{:?} {:?}[{index}]",
                        program.steps[step].operation, program.entries[entry]
                    );
                }
            }
        }
    }
    // Whatever an entry reads stands before it.
    for step in &program.steps {
        for (_, origin) in &step.inputs {
            assert!(!matches!(origin, Origin::Made(entry) if *entry >= step.entries.start));
        }
    }
}

#[test]
fn a_program_gives_the_bits_of_the_stage() {
    let mut spec = RunSpec::preset("tiny").unwrap();
    for qk_norm in [true, false] {
        spec.model.qk_norm = qk_norm;
        spec.validate().unwrap();
        (0..spec.stage_count()).for_each(|stage| check(&spec, stage));
    }
}

#[test]
fn runs_that_do_not_fit_are_refused_by_name() {
    let program = |name: &str, stage: u16| {
        let spec = RunSpec::preset(name).unwrap();
        let exponents = spec.stage_plan(stage).map_or(0, |plan| plan.tensors.len());
        Program::new(&spec, stage, &vec![-30; exponents])
    };
    for (name, stages) in [("tiny", 0..3), ("nano", 0..3), ("micro", 1..5)] {
        for stage in stages {
            let program = program(name, stage).unwrap();
            println!("{name} {stage}: {} parts, {} tensors", program.parts.len(), program.entries.len());
        }
    }
    let rows = program("micro", 0);
    assert_eq!(rows, Err(ProgramError::TooLarge { what: "rows", most: MAX_EMBEDDED_ROWS, got: 2048 }));
    let most = 96 * 1024 * 1024;
    let blocks = program("base", 1);
    assert_eq!(blocks, Err(ProgramError::TooLarge { what: "bytes of a tensor", most, got: 150_994_944 }));
    assert_eq!(program("tiny", 3), Err(ProgramError::NoSuchStage { got: 3, count: 3 }));
    let spec = RunSpec::preset("tiny").unwrap();
    assert!(matches!(Program::new(&spec, 0, &[]), Err(ProgramError::Exponents { got: 0, .. })));
}

#[test]
fn tables_of_positions_are_those_of_the_recipe() {
    let spec = RunSpec::preset("nano").unwrap();
    let plan = spec.stage_plan(1).unwrap();
    let program = Program::new(&spec, 1, &vec![0; plan.tensors.len()]).unwrap();
    let (seq, head_dim) = (spec.model.seq_len as usize, spec.model.head_dim());
    let table = tessera_arith::rope::RopeTable::new(seq, head_dim, spec.model.rope_theta.get()).unwrap();
    for (origin, values) in [(Origin::Cosines, table.cosines()), (Origin::Sines, table.sines())] {
        for (index, value) in values.iter().enumerate() {
            assert_eq!(program.rotary(origin, index), Some(u64::from(value.to_bits())));
        }
    }
}
