//! Compare every gradient of every stage with central differences of its forward pass.
//!
//! For a tensor `w` with computed gradient `g`, the objective's change along `u` must be `<g, u>`. Two
//! directions per tensor: along `g` (its size is right) and along random signs (its direction is right).

use crate::{
    Role, RunSpec, StageInput, StageTarget, StageWeights, Workspace,
    gradient::{GradSum, Sign},
    real::Real,
};
use tessera_canon::{Domain, Prf};

const TOLERANCE: f64 = 0.01;

struct Case {
    weights: StageWeights,
    tokens: Vec<u32>,
    hidden: Vec<f32>,
    labels: Vec<u32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(spec: &RunSpec, stage: u16) -> Self {
        let mut draw = Prf::new(Domain::new("tessera/test/v1"), &stage.to_be_bytes());
        let (rows, vocab) = (spec.microbatch_tokens(), u64::from(spec.model.vocab));
        let tokens = (0..rows).map(|_| draw.below(vocab) as u32).collect();
        let labels = (0..rows).map(|_| draw.below(vocab) as u32).collect();
        let mut unit = || draw.below(2001) as f32 / 1000.0 - 1.0;
        let hidden = (0..spec.boundary_values()).map(|_| unit()).collect();
        let dy = (0..spec.boundary_values()).map(|_| unit() / rows as f32).collect();
        let mut weights = StageWeights::init(spec, stage).unwrap();
        for (tensor, plan) in weights.tensors.iter_mut().zip(&weights.plan.tensors) {
            if plan.role == Role::Gain {
                tensor.iter_mut().for_each(|gain| *gain += 0.3 * unit());
            }
        }
        Self { weights, tokens, hidden, labels, dy }
    }
    fn input(&self) -> StageInput<'_> {
        if self.weights.plan.first {
            StageInput::Tokens(&self.tokens)
        } else {
            StageInput::Hidden(&self.hidden)
        }
    }
    /// Mean loss on the last stage, `<dy, output>` on the others, summed in f64.
    fn objective(&self, workspace: &mut Workspace) -> f64 {
        if self.weights.plan.last {
            let losses = self.weights.evaluate(self.input(), &self.labels, workspace).unwrap();
            return losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
        }
        let y = self.weights.forward(self.input(), workspace).unwrap();
        y.iter().zip(&self.dy).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum()
    }
}

/// Signed difference quotient along `direction`, by moving `values(case)`.
fn slope(
    case: &mut Case,
    workspace: &mut Workspace,
    direction: &[f32],
    values: impl Fn(&mut Case) -> &mut Vec<f32>,
) -> f64 {
    let start = values(case).clone();
    let length = direction.iter().map(|&u| f64::from(u).powi(2)).sum::<f64>().sqrt();
    let size = 1.0 + start.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let step = (4e-3 * size / length) as f32;
    let mut at = |sign: f32| {
        let moved = values(case);
        for ((slot, &from), &u) in moved.iter_mut().zip(&start).zip(direction) {
            *slot = from + sign * step * u;
        }
        case.objective(workspace)
    };
    let difference = at(1.0) - at(-1.0);
    *values(case) = start;
    difference / (2.0 * f64::from(step))
}

fn compare(name: &str, gradient: &[f32], direction: &[f32], slope: f64) {
    let product: f64 = gradient.iter().zip(direction).map(|(&g, &u)| f64::from(g) * f64::from(u)).sum();
    let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let scale = product.abs().max(0.05 * norm(gradient) * norm(direction));
    assert!(scale > 0.0, "{name}: the gradient is zero");
    let error = (slope - product).abs() / scale;
    assert!(
        error < TOLERANCE,
        "{name}: difference quotient {slope:.6e}, gradient {product:.6e}, error {error:.4}"
    );
}

fn check_run(spec: &RunSpec) {
    let mut workspace = Workspace::new(spec).unwrap();
    for stage in 0..spec.stage_count() {
        let mut case = Case::new(spec, stage);
        let mut sum = GradSum::zero(&case.weights);
        let target = if case.weights.plan.last {
            StageTarget::Labels(&case.labels)
        } else {
            StageTarget::Grad(&case.dy)
        };
        let out =
            case.weights.backward(case.input(), target, &mut workspace, Some((&mut sum, Sign::Add))).unwrap();
        if case.weights.plan.last {
            let loss = f64::from(out.loss.unwrap());
            assert!((loss - case.objective(&mut workspace)).abs() < 1e-5);
        }
        let mut draw = Prf::new(Domain::new("tessera/test/v1"), b"signs");
        let mut signs = |n: usize| -> Vec<f32> { (0..n).map(|_| draw.below(2) as f32 * 2.0 - 1.0).collect() };
        for index in 0..case.weights.tensors.len() {
            let plan = case.weights.plan.tensors[index].clone();
            let grid = 2f32.powi(sum.exponents()[index]);
            let gradient: Vec<f32> = sum.tensor(index).iter().map(|&g| g as f32 * grid).collect();
            for direction in [gradient.clone(), signs(plan.len())] {
                let slope = slope(&mut case, &mut workspace, &direction, |c| &mut c.weights.tensors[index]);
                compare(&plan.name, &gradient, &direction, slope);
            }
        }
        if let Some(dx) = out.dx {
            for direction in [dx.clone(), signs(dx.len())] {
                let slope = slope(&mut case, &mut workspace, &direction, |c| &mut c.hidden);
                compare("the stage's input", &dx, &direction, slope);
            }
        }
    }
}

fn spec() -> RunSpec {
    let mut spec = RunSpec::preset("tiny").unwrap();
    spec.model.init_std = Real::new(0.2).unwrap();
    spec
}

#[test]
fn gradients_match_difference_quotients() {
    check_run(&spec());
}

#[test]
fn gradients_match_without_query_and_key_norm() {
    let mut spec = spec();
    spec.model.qk_norm = false;
    spec.stages = tessera_canon::List::new(vec![1, 2, 1]).unwrap();
    check_run(&spec);
}
