//! `tessera explain`: why a balance is what it is.
//!
//! Every line is an event that was proved against a final header, and the sum must be what the ledger's own
//! cell, proved too, holds. Where it is not, the lines are shown and the command fails with what is missing.

use crate::context::{Output, Place, Shown};
use anyhow::Result;
use tessera_canon::Hash;

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    place: Place,
    /// A key, note, run, order or transaction, as 64 digits; by default this folder's key
    #[arg(value_name = "ID")]
    id: Option<Hash>,
}

pub(crate) async fn run(explain: Explain, output: Output) -> Result<()> {
    let id = match explain.id {
        Some(id) => id,
        None => Hash(explain.place.key()?.public().0),
    };
    let visitor = explain.place.enter().await?;
    let found = tessera_client::explain::explain(&visitor.ledger, &visitor.network.genesis, id).await?;
    output.result(&found.json(), || found.text());
    visitor.leave().await;
    match found.gap() {
        None => Ok(()),
        Some(gap) => Err(Shown(gap).into()),
    }
}
