//! Cut files of a simulated validator that is down, as a bad disk or a careless hand would.

use super::Store;
use commonware_runtime::{Blob as _, Storage as _, deterministic};

/// Cut a file of `store` in half, or remove all of them. Files that are missing or open are left alone.
pub(super) async fn tear(context: &deterministic::Context, name: &str, store: Store) {
    let partition = match store {
        Store::Votes | Store::AllVotes => format!("{name}-simplex"),
        Store::Blocks => format!("{name}-blocks-val"),
        Store::State => format!("{name}-log-blobs"),
    };
    let Ok(mut files) = context.scan(&partition).await else {
        tracing::warn!(%partition, "there is nothing to tear");
        return;
    };
    files.sort_unstable();
    if store == Store::AllVotes {
        for file in &files {
            let removed = context.remove(&partition, Some(file)).await;
            tracing::debug!(%partition, ?removed, "a file was lost");
        }
        return;
    }
    let Some(newest) = files.last() else { return };
    if let Ok((blob, length)) = context.open(&partition, newest).await {
        let cut = blob.resize(length / 2).await;
        let synced = blob.sync().await;
        tracing::debug!(%partition, length, ?cut, ?synced, "a file was cut in half");
    }
}
