//! Check proposals, votes, power, bonds and issuance: GOV and the parts of U that a sum cannot show.

use super::{Violation, hold};
use crate::{
    governance::{action::Choice, history, tally},
    keys, market,
    memory::MemState,
    query,
    record::*,
};
use ruint::aliases::U256;
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};

/// The cells that these invariants are about.
#[derive(Default)]
pub(super) struct Scan {
    proposals: Vec<Proposal>,
    motions: BTreeMap<Hash, ProposalMotion>,
    tallies: BTreeMap<Hash, Tally>,
    ballots: BTreeMap<Hash, Vec<Ballot>>,
    proposers: BTreeMap<PublicKey, u16>,
    assemblies: BTreeMap<Hash, Assembly>,
    works: Vec<ChamberWork>,
    owners: Vec<Owner>,
    policies: Vec<RunPolicy>,
    bonds: Vec<Bond>,
    totals: u128,
    globals: Option<Globals>,
    issuance: Option<Issuance>,
    /// Whose amounts have a history, by run.
    histories: BTreeMap<Hash, BTreeSet<Hash>>,
    /// Last height at which any power changed: where the state does not say its height.
    changed: u64,
}

type Cells<'a> = &'a dyn Fn(&Hash) -> Option<crate::Cell>;

impl Scan {
    /// Keep what is needed of a cell.
    pub(super) fn take(&mut self, record: &Record) {
        match record.clone() {
            Record::Proposal(it) => self.proposals.push(it),
            Record::ProposalMotion(it) => drop(self.motions.insert(it.proposal, it)),
            Record::Tally(it) => drop(self.tallies.insert(it.proposal, it)),
            Record::Ballot(it) => self.ballots.entry(it.proposal).or_default().push(it),
            Record::Proposer(it) => drop(self.proposers.insert(it.account, it.open)),
            Record::Assembly(it) => drop(self.assemblies.insert(it.run, it)),
            Record::ChamberWork(it) => self.works.push(it),
            Record::Owner(it) => self.owners.push(it),
            Record::RunPolicy(it) => self.policies.push(it),
            Record::Bond(it) => self.bonds.push(it),
            Record::ValidatorTotals(it) => self.totals = it.bonded,
            Record::Globals(it) => self.globals = Some(it),
            Record::Issuance(it) => self.issuance = Some(it),
            Record::History(it) => {
                self.changed = self.changed.max(it.until);
                self.histories.entry(it.run).or_default().insert(it.subject);
            }
            _ => {}
        }
    }

    /// Check `state`, all of whose cells were taken.
    pub(super) fn check(&self, state: &MemState) -> Result<(), Violation> {
        let get = |key: &Hash| state.get(key);
        self.money()?;
        self.work()?;
        self.bounds(&get)?;
        let listed: BTreeSet<Hash> =
            query::list(get, &keys::list_of_pending_proposals()).into_iter().collect();
        let mut open = BTreeMap::<PublicKey, u16>::new();
        for proposal in &self.proposals {
            self.proposal(proposal, listed.contains(&proposal.id), &get)?;
            if proposal.state != ProposalState::Open {
                continue;
            }
            let count = open.entry(proposal.proposer).or_default();
            *count = count.saturating_add(1);
            // Once votes are over, snapshots may be forgotten before somebody closes the vote.
            if self.changed <= proposal.ends {
                self.snapshot(proposal, &get)?;
            }
        }
        hold("GOV", open == self.proposers, || format!("open {open:?}, counted {:?}", self.proposers))
    }

    /// U, besides the sum: issuance stays within its schedule, bonds that vote are counted.
    fn money(&self) -> Result<(), Violation> {
        if let (Some(globals), Some(issuance)) = (&self.globals, &self.issuance) {
            hold("U", globals.issued <= issuance.scheduled, || {
                format!("issued {}, the schedule allows {}", globals.issued, issuance.scheduled)
            })?;
        }
        let bonded = self.bonds.iter().fold(0u128, |sum, bond| sum.saturating_add(bond.power()));
        hold("U", bonded == self.totals, || format!("bonded {bonded}, counted {}", self.totals))
    }

    /// The work of all accounts is what their assembly counts, in each run and in the network.
    fn work(&self) -> Result<(), Violation> {
        let mut sums = BTreeMap::<Hash, U256>::new();
        let mut accounts = BTreeMap::<PublicKey, (U256, U256)>::new();
        for work in &self.works {
            *sums.entry(work.run).or_default() += work.amount.0;
            let account = accounts.entry(work.account).or_default();
            *(if work.run == Hash::ZERO { &mut account.1 } else { &mut account.0 }) += work.amount.0;
        }
        for assembly in self.assemblies.values() {
            let sum = sums.get(&assembly.run).copied().unwrap_or_default();
            hold("GOV", sum == assembly.work.0, || format!("work {sum}, counted {assembly:?}"))?;
        }
        for (account, (runs, network)) in accounts {
            hold("GOV", runs == network, || format!("{account}: work {runs} in runs, {network} in all"))?;
        }
        Ok(())
    }

    /// Every policy in force is within its bounds.
    fn bounds(&self, get: Cells<'_>) -> Result<(), Violation> {
        let Some(network) = query::read::<NetworkPolicy>(get, &keys::defaults()) else { return Ok(()) };
        for policy in &self.policies {
            let checked = policy.policy.check(&network.bounds);
            hold("GOV", checked.is_ok(), || format!("{policy:?}: {checked:?}"))?;
        }
        Ok(())
    }

    /// A proposal agrees with its ballots; what was executed had passed and waited.
    fn proposal(&self, proposal: &Proposal, listed: bool, get: Cells<'_>) -> Result<(), Violation> {
        let (Some(tally), Some(motion)) = (self.tallies.get(&proposal.id), self.motions.get(&proposal.id))
        else {
            return hold("CELL", false, || format!("{proposal:?} lacks a cell"));
        };
        let none = Vec::new();
        let ballots = self.ballots.get(&proposal.id).unwrap_or(&none);
        let votes = |choice| {
            let of = ballots.iter().filter(move |ballot| ballot.choice == choice);
            of.fold(0u128, |sum, ballot| sum.saturating_add(ballot.votes))
        };
        let work = |choice| {
            let of = ballots.iter().filter(move |ballot| ballot.choice == choice);
            of.fold(U256::ZERO, |sum, ballot| sum + ballot.work.0)
        };
        let (yes, no, abstain) = (votes(Choice::Yes), votes(Choice::No), votes(Choice::Abstain));
        let agrees = (yes, no, abstain) == (tally.yes, tally.no, tally.abstain)
            && work(Choice::Yes) == tally.work_yes.0
            && work(Choice::No) == tally.work_no.0;
        hold("GOV", agrees, || format!("{tally:?}, ballots say {yes} {no} {abstain}"))?;
        hold("GOV", yes.saturating_add(no).saturating_add(abstain) <= proposal.total, || {
            format!("{tally:?} of {proposal:?}")
        })?;
        hold("GOV", tally.work_yes.0 + tally.work_no.0 <= proposal.work.0, || format!("{tally:?}"))?;
        let waits = matches!(proposal.state, ProposalState::Open | ProposalState::Passed);
        hold("GOV", waits == listed, || format!("listed: {listed}, {proposal:?}"))?;
        hold("GOV", (proposal.deposit > 0) == (proposal.state == ProposalState::Open), || {
            format!("{proposal:?}")
        })?;
        let through = !matches!(proposal.state, ProposalState::Open | ProposalState::Rejected);
        hold("GOV", !through || tally::passes(proposal, tally), || format!("{proposal:?} {tally:?}"))?;
        let terms = query::read::<GovernanceTerms>(get, &keys::governance()).unwrap_or_default();
        let pause = matches!(motion.motion, crate::action::Motion::PauseRun(_));
        let waited = pause || proposal.ready >= proposal.ends.saturating_add(terms.delay(proposal.class));
        hold("GOV", !through || waited, || format!("{proposal:?} is ready too early"))?;
        hold("GOV", proposal.class == motion.motion.class(), || format!("{proposal:?} {motion:?}"))?;
        if proposal.state == ProposalState::Open {
            for ballot in ballots.iter().filter(|ballot| ballot.locked > 0) {
                let held = query::owner(get, &proposal.run, &ballot.account)
                    .map_or(0, |owner| market::query::voting_shares(get, &owner));
                hold("GOV", held >= ballot.locked, || format!("held {held}, {ballot:?}"))?;
            }
        }
        Ok(())
    }

    /// The powers of all accounts at a snapshot sum to its totals.
    fn snapshot(&self, proposal: &Proposal, get: Cells<'_>) -> Result<(), Violation> {
        let read = |key: &Hash| Ok::<_, std::convert::Infallible>(query::read::<History>(get, key));
        let at = |subject: Hash, now: U256| match history::just_before(read, &subject, proposal.posted, now) {
            Ok(amount) => amount,
            Err(never) => match never {},
        };
        let (run, mut votes, mut work) = (proposal.run, U256::ZERO, U256::ZERO);
        let mut gone = self.histories.get(&run).cloned().unwrap_or_default();
        for all in [history::all_shares(&run), history::all_work(&run)] {
            gone.remove(&all);
        }
        if run == Hash::ZERO {
            for bond in &self.bonds {
                let subject = history::shares_of(&run, &bond.account);
                votes += at(subject, U256::from(bond.power()));
                gone.remove(&subject);
            }
        } else {
            for owner in self.owners.iter().filter(|owner| owner.run == run) {
                let subject = history::shares_of(&run, &owner.account);
                votes += at(subject, U256::from(market::query::voting_shares(get, owner)));
                gone.remove(&subject);
            }
        }
        for record in self.works.iter().filter(|record| record.run == run) {
            let subject = history::work_of(&run, &record.account);
            work += at(subject, record.amount.0);
            gone.remove(&subject);
        }
        // Left are those whose cell is gone: who is no longer bonded, and escrows of sales of shares.
        for subject in gone {
            votes += at(subject, U256::ZERO);
        }
        let exact = votes == U256::from(proposal.total);
        hold("GOV", exact, || format!("votes at the snapshot {votes}, {proposal:?}"))?;
        hold("GOV", work == proposal.work.0, || format!("work at the snapshot {work}, {proposal:?}"))
    }
}
