//! What every command shares: where its folder and network are, how it prints, how it fails.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};
use tessera_canon::SecretKey;
use tessera_client::trade::TradeError;
use tessera_node::{
    chat::AskError,
    daemon::{Visitor, network_of},
    folder::Folder,
    ledger::LedgerError,
    network::NetworkFile,
};

/// Which folder and which network.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// Folder with this participant's key and data
    #[arg(long, value_name = "DIR", env = "TESSERA_DIR", default_value = "tessera-data")]
    pub(crate) dir: PathBuf,
    /// Network file (network.json); by default the one that DIR/node.json names
    #[arg(long, value_name = "FILE", env = "TESSERA_NETWORK")]
    pub(crate) network: Option<PathBuf>,
}

impl Place {
    /// The folder.
    pub(crate) fn folder(&self) -> Result<Folder> {
        Ok(Folder::open(&self.dir)?)
    }
    /// The folder's secret key.
    pub(crate) fn key(&self) -> Result<SecretKey> {
        Ok(self.folder()?.key()?)
    }
    /// The network, without touching the folder where a file was given and there is no folder.
    pub(crate) fn network(&self) -> Result<NetworkFile> {
        match &self.network {
            Some(path) if !self.dir.exists() => Ok(NetworkFile::read(path)?),
            path => Ok(network_of(&self.folder()?, path.as_deref())?),
        }
    }
    /// Connect to the network for one command.
    pub(crate) async fn enter(&self) -> Result<Visitor> {
        let network = self.network()?;
        let name = network.genesis.name.to_string();
        // A first visit from a folder that does not exist yet makes none.
        let folder = if self.dir.exists() { Some(self.folder()?) } else { None };
        Visitor::enter_from(network, folder.as_ref())
            .await
            .with_context(|| format!("connecting to network {name}"))
    }
}

/// A failure whose object was printed as the command's result.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) String);
impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Shown {}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON object on standard output instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Print the result: the object for scripts, or the text for people.
    pub(crate) fn result(self, object: &Value, text: impl FnOnce() -> String) {
        let line = if self.json { object.to_string() } else { text().trim_end().to_string() };
        // A reader that has seen enough (`| head -1`) is no failure.
        writeln!(std::io::stdout(), "{line}").ok();
    }
    /// Print an error and give its exit code.
    pub(crate) fn failure(self, error: &anyhow::Error) -> ExitCode {
        let code = exit_code(error);
        if self.json && !error.is::<Shown>() {
            let object = serde_json::json!({ "error": format!("{error:#}"), "code": code });
            writeln!(std::io::stdout(), "{object}").ok();
        }
        eprintln!("error: {error:#}");
        ExitCode::from(code)
    }
}

/// 1: failed; 3: the ledger refused; 4: nobody answered. (2, wrong usage, is clap's.)
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let asked = match error.downcast_ref::<AskError>() {
        Some(AskError::Ledger(error)) => Some(error),
        _ => None,
    };
    let traded = match error.downcast_ref::<TradeError>() {
        Some(TradeError::Ledger(error)) => Some(error),
        _ => None,
    };
    match error.downcast_ref::<LedgerError>().or(asked).or(traded) {
        Some(LedgerError::Refused { .. } | LedgerError::Rejected { .. } | LedgerError::Funds { .. }) => 3,
        Some(LedgerError::NoAnswer { .. } | LedgerError::NotIncluded { .. }) => 4,
        _ => 1,
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `part` of `whole` in per cent with two decimals.
pub(crate) fn percent(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

/// Micro-nats as nats.
pub(crate) fn nats(micro: u32) -> f64 {
    f64::from(micro) / 1e6
}
