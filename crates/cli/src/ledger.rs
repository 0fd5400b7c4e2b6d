//! `tessera ledger`: look at the ledger itself, check all of it again, and keep copies of its state.

mod snapshot;
mod verify;

use crate::context::{Output, Place, now_ms};
use anyhow::Result;
use serde_json::json;
use tessera_client::routes::{ROUTES, Route, Service};
use tessera_ledger::query;
use tessera_node::amount;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the newest final block and the money in existence
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Show one final block with its transactions
    Block {
        #[command(flatten)]
        place: Place,
        /// Its height
        #[arg(value_name = "HEIGHT")]
        height: u64,
    },
    /// Ask any query of the HTTP surface, for example /runs or /accounts/KEY?proof=1
    ///
    /// The answer is JSON and was checked against the committee's key. Without a path: the list of all queries.
    Get {
        #[command(flatten)]
        place: Place,
        /// Path of the query
        #[arg(value_name = "PATH")]
        path: Option<String>,
    },
    /// Execute every block from genesis again, and check every root, certificate and invariant
    Verify(verify::Verify),
    /// Save the state to a file, look into one, or begin a new validator from one
    #[command(subcommand)]
    Snapshot(snapshot::Command),
}

/// All queries, one a line.
fn queries() -> String {
    let asked = ROUTES.iter().filter(|route| !route.posts());
    asked.map(|route| format!("{:<50} {}\n", route.path, route.about)).collect()
}

pub(crate) async fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::Get { path: None, .. } => {
            let paths: Vec<&str> =
                ROUTES.iter().filter(|route| !route.posts()).map(|route| route.path).collect();
            output.result(&json!({ "paths": paths }), queries);
        }
        Command::Get { place, path: Some(path) } => {
            // A request that is not well formed is refused before anybody is asked.
            Route::find(&path, false)?;
            let visitor = place.enter().await?;
            let genesis = visitor.network.genesis.clone().into();
            let service = Service { client: (*visitor.ledger).clone(), genesis };
            let answer = service.get(&path).await?;
            output.result(&answer, || format!("{answer:#}"));
            visitor.leave().await;
        }
        Command::Status { place } => {
            let visitor = place.enter().await?;
            let latest = visitor.ledger.latest().await?;
            let (globals, runs) = visitor
                .ledger
                .read(|view| (query::globals(view.source()), query::runs(view.source())))
                .await?;
            let network = &visitor.network;
            let age_ms = now_ms().saturating_sub(latest.time_ms);
            let (issued, burned, fund) = globals.map_or((0, 0, 0), |g| (g.issued, g.burned, g.fund));
            let object = json!({
                "network": &*network.genesis.name, "network_id": network.id, "height": latest.height,
                "time_ms": latest.time_ms, "age_ms": age_ms, "state_root": latest.state_root,
                "issued": amount::show(issued), "burned": amount::show(burned), "fund": amount::show(fund),
                "runs": runs, "validators": network.validators,
            });
            output.result(&object, || {
                let mut text = format!("network     {} ({})\n", &*network.genesis.name, network.id);
                text += &format!("height      {} ({} s ago)\n", latest.height, age_ms / 1000);
                text += &format!("state root  {}\n", latest.state_root);
                text += &format!(
                    "money       {} U issued, {} burned, {} in the public fund\n",
                    amount::show(issued),
                    amount::show(burned),
                    amount::show(fund)
                );
                for run in &runs {
                    text += &format!("run         {run}\n");
                }
                text
            });
            visitor.leave().await;
        }
        Command::Block { place, height } => {
            let visitor = place.enter().await?;
            let block = visitor.ledger.block_at(height).await?;
            let header = block.header();
            let txs: Vec<_> = block
                .txs()
                .iter()
                .map(|tx| {
                    json!({
                        "id": tx.id(), "sender": tx.body.sender, "nonce": tx.body.nonce,
                        "fee": amount::show(tx.body.fee), "action": tx.body.action.kind(),
                    })
                })
                .collect();
            let object = json!({
                "height": header.height, "digest": header.digest(), "parent": header.parent,
                "time_ms": header.time_ms, "proposer": header.proposer, "beacon": header.beacon(),
                "state_root": header.state_root, "event_root": header.event_root, "txs": txs,
            });
            output.result(&object, || {
                let mut text = format!("block {}  {}\n", header.height, header.digest());
                text += &format!("proposer    {}\nstate root  {}\n", header.proposer, header.state_root);
                for tx in block.txs() {
                    let (action, sender) = (tx.body.action.kind(), tx.body.sender.short());
                    text += &format!("  {}  {action} by {sender}, nonce {}\n", tx.id(), tx.body.nonce);
                }
                text
            });
            visitor.leave().await;
        }
        Command::Verify(verify) => verify::run(verify, output).await?,
        // The store has a runtime of its own.
        Command::Snapshot(command) => tokio::task::block_in_place(|| snapshot::run(command, output))?,
    }
    Ok(())
}
