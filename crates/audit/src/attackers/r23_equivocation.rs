//! Sign two headers for one step: one for the ledger, one for whoever adds up.
//!
//! The pair convicts without re-execution.

use super::Attacker;
use crate::unit::{SignedHeader, StepHeader};
use tessera_canon::{Hash, SecretKey};

/// Row 23.
#[derive(Clone, Copy, Debug, Default)]
pub struct Equivocating;

impl Attacker for Equivocating {
    fn row(&self) -> u8 {
        23
    }
    fn name(&self) -> &'static str {
        "two headers"
    }
    fn headers(&mut self, key: &SecretKey, header: SignedHeader) -> Vec<SignedHeader> {
        let other = StepHeader { grad_root: Hash([0xee; 32]), ..header.value.clone() };
        vec![header, SignedHeader::new(key, other)]
    }
}
