//! Try many canary seals, and so many headers, before committing, to get one that would not be audited.
//!
//! The beacon comes after the anchor that holds the header, so every try looks alike.

use super::Attacker;
use crate::{
    draw::{pick::Seed, rate::Standing},
    params::AuditParams,
    unit::{SignedHeader, StepHeader, UnitId},
};
use tessera_canon::{Hash, SecretKey};

/// Row 24: chooses by its guess of the beacon, the last one it knows, and takes its header's digest for the anchor.
#[derive(Clone, Debug)]
pub struct Grinding {
    pub guess: Hash,
    pub tries: u64,
    pub unit: UnitId,
    pub params: AuditParams,
    pub standing: Standing,
}

impl Attacker for Grinding {
    fn row(&self) -> u8 {
        24
    }
    fn name(&self) -> &'static str {
        "seed grinding"
    }
    fn headers(&mut self, key: &SecretKey, header: SignedHeader) -> Vec<SignedHeader> {
        let tried = (0..self.tries).map(|n| {
            let mut canary = header.value.canary;
            canary.0[..8].copy_from_slice(&n.to_le_bytes());
            StepHeader { canary, ..header.value.clone() }
        });
        let harmless = |header: &StepHeader| {
            let seed = Seed { beacon: self.guess, anchor: header.id() };
            !seed.picks(&self.unit, &self.standing, &self.params)
        };
        let found = tried.into_iter().find(harmless).unwrap_or(header.value);
        vec![SignedHeader::new(key, found)]
    }
}
