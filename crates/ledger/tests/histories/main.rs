//! Run long random histories of every action, valid and not, and check what must hold for all of them.

mod conformance;
mod credits;
#[path = "../../../canon/tests/formats/mod.rs"]
mod formats;
mod governance;
#[path = "../trust/machine.rs"]
mod machine;
mod market;
mod runs;
mod trust;
#[path = "../world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{
    Action, BlockSession, Event, FeeSource, MemState, SignedTx,
    action::*,
    block::Need,
    genesis::{Parameters, Params},
    keys,
    payword::Chain,
    query,
    record::*,
};
use world::*;

const ACCOUNTS: u32 = 10;
const HISTORY: Domain = Domain::new("tessera/test/history/v1");

struct History {
    world: World,
    random: Prf,
    runs: Vec<Hash>,
    orders: Vec<(Hash, u32, Chain)>,
    /// What sealed orders hold, by seal.
    sealed: BTreeMap<Hash, (u32, OrderTerms)>,
}

impl History {
    fn new(seed: u64) -> Self {
        let base = Params {
            // Boundaries far enough apart that transactions also expire and finalize.
            epoch_blocks: 12,
            settle_delay: 4,
            fee_to_fund: seed % 2 == 1,
            ..params()
        };
        let parameters =
            Parameters { credits: credits::rules(), trust: trust::parameters(), ..Parameters::from(base) };
        let mut world = World::new(ACCOUNTS, parameters);
        world.referee = std::sync::Arc::new(machine::MachineReferee);
        Self {
            world,
            random: Prf::new(HISTORY, &seed.to_be_bytes()),
            runs: vec![],
            orders: vec![],
            sealed: BTreeMap::new(),
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
    fn run(&mut self) -> Hash {
        let runs = self.runs.clone();
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
        if self.chance(15) {
            return runs::action(self);
        }
        if self.chance(20) {
            return trust::action(self);
        }
        if self.chance(25) {
            return self.credits_action();
        }
        let who = self.account();
        if self.chance(15) {
            return self.govern();
        }
        Some(match self.below(46) {
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
                let (stage, seat) = (self.below(2) as u16, self.below(4) as u16);
                (who, LapseSeat { run: self.run(), stage, seat }.into())
            }
            7..15 => self.report()?,
            15 => {
                let run = self.run();
                let held = query::owner(self.world.get(), &run, &public(who)).map_or(0, |o| o.shares);
                let amount = u128::from(self.below(held as u64 + 2));
                (who, TransferShares { run, to: public(self.account()), amount }.into())
            }
            16..19 => (who, ClaimCredits { run: self.run(), to: owner(who) }.into()),
            19..22 => self.reshape()?,
            22..26 => self.lock()?,
            26..29 => self.settle(false)?,
            29 | 30 => self.settle(true)?,
            31 | 32 => {
                let expire = self.chance(50);
                let order = self.order_in(if expire { LockState::Open } else { LockState::Settling })?.0;
                (who, if expire { ExpireLock { order }.into() } else { FinalizeSession { order }.into() })
            }
            _ => self.market()?,
        })
    }

    fn txs(&mut self) -> Vec<SignedTx> {
        let count = 1 + self.below(20);
        let mut txs = Vec::new();
        while txs.len() < count as usize {
            let (sender, action) =
                self.action().unwrap_or_else(|| (0, Transfer { to: public(1), amount: 1 }.into()));
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

/// The keys that refused transactions alone may change.
fn fee_keys(txs: &[SignedTx]) -> BTreeSet<Hash> {
    txs.iter().map(|tx| keys::account(&tx.body.sender)).chain([keys::globals()]).collect()
}

fn long_history(seed: u64, total: usize) -> (Hash, BTreeMap<&'static str, [usize; 2]>) {
    let mut history = History::new(seed);
    let (mut done, mut kinds) = (0, BTreeMap::<&'static str, [usize; 2]>::new());
    let (mut created, mut spent) = (BTreeSet::new(), BTreeSet::new());
    while done < total {
        let txs = history.txs();
        let before = history.world.state.clone();
        let outcome = history.world.block(&txs);
        for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
            kinds.entry(tx.body.action.kind()).or_default()[usize::from(!receipt.ok())] += 1;
        }
        let in_u = txs.iter().all(|tx| tx.body.fee_from == FeeSource::default());
        if in_u && outcome.receipts.iter().all(|receipt| !receipt.ok()) {
            let mut idle = before.clone();
            let idle = idle.run_block_with(history.world.context(), history.world.referee.clone(), &[]);
            let fees = fee_keys(&txs);
            let left: Vec<_> = outcome.writes.iter().filter(|(key, _)| !fees.contains(key)).collect();
            let idle: Vec<_> = idle.writes.iter().filter(|(key, _)| !fees.contains(key)).collect();
            assert_eq!(left, idle, "a refused transaction changed more than its fee and nonce");
        }
        governance::check(&before, &history.world, &outcome);
        for event in &outcome.events {
            match event {
                Event::NoteCreated(event) => assert!(created.insert(event.note), "created twice"),
                Event::NoteSpent(event) => {
                    assert!(created.contains(&event.note) && spent.insert(event.note), "spent twice");
                }
                _ => {}
            }
        }
        done += txs.len();
    }
    (history.world.state.root(), kinds)
}

#[test]
fn every_invariant_holds_through_random_histories() {
    let mut kinds = BTreeMap::<&'static str, [usize; 2]>::new();
    let total = std::env::var("TESSERA_TXS").ok().and_then(|n| n.parse().ok()).unwrap_or(16_000);
    for seed in 0..4 {
        let (root, of_seed) = long_history(seed, total / 4);
        let [ok, refused] = [0, 1].map(|at| of_seed.values().map(|counts| counts[at]).sum::<usize>());
        println!("seed {seed}: {ok} took effect, {refused} were refused, root {}", root.short());
        for (kind, counts) in of_seed {
            let sum = kinds.entry(kind).or_default();
            sum[0] += counts[0];
            sum[1] += counts[1];
        }
    }
    println!("{kinds:?}");
    let tried: BTreeSet<&str> = kinds.keys().copied().collect();
    let known = conformance::actions();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(tried, known, "every action was tried");
    // Some need much to happen before: claims of auto-sell, withdrawn orders, executed motions. Their own tests show
    // that they take effect.
    let rare: Vec<_> = kinds.iter().filter(|(_, [ok, refused])| *ok < 2 || *refused < 2).collect();
    assert!(rare.len() <= 3, "action, how many took effect, how many were refused: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_state() {
    assert_eq!(long_history(11, 600), long_history(11, 600));
    assert_ne!(long_history(11, 600).0, long_history(12, 600).0);
}

/// Run a block, handing over at most `at_once` of the needed keys at a time.
fn run_starved(
    state: &MemState,
    world: &World,
    txs: &[SignedTx],
    at_once: usize,
) -> (tessera_ledger::Outcome, usize) {
    fn drive<T>(
        state: &MemState,
        session: &mut BlockSession,
        at_once: usize,
        stops: &mut usize,
        mut call: impl FnMut(&mut BlockSession) -> Result<T, Need>,
    ) -> T {
        loop {
            match call(session) {
                Ok(value) => return value,
                Err(Need(keys)) => {
                    assert!(!keys.is_empty());
                    *stops += 1;
                    for key in keys.into_iter().take(at_once) {
                        session.supply(key, state.get(&key));
                    }
                }
            }
        }
    }
    let (mut session, mut stops) = (BlockSession::with_referee(world.context(), world.referee.clone()), 0);
    if at_once == usize::MAX {
        for (key, cell) in &state.0 {
            session.supply(*key, Some(*cell));
        }
    }
    drive(state, &mut session, at_once, &mut stops, BlockSession::begin);
    for tx in txs {
        drive(state, &mut session, at_once, &mut stops, |session| session.apply(tx));
    }
    drive(state, &mut session, at_once, &mut stops, BlockSession::end);
    (session.finish(), stops)
}

#[test]
fn being_interrupted_at_every_read_changes_nothing() {
    let mut history = History::new(21);
    let (mut done, mut most) = (0, 0);
    while done < 800 {
        let txs = history.txs();
        let before = history.world.state.clone();
        let outcome = history.world.block(&txs);
        let (starved, stops) = run_starved(&before, &history.world, &txs, 1);
        assert!(starved == outcome, "one key at a time, height {}", history.world.height);
        let (full, _) = run_starved(&before, &history.world, &txs, usize::MAX);
        assert!(full == outcome, "everything supplied, height {}", history.world.height);
        done += txs.len();
        most = most.max(stops);
    }
    assert!(most > 50, "the interruptions were real: {most}");
}

#[test]
fn the_order_of_independent_transactions_does_not_show() {
    let mut world = World::serving_run(10);
    let other = Hash([3; 32]);
    world.ok(0, create_run(other, 2, 10));
    let notes: Vec<Hash> = (4..7).map(|i| world.note_for(i, 10)).collect();
    let (first, second) = (Chain::new([1; 32], 10), Chain::new([2; 32], 10));
    let (a, b) = (world.order(4, vec![notes[0]], &first), world.order(5, vec![notes[1]], &second));
    let note = reshape(world.network, vec![notes[2]], vec![NoteOutput { owner: owner(9), cu: 10 }]);
    let mut txs = vec![
        world.tx(1, ClaimCredits { run: RUN, to: owner(9) }),
        world.tx(2, ClaimCredits { run: RUN, to: owner(9) }),
        world.tx(3, join(other, 3)),
        world.tx(4, LockNotes { order: a, owners: list(vec![]) }),
        world.tx(5, LockNotes { order: b, owners: list(vec![]) }),
        world.tx(6, note),
        world.tx(7, join(other, 7)),
        world.tx(8, join(other, 8)),
        world.tx(9, Transfer { to: public(8), amount: 5 }),
        world.tx(0, Transfer { to: public(8), amount: 6 }),
    ];
    let mut random = Prf::new(HISTORY, b"order");
    let mut roots = BTreeSet::new();
    for _ in 0..40 {
        let mut world = world.clone();
        let outcome = world.block(&txs);
        assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok), "{:?}", outcome.receipts);
        // The draws of the next block must not depend on the order either.
        world.blocks(2);
        roots.insert(world.state.root());
        let order = random.permutation(txs.len());
        txs = order.iter().map(|i| txs[*i as usize].clone()).collect();
    }
    assert_eq!(roots.len(), 1);
}
