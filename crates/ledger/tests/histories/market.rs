//! Add the markets' actions to random histories: sealed orders, most of them opened, pools, baskets, hosts' asks,
//! and fees paid in credits.

use super::History;
use crate::world::{market::*, *};
use tessera_canon::Hash;
use tessera_ledger::{
    Action, FeeSource,
    action::*,
    query,
    record::{MarketOrder, NoteState},
    tx::{FromDue, FromNote},
};

/// Prices at which a fee costs a few credits.
const DEAR: u64 = 400_000;

impl History {
    fn held_shares(&mut self, run: &Hash, who: u32) -> u128 {
        query::owner(self.world.get(), run, &public(who)).map_or(0, |owner| owner.shares)
    }
    /// A part of `of`, sometimes too much.
    fn some(&mut self, of: u128) -> u128 {
        let part = of / (1 + u128::from(self.below(5)));
        if self.chance(4) { of + 1 } else { part }
    }

    fn market_id(&mut self) -> MarketId {
        let run = self.run();
        let mut market = if self.chance(70) { credits_of(run) } else { shares_of(run) };
        if market.asset == Asset::Cu {
            market.series = query::credits(self.world.get(), &run).map_or(0, |credits| credits.series);
        }
        if self.chance(2) {
            market.series += 1;
        }
        market
    }

    fn order_commit(&mut self) -> Option<(u32, Action)> {
        let market = self.market_id();
        let mut who = self.account();
        let (quantity, limit) = (1 + self.below(60), 1 + self.below(DEAR));
        let ask = self.chance(50);
        let (collateral, quantity): (Collateral, u128) = if !ask {
            let amount = match self.below(12) {
                0 => RICH * 2,
                1 => 0,
                2 => u128::from(limit * quantity / 2),
                3 => u128::from(limit * quantity * 2),
                _ => u128::from(limit * quantity),
            };
            (MoneyCollateral { amount }.into(), quantity.into())
        } else if market.asset == Asset::Share || self.chance(3) {
            let amount = self.held_shares(&market.run, who);
            let amount = self.some(amount);
            (ShareCollateral { amount }.into(), self.some(amount))
        } else {
            let (holder, first) = self.note()?;
            who = holder;
            let mut notes: Vec<_> = query::notes_of(self.world.get(), &public(who))
                .into_iter()
                .filter(|n| n.state == NoteState::Unspent && n.run == market.run && n.series == market.series)
                .take(1 + self.below(4) as usize)
                .collect();
            if notes.is_empty() || self.chance(5) {
                notes.push(first);
            }
            notes.sort_by_key(|note| note.id);
            if self.chance(3) {
                notes.reverse();
            }
            let cu: u64 = notes.iter().map(|note| note.cu).sum();
            let ids = notes.iter().map(|note| note.id).collect();
            (NoteCollateral { notes: list(ids) }.into(), self.some(cu.into()))
        };
        let side = if ask != self.chance(2) { Side::Ask } else { Side::Bid };
        let terms = OrderTerms { side, limit: limit.into(), quantity, to: owner(who) };
        let seal = seal(&public(who), &terms, &salt(who));
        self.sealed.insert(seal, (who, terms));
        Some((who, OrderCommit { market, seal, collateral }.into()))
    }

    /// An order of the current batch.
    fn any_order(&mut self) -> Option<MarketOrder> {
        let mut orders = Vec::new();
        for run in self.recent() {
            let series = query::credits(self.world.get(), &run).map_or(0, |credits| credits.series);
            for market in [MarketId { series, ..credits_of(run) }, shares_of(run)] {
                let (batch, _) = query::batch_at(self.world.get(), market.asset, self.world.height + 1);
                orders.extend(query::orders(self.world.get(), &market, batch));
            }
        }
        let sealed: Vec<_> = orders.iter().filter(|order| order.terms.is_none()).cloned().collect();
        let opened = sealed.is_empty() && self.chance(10);
        self.pick(if opened { &orders } else { &sealed })
    }
    fn order_reveal(&mut self) -> Option<(u32, Action)> {
        let order = self.any_order()?;
        let (mut who, mut terms) = self.sealed.get(&order.seal)?.clone();
        let salt = salt(who);
        match self.below(30) {
            0 => who = self.account(),
            1 => terms.limit += 1,
            _ => {}
        }
        Some((who, OrderReveal { order: order.id, terms, salt }.into()))
    }

    fn basket(&mut self) -> (u32, Action) {
        let who = self.account();
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        if self.chance(90) {
            runs.retain(|run| {
                query::owner(self.world.get(), run, &public(who)).is_some_and(|o| o.shares > 0)
            });
        }
        let mut parts = Vec::new();
        for run in runs.into_iter().take(MAX_BASKET) {
            let held = self.held_shares(&run, who);
            let amount = self.some(held / 4);
            parts.push(BasketPart { run, amount });
        }
        (who, BasketTransfer { parts: list(parts), to: public(self.account()) }.into())
    }

    fn host_ask(&mut self) -> Option<(u32, Action)> {
        let found = self.host().map(|(who, host)| (who, host.run, host.stage, host.cu));
        let other = |history: &mut Self| (history.account(), history.run(), history.below(2) as u16, 20);
        let (who, run, stage, most) = self.or_seldom(found, other)?;
        let price = if self.chance(5) { u128::MAX } else { self.below(1000).into() };
        Some((who, HostAsk { run, stage, price, capacity: self.below(most + 2) }.into()))
    }

    pub(super) fn market(&mut self) -> Option<(u32, Action)> {
        let (run, who) = (self.run(), self.account());
        let (_, opening) = query::batch_at(self.world.get(), Asset::Cu, self.world.height + 1);
        Some(match self.below(20) {
            0..11 if opening != self.chance(10) => self.order_reveal()?,
            0..11 => self.order_commit()?,
            11 | 12 => {
                let order = self.any_order()?;
                let owner = self.world.index_of(&order.owner);
                (if self.chance(10) { who } else { owner }, OrderCancel { order: order.id }.into())
            }
            13 => self.basket(),
            14 => {
                let held = |world: &World, run: &Hash, who| {
                    let owner = query::owner(world.get(), run, &public(who))?;
                    (owner.shares > 0).then_some((who, *run, owner.shares))
                };
                let (who, run, held) = {
                    let found = self.somewhere(held);
                    self.or_seldom(found, |_| (who, run, 0))?
                };
                let amount = self.some(held / 4);
                (who, AutoSellWrap { run, amount }.into())
            }
            15 => {
                let wrapped = |world: &World, run: &Hash, who| {
                    let wrap = query::wrap(world.get(), run, &public(who))?;
                    (wrap.now > 0).then_some((who, *run, wrap.now))
                };
                let (who, run, held) = {
                    let found = self.somewhere(wrapped);
                    self.or_seldom(found, |_| (who, run, 0))?
                };
                let amount = self.some(held);
                (who, AutoSellUnwrap { run, amount }.into())
            }
            16 | 17 => {
                let due = |world: &World, run: &Hash, who| {
                    (query::due_proceeds(world.get(), run, &public(who)) > 0).then_some((who, *run))
                };
                let found = self.somewhere(due);
                let (who, run) = self.or_seldom(found, |_| (who, run))?;
                (who, ClaimProceeds { run }.into())
            }
            _ => self.host_ask()?,
        })
    }

    /// Mostly U; credits where they may be taken.
    pub(super) fn fee_source(&mut self, sender: u32) -> FeeSource {
        if !self.chance(3) {
            return FeeSource::default();
        }
        let run = self.run();
        let notes = query::notes_of(self.world.get(), &public(sender));
        match self.pick(&notes) {
            Some(note) if self.chance(50) => FeeSource::Note(FromNote { note: note.id }),
            _ => FeeSource::Due(FromDue { run }),
        }
    }
}
