//! Make random histories: blocks of actions of every room, valid and not, by who may and by who may not.
#![allow(dead_code, unreachable_pub)] // each binary uses its own part

mod credits;
pub mod governance;
mod market;
mod runs;
mod trust;

use crate::{machine, world::*};
use std::collections::BTreeMap;
use tessera_canon::{Domain, Hash, Prf, SecretKey};
use tessera_ledger::{
    Action, SignedTx,
    action::*,
    genesis::{Parameters, Params},
    payword::Chain,
    query,
    record::*,
};

pub const ACCOUNTS: u32 = 10;
pub const HISTORY: Domain = Domain::new("tessera/test/history/v1");

pub struct History {
    pub world: World,
    random: Prf,
    pub runs: Vec<Hash>,
    pub orders: Vec<(Hash, u32, Chain)>,
    /// What sealed orders hold, by seal.
    sealed: BTreeMap<Hash, (u32, OrderTerms)>,
    seen: trust::Seen,
    /// Consensus key of whoever proposes the blocks.
    pub proposer: SecretKey,
}

impl History {
    /// Rules under which everything can happen within some hundred blocks.
    pub fn parameters(seed: u64) -> Parameters {
        let base = Params {
            // Boundaries far enough apart that transactions also expire and finalize.
            epoch_blocks: 12,
            settle_delay: 4,
            fee_to_fund: seed % 2 == 1,
            ..params()
        };
        let from = Parameters::from(base);
        // Something is issued in every epoch.
        let security = SecurityTerms { first: 1_000_000, keep: u32::MAX, ..from.security.clone() };
        Parameters { credits: credits::rules(), trust: trust::parameters(), security, ..from }
    }
    pub fn new(seed: u64) -> Self {
        let mut world = World::new(ACCOUNTS, Self::parameters(seed));
        world.referee = std::sync::Arc::new(machine::MachineReferee);
        Self {
            world,
            random: Prf::new(HISTORY, &seed.to_be_bytes()),
            runs: vec![],
            orders: vec![],
            sealed: BTreeMap::new(),
            seen: trust::Seen::default(),
            proposer: key(1000),
        }
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound.max(1))
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let at = self.below(items.len() as u64) as usize;
        items.get(at).cloned()
    }
    fn account(&mut self) -> u32 {
        self.below(ACCOUNTS.into()) as u32
    }
    /// The last runs that are not aborted.
    fn recent(&self) -> Vec<Hash> {
        let lives =
            |run: &&Hash| query::run(self.world.get(), run).is_some_and(|run| run.state != RunState::Aborted);
        self.runs.iter().rev().filter(lives).take(8).copied().collect()
    }
    /// What was found, or seldom something else, to be refused; nothing if nothing was found.
    fn or_seldom<T>(&mut self, found: Option<T>, other: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(8) { Some(other(self)) } else { found }
    }
    /// The first that `found` finds among the last runs and all accounts, from a random place on.
    fn somewhere<T>(&mut self, found: impl Fn(&World, &Hash, u32) -> Option<T>) -> Option<T> {
        let runs = self.recent();
        let all = runs.len() as u64 * u64::from(ACCOUNTS);
        let start = self.below(all);
        let mut places = (0..all).map(|at| (start + at) % all);
        places.find_map(|at| {
            let run = &runs[(at / u64::from(ACCOUNTS)) as usize];
            found(&self.world, run, (at % u64::from(ACCOUNTS)) as u32)
        })
    }
    /// A host that promises something, with its run.
    fn host(&mut self) -> Option<(u32, Host)> {
        self.somewhere(|world, run, who| {
            query::host(world.get(), run, &public(who)).filter(|host| host.cu > 0).map(|host| (who, host))
        })
    }
    fn run(&mut self) -> Hash {
        let runs = if self.chance(5) { self.runs.clone() } else { self.recent() };
        if self.chance(2) { Hash([77; 32]) } else { self.pick(&runs).unwrap_or(RUN) }
    }
    /// Somebody's note, mostly with its owner.
    fn note(&mut self) -> Option<(u32, Note)> {
        let start = self.account();
        let holder = (0..ACCOUNTS)
            .map(|i| (start + i) % ACCOUNTS)
            .find(|i| !query::notes_of(self.world.get(), &public(*i)).is_empty())?;
        let notes = query::notes_of(self.world.get(), &public(holder));
        let note = self.pick(&notes)?;
        Some((if self.chance(5) { self.account() } else { holder }, note))
    }
    /// Who served an attempt: its home and any seats of the other stages, or somebody who did not.
    fn leg(&mut self, order: &Hash, at: u16) -> Option<Leg> {
        let lock = query::lock(self.world.get(), order)?;
        let mut hosts = vec![query::attempts(self.world.get(), order)?.homes.get(usize::from(at))?.home];
        let seats = query::seats_of_stage(self.world.get(), &lock.run, 1);
        hosts.push(self.pick(&seats)?.account);
        if self.chance(5) {
            hosts[1] = public(self.account());
        }
        Some(Leg { attempt: at, hosts: list(hosts) })
    }

    fn create(&mut self) -> (u32, Action) {
        let mut id = [7; 32];
        id[0] = self.runs.len() as u8;
        let mut create = create_run(Hash(id), 2, 6);
        if self.chance(50) {
            create.rule = RiskRule::Blend(Blend { percent: 50, half_life_percent: 25 });
        }
        create.exclusive_blocks = 5 + self.below(100);
        runs::vary(self, &mut create);
        match self.below(16) {
            0 => create.f_min = 0,
            1 => create.seats = 65,
            2 => create.bond = RICH * 2,
            3 => create.f_exclusive = create.f_star,
            4 => create.designers = list(vec![public(0), public(0)]),
            5 => create.stage_wu = list(vec![u64::MAX, 1]),
            _ => {
                if !self.runs.contains(&create.run) {
                    self.runs.push(create.run);
                }
            }
        }
        (self.account(), create.into())
    }

    fn report(&mut self) -> Option<(u32, Action)> {
        let (run, stage) = (self.run(), self.below(2) as u16);
        let loss = (stage == 1).then_some(1_000_000 + self.below(12_000_000) as u32);
        let (sender, mut action) = self.world.full_report(run, stage, loss)?;
        if self.chance(20) {
            let mut report = action.report.clone();
            let mut entries = report.entries.to_vec();
            match self.below(6) {
                0 => report.window += 1,
                1 => report.loss = None,
                2 => entries[0].microbatches += 1,
                3 => entries[0].account = public(ACCOUNTS + 1),
                4 => report.network = Hash::ZERO,
                _ => entries.reverse(),
            }
            report.entries = list(entries);
            let mut seats = query::seats_of_stage(self.world.get(), &run, stage);
            if self.chance(30) {
                seats.truncate(1);
            }
            action = self.world.sign_report(report, &seats);
        }
        Some((sender, action.into()))
    }

    fn lock(&mut self) -> Option<(u32, Action)> {
        let (who, note) = self.note()?;
        let chain = Chain::new([self.below(256) as u8; 32], note.cu as u32);
        let mut order = self.world.order(who, vec![note.id], &chain);
        (order.run, order.series) = (note.run, note.series);
        order.open_until = self.world.height + 1 + self.below(12);
        match self.below(20) {
            0 => order.cu += 1,
            1 => order.open_until += 1000,
            2 => order.series = 9,
            3 => order.fee_per_cu = RICH,
            4 => order.network = Hash::ZERO,
            _ => self.orders.push((order.id(), who, chain)),
        }
        Some((who, LockNotes { order, owners: list(vec![]) }.into()))
    }

    /// A recent order, mostly one in `state`.
    fn order_in(&mut self, state: LockState) -> Option<(Hash, u32, Chain)> {
        let from = self.orders.len().saturating_sub(40);
        let mut recent = self.orders[from..].to_vec();
        if self.chance(80) {
            let get = self.world.get();
            recent.retain(|(id, ..)| query::lock(&get, id).is_some_and(|lock| lock.state == state));
        }
        self.pick(&recent)
    }
    fn settle(&mut self, raise: bool) -> Option<(u32, Action)> {
        let state = if raise { LockState::Settling } else { LockState::Open };
        let (order, payer, chain) = self.order_in(state)?;
        let lock = query::lock(self.world.get(), &order)?;
        let drawn = query::attempts(self.world.get(), &order)?;
        let sender = match self.below(10) {
            0 => self.account(),
            1..5 => payer,
            _ => self.world.index_of(&drawn.homes[usize::from(lock.attempt)].home),
        };
        let bound = u64::from(lock.cu) + u64::from(self.chance(5));
        let chunks = 1 + self.below(bound) as u32;
        let word = if self.chance(5) { Hash::ZERO } else { chain.word(chunks).unwrap_or_default() };
        let legs: Vec<Leg> = (0..=lock.attempt).filter_map(|at| self.leg(&order, at)).collect();
        let legs = list(if self.chance(70) { legs } else { vec![] });
        Some(if raise {
            (sender, RaiseSettle { order, chunks, payword: word, legs, route: None }.into())
        } else {
            (sender, SettleSession { order, chunks, payword: word, legs }.into())
        })
    }

    fn reshape(&mut self) -> Option<(u32, Action)> {
        let (who, note) = self.note()?;
        let cut = self.below(note.cu + 1);
        let (a, b) = (self.account(), self.account());
        let mut outputs =
            vec![NoteOutput { owner: owner(a), cu: cut }, NoteOutput { owner: owner(b), cu: note.cu - cut }];
        if !self.chance(5) {
            outputs.retain(|output| output.cu > 0);
        }
        let mut inputs = vec![note.id];
        // Often merge with others of the same owner.
        for other in query::notes_of(self.world.get(), &public(who)) {
            if self.chance(30) && other.id != note.id && inputs.len() < MAX_NOTES {
                inputs.push(other.id);
                if other.run == note.run || self.chance(2) {
                    outputs[0].cu += other.cu;
                } else {
                    inputs.pop();
                }
            }
        }
        Some((who, reshape(self.world.network, inputs, outputs).into()))
    }

    fn action(&mut self) -> Option<(u32, Action)> {
        match self.below(100) {
            0..18 => runs::action(self),
            18..34 => trust::action(self),
            34..52 => self.credits_action(),
            52..64 => self.govern(),
            64..82 => self.market(),
            _ => self.everyday(),
        }
    }
    fn everyday(&mut self) -> Option<(u32, Action)> {
        let who = self.account();
        Some(match self.below(33) {
            0..2 => {
                let amount = if self.chance(10) { RICH * 100 } else { self.below(1000).into() };
                (who, Transfer { to: public(self.below(12) as u32), amount }.into())
            }
            2 if self.runs.len() < 8 => self.create(),
            2..5 => (who, join(self.run(), who).into()),
            5 => {
                let endpoint = if self.chance(20) { "nowhere" } else { "10.0.0.1:5" };
                (who, UpdateEndpoint { run: self.run(), endpoint: endpoint.parse().unwrap() }.into())
            }
            6 => {
                let silent = |world: &World, run: &Hash, who| {
                    let member = query::member(world.get(), run, &public(who))?;
                    let (stage, seat) = (member.stage?, member.seat?);
                    let held = query::seats_of_stage(world.get(), run, stage);
                    let held = held.into_iter().find(|held| held.seat == seat)?;
                    (world.height + 1 >= held.heard + 6).then_some((*run, stage, seat))
                };
                let found = self.somewhere(silent);
                let random = (self.run(), self.below(2) as u16, self.below(4) as u16);
                let (run, stage, seat) = self.or_seldom(found, |_| random)?;
                (who, LapseSeat { run, stage, seat }.into())
            }
            7..12 => self.report()?,
            12 | 13 => {
                let held = |world: &World, run: &Hash, who| {
                    let owner = query::owner(world.get(), run, &public(who))?;
                    (owner.shares > 0).then_some((who, *run, owner.shares))
                };
                let found = self.somewhere(held);
                let (who, run, held) = self.or_seldom(found, |history| (who, history.run(), 0))?;
                let amount = u128::from(self.below(1 + held as u64 / 4)) + held * u128::from(self.chance(10));
                (who, TransferShares { run, to: public(self.account()), amount }.into())
            }
            14..18 => {
                let due = |world: &World, run: &Hash, who| {
                    (query::due_credits(world.get(), run, &public(who)) > 0).then_some((who, *run))
                };
                let found = self.somewhere(due);
                let (who, run) = self.or_seldom(found, |history| (who, history.run()))?;
                (who, ClaimCredits { run, to: owner(who) }.into())
            }
            18..21 => self.reshape()?,
            21..25 => self.lock()?,
            25..28 => self.settle(false)?,
            28 | 29 => self.settle(true)?,
            _ => self.overdue()?,
        })
    }
    /// Expire or finalize an order, mostly one whose time is over.
    fn overdue(&mut self) -> Option<(u32, Action)> {
        let (who, early) = (self.account(), self.chance(20));
        let (height, delay) = (self.world.height + 1, query::params(self.world.get())?.settle_delay);
        let from = self.orders.len().saturating_sub(40);
        let world = &self.world;
        let ripe: Vec<_> = self.orders[from..]
            .iter()
            .filter_map(|(id, ..)| {
                let lock = query::lock(world.get(), id)?;
                let expires = lock.state == LockState::Open && height > lock.open_until + delay;
                let posted =
                    query::settlement(world.get(), id).map_or(u64::MAX, |posted| posted.height + delay);
                let final_now = lock.state == LockState::Settling && height > posted;
                let early = early && matches!(lock.state, LockState::Open | LockState::Settling);
                (expires || final_now || early).then_some((*id, lock.state))
            })
            .collect();
        let (order, state) = self.pick(&ripe)?;
        let expire = (state == LockState::Open) != self.chance(5);
        Some((who, if expire { ExpireLock { order }.into() } else { FinalizeSession { order }.into() }))
    }

    /// The transactions of the next block.
    pub fn txs(&mut self) -> Vec<SignedTx> {
        let count = 1 + self.below(20);
        let mut txs = Vec::new();
        while txs.len() < count as usize {
            // What is picked may have nothing to act upon.
            let found = (0..12).find_map(|_| self.action());
            let (sender, action) = found.unwrap_or_else(|| (0, Transfer { to: public(1), amount: 1 }.into()));
            let source = self.fee_source(sender);
            let mut tx = self.world.tx_from(sender, action, source);
            if self.chance(1) {
                match self.below(3) {
                    0 => tx.body.fee += 1,
                    1 => tx.body.network = Hash::ZERO,
                    _ => tx.signature = NO_SIGNATURE,
                }
            }
            txs.push(tx);
        }
        txs
    }
}
