//! Lay out a participant's folder, and keep a second process out of it.
//!
//! ```text
//! DIR/
//!   key         secret key of this identity, mode 600 (see [`crate::keyfile`])
//!   share       a validator's part of the committee's key, mode 600
//!   node.json   what to take part in: network file, listen address
//!   network.id  the network that this folder was first used with, and stays with
//!   lock        held while a node runs here
//!   ledger/     a validator's blocks and state
//!   runs/ID/    a trainer's states, one folder for each stage, and audits.jsonl: its audits of others
//!   orders/     a user's locked credentials, mode 600
//!   market/     secrets of a user's sealed orders, mode 600
//! ```
//! Commands that only sign (`wallet`, `run publish`) open a folder without taking its lock, so they work
//! beside a running node; the ledger's nonces keep two signers apart.

use crate::keyfile::{self, KeyFileError};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, ErrorKind, Seek as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};
use tessera_canon::{Hash, SecretKey};
use tessera_validator::MIN_KEPT_BLOCKS;

/// Why a folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refused.
    #[error("cannot {what} {}: {cause}; {advice}", path.display())]
    Disk { what: &'static str, path: PathBuf, advice: &'static str, cause: io::Error },
    /// Another process has it.
    #[error("the folder {} is in use by {holder}; stop that one or use another --dir", path.display())]
    InUse { path: PathBuf, holder: String },
    /// `node.json` is not what it should be.
    #[error("{} is not a node configuration: {reason}; correct or delete it", path.display())]
    Config { path: PathBuf, reason: String },
}

/// What to do about a refusal of the disk.
pub fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space and start again: nothing that was stored is lost"
        }
        ErrorKind::PermissionDenied => "give this user access to it or choose another --dir",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only: choose another --dir",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "something else has this name: choose another --dir"
        }
        ErrorKind::NotFound => "check the path",
        _ => "check the disk, or choose another --dir",
    }
}

/// `node.json`: what a node takes part in when its flags do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The network file; relative paths start at the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<PathBuf>,
    /// UDP address to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// How many blocks a validator keeps: a number, or `"all"` for an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_blocks: Option<KeepBlocks>,
}

/// How many blocks a validator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub enum KeepBlocks {
    /// Every block from the first on, and every change of the state: an archive, which others can verify from.
    All,
    /// The newest ones.
    Last(usize),
}

impl Default for KeepBlocks {
    /// Two hours of blocks under load, four and a half while idle.
    fn default() -> Self {
        Self::Last(16_384)
    }
}
impl KeepBlocks {
    /// As the validator takes it.
    pub fn number(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Last(count) => Some(count),
        }
    }
}
impl FromStr for KeepBlocks {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(count)) if count >= MIN_KEPT_BLOCKS => Ok(Self::Last(count)),
            _ => {
                Err(format!("expected \"all\" or a number of blocks from {MIN_KEPT_BLOCKS} on, got {text:?}"))
            }
        }
    }
}
impl TryFrom<serde_json::Value> for KeepBlocks {
    type Error = String;
    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse()
    }
}
impl From<KeepBlocks> for serde_json::Value {
    fn from(keep: KeepBlocks) -> Self {
        match keep {
            KeepBlocks::All => "all".into(),
            KeepBlocks::Last(count) => count.into(),
        }
    }
}

/// A participant's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// Keeps other nodes out of a folder until it is dropped.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "held for its drop")] fs::File);

impl Folder {
    /// The folder at `root`; made if missing.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let folder = Self { root: root.to_path_buf() };
        fs::create_dir_all(root).map_err(|cause| folder.failed("make the folder", root, cause))?;
        Ok(folder)
    }
    fn failed(&self, what: &'static str, path: &Path, cause: io::Error) -> FolderError {
        FolderError::Disk { what, path: path.into(), advice: advice(&cause), cause }
    }
    /// Take the folder for this process. Proves at once that it can be written.
    pub fn claim(&self) -> Result<FolderLock, FolderError> {
        let path = self.root.join("lock");
        let failed = |cause| self.failed("write", &path, cause);
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = match holder.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".into(),
                };
                return Err(FolderError::InUse { path: self.root.clone(), holder });
            }
            Err(fs::TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let own = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        file.write_all(own.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(FolderLock(file))
    }
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Where the secret key lies.
    pub fn key_path(&self) -> PathBuf {
        self.root.join("key")
    }
    /// Where a validator's share lies.
    pub fn share_path(&self) -> PathBuf {
        self.root.join("share")
    }
    /// Where a validator keeps the ledger.
    pub fn ledger_path(&self) -> PathBuf {
        self.root.join("ledger")
    }
    /// Where a validator keeps its index of events; it can be deleted.
    pub fn index_path(&self) -> PathBuf {
        self.root.join("events")
    }
    /// Where the newest header that was verified is remembered.
    pub fn trust_path(&self) -> PathBuf {
        self.root.join("trusted-header")
    }
    /// Move a validator's ledger to `ledger.damaged-N` beside it, for whoever wants to look into it or needs what
    /// is left; returns where it is now.
    pub fn set_ledger_aside(&self) -> Result<PathBuf, FolderError> {
        let mut aside = (1..).map(|n: u32| self.root.join(format!("ledger.damaged-{n}")));
        let aside = aside.find(|path| !path.exists()).expect("a folder has fewer than 2^32 entries");
        let ledger = self.ledger_path();
        fs::rename(&ledger, &aside).map_err(|cause| self.failed("set aside", &ledger, cause))?;
        Ok(aside)
    }
    /// Where a trainer keeps a run.
    pub fn run_path(&self, run: &Hash) -> PathBuf {
        self.root.join("runs").join(run.to_string())
    }
    /// The secret key of this folder.
    pub fn key(&self) -> Result<SecretKey, KeyFileError> {
        keyfile::read(&self.key_path())
    }
    /// The secret key of this folder, made if there is none; and whether it was made.
    pub fn key_or_new(&self) -> Result<(SecretKey, bool), KeyFileError> {
        keyfile::read_or_create(&self.key_path())
    }
    /// `node.json`; the default if there is none.
    pub fn config(&self) -> Result<NodeConfig, FolderError> {
        let path = self.root.join("node.json");
        let mut config: NodeConfig = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| FolderError::Config { path, reason: error.to_string() })?,
            Err(cause) if cause.kind() == ErrorKind::NotFound => NodeConfig::default(),
            Err(cause) => return Err(self.failed("read", &path, cause)),
        };
        // `join` keeps an absolute path as it is.
        config.network = config.network.map(|path| self.root.join(path));
        Ok(config)
    }
    /// Replace `node.json`.
    pub fn set_config(&self, config: &NodeConfig) -> Result<(), FolderError> {
        let text = serde_json::to_string_pretty(config).map_err(|error| FolderError::Config {
            path: self.root.join("node.json"),
            reason: error.to_string(),
        })?;
        self.write("node.json", format!("{text}\n").as_bytes())
    }
    /// Replace the file `name` as a whole: after a crash it holds either the old or the new bytes.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        write_whole(&self.root.join(name), bytes)
    }
}

/// Replace the file at `path` as a whole: after a crash it holds either the old or the new bytes.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let failed = |cause: io::Error| FolderError::Disk {
        what: "write",
        path: path.into(),
        advice: advice(&cause),
        cause,
    };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let write = |mut file: fs::File| file.write_all(bytes).and_then(|()| file.sync_all());
    fs::File::create(&fresh).and_then(write).and_then(|()| fs::rename(&fresh, path)).map_err(|cause| {
        // A half-written copy would take space that is missing already; the old file is untouched.
        let _ = fs::remove_file(&fresh);
        failed(cause)
    })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_cannot_share_a_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("a/b")).unwrap();
        let lock = folder.claim().unwrap();
        let error = Folder::open(folder.root()).unwrap().claim().unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        folder.claim().unwrap();
    }

    #[test]
    fn a_ledger_is_set_aside_each_time_under_another_name() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        for content in ["first", "second"] {
            fs::create_dir(folder.ledger_path()).unwrap();
            fs::write(folder.ledger_path().join("x"), content).unwrap();
            let aside = folder.set_ledger_aside().unwrap();
            assert!(!folder.ledger_path().exists());
            assert_eq!(fs::read_to_string(aside.join("x")).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(home.path().join("ledger.damaged-1/x")).unwrap(), "first");
    }

    #[test]
    fn a_path_that_is_no_folder_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        let error = Folder::open(&home.path().join("file/inside")).unwrap_err().to_string();
        assert!(error.contains("choose another --dir"), "{error}");
        let full = advice(&io::Error::from(ErrorKind::StorageFull));
        assert!(full.contains("free some space"), "{full}");
    }

    #[test]
    fn the_configuration_survives_and_errors_name_the_field() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert_eq!(folder.config().unwrap(), NodeConfig::default());
        let config = NodeConfig {
            network: Some("../network.json".into()),
            listen: "127.0.0.1:4000".parse().ok(),
            keep_blocks: Some(KeepBlocks::All),
        };
        folder.set_config(&config).unwrap();
        let read = folder.config().unwrap();
        assert_eq!(read.network, Some(home.path().join("../network.json")));
        assert_eq!(read.keep_blocks, Some(KeepBlocks::All));
        folder.write("node.json", b"{\"keep_blocks\": 5000}").unwrap();
        assert_eq!(folder.config().unwrap().keep_blocks, Some(KeepBlocks::Last(5000)));
        for few in ["{\"keep_blocks\": 127}", "{\"keep_blocks\": \"some\"}", "{\"keep_blocks\": -1}"] {
            folder.write("node.json", few.as_bytes()).unwrap();
            let error = folder.config().unwrap_err().to_string();
            assert!(error.contains("from 128 on"), "{error}");
        }
        folder.write("node.json", b"{\"netwrok\": 1}").unwrap();
        assert!(folder.config().unwrap_err().to_string().contains("netwrok"));
    }
}
