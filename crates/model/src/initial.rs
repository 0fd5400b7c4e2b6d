//! Draw a run's initial weights, the same bits for everybody.
//!
//! Gains start at one. Every other weight is a sum of four independent uniform 16-bit integers (Irwin-Hall,
//! close to a normal distribution cut at 3.5 standard deviations) from the PRF keyed by
//! (run_id, tensor name), centred and multiplied once by an f32 scale. Integers this small are exact in
//! f32, so no step depends on a mathematics library. Matrices that write into the residual stream are
//! scaled by `1 / sqrt(2 * layers)` (Radford et al. 2019).

use crate::{
    plan::{Role, TensorPlan},
    spec::RunSpec,
};
use tessera_canon::{Domain, Hash, Prf};

const INITIAL: Domain = Domain::new("tessera/initial-weight/v1");

/// The initial values of `tensor` in the run `run_id`, whose specification is `spec`.
pub(crate) fn values(spec: &RunSpec, run_id: &Hash, tensor: &TensorPlan) -> Vec<f32> {
    if tensor.role == Role::Gain {
        return vec![1.0; tensor.len()];
    }
    let damping = match tensor.role {
        Role::ResidualOutput => f64::from(2 * spec.model.layers).sqrt(),
        _ => 1.0,
    };
    // The variance of one draw is (2^32 - 1) / 12, of four a third of 2^32 - 1.
    let scale = (spec.model.init_std.get() / damping * 3f64.sqrt() / 65_536.0) as f32;
    let mut draws = Prf::new(INITIAL, &[&run_id.0[..], tensor.name.as_bytes()].concat());
    let mut draw = || {
        let bits = draws.next_u64();
        let sum: i32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xFFFF) as i32).sum();
        (sum - 2 * 65_535) as f32 * scale
    };
    (0..tensor.len()).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_the_stated_spread_and_depend_on_the_name() {
        let spec = RunSpec::preset("nano").unwrap();
        let id = spec.run_id();
        for tensor in spec.stage_plan(0).unwrap().tensors {
            let weights = values(&spec, &id, &tensor);
            let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64;
            let square = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64;
            let expected = match tensor.role {
                Role::Gain => 1.0,
                Role::ResidualOutput => 0.02 / 12f64.sqrt(),
                _ => 0.02,
            };
            assert!((square.sqrt() / expected - 1.0).abs() < 0.02, "{}: {}", tensor.name, square.sqrt());
            assert!(
                tensor.role == Role::Gain || mean.abs() < 0.02 * expected * 4.0,
                "{}: {mean}",
                tensor.name
            );
            let renamed = TensorPlan { name: format!("{}x", tensor.name), ..tensor.clone() };
            assert!(tensor.role == Role::Gain || values(&spec, &id, &renamed) != weights);
            assert_eq!(values(&spec, &id, &tensor), weights);
        }
    }
}
