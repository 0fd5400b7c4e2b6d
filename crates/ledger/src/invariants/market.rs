//! Check what the market's cells promise: escrows, auto-sell pools, and the accumulators of U.

use super::{Violation, hold};
use crate::{
    accumulator::Part,
    keys,
    record::{
        AutoSell, Batch, Credits, Held, Lot, MarketOrder, OrderNotes, Owner, OwnerProceeds, Proceeds, Record,
        Wide, Wrap,
    },
};
use ruint::aliases::U256;
use std::{collections::BTreeMap, num::Saturating};
use tessera_canon::{Hash, PublicKey};

#[derive(Default)]
pub(super) struct Market {
    orders: BTreeMap<Hash, MarketOrder>,
    notes: BTreeMap<Hash, OrderNotes>,
    batches: BTreeMap<(Hash, u64), Batch>,
    pools: BTreeMap<Hash, AutoSell>,
    lots: BTreeMap<(Hash, u32), Lot>,
    wraps: Vec<Wrap>,
    proceeds: BTreeMap<Hash, Proceeds>,
    parts: BTreeMap<(Hash, PublicKey), OwnerProceeds>,
}

impl Market {
    /// Keep a record of the market; returns the U in it.
    pub(super) fn take(&mut self, record: Record) -> u128 {
        match record {
            Record::MarketOrder(order) => {
                let money = if order.held == Held::Money { order.amount } else { 0 };
                self.orders.insert(order.id, order);
                money
            }
            Record::OrderNotes(notes) => {
                self.notes.insert(notes.order, notes);
                0
            }
            Record::Batch(batch) => {
                self.batches.insert((batch.market.id(), batch.batch), batch);
                0
            }
            Record::AutoSell(pool) => {
                let held = pool.held;
                self.pools.insert(pool.run, pool);
                held
            }
            Record::Lot(lot) => {
                self.lots.insert((lot.run, lot.version), lot);
                0
            }
            Record::Wrap(wrap) => {
                self.wraps.push(wrap);
                0
            }
            Record::Proceeds(proceeds) => {
                let held = proceeds.held.saturating_add(proceeds.waiting);
                self.proceeds.insert(proceeds.of, proceeds);
                held
            }
            Record::OwnerProceeds(part) => {
                self.parts.insert((part.of, part.account), part);
                0
            }
            _ => 0,
        }
    }
    pub(super) fn orders(&self) -> impl Iterator<Item = &MarketOrder> {
        self.orders.values()
    }
    /// Whether `order` sells `note`.
    pub(super) fn sells(&self, order: &Hash, note: &Hash) -> bool {
        self.orders.contains_key(order) && self.notes.get(order).is_some_and(|n| n.notes.contains(note))
    }
    pub(super) fn notes_for_sale(&self) -> usize {
        self.notes.values().map(|notes| notes.notes.len()).sum()
    }

    /// ESC: every escrow is whole. POOL: lots and wrappers agree. ACC: nothing of the proceeds is lost.
    pub(super) fn check(&self, credits: &BTreeMap<Hash, Credits>, owners: &[Owner]) -> Result<(), Violation> {
        let by_key: BTreeMap<(Hash, PublicKey), &Owner> =
            owners.iter().map(|owner| ((owner.run, owner.account), owner)).collect();
        let shares =
            |run: Hash, account: PublicKey| by_key.get(&(run, account)).map_or(0, |owner| owner.shares);
        for order in self.orders.values() {
            let whole = match order.held {
                Held::Money => true,
                Held::Notes => self.notes.contains_key(&order.id),
                Held::Shares => shares(order.market.run, keys::escrow_account(&order.id)) == order.amount,
            };
            let counted = self.batches.contains_key(&(order.market.id(), order.batch));
            hold("ESC", whole && counted, || format!("{order:?}"))?;
        }
        let mut counts = BTreeMap::<(Hash, u64), usize>::new();
        for order in self.orders.values() {
            *counts.entry((order.market.id(), order.batch)).or_default() += 1;
        }
        for (id, batch) in &self.batches {
            let count = counts.get(id).copied().unwrap_or(0);
            hold("ESC", count == batch.orders as usize, || format!("{count} orders of {batch:?}"))?;
        }
        for pool in self.pools.values() {
            let holder = by_key.get(&(pool.run, keys::auto_sell_account(&pool.run)));
            let (held, due) = holder.map_or((0, 0), |owner| (owner.shares, owner.due));
            hold("POOL", held == pool.next && due >= pool.unsold, || format!("{held}, {due} of {pool:?}"))?;
            self.pool(pool)?;
        }
        for proceeds in self.proceeds.values() {
            let of_pool = self.wraps.iter().filter(|wrap| keys::pool_id(&wrap.run) == proceeds.of);
            let of_run = owners.iter().filter(|owner| owner.run == proceeds.of);
            let holders = of_pool
                .map(|wrap| (wrap.account, wrap.now))
                .chain(of_run.map(|owner| (owner.account, owner.shares)));
            let mut liability = U256::from(proceeds.pot.rem);
            for (account, shares) in holders {
                let part = self.parts.get(&(proceeds.of, account));
                let start = Part::at(Wide::default());
                liability += U256::from(part.map_or(0, |part| part.due)) << 128;
                liability += part.map_or(&start, |part| &part.part).owed(shares, proceeds.pot.acc);
            }
            hold("ACC", liability == U256::from(proceeds.held) << 128, || {
                format!("liability {liability} of {proceeds:?}")
            })?;
            let known = credits.contains_key(&proceeds.of)
                || credits.keys().any(|run| keys::pool_id(run) == proceeds.of);
            hold("ACC", known, || format!("proceeds of nobody: {proceeds:?}"))?;
        }
        Ok(())
    }

    fn pool(&self, pool: &AutoSell) -> Result<(), Violation> {
        let lot = |version| self.lots.get(&(pool.run, version));
        let lots = self.lots.range((pool.run, 0)..=(pool.run, u32::MAX)).map(|(_, lot)| lot);
        let left = lots.clone().fold(0u64, |sum, lot| sum.saturating_add(lot.left));
        hold("POOL", left == pool.unsold, || format!("lots hold {left} of {pool:?}"))?;
        for old in lots.filter(|lot| lot.version < pool.front) {
            hold("POOL", old.left == 0 && old.end.is_some(), || format!("open before the front: {old:?}"))?;
        }
        let mut liability = U256::from(pool.pot.rem);
        let (mut now, mut newest) = (Saturating(0u128), Saturating(0u128));
        for wrap in self.wraps.iter().filter(|wrap| wrap.run == pool.run) {
            now += wrap.now;
            newest += match wrap.pending {
                Some(last) if last == pool.version => wrap.counted,
                _ => wrap.now,
            };
            let end = wrap.pending.and_then(lot).and_then(|lot| lot.end);
            let mut settled = wrap.clone();
            crate::market::pool::settle(&mut settled, pool, end);
            liability += (U256::from(settled.due) << 128) + U256::from(settled.part.frac);
        }
        hold("POOL", now.0 == pool.next, || format!("wrappers hold {now} of {pool:?}"))?;
        let begun = lot(pool.version).map_or(0, |lot| lot.wrapped);
        hold("POOL", newest.0 == begun, || format!("{newest} count for a lot of {begun}"))?;
        hold("ACC", liability == U256::from(pool.held) << 128, || {
            format!("liability {liability} of {pool:?}")
        })
    }
}
