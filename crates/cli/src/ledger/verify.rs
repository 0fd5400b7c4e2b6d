//! `tessera ledger verify`: believe nobody, and execute the whole history again.

use crate::context::{Output, Place};
use anyhow::{Context as _, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tessera_node::{
    daemon::{Ledger, Visitor},
    history::{self, BlockSender, FinalBlock, HistoryError, Progress},
    ledger::LedgerError,
};

/// How often a block is asked for while nobody answers, and the pause between.
const TRIES: usize = 40;
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Read the blocks from the stopped validator in DIR instead of asking over the network
    #[arg(long)]
    offline: bool,
    /// Last block to verify; by default the newest
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
}

/// A folder that goes when this is dropped.
struct Scratch(PathBuf);
impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder for temporary files was left");
        }
    }
}

pub(crate) async fn run(verify: Verify, output: Output) -> Result<()> {
    let network = verify.place.network()?;
    let begun = Instant::now();
    let scratch = Scratch(std::env::temp_dir().join(format!("tessera-verify-{}", std::process::id())));
    let (sender, receiver) = history::feed();
    let (end, reader) = if verify.offline {
        let (folder, to) = (verify.place.folder()?.ledger_path(), verify.to);
        if !folder.is_dir() {
            return Err(anyhow!(
                "expected a validator's ledger in {}, got no folder; give a validator's --dir, or leave --offline away",
                folder.display()
            ));
        }
        let reader = tokio::task::spawn_blocking(move || history::read_folder(&folder, to, &sender));
        (to, reader)
    } else {
        let visitor = Visitor::enter(network.clone()).await.context("connecting to the network")?;
        let newest = visitor.ledger.latest().await?.height;
        let end = verify.to.unwrap_or(newest).min(newest);
        let reader = tokio::spawn(async move {
            ask(&visitor.ledger, end, &sender).await;
            visitor.leave().await;
            Ok(())
        });
        (Some(end), reader)
    };
    let bar = end.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} block {pos} of {len}  {msg}  {eta} left") {
        bar.set_style(style);
    }
    let (genesis, shown, place) = (network.genesis.clone(), bar.clone(), scratch.0.clone());
    let verified = tokio::task::spawn_blocking(move || {
        history::verify(&genesis, &place, receiver, |Progress { height, transactions, .. }| {
            shown.set_position(height);
            shown.set_message(format!("{transactions} transactions"));
        })
    })
    .await;
    bar.finish_and_clear();
    // Where the verification failed, the reader ends because nobody listens.
    let read = reader.await;
    let verified = verified.context("the verification panicked")??;
    read.context("reading the blocks panicked")??;
    let seconds = begun.elapsed().as_secs_f64();
    let progress = verified.progress;
    let object = json!({
        "network": &*network.genesis.name, "network_id": network.id, "height": progress.height,
        "digest": verified.last.digest(), "state_root": verified.last.state_root,
        "event_root": verified.last.event_root, "time_ms": verified.last.time_ms,
        "transactions": progress.transactions, "events": progress.events, "cells": verified.cells,
        "certificates": progress.certificates, "invariant_checks": progress.checks, "seconds": seconds,
        "holds": true,
    });
    output.result(&object, || {
        let mut text = format!("history     holds from genesis to block {}\n", progress.height);
        text += &format!("block       {}\n", verified.last.digest());
        text += &format!("state root  {}\n", verified.last.state_root);
        text += &format!(
            "executed    {} transactions, {} events, {} cells at the end\n",
            progress.transactions, progress.events, verified.cells
        );
        text += &format!(
            "checked     {} certificates, all invariants {} times\n",
            progress.certificates, progress.checks
        );
        text += &format!(
            "time        {seconds:.1} s, {:.0} blocks a second\n",
            progress.height as f64 / seconds.max(0.001)
        );
        text
    });
    Ok(())
}

/// Ask for the blocks 1 to `end`, patiently: validators answer so many questions a second.
async fn ask(ledger: &Ledger, end: u64, feed: &BlockSender) {
    for height in 1..=end {
        let mut tries = 0;
        let next = loop {
            match ledger.certified_block_at(height).await {
                Ok((certificate, block)) => break Ok(FinalBlock { block, certificate: Some(certificate) }),
                Err(LedgerError::NotHere { .. }) => {
                    let oldest = "no validator keeps it any more".into();
                    break Err(HistoryError::Missing { height, oldest });
                }
                Err(error) if tries == TRIES => {
                    break Err(HistoryError::Source { height, reason: error.to_string() });
                }
                Err(error) => {
                    tracing::debug!(height, %error, "asking again");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let stop = next.is_err();
        if feed.send(next).await.is_err() || stop {
            return;
        }
    }
}
