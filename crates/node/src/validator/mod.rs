//! Keep the ledger: run a validator from its folder and answer light clients.

use crate::{
    folder::{Folder, FolderError, KeepBlocks},
    keyfile::{self, KeyFileError},
    ledger::{
        Answerer, RpcServer,
        follow::SharedIndex,
        rpc::{RpcCounts, RpcLimits},
    },
    network::NetworkFile,
    switchboard::Switchboard,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tessera_canon::PublicKey;
use tessera_chain::Header;
use tessera_net::Transport;
use tessera_validator::{
    StartError, Status, Timing, VOTE_NOTES, Validator, ValidatorConfig, ValidatorHandle, VotesLost,
    committee::{CommitteeError, SecretShare},
};

/// How long blocks take while transactions wait and while none waits, milliseconds.
pub const TIMING: Timing = Timing::STANDARD;
/// How often, and how far apart, a start is tried again that came before the others' next block.
const PAST_VOTES_TRIES: usize = 30;
const PAST_VOTES_PAUSE: Duration = Duration::from_secs(1);

/// Why a validator did not start.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The folder's key is no validator's.
    #[error(
        "the key {key} of this folder is not a validator of network {network}; its validators are {validators}"
    )]
    NotValidator { key: PublicKey, network: String, validators: String },
    /// The share is missing or malformed.
    #[error("the share in {path} cannot be used: {cause}; it was made with the key by `tessera network new`")]
    Share { path: String, cause: CommitteeError },
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What is stored is damaged.
    #[error(
        "the ledger in {} is damaged ({reason}); start again with --repair to set it aside and fetch the state from the other validators",
        folder.display()
    )]
    Damaged { folder: PathBuf, reason: String },
    /// The record of its votes has a gap.
    #[error("the validator of {} must not vote: {cause}", folder.display())]
    Votes { folder: PathBuf, cause: VotesLost },
    /// Key trouble.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Folder trouble.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// What somebody decides about a validator's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Set a damaged ledger aside; see [`ValidatorNode::start`].
    pub repair: bool,
    /// Where the folder is new, download the state instead of executing all blocks.
    pub sync: bool,
    /// Blocks to keep; else what `node.json` says, else the default.
    pub keep_blocks: Option<KeepBlocks>,
}

/// Put the notes of the last votes from the ledger in `aside` into the one to come, if they can be read.
fn keep_notes(aside: &Path, folder: &Folder) -> Result<(), FolderError> {
    match std::fs::read(aside.join(VOTE_NOTES)) {
        Ok(notes) => {
            let ledger = Folder::open(&folder.ledger_path())?;
            ledger.write(VOTE_NOTES, &notes)
        }
        Err(cause) => {
            tracing::warn!(%cause, "no notes of the last votes: a repaired validator may vote a second time in a view");
            Ok(())
        }
    }
}

/// A running validator with its service for light clients.
pub struct ValidatorNode {
    handle: ValidatorHandle,
    answerer: Answerer,
    server: RpcServer,
    /// Where a damaged ledger was moved to at this start.
    pub set_aside: Option<PathBuf>,
}

/// Start a validator. One that fetches its state anew cannot begin before the others are past its last vote, which is a
/// matter of one block: it is tried again for a while.
async fn start_past_votes(config: &ValidatorConfig) -> Result<ValidatorHandle, StartError> {
    for _ in 0..PAST_VOTES_TRIES {
        match Validator::start(config.clone()).await {
            Err(StartError::Votes { cause: VotesLost::TooEarly { newest, got }, .. }) => {
                tracing::info!(newest, got, "waiting for a block after the last vote");
                tokio::time::sleep(PAST_VOTES_PAUSE).await;
            }
            other => return other,
        }
    }
    Validator::start(config.clone()).await
}

impl ValidatorNode {
    /// Start the validator of `folder`, whose key must be one of `network`'s validators, and answer questions
    /// that come over `switchboard`. The folder's lock must be held by the caller.
    ///
    /// With `repair`, a ledger that does not open or lacks votes is set aside (never deleted) and the state is fetched
    /// from the other validators; a sound one is used as it is. The notes of the last votes are kept, and the
    /// repaired validator begins after them, so it does not vote twice in a view. Where the notes are lost too it could:
    /// with 3f + 1 validators no more than f of them may be repaired at a time, and somebody must decide that.
    pub async fn start<T: Transport>(
        folder: &Folder,
        network: &NetworkFile,
        switchboard: &Switchboard<T>,
        choices: Choices,
    ) -> Result<Self, ValidateError> {
        let key = folder.key()?;
        let Some(own) = network.validator(&key.public()) else {
            let validators: Vec<String> = network.validators.iter().map(|entry| entry.key.short()).collect();
            return Err(ValidateError::NotValidator {
                key: key.public(),
                network: network.genesis.name.to_string(),
                validators: validators.join(", "),
            });
        };
        let path = folder.share_path();
        let share = SecretShare::from_hex(&keyfile::read_secret(&path)?)
            .map_err(|cause| ValidateError::Share { path: path.display().to_string(), cause })?;
        let mut config = ValidatorConfig {
            listen: own.consensus,
            key,
            share,
            genesis: network.genesis.clone(),
            committee: network.validators.iter().map(|entry| (entry.key, entry.consensus)).collect(),
            data_dir: folder.ledger_path(),
            state_sync: choices.sync,
            timing: TIMING,
            keep_blocks: choices.keep_blocks.or(folder.config()?.keep_blocks).unwrap_or_default().number(),
        };
        let mut set_aside = None;
        let first = match start_past_votes(&config).await {
            Err(StartError::Damaged { .. } | StartError::Votes { .. }) if choices.repair => {
                let aside = folder.set_ledger_aside()?;
                keep_notes(&aside, folder)?;
                set_aside = Some(aside);
                config.state_sync = true;
                start_past_votes(&config).await
            }
            other => other,
        };
        let handle = match first {
            Err(StartError::Damaged { folder, reason }) => {
                return Err(ValidateError::Damaged { folder, reason });
            }
            Err(StartError::Votes { folder, cause }) => return Err(ValidateError::Votes { folder, cause }),
            other => other?,
        };
        let index = SharedIndex::open(&folder.index_path(), network.id);
        let answerer = Answerer::start(handle.clone(), Arc::new(network.genesis.clone()), index);
        let server = RpcServer::start(switchboard, answerer.clone(), RpcLimits::default());
        Ok(Self { handle, answerer, server, set_aside })
    }
    /// For a ledger client in the same process.
    pub fn answerer(&self) -> Answerer {
        self.answerer.clone()
    }
    /// How the validator is doing.
    pub fn status(&self) -> Status {
        self.handle.status()
    }
    /// The newest final header.
    pub fn tip(&self) -> Option<Header> {
        self.status().tip
    }
    /// What the service did.
    pub fn counts(&self) -> RpcCounts {
        self.server.counts()
    }
    /// End it, and wait until its store is closed. Returns why it failed, if it did.
    pub async fn stop(self) -> Option<String> {
        drop(self.server);
        self.handle.stop().await
    }
    /// Wait until it ends by itself; returns why.
    pub async fn ended(&self) -> Option<String> {
        self.handle.stopped().await
    }
}
