//! Commit to work of an earlier step: the old header again under the new step's number, on the old state.
//!
//! Refused by the header alone, without re-execution: it binds step and state root.

use super::Attacker;
use crate::unit::{SignedHeader, StepHeader};
use tessera_canon::SecretKey;

/// Row 4.
#[derive(Clone, Debug, Default)]
pub struct Stale {
    first: Option<StepHeader>,
}

impl Attacker for Stale {
    fn row(&self) -> u8 {
        4
    }
    fn name(&self) -> &'static str {
        "stale work"
    }
    fn headers(&mut self, key: &SecretKey, header: SignedHeader) -> Vec<SignedHeader> {
        match &self.first {
            None => {
                self.first = Some(header.value.clone());
                vec![header]
            }
            Some(first) => {
                let step = header.value.step;
                let stale = StepHeader { step, previous: header.value.previous, ..first.clone() };
                vec![SignedHeader::new(key, stale)]
            }
        }
    }
}
