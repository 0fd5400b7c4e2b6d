//! Publish runs and end their exclusive phase (ownership specification 4.2, 4.3).

use crate::{
    account,
    action::{AbortRun, CreateRun, RiskRule},
    error::TxError,
    event::{RunAborted, RunCreated, RunStateChanged},
    keys,
    record::{Credits, Designer, Lineage, Run, RunPolicy, RunState, RunTerms, Stage},
    runs::fork,
    store::{Stop, View},
};
use std::collections::BTreeSet;
use tessera_canon::{Hash, PublicKey};

/// Least risk weight, Q16.
pub const WEIGHT_MIN: u32 = 1 << 12;
/// Greatest risk weight, Q16.
pub const WEIGHT_MAX: u32 = 1 << 16;
/// Bound on work units of a run: sums stay within `u64`.
pub(crate) const MOST: u64 = 1 << 62;
/// Greatest part of a child run that belongs to its parent's owners, 1/10 000.
const MOST_FORK_PART: u16 = 9000;
/// Most credits of a run: after 2^24 uses of each of them the sums still stay within `u64`.
const MOST_SUPPLY: u64 = 1 << 40;

/// `2^(-1/2^i)` for i = 1..=16, Q63.
const ROOTS: [u64; 16] = [
    0x5a827999fcef3242,
    0x6ba27e656b4eb57a,
    0x75606373ee921c97,
    0x7a92be8a92436616,
    0x7d41d96db915019d,
    0x7e9f06067a4360ba,
    0x7f4f08ae3dc7c425,
    0x7fa765aca88f6452,
    0x7fd3ab290e46d768,
    0x7fe9d3a8e07bf085,
    0x7ff4e9597bed93aa,
    0x7ffa748dff8dc61e,
    0x7ffd3a3f50020332,
    0x7ffe9d1dbc0a75a9,
    0x7fff4e8e6306ed58,
    0x7fffa74712c3cdfd,
];

/// `2^(-number/of)` in Q16, to within two units. Integer only; 0 past 2^-31.
pub fn half_power(number: u64, of: u64) -> u32 {
    if of == 0 {
        return 0;
    }
    let exponent = (u128::from(number) << 16) / u128::from(of);
    let whole = exponent >> 16;
    if whole > 31 {
        return 0;
    }
    let power = ROOTS.iter().enumerate().fold(1u128 << 63, |power, (i, root)| {
        if exponent >> (15 - i) & 1 == 1 { (power * u128::from(*root)) >> 63 } else { power }
    });
    (power >> (47 + whole)) as u32
}

/// The weight of a window that begins after loss minimum `loss_min` and `f_done` of `f_star` work units, given
/// the weight before it. Never above it, and within 1/16..1.
pub fn next_weight(terms: &RunTerms, f_star: u64, loss_min: u32, f_done: u64, before: u32) -> u32 {
    let ratio = (u64::from(loss_min) << 16) / u64::from(terms.loss_0.max(1));
    let raw = match &terms.rule {
        RiskRule::LossProportional(_) => ratio,
        RiskRule::Blend(blend) => {
            let half_life = u128::from(f_star) * u128::from(blend.half_life_percent) / 100;
            let decay = u64::from(half_power(f_done, half_life.max(1) as u64));
            let share = u64::from(blend.percent.min(100));
            (share * ratio + (100 - share) * decay) / 100
        }
    };
    (raw.min(u64::from(WEIGHT_MAX)) as u32).max(WEIGHT_MIN).min(before)
}

pub(crate) fn within(what: &'static str, got: u128, least: u128, most: u128) -> Result<(), TxError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(TxError::Parameter { what, expected: format!("{least} to {most}"), got: got.to_string() })
}

fn part(of: u64, ten_thousandths: u16) -> u64 {
    (u128::from(of) * u128::from(ten_thousandths) / 10_000) as u64
}

pub(crate) fn create(view: &mut View<'_>, sender: &PublicKey, action: &CreateRun) -> Result<(), Stop> {
    let run = action.run;
    view.want([keys::params(), keys::run_terms(&run)])?;
    if view.get::<RunTerms>(&keys::run_terms(&run))?.is_some() {
        return Err(TxError::Duplicate { what: "run", id: run.to_string() }.into());
    }
    let params = view.params()?;
    within("the number of stages", action.stage_wu.len() as u128, 1, crate::action::MAX_STAGES as u128)?;
    within("seats in a stage", action.seats.into(), 1, crate::action::MAX_SEATS as u128)?;
    within("microbatches in a step", action.microbatches.into(), 1, 1 << 20)?;
    within("steps", action.steps.into(), 1, 1 << 30)?;
    within("steps in a window", action.window_steps.into(), 1, action.steps.into())?;
    for wu in action.stage_wu.iter() {
        within("work units of a microbatch", u128::from(*wu), 1, MOST.into())?;
    }
    let per_microbatch: u128 = action.stage_wu.iter().map(|wu| u128::from(*wu)).sum();
    let planned = per_microbatch * u128::from(action.microbatches) * u128::from(action.steps);
    within("the planned work", planned, 1, MOST.into())?;
    within("the declared work F*", action.f_star.into(), 1, MOST.into())?;
    let least = part(action.f_star, params.min_designer).max(1);
    let most = part(action.f_star, params.max_exclusive).max(least);
    within(
        "the designers' work that ends exclusivity",
        action.f_exclusive.into(),
        least.into(),
        most.into(),
    )?;
    within("the designers' least work", action.f_min.into(), least.into(), action.f_exclusive.into())?;
    let windows = action.steps.div_ceil(action.window_steps);
    let most_windows = part(windows.into(), params.max_exclusive).max(1);
    within("exclusive windows", action.exclusive_windows.into(), 1, most_windows.into())?;
    within("blocks of exclusivity", action.exclusive_blocks.into(), 1, 1 << 40)?;
    within(
        "the number of designers",
        action.designers.len() as u128,
        1,
        crate::action::MAX_DESIGNERS as u128,
    )?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = action.designers.iter().find(|designer| !seen.insert(**designer)) {
        return Err(TxError::Duplicate { what: "designer", id: twice.to_string() }.into());
    }
    within("the bond", action.bond, params.run_bond, u128::MAX)?;
    if let RiskRule::Blend(blend) = &action.rule {
        within("the loss percentage of the blend", blend.percent.into(), 0, 100)?;
        within("the half-life of the blend", blend.half_life_percent.into(), 1, 100)?;
    }
    within("the initial loss", action.loss_0.into(), 1, u32::MAX.into())?;
    within("prompt tokens per credit", action.price.prompt_tokens.into(), 1, 1 << 20)?;
    within("generated tokens per credit", action.price.generated_tokens.into(), 1, 1 << 20)?;
    within("the supply", action.supply.into(), 1, MOST_SUPPLY.into())?;
    within("epochs of supply", action.supply_epochs.into(), 1, u32::MAX.into())?;
    within("operations of a work unit", action.wu_flops.into(), 1, u64::MAX.into())?;
    let named = 128 - action.open_stages.leading_zeros();
    within("stages up to the last open one", named.into(), 0, action.stage_wu.len() as u128)?;
    within("windows without admission work", action.bootstrap_windows.into(), 0, most_windows.into())?;
    within("the part of child runs", action.fork_part.into(), 0, MOST_FORK_PART.into())?;
    let network = view.defaults()?;
    let mut policy = action.policy.clone().unwrap_or(network.policy);
    policy.price = action.price.clone();
    policy.check(&network.bounds)?;
    account::debit(view, sender, action.bond)?;

    let terms = RunTerms {
        run,
        creator: *sender,
        stages: action.stage_wu.len() as u16,
        seats: action.seats,
        microbatches: action.microbatches,
        steps: action.steps,
        window_steps: action.window_steps,
        f_star: action.f_star,
        f_min: action.f_min,
        f_exclusive: action.f_exclusive,
        exclusive_windows: action.exclusive_windows,
        exclusive_until: view.context.height.saturating_add(action.exclusive_blocks),
        rule: action.rule.clone(),
        loss_0: action.loss_0,
        bond: action.bond,
        price: action.price.clone(),
        supply: action.supply,
        supply_epochs: action.supply_epochs,
        designers: action.designers.len() as u16,
        created: view.context.height,
        wu_flops: action.wu_flops,
        loss_source: action.loss_source,
        open_stages: action.open_stages,
        bootstrap_windows: action.bootstrap_windows,
        fork_part: action.fork_part,
    };
    view.put(keys::run_terms(&run), terms);
    view.put(keys::run_policy(&run), RunPolicy { run, policy });
    view.put(
        keys::run(&run),
        Run {
            run,
            state: RunState::Exclusive,
            bond: action.bond,
            f_done: 0,
            f_designer: 0,
            loss_min: action.loss_0,
            weight: WEIGHT_MAX,
            window: 0,
            matured: 0,
            serving_epochs: 0,
            minted_parts: 0,
            f_star: action.f_star,
            windows,
            opened: 0,
            serving: false,
            paused_until: 0,
        },
    );
    view.put(keys::credits(&run), Credits::new(run));
    for (stage, wu) in (0u16..).zip(action.stage_wu.iter()) {
        view.put(keys::stage(&run, stage), Stage { run, stage, wu: *wu, held: 0, used: 0, identities: 0 });
    }
    for account in action.designers.iter() {
        view.put(keys::designer(&run, account), Designer { run, account: *account });
    }
    view.list_add(keys::list_of_runs(), run);
    view.emit(RunCreated { run, creator: *sender });
    Ok(())
}

pub(crate) fn load(view: &View<'_>, run: &Hash) -> Result<(RunTerms, Run), Stop> {
    view.want([keys::run_terms(run), keys::run(run)])?;
    Ok((view.must(&keys::run_terms(run), "run", run)?, view.must(&keys::run(run), "run", run)?))
}

pub(crate) fn wrong_state(run: &Run, expected: &'static str) -> Stop {
    let got = match run.state {
        RunState::Exclusive => "exclusive",
        RunState::Open => "open",
        RunState::Serving => "serving",
        RunState::Aborted => "aborted",
        RunState::Paused => "paused",
        RunState::Retired => "retired",
    };
    TxError::RunState { run: run.run, expected, got }.into()
}

pub(crate) fn enter(view: &mut View<'_>, run: &mut Run, state: RunState) {
    run.state = state;
    run.serving |= state == RunState::Serving;
    view.emit(RunStateChanged { run: run.run, state });
}

/// Floating-point operations spent on the weights of `run` so far, before a fork and after it.
pub(crate) fn flops(terms: &RunTerms, run: &Run, lineage: Option<&Lineage>) -> u128 {
    let own = u128::from(run.f_done) * u128::from(terms.wu_flops);
    own.saturating_add(lineage.map_or(0, |lineage| lineage.inherited))
}

/// Take a window's held-out loss into account: the running minimum sets the weight of windows to come.
pub(crate) fn learn(terms: &RunTerms, run: &mut Run, loss: u32) {
    run.loss_min = run.loss_min.min(loss);
    run.weight = next_weight(terms, run.f_star, run.loss_min, run.f_done, run.weight);
}

/// Abort a run whose exclusive phase is over by height and whose designers did too little. The next epoch
/// boundary would do the same.
pub(crate) fn abort(view: &mut View<'_>, action: &AbortRun) -> Result<(), Stop> {
    let (terms, mut run) = load(view, &action.run)?;
    view.want([keys::globals()])?;
    if run.state != RunState::Exclusive {
        return Err(wrong_state(&run, "exclusive"));
    }
    let (after, now) = (terms.exclusive_until, view.context.height);
    if now <= after {
        return Err(TxError::Early { what: "aborting the run", after, now }.into());
    }
    if run.f_designer >= terms.f_min {
        return Err(TxError::DesignersDidEnough { f_min: terms.f_min, got: run.f_designer }.into());
    }
    end_exclusive(view, &terms, &mut run)?;
    view.put(keys::run(&action.run), run);
    Ok(())
}

/// Open the run if its designers did enough; else abort it: the bond goes to the fund, and the next epoch
/// boundary voids the pending claims.
pub(crate) fn end_exclusive(view: &mut View<'_>, terms: &RunTerms, run: &mut Run) -> Result<(), Stop> {
    if run.f_designer >= terms.f_min {
        run.opened = run.window;
        enter(view, run, RunState::Open);
        return Ok(());
    }
    let bond = std::mem::take(&mut run.bond);
    account::to_fund(view, bond)?;
    fork::drop_class(view, run)?;
    view.emit(RunAborted { run: run.run, f_designer: run.f_designer, f_min: terms.f_min, bond });
    enter(view, run, RunState::Aborted);
    Ok(())
}
