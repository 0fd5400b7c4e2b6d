//! `tessera market`: buy and sell credits and shares in sealed auctions, let a pool sell, price hosts' work.
//!
//! An order is put in sealed, opened in the second half of its batch, and filled at the batch's one price when
//! the batch is cleared. [`orders`] follows it through; its secret lies in the folder before it is sent.

mod orders;
mod show;

use crate::{
    context::{Output, Place},
    wallet::{enter, with_receipt},
};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::str::FromStr;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Action, Event,
    action::{Asset, AutoSellUnwrap, AutoSellWrap, ClaimProceeds, HostAsk},
    query,
};
use tessera_node::amount::{self, Amount};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Buy credits of a run: put in a sealed order, open it, wait for the price
    Buy {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// Credits wanted
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        cu: u64,
        /// Most U for a credit
        #[arg(long, value_name = "U")]
        limit: Amount,
        /// Only put the order in; open it later with `market reveal`, or part of the escrow is lost
        #[arg(long)]
        no_wait: bool,
    },
    /// Sell credits of a run: notes of this account
    Sell {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// Notes to sell, at most six; by default the largest that hold enough
        notes: Vec<Hash>,
        /// Credits to sell; by default all that the notes hold
        #[arg(long, required_unless_present = "notes", value_parser = clap::value_parser!(u64).range(1..))]
        cu: Option<u64>,
        /// Least U for a credit
        #[arg(long, value_name = "U")]
        limit: Amount,
        /// Only put the order in; open it later with `market reveal`, or part of the escrow is lost
        #[arg(long)]
        no_wait: bool,
    },
    /// Buy shares of a run
    BuyShares {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// How many, or a part of all active shares: 5000000 or 0.5%
        #[arg(long, value_name = "N|P%")]
        shares: Quantity,
        /// Most U for a share
        #[arg(long, value_name = "U")]
        limit: Amount,
        /// Only put the order in; open it later with `market reveal`, or part of the escrow is lost
        #[arg(long)]
        no_wait: bool,
    },
    /// Sell active shares of a run that can move
    SellShares {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// How many, or a part of all active shares: 5000000 or 0.5%
        #[arg(long, value_name = "N|P%")]
        shares: Quantity,
        /// Least U for a share
        #[arg(long, value_name = "U")]
        limit: Amount,
        /// Only put the order in; open it later with `market reveal`, or part of the escrow is lost
        #[arg(long)]
        no_wait: bool,
    },
    /// Open orders of this folder and wait for their batches to be cleared
    Reveal {
        #[command(flatten)]
        place: Place,
        /// Order id; by default all whose secret is in the folder
        order: Option<Hash>,
        /// Do not wait for the batches to be cleared
        #[arg(long)]
        no_wait: bool,
    },
    /// Withdraw an order before orders of its batch are opened; the escrow comes back
    Cancel {
        #[command(flatten)]
        place: Place,
        /// Order id
        order: Hash,
    },
    /// List the orders of this folder and where they stand
    Orders {
        #[command(flatten)]
        place: Place,
    },
    /// Show the open batch: how many orders are sealed, and those that are opened
    Book {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// The market of shares, not of credits
        #[arg(long)]
        shares: bool,
    },
    /// Show the last 32 prices with what was traded
    History {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// The market of shares, not of credits
        #[arg(long)]
        shares: bool,
    },
    /// Show the last price, the median, the reserve and its bound, and what hosts are paid
    Price {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
    },
    /// As a host: offer capacity at a price in the next auction of hosts
    Ask {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// The stage of this account's seat
        #[arg(long)]
        stage: u16,
        /// U for a credit
        #[arg(long, value_name = "U")]
        price: Amount,
        /// Credits an epoch
        #[arg(long, value_name = "CU", value_parser = clap::value_parser!(u64).range(1..))]
        capacity: u64,
    },
    /// Let a pool sell whatever shares earn, and take the U
    #[command(subcommand)]
    Autosell(AutoSell),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum AutoSell {
    /// Put shares into the pool; their votes stay here
    Wrap {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// How many, or a part of all active shares: 5000000 or 0.5%
        #[arg(long, value_name = "N|P%")]
        shares: Quantity,
    },
    /// Take shares out of the pool
    Unwrap {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// How many, or a part of all active shares: 5000000 or 0.5%
        #[arg(long, value_name = "N|P%")]
        shares: Quantity,
    },
    /// Pay out the U that is due: from the pool, and from runs that descend from this one
    Claim {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
    },
}

/// Shares, as a number or as a part of all active ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    Shares(u128),
    /// Millionths.
    Part(u128),
}
impl FromStr for Quantity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("expected a number of shares, or a part like 0.5%, got {text:?}");
        let Some(part) = text.strip_suffix('%') else {
            return text.parse().ok().filter(|n| *n > 0).map(Self::Shares).ok_or_else(bad);
        };
        // Nano per cent; a millionth is 10^5 of them.
        let part = amount::parse(part).map_err(|_| bad())?;
        let fits = (1..=100 * amount::NANO).contains(&part) && part % 100_000 == 0;
        if fits { Ok(Self::Part(part / 100_000)) } else { Err(bad()) }
    }
}
impl Quantity {
    /// As a number, where `active` shares are active.
    fn of(self, active: u128) -> Result<u128> {
        let shares = match self {
            Self::Shares(shares) => Some(shares),
            // In two steps, so that it cannot overflow.
            Self::Part(part) => Some(active / 1_000_000 * part + active % 1_000_000 * part / 1_000_000),
        };
        shares
            .filter(|shares| *shares > 0)
            .context("the run has too few active shares for this part to be one")
    }
}

/// The number of shares that a person meant.
async fn counted(ledger: &tessera_node::daemon::Ledger, run: &Hash, shares: Quantity) -> Result<u128> {
    let credits = ledger.read(|view| query::credits(view.source(), run)).await?;
    let credits =
        credits.with_context(|| format!("run {run} is not on the ledger; see `tessera run list`"))?;
    shares.of(credits.active)
}

fn asset(shares: bool) -> Asset {
    if shares { Asset::Share } else { Asset::Cu }
}

pub(crate) async fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::Buy { place, run, cu, limit, no_wait } => {
            orders::buy(&place, &run, cu, limit, no_wait, output).await
        }
        Command::Sell { place, run, notes, cu, limit, no_wait } => {
            orders::sell(&place, &run, notes, cu, limit, no_wait, output).await
        }
        Command::BuyShares { place, run, shares, limit, no_wait } => {
            orders::shares(&place, &run, true, shares, limit, no_wait, output).await
        }
        Command::SellShares { place, run, shares, limit, no_wait } => {
            orders::shares(&place, &run, false, shares, limit, no_wait, output).await
        }
        Command::Reveal { place, order, no_wait } => orders::reveal(&place, order, no_wait, output).await,
        Command::Cancel { place, order } => orders::cancel(&place, &order, output).await,
        Command::Orders { place } => orders::list(&place, output).await,
        Command::Book { place, run, shares } => show::book(&place, &run, asset(shares), output).await,
        Command::History { place, run, shares } => show::history(&place, &run, asset(shares), output).await,
        Command::Price { place, run } => show::price(&place, &run, output).await,
        Command::Ask { place, run, stage, price, capacity } => {
            let (key, visitor) = enter(&place).await?;
            let action = Action::HostAsk(HostAsk { run, stage, price: price.0, capacity });
            let receipt = visitor.ledger.submit(&key, action).await?;
            let object = json!({
                "run": run, "stage": stage, "price": price.to_string(), "price_nano": price.0.to_string(),
                "capacity": capacity,
            });
            output.result(&with_receipt(object, &receipt), || {
                format!("asked {price} U a credit for up to {capacity} cu an epoch in stage {stage}")
            });
            visitor.leave().await;
            Ok(())
        }
        Command::Autosell(command) => auto_sell(command, output).await,
    }
}

async fn auto_sell(command: AutoSell, output: Output) -> Result<()> {
    let (place, run, change) = match command {
        AutoSell::Wrap { place, run, shares } => (place, run, Some((shares, true))),
        AutoSell::Unwrap { place, run, shares } => (place, run, Some((shares, false))),
        AutoSell::Claim { place, run } => (place, run, None),
    };
    let (key, visitor) = enter(&place).await?;
    let Some((shares, wrap)) = change else {
        let receipt = visitor.ledger.submit(&key, Action::ClaimProceeds(ClaimProceeds { run })).await?;
        let paid = receipt.events.iter().find_map(|event| match event {
            Event::ProceedsClaimed(e) if e.account == key.public() && e.run == run => Some(e.amount),
            _ => None,
        });
        let paid = paid.context("the claim took effect, but its block names no payment")?;
        let object = json!({ "run": run, "amount": amount::show(paid), "amount_nano": paid.to_string() });
        output.result(&with_receipt(object, &receipt), || format!("claimed {} U", amount::show(paid)));
        visitor.leave().await;
        return Ok(());
    };
    let amount = counted(&visitor.ledger, &run, shares).await?;
    let action = match wrap {
        true => Action::AutoSellWrap(AutoSellWrap { run, amount }),
        false => Action::AutoSellUnwrap(AutoSellUnwrap { run, amount }),
    };
    let receipt = visitor.ledger.submit(&key, action).await?;
    let me: PublicKey = key.public();
    let pool = visitor.ledger.read(|view| query::wrap(view.source(), &run, &me)).await?;
    let now = pool.map_or(0, |pool| pool.now);
    let object =
        json!({ "run": run, "shares": amount.to_string(), "wrapped": wrap, "in_pool": now.to_string() });
    output.result(&with_receipt(object, &receipt), || {
        let way = if wrap { "into" } else { "out of" };
        format!(
            "{amount} shares went {way} the auto-sell pool; {now} are in it, counted from the next epoch on"
        )
    });
    visitor.leave().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers_or_parts() {
        assert_eq!("5".parse(), Ok(Quantity::Shares(5)));
        assert_eq!("0.5%".parse(), Ok(Quantity::Part(5_000)));
        assert_eq!("100%".parse(), Ok(Quantity::Part(1_000_000)));
        for bad in ["0", "-1", "x", "0%", "100.1%", "0.00000001%", "%", "1.5"] {
            let error = bad.parse::<Quantity>().unwrap_err();
            assert!(error.contains("like 0.5%") && error.contains(bad), "{error}");
        }
        assert_eq!(Quantity::Part(5_000).of(1000).unwrap(), 5);
        assert_eq!(Quantity::Part(1_000_000).of(u128::MAX).unwrap(), u128::MAX);
        assert!(Quantity::Part(1).of(10).is_err());
    }
}
