//! `tessera shares`: who owns a run, how much, and from which work.

use crate::context::{Output, Place, nats, percent};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{query, record::Claim};
use tessera_node::{
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
    /// Credits that can be claimed now.
    pub(crate) due: u64,
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
    /// The owners as JSON, largest first.
    pub(crate) fn to_json(&self) -> Value {
        let total = self.total();
        let owners = self.holdings.iter().map(|holding| {
            json!({
                "account": holding.account,
                "active": holding.active.to_string(),
                "pending": holding.pending.to_string(),
                "percent": percent(holding.active + holding.pending, total),
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
            "{:<12} {:>8} {:>9} {:>12} {:>8}  {}\n",
            "owner", "percent", "active", "microbatches", "due cu", "stage; windows"
        );
        for holding in &self.holdings {
            let all = holding.active + holding.pending;
            let list = |numbers: Vec<String>| numbers.join(",");
            text += &format!(
                "{:<12} {:>7.2}% {:>8.2}% {:>12} {:>8}  {}; {}\n",
                holding.account.short(),
                percent(all, total),
                percent(holding.active, all),
                holding.microbatches,
                holding.due,
                list(holding.stages.iter().map(u16::to_string).collect()),
                list(holding.windows.iter().map(u32::to_string).collect()),
            );
        }
        if self.elsewhere > 0 {
            text += &format!(
                "{:<12} {:>7.2}%  received from others\n",
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
            let mut accounts: BTreeMap<PublicKey, Holding> = BTreeMap::new();
            let known =
                claims.iter().map(|claim| claim.account).chain(state.seats.iter().map(|seat| seat.account));
            for account in known {
                accounts.entry(account).or_insert_with(|| {
                    let owner = query::owner(view.source(), run, &account);
                    Holding {
                        account,
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
    holdings.sort_by_key(|holding| std::cmp::Reverse(holding.active + holding.pending));
    let mut ownership = Ownership { run: state, holdings, elsewhere: 0, windows };
    let known: u128 = ownership.holdings.iter().map(|holding| holding.active + holding.pending).sum();
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
