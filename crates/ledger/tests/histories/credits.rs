//! Make the actions of series, homes, hosts, evidence and the public lane for random histories, valid and not.

use super::History;
use crate::world::*;
use tessera_canon::Hash;
use tessera_ledger::{
    Action, CreditRules,
    action::*,
    payword::Chain,
    query,
    record::*,
    ticket::{ROUTE, Route, SignedRoute, SignedTicket, TICKET, Ticket, TicketKind},
};

/// Series, lives and disputes short enough to end within a history.
pub(crate) fn rules() -> CreditRules {
    CreditRules {
        series_epochs: 6,
        fee_epochs: 2,
        failover_blocks: 1,
        dispute_epochs: 2,
        dispute_bond: 50_000,
        public_note: 4,
        public_life: 2,
        refusal_epochs: 6,
        ..CreditRules::demo()
    }
}

impl History {
    pub(crate) fn credits_action(&mut self) -> Option<(u32, Action)> {
        let who = self.account();
        Some(match self.below(12) {
            0 => {
                let (holder, note) = self.note()?;
                (holder, RollNote { note: note.id }.into())
            }
            1 => (who, self.failover()?),
            2 => {
                let seat = |world: &World, run: &Hash, who| {
                    let member = query::member(world.get(), run, &public(who))?;
                    (member.state == MemberState::Seated).then_some((who, *run))
                };
                let found = self.somewhere(seat);
                let (who, run) = self.or_seldom(found, |history| (who, history.run()))?;
                let bond = self.below(3_000);
                let cu = if self.chance(20) { bond } else { bond / 10 };
                (who, HostBond { run, cu, bond: bond.into() }.into())
            }
            3 if self.chance(50) => {
                let found = self.host().map(|(who, host)| (who, host.run));
                let (who, run) = self.or_seldom(found, |history| (who, history.run()))?;
                (who, HostExit { run }.into())
            }
            3 => return None,
            4 | 5 => {
                let serves =
                    |world: &World, run: &Hash, _| query::run(world.get(), run)?.serves().then_some(*run);
                let found = self.somewhere(serves);
                let (run, for_whom) = (self.or_seldom(found, Self::run)?, self.account());
                (who, PublicApply { run, owner: owner(for_whom) }.into())
            }
            6 => self.dispute()?,
            7 => (who, self.judge()?),
            8 => (who, self.two_statements()?),
            9 => (who, self.two_orders()?),
            10 => (who, self.refusal()?),
            _ => self.route_shown()?,
        })
    }

    fn failover(&mut self) -> Option<Action> {
        let (order, payer, _) = self.order_in(LockState::Open)?;
        let lock = query::lock(self.world.get(), &order)?;
        let attempt = lock.attempt + if self.chance(10) { 2 } else { 1 };
        let request = FailoverRequest {
            network: self.world.network,
            order,
            attempt,
            j_start: self.below(u64::from(lock.cu) + 2) as u32,
        };
        let signature = key(if self.chance(5) { 3 } else { payer }).sign(FAILOVER, &request);
        Some(Failover { request, signature }.into())
    }

    fn dispute(&mut self) -> Option<(u32, Action)> {
        let (order, payer, _) = self.order_in(LockState::Final)?;
        let chunks = query::settlement(self.world.get(), &order).map_or(1, |settlement| settlement.chunks);
        let chunk = 1 + self.below(u64::from(chunks) + 1) as u32;
        let stage = self.below(2) as u16;
        let sender = if self.chance(5) { self.account() } else { payer };
        Some((sender, DisputeSession { order, chunk, stage, commitment: Hash([5; 32]) }.into()))
    }

    fn judge(&mut self) -> Option<Action> {
        let disputed: Vec<Hash> = self
            .orders
            .iter()
            .map(|(id, ..)| *id)
            .filter(|id| {
                query::session_dispute(self.world.get(), id)
                    .is_some_and(|dispute| dispute.verdict == SessionVerdict::Open)
            })
            .collect();
        let order = if self.chance(10) { self.orders.first()?.0 } else { self.pick(&disputed)? };
        let judgement = SessionJudgement { network: self.world.network, order, guilty: self.chance(50) };
        let count = if self.chance(15) { 2 } else { 3 };
        Some(JudgeSession { witnesses: witnesses(count, JUDGEMENT, &judgement), judgement }.into())
    }

    /// A recent order with its present attempt and home.
    fn homed(&mut self) -> Option<(Hash, u16, u32)> {
        let (order, ..) = self.order_in(LockState::Open)?;
        let lock = query::lock(self.world.get(), &order)?;
        let home = query::attempts(self.world.get(), &order)?.homes.get(usize::from(lock.attempt))?.home;
        Some((order, lock.attempt, self.world.index_of(&home)))
    }

    fn two_statements(&mut self) -> Option<Action> {
        let (order, attempt, home) = self.homed()?;
        let signer = key(if self.chance(10) { home + 1 } else { home });
        let evidence = if self.chance(50) {
            let ticket = |pos_to| Ticket {
                order,
                attempt,
                j: 1,
                payword: Hash::ZERO,
                kind: TicketKind::Prefill,
                pos_from: 0,
                pos_to,
                previous: Hash::ZERO,
            };
            let sign = |ticket: Ticket| SignedTicket { signature: signer.sign(TICKET, &ticket), ticket };
            let second = if self.chance(10) { 4 } else { 5 };
            Equivocation::Tickets(TwoTickets { a: sign(ticket(4)), b: sign(ticket(second)) })
        } else {
            let route = |hosts| Route { order, attempt, home: public(home), hosts };
            let sign = |route: Route| SignedRoute { signature: signer.sign(ROUTE, &route), route };
            let (a, b) = (list(vec![public(home)]), list(vec![public(home), public(0)]));
            Equivocation::Routes(TwoRoutes { a: sign(route(a)), b: sign(route(b)) })
        };
        Some(ReportHomeEquivocation { evidence }.into())
    }

    fn two_orders(&mut self) -> Option<Action> {
        let (holder, note) = self.note()?;
        let chain = Chain::new([8; 32], 1);
        let mut order = self.world.order(holder, vec![note.id], &chain);
        (order.run, order.series) = (note.run, note.series);
        let sign = |order: LockOrder| SignedOrder { owner: proof(holder, ORDER, &order), order };
        let salt = if self.chance(10) { order.salt } else { order.salt + 1 };
        let (a, b) = (sign(order.clone()), sign(LockOrder { salt, ..order }));
        Some(ReportClientEquivocation { note: note.id, a, b }.into())
    }

    fn refusal(&mut self) -> Option<Action> {
        let (order, attempt, home) = self.homed()?;
        let host = public(if self.chance(10) { self.account() } else { home });
        let height = self.world.height;
        let refusal = Refusal { network: self.world.network, order, attempt, host, height };
        let count = if self.chance(10) { 1 } else { 2 };
        Some(ReportRefusal { witnesses: witnesses(count, REFUSAL, &refusal), refusal }.into())
    }

    /// A raise by a host that shows the home's route.
    fn route_shown(&mut self) -> Option<(u32, Action)> {
        let (order, _, chain) = self.order_in(LockState::Settling)?;
        let settlement = query::settlement(self.world.get(), &order)?;
        let lock = query::lock(self.world.get(), &order)?;
        let at = self.random_attempt(lock.attempt);
        let leg = self.leg(&order, at)?;
        let (home, host) = (self.world.index_of(&leg.hosts[0]), self.world.index_of(&leg.hosts[1]));
        let route = Route { order, attempt: leg.attempt, home: leg.hosts[0], hosts: leg.hosts };
        let signature = key(home).sign(ROUTE, &route);
        let chunks = settlement.chunks;
        let action = RaiseSettle {
            order,
            chunks,
            payword: chain.word(chunks)?,
            legs: list(vec![]),
            route: Some(SignedRoute { route, signature }),
        };
        Some((host, action.into()))
    }

    fn random_attempt(&self, last: u16) -> u16 {
        (self.world.height % (u64::from(last) + 1)) as u16
    }
}
