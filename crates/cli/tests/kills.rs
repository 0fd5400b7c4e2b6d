//! Kill validators with `kill -9` at random moments: nothing that a client saw as final is lost.
//!
//! Four real processes. One client submits transfers, another follows the newest header; both verify what they are
//! told and write down what was final. Meanwhile one validator after the other is killed, at a random moment: while
//! it works, or while it is still coming back; now and then all at once. At the end the history of each validator must
//! hold everything that was written down, and `ledger verify` must find nothing wrong with it.
//!
//! `just ledger-kills 50` kills that many times; TESSERA_KILLS and TESSERA_SEED choose the number and the moments.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Node, World, height, show, succeed, text};
use tessera_canon::{Hash, SecretKey};
use tessera_ledger::{Action, action::Transfer};
use tessera_node::{
    daemon::{Ledger, Visitor},
    folder::Folder,
    network::NetworkFile,
};

/// What clients saw as final.
#[derive(Default)]
struct Seen {
    /// Height and digest of headers.
    headers: Mutex<BTreeMap<u64, Hash>>,
    /// Transaction and height of its block.
    transactions: Mutex<Vec<(Hash, u64)>>,
    /// Greatest height.
    tip: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn header(&self, height: u64, digest: Hash) {
        let before = self.headers.lock().unwrap().insert(height, digest);
        assert!(before.is_none_or(|before| before == digest), "two final blocks at height {height}");
        self.tip.fetch_max(height, Ordering::Relaxed);
    }
}

/// Random numbers that a seed repeats.
struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn submit(ledger: Ledger, key: SecretKey, seen: Arc<Seen>) {
    let to = SecretKey::from_seed([77; 32]).public();
    let mut amount = 1;
    while !seen.stop.load(Ordering::Relaxed) {
        // What is not known to be final is nobody's loss.
        if let Ok(receipt) = ledger.submit(&key, Action::Transfer(Transfer { to, amount })).await {
            seen.transactions.lock().unwrap().push((receipt.tx, receipt.height));
            amount += 1;
        }
    }
}

async fn follow(ledger: Ledger, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::Relaxed) {
        let last = ledger.seen().height;
        if let Ok(header) = ledger.after(last, Duration::from_millis(30)).await {
            seen.header(header.height, header.digest());
        }
    }
}

/// Let some time pass, so that the next kill is at no special moment. Nothing is waited for.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Kill and start again, `count` times; returns how often all went down at once and how often during a start.
fn kill(validators: &mut [Node], count: u64, dice: &mut Dice) -> (u64, u64) {
    let (mut blackouts, mut early) = (0, 0);
    for _ in 0..count {
        pass(Duration::from_millis(dice.roll(1500)));
        if dice.roll(12) == 0 {
            blackouts += 1;
            validators.iter_mut().for_each(Node::kill);
            validators.iter_mut().for_each(Node::again);
        } else {
            let victim = &mut validators[dice.roll(4) as usize];
            victim.kill();
            victim.again();
            if dice.roll(4) == 0 {
                early += 1;
                pass(Duration::from_millis(dice.roll(400)));
                victim.kill();
                victim.again();
            }
        }
        for validator in &mut *validators {
            if validator.told.iter().all(|line| height(line) == 0) {
                validator.wait("a block after its return", |line| height(line) > 0);
            }
        }
    }
    (blackouts, early)
}

/// A client that asks the validator at `index` only.
async fn client_of(network: &NetworkFile, index: usize) -> Visitor {
    let mut only = network.clone();
    only.validators = vec![network.validators[index].clone()];
    Visitor::enter(only).await.unwrap()
}

/// Everything in `seen` is in the history of the validator at `index`; returns the blocks compared.
async fn compare(network: &NetworkFile, index: usize, seen: &Seen) -> u64 {
    let visitor = client_of(network, index).await;
    let tip = seen.tip.load(Ordering::Relaxed);
    visitor.ledger.after(tip.saturating_sub(1), Duration::from_millis(100)).await.unwrap();
    let headers = seen.headers.lock().unwrap().clone();
    let mut blocks = BTreeMap::new();
    for height in 1..=tip {
        // A validator answers so many questions a second.
        let block = loop {
            match visitor.ledger.block_at(height).await {
                Ok(block) => break block,
                Err(error) if error.to_string().contains("questions a second") => {}
                Err(error) => panic!("validator {index} lost block {height}: {error}"),
            }
        };
        if let Some(expected) = headers.get(&height) {
            assert_eq!(block.header().digest(), *expected, "validator {index} has another block {height}");
        }
        blocks.insert(height, block);
    }
    for (tx, height) in seen.transactions.lock().unwrap().iter() {
        let block = blocks.get(height).unwrap_or_else(|| panic!("nobody saw block {height} become final"));
        let there = block.txs().iter().any(|other| other.id() == *tx);
        assert!(there, "validator {index} lost transaction {tx} of block {height}");
    }
    visitor.leave().await;
    blocks.len() as u64
}

#[test]
fn nothing_final_is_lost_when_validators_are_killed() {
    let (count, seed) = (number("TESSERA_KILLS", 3), number("TESSERA_SEED", 1));
    let mut world = World::new(&["user"]);
    world.start_validators();
    let network = NetworkFile::read(&world.network).unwrap();
    let key = Folder::open(&world.dir("user")).unwrap().key().unwrap();
    let seen = Arc::<Seen>::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (a, b) = runtime.block_on(async {
        let enter = || Visitor::enter(network.clone());
        (enter().await.unwrap(), enter().await.unwrap())
    });
    let clients = [
        runtime.spawn(submit(a.ledger.clone(), key, seen.clone())),
        runtime.spawn(follow(b.ledger.clone(), seen.clone())),
    ];
    let begun = Instant::now();
    let (blackouts, early) = kill(&mut world.validators, count, &mut Dice(seed));
    // Blocks go on.
    let before = seen.tip.load(Ordering::Relaxed);
    for validator in &mut world.validators {
        validator.wait("blocks after the last kill", |line| height(line) > before + 2);
    }
    seen.stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
        for visitor in [a, b] {
            visitor.leave().await;
        }
    });
    for (_, height) in seen.transactions.lock().unwrap().iter() {
        seen.tip.fetch_max(*height, Ordering::Relaxed);
    }
    let mut compared = 0;
    for index in 0..4 {
        compared = runtime.block_on(compare(&network, index, &seen));
    }
    let seconds = begun.elapsed().as_secs();
    let (headers, transactions) =
        (seen.headers.lock().unwrap().len(), seen.transactions.lock().unwrap().len());
    assert!(
        headers > 0 && transactions > 0,
        "the clients saw {headers} headers and {transactions} transactions"
    );
    println!(
        "{count} kills ({early} more during a start, {blackouts} of all at once) in {seconds} s: {headers} headers and \
         {transactions} transactions seen as final, all of them among the {compared} blocks of each validator"
    );

    let verified = succeed(&world.command("user", &["ledger", "verify", "--to", "8"]));
    assert_eq!((verified["height"].as_u64(), verified["holds"].as_bool()), (Some(8), Some(true)));
    a_history_is_verified_and_a_state_travels(&mut world);
}

/// The stopped validator 3: its history holds, its state goes into a file and comes out elsewhere, and a copy of a
/// validator with other votes is refused.
fn a_history_is_verified_and_a_state_travels(world: &mut World) {
    let name = "network/validator-3";
    let mut last = world.validators.pop().expect("four validators");
    assert!(last.stop().success(), "{}", last.log());
    let verified = succeed(&world.command(name, &["ledger", "verify", "--offline"]));
    assert!(verified["height"].as_u64() >= Some(8), "{verified}");

    let file = show(&world.dir("state.snapshot"));
    let saved = succeed(&world.command(name, &["ledger", "snapshot", "save", &file]));
    let shown = succeed(&world.command("user", &["ledger", "snapshot", "show", &file]));
    assert_eq!(saved, shown);
    let bytes = fs::read(&file).unwrap();
    let bad = show(&world.dir("bad.snapshot"));
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    fs::write(&bad, changed).unwrap();
    support::refuse(
        &world.command("user", &["ledger", "snapshot", "show", &bad]),
        1,
        &["is damaged", "byte"],
    );
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    support::refuse(
        &world.command("user", &["ledger", "snapshot", "show", &bad]),
        1,
        &["the end of the file"],
    );
    support::refuse(
        &world.command(name, &["ledger", "snapshot", "restore", &file]),
        1,
        &["expected no ledger"],
    );

    // The ledger is lost but for the notes of its votes, and begins again from the file.
    let ledger = world.dir(name).join("ledger");
    let notes = fs::read(ledger.join("votes")).unwrap();
    fs::rename(&ledger, world.dir("lost")).unwrap();
    let restored = succeed(&world.command(name, &["ledger", "snapshot", "restore", &file]));
    assert_eq!(text(&restored, "state_root"), text(&saved, "state_root"));
    fs::write(ledger.join("votes"), &notes).unwrap();
    let now = world.validators[0].wait("a block", |line| height(line) > 0);
    last.again();
    let back = last.wait("blocks after the restoration", |line| height(line) > height(&now));
    assert!(height(&back) > saved["height"].as_u64().unwrap_or(u64::MAX));
    assert!(last.stop().success(), "{}", last.log());

    // Without the journal it must not vote.
    fs::remove_dir_all(ledger.join("store/validator-simplex")).unwrap();
    last.again();
    assert_eq!(last.ended().code(), Some(1));
    support::holds(&last.log(), &["must not vote", "the vote journal lacks", "--repair"]);
    // It may begin after its last vote only.
    world.validators[0].wait("blocks after its last vote", |line| height(line) > height(&back) + 3);
    last.push("--repair");
    last.again();
    last.wait("blocks after the repair", |line| height(line) > height(&back));
    let repaired = fs::read(ledger.join("votes")).unwrap();
    assert_eq!(repaired.len(), notes.len(), "it goes on with the notes that it had");
    world.validators.push(last);
}
