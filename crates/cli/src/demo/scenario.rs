//! The story: a network, a run, trainers, a crash if asked for, owners, a sale, a completion, a double spend.

use super::{
    Demo, cheat,
    child::{ask, run, words},
    progress::Progress,
    summary::{Owner, Report},
    swarm::Swarm,
};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tessera_model::{Dataset, RunSpec};

const VALIDATORS: u64 = 4;
/// Tokens of one credit: of prompt and generated. Small, so that a short completion uses several credits.
const PRICE: &str = "64:8";
const GENERATED: u32 = 96;
const SUPPLY: &str = "1000";
/// Credits of the sale, and what the seller and the buyer take for one.
const SALE: &str = "20";
const LEAST: &str = "0.04";
const MOST: &str = "0.06";
/// Batches in which the sale is tried.
const AUCTIONS: usize = 5;

/// Names and places of the story.
struct Stage {
    folder: PathBuf,
    network: PathBuf,
    spec_file: PathBuf,
    spec: RunSpec,
}

impl Stage {
    fn dir(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
    /// `COMMAND... --dir FOLDER/name --network FILE`.
    fn command<const N: usize>(&self, name: &str, command: [&str; N]) -> Vec<String> {
        let mut all = words(command);
        all.extend(["--dir".into(), self.dir(name), "--network".into(), self.network.display().to_string()]);
        all
    }
    fn run_id(&self) -> String {
        self.spec.run_id().to_string()
    }
}

pub(super) async fn play(demo: &Demo, folder: &Path) -> Result<Report> {
    let mut swarm = Swarm::new(folder);
    let outcome = perform(demo, folder, &mut swarm).await;
    swarm.stop_all().await;
    outcome
}

async fn perform(demo: &Demo, folder: &Path, swarm: &mut Swarm) -> Result<Report> {
    let (spec, spec_toml) = design(demo).await?;
    let progress = Progress::new(spec.steps.into());
    let stages = u64::from(spec.stage_count());
    let trainers: Vec<String> = (0..stages * u64::from(demo.seats)).map(|i| format!("trainer-{i}")).collect();
    let mut keys = BTreeMap::new();
    for name in trainers.iter().map(String::as_str).chain(["user"]) {
        let dir = folder.join(name).display().to_string();
        let made = ask(&words(["wallet", "new", "--dir", &dir])).await?;
        keys.insert(name.to_string(), field(&made, "key")?);
    }
    let stage = Stage {
        folder: folder.to_path_buf(),
        network: make_network(demo, folder, &keys).await?,
        spec_file: folder.join("run.toml"),
        spec,
    };
    std::fs::write(&stage.spec_file, spec_toml).context("cannot write the run's specification")?;
    let mut report = Report {
        stages,
        seats: demo.seats.into(),
        validators: VALIDATORS,
        steps: stage.spec.steps.into(),
        unigram_entropy: Dataset::embedded(&stage.spec)?.unigram_entropy(),
        ..Report::default()
    };

    for index in 0..VALIDATORS {
        let name = format!("validator-{index}");
        let dir = folder.join("network").join(&name);
        let mut args = words(["node", "--validate", "--dir"]);
        args.extend([dir.display().to_string(), "--network".into(), stage.network.display().to_string()]);
        swarm.add(name, String::new(), args)?;
    }
    swarm.expect(&progress, 60, "the first blocks", |s| s.height() >= 2).await?;
    progress.tell(format!("{VALIDATORS} validators make blocks"));

    publish(&stage, &trainers, &keys).await?;
    let short = stage.spec.run_id().short();
    progress.tell(format!(
        "run {short} is published; {stages} designers may begin, others follow after their window"
    ));
    // The last one comes after the designers, so an honest trainer of its stage is there to audit it.
    let cheat = trainers.last().filter(|_| demo.has_cheat());
    for name in &trainers {
        let mut args = stage.command(name, ["node", "--serve", "--run"]);
        args.insert(3, stage.spec_file.display().to_string());
        if Some(name) == cheat {
            args.extend(words(["--cheat", cheat::KIND]));
        }
        swarm.add(name.clone(), keys[name].clone(), args)?;
    }
    train(demo, &stage, swarm, &progress, &mut report).await?;
    own_and_use(demo, &stage, swarm, &progress, &mut report, &trainers, &keys).await?;
    swarm.note_all_memory();
    let peak = |prefix: &str| {
        swarm.members.iter().filter(|m| m.name.starts_with(prefix)).map(|m| m.peak).max().unwrap_or(0)
    };
    (report.trainer_peak, report.validator_peak) = (peak("trainer"), peak("validator"));
    report.height = swarm.height();
    report.wall_s = progress.seconds();
    progress.finish();
    Ok(report)
}

/// The run's specification, made by the designer's command.
async fn design(demo: &Demo) -> Result<(RunSpec, String)> {
    let mut args = words(["run", "new", "--preset", &demo.preset, "--name", "demo"]);
    if demo.small {
        args.extend(words(["--steps", "12", "--window-steps", "4", "--microbatches", "4"]));
    }
    if demo.has_cheat() {
        // Reports come often, so that audits do.
        args.extend(words(["--window-steps", "4"]));
    }
    if let Some(steps) = demo.steps {
        args.extend(["--steps".into(), steps.to_string()]);
    }
    let toml = field(&ask(&args).await?, "toml")?;
    Ok((RunSpec::from_toml(&toml)?, toml))
}

async fn make_network(demo: &Demo, folder: &Path, keys: &BTreeMap<String, String>) -> Result<PathBuf> {
    let out = folder.join("network").display().to_string();
    let params = if demo.has_cheat() { "demo-audits" } else { "demo" };
    let mut args =
        words(["network", "new", "--name", "demo", "--params", params, "--validators", "4", "--out", &out]);
    for key in keys.values() {
        args.extend(["--fund".into(), format!("{key}=1000")]);
    }
    Ok(PathBuf::from(field(&ask(&args).await?, "network")?))
}

/// Trainer 0 publishes; as many trainers as there are stages are its designers.
async fn publish(stage: &Stage, trainers: &[String], keys: &BTreeMap<String, String>) -> Result<()> {
    let mut args = stage.command("trainer-0", ["run", "publish"]);
    args.push(stage.spec_file.display().to_string());
    let seats = trainers.len() / usize::from(stage.spec.stage_count());
    args.extend(["--seats".into(), seats.to_string(), "--price".into(), PRICE.into()]);
    args.extend(words(["--supply", SUPPLY, "--supply-epochs", "1", "--exclusive-windows", "1"]));
    for name in trainers.iter().take(stage.spec.stage_count().into()) {
        args.extend(["--designer".into(), keys[name].clone()]);
    }
    ask(&args).await.map(|_| ())
}

async fn train(
    demo: &Demo,
    stage: &Stage,
    swarm: &mut Swarm,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let steps = u64::from(stage.spec.steps);
    let per_step = u64::from(stage.spec.batch.microbatches) * stage.spec.microbatch_tokens() as u64;
    let designers = usize::from(stage.spec.stage_count());
    swarm
        .expect(progress, 120, "the designers' seats", |s| {
            s.members.iter().filter(|m| m.name.starts_with("trainer")).filter(|m| m.working).count()
                >= designers
        })
        .await?;
    let begun = Instant::now();
    let first = swarm.height();
    let mut killed = !demo.kill;
    let mut validator = !demo.kill_validator;
    let mut rejoin: Option<(usize, u64, Instant)> = None;
    let limit = Instant::now() + Duration::from_secs(1800);
    loop {
        let closed = swarm.closed.len() as u64;
        let rate = closed.min(steps) as f64 * per_step as f64 / begun.elapsed().as_secs_f64();
        let loss = swarm.losses.last().map_or("-".into(), |(_, loss)| format!("{loss:.3} nats"));
        let working = swarm.members.iter().filter(|m| m.name.starts_with("trainer") && m.working).count();
        let all = swarm.members.iter().filter(|m| m.name.starts_with("trainer")).count();
        progress
            .show(closed.min(steps), format!("loss {loss}  {rate:.0} tokens/s  {working} of {all} seats"));
        if closed > steps {
            break;
        }
        let before = closed;
        swarm.watch(progress, Duration::from_millis(500), |s| s.closed.len() as u64 > before).await?;
        if let Some((index, step, at)) = rejoin
            && swarm.members[index].working
        {
            let seconds = at.elapsed().as_secs_f64();
            let victim = swarm.members[index].name.clone();
            progress.tell(format!("{victim} is back at work {seconds:.1} s after it was started again"));
            report.kill = Some(json!({ "victim": victim, "step": step, "rejoin_s": seconds }));
            rejoin = None;
        }
        if !killed && closed > steps / 3 {
            killed = true;
            // Any seat whose stage has another one at work, else the only one.
            let index =
                swarm.in_seat(1.min(report.stages - 1), 0).ok_or_else(|| anyhow!("nobody to kill"))?;
            progress.tell(format!("kill -9 {} in the middle of step {closed}", swarm.members[index].name));
            swarm.kill(index).await?;
            swarm.watch(progress, Duration::from_secs(3), |_| false).await?;
            swarm.start(index)?;
            rejoin = Some((index, closed, Instant::now()));
        }
        if !validator && closed > steps / 2 {
            validator = true;
            let index = (VALIDATORS - 1) as usize;
            progress.tell(format!("kill -9 {}", swarm.members[index].name));
            swarm.kill(index).await?;
            let height = swarm.height();
            swarm.expect(progress, 60, "blocks without a validator", |s| s.height() >= height + 5).await?;
            let blocks = swarm.height() - height;
            swarm.start(index)?;
            report.kill_validator =
                Some(json!({ "victim": swarm.members[index].name, "blocks_without": blocks }));
        }
        if Instant::now() > limit {
            bail!("training did not end within 30 minutes; it stands at step {closed} of {steps}");
        }
    }
    report.train_s = begun.elapsed().as_secs_f64();
    report.tokens = steps * per_step;
    report.tokens_per_s = report.tokens as f64 / report.train_s;
    report.replayed = swarm.replayed;
    report.late_joiners = swarm.fetched;
    progress.tell(format!(
        "trained: {steps} steps in {:.1} s, {} blocks meanwhile",
        report.train_s,
        swarm.height() - first
    ));
    swarm
        .expect(progress, 120, "all seats to serve", |s| {
            s.members.iter().filter(|m| m.name.starts_with("trainer") && !m.cheats).all(|m| m.hosting)
        })
        .await?;
    progress.tell("all reports are on the ledger; the seats serve now");
    report.losses = swarm.losses.clone();
    report.loss_start = swarm.losses.first().map_or(f64::NAN, |(_, loss)| *loss);
    report.loss_end = swarm.losses.last().map_or(f64::NAN, |(_, loss)| *loss);
    let shown = ask(&stage.command("user", ["run", "show", &stage.run_id()])).await?;
    report.state_roots = texts(&shown["state_roots"]);
    Ok(())
}

#[allow(clippy::too_many_arguments)]
async fn own_and_use(
    demo: &Demo,
    stage: &Stage,
    swarm: &mut Swarm,
    progress: &Progress,
    report: &mut Report,
    trainers: &[String],
    keys: &BTreeMap<String, String>,
) -> Result<()> {
    // The single process runs beside the rest of the story; it needs nothing of it.
    let file = stage.spec_file.display().to_string();
    let reference =
        tokio::spawn(async move { ask(&words(["run", "reference", &file, "--threads", "2"])).await });

    let run_id = stage.run_id();
    let shares = stage.command("user", ["shares", &run_id]);
    let owners =
        wait_for(swarm, progress, &shares, "the shares to become active and credits to be due", |owned| {
            let owners = owned["owners"].as_array().map_or(&[][..], Vec::as_slice);
            owners.iter().all(|o| o["pending"] == "0") && due(owned) > 0
        })
        .await?;
    for owner in owners["owners"].as_array().into_iter().flatten() {
        let account = field(owner, "account")?;
        report.owners.push(Owner {
            name: swarm.name_of(&account),
            account,
            percent: owner["percent"].as_f64().unwrap_or(0.0),
            microbatches: owner["microbatches"].as_u64().unwrap_or(0),
            stages: owner["stages"].clone(),
            windows: owner["windows"].clone(),
        });
    }
    progress.tell(format!("{} owners; their credits are minted", report.owners.len()));

    if let Some(cheat) = trainers.last().filter(|_| demo.has_cheat()) {
        let spec = stage.spec_file.display().to_string();
        let trail = ask(&stage.command("user", ["audit", &stage.run_id(), "--spec", &spec])).await?;
        report.cheat = Some(cheat::story(swarm, cheat, &trail, &report.owners));
    }

    // The greatest owner claims and sells.
    let seller =
        report.owners.first().map(|o| o.name.clone()).ok_or_else(|| anyhow!("the run has no owner"))?;
    let claimed = ask(&stage.command(&seller, ["wallet", "claim", &run_id])).await?;
    let note = field(&claimed, "note")?;
    let mut sale = auction(stage, progress, &seller, &note).await?;
    sale["seller_name"] = json!(seller);
    sale["buyer_name"] = json!("user");
    progress.tell(format!(
        "the auction is over: {seller} sold {} credits to the user at {} U each",
        sale["cu"],
        text(&sale["price"])
    ));
    report.sale = sale.clone();
    let bought = field(&sale, "note")?;

    let before = ask(&shares).await?;
    let file = stage.spec_file.display().to_string();
    let generated = GENERATED.to_string();
    let chat = ["chat", "--run", &file, "--prompt", &demo.prompt, "--tokens", &generated, "--wait"];
    report.completion = ask(&stage.command("user", chat)).await?;
    let used = report.completion["cu_used"].as_u64().unwrap_or(0);
    progress
        .tell(format!("the swarm wrote {} tokens for {used} credits", report.completion["generated_tokens"]));

    double_spend(demo, stage, swarm, progress, report, &bought).await?;

    // What was used returns to the owners at the next epoch.
    let had = due_by_owner(&before);
    let whole: u64 = had.values().sum();
    let after = wait_for(swarm, progress, &shares, "the used credits to reach the owners", |owned| {
        // Fractions of a credit stay with their owners until they are whole.
        due(owned) + (trainers.len() as u64) > whole + used
    })
    .await?;
    for (account, now) in due_by_owner(&after) {
        let cu = now.saturating_sub(had.get(&account).copied().unwrap_or(0));
        report.received.push(json!({ "name": swarm.name_of(&account), "account": account, "cu": cu }));
    }
    debug_assert_eq!(keys.len(), trainers.len() + 1);

    progress.tell("comparing with one process on one machine");
    let reference = reference.await.context("the single-process run")??;
    report.reference_roots = texts(&reference["state_roots"]);
    report.reference_s = reference["wall_s"].as_f64().unwrap_or(0.0);
    report.bit_identical = !report.state_roots.is_empty() && report.state_roots == report.reference_roots;
    Ok(())
}

/// Both sides put sealed orders into one batch, open them, and trade at its one price. Returns what the buyer saw.
async fn auction(stage: &Stage, progress: &Progress, seller: &str, note: &str) -> Result<Value> {
    let run_id = stage.run_id();
    let sell = ["market", "sell", &run_id, note, "--cu", SALE, "--limit", LEAST];
    let buy = ["market", "buy", &run_id, "--cu", SALE, "--limit", MOST];
    for _ in 0..AUCTIONS {
        progress.tell(format!(
            "{seller} asks for at least {LEAST} U, the user bids at most {MOST} U a credit; both orders are sealed"
        ));
        let (seller_args, buyer_args) = (stage.command(seller, sell), stage.command("user", buy));
        let (sold, bought) = tokio::try_join!(ask(&seller_args), ask(&buyer_args))?;
        if bought["cu"].as_u64() > Some(0) {
            if sold["price"] != bought["price"] {
                bail!("the seller and the buyer saw different prices: {sold} and {bought}");
            }
            let mut sale = bought;
            sale["seller_received"] = sold["total"].clone();
            sale["seller_fee"] = sold["fee"].clone();
            return Ok(sale);
        }
        progress.tell("the orders came to different batches; both are back, once more");
    }
    bail!("the orders of seller and buyer came to different batches {AUCTIONS} times")
}

/// Try to use the same credential again, and to sell the spent note.
async fn double_spend(
    demo: &Demo,
    stage: &Stage,
    swarm: &mut Swarm,
    progress: &Progress,
    report: &mut Report,
    spent: &str,
) -> Result<()> {
    let file = stage.spec_file.display().to_string();
    let order = field(&report.completion, "order")?;
    let again = ["chat", "--run", &file, "--prompt", &demo.prompt, "--tokens", "8", "--order", &order];
    let attempts = [
        ("the same credential again", stage.command("user", again)),
        (
            "the spent note for sale",
            stage.command("user", ["market", "sell", &stage.run_id(), spent, "--limit", LEAST, "--no-wait"]),
        ),
    ];
    for (what, mut args) in attempts {
        args.push("--json".into());
        let output = run(&args).await?;
        if output.ok {
            bail!("{what} was accepted: {}", output.json);
        }
        let reason = output.json["error"].as_str().map_or_else(|| output.said.clone(), str::to_owned);
        progress.tell(format!("{what}: refused"));
        report.refused.push(json!({ "what": what, "reason": reason }));
    }
    swarm.watch(progress, Duration::from_millis(300), |_| false).await?;
    Ok(())
}

/// Ask until `good`, at most two minutes.
async fn wait_for(
    swarm: &mut Swarm,
    progress: &Progress,
    args: &[String],
    what: &str,
    good: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let value = ask(args).await?;
        if good(&value) {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited 120 s in vain for {what}; last seen: {value}");
        }
        swarm.watch(progress, Duration::from_millis(700), |_| false).await?;
    }
}

fn due_by_owner(owned: &Value) -> BTreeMap<String, u64> {
    let owners = owned["owners"].as_array().into_iter().flatten();
    owners.filter_map(|o| Some((o["account"].as_str()?.to_owned(), o["credits_due"].as_u64()?))).collect()
}
fn due(owned: &Value) -> u64 {
    due_by_owner(owned).values().sum()
}
fn field(value: &Value, name: &str) -> Result<String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| anyhow!("expected a field {name:?} in {value}"))
}
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
