//! Carry out the audits that fell to this seat, each within its time.
//!
//! Phases of a task: *fetching* what the unit was computed from, *computing*, *committed* (waiting for the leaf),
//! *accusing* (a wrong `dW` was found; its seal may still be opened), done. A task never waits beyond
//! `most_audit_steps` after its draw.

use super::messages::{
    AuditCommitment, AuditReport, AuditReveal, AuditVerdict, COMMITMENT, REVEAL, UnitOpen, compare,
};
use crate::{
    draw::canary::CanaryOpening,
    params::AuditParams,
    reexec::UnitDigests,
    tensors,
    unit::{Direction, Receipt, StepHeader, UnitEdges, UnitId, UnitLeaf, check_leaf},
};
use std::collections::BTreeMap;
use tessera_canon::{Domain, Hash, MerklePath, PublicKey, SecretKey, Signed, digest};

const NONCE: Domain = Domain::new("tessera/audit/nonce/v1");
/// Most audits at a time.
pub const MAX_TASKS: usize = 256;

/// An audit that was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub unit: UnitId,
    pub edges: UnitEdges,
    pub header: StepHeader,
    /// Beacon of the draw.
    pub beacon: Hash,
    /// Beacon of the generation, on which canaries are drawn.
    pub epoch_beacon: Hash,
    /// Whether the input is tokens and the target is labels, which come from the run's data.
    pub from_data: [bool; 2],
    /// Columns of a boundary tensor, and its number of values.
    pub columns: usize,
    pub values: usize,
    /// Whose audit this one repeats.
    pub repeats: Option<PublicKey>,
}

/// What a computation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    pub digests: UnitDigests,
    /// The keyed trace for this auditor, and for the one whose audit is repeated.
    pub trace: Hash,
    pub repeated_trace: Option<Hash>,
}

/// What an auditor is told.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // few exist at a time
pub enum Input {
    Assign(Box<Task>),
    /// A tensor of a unit, from anyone.
    Tensor {
        from: PublicKey,
        unit: UnitId,
        direction: Direction,
        values: Vec<f32>,
        receipt: Receipt,
        /// Of what the worker sent over the same edge.
        other: Option<Receipt>,
    },
    /// The result of [`Effect::Compute`]; `None` if the unit is void.
    Computed {
        unit: UnitId,
        result: Option<Computed>,
    },
    /// The worker's leaf.
    Opened {
        unit: UnitId,
        open: Box<UnitOpen>,
    },
    /// The worker says it was a canary.
    Canary {
        unit: UnitId,
        opening: Box<CanaryOpening>,
    },
    /// The reveal of the auditor whose audit is repeated.
    Reported(Box<Signed<AuditReveal>>),
    /// Time has passed.
    Tick,
}

/// How a seat failed that is not the audited worker, or not by its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A neighbour did not serve what it countersigned.
    Unavailable,
    /// Served bytes were not those of their receipt, or the receipt not one.
    BadTensor,
    /// An auditor's verdict is not what its own or the leaf's digests say.
    FalseVerdict,
    /// An auditor reported the right digests without having computed them: the trace differs.
    Echo,
}

/// What an auditor wants done.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // few exist at a time
pub enum Effect {
    /// Ask `to` for a tensor of the unit.
    Fetch { to: PublicKey, unit: UnitId, direction: Direction },
    /// Compute the unit; where an input is `None` it comes from the run's data.
    Compute {
        unit: UnitId,
        beacon: Hash,
        input: Option<Vec<f32>>,
        gradient: Option<Vec<f32>>,
        repeats: Option<PublicKey>,
    },
    /// Send the commitment to the worker, which must open its leaf.
    Commit { to: PublicKey, commitment: Signed<AuditCommitment> },
    /// Publish the verdict.
    Reveal(Signed<AuditReveal>),
    /// The audit is over.
    Done { unit: UnitId, verdict: AuditVerdict },
    /// Open a dispute: the worker's leaf against these digests.
    Dispute {
        leaf: Box<UnitLeaf>,
        /// Of the leaf below the header's root.
        path: MerklePath,
        mine: Box<UnitDigests>,
        verdict: AuditVerdict,
        /// What the worker signed that contradicts its leaf: where the verdict is `Inputs` or `Sent`.
        receipt: Option<Box<Receipt>>,
    },
    /// Make the worker open its leaf on the ledger: it did not do so to this auditor, who has computed the unit.
    Demand { unit: UnitId, mine: Box<UnitDigests> },
    /// Report a fault of another seat.
    Fault { account: PublicKey, unit: UnitId, kind: FaultKind },
}

/// Why an input changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("no audit of this unit is under way, or not at this point")]
    NotExpected,
    #[error("{MAX_TASKS} audits are under way; the draw's next seat must take this one")]
    Full,
    #[error("the tensor or its receipt does not fit the unit")]
    BadTensor,
    #[error("the opening is not of the unit that the header commits to")]
    BadOpening,
    #[error("the message is not signed by who it names")]
    Signature,
}

#[derive(Debug)]
enum Phase {
    Fetching { parts: [Option<Vec<f32>>; 2], asked_worker: bool },
    Computing,
    Committed { report: AuditReport, mine: UnitDigests, until: u64 },
    Accusing { leaf: UnitLeaf, mine: UnitDigests, path: MerklePath, until: u64 },
}

#[derive(Debug)]
struct Open {
    task: Task,
    drawn: u64,
    asked: u64,
    phase: Phase,
    repeated_trace: Option<Hash>,
    /// Receipts of x and dy, and of dx and y that the worker sent.
    received: [Option<Receipt>; 2],
    sent: [Option<Receipt>; 2],
    first: Option<Signed<AuditReveal>>,
    /// What this audit itself found, kept until the first auditor's word is here too.
    outcome: Option<(AuditVerdict, Option<UnitDigests>)>,
}

/// The audits of one seat.
#[derive(Debug)]
pub struct Auditor {
    key: SecretKey,
    params: AuditParams,
    open: BTreeMap<Hash, Open>,
}

impl Auditor {
    /// An auditor without work.
    pub fn new(key: SecretKey, params: AuditParams) -> Self {
        Self { key, params, open: BTreeMap::new() }
    }
    /// Audits under way.
    pub fn pending(&self) -> usize {
        self.open.len()
    }
    /// Bytes of tensors held for audits under way.
    pub fn bytes(&self) -> usize {
        let held = self.open.values().filter_map(|open| match &open.phase {
            Phase::Fetching { parts, .. } => {
                Some(parts.iter().flatten().map(|part| 4 * part.len()).sum::<usize>())
            }
            _ => None,
        });
        held.sum()
    }

    /// Take `input` at step `now` of the run.
    pub fn step(&mut self, now: u64, input: Input) -> Result<Vec<Effect>, Ignored> {
        match input {
            Input::Assign(task) => self.assign(now, *task),
            Input::Tensor { from, unit, direction, values, receipt, other } => {
                let effects = self.tensor(from, &unit, direction, values, receipt)?;
                if let (Some(open), Some(other)) = (self.open.get_mut(&unit.id()), other) {
                    open.sent[usize::from(direction == Direction::Backward)] = Some(other);
                }
                Ok(effects)
            }
            Input::Computed { unit, result } => self.computed(now, &unit, result),
            Input::Opened { unit, open } => self.opened(now, &unit, *open),
            Input::Canary { unit, opening } => self.canary(&unit, &opening),
            Input::Reported(reveal) => self.reported(*reveal),
            Input::Tick => Ok(self.tick(now)),
        }
    }

    fn assign(&mut self, now: u64, task: Task) -> Result<Vec<Effect>, Ignored> {
        let id = task.unit.id();
        if self.open.contains_key(&id) || task.unit.worker == self.key.public() {
            return Err(Ignored::NotExpected);
        }
        if self.open.len() >= MAX_TASKS {
            return Err(Ignored::Full);
        }
        let phase = Phase::Fetching { parts: [None, None], asked_worker: false };
        let open = Open {
            task,
            drawn: now,
            asked: now,
            phase,
            repeated_trace: None,
            received: [None, None],
            sent: [None, None],
            first: None,
            outcome: None,
        };
        let mut effects = fetches(&open, false);
        effects.extend(self.open.entry(id).or_insert(open).start());
        Ok(effects)
    }

    fn tensor(
        &mut self,
        from: PublicKey,
        unit: &UnitId,
        direction: Direction,
        values: Vec<f32>,
        receipt: Receipt,
    ) -> Result<Vec<Effect>, Ignored> {
        let open = self.open.get_mut(&unit.id()).ok_or(Ignored::NotExpected)?;
        let task = &open.task;
        let (at, label, neighbour) = match direction {
            Direction::Forward => (0, task.unit.label, task.edges.up),
            Direction::Backward => (1, task.edges.out, task.edges.down),
        };
        let Phase::Fetching { parts, .. } = &mut open.phase else { return Err(Ignored::NotExpected) };
        if task.from_data[at] || parts[at].is_some() {
            return Err(Ignored::NotExpected);
        }
        let told = &receipt.receipt;
        let fits = (told.run, told.generation, told.step) == (unit.run, unit.generation, unit.step)
            && told.label == label
            && told.direction == direction
            && told.from == neighbour
            && told.to == unit.worker
            && values.len() == task.values
            && tensors::boundary(&values, task.columns) == told.digest
            && receipt.verify().is_ok();
        if !fits {
            // The transport has authenticated the sender, so this is its fault.
            let known = [task.edges.up, task.edges.down, unit.worker].contains(&from);
            return if known {
                Ok(vec![Effect::Fault { account: from, unit: unit.clone(), kind: FaultKind::BadTensor }])
            } else {
                Err(Ignored::BadTensor)
            };
        }
        parts[at] = Some(values);
        open.received[at] = Some(receipt);
        Ok(open.start().into_iter().collect())
    }

    fn computed(
        &mut self,
        now: u64,
        unit: &UnitId,
        result: Option<Computed>,
    ) -> Result<Vec<Effect>, Ignored> {
        let until = self.latest(unit)?;
        let open = self.open.get_mut(&unit.id()).ok_or(Ignored::NotExpected)?;
        if !matches!(open.phase, Phase::Computing) {
            return Err(Ignored::NotExpected);
        }
        // A void unit has no digests: whatever the worker committed is wrong.
        let none =
            UnitDigests { x: Hash::ZERO, y: Hash::ZERO, dy: Hash::ZERO, dx: Hash::ZERO, dw: Hash::ZERO };
        let void = Computed { digests: none, trace: Hash::ZERO, repeated_trace: None };
        let computed = result.unwrap_or(void);
        let auditor = self.key.public();
        let report = AuditReport {
            unit: unit.id(),
            auditor,
            digests: computed.digests.clone(),
            trace: computed.trace,
            nonce: digest(NONCE, &(Hash(self.key.seed()), unit.id())),
        };
        let commitment = AuditCommitment { unit: unit.clone(), auditor, commit: report.commit() };
        let commitment = Signed::new(&self.key, COMMITMENT, commitment);
        open.repeated_trace = computed.repeated_trace;
        let until = until.min(now + u64::from(self.params.audit_steps)).max(now);
        open.phase = Phase::Committed { report, mine: computed.digests, until };
        open.asked = now;
        Ok(vec![Effect::Commit { to: unit.worker, commitment }])
    }

    fn opened(&mut self, now: u64, unit: &UnitId, opening: UnitOpen) -> Result<Vec<Effect>, Ignored> {
        let id = unit.id();
        let open = self.open.get_mut(&id).ok_or(Ignored::NotExpected)?;
        let Phase::Committed { report, mine, .. } = &open.phase else { return Err(Ignored::NotExpected) };
        let UnitOpen { leaf, path, .. } = &opening;
        let task = &open.task;
        if leaf.unit != *unit || check_leaf(&task.header, &task.edges, leaf, path).is_err() {
            return Err(Ignored::BadOpening);
        }
        let mut verdict = compare(leaf, mine);
        let mut contradiction = None;
        if verdict == AuditVerdict::Inputs {
            let wrong = usize::from(leaf.x == mine.x);
            contradiction = open.received[wrong].clone();
        } else if verdict == AuditVerdict::Match {
            let [dx, y] = &open.sent;
            contradiction = [(dx, Direction::Backward), (y, Direction::Forward)]
                .into_iter()
                .find_map(|(held, direction)| held.clone().filter(|held| held.denies(leaf, direction)));
            if contradiction.is_some() {
                verdict = AuditVerdict::Sent;
            }
        }
        let reveal = AuditReveal {
            unit: unit.clone(),
            auditor: report.auditor,
            report: Some(report.clone()),
            verdict,
        };
        let mut effects = vec![Effect::Reveal(Signed::new(&self.key, REVEAL, reveal))];
        if verdict == AuditVerdict::Dw {
            // Only this digest may be a canary's.
            let until = now + 1;
            let (leaf, mine, path) = (leaf.clone(), mine.clone(), path.clone());
            open.phase = Phase::Accusing { leaf, mine, path, until };
            return Ok(effects);
        }
        let mine = mine.clone();
        if verdict.is_mismatch() {
            effects.push(Effect::Dispute {
                leaf: Box::new(opening.leaf),
                path: opening.path,
                mine: Box::new(mine.clone()),
                verdict,
                receipt: contradiction.map(Box::new),
            });
        }
        effects.extend(self.finish(&id, verdict, Some(mine)));
        Ok(effects)
    }

    fn canary(&mut self, unit: &UnitId, opening: &CanaryOpening) -> Result<Vec<Effect>, Ignored> {
        let id = unit.id();
        let open = self.open.get(&id).ok_or(Ignored::NotExpected)?;
        let Phase::Accusing { leaf, mine, path, .. } = &open.phase else { return Err(Ignored::NotExpected) };
        let truth =
            opening.verify(&open.task.header, leaf, path.index, &open.task.epoch_beacon, &self.params);
        // The sealed truth must be what the work really gives, or a cheat would seal two lies.
        if truth != Some(mine.dw) {
            return Err(Ignored::BadOpening);
        }
        let mine = mine.clone();
        Ok(self.finish(&id, AuditVerdict::Canary, Some(mine)))
    }

    /// The word of the auditor whose audit is repeated.
    fn reported(&mut self, reveal: Signed<AuditReveal>) -> Result<Vec<Effect>, Ignored> {
        let id = reveal.value.unit.id();
        let open = self.open.get_mut(&id).ok_or(Ignored::NotExpected)?;
        if open.task.repeats != Some(reveal.value.auditor) {
            return Err(Ignored::NotExpected);
        }
        if reveal.by != reveal.value.auditor || !reveal.verify(REVEAL) {
            return Err(Ignored::Signature);
        }
        open.first = Some(reveal);
        Ok(self.settle(&id))
    }

    fn tick(&mut self, now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (half, most) =
            (u64::from(self.params.audit_steps).div_ceil(2), u64::from(self.params.audit_steps));
        let ids: Vec<Hash> = self.open.keys().copied().collect();
        for id in ids {
            let Some(open) = self.open.get_mut(&id) else { continue };
            let (unit, drawn) = (open.task.unit.clone(), open.drawn);
            if open.outcome.is_some() {
                // Waits for the first auditor's word only.
                if now > drawn + u64::from(self.params.most_audit_steps) {
                    self.open.remove(&id);
                }
                continue;
            }
            match &mut open.phase {
                Phase::Fetching { asked_worker, .. } if now >= drawn + half && !*asked_worker => {
                    *asked_worker = true;
                    open.asked = now;
                    for (at, account) in [(0, open.task.edges.up), (1, open.task.edges.down)] {
                        if open.lacks(at) {
                            let kind = FaultKind::Unavailable;
                            effects.push(Effect::Fault { account, unit: unit.clone(), kind });
                        }
                    }
                    effects.extend(fetches(open, true));
                }
                Phase::Fetching { asked_worker, .. } => {
                    if now > drawn + most {
                        effects.extend(self.no_data(&id, &unit));
                    } else if now > open.asked {
                        let worker = *asked_worker;
                        open.asked = now;
                        effects.extend(fetches(open, worker));
                    }
                }
                Phase::Computing => {
                    if now > drawn + u64::from(self.params.most_audit_steps) {
                        // This seat is too slow; that is nobody else's fault.
                        self.open.remove(&id);
                    }
                }
                Phase::Committed { report, mine, until } => {
                    if now > *until {
                        effects.push(Effect::Demand { unit: unit.clone(), mine: Box::new(mine.clone()) });
                        effects.extend(self.no_data(&id, &unit));
                    } else if now > open.asked {
                        open.asked = now;
                        let commitment = AuditCommitment {
                            unit: unit.clone(),
                            auditor: report.auditor,
                            commit: report.commit(),
                        };
                        let commitment = Signed::new(&self.key, COMMITMENT, commitment);
                        effects.push(Effect::Commit { to: unit.worker, commitment });
                    }
                }
                Phase::Accusing { leaf, mine, path, until } => {
                    if now > *until {
                        let (leaf, mine, path) = (leaf.clone(), mine.clone(), path.clone());
                        let verdict = AuditVerdict::Dw;
                        effects.push(Effect::Dispute {
                            leaf: Box::new(leaf),
                            path,
                            mine: Box::new(mine.clone()),
                            verdict,
                            receipt: None,
                        });
                        effects.extend(self.finish(&id, verdict, Some(mine)));
                    }
                }
            }
        }
        effects
    }

    fn latest(&self, unit: &UnitId) -> Result<u64, Ignored> {
        let open = self.open.get(&unit.id()).ok_or(Ignored::NotExpected)?;
        Ok(open.drawn + u64::from(self.params.most_audit_steps))
    }

    fn no_data(&mut self, id: &Hash, unit: &UnitId) -> Vec<Effect> {
        let verdict = AuditVerdict::NoData;
        let reveal = AuditReveal { unit: unit.clone(), auditor: self.key.public(), report: None, verdict };
        let mut effects = vec![Effect::Reveal(Signed::new(&self.key, REVEAL, reveal))];
        effects.extend(self.finish(id, verdict, None));
        effects
    }

    fn finish(&mut self, id: &Hash, verdict: AuditVerdict, mine: Option<UnitDigests>) -> Vec<Effect> {
        let Some(open) = self.open.get_mut(id) else { return Vec::new() };
        let mut effects = vec![Effect::Done { unit: open.task.unit.clone(), verdict }];
        open.outcome = Some((verdict, mine));
        if open.task.repeats.is_none() {
            self.open.remove(id);
        } else {
            effects.extend(self.settle(id));
        }
        effects
    }

    /// Compare the first auditor's word with what this audit found, once both are here.
    fn settle(&mut self, id: &Hash) -> Vec<Effect> {
        let Some(open) = self.open.get(id) else { return Vec::new() };
        let (Some(first), Some((verdict, mine))) = (&open.first, &open.outcome) else { return Vec::new() };
        let (account, unit) = (first.value.auditor, open.task.unit.clone());
        let fault = |kind| vec![Effect::Fault { account, unit, kind }];
        let effects = match (&first.value.report, mine) {
            (Some(report), Some(mine)) => {
                // The first auditor calls a canary by the digest that differs; its opening comes afterwards.
                let said = first.value.verdict;
                let same = said == *verdict || (said == AuditVerdict::Dw && *verdict == AuditVerdict::Canary);
                if report.digests != *mine || !same {
                    fault(FaultKind::FalseVerdict)
                } else if open.repeated_trace.is_some_and(|trace| trace != report.trace) {
                    fault(FaultKind::Echo)
                } else {
                    Vec::new()
                }
            }
            // One of the two had no data: the worker may have answered one and not the other.
            _ => Vec::new(),
        };
        self.open.remove(id);
        effects
    }
}

impl Open {
    fn lacks(&self, at: usize) -> bool {
        let Phase::Fetching { parts, .. } = &self.phase else { return false };
        !self.task.from_data[at] && parts[at].is_none()
    }
    /// Start computing once everything is here.
    fn start(&mut self) -> Option<Effect> {
        if self.lacks(0) || self.lacks(1) {
            return None;
        }
        let Phase::Fetching { parts, .. } = &mut self.phase else { return None };
        let [input, gradient] = std::mem::take(parts);
        self.phase = Phase::Computing;
        let (unit, beacon) = (self.task.unit.clone(), self.task.beacon);
        Some(Effect::Compute { unit, beacon, input, gradient, repeats: self.task.repeats })
    }
}

/// Ask for what is missing: the neighbours, or the worker as well.
fn fetches(open: &Open, worker: bool) -> Vec<Effect> {
    let edges = &open.task.edges;
    let parts = [(0, edges.up, Direction::Forward), (1, edges.down, Direction::Backward)];
    let mut effects = Vec::new();
    for (at, neighbour, direction) in parts {
        if open.lacks(at) {
            let fetch = |to| Effect::Fetch { to, unit: open.task.unit.clone(), direction };
            effects.push(fetch(neighbour));
            if worker {
                effects.push(fetch(open.task.unit.worker));
            }
        }
    }
    effects
}
