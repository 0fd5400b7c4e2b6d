//! Do to one real network what happens to networks: kill everything, damage files, fill a disk, send nonsense,
//! spend twice. At the end the trained states must be those of a single process, bit for bit.
//!
//! One test in several acts, because a network of eleven processes is costly to start. Between the second and
//! the fifth act both seats of the middle stage are down, so training stands still and no act races with it.

mod support;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use support::{Node, World, height, holds, refuse, show, succeed, tessera, text};
use tessera_net::{Limits, NetEvent, QuicConfig, QuicTransport, SecretKey, Transport as _};

const STEPS: u64 = 96;
const TRAINERS: usize = 6;

#[test]
fn a_network_survives_what_is_done_to_it_and_learns_exactly_what_one_process_learns() {
    let names: Vec<String> = (0..TRAINERS).map(|i| format!("trainer-{i}")).collect();
    let mut participants: Vec<&str> = names.iter().map(String::as_str).collect();
    participants.push("user");
    let mut world = World::new(&participants);
    world.start_validators();
    let spec = publish(&world, &names);
    let mut trainers: Vec<Node> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let mut args = world.command(name, &["node", "--serve", "--run"]);
            args.insert(3, show(&spec));
            // Every other one computes forward passes again: nobody may see that in any result.
            if index % 2 == 1 {
                args.extend(["--tape-memory".into(), "0".into()]);
            }
            Node::start(name, world.home.path(), args)
        })
        .collect();

    let disk = all_are_killed_in_the_middle_and_continue(&mut world, &mut trainers);
    let mut places = places(&mut trainers);
    // From here on training stands still.
    for seat in 0..2 {
        trainers[places.of(1, seat)].kill();
    }
    let _other_disk = a_validator_is_killed_then_its_disk_full_then_its_ledger_damaged(&mut world);
    a_trainers_states_are_damaged(&world, &mut trainers, &places);
    a_stranger_sends_nonsense(&mut trainers[places.of(2, 0)]);
    what_cannot_start_says_why(&world, &spec, &trainers[places.of(2, 0)]);
    let filler = disk.as_ref().map(|disk| disk.fill());
    for seat in 0..2 {
        trainers[places.of(1, seat)].again();
    }
    // Training goes on.
    if let Some(filler) = filler {
        a_disk_is_full_for_a_while(&mut trainers[places.of(0, 1)], &filler);
    }
    let before = progress(trainers[places.of(2, 0)].listen());
    trainers[places.of(2, 0)].wait("a step after all this", |line| closed(line) > before);

    for trainer in &mut trainers {
        trainer.event("hosting");
    }
    let reference = succeed(&["run", "reference", &show(&spec)]);
    let run = text(&reference, "run");
    let shown = succeed(&world.command("user", &["run", "show", &run]));
    assert_eq!(shown["state"], "Serving");
    assert_eq!(shown["state_roots"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["state_roots"], reference["state_roots"], "the swarm and one process differ");

    credits_are_used_once(&mut world, &spec, &run, &mut trainers[places.of(0, 0)]);
    every_balance_is_explained(&world, &names, &run);
    places.0.clear();
    for trainer in &mut trainers {
        let ended = trainer.stop();
        assert!(ended.success(), "{} ended with {ended}: {}", trainer.name, trainer.log());
    }
    for validator in &mut world.validators {
        let ended = validator.stop();
        assert!(ended.success(), "{} ended with {ended}: {}", validator.name, validator.log());
    }
}

/// Publish a run in which all trainers may work from the start.
fn publish(world: &World, names: &[String]) -> PathBuf {
    let steps = STEPS.to_string();
    let made = succeed(&["run", "new", "--preset", "tiny", "--steps", &steps, "--window-steps", "8"]);
    let spec = world.dir("run.toml");
    fs::write(&spec, text(&made, "toml")).unwrap();
    let mut args = world.command(&names[0], &["run", "publish", "--seats", "2", &show(&spec)]);
    for name in names {
        let key = text(&succeed(&world.command(name, &["wallet", "show"])), "key");
        args.extend(["--designer".into(), key]);
    }
    succeed(&args);
    spec
}

/// Steps that a node has closed, or has found closed at its start.
fn progress(told: &[Value]) -> u64 {
    let of = |line: &Value| if line["event"] == "working" { step(line) } else { closed(line) };
    told.iter().map(of).max().unwrap_or(0)
}
fn step(line: &Value) -> u64 {
    line["step"].as_u64().expect("a step")
}
/// Steps closed by a closed event, else 0.
fn closed(line: &Value) -> u64 {
    if line["event"] == "closed" { step(line) + 1 } else { 0 }
}

/// Who has which seat: (stage, seat) of each trainer.
struct Places(Vec<(u64, u64)>);
impl Places {
    fn of(&self, stage: u64, seat: u64) -> usize {
        self.0.iter().position(|place| *place == (stage, seat)).expect("every seat is taken")
    }
}
fn places(trainers: &mut [Node]) -> Places {
    let place = |trainer: &mut Node| {
        let seated = trainer.listen().iter().rfind(|line| line["event"] == "seated").cloned();
        let seated = seated.unwrap_or_else(|| trainer.event("seated"));
        (seated["stage"].as_u64().unwrap(), seated["seat"].as_u64().unwrap())
    };
    Places(trainers.iter_mut().map(place).collect())
}

/// Returns the small disk under one trainer, where this system lets us mount one.
fn all_are_killed_in_the_middle_and_continue(world: &mut World, trainers: &mut [Node]) -> Option<Disk> {
    for trainer in trainers.iter_mut() {
        trainer.event("working");
    }
    trainers[0].wait("its third step", |line| closed(line) >= 3);
    for node in trainers.iter_mut().chain(&mut world.validators) {
        node.kill();
    }
    let stood: Vec<u64> = trainers.iter().map(|trainer| progress(&trainer.told)).collect();
    let heights: Vec<u64> =
        world.validators.iter().map(|v| v.told.iter().map(height).max().unwrap_or(0)).collect();
    assert!(stood[0] >= 3 && stood.iter().all(|step| *step < STEPS), "killed in the middle: {stood:?}");
    let y = places(trainers).of(0, 1);
    let disk = Disk::under(&world.dir(&trainers[y].name));

    for node in world.validators.iter_mut().chain(trainers.iter_mut()) {
        node.again();
    }
    for (validator, before) in world.validators.iter_mut().zip(heights) {
        let block = validator.wait("a block after the restart", |line| height(line) > 0);
        assert!(height(&block) > before, "{} went back from {before} to {block}", validator.name);
    }
    for (trainer, before) in trainers.iter_mut().zip(stood) {
        let working = trainer.event("working");
        assert!(step(&working) >= before, "{} stood at {before}, went on at {working}", trainer.name);
    }
    disk
}

fn a_validator_is_killed_then_its_disk_full_then_its_ledger_damaged(world: &mut World) -> Option<Disk> {
    let folder = world.home.path().join("network/validator-3");
    let (others, last) = world.validators.split_at_mut(3);
    let (other, victim) = (&mut others[0], &mut last[0]);
    victim.kill();
    let at = other.wait("a block", |line| height(line) > 0);
    let now = other.wait("blocks without one validator", |line| height(line) >= height(&at) + 3);
    victim.again();
    victim.wait("the others' blocks", |line| height(line) >= height(&now));
    assert!(victim.stop().success(), "{}", victim.log());

    let ledger = folder.join("ledger");
    let disk = Disk::under(&folder);
    if let Some(disk) = &disk {
        let filler = disk.fill();
        victim.again();
        assert_eq!(victim.ended().code(), Some(1));
        holds(&victim.log(), &["cannot use the folder", &show(&ledger), "make room"]);
        assert!(!victim.log().contains("damaged"), "a full disk is no damage: {}", victim.log());
        fs::remove_file(filler).unwrap();
    }
    assert!(damage(&ledger.join("store")) > 0);
    victim.again();
    assert_eq!(victim.ended().code(), Some(1));
    holds(&victim.log(), &["must not vote", &show(&ledger), "--repair"]);
    assert!(ledger.exists(), "a damaged ledger must stay where it is until somebody decides");
    let now = other.wait("a block", |line| height(line) > 0);
    victim.push("--repair");
    victim.again();
    let repairing = victim.event("repairing");
    let aside = PathBuf::from(text(&repairing, "set_aside"));
    assert!(aside.join("store").is_dir(), "the damaged ledger must be kept: {repairing}");
    victim.wait("blocks after the repair", |line| height(line) >= height(&now));
    victim.pop();
    disk
}

/// Change bytes all over every file below `folder`; returns the number of files.
fn damage(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += damage(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().step_by(37).for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).unwrap();
        count += 1;
    }
    count
}

fn a_trainers_states_are_damaged(world: &World, trainers: &mut [Node], places: &Places) {
    let (victim, replica) = (places.of(2, 1), places.of(2, 0));
    trainers[victim].kill();
    let runs = world.dir(&trainers[victim].name).join("runs");
    let files = damage(&runs);
    assert!(files >= 2, "past states are kept: {files}");
    let at = progress(trainers[replica].listen());
    let victim = &mut trainers[victim];
    victim.again();
    for _ in 0..files {
        holds(&text(&victim.event("damaged"), "what"), &["is damaged", "set aside"]);
    }
    let fetched = victim.event("fetched");
    assert!(fetched["progress"].as_u64() >= Some(at), "fetched {fetched}, its replica is at {at}");
    assert!(step(&victim.event("working")) >= at);
}

fn a_stranger_sends_nonsense(trainer: &mut Node) {
    let started = trainer.told.iter().find(|line| line["event"] == "started").unwrap();
    let (peer, address) = (text(started, "key").parse().unwrap(), text(started, "address").parse().unwrap());
    let stranger = SecretKey::from_seed([77; 32]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = QuicConfig { bind: "127.0.0.1:0".parse().unwrap(), limits: Limits::default() };
        let transport = QuicTransport::bind(&stranger, config).await.unwrap();
        transport.learn(peer, address);
        // The right version, then no message.
        let frame = bytes::Bytes::from_static(&[tessera_wire::VERSION, 0xff, 0xff, 0xff, 0xff]);
        transport.send(peer, tessera_wire::CONTROL, frame).unwrap();
        let down = async {
            while !matches!(transport.recv().await.unwrap(), NetEvent::Down { peer: p, .. } if p == peer) {}
        };
        tokio::time::timeout(support::PATIENCE, down)
            .await
            .expect("a stranger who breaks rules is sent away");
        transport.close().await;
    });
    let dropped = trainer.wait("who was dropped", |line| {
        line["event"] == "dropped" && line["peer"] == stranger.public().to_string().as_str()
    });
    assert!(!text(&dropped, "reason").is_empty());
}

/// Everything here must fail before it changes anything.
fn what_cannot_start_says_why(world: &World, spec: &Path, trainer: &Node) {
    let before = succeed(&world.command("user", &["wallet", "show"]));
    let started = trainer.told.iter().find(|line| line["event"] == "started").unwrap();
    let (address, process) = (text(started, "address"), started["process"].to_string());
    refuse(&world.command(&trainer.name, &["node"]), 1, &["in use by process", &process, "another --dir"]);
    let port = world.command("user", &["node", "--listen", &address]);
    refuse(&port, 1, &["cannot listen on UDP", &address, "choose another address"]);

    let corpus = world.dir("other.txt");
    fs::write(&corpus, "The whale is not in this text, and nobody is called Ishmael.\n".repeat(400)).unwrap();
    let wrong = ["node", "--run", &show(spec), "--corpus", &show(&corpus)].map(str::to_owned);
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let expected = ["does not match the manifest", "expected root", "got ", "moby-dick", "byte for byte"];
    refuse(&world.command("user", &wrong), 1, &expected);

    let other = world.dir("other");
    let made = succeed(&["network", "new", "--name", "other", "--out", &show(&other)]);
    let file = text(&made, "network");
    let ours = text(started, "network_id");
    let show_wallet = ["wallet", "show", "--dir", &show(&world.dir("user")), "--network", &file];
    let theirs = text(&made, "network_id");
    refuse(&show_wallet, 1, &["expected network", &ours, &theirs, "give the right --network"]);

    let after = succeed(&world.command("user", &["wallet", "show"]));
    assert_eq!((&before["balance"], &before["transactions"]), (&after["balance"], &after["transactions"]));
}

fn a_disk_is_full_for_a_while(trainer: &mut Node, filler: &Path) {
    let trouble = trainer.event("trouble");
    holds(&text(&trouble, "what"), &["could not save the state of step", "free some space"]);
    let before = progress(&trainer.told);
    fs::remove_file(filler).unwrap();
    trainer.wait("a step after space was freed", |line| closed(line) > before);
}

/// A file system of 16 MB over a folder with its content.
struct Disk(PathBuf);
impl Disk {
    fn under(folder: &Path) -> Option<Self> {
        let kept = folder.with_extension("kept");
        fs::rename(folder, &kept).unwrap();
        fs::create_dir(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tessera-test"]).arg(folder);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: the acts of the full disks need the right to mount a tmpfs");
            fs::remove_dir(folder).unwrap();
            fs::rename(&kept, folder).unwrap();
            return None;
        }
        let disk = Self(folder.to_path_buf());
        let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(folder).status().unwrap();
        assert!(copied.success());
        Some(disk)
    }
    /// Leave no byte free; removing the returned file frees them.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        path
    }
}
impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: after a failed test its node may still be there.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// After all kills, repairs and sales: each sum of events is what the ledger holds.
fn every_balance_is_explained(world: &World, names: &[String], run: &str) {
    let mut subjects: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), None)).collect();
    subjects.extend([("user", None), ("user", Some(run))]);
    for (name, id) in subjects {
        let explain = ["explain", id.unwrap_or_default()];
        let found = succeed(&world.command(name, &explain[..1 + usize::from(id.is_some())]));
        assert_eq!((&found["holds"], &found["indexed_from"]), (&true.into(), &"1".into()), "{found}");
        assert!(found["parts"][0]["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{found}");
    }
    let supply = succeed(&world.command("user", &["ledger", "get", &format!("/runs/{run}/supply?proof=1")]));
    assert!(supply["data"]["total"].is_string() && supply["proofs"][0]["proof"].is_string(), "{supply}");
    refuse(&world.command("user", &["ledger", "get", "/runs/7"]), 1, &["expected run to be 64", "got 7"]);
}

fn credits_are_used_once(world: &mut World, spec: &Path, run: &str, host: &mut Node) {
    let spec = show(spec);
    let chat = ["chat", "--run", &spec, "--prompt", "Call me Ishmael.", "--tokens", "8"];
    refuse(
        &world.command("user", &chat),
        1,
        &["the request costs ", " cu, this wallet", "holds 0 cu", "tessera market buy"],
    );

    // Credits are minted at the end of an epoch: try again after each block.
    let note = loop {
        let claim = tessera(&world.command(&host.name, &["wallet", "claim", run]));
        if claim.code == 0 {
            break text(&claim.json, "note");
        }
        holds(&claim.said, &["no credit is due"]);
        assert_eq!(claim.code, 3, "{}", claim.said);
        let validator = &mut world.validators[0];
        let seen = validator.listen().iter().map(height).max().unwrap_or(0);
        validator.wait("another block", |line| height(line) > seen);
    };
    a_sale_at_auction(world, &host.name, run, &note);

    let answer = succeed(&world.command("user", &chat));
    assert_eq!(answer["generated_tokens"], 8, "{answer}");
    assert!((1..=5).contains(&answer["cu_used"].as_u64().unwrap()), "{answer}");
    assert!(!text(&answer, "text").is_empty());
    let order = text(&answer, "order");
    let again = [&chat[..], &["--order", &order]].concat();
    refuse(&world.command("user", &again), 1, &["refused (Spent)", "lock another note"]);
}

fn largest_note(world: &World, owner: &str) -> String {
    let notes = succeed(&world.command(owner, &["wallet", "notes"]));
    let notes = notes["notes"].as_array().expect("a list of notes");
    text(notes.iter().max_by_key(|note| note["cu"].as_u64()).expect("a note"), "note")
}

/// The owner sells five credits of `note` to the user at one price that both take, and is refused more than it holds.
fn a_sale_at_auction(world: &World, owner: &str, run: &str, note: &str) {
    let more = ["market", "sell", run, note, "--cu", "999999999", "--limit", "0.04"];
    refuse(&world.command(owner, &more), 1, &["expected notes of at least 999999999 cu", "sell less"]);
    let poor = ["market", "buy", run, "--cu", "5", "--limit", "900000"];
    refuse(&world.command("user", &poor), 3, &["the ledger refused the transaction", "are needed"]);
    let unknown = "0".repeat(64);
    let nowhere = ["market", "buy", &unknown, "--cu", "5", "--limit", "1"];
    refuse(&world.command("user", &nowhere), 1, &["is not on the ledger", "tessera run list"]);
    refuse(&world.command("user", &["market", "reveal", &unknown]), 1, &["has no secret of order", "none"]);

    // An order that is withdrawn leaves nothing. The half of a batch that takes orders may end between two commands.
    let note = loop {
        let note = largest_note(world, owner);
        let sell = ["market", "sell", run, &note, "--cu", "1", "--limit", "9", "--no-wait"];
        let sealed = text(&succeed(&world.command(owner, &sell)), "order");
        let listed = succeed(&world.command(owner, &["market", "orders"]));
        assert_eq!(listed["orders"][0]["order"], sealed, "{listed}");
        let again = tessera(&world.command(owner, &sell));
        assert_eq!(again.code, 3, "{}", again.said);
        if again.said.contains("waiting for the next batch") {
            // The second command waited for another batch; meanwhile nobody opened the first order.
            let ended = succeed(&world.command(owner, &["market", "reveal"]));
            assert_eq!(ended["orders"][0]["state"], "forfeited", "{ended}");
            continue;
        }
        holds(&again.said, &["is for sale by order"]);
        let withdrawn = tessera(&world.command(owner, &["market", "cancel", &sealed]));
        if withdrawn.code != 0 {
            holds(&withdrawn.said, &["orders can be opened now"]);
            let opened = succeed(&world.command(owner, &["market", "reveal"]));
            assert_eq!(opened["orders"][0]["filled"], "0", "{opened}");
        }
        break note;
    };
    assert_eq!(succeed(&world.command(owner, &["market", "orders"]))["orders"], serde_json::json!([]));

    // Both put their orders in, then each is followed by another process than the one that made it.
    for attempt in 0.. {
        let sell = ["market", "sell", run, &note, "--cu", "5", "--limit", "0.04", "--no-wait"];
        let buy = ["market", "buy", run, "--cu", "5", "--limit", "0.06", "--no-wait"];
        let sold = succeed(&world.command(owner, &sell));
        let bought = succeed(&world.command("user", &buy));
        let (sold, bought) = (text(&sold, "order"), text(&bought, "order"));
        let opening = world.command(owner, &["market", "reveal", &sold]);
        let seller = std::thread::spawn(move || succeed(&opening));
        let buyer = succeed(&world.command("user", &["market", "reveal", &bought]));
        let told = [seller.join().unwrap(), buyer];
        let [sold, bought] = told.map(|told| told["orders"][0].clone());
        // The two may have come to different batches: then neither trades.
        if bought["filled"] == "0" && attempt < 4 {
            assert_ne!(sold["batch"], bought["batch"], "{sold} {bought}");
            continue;
        }
        assert_eq!((&sold["filled"], &bought["filled"]), (&"5".into(), &"5".into()), "{sold} {bought}");
        assert_eq!(sold["price"], bought["price"], "one price for both");
        let price: f64 = text(&sold, "price").parse().unwrap();
        assert!((0.04..=0.06).contains(&price), "{sold}");
        assert_eq!(bought["fee"], "0");
        assert!(text(&sold, "fee").parse::<f64>().unwrap() > 0.0);
        let notes = succeed(&world.command("user", &["wallet", "notes"]));
        assert_eq!((&notes["notes"][0]["note"], &notes["notes"][0]["cu"]), (&bought["note"], &5.into()));
        let history = succeed(&world.command("user", &["market", "history", run]));
        assert_eq!(
            (&history["prices"][0]["price"], &history["prices"][0]["volume"]),
            (&sold["price"], &"5".into())
        );
        return;
    }
}
