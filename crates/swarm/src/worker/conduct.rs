//! Let a seat cheat, for simulators and for tests of real nodes: an attacker changes what its worker computes.

use super::Worker;
use std::collections::{BTreeMap, BTreeSet};
use tessera_audit::{
    attackers::Attacker,
    reexec::{Outputs, Work, execute},
    unit::{Label, UnitId},
};
use tessera_canon::{Hash, PublicKey, SecretKey};
use tessera_dispute::account::{Account, Tensor as Told};
use tessera_model::{GradSum, StageWeights, Workspace};

/// Decisions about units that are remembered, so that a unit is false forward and backward or not at all.
const REMEMBERED: usize = 4096;

/// Generation of the run, step and number of a unit: done again, it is another one.
type Place = (u32, u64, u32);

/// An attacker in a worker.
pub(super) struct Conduct {
    attacker: Box<dyn Attacker>,
    me: PublicKey,
    place: (Hash, u16),
    decided: BTreeMap<Place, bool>,
    /// Units whose results were changed, as far as they are remembered, and how many there were.
    changed: BTreeSet<Place>,
    falsified: u64,
}

impl Worker {
    /// Cheat from now on as `attacker` does, as the seat of `key`.
    pub fn corrupt(&mut self, attacker: Box<dyn Attacker>, key: &SecretKey) {
        let (me, place) = (key.public(), (self.shape.run, self.stage));
        self.conduct = Some(Conduct {
            attacker,
            me,
            place,
            decided: BTreeMap::new(),
            changed: BTreeSet::new(),
            falsified: 0,
        });
    }
    /// Units that came out of this worker false.
    pub fn falsified(&self) -> u64 {
        self.conduct.as_ref().map_or(0, |conduct| conduct.falsified)
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

impl Conduct {
    fn cheats(&mut self, place: Place) -> bool {
        while self.decided.len() >= REMEMBERED {
            self.decided.pop_first();
        }
        let attacker = &mut self.attacker;
        *self.decided.entry(place).or_insert_with(|| attacker.cheats())
    }
    fn count(&mut self, place: Place, changed: bool) {
        while self.changed.len() >= REMEMBERED {
            self.changed.pop_first();
        }
        if changed && self.changed.insert(place) {
            self.falsified += 1;
        }
    }
    /// A stand-in for the unit's identity: what it makes noise from must be the same forward, backward and in a dispute.
    fn unit(&self, (generation, step, number): Place) -> UnitId {
        let mut label: Label = [0; 16];
        label[..4].copy_from_slice(&number.to_be_bytes());
        let (run, stage) = self.place;
        UnitId { run, generation, step, stage, label, slot: 0, worker: self.me }
    }
    pub(super) fn forward(&mut self, place: Place, y: Vec<f32>) -> Vec<f32> {
        if !self.cheats(place) {
            return y;
        }
        let honest = bits(&y);
        let mut outputs = Outputs { y, dx: Vec::new(), dw: None };
        self.attacker.outputs(&self.unit(place), &mut outputs);
        self.count(place, bits(&outputs.y) != honest);
        outputs.y
    }
    pub(super) fn backward(&mut self, place: Place, dx: &mut Option<Vec<f32>>, dw: &mut GradSum) {
        if !self.cheats(place) {
            return;
        }
        let had = dx.is_some();
        let mut outputs = Outputs { y: Vec::new(), dx: dx.take().unwrap_or_default(), dw: Some(dw.clone()) };
        let honest = (bits(&outputs.dx), dw.values().to_vec());
        self.attacker.outputs(&self.unit(place), &mut outputs);
        let now = outputs.dw.as_ref().map(|sum| sum.values().to_vec()).unwrap_or_default();
        self.count(place, (bits(&outputs.dx), now) != honest);
        *dx = had.then_some(outputs.dx);
        if let Some(changed) = outputs.dw {
            *dw = changed;
        }
    }
    /// Tell in a dispute what was claimed, so that the game goes on to the step that is false.
    pub(super) fn tell(
        &mut self,
        place: Place,
        weights: &StageWeights,
        work: Work<'_>,
        workspace: &mut Workspace,
        account: &mut Account<'_>,
    ) {
        if !self.cheats(place) {
            return;
        }
        let Ok(mut outputs) = execute(&self.unit(place), weights, work, workspace) else { return };
        self.attacker.outputs(&self.unit(place), &mut outputs);
        let results = &account.material.program.results;
        let (y, dx, dw) = (results.y, results.dx, results.dw.clone());
        if !weights.plan().last {
            account.replace(y, Told::Numbers(outputs.y));
        }
        if let Some(dx) = dx.filter(|_| !outputs.dx.is_empty()) {
            account.replace(dx, Told::Numbers(outputs.dx));
        }
        if let Some(sum) = outputs.dw {
            for (entry, range) in dw.into_iter().zip(weights.plan().offsets()) {
                account.replace(entry, Told::Sums(sum.values()[range].to_vec()));
            }
        }
    }
}
