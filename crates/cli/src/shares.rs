//! `tessera shares`: who owns a run, how much, and from which work.

use crate::context::{Output, Place, nats, percent};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{query, record::Claim};
use tessera_node::{
    amount,
    daemon::Ledger,
    ledger::{RunView, View},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Shares {
    #[command(flatten)]
    place: Place,
    /// Run id
    run: Hash,
}

/// Most window reports that are looked through for claims.
const MOST_REPORTS: u32 = 256;

/// One owner of a run.
pub(crate) struct Holding {
    pub(crate) account: PublicKey,
    pub(crate) active: u128,
    pub(crate) pending: u128,
    /// Active shares that can be sold or sent now, and those in the auto-sell pool, which are not among `active`.
    pub(crate) movable: u128,
    pub(crate) wrapped: u128,
    /// Credits that can be claimed now.
    pub(crate) due: u64,
    /// Nano-U that can be claimed now.
    pub(crate) proceeds: u128,
    pub(crate) microbatches: u64,
    pub(crate) wu: u64,
    pub(crate) windows: BTreeSet<u32>,
    pub(crate) stages: BTreeSet<u16>,
}

/// All that is known of a run's owners.
pub(crate) struct Ownership {
    pub(crate) run: RunView,
    pub(crate) holdings: Vec<Holding>,
    /// Shares of accounts that never worked and got theirs from others: nobody lists them.
    pub(crate) elsewhere: u128,
    /// (window, weight in Q16, loss).
    pub(crate) windows: Vec<(u32, u32, Option<u32>)>,
}

impl Ownership {
    /// Active and pending shares together.
    pub(crate) fn total(&self) -> u128 {
        self.run.credits.as_ref().map_or(0, |credits| credits.active + credits.pending)
    }
    /// The part of each distribution that a stake earns, in per cent: that of its active shares, wrapped or not.
    fn earns(&self, holding: &Holding) -> f64 {
        let active = self.run.credits.as_ref().map_or(0, |credits| credits.active);
        percent(holding.active + holding.wrapped, active)
    }
    /// The owners as JSON, largest first.
    pub(crate) fn to_json(&self) -> Value {
        let total = self.total();
        let owners = self.holdings.iter().map(|holding| {
            json!({
                "account": holding.account,
                "active": holding.active.to_string(),
                "pending": holding.pending.to_string(),
                "percent": percent(holding.active + holding.pending + holding.wrapped, total),
                "movable": holding.movable.to_string(),
                "locked": holding.active.saturating_sub(holding.movable).to_string(),
                "wrapped": holding.wrapped.to_string(),
                "earns_percent": self.earns(holding),
                "proceeds_due": amount::show(holding.proceeds),
                "proceeds_due_nano": holding.proceeds.to_string(),
                "microbatches": holding.microbatches,
                "wu": holding.wu,
                "stages": holding.stages,
                "windows": holding.windows,
                "credits_due": holding.due,
            })
        });
        Value::Array(owners.collect())
    }
    /// A table for people.
    pub(crate) fn to_text(&self) -> String {
        let total = self.total();
        let mut text = format!(
            "{:<12} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>12} {:>8} {:>10}  {}\n",
            "owner",
            "percent",
            "pending",
            "movable",
            "locked",
            "wrapped",
            "earns",
            "microbatches",
            "due cu",
            "due U",
            "stage; windows"
        );
        for holding in &self.holdings {
            let all = holding.active + holding.pending + holding.wrapped;
            let list = |numbers: Vec<String>| numbers.join(",");
            text += &format!(
                "{:<12} {:>7.2}% {:>8.2}% {:>8.2}% {:>8.2}% {:>8.2}% {:>7.2}% {:>12} {:>8} {:>10}  {}; {}\n",
                holding.account.short(),
                percent(all, total),
                percent(holding.pending, total),
                percent(holding.movable, total),
                percent(holding.active.saturating_sub(holding.movable), total),
                percent(holding.wrapped, total),
                self.earns(holding),
                holding.microbatches,
                holding.due,
                amount::show(holding.proceeds),
                list(holding.stages.iter().map(u16::to_string).collect()),
                list(holding.windows.iter().map(u32::to_string).collect()),
            );
        }
        if self.elsewhere > 0 {
            text += &format!(
                "{:<12} {:>7.2}%  received from others, or in the market's hands\n",
                "(elsewhere)",
                percent(self.elsewhere, total)
            );
        }
        text
    }
}

fn claims(view: &View, run: &RunView) -> Vec<Claim> {
    let windows = (run.run.window + 1).min(run.terms.windows());
    let first = windows.saturating_sub(MOST_REPORTS / u32::from(run.terms.stages.max(1)));
    (first..windows)
        .flat_map(|window| (0..run.terms.stages).map(move |stage| (window, stage)))
        .flat_map(|(window, stage)| query::claims_of_stage(view.source(), &run.terms.run, window, stage))
        .collect()
}

/// Read the owners of `run`.
pub(crate) async fn ownership(ledger: &Ledger, run: &Hash) -> Result<Ownership> {
    // Known to exist, so that a missing run has its own error.
    ledger.run(run).await?;
    let read = ledger
        .read(|view| {
            let state = RunView::read(view, run)?;
            let claims = claims(view, &state);
            let windows: Vec<_> = (0..state.run.window + 1)
                .rev()
                .take(64)
                .filter_map(|at| query::window(view.source(), run, at))
                .map(|window| (window.window, window.weight, window.loss))
                .collect();
            let blocks = query::params(view.source()).unwrap_or_default().epoch_blocks.max(1);
            let epoch = u32::try_from(view.height / blocks).unwrap_or(u32::MAX);
            let mut accounts: BTreeMap<PublicKey, Holding> = BTreeMap::new();
            let known =
                claims.iter().map(|claim| claim.account).chain(state.seats.iter().map(|seat| seat.account));
            for account in known {
                accounts.entry(account).or_insert_with(|| {
                    let owner = query::owner(view.source(), run, &account);
                    let wrap = query::wrap(view.source(), run, &account);
                    Holding {
                        account,
                        movable: query::movable_shares(view.source(), run, &account, epoch),
                        wrapped: wrap.map_or(0, |wrap| wrap.now),
                        proceeds: query::due_proceeds(view.source(), run, &account),
                        active: owner.as_ref().map_or(0, |owner| owner.shares),
                        pending: owner.as_ref().map_or(0, |owner| owner.pending),
                        due: query::due_credits(view.source(), run, &account),
                        microbatches: 0,
                        wu: 0,
                        windows: BTreeSet::new(),
                        stages: BTreeSet::new(),
                    }
                });
            }
            for claim in &claims {
                if let Some(holding) = accounts.get_mut(&claim.account) {
                    holding.microbatches += u64::from(claim.microbatches);
                    holding.wu += claim.wu;
                    holding.windows.insert(claim.window);
                    holding.stages.insert(claim.stage);
                }
            }
            Some((state, accounts, windows))
        })
        .await?;
    let Some((state, accounts, mut windows)) = read else {
        anyhow::bail!("run {run} changed while it was read; try again");
    };
    windows.reverse();
    let mut holdings: Vec<Holding> = accounts.into_values().collect();
    let stake = |holding: &Holding| holding.active + holding.pending + holding.wrapped;
    holdings.sort_by_key(|holding| std::cmp::Reverse(stake(holding)));
    let mut ownership = Ownership { run: state, holdings, elsewhere: 0, windows };
    let known: u128 = ownership.holdings.iter().map(stake).sum();
    ownership.elsewhere = ownership.total().saturating_sub(known);
    Ok(ownership)
}

pub(crate) async fn run(shares: Shares, output: Output) -> Result<()> {
    let visitor = shares.place.enter().await?;
    let owned = ownership(&visitor.ledger, &shares.run).await?;
    let windows: Vec<_> = owned
        .windows
        .iter()
        .map(|(window, weight, loss)| {
            json!({ "window": window, "weight": f64::from(*weight) / 65536.0, "loss": loss.map(nats) })
        })
        .collect();
    let object = json!({
        "run": shares.run, "height": owned.run.height, "total": owned.total().to_string(),
        "owners": owned.to_json(), "elsewhere": owned.elsewhere.to_string(), "windows": windows,
    });
    output.result(&object, || {
        let mut text = owned.to_text();
        text += "share = microbatches x work units x risk weight of the window\n";
        for (window, weight, loss) in &owned.windows {
            let loss = loss.map_or("-".into(), |loss| format!("{:.3}", nats(loss)));
            text += &format!(
                "window {window}: weight {:.3}, held-out loss {loss}\n",
                f64::from(*weight) / 65536.0
            );
        }
        text
    });
    visitor.leave().await;
    Ok(())
}
