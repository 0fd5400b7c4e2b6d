//! Cheat, one file for each row of the attack catalogue (`verify` 14): for simulators, and for tests of real nodes.
//!
//! A cheating seat is an honest one whose [`Attacker`] is asked at every point where it could say or do something
//! else. Every method's default is honest, so a file shows exactly what its row changes. Behind the feature `attackers`:
//! no node that is built without it contains any of this.
//!
//! | row | file | what it tries |
//! |---|---|---|
//! | 1 | [`r01_random_gradients`] | random numbers of the right size instead of gradients |
//! | 2 | [`r02_sign_flip`] | gradients turned round, as they are or a thousand times as long |
//! | 3 | [`r03_scaled`] | a tenth or ten times the gradient |
//! | 4 | [`r04_stale`] | the last step's unit again |
//! | 5 | [`r05_copied`] | another seat's digests |
//! | 6 | [`r06_lazy`] | zeros |
//! | 7 | [`r07_low_precision`] | bf16 instead of f32 |
//! | 8 | [`r08_last_place`] | one value off by one unit in the last place |
//! | 9 | [`r09_delayed`] | honest at first |
//! | 10 | [`r10_intermittent`] | every tenth unit |
//! | 11 | [`r11_wrong_tokens`] | other labels at the data end |
//! | 13 | [`r13_activations`] | noise of 1 % on the output |
//! | 14 | [`r14_input_gradient`] | only dx is wrong |
//! | 15 | [`r15_wrong_fold`] | right units, another sum in the header |
//! | 16 | [`r16_aggregator`] | a wrong total of a shard |
//! | 17 | [`r17_optimizer`] | another state after the step |
//! | 18 | [`r18_free_rider`] | takes part in averaging without a unit |
//! | 19 | [`r19_colluding_auditor`] | calls a bad unit right |
//! | 20 | [`r20_lazy_auditor`] | repeats digests that it was told |
//! | 21 | [`r21_false_accusation`] | calls a good unit wrong |
//! | 22 | [`r22_withholding`] | is silent when picked |
//! | 23 | [`r23_equivocation`] | signs two headers |
//! | 24 | [`r24_grinding`] | tries many labels |
//! | 26 | [`r26_edge_denial`] | denies what it sent |
//! | 27 | [`r27_mimic`] | keeps every statistic of a monitor |
//! | 28 | [`r28_forbidden_requests`] | asks for other stages' weights and for tokens |
//! | 29 | [`r29_not_finite`] | NaN and infinity |
//! | 30 | [`r30_malformed`] | bytes that are no message |
//! | 31 | [`r31_bit_flip`] | no cheat: one honest hardware fault |
//!
//! Not here: row 12, the content of the corpus, which no check of computation can judge (the manifest is public, and
//! owners decide); row 25, a captured stage, which is a matter of seat draws and not of one seat's conduct.

pub mod r01_random_gradients;
pub mod r02_sign_flip;
pub mod r03_scaled;
pub mod r04_stale;
pub mod r05_copied;
pub mod r06_lazy;
pub mod r07_low_precision;
pub mod r08_last_place;
pub mod r09_delayed;
pub mod r10_intermittent;
pub mod r11_wrong_tokens;
pub mod r13_activations;
pub mod r14_input_gradient;
pub mod r15_wrong_fold;
pub mod r16_aggregator;
pub mod r17_optimizer;
pub mod r18_free_rider;
pub mod r19_colluding_auditor;
pub mod r20_lazy_auditor;
pub mod r21_false_accusation;
pub mod r22_withholding;
pub mod r23_equivocation;
pub mod r24_grinding;
pub mod r26_edge_denial;
pub mod r27_mimic;
pub mod r28_forbidden_requests;
pub mod r29_not_finite;
pub mod r30_malformed;
pub mod r31_bit_flip;

use crate::{
    audit::{Answer, AuditVerdict, Computed, Refusal, Request},
    reexec::{Outputs, UnitDigests},
    unit::{SignedHeader, UnitId, UnitLeaf},
};
use tessera_canon::{Domain, Hash, Prf, SecretKey};
use tessera_model::{GradPart, GradSum};

const NOISE: Domain = Domain::new("tessera/attackers/noise/v1");

/// A seat's conduct. What is not overridden is honest.
pub trait Attacker: Send {
    /// Row of the catalogue.
    fn row(&self) -> u8;
    /// What it is called in tables.
    fn name(&self) -> &'static str;
    /// Whether the next unit is one it cheats in; called once for each unit, in order.
    fn cheats(&mut self) -> bool {
        true
    }
    /// Change what a unit gave, before it is sent on and committed.
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        let _ = (unit, outputs);
    }
    /// Change labels or tokens that the data end works with.
    fn tokens(&mut self, labels: &mut [u32]) {
        let _ = labels;
    }
    /// Change what is committed of a unit, other than what was computed.
    fn leaf(&mut self, leaf: &mut UnitLeaf) {
        let _ = leaf;
    }
    /// Change the gradient sum that the header names and that is sent.
    fn sum(&mut self, sum: &mut GradSum) {
        let _ = sum;
    }
    /// The headers it signs for a step, where one is honest.
    fn headers(&mut self, key: &SecretKey, header: SignedHeader) -> Vec<SignedHeader> {
        let _ = key;
        vec![header]
    }
    /// Change the total of a shard that it adds up for others.
    fn total(&mut self, total: &mut [i64]) {
        let _ = total;
    }
    /// Change the state after the step; the bytes are [`tessera_model::StageState::to_bytes`].
    fn state(&mut self, bytes: &mut [u8]) {
        let _ = bytes;
    }
    /// What it answers a request, given the honest answer; `None` is silence.
    fn answer(
        &mut self,
        request: &Request,
        honest: Result<Answer, Refusal>,
    ) -> Option<Result<Answer, Refusal>> {
        let _ = request;
        Some(honest)
    }
    /// As an auditor: what it reports instead of computing, given digests that somebody leaked to it.
    fn report(&mut self, leaked: Option<&UnitDigests>) -> Option<Computed> {
        let _ = leaked;
        None
    }
    /// As an auditor: what it says it found.
    fn verdict(&mut self, honest: AuditVerdict) -> AuditVerdict {
        honest
    }
    /// What it asks other seats for that it should not.
    fn requests(&mut self, own: &UnitId) -> Vec<Request> {
        let _ = own;
        Vec::new()
    }
    /// Bytes that it sends in place of a message.
    fn garbage(&mut self, honest: &[u8]) -> Vec<Vec<u8>> {
        let _ = honest;
        Vec::new()
    }
}

/// Numbers that differ from unit to unit and repeat in every run of a test.
pub(crate) fn noise(unit: &UnitId) -> impl FnMut() -> f32 {
    let mut prf = Prf::from_hash(NOISE, &unit.id());
    move || {
        let mut sum = 0.0;
        for _ in 0..6 {
            let word = prf.next_u64();
            sum += (word as u32 as f32 + (word >> 32) as u32 as f32) / 4_294_967_296.0;
        }
        sum - 6.0
    }
}

/// Replace the integers of a gradient by what `change` makes of each.
pub(crate) fn change_sum(sum: &mut GradSum, mut change: impl FnMut(i64) -> i64) {
    let values = sum.values().iter().map(|value| change(*value)).collect();
    let part = GradPart { range: 0..sum.len(), microbatches: sum.microbatches(), values };
    // The part covers the sum it was made from, so it always fits.
    let _ = sum.set_part(&part);
}

/// Root mean square.
pub(crate) fn size(values: &[f32]) -> f32 {
    (values.iter().map(|value| value * value).sum::<f32>() / values.len().max(1) as f32).sqrt()
}

/// A digest that belongs to nothing.
pub(crate) fn invented(unit: &UnitId) -> Hash {
    tessera_canon::digest(NOISE, &(unit.id(), 1u8))
}
