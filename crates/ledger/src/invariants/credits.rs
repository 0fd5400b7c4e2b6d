//! Check what the cells of credits, sessions and hosts must add up to.
//!
//! CU by series, PUB and FEE of the ownership specification (9.5); INS: the insurance is what its hosts paid in; CAP:
//! a stage's capacity is what its hosts bonded, and who promises some holds a seat there.

use super::{Violation, hold};
use crate::{
    credits::{params::CreditRules, settle},
    keys,
    record::*,
};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::Hash;

/// Whether the notes of a lock in this state are locked.
pub(super) fn holds_notes(state: LockState) -> bool {
    matches!(state, LockState::Locking | LockState::Open | LockState::Settling)
}

/// Saturates, as all sums of the scan.
fn add(sum: &mut u64, cu: u64) {
    *sum = sum.saturating_add(cu);
}

type Lists = BTreeMap<Hash, BTreeSet<Hash>>;

/// The cells of this room.
#[derive(Default)]
pub(super) struct Room {
    rules: Option<CreditRules>,
    floor: u128,
    series: BTreeMap<(Hash, u16), Series>,
    lanes: BTreeMap<Hash, Lane>,
    hosts: Vec<Host>,
    capacities: BTreeMap<(Hash, u16), u64>,
    notes: Vec<Note>,
    locks: Vec<Lock>,
    attempts: BTreeMap<Hash, Attempts>,
    escrows: BTreeMap<Hash, Escrow>,
    settlements: Vec<Settlement>,
    applications: Vec<Application>,
    disputes: Vec<SessionDispute>,
}

impl Room {
    /// Keep a cell of this room; returns the nano-U in it.
    pub(super) fn take(&mut self, record: &Record) -> u128 {
        match record.clone() {
            Record::CreditRules(rules) => self.rules = Some(rules),
            Record::NetworkPolicy(network) => self.floor = network.bounds.public_part_from.into(),
            Record::Series(series) => drop(self.series.insert((series.run, series.series), series)),
            Record::Note(note) => self.notes.push(note),
            Record::Lock(lock) => self.locks.push(lock),
            Record::Attempts(attempts) => drop(self.attempts.insert(attempts.order, attempts)),
            Record::Escrow(escrow) => drop(self.escrows.insert(escrow.order, escrow)),
            Record::Capacity(capacity) => {
                self.capacities.insert((capacity.run, capacity.stage), capacity.cu);
            }
            Record::Lane(lane) => {
                let money = lane.insurance;
                self.lanes.insert(lane.run, lane);
                return money;
            }
            Record::Host(host) => {
                let money = host.bond;
                self.hosts.push(host);
                return money;
            }
            Record::Settlement(settlement) => {
                let money = settlement.bond;
                self.settlements.push(settlement);
                return money;
            }
            Record::Application(application) => {
                let money = application.deposit;
                self.applications.push(application);
                return money;
            }
            Record::SessionDispute(dispute) => {
                let money = dispute.bond;
                self.disputes.push(dispute);
                return money;
            }
            _ => {}
        }
        0
    }

    /// Credits of a run that are set aside for the public lane.
    pub(super) fn public_pot(&self, run: &Hash) -> u128 {
        self.lanes.get(run).map_or(0, |lane| lane.public_pot.into())
    }

    /// `members` of all runs tell who holds a seat.
    pub(super) fn check(
        &self,
        credits: &BTreeMap<Hash, Credits>,
        members: &[Member],
        lists: &Lists,
    ) -> Result<(), Violation> {
        self.check_series(credits)?;
        self.check_hosts(members)?;
        self.check_sessions()?;
        self.check_lists(lists)?;
        for lane in self.lanes.values() {
            // PUB: at least the floor's part of what was allotted, less one credit.
            let (cut, all) = (u128::from(lane.public_cut), u128::from(lane.allotted));
            hold("PUB", (cut + 1) * 10_000 >= all.saturating_mul(self.floor), || format!("{cut} of {all}"))?;
        }
        Ok(())
    }

    /// CU for each series, and the series of a run together.
    fn check_series(&self, credits: &BTreeMap<Hash, Credits>) -> Result<(), Violation> {
        let mut sums = BTreeMap::<(Hash, u16), [u64; 3]>::new();
        for note in self.notes.iter().filter(|note| note.state == NoteState::Unspent) {
            let current = credits.get(&note.run).map_or(0, |credits| credits.series);
            if crate::series::live(current, note.series) {
                add(&mut sums.entry((note.run, note.series)).or_default()[0], note.cu);
            }
        }
        for note in self.notes.iter().filter(|note| note.state == NoteState::Offered) {
            add(&mut sums.entry((note.run, note.series)).or_default()[1], note.cu);
        }
        for lock in self.locks.iter().filter(|lock| holds_notes(lock.state)) {
            add(&mut sums.entry((lock.run, lock.series)).or_default()[2], lock.cu.into());
        }
        let mut totals = BTreeMap::<Hash, [u64; 3]>::new();
        for (id, series) in &self.series {
            let kept = [series.notes, series.auctioned, series.locked];
            let found = sums.remove(id).unwrap_or_default();
            hold("CU", kept == found, || format!("series {id:?}: cells {found:?}, kept {kept:?}"))?;
            let total = totals.entry(id.0).or_default();
            (0..3).for_each(|at| add(&mut total[at], kept[at]));
        }
        hold("CU", sums.is_empty(), || format!("credits of series without a cell: {sums:?}"))?;
        for (run, credits) in credits {
            let total = totals.get(run).copied().unwrap_or_default();
            let kept = [credits.notes, credits.auctioned, credits.locked];
            hold("CU", total == kept, || format!("series of {run}: {total:?}, kept {kept:?}"))?;
        }
        Ok(())
    }

    fn check_hosts(&self, members: &[Member]) -> Result<(), Violation> {
        let seated = members.iter().filter(|member| member.state == MemberState::Seated);
        let seated: BTreeSet<_> = seated.map(|member| (member.run, member.account, member.stage)).collect();
        let (mut insured, mut promised) = (BTreeMap::new(), BTreeMap::new());
        let each = self.rules.as_ref().map_or(0, |rules| rules.bond_per_cu);
        for host in &self.hosts {
            let sum = insured.entry(host.run).or_insert(0u128);
            *sum = sum.saturating_add(host.insured);
            add(promised.entry((host.run, host.stage)).or_insert(0), host.cu);
            let seat = seated.contains(&(host.run, host.account, Some(host.stage)));
            hold("CAP", seat || host.cu == 0, || format!("promised without a seat: {host:?}"))?;
            hold("CAP", host.bond >= each.saturating_mul(host.cu.into()), || format!("{host:?}"))?;
        }
        for lane in self.lanes.values() {
            let sum = insured.get(&lane.run).copied().unwrap_or(0);
            hold("INS", sum == lane.insurance, || format!("hosts {sum}, kept {}", lane.insurance))?;
        }
        for (id, kept) in &self.capacities {
            let sum = promised.remove(id).unwrap_or(0);
            hold("CAP", sum == *kept, || format!("hosts of {id:?}: {sum}, kept {kept}"))?;
        }
        hold("CAP", promised.values().all(|sum| *sum == 0), || format!("not counted: {promised:?}"))
    }

    /// FEE: no session pays more than its order allows, and its attempts divide its chunks.
    fn check_sessions(&self) -> Result<(), Violation> {
        for settlement in &self.settlements {
            let cap = self.escrows.get(&settlement.order).map_or(0, |escrow| escrow.fee_per_cu);
            let most = cap.saturating_mul(settlement.chunks.into());
            hold("FEE", settlement.fees <= most, || format!("{} of {most}", settlement.fees))?;
            if let Some(homes) = self.attempts.get(&settlement.order) {
                let served: u32 = (0..homes.homes.len() as u16)
                    .map(|at| settle::interval(homes, at, settlement.chunks))
                    .map(|(from, to)| to.saturating_sub(from))
                    .fold(0, u32::saturating_add);
                hold("FEE", served == settlement.chunks, || format!("{served} chunks in {settlement:?}"))?;
            }
        }
        for lock in &self.locks {
            let Some(escrow) = self.escrows.get(&lock.order) else { continue };
            let holds = holds_notes(lock.state) || (escrow.held == 0 && escrow.subsidy == 0);
            hold("FEE", holds && escrow.subsidy <= escrow.held, || format!("{escrow:?}"))?;
        }
        Ok(())
    }

    /// What waits for a boundary or a draw stands on its list.
    fn check_lists(&self, lists: &Lists) -> Result<(), Violation> {
        let has = |list: Hash, id: &Hash| lists.get(&list).is_some_and(|ids| ids.contains(id));
        for lock in self.locks.iter().filter(|lock| lock.state == LockState::Locking) {
            hold("LIST", has(keys::list_of_locking(), &lock.order), || format!("{lock:?} is not drawn"))?;
        }
        for note in self.notes.iter().filter(|note| note.until > 0 && note.state == NoteState::Unspent) {
            hold("LIST", has(keys::list_of_public_ends(note.until), &note.id), || format!("{note:?}"))?;
        }
        for host in &self.hosts {
            let listed = host
                .leaves
                .is_none_or(|epoch| has(keys::list_of_leaving(epoch), &keys::host(&host.run, &host.account)));
            hold("LIST", listed, || format!("never released: {host:?}"))?;
        }
        for application in &self.applications {
            let list = keys::list_of_applications(&application.run);
            hold("LIST", has(list, &application.owner), || format!("never drawn: {application:?}"))?;
        }
        for dispute in self.disputes.iter().filter(|dispute| dispute.verdict == SessionVerdict::Open) {
            let listed = has(keys::list_of_session_disputes(dispute.lapses), &dispute.order);
            hold("LIST", listed, || format!("never lapses: {dispute:?}"))?;
        }
        Ok(())
    }
}
