//! Take part in averaging without any unit.
//!
//! A seat is paid for the units of its header and for nothing else.

use super::Attacker;
use crate::unit::{SignedHeader, StepHeader};
use tessera_canon::SecretKey;

/// Row 18: claims units in its header that it has no leaves for.
#[derive(Clone, Copy, Debug)]
pub struct FreeRider {
    pub claimed: u16,
}

impl Attacker for FreeRider {
    fn row(&self) -> u8 {
        18
    }
    fn name(&self) -> &'static str {
        "free rider"
    }
    fn headers(&mut self, key: &SecretKey, header: SignedHeader) -> Vec<SignedHeader> {
        vec![SignedHeader::new(key, StepHeader { units: self.claimed, ..header.value })]
    }
}
