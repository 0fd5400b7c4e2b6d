//! Keep a secret in a file that only its owner can read.
//!
//! A key file holds 64 hexadecimal digits (the Ed25519 seed) and a newline. Reading refuses a file that other
//! users of the machine could read.

use crate::folder::{FolderError, advice};
use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};
use tessera_canon::{Hash, PublicKey, SecretKey};

/// Longest secret file, bytes.
const MAX_BYTES: u64 = 4096;

/// Why a secret file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No such file.
    #[error("there is no key in {}; make one with `tessera wallet new --dir {}`", path.display(), path.parent().unwrap_or(Path::new(".")).display())]
    Missing { path: PathBuf },
    /// It would have been overwritten.
    #[error("{} exists already: a key is never overwritten; choose another folder", path.display())]
    Exists { path: PathBuf },
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:o}, expected 600); run: chmod 600 {}", path.display(), path.display())]
    Open { path: PathBuf, mode: u32 },
    /// Not what a key file holds.
    #[error("expected {expected} in {}, got {got} bytes of something else", path.display())]
    Content { path: PathBuf, expected: &'static str, got: usize },
    /// The system has no randomness.
    #[error("the system gave no random bytes for a key: {cause}")]
    Entropy { cause: String },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] FolderError),
}

/// Make a new key in `path`, which must not exist.
pub fn create(path: &Path) -> Result<SecretKey, KeyFileError> {
    let key = SecretKey::generate().map_err(|cause| KeyFileError::Entropy { cause: cause.to_string() })?;
    write_secret(path, &format!("{}\n", Hash(key.seed())))?;
    Ok(key)
}

/// The key in `path`.
pub fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    let text = read_secret(path)?;
    let seed: Hash = text.trim().parse().map_err(|_| KeyFileError::Content {
        path: path.into(),
        expected: "64 hexadecimal digits",
        got: text.len(),
    })?;
    Ok(SecretKey::from_seed(seed.0))
}

/// The key in `path`, made if there is none; and whether it was made.
pub fn read_or_create(path: &Path) -> Result<(SecretKey, bool), KeyFileError> {
    match read(path) {
        Err(KeyFileError::Missing { .. }) => create(path).map(|key| (key, true)),
        other => other.map(|key| (key, false)),
    }
}

/// The public half of the key in `path`.
pub fn public(path: &Path) -> Result<PublicKey, KeyFileError> {
    read(path).map(|key| key.public())
}

/// Write `text` into a new file that only the owner can read.
pub fn write_secret(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: fs::File| file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    options.open(path).and_then(write).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
        _ => FolderError::Disk { what: "write", path: path.into(), advice: advice(&cause), cause }.into(),
    })
}

/// Read a text file that only the owner can read.
pub fn read_secret(path: &Path) -> Result<String, KeyFileError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        ErrorKind::NotFound => KeyFileError::Missing { path: path.into() },
        _ => FolderError::Disk { what: "read", path: path.into(), advice: advice(&cause), cause }.into(),
    };
    let file = fs::File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(failed)?.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Open { path: path.into(), mode });
        }
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let got = bytes.len();
    String::from_utf8(bytes).map_err(|_| KeyFileError::Content { path: path.into(), expected: "text", got })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_and_is_never_overwritten_or_read_when_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(read(&path), Err(KeyFileError::Missing { .. })));
        let key = create(&path).unwrap();
        assert_eq!(read(&path).unwrap().seed(), key.seed());
        assert!(matches!(create(&path), Err(KeyFileError::Exists { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Open { mode: 0o644, .. }));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        let bad = folder.path().join("bad");
        write_secret(&bad, "zz").unwrap();
        assert!(matches!(read(&bad), Err(KeyFileError::Content { got: 2, .. })));
    }
}
