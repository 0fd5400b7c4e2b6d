//! `tessera run`: a designer's side. Describe a run, publish it on the ledger, look at it.

mod value;

use crate::context::{Output, Place, nats};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::{path::PathBuf, str::FromStr};
use tessera_canon::{Hash, List, PublicKey, Text};
use tessera_ledger::{
    Action,
    action::{ChunkPrice, CreateRun, LossProportional, LossSource, RiskRule},
    query,
    record::SeatState,
};
use tessera_model::{Dataset, RunSpec, central};
use tessera_node::{
    amount::{self, Amount},
    ledger::{LedgerError, View},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print a run specification (TOML), ready to be edited and published
    New(New),
    /// Put a specification on the ledger; trainers can then join
    Publish(Publish),
    /// Show a run: state, progress, loss, seats, state roots
    Show(Show),
    /// List all runs
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show what a run is worth by its work and by its markets, its supply and its extraction report in short
    Value {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// U that one more work unit costs those who train; then the value is given in U as well
        #[arg(long, value_name = "U")]
        cost: Option<Amount>,
    },
    /// Print the extraction report: what it would take to gather the weights
    Extraction {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
    },
    /// Train a run in this one process and print its state roots: what every swarm must reach, bit for bit
    Reference(Reference),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reference {
    /// Run specification (TOML)
    #[arg(value_name = "SPEC.toml")]
    spec: PathBuf,
    /// The text that the run trains on, if its specification does not name an embedded one
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Threads of arithmetic; the result does not depend on them
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Size to start from: tiny, nano (2 M parameters), micro (20 M), base (124 M)
    #[arg(long, default_value = "nano")]
    preset: String,
    /// Text to learn, UTF-8; by default the embedded Moby-Dick
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Makes runs that are otherwise equal different
    #[arg(long)]
    seed: Option<u64>,
    /// Sub-layers of each stage (attention and MLP count separately), for example 4,4,4
    #[arg(long, value_delimiter = ',', value_name = "N,N,...")]
    stages: Option<Vec<u16>>,
    /// Optimizer steps
    #[arg(long)]
    steps: Option<u32>,
    /// Steps in a window, the unit of reports and rewards
    #[arg(long)]
    window_steps: Option<u32>,
    /// Microbatches in a step
    #[arg(long)]
    microbatches: Option<u32>,
    /// Sequences in a microbatch
    #[arg(long)]
    sequences: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    place: Place,
    /// Run specification (TOML)
    #[arg(value_name = "SPEC.toml")]
    spec: PathBuf,
    /// Most seats in each stage
    #[arg(long, default_value_t = 2)]
    seats: u16,
    /// A designer's key: may work while the run is exclusive; may be repeated. By default the sender
    #[arg(long, value_name = "KEY")]
    designer: Vec<PublicKey>,
    /// Bond in U, returned when the designers have done their part; by default the least one
    #[arg(long, value_name = "U")]
    bond: Option<Amount>,
    /// Designers' least work, which ends exclusivity, in per cent of all work; by default the least allowed
    #[arg(long, value_name = "PERCENT")]
    designer_work: Option<f64>,
    /// Windows after which exclusivity ends in any case
    #[arg(long, default_value_t = 1)]
    exclusive_windows: u32,
    /// Blocks after which exclusivity ends in any case
    #[arg(long, default_value_t = 3600)]
    exclusive_blocks: u64,
    /// Loss before training in nats per token; by default that of guessing evenly, ln(vocabulary)
    #[arg(long, value_name = "NATS")]
    loss_0: Option<f64>,
    /// Credits minted to the owners after training
    #[arg(long, default_value_t = 1000)]
    supply: u64,
    /// Ledger epochs over which they are minted in equal parts
    #[arg(long, default_value_t = 1)]
    supply_epochs: u32,
    /// What one credit buys: tokens of prompt and generated tokens
    #[arg(long, value_name = "PROMPT:GENERATED", default_value = "512:64")]
    price: Price,
}

#[derive(Clone, Copy, Debug)]
struct Price(u32, u32);
impl FromStr for Price {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(a, b)| Some(Self(a.parse().ok()?, b.parse().ok()?)));
        parts.ok_or_else(|| format!("expected two numbers like 512:64, got {text:?}"))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    place: Place,
    /// Run id
    run: Hash,
}

pub(crate) async fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::New(new) => make(new, output),
        Command::Publish(publish) => publish_run(publish, output).await,
        Command::Show(show) => show_run(show, output).await,
        Command::List { place } => value::list(&place, output).await,
        Command::Value { place, run, cost } => value::value(&place, &run, cost, output).await,
        Command::Extraction { place, run } => value::extraction(&place, &run, output).await,
        Command::Reference(reference) => train_reference(&reference, output),
    }
}

fn make(new: New, output: Output) -> Result<()> {
    let mut spec = RunSpec::preset(&new.preset)?;
    if let Some(name) = &new.name {
        spec.name = Text::new(name.as_str()).context("the name")?;
    }
    if let Some(stages) = new.stages {
        spec.stages = List::new(stages).context("the stages")?;
    }
    spec.seed = new.seed.unwrap_or(spec.seed);
    spec.steps = new.steps.unwrap_or(spec.steps);
    // A short run keeps to its length without being told: a window and the warm-up fit into it.
    spec.window_steps = new.window_steps.unwrap_or(spec.window_steps.min(spec.steps));
    spec.optimizer.warmup_steps = spec.optimizer.warmup_steps.min(spec.steps / 2);
    spec.batch.microbatches = new.microbatches.unwrap_or(spec.batch.microbatches);
    spec.batch.sequences = new.sequences.unwrap_or(spec.batch.sequences);
    if let Some(path) = &new.corpus {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the corpus {} as UTF-8 text", path.display()))?;
        let source = path.file_stem().map_or("corpus".into(), |stem| stem.to_string_lossy().into_owned());
        spec = spec.with_corpus(&source, &text)?;
    }
    // Read back, so that whatever the flags made is checked like a file.
    let toml = spec.to_toml();
    let spec = RunSpec::from_toml(&toml)?;
    eprintln!("run {} ({} stages, {} steps)", spec.run_id(), spec.stage_count(), spec.steps);
    output.result(&json!({ "run": spec.run_id(), "toml": toml }), || toml.clone());
    Ok(())
}

/// The specification in a file.
pub(crate) fn read_spec(path: &PathBuf) -> Result<RunSpec> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the run specification {}", path.display()))?;
    RunSpec::from_toml(&text).with_context(|| format!("in {}", path.display()))
}

async fn publish_run(publish: Publish, output: Output) -> Result<()> {
    let spec = read_spec(&publish.spec)?;
    let key = publish.place.key()?;
    let visitor = publish.place.enter().await?;
    let ledger = &visitor.ledger;
    let params = ledger.read(|view| query::params(view.source())).await?;
    let params = params.context("the network has no parameters")?;
    let stage_wu: Vec<u64> = (0..spec.stage_count()).map(|stage| spec.work_units(stage)).collect();
    let per_step: u128 =
        stage_wu.iter().map(|wu| u128::from(*wu)).sum::<u128>() * u128::from(spec.batch.microbatches);
    let f_star = u64::try_from(per_step * u128::from(spec.steps))
        .context("the work of the whole run does not fit; choose a greater wu_flops")?;
    let least = (u128::from(f_star) * u128::from(params.min_designer) / 10_000).max(1) as u64;
    let f_exclusive = match publish.designer_work {
        None => least,
        Some(percent) if (0.0..=100.0).contains(&percent) => {
            ((f_star as f64 * percent / 100.0) as u64).max(least)
        }
        Some(percent) => bail!("--designer-work: expected 0 to 100 per cent, got {percent}"),
    };
    let loss_0 = publish.loss_0.unwrap_or_else(|| f64::from(spec.model.vocab).ln());
    if !(1e-6..=4000.0).contains(&loss_0) {
        bail!("--loss-0: expected nats per token between 0.000001 and 4000, got {loss_0}");
    }
    let designers = if publish.designer.is_empty() { vec![key.public()] } else { publish.designer };
    if designers.len() < usize::from(spec.stage_count()) {
        bail!(
            "the run has {} stages and {} designers: while it is exclusive every stage needs a designer's seat, and one key holds one seat; name more with --designer KEY",
            spec.stage_count(),
            designers.len()
        );
    }
    let bond = publish.bond.map_or(params.run_bond, |bond| bond.0);
    let run = spec.run_id();
    let action = CreateRun {
        run,
        stage_wu: List::new(stage_wu)?,
        seats: publish.seats,
        microbatches: spec.batch.microbatches,
        steps: spec.steps,
        window_steps: spec.window_steps,
        f_star,
        f_min: least,
        f_exclusive,
        exclusive_windows: publish.exclusive_windows,
        exclusive_blocks: publish.exclusive_blocks,
        designers: List::new(designers)?,
        bond,
        rule: RiskRule::LossProportional(LossProportional {}),
        loss_0: (loss_0 * 1e6).round() as u32,
        price: ChunkPrice { prompt_tokens: publish.price.0, generated_tokens: publish.price.1 },
        supply: publish.supply,
        supply_epochs: publish.supply_epochs,
        policy: None,
        wu_flops: spec.wu_flops,
        loss_source: LossSource::LastStage,
        open_stages: 0,
        bootstrap_windows: 0,
        fork_part: 3000,
    };
    let receipt = ledger.submit(&key, Action::CreateRun(action)).await?;
    let object = json!({
        "run": run, "tx": receipt.tx, "height": receipt.height, "fee": amount::show(receipt.fee),
        "bond": amount::show(bond), "f_star": f_star, "designer_work": f_exclusive, "seats": publish.seats,
        "stages": spec.stage_count(), "windows": spec.window_count(), "supply": publish.supply,
    });
    output.result(&object, || {
        format!(
            "published run {run} at height {} (fee {} U, bond {} U)\n{} stages x {} seats, {} windows, {f_star} work units, supply {} cu\ntrainers join with: tessera node --run {}",
            receipt.height, amount::show(receipt.fee), amount::show(bond), spec.stage_count(), publish.seats,
            spec.window_count(), publish.supply, publish.spec.display(),
        )
    });
    visitor.leave().await;
    Ok(())
}

fn train_reference(reference: &Reference, output: Output) -> Result<()> {
    let spec = read_spec(&reference.spec)?;
    let data = match &reference.corpus {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the corpus {} as UTF-8 text", path.display()))?;
            Dataset::from_text(&spec, &text)?
        }
        None => Dataset::embedded(&spec)?,
    };
    tessera_arith::set_threads(reference.threads.max(1));
    let begun = std::time::Instant::now();
    let bar = indicatif::ProgressBar::new(u64::from(spec.steps)).with_message("training in one process");
    bar.set_style(indicatif::ProgressStyle::with_template("{msg} {bar:30} step {pos}/{len} {eta}")?);
    let trained = central::train(&spec, &data, spec.steps, |step| bar.set_position(step.step))?;
    bar.finish_and_clear();
    let loss = central::evaluate(&spec, &data, &trained.stages)?;
    let seconds = begun.elapsed().as_secs_f64();
    let object = json!({
        "run": spec.run_id(), "state_roots": trained.roots, "loss_end": loss, "wall_s": seconds,
        "unigram_entropy": data.unigram_entropy(),
    });
    output.result(&object, || {
        let mut text =
            format!("run {} in one process: {seconds:.1} s, held-out loss {loss:.4} nats\n", spec.run_id());
        for (stage, root) in trained.roots.iter().enumerate() {
            text += &format!("stage {stage}  state root {root}\n");
        }
        text
    });
    Ok(())
}

async fn show_run(show: Show, output: Output) -> Result<()> {
    let visitor = show.place.enter().await?;
    let view = match visitor.ledger.run(&show.run).await {
        Err(LedgerError::NotHere { .. }) => {
            let runs = visitor.ledger.read(|view| query::runs(view.source())).await?;
            let known: Vec<String> = runs.iter().map(Hash::to_string).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            bail!("run {} is not on the ledger; its runs are: {known}", show.run);
        }
        other => other?,
    };
    let (terms, state) = (&view.terms, &view.run);
    // Roots of the last window that is closed.
    let roots: Vec<Hash> = match state.window.checked_sub(1) {
        None => Vec::new(),
        Some(last) => {
            let read = |view: &View| -> Vec<_> {
                (0..terms.stages)
                    .map(|stage| query::stage_report(view.source(), &show.run, last, stage))
                    .collect()
            };
            let reports = visitor.ledger.read(read).await?;
            reports.into_iter().flatten().map(|report| report.state_root).collect()
        }
    };
    let credits = view.credits.as_ref();
    let seats: Vec<_> = view
        .seats
        .iter()
        .map(|seat| {
            json!({
                "stage": seat.stage, "seat": seat.seat, "account": seat.account, "endpoint": &*seat.endpoint,
                "active": seat.state == SeatState::Active, "since": seat.since, "heard": seat.heard,
            })
        })
        .collect();
    let object = json!({
        "run": show.run, "height": view.height, "state": format!("{:?}", state.state), "creator": terms.creator,
        "stages": terms.stages, "seats_per_stage": terms.seats, "steps": terms.steps,
        "window": state.window, "windows": terms.windows(), "matured": state.matured,
        "f_done": state.f_done, "f_star": terms.f_star, "f_designer": state.f_designer, "f_min": terms.f_min,
        "loss_0": nats(terms.loss_0), "loss_min": nats(state.loss_min), "weight": f64::from(state.weight) / 65536.0,
        "bond": amount::show(state.bond), "supply": terms.supply,
        "price": { "prompt_tokens": terms.price.prompt_tokens, "generated_tokens": terms.price.generated_tokens },
        "shares": credits.map(|c| json!({ "active": c.active.to_string(), "pending": c.pending.to_string() })),
        "credits": credits.map(|c| json!({
            "total": c.total, "pool": c.pool, "notes": c.notes, "auctioned": c.auctioned, "locked": c.locked,
            "unclaimed": c.owner_in - c.owner_out.min(c.owner_in),
        })),
        "seats": seats, "state_roots": roots,
    });
    output.result(&object, || {
        let mut text =
            format!("run       {}\nstate     {:?} at height {}\n", show.run, state.state, view.height);
        text += &format!(
            "window    {} of {} reported, {} matured\n",
            state.window,
            terms.windows(),
            state.matured
        );
        text += &format!(
            "work      {} of {} units ({:.1} %), {} by designers while exclusive (least {})\n",
            state.f_done,
            terms.f_star,
            crate::context::percent(state.f_done.into(), terms.f_star.into()),
            state.f_designer,
            terms.f_min
        );
        text += &format!(
            "loss      {:.3} at best, {:.3} before training\n",
            nats(state.loss_min),
            nats(terms.loss_0)
        );
        if let Some(c) = credits {
            text += &format!(
                "credits   {} cu: {} in notes, {} in the market, {} locked, {} in the pool\n",
                c.total, c.notes, c.auctioned, c.locked, c.pool
            );
        }
        for seat in &view.seats {
            let lapsed = if seat.state == SeatState::Active { "" } else { "  lapsed" };
            text += &format!(
                "seat {}.{}  {}  {}  heard at {}{lapsed}\n",
                seat.stage,
                seat.seat,
                seat.account.short(),
                &*seat.endpoint,
                seat.heard
            );
        }
        text
    });
    visitor.leave().await;
    Ok(())
}
