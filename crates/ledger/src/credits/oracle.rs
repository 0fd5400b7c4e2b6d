//! Replay the reference models' histories through this room's own functions, step by step.
//!
//! The vectors are made by `scripts/make_credit_fixtures.py`, which shares no code with the ledger. The slow lane
//! (`just credit-oracle`) makes longer ones and names their folder in `TESSERA_CREDIT_FIXTURES`.

use crate::{
    accumulator,
    action::{NoteOutput, Reshape, Reshaping, RollNote},
    block::BlockContext,
    cell::{Cell, Key},
    credits::note::{self, NewNote},
    keys,
    memory::MemState,
    record::*,
    runs::policy::{Policy, SupplyMode},
    series,
    store::{Cells, ListChanges, Stop, View},
    supply::{self, Place},
};
use std::{collections::BTreeMap, path::PathBuf, str::SplitWhitespace};
use tessera_canon::{Hash, List, PublicKey, SecretKey};

const RUN: Hash = Hash([9; 32]);
/// Capacity of the weakest stage times this is the supply aimed at: 0.8 of a horizon of 5 epochs.
const TARGET: u64 = 4;

fn vectors(name: &str, here: &str) -> String {
    match std::env::var("TESSERA_CREDIT_FIXTURES") {
        Ok(folder) => {
            std::fs::read_to_string(PathBuf::from(folder).join(name)).expect("the vectors are there")
        }
        Err(_) => here.to_string(),
    }
}

fn number<T: std::str::FromStr>(words: &mut SplitWhitespace<'_>) -> T
where
    T::Err: std::fmt::Debug,
{
    words.next().expect("another word").parse().expect("a number")
}

/// A run that serves, as cells; every call sees what the ones before wrote.
struct Bench {
    context: BlockContext,
    cells: Cells,
    user: PublicKey,
    steps: u64,
    notes: Vec<Hash>,
    locks: Vec<Note>,
    expired: u64,
}

impl Bench {
    fn put(&mut self, key: Key, record: impl Into<Record>) {
        self.cells.insert(key, Some(Cell::pack(&record.into())));
    }
    fn get<T: Stored>(&self, key: &Key) -> T {
        let cell = self.cells.get(key).copied().flatten().and_then(|cell| cell.unpack());
        cell.and_then(T::from_record).expect("the cell is there")
    }
    /// Do what a transaction would.
    fn act<T>(&mut self, call: impl Fn(&mut View<'_>) -> Result<T, Stop>) -> T {
        let (block, lists) = (Cells::new(), ListChanges::new());
        loop {
            let mut view = View::new(&self.context, &crate::referee::NoReferee, &self.cells, &block, &lists);
            match call(&mut view) {
                Ok(value) => {
                    let cells = view.effects.cells;
                    self.cells.extend(cells);
                    return value;
                }
                Err(Stop::Need(keys)) => self.cells.extend(keys.into_iter().map(|key| (key, None))),
                Err(Stop::Refused(error)) => panic!("refused: {error}"),
            }
        }
    }
    fn source(&mut self) -> Hash {
        self.steps += 1;
        tessera_canon::digest(crate::credits::action::ORDER, &self.steps)
    }

    fn new(shares: &[u128], supply: u64) -> Self {
        let user = SecretKey::from_seed([1; 32]).public();
        let context =
            BlockContext { network: Hash::ZERO, height: 1, time_ms: 0, beacon: Hash::ZERO, proposer: user };
        let mut bench = Self {
            context,
            cells: Cells::new(),
            user,
            steps: 0,
            notes: Vec::new(),
            locks: Vec::new(),
            expired: 0,
        };
        bench.put(keys::run_terms(&RUN), terms(user));
        bench.put(keys::run(&RUN), run());
        let policy = Policy { supply_mode: SupplyMode::Capacity, supply_horizon: 5, ..Policy::default() };
        bench.put(keys::run_policy(&RUN), RunPolicy { run: RUN, policy });
        bench.put(keys::stage(&RUN, 0), Stage { run: RUN, stage: 0, wu: 1, held: 1, used: 1, identities: 1 });
        let credits =
            Credits { pool: supply, total: supply, active: shares.iter().sum(), ..Credits::new(RUN) };
        bench.put(keys::credits(&RUN), credits);
        for (index, shares) in shares.iter().enumerate() {
            let owner = Owner { shares: *shares, ..owner(account(index)) };
            bench.put(keys::owner(&RUN, &account(index)), owner);
        }
        bench
    }

    fn note(&self, at: usize) -> Note {
        self.get(&keys::note(&self.notes[at]))
    }

    fn claim(&mut self, who: usize) -> u64 {
        let source = self.source();
        let user = keys::owner_hash(&self.user);
        let made = self.act(|view| {
            let key = keys::owner(&RUN, &account(who));
            let mut credits: Credits = view.must(&keys::credits(&RUN), "run", RUN)?;
            let mut owner: Owner = view.must(&key, "owner", who)?;
            accumulator::touch(&mut owner, &credits);
            let due = std::mem::take(&mut owner.due);
            view.put(key, owner);
            if due == 0 {
                return Ok(None);
            }
            supply::issue(view, &mut credits, Place::Notes, due)?;
            let new = NewNote { run: RUN, series: credits.series, cu: due, owner: user, flags: 0 };
            view.put(keys::credits(&RUN), credits);
            Ok(Some((note::create(view, new, &source, 0), due)))
        });
        made.map_or(0, |(id, due)| {
            self.notes.push(id);
            due
        })
    }
    fn split(&mut self, at: usize, cut: u64) {
        let (source, sender) = (self.source(), self.user);
        let note = self.note(at);
        let parts: Vec<u64> = [cut, note.cu - cut].into_iter().filter(|cu| *cu > 0).collect();
        let outputs = parts.iter().map(|cu| NoteOutput { owner: note.owner, cu: *cu }).collect();
        let reshaping = Reshaping {
            network: Hash::ZERO,
            inputs: List::new(vec![note.id]).expect("one"),
            outputs: List::new(outputs).expect("two"),
        };
        let action = Reshape { reshaping, owners: List::default() };
        self.act(|view| note::reshape(view, &source, &sender, &action));
        self.notes.remove(at);
        self.notes.extend((0..parts.len() as u32).map(|index| keys::note_id(&source, index)));
    }
    fn lock(&mut self, at: usize) {
        let (source, note) = (self.source(), self.note(at));
        self.act(|view| {
            supply::shift(view, &RUN, note.series, Place::Notes, Place::Locked, note.cu)?;
            note::spend(view, note.clone(), &source);
            Ok(())
        });
        self.notes.remove(at);
        self.locks.push(note);
    }
    fn settle(&mut self, at: usize, used: u64) {
        let source = self.source();
        let Note { series, cu, owner, .. } = self.locks.remove(at);
        let made = self.act(|view| {
            supply::shift(view, &RUN, series, Place::Locked, Place::Pool, used)?;
            supply::shift(view, &RUN, series, Place::Locked, Place::Notes, cu - used)?;
            let credits: Credits = view.must(&keys::credits(&RUN), "run", RUN)?;
            let lives = series::live(credits.series, series) && cu > used;
            let new = NewNote { run: RUN, series, cu: cu - used, owner, flags: 0 };
            Ok(lives.then(|| note::create(view, new, &source, 0)))
        });
        self.notes.extend(made);
    }
    fn roll(&mut self, at: usize) {
        let (source, sender) = (self.source(), self.user);
        let action = RollNote { note: self.notes[at] };
        let haircut = self.note(at).cu.div_ceil(10);
        let left = self.note(at).cu > haircut;
        self.act(|view| series::roll(view, &source, &sender, &action));
        self.notes.remove(at);
        self.notes.extend(left.then(|| keys::note_id(&source, 0)));
    }
    fn epoch(&mut self, target: u64, turn: bool) {
        self.put(keys::capacity(&RUN, 0), Capacity { run: RUN, stage: 0, cu: target / TARGET });
        let series_age = if turn { u32::MAX } else { 0 };
        self.put(keys::lane(&RUN), Lane { series_age, ..Lane::new(RUN) });
        let before: Credits = self.get(&keys::credits(&RUN));
        self.act(|view| series::boundary(view, &RUN, 1));
        let after: Credits = self.get(&keys::credits(&RUN));
        self.expired += before.notes - after.notes;
        assert_eq!(after.series, before.series + u16::from(turn));
        let lives: Vec<Hash> = self
            .notes
            .iter()
            .filter(|id| series::live(after.series, self.get::<Note>(&keys::note(id)).series))
            .copied()
            .collect();
        self.notes = lives;
        self.act(|view| supply::boundary(view, &RUN));
        let mut credits: Credits = self.get(&keys::credits(&RUN));
        accumulator::distribute(&mut credits);
        self.put(keys::credits(&RUN), credits);
    }
    fn sums(&self) -> [u64; 6] {
        let credits: Credits = self.get(&keys::credits(&RUN));
        let owed = credits.owner_in - credits.owner_out;
        assert_eq!(
            credits.notes,
            self.notes.iter().map(|id| self.get::<Note>(&keys::note(id)).cu).sum::<u64>()
        );
        assert_eq!(credits.pool + credits.notes + credits.locked + owed, credits.total);
        [credits.pool, credits.total, credits.notes, credits.locked, owed, self.expired]
    }
}

fn account(index: usize) -> PublicKey {
    PublicKey([index as u8 + 1; 32])
}
fn owner(account: PublicKey) -> Owner {
    Owner { run: RUN, account, shares: 0, pending: 0, acc_seen: Wide::default(), frac: 0, due: 0 }
}
/// The cells of a network and a run that nothing has happened to, to take single ones from.
fn terms(creator: PublicKey) -> RunTerms {
    RunTerms {
        run: RUN,
        creator,
        stages: 1,
        seats: 1,
        microbatches: 1,
        steps: 1,
        window_steps: 1,
        f_star: 1,
        f_min: 1,
        f_exclusive: 1,
        exclusive_windows: 1,
        exclusive_until: 1,
        rule: RiskRule::LossProportional(crate::action::LossProportional {}),
        loss_0: 1,
        bond: 0,
        price: ChunkPrice { prompt_tokens: 512, generated_tokens: 64 },
        supply: 1,
        supply_epochs: 0,
        designers: 1,
        created: 0,
        wu_flops: 1,
        loss_source: crate::action::LossSource::LastStage,
        open_stages: 0,
        bootstrap_windows: 0,
        fork_part: 0,
    }
}
fn run() -> Run {
    Run {
        run: RUN,
        state: RunState::Serving,
        bond: 0,
        f_done: 1,
        f_designer: 1,
        loss_min: 1,
        weight: 1,
        window: 1,
        matured: 1,
        serving_epochs: 1,
        minted_parts: 0,
        f_star: 1,
        windows: 1,
        opened: 1,
        serving: true,
        paused_until: 0,
    }
}

#[test]
fn credits_move_as_in_the_reference_model() {
    let text = vectors("credits.txt", include_str!("../../tests/fixtures/credits.txt"));
    let (mut bench, mut steps) = (Bench::new(&[], 0), 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (step, sums) = line.split_once('|').expect("a step and its sums");
        let mut words = step.split_whitespace();
        match words.next().expect("the kind of step") {
            "run" => {
                let shares: Vec<u128> = words.map(|word| word.parse().expect("shares")).collect();
                bench = Bench::new(&shares, 100_000);
            }
            "claim" => {
                let who = number(&mut words);
                assert_eq!(bench.claim(who), number::<u64>(&mut words), "{line}");
            }
            "split" => bench.split(number(&mut words), number(&mut words)),
            "lock" => bench.lock(number(&mut words)),
            "settle" => bench.settle(number(&mut words), number(&mut words)),
            "roll" => bench.roll(number(&mut words)),
            "epoch" => bench.epoch(number(&mut words), number::<u8>(&mut words) == 1),
            other => panic!("unknown step {other}"),
        }
        let expected: Vec<u64> = sums.split_whitespace().map(|word| word.parse().expect("a sum")).collect();
        assert_eq!(bench.sums()[..], expected[..], "after {line}");
        steps += 1;
    }
    println!("{steps} steps");
    assert!(steps > 4_000);
}

#[test]
fn the_accumulator_pays_as_in_the_reference_model() {
    let text = vectors("accumulator.txt", include_str!("../../tests/fixtures/accumulator.txt"));
    for history in text.split("\n\n") {
        let (mut total, mut owners) = (Credits::new(RUN), BTreeMap::<usize, Owner>::new());
        for line in history.lines() {
            let mut words = line.split_whitespace();
            let kind = words.next().expect("the kind of step");
            if kind == "pay" {
                total.pool = number(&mut words);
                accumulator::distribute(&mut total);
                // Without anything to hand out the remainder stays.
                assert_eq!(total.rem, number::<u128>(&mut words), "{line}");
                continue;
            }
            let who = number(&mut words);
            let new = Owner { acc_seen: total.acc, ..owner(account(who)) };
            let owner = owners.entry(who).or_insert(new);
            accumulator::touch(owner, &total);
            match kind {
                "give" => {
                    let shares: u128 = number(&mut words);
                    (owner.shares, total.active) = (owner.shares + shares, total.active + shares);
                }
                "take" => {
                    let shares: u128 = number(&mut words);
                    (owner.shares, total.active) = (owner.shares - shares, total.active - shares);
                }
                _ => {
                    assert_eq!(owner.due, number::<u64>(&mut words), "{line}");
                    assert_eq!(owner.frac, number::<u128>(&mut words), "{line}");
                    owner.due = 0;
                }
            }
        }
    }
}

#[test]
fn genesis_has_the_cell_of_the_rules() {
    let genesis = crate::genesis::Genesis {
        name: Default::default(),
        time_ms: 0,
        validators: List::default(),
        accounts: List::default(),
        params: crate::genesis::Parameters::default(),
        consensus: Default::default(),
    };
    let state = MemState::new(&genesis);
    let rules = crate::query::rules(|key| state.get(key));
    assert_eq!(rules, Some(crate::CreditRules::default()));
}
