//! Check a whole state against the ledger's invariants (ownership specification 9.5), by scanning every cell.
//!
//! Sums saturate: cells that no ledger wrote break an invariant, they do not stop the scan.

mod credits;
mod extraction;
mod governance;
mod market;
mod trust;

use crate::{
    keys,
    memory::MemState,
    record::*,
    run::{WEIGHT_MAX, WEIGHT_MIN},
};
use ruint::aliases::U256;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::Saturating,
};
use tessera_canon::Hash;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {name} is broken: {detail}")]
pub struct Violation {
    /// The name in the specification, or `CELL`, `LIST`, `INS`, `CAP`.
    pub name: &'static str,
    pub detail: String,
}

fn hold(name: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { name, detail: detail() }) }
}

#[derive(Default)]
struct RunSums {
    notes: Saturating<u128>,
    auctioned: Saturating<u128>,
    locked: Saturating<u128>,
    claims_pending: Saturating<u128>,
    claims_active: Saturating<u128>,
    claims_void: Saturating<u128>,
    claims: Vec<Claim>,
    windows: BTreeMap<u32, Window>,
}

#[derive(Default)]
struct Scan {
    money: Saturating<u128>,
    globals: Option<Globals>,
    terms: BTreeMap<Hash, RunTerms>,
    runs: BTreeMap<Hash, Run>,
    credits: BTreeMap<Hash, Credits>,
    designers: BTreeSet<(Hash, tessera_canon::PublicKey)>,
    sums: BTreeMap<Hash, RunSums>,
    notes: BTreeMap<Hash, Note>,
    market: market::Market,
    locks: BTreeMap<Hash, Lock>,
    locked_notes: BTreeMap<Hash, Hash>,
    owners: Vec<Owner>,
    members: Vec<Member>,
    stages: BTreeMap<(Hash, u16), Stage>,
    seats: Vec<Seat>,
    lineages: BTreeMap<Hash, Lineage>,
    coverages: Vec<Coverage>,
    concentrations: BTreeMap<Hash, Concentration>,
    lists: BTreeMap<Hash, BTreeSet<Hash>>,
    credits_room: credits::Room,
    slots: u64,
    lengths: u64,
    positions: u64,
    // Trust.
    disputes: Vec<Dispute>,
    policies: Vec<RunPolicy>,
}

/// Check `state`; the first violation found is returned.
pub fn check(state: &MemState) -> Result<(), Violation> {
    let (mut scan, mut votes) = (Scan::default(), governance::Scan::default());
    for (key, cell) in &state.0 {
        let record = cell.unpack();
        hold("CELL", record.is_some(), || format!("cell {key} does not decode"))?;
        if let Some(record) = record {
            votes.take(&record);
            scan.take(state, record)?;
        }
    }
    scan.count_notes();
    scan.money()?;
    scan.notes()?;
    scan.lists()?;
    extraction::check(&scan)?;
    trust::check(state, &scan)?;
    for (id, credits) in &scan.credits {
        scan.run(id, credits)?;
    }
    votes.check(state)?;
    scan.market.check(&scan.credits, &scan.owners)?;
    scan.credits_room.check(&scan.credits, &scan.members, &scan.lists)?;
    Ok(())
}

impl Scan {
    fn of(&mut self, run: Hash) -> &mut RunSums {
        self.sums.entry(run).or_default()
    }

    /// Unspent notes count while their series lives.
    fn count_notes(&mut self) {
        let unspent = self.notes.values().filter(|note| note.state == NoteState::Unspent);
        for note in unspent {
            let current = self.credits.get(&note.run).map_or(0, |credits| credits.series);
            if crate::series::live(current, note.series) {
                self.sums.entry(note.run).or_default().notes += u128::from(note.cu);
            }
        }
    }

    fn take(&mut self, state: &MemState, record: Record) -> Result<(), Violation> {
        self.money += self.credits_room.take(&record);
        match record {
            Record::Globals(globals) => self.globals = Some(globals),
            Record::Account(account) => self.money += account.balance,
            Record::RunTerms(terms) => drop(self.terms.insert(terms.run, terms)),
            Record::Run(run) => {
                self.money += run.bond;
                self.runs.insert(run.run, run);
            }
            Record::Credits(credits) => drop(self.credits.insert(credits.run, credits)),
            Record::Member(member) => {
                self.money += member.bond;
                self.members.push(member);
            }
            Record::Stage(stage) => drop(self.stages.insert((stage.run, stage.stage), stage)),
            Record::Seat(seat) => self.seats.push(seat),
            Record::Lineage(lineage) => drop(self.lineages.insert(lineage.child, lineage)),
            Record::Coverage(coverage) => self.coverages.push(coverage),
            Record::Concentration(most) => drop(self.concentrations.insert(most.run, most)),
            Record::Measurement(measurement) => self.money += measurement.bond,
            Record::Designer(designer) => drop(self.designers.insert((designer.run, designer.account))),
            Record::Window(window) => drop(self.of(window.run).windows.insert(window.window, window)),
            Record::Claim(claim) => {
                let condemned = trust::condemned(state, &claim);
                let sums = self.of(claim.run);
                match claim.state {
                    ClaimState::Pending | ClaimState::Disputed if condemned => {
                        sums.claims_void += claim.shares
                    }
                    ClaimState::Pending | ClaimState::Disputed => sums.claims_pending += claim.shares,
                    ClaimState::Active => {
                        sums.claims_active += claim.shares.saturating_sub(claim.voided);
                        sums.claims_void += claim.voided;
                    }
                    ClaimState::Void => sums.claims_void += claim.shares,
                }
                sums.claims.push(claim);
            }
            Record::Owner(owner) => self.owners.push(owner),
            Record::Proposal(proposal) => self.money += proposal.deposit,
            Record::Bond(bond) => self.money += bond.amount,
            Record::Note(note) => {
                if note.state == NoteState::Offered {
                    self.of(note.run).auctioned += u128::from(note.cu);
                }
                self.notes.insert(note.id, note);
            }
            Record::Lock(lock) => {
                if credits::holds_notes(lock.state) {
                    self.of(lock.run).locked += u128::from(lock.cu);
                }
                self.locks.insert(lock.order, lock);
            }
            Record::LockedNotes(cell) => {
                let live = state.get(&keys::lock(&cell.order)).and_then(|cell| cell.unpack());
                let live =
                    live.and_then(Lock::from_record).is_some_and(|lock| credits::holds_notes(lock.state));
                for note in cell.notes.iter().filter(|_| live) {
                    let other = self.locked_notes.insert(*note, cell.order);
                    hold("NOTE", other.is_none(), || format!("note {note} has two live orders"))?;
                }
            }
            Record::Escrow(escrow) => self.money += escrow.held,
            Record::ListLength(length) => self.lengths = self.lengths.saturating_add(length.count),
            Record::ListSlot(slot) => {
                self.slots += 1;
                let new = self.lists.entry(slot.list).or_default().insert(slot.id);
                hold("LIST", new, || format!("{} stands twice on list {}", slot.id, slot.list))?;
                let at = state.get(&keys::list_position(&slot.list, &slot.id)).and_then(|c| c.unpack());
                let at = at.and_then(ListPosition::from_record).map(|position| position.at);
                hold("LIST", at == Some(slot.at), || format!("{slot:?} has position {at:?}"))?;
            }
            Record::ListPosition(_) => self.positions += 1,
            // Trust.
            Record::Canary(canary) => self.money += canary.deposit,
            Record::Dispute(dispute) => {
                self.money += dispute.bond;
                self.money += dispute.counter;
                self.disputes.push(dispute);
            }
            Record::RunPolicy(policy) => self.policies.push(policy),
            other => self.money += self.market.take(other),
        }
        Ok(())
    }

    /// U: nothing of the native unit appears or disappears.
    fn money(&self) -> Result<(), Violation> {
        let Some(globals) = &self.globals else { return hold("U", false, || "no globals cell".into()) };
        let sum = self.money + Saturating(globals.fund) + Saturating(globals.burned);
        hold("U", sum.0 == globals.issued, || format!("sum {sum}, issued {}", globals.issued))
    }

    /// NOTE: a note's state agrees with its offer or its one live order.
    fn notes(&self) -> Result<(), Violation> {
        for note in self.notes.values() {
            let holds = match note.state {
                NoteState::Unspent => note.bound_to == Hash::ZERO,
                NoteState::Offered => self.market.sells(&note.bound_to, &note.id),
                NoteState::Locked => self.locked_notes.get(&note.id) == Some(&note.bound_to),
                NoteState::Spent => !self.locked_notes.contains_key(&note.id),
            };
            hold("NOTE", holds && note.cu > 0, || format!("{note:?}"))?;
        }
        let locked = self.notes.values().filter(|note| note.state == NoteState::Locked).count();
        hold("NOTE", locked == self.locked_notes.len(), || "a live order names a note not locked".into())?;
        let offered = self.notes.values().filter(|note| note.state == NoteState::Offered).count();
        hold("NOTE", offered == self.market.notes_for_sale(), || "an order without its note".into())
    }

    /// LIST: counters, slots and positions agree, and wallets find what they own.
    fn lists(&self) -> Result<(), Violation> {
        hold("LIST", self.slots == self.lengths && self.slots == self.positions, || {
            format!("{} slots, {} counted, {} positions", self.slots, self.lengths, self.positions)
        })?;
        let has = |list: Hash, id: &Hash| self.lists.get(&list).is_some_and(|ids| ids.contains(id));
        for note in self.notes.values() {
            let listed = has(keys::list_of_notes(&note.owner), &note.id);
            let live = note.state != NoteState::Spent;
            hold("LIST", listed == live, || format!("listed: {listed}, {note:?}"))?;
        }
        for owner in &self.owners {
            let listed = has(keys::list_of_holdings(&owner.account), &owner.run);
            hold("LIST", listed, || format!("not among its account's holdings: {owner:?}"))?;
        }
        for order in self.market.orders() {
            hold("LIST", has(keys::list_of_orders(&order.market.id(), order.batch), &order.id), || {
                format!("not listed: {order:?}")
            })?;
        }
        for run in self.runs.keys() {
            hold("LIST", has(keys::list_of_runs(), run), || format!("run {run} is not listed"))?;
        }
        Ok(())
    }

    fn run(&self, id: &Hash, credits: &Credits) -> Result<(), Violation> {
        let none = RunSums::default();
        let sums = self.sums.get(id).unwrap_or(&none);
        let (Some(run), Some(terms)) = (self.runs.get(id), self.terms.get(id)) else {
            return hold("CELL", false, || format!("run {id} lacks a cell"));
        };
        let counted = [
            ("notes", sums.notes.0, credits.notes),
            ("auctioned", sums.auctioned.0, credits.auctioned),
            ("locked", sums.locked.0, credits.locked),
        ];
        for (what, sum, kept) in counted {
            hold("CU", sum == u128::from(kept), || format!("{what}: cells {sum}, kept {kept}"))?;
        }
        let paid = credits.owner_out <= credits.owner_in;
        hold("CU", paid, || format!("more paid out than earned: {credits:?}"))?;
        let owed = u128::from(credits.owner_in - credits.owner_out);
        let others = u128::from(credits.pool) + owed;
        let public = Saturating(self.credits_room.public_pot(id));
        let total = sums.notes + sums.auctioned + sums.locked + Saturating(others) + public;
        hold("CU", total.0 == u128::from(credits.total), || format!("sum {total}, total {}", credits.total))?;

        let mut sums_of_owners = (Saturating(0u128), Saturating(0u128), U256::from(credits.rem));
        for owner in self.owners.iter().filter(|owner| owner.run == *id) {
            sums_of_owners.0 += owner.shares;
            sums_of_owners.1 += owner.pending;
            sums_of_owners.2 += (U256::from(owner.due) << 128)
                + U256::from(owner.frac)
                + (credits.acc.0 - owner.acc_seen.0) * U256::from(owner.shares);
        }
        let (shares, pending, liability) = sums_of_owners;
        hold("ACC", liability == U256::from(owed) << 128, || format!("owed {owed}, liability {liability}"))?;
        hold("SH", shares.0 == credits.active, || format!("owners {shares}, active {}", credits.active))?;
        hold("SH", pending.0 == credits.pending && pending == sums.claims_pending, || {
            format!("owners {pending}, claims {}, pending {}", sums.claims_pending, credits.pending)
        })?;
        let class = self.lineages.get(id).map_or(0, |lineage| lineage.shares);
        hold("SH", (sums.claims_active + Saturating(class)).0 == credits.active, || {
            format!("claims {}, parent's class {class}, active {}", sums.claims_active, credits.active)
        })?;
        hold("SH", sums.claims_void.0 == credits.voided, || {
            format!("claims {}, voided {}", sums.claims_void, credits.voided)
        })?;

        let mut before = WEIGHT_MAX;
        for window in sums.windows.values() {
            let holds = (WEIGHT_MIN..=before).contains(&window.weight);
            hold("W", holds, || format!("weight {} after {before}", window.weight))?;
            before = window.weight;
        }
        hold("W", (WEIGHT_MIN..=before).contains(&run.weight), || format!("now {}", run.weight))?;
        for claim in &sums.claims {
            let weight = sums.windows.get(&claim.window).map(|window| window.weight);
            let exact = claim.shares == u128::from(claim.wu) * u128::from(claim.weight);
            hold("W", weight == Some(claim.weight) && exact, || format!("{claim:?}"))?;
            let designer = self.designers.contains(&(*id, claim.account));
            hold("EXCL", run.state != RunState::Exclusive || designer, || format!("{claim:?}"))?;
        }
        let enough = run.f_designer >= terms.f_min;
        hold("MIN", enough || matches!(run.state, RunState::Exclusive | RunState::Aborted), || {
            format!("designers did {} of {}", run.f_designer, terms.f_min)
        })
    }
}
