//! Fetch the events and transactions of a history, each proved against the header of its block.

use crate::{Client, LedgerError, Source};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};
use tessera_chain::{Inclusion, MAX_PROVED_EVENTS, MAX_PROVED_TXS};
use tessera_ledger::{Action, Event, SignedTx, action::Collateral};
use tessera_wire::rpc::Place;

/// Something in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Event(Event),
    Tx(Box<SignedTx>),
}

/// Something in a final block, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub height: u64,
    pub time_ms: u64,
    /// Its place among the events or among the transactions of the block.
    pub at: u32,
    pub item: Item,
}
impl Fact {
    pub fn event(&self) -> Option<&Event> {
        match &self.item {
            Item::Event(event) => Some(event),
            Item::Tx(_) => None,
        }
    }
    pub fn tx(&self) -> Option<&SignedTx> {
        match &self.item {
            Item::Event(_) => None,
            Item::Tx(tx) => Some(tx),
        }
    }
}

/// Facts in the order in which they happened, and their proofs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Ascending by height; events of a block before its transactions, each in order.
    pub items: Vec<Fact>,
    /// One for each part of a block.
    pub proofs: Vec<Inclusion>,
}

impl Facts {
    /// Fetch what stands at `places`.
    pub async fn fetch<S: Source>(client: &Client<S>, places: &[Place]) -> Result<Self, LedgerError> {
        let mut blocks: BTreeMap<u64, (BTreeSet<u32>, BTreeSet<u32>)> = BTreeMap::new();
        for place in places {
            let (events, txs) = blocks.entry(place.height).or_default();
            if place.tx { txs } else { events }.insert(place.at);
        }
        let mut facts = Self::default();
        for (height, (events, txs)) in blocks {
            let (events, txs): (Vec<u32>, Vec<u32>) =
                (events.into_iter().collect(), txs.into_iter().collect());
            let parts = events.len().div_ceil(MAX_PROVED_EVENTS).max(txs.len().div_ceil(MAX_PROVED_TXS));
            for part in 0..parts {
                let events = events.chunks(MAX_PROVED_EVENTS).nth(part).unwrap_or_default();
                let txs = txs.chunks(MAX_PROVED_TXS).nth(part).unwrap_or_default();
                facts.take(client.inclusion(height, events, txs).await?);
            }
        }
        facts.sort();
        Ok(facts)
    }
    fn take(&mut self, inclusion: Inclusion) {
        let header = &inclusion.header.header;
        let fact =
            |at: u64, item| Fact { height: header.height, time_ms: header.time_ms, at: at as u32, item };
        let events = inclusion.events.iter();
        self.items.extend(events.map(|e| fact(e.path.index, Item::Event(e.event.clone()))));
        let txs = inclusion.txs.iter();
        self.items.extend(txs.map(|t| fact(t.path.index, Item::Tx(Box::new(t.tx.clone())))));
        self.proofs.push(inclusion);
    }
    fn sort(&mut self) {
        let place = |fact: &Fact| (fact.height, fact.tx().is_some(), fact.at);
        self.items.sort_by_key(place);
        self.items.dedup_by_key(|fact| place(fact));
    }
    /// Add what others tell; what both tell is kept once.
    pub fn add(&mut self, others: Self) {
        self.items.extend(others.items);
        self.proofs.extend(others.proofs);
        self.sort();
    }
    /// Height and event of each event, in order.
    pub fn events(&self) -> impl Iterator<Item = (u64, &Event)> {
        self.items.iter().filter_map(|fact| Some((fact.height, fact.event()?)))
    }
    /// Sealed orders that `owner` offered, with their escrow in U and in shares; an order has the id of its
    /// transaction.
    pub(super) fn escrows_of(&self, owner: &PublicKey) -> (super::rules::Amounts, super::rules::Amounts) {
        let (mut money, mut shares) = <(super::rules::Amounts, super::rules::Amounts)>::default();
        for tx in self.items.iter().filter_map(Fact::tx).filter(|tx| tx.body.sender == *owner) {
            if let Action::OrderCommit(commit) = &tx.body.action {
                match &commit.collateral {
                    Collateral::Money(escrow) => drop(money.insert(tx.id(), escrow.amount)),
                    Collateral::Shares(escrow) => drop(shares.insert(tx.id(), escrow.amount)),
                    Collateral::Notes(_) => {}
                }
            }
        }
        (money, shares)
    }
    /// Proposals that `proposer` offered, with their deposits; a proposal has the id of its transaction.
    pub(super) fn deposits_of(&self, proposer: &PublicKey) -> super::rules::Amounts {
        let txs = self.items.iter().filter_map(Fact::tx).filter(|tx| tx.body.sender == *proposer);
        txs.filter_map(|tx| match &tx.body.action {
            Action::Propose(propose) => Some((tx.id(), propose.deposit)),
            _ => None,
        })
        .collect()
    }
    /// Runs that `creator` created.
    pub(super) fn runs_of(&self, creator: &PublicKey) -> BTreeSet<Hash> {
        let created = self.events().filter_map(|(_, event)| match event {
            Event::RunCreated(made) if made.creator == *creator => Some(made.run),
            _ => None,
        });
        created.collect()
    }
    /// Number of fees that `payer` paid, in U or in credits.
    pub(super) fn fees_of(&self, payer: &PublicKey) -> usize {
        let paid = |event: &Event| match event {
            Event::FeePaid(paid) => paid.payer == *payer,
            Event::FeePaidInCredits(paid) => paid.payer == *payer,
            _ => false,
        };
        self.events().filter(|(_, event)| paid(event)).count()
    }
}
