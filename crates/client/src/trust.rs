//! Remember on disk the newest header that was verified, so that a restart cannot be answered with the past.
//!
//! One record with its hash, written beside and renamed over the old one. What it says is about this client
//! only: it proves nothing to others.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use tessera_canon::{Domain, Hash, decode, digest, encode, record};

const TRUST: Domain = Domain::new("tessera/client/trust/v1");
/// Blocks after which the file is written again.
const EVERY: u64 = 64;
/// No trust file is longer.
const MAX_BYTES: u64 = 4096;

record! {
    /// A header that was verified.
    pub struct Trusted { pub height: u64, pub digest: Hash, pub time_ms: u64 }
}
record! {
    struct Stored { network: Hash, trusted: Trusted, check: Hash }
}

/// Why a trust file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Cannot read it.
    #[error("cannot read the trusted header in {}: {cause}; give access to it, or delete it to trust the network anew", path.display())]
    Read { path: PathBuf, cause: io::Error },
    /// Not such a file, or damaged.
    #[error("{} holds no trusted header: {reason}; delete it to trust the network anew", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// It is about another network.
    #[error("{} is about network {got}, expected {expected}; give each network a file of its own", path.display())]
    OtherNetwork { path: PathBuf, expected: Hash, got: Hash },
}

/// The file and what it holds.
#[derive(Debug)]
pub struct TrustFile {
    path: PathBuf,
    network: Hash,
    stored: Option<Trusted>,
}

impl TrustFile {
    /// The file at `path` for `network`; it need not exist yet.
    pub fn open(path: &Path, network: Hash) -> Result<Self, TrustError> {
        let empty = Self { path: path.into(), network, stored: None };
        let read = |cause| TrustError::Read { path: path.into(), cause };
        let damaged = |reason| TrustError::Damaged { path: path.into(), reason };
        match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(empty),
            Err(cause) => return Err(read(cause)),
            Ok(found) if found.len() > MAX_BYTES => {
                return Err(damaged(format!("expected at most {MAX_BYTES} bytes, got {}", found.len())));
            }
            Ok(_) => {}
        }
        let bytes = fs::read(path).map_err(read)?;
        let stored: Stored = decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        if stored.check != check(&stored.network, &stored.trusted) {
            return Err(damaged("its hash is not that of its content".into()));
        }
        if stored.network != network {
            let (expected, got) = (network, stored.network);
            return Err(TrustError::OtherNetwork { path: path.into(), expected, got });
        }
        Ok(Self { stored: Some(stored.trusted), ..empty })
    }
    /// What it holds.
    pub fn trusted(&self) -> Option<&Trusted> {
        self.stored.as_ref()
    }
    /// A newer header was verified: write it if the file has fallen far behind.
    pub(crate) fn note(&mut self, newer: Trusted) {
        if self.stored.as_ref().is_none_or(|stored| newer.height >= stored.height + EVERY) {
            self.keep(newer);
        }
    }
    /// Write `newer` unless the file holds it or a later one. A failure is logged: the client still remembers
    /// it while it runs.
    pub(crate) fn keep(&mut self, newer: Trusted) {
        if self.stored.as_ref().is_some_and(|stored| stored.height >= newer.height) || newer.height == 0 {
            return;
        }
        match self.write(&newer) {
            Ok(()) => self.stored = Some(newer),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the trusted header was not written");
            }
        }
    }
    fn write(&self, trusted: &Trusted) -> io::Result<()> {
        let stored =
            Stored { network: self.network, trusted: trusted.clone(), check: check(&self.network, trusted) };
        let fresh = self.path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&encode(&stored))?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

fn check(network: &Hash, trusted: &Trusted) -> Hash {
    digest(TRUST, &(*network, encode(trusted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_trusted_survives_and_a_changed_file_is_refused_by_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("trust");
        let at = |height| Trusted { height, digest: Hash([height as u8; 32]), time_ms: height * 10 };
        let mut file = TrustFile::open(&path, Hash([1; 32])).unwrap();
        file.note(at(5));
        file.note(at(6));
        assert_eq!(TrustFile::open(&path, Hash([1; 32])).unwrap().trusted(), Some(&at(5)), "6 is not far");
        file.keep(at(6));
        file.keep(at(2));
        assert_eq!(TrustFile::open(&path, Hash([1; 32])).unwrap().trusted(), Some(&at(6)));

        let error = TrustFile::open(&path, Hash([2; 32])).unwrap_err();
        assert!(matches!(error, TrustError::OtherNetwork { .. }), "{error}");
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(TrustFile::open(&path, Hash([1; 32])).is_err(), "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(TrustFile::open(&path, Hash([1; 32])).is_err(), "cut at {at}");
        }
        fs::write(&path, vec![0; MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(TrustFile::open(&path, Hash([1; 32])), Err(TrustError::Damaged { .. })));
    }
}
