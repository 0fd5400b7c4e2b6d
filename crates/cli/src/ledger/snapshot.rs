//! `tessera ledger snapshot`: the state in a file, proved by the committee's key.

use crate::context::{Output, Place};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::PathBuf;
use tessera_ledger::query;
use tessera_node::{amount, folder::Folder, history::Snapshot, network::NetworkFile};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write the state of the stopped validator in DIR to a file
    Save {
        #[command(flatten)]
        place: Place,
        /// The file to make; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Check a file against the network's committee, and say what is in it
    Show {
        #[command(flatten)]
        place: Place,
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Begin the ledger of a new validator in DIR from a file, which is checked first
    ///
    /// The next `tessera node --validate` on DIR takes the blocks since then from the other validators.
    Restore {
        #[command(flatten)]
        place: Place,
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(crate) fn run(command: Command, output: Output) -> Result<()> {
    let (done, place, file, snapshot) = match command {
        Command::Save { place, file } => {
            let (network, folder) = (place.network()?, place.folder()?);
            let _lock = folder.claim()?;
            let snapshot = Snapshot::save(&folder.ledger_path(), &network.genesis, &file)?;
            ("saved", place, file, snapshot)
        }
        Command::Show { place, file } => {
            let snapshot = Snapshot::read(&file, &place.network()?.genesis)?;
            ("holds", place, file, snapshot)
        }
        Command::Restore { place, file } => {
            let (network, folder) = (place.network()?, Folder::open(&place.dir)?);
            let _lock = folder.claim()?;
            let snapshot = Snapshot::restore(&file, &network.genesis, &folder.ledger_path())?;
            ("restored", place, file, snapshot)
        }
    };
    let object = describe(&place.network()?, &file, &snapshot);
    output.result(&object, || {
        let header = &snapshot.header;
        let mut text = format!("{done:<11} {}\n", file.display());
        text += &format!("block       {} ({})\n", header.height, header.digest());
        text += &format!("state root  {}\n", header.state_root);
        text += &format!(
            "size        {} bytes: {} cells in {} state changes\n",
            snapshot.bytes, snapshot.cells, snapshot.changes
        );
        text += &format!("money       {} U issued\n", text_of(&object, "issued"));
        text += "checked     certificate, every change against its root, every invariant\n";
        text
    });
    Ok(())
}

fn describe(network: &NetworkFile, file: &std::path::Path, snapshot: &Snapshot) -> Value {
    let header = &snapshot.header;
    let issued = query::globals(|key| snapshot.state.get(key)).map_or(0, |globals| globals.issued);
    json!({
        "file": file, "network": &*network.genesis.name, "network_id": network.id, "height": header.height,
        "digest": header.digest(), "time_ms": header.time_ms, "state_root": header.state_root,
        "ops_root": header.ops_root, "changes": snapshot.changes, "cells": snapshot.cells,
        "bytes": snapshot.bytes, "issued": amount::show(issued),
    })
}

fn text_of(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_default().to_owned()
}
