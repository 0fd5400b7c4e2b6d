//! Ask for what would give other stages away: their weights, or the tokens of a middle stage's units.
//!
//! Every request is refused by name and counted (in place of the catalogue's replay across bases, which do not change
//! here).

use super::Attacker;
use crate::{
    audit::Request,
    unit::{Direction, UnitId},
};

/// Row 28.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForbiddenRequests;

impl Attacker for ForbiddenRequests {
    fn row(&self) -> u8 {
        28
    }
    fn name(&self) -> &'static str {
        "forbidden requests"
    }
    fn requests(&mut self, own: &UnitId) -> Vec<Request> {
        let past = UnitId { generation: own.generation.wrapping_sub(1), ..own.clone() };
        vec![
            Request::Weights { stage: own.stage, generation: own.generation },
            Request::Weights { stage: own.stage + 1, generation: own.generation },
            Request::Weights { stage: own.stage.wrapping_sub(1), generation: own.generation },
            Request::Tokens { unit: own.clone() },
            Request::Tensor { unit: own.clone(), direction: Direction::Forward },
            Request::Tensor { unit: past, direction: Direction::Backward },
        ]
    }
}
