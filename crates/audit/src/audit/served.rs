//! Serve audits from what was kept, and refuse everything else by name.
//!
//! Secrecy rests on who may ever hold which stage, so nothing that an audit, a dispute or a transfer asks for may widen
//! that (`verify` 11.8, and row 28 of its section 14 as this project has it: weights do not change their basis here, so
//! what must be refused is another stage's weights and the tokens of a middle stage).

use super::{
    messages::{AuditCommitment, AuditReveal, COMMITMENT, REVEAL, UnitOpen},
    retention::Retention,
};
use crate::{
    draw::{canary::CanaryOpening, pick::Pick},
    unit::{Direction, Receipt, UnitEdges, UnitId},
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey, SecretKey, Signed};

/// How often one auditor may fetch the same thing; more is a mistake or a nuisance.
const REPEATS: u8 = 4;

/// What a seat may be asked in an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // few exist at a time
pub enum Request {
    /// The input (`Forward`) or output gradient (`Backward`) of a drawn unit.
    Tensor { unit: UnitId, direction: Direction },
    /// The leaf of a drawn unit.
    Open(Signed<AuditCommitment>),
    /// The seal of a canary that a reveal found.
    Canary(Signed<AuditReveal>),
    /// The weights of a stage.
    Weights { stage: u16, generation: u32 },
    /// Which tokens a unit consists of.
    Tokens { unit: UnitId },
}

/// What a seat gives.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // few exist at a time
pub enum Answer {
    Tensor {
        /// As in [`super::Kept`].
        values: Bytes,
        receipt: Receipt,
        /// Of what the worker sent over the same edge.
        other: Option<Receipt>,
    },
    Open(Box<UnitOpen>),
    Canary(Box<CanaryOpening>),
    /// The asker holds this stage too: state transfer may serve it.
    Transfer,
}

/// Why a seat gives nothing. All are counted by the caller; `is_offence` says which cost the asker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this seat holds stage {own}; nothing of stage {asked} is given to anyone")]
    OtherStage { own: u16, asked: u16 },
    #[error("{asker} holds no seat of stage {stage}, so it may not have its weights")]
    NotOfStage { asker: PublicKey, stage: u16 },
    #[error(
        "tokens of units are nobody's to give: the first and the last stage compute them from the run's data"
    )]
    Tokens,
    #[error("this is generation {now} of the run, not {asked}")]
    Generation { now: u32, asked: u32 },
    #[error("the beacon did not draw {asker} to audit this unit")]
    NotDrawn { asker: PublicKey },
    #[error("the commitment or reveal is not signed by {asker}; commit before asking for the leaf")]
    Commitment { asker: PublicKey },
    #[error("this seat did not commit to such a unit")]
    NotMine,
    #[error("the unit is no canary")]
    NoCanary,
    #[error("nothing of this unit is kept any more; steps from {oldest} on are")]
    Gone { oldest: u64 },
    #[error("this was given {REPEATS} times already")]
    TooOften,
}

impl Refusal {
    /// Whether no honest seat asks this.
    pub fn is_offence(&self) -> bool {
        matches!(
            self,
            Self::OtherStage { .. }
                | Self::NotOfStage { .. }
                | Self::Tokens
                | Self::NotDrawn { .. }
                | Self::Commitment { .. }
        )
    }
}

/// A unit that may be audited.
#[derive(Debug)]
struct Drawn {
    step: u64,
    edges: UnitEdges,
    auditors: BTreeSet<PublicKey>,
}

/// A seat that serves audits of itself and of its neighbours.
#[derive(Debug)]
pub struct Served {
    key: SecretKey,
    stage: u16,
    generation: u32,
    retention: Retention,
    drawn: BTreeMap<Hash, Drawn>,
    given: BTreeMap<(Hash, PublicKey, u8), u8>,
    stage_seats: BTreeSet<PublicKey>,
}

impl Served {
    /// A seat of `stage`.
    pub fn new(key: SecretKey, stage: u16, generation: u32, retention: Retention) -> Self {
        Self {
            key,
            stage,
            generation,
            retention,
            drawn: BTreeMap::new(),
            given: BTreeMap::new(),
            stage_seats: BTreeSet::new(),
        }
    }
    /// The store, to put things in.
    pub fn retention(&mut self) -> &mut Retention {
        &mut self.retention
    }
    /// Who holds this seat's stage now.
    pub fn set_stage_seats(&mut self, seats: impl IntoIterator<Item = PublicKey>) {
        self.stage_seats = seats.into_iter().collect();
    }
    /// The beacon drew an audit of this seat's or a neighbour's unit, whose header lists these edges.
    pub fn allow(&mut self, pick: &Pick, edges: &UnitEdges) {
        let drawn = self.drawn.entry(pick.unit.id()).or_insert_with(|| Drawn {
            step: pick.unit.step,
            edges: edges.clone(),
            auditors: BTreeSet::new(),
        });
        drawn.auditors.insert(pick.auditor);
        drawn.auditors.extend(pick.second);
    }
    /// The run has come to `step`.
    pub fn advance(&mut self, step: u64) {
        self.retention.advance(step);
        let oldest = self.retention.reach();
        self.drawn.retain(|_, drawn| drawn.step >= oldest);
        let drawn = &self.drawn;
        self.given.retain(|(unit, _, _), _| drawn.contains_key(unit));
    }
    /// The run was rolled back to `step`. What is undone can still be audited.
    pub fn enter_generation(&mut self, generation: u32, step: u64) {
        self.generation = generation;
        self.retention.rewind(step);
    }

    /// Answer `request` of `asker`, whose identity the transport has checked.
    pub fn serve(&mut self, asker: &PublicKey, request: &Request) -> Result<Answer, Refusal> {
        match request {
            Request::Weights { stage, generation } => self.weights(asker, *stage, *generation),
            Request::Tokens { .. } => Err(Refusal::Tokens),
            Request::Tensor { unit, direction } => {
                self.check_drawn(asker, unit)?;
                self.tensor(asker, unit, *direction)
            }
            Request::Open(commitment) => {
                let signed = commitment.by == *asker
                    && commitment.value.auditor == *asker
                    && commitment.verify(COMMITMENT);
                self.check_drawn(asker, &commitment.value.unit)?;
                if !signed {
                    return Err(Refusal::Commitment { asker: *asker });
                }
                self.open(&commitment.value.unit)
            }
            Request::Canary(reveal) => {
                let signed = reveal.by == *asker && reveal.value.auditor == *asker && reveal.verify(REVEAL);
                self.check_drawn(asker, &reveal.value.unit)?;
                if !signed {
                    return Err(Refusal::Commitment { asker: *asker });
                }
                self.canary(&reveal.value.unit)
            }
        }
    }

    fn check_drawn(&self, asker: &PublicKey, unit: &UnitId) -> Result<(), Refusal> {
        if unit.generation > self.generation {
            return Err(Refusal::Generation { now: self.generation, asked: unit.generation });
        }
        match self.drawn.get(&unit.id()) {
            Some(drawn) if drawn.auditors.contains(asker) => Ok(()),
            _ => Err(Refusal::NotDrawn { asker: *asker }),
        }
    }

    fn count(&mut self, asker: &PublicKey, unit: &UnitId, what: u8) -> Result<(), Refusal> {
        let times = self.given.entry((unit.id(), *asker, what)).or_default();
        if *times >= REPEATS {
            return Err(Refusal::TooOften);
        }
        *times += 1;
        Ok(())
    }

    fn gone(&self) -> Refusal {
        Refusal::Gone { oldest: self.retention.reach() }
    }

    fn weights(&self, asker: &PublicKey, stage: u16, generation: u32) -> Result<Answer, Refusal> {
        if stage != self.stage {
            return Err(Refusal::OtherStage { own: self.stage, asked: stage });
        }
        if generation != self.generation {
            return Err(Refusal::Generation { now: self.generation, asked: generation });
        }
        if !self.stage_seats.contains(asker) {
            return Err(Refusal::NotOfStage { asker: *asker, stage });
        }
        Ok(Answer::Transfer)
    }

    /// Both sides of an edge keep a tensor under the edge's label, so this seat finds its neighbour's as well.
    fn tensor(&mut self, asker: &PublicKey, unit: &UnitId, direction: Direction) -> Result<Answer, Refusal> {
        self.count(asker, unit, direction as u8)?;
        let label = match direction {
            Direction::Forward => Some(unit.label),
            Direction::Backward => self.drawn.get(&unit.id()).map(|drawn| drawn.edges.out),
        };
        let kept = label.and_then(|label| self.retention.tensor(unit.place(), &label, direction));
        let signed = kept.and_then(|kept| Some((kept, kept.receipt_of(&unit.worker)?)));
        match signed.filter(|(_, receipt)| receipt.receipt.to == unit.worker) {
            Some((kept, receipt)) => Ok(Answer::Tensor {
                values: kept.values.clone(),
                receipt: receipt.clone(),
                other: self.other(unit, direction),
            }),
            None => Err(self.gone()),
        }
    }

    fn other(&self, unit: &UnitId, direction: Direction) -> Option<Receipt> {
        let (label, back) = match direction {
            Direction::Forward => (unit.label, Direction::Backward),
            Direction::Backward => (self.drawn.get(&unit.id())?.edges.out, Direction::Forward),
        };
        let kept = self.retention.tensor(unit.place(), &label, back)?;
        kept.receipts.iter().find(|held| held.receipt.from == unit.worker).cloned()
    }

    fn open(&self, unit: &UnitId) -> Result<Answer, Refusal> {
        if unit.worker != self.key.public() {
            return Err(Refusal::NotMine);
        }
        let committed = self.retention.committed(unit.place()).ok_or_else(|| self.gone())?;
        let (leaf, path) = committed.commitment.open(unit).ok_or(Refusal::NotMine)?;
        let receipt = |label, direction| {
            let kept = self.retention.tensor(unit.place(), label, direction)?;
            kept.receipts.iter().find(|held| held.receipt.to == unit.worker).cloned()
        };
        Ok(Answer::Open(Box::new(UnitOpen {
            x: receipt(&unit.label, Direction::Forward),
            dy: receipt(&leaf.out, Direction::Backward),
            leaf,
            path,
        })))
    }

    fn canary(&self, unit: &UnitId) -> Result<Answer, Refusal> {
        if unit.worker != self.key.public() {
            return Err(Refusal::NotMine);
        }
        let committed = self.retention.committed(unit.place()).ok_or_else(|| self.gone())?;
        let (leaf, path) = committed.commitment.open(unit).ok_or(Refusal::NotMine)?;
        let units = committed.commitment.leaves().len();
        match &committed.canary {
            Some((canary, input)) if canary.at as u64 == path.index && canary.sealed.shown == leaf.dw => {
                Ok(Answer::Canary(Box::new(canary.opening(input, units))))
            }
            _ => Err(Refusal::NoCanary),
        }
    }
}
