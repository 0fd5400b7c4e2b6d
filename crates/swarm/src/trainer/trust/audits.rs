//! Draw audits from anchored commitments, serve those of others, and carry out this seat's own.

use super::{Accuse, Assigned, Case, Demanded, Found};
use crate::{AuditJob, Effect as TrainerEffect, Job, Note, trainer::Trainer};
use bytes::Bytes;
use tessera_audit::{
    audit::{Answer, AuditVerdict, Computed, Effect, FaultKind, Ignored, Input, Refusal, Request, Task},
    draw::pick::{Candidate, Pick, Seed},
    exchange::{AuditMessage, GivenOpening, GivenTensor, Revealed, Ticket, WantOpening, WantTensor},
    reexec::UnitDigests,
    referee::Contradiction,
    unit::{Direction, Receipt, UnitId, UnitLeaf},
};
use tessera_canon::{Blob, Hash, MerklePath, PublicKey, decode};
use tessera_ledger::{action::Accusation, trust::kind::Kind};
use tessera_wire::training::Audit;

/// Most audits whose tickets are remembered.
const MAX_ASSIGNED: usize = 1024;

impl Trainer {
    pub(in crate::trainer) fn on_audit(&mut self, from: PublicKey, message: Audit, stage: u16) {
        let Ok(message) = decode::<AuditMessage>(&message.message) else {
            return self.offence(from, "an audit message that is none".into());
        };
        let same = stage == self.config.stage;
        match message {
            AuditMessage::Countersign(m) if !same => self.on_countersign(from, m),
            AuditMessage::Commit(m) if same => self.on_commit(from, m),
            AuditMessage::WantTensor(m) => self.on_want_tensor(from, m),
            AuditMessage::WantOpening(m) if same => self.on_want_opening(from, m),
            AuditMessage::GivenTensor(m) => self.on_given_tensor(from, m),
            AuditMessage::GivenOpening(m) if same => self.on_given_opening(m),
            AuditMessage::Revealed(m) if same => {
                // Only who repeats that audit expects it.
                let _ = self.audit_input(Input::Reported(Box::new(m.reveal)));
            }
            other => {
                let kind = other.kind();
                self.offence(
                    from,
                    format!("{kind} from stage {stage} is not for stage {}", self.config.stage),
                );
            }
        }
    }

    fn candidates(&self, stage: u16) -> Vec<Candidate> {
        let seats = self.roster.seats.iter().filter(|seat| seat.active && seat.stage == stage);
        seats
            .map(|seat| Candidate {
                slot: seat.index,
                account: seat.account,
                operator: Hash(seat.operator.0),
                held_state: true,
                on_probation: seat.on_probation,
            })
            .collect()
    }

    /// The audit of `unit`, if `seed` draws one.
    fn pick(&self, seed: &Seed, unit: &UnitId, seats: &[Candidate]) -> Option<Pick> {
        let rate = self.roster.seat_of(&unit.worker).map_or(0, |seat| seat.audit_rate);
        if !seed.picks_at(unit, rate.into()) {
            return None;
        }
        // Where all are new, new seats audit each other rather than none.
        let experienced = seed.audit(unit, seats, None, &self.trust.params);
        experienced.ok().or_else(|| {
            let all: Vec<Candidate> =
                seats.iter().map(|seat| Candidate { on_probation: false, ..seat.clone() }).collect();
            seed.audit(unit, &all, None, &self.trust.params).ok()
        })
    }

    fn seed_of(&self, stage: u16, window: u32) -> Option<Seed> {
        let anchored = self.roster.anchors.get(&(stage, window))?;
        (anchored.seed != Hash::ZERO).then_some(Seed { beacon: anchored.seed, anchor: anchored.root })
    }

    /// Draw the audits of every own window that the ledger has anchored and seeded.
    pub(in crate::trainer) fn draw_audits(&mut self) {
        let stage = self.config.stage;
        let windows: Vec<u32> = self.trust.windows.keys().copied().collect();
        for window in windows {
            let Some(seed) = self.seed_of(stage, window) else { continue };
            let Some(tree) = self.trust.windows.remove(&window) else { continue };
            if tree.root() != seed.anchor {
                // The stage's majority reported other commitments than this seat knows.
                self.note(Note::Trouble {
                    what: format!(
                        "window {window} was reported with other commitments; this seat audits none of it"
                    ),
                });
                continue;
            }
            let seats = self.candidates(stage);
            let (mut units, mut drawn) = (0, 0);
            for (_, _, id) in tree.places() {
                let Some(commit) = self.trust.known.get(id).cloned() else { continue };
                let Ok(ids) = commit.header.value.unit_ids(&commit.list) else { continue };
                for (at, unit) in ids.iter().enumerate() {
                    units += 1;
                    let Some(pick) = self.pick(&seed, unit, &seats) else { continue };
                    drawn += 1;
                    let edges = commit.list.units[at].clone();
                    self.trust.served.allow(&pick, &edges);
                    let mine = pick.auditor == self.me || pick.second == Some(self.me);
                    let (Some(anchor), Some(listed)) =
                        (tree.path(&commit.header.value), commit.list.path(at))
                    else {
                        continue;
                    };
                    if mine && self.trust.assigned.len() < MAX_ASSIGNED {
                        let header = commit.header.value.clone();
                        let ticket = Ticket { window, header, anchor, edges, listed };
                        let repeats = (pick.auditor != self.me).then_some(pick.auditor);
                        self.assign(unit, ticket, commit.header.clone(), seed.beacon, repeats);
                    }
                }
            }
            self.note(Note::Drawn { window, units, audits: drawn });
        }
    }

    fn assign(
        &mut self,
        unit: &UnitId,
        ticket: Ticket,
        header: tessera_audit::unit::SignedHeader,
        beacon: Hash,
        repeats: Option<PublicKey>,
    ) {
        let shape = &self.config.shape;
        let task = Task {
            unit: unit.clone(),
            edges: ticket.edges.clone(),
            header: header.value.clone(),
            beacon,
            epoch_beacon: Hash::ZERO,
            from_data: [self.is_first(), self.is_last()],
            columns: shape.width,
            values: shape.rows * shape.width,
            repeats,
        };
        self.trust
            .assigned
            .insert(unit.id(), Assigned { ticket, header, material: [None, None], mine: None, told: None });
        // A seat with too many audits leaves this one; the dispute of another unit will do.
        let _ = self.audit_input(Input::Assign(Box::new(task)));
    }

    /// The unit that `asker` was drawn to audit, by the ticket that it brings.
    fn admit(&mut self, asker: &PublicKey, ticket: &Ticket) -> Result<UnitId, Refusal> {
        let refused = Refusal::NotDrawn { asker: *asker };
        let stage = ticket.header.stage;
        let seed = self.seed_of(stage, ticket.window).ok_or(refused.clone())?;
        let unit = ticket.unit(&seed.anchor).filter(|_| ticket.header.run == self.config.shape.run);
        let unit = unit.ok_or(refused.clone())?;
        let pick = self.pick(&seed, &unit, &self.candidates(stage)).ok_or(refused)?;
        self.trust.served.allow(&pick, &ticket.edges);
        Ok(unit)
    }

    fn serve(
        &mut self,
        from: PublicKey,
        ticket: &Ticket,
        request: impl Fn(UnitId) -> Request,
    ) -> Option<Answer> {
        let answer =
            self.admit(&from, ticket).and_then(|unit| self.trust.served.serve(&from, &request(unit)));
        match answer {
            Ok(answer) => Some(answer),
            Err(refusal) => {
                // The ledger may have told the asker of a draw before it told this seat, so this costs it nothing.
                self.note(Note::Refused { peer: from, why: refusal.to_string() });
                None
            }
        }
    }

    fn on_want_tensor(&mut self, from: PublicKey, message: WantTensor) {
        let direction = message.direction;
        let answer = self.serve(from, &message.ticket, |unit| Request::Tensor { unit, direction });
        let Some(Answer::Tensor { values, receipt, other }) = answer else { return };
        let Ok(values) = Blob::new(values) else { return };
        let Some(unit) = message.ticket.header.unit_id(&message.ticket.edges, &message.ticket.listed) else {
            return;
        };
        self.tell(from, GivenTensor { unit: unit.id(), direction, values, receipt, other });
    }

    fn on_want_opening(&mut self, from: PublicKey, message: WantOpening) {
        let WantOpening { ticket, commitment } = message;
        #[cfg(feature = "attackers")]
        if self.trust.withholds {
            return;
        }
        if let Some(Answer::Open(open)) = self.serve(from, &ticket, |_| Request::Open(commitment.clone())) {
            self.tell(from, GivenOpening { open: *open });
        }
    }

    fn on_given_tensor(&mut self, from: PublicKey, message: GivenTensor) {
        let GivenTensor { unit, direction, values, receipt, other } = message;
        let Some(assigned) = self.trust.assigned.get_mut(&unit) else { return };
        let Some(id) = assigned.header.value.unit_id(&assigned.ticket.edges, &assigned.ticket.listed) else {
            return;
        };
        let at = usize::from(direction == Direction::Backward);
        assigned.material[at] = Some(values.bytes().clone());
        let values = tessera_audit::audit::numbers(&values);
        if self.audit_input(Input::Tensor { from, unit: id, direction, values, receipt, other }).is_err()
            && let Some(assigned) = self.trust.assigned.get_mut(&unit)
        {
            assigned.material[at] = None;
        }
    }

    fn on_given_opening(&mut self, message: GivenOpening) {
        let leaf = &message.open.leaf;
        let unit = leaf.unit.clone();
        let UnitLeaf { x, y, dy, dx, dw, .. } = *leaf;
        if let Some(assigned) = self.trust.assigned.get_mut(&unit.id()) {
            assigned.told = Some(UnitDigests { x, y, dy, dx, dw });
        }
        let _ = self.audit_input(Input::Opened { unit, open: Box::new(message.open) });
    }

    pub(in crate::trainer) fn on_audited(&mut self, unit: UnitId, result: Option<Computed>) {
        if let (Some(assigned), Some(computed)) = (self.trust.assigned.get_mut(&unit.id()), &result) {
            assigned.mine = Some(computed.digests.clone());
        }
        let _ = self.audit_input(Input::Computed { unit, result });
    }

    /// The auditor's clock: audits are given so many ticks.
    fn audit_clock(&self) -> u64 {
        self.now / self.config.tuning.audit_tick.max(1)
    }

    pub(in crate::trainer) fn tick_audits(&mut self) {
        let clock = self.audit_clock();
        if clock > self.trust.ticked {
            self.trust.ticked = clock;
            let _ = self.audit_input(Input::Tick);
        }
    }

    /// Give the auditor an input and do what it wants.
    fn audit_input(&mut self, input: Input) -> Result<(), Ignored> {
        let clock = self.audit_clock();
        for effect in self.trust.auditor.step(clock, input)? {
            self.audit_effect(effect);
        }
        Ok(())
    }

    fn audit_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { to, unit, direction } => {
                if let Some(assigned) = self.trust.assigned.get(&unit.id()) {
                    let ticket = assigned.ticket.clone();
                    self.tell(to, WantTensor { ticket, direction });
                }
            }
            Effect::Compute { unit, beacon, input, gradient, repeats } => {
                let Some(assigned) = self.trust.assigned.get(&unit.id()) else { return };
                let weights = assigned.header.value.weights;
                let number = super::number_of(&unit.label);
                let auditor = self.me;
                let job = AuditJob { unit, number, weights, input, gradient, auditor, beacon, repeats };
                self.trust.jobs.push_back(Job::Audit(Box::new(job)));
            }
            Effect::Commit { to, commitment } => {
                if let Some(assigned) = self.trust.assigned.get(&commitment.value.unit.id()) {
                    let ticket = assigned.ticket.clone();
                    self.tell(to, WantOpening { ticket, commitment });
                }
            }
            Effect::Reveal(reveal) => {
                for peer in self.live_at(self.config.stage) {
                    self.tell(peer, Revealed { reveal: reveal.clone() });
                }
            }
            Effect::Done { unit, verdict } => {
                let number = super::number_of(&unit.label);
                let Some(assigned) = self.trust.assigned.remove(&unit.id()) else { return };
                let Assigned { ticket, mine, told, .. } = assigned;
                let found = Box::new(Found { ticket, mine, told });
                let (worker, step) = (unit.worker, unit.step);
                self.note(Note::Audited { worker, step, unit: number, verdict, found });
            }
            Effect::Dispute { leaf, path, verdict, receipt, .. } => {
                self.accuse(*leaf, path, verdict, receipt.map(|receipt| *receipt));
            }
            Effect::Demand { unit, mine } => self.demand(unit, *mine),
            Effect::Fault { account, unit, kind } => {
                let (step, number) = (unit.step, super::number_of(&unit.label));
                let what = match kind {
                    FaultKind::Unavailable => "did not give what it countersigned",
                    FaultKind::BadTensor => "gave a tensor that is not the one of its receipt",
                    FaultKind::FalseVerdict => "audited falsely",
                    FaultKind::Echo => "reported an audit without computing it",
                };
                self.note(Note::Fault { account, step, unit: number, what: what.into() });
            }
        }
    }

    /// Have the ledger make the worker open `unit`, which it kept from this auditor.
    fn demand(&mut self, unit: UnitId, mine: UnitDigests) {
        if !self.config.trust.demands {
            let what = "did not open what it committed to".into();
            let (account, step, unit) = (unit.worker, unit.step, super::number_of(&unit.label));
            return self.note(Note::Fault { account, step, unit, what });
        }
        let Some(assigned) = self.trust.assigned.get(&unit.id()) else { return };
        let (header, at) = (assigned.header.clone(), assigned.ticket.listed.index as u32);
        let [input, gradient] = assigned.material.clone();
        let (window, stage, account) = (header.value.window, unit.stage, unit.worker);
        self.trust.demanded.insert((window, account, at), Demanded { unit, mine, input, gradient });
        let demand = super::Demand { window, stage, account, header, unit: at };
        self.effects.push(TrainerEffect::Demand(Box::new(demand)));
    }

    /// Take a worker's false leaf to the ledger.
    fn accuse(&mut self, leaf: UnitLeaf, path: MerklePath, verdict: AuditVerdict, receipt: Option<Receipt>) {
        let Some(assigned) = self.trust.assigned.get(&leaf.unit.id()) else { return };
        let header = &assigned.header;
        let (account, stage, step) = (leaf.unit.worker, leaf.unit.stage, leaf.unit.step);
        let unit = super::number_of(&leaf.unit.label);
        let evidence = leaf.claim().digest();
        let accusation = Accusation {
            kind: Kind::Dot,
            evidence,
            path,
            generation: header.value.generation,
            step,
            root: header.value.units_root,
            rest: header.value.id(),
            signature: header.signature,
        };
        let window = header.value.window;
        let contradiction = receipt.map(|Receipt { receipt, sender, receiver }| {
            let signature = if receipt.to == account { receiver } else { sender };
            let (header, edges) = (header.value.clone(), assigned.ticket.edges.clone());
            let (path, claim) = (assigned.ticket.listed.clone(), leaf.claim());
            Box::new(Contradiction { header, edges, path, claim, receipt, signature })
        });
        let [input, gradient]: [Option<Bytes>; 2] = assigned.material.clone();
        let (claim, number) = (leaf.claim(), unit);
        let case = Case { claim, number, input, gradient, seen: false, played: None };
        self.trust.cases.insert(evidence, case);
        self.note(Note::Accused { account, step, unit, verdict });
        let accuse = Accuse { window, stage, account, accusation, contradiction };
        self.effects.push(TrainerEffect::Accuse(Box::new(accuse)));
    }
}
