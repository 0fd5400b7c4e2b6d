//! Keep the secrets of sealed orders in the participant's folder, so that a process that ends loses none.
//!
//! One file for each order, `DIR/market/SEAL`, readable by its owner only, replaced as a whole. What the secrets are
//! for is in [`tessera_client::trade`].

use crate::{
    folder::{Folder, FolderError, advice},
    keyfile::{self, KeyFileError},
};
use std::path::{Path, PathBuf};
use tessera_canon::{Hash, decode, encode, hex, unhex};
use tessera_client::trade::OrderSecret;

/// Why secrets could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("the order file {} cannot be used: {cause}; move it away", path.display())]
    Content { path: PathBuf, cause: String },
    #[error(
        "the folder {} has no secret of order {order}: expected one of {known}; an order can only be opened where it was made", folder.display()
    )]
    Unknown { folder: PathBuf, order: Hash, known: String },
}

fn root(folder: &Folder) -> PathBuf {
    folder.root().join("market")
}
fn path_of(folder: &Folder, secret: &OrderSecret) -> PathBuf {
    root(folder).join(secret.seal().to_string())
}
fn disk(what: &'static str, path: &Path, cause: std::io::Error) -> OrdersError {
    FolderError::Disk { what, path: path.into(), advice: advice(&cause), cause }.into()
}

/// Have `secret` on disk: after a crash the file holds either what it held before or this.
pub fn keep(folder: &Folder, secret: &OrderSecret) -> Result<(), OrdersError> {
    let root = root(folder);
    std::fs::create_dir_all(&root).map_err(|cause| disk("make the folder", &root, cause))?;
    let path = path_of(folder, secret);
    let fresh = path.with_extension("new");
    // What a crash may have left.
    if fresh.exists() {
        std::fs::remove_file(&fresh).map_err(|cause| disk("replace", &fresh, cause))?;
    }
    keyfile::write_secret(&fresh, &format!("{}\n", hex(&encode(secret))))?;
    std::fs::rename(&fresh, &path).map_err(|cause| disk("write", &path, cause))?;
    std::fs::File::open(&root).and_then(|root| root.sync_all()).map_err(|cause| disk("write", &root, cause))
}

fn load(path: &Path) -> Result<OrderSecret, OrdersError> {
    let bad = |cause: String| OrdersError::Content { path: path.into(), cause };
    let text = keyfile::read_secret(path)?;
    let bytes = unhex(text.trim()).ok_or_else(|| bad("expected hexadecimal digits".into()))?;
    decode(&bytes).map_err(|cause| bad(cause.to_string()))
}

/// Every secret of the folder, by batch.
pub fn all(folder: &Folder) -> Result<Vec<OrderSecret>, OrdersError> {
    let Ok(entries) = std::fs::read_dir(root(folder)) else { return Ok(Vec::new()) };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut all: Vec<OrderSecret> =
        paths.filter(|path| path.extension().is_none()).map(|path| load(&path)).collect::<Result<_, _>>()?;
    all.sort_by_key(|secret| (secret.batch, secret.order));
    Ok(all)
}

/// The secret of the order `id`.
pub fn find(folder: &Folder, id: &Hash) -> Result<OrderSecret, OrdersError> {
    let all = all(folder)?;
    let known: Vec<String> = all.iter().map(|secret| secret.order.to_string()).collect();
    all.into_iter().find(|secret| secret.order == *id).ok_or_else(|| OrdersError::Unknown {
        folder: folder.root().into(),
        order: *id,
        known: if known.is_empty() { "none".into() } else { known.join(", ") },
    })
}

/// Forget a secret that is of no use any more.
pub fn forget(folder: &Folder, secret: &OrderSecret) {
    // A file that stays is no harm: its order is not on the ledger any more.
    std::fs::remove_file(path_of(folder, secret)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::SecretKey;
    use tessera_ledger::action::{Asset, MarketId, OrderTerms, Side};

    #[test]
    fn secrets_survive_are_replaced_as_a_whole_and_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert_eq!(all(&folder).unwrap(), []);
        let owner = SecretKey::from_seed([4; 32]).public();
        let make = |quantity| {
            let terms = OrderTerms { side: Side::Bid, limit: 7, quantity, to: Hash::ZERO };
            let market = MarketId { asset: Asset::Cu, run: Hash([1; 32]), series: 0 };
            OrderSecret::new(owner, market, terms).unwrap()
        };
        let (mut first, second) = (make(5), make(5));
        assert_ne!(first.seal(), second.seal(), "equal orders have different secrets");
        keep(&folder, &first).unwrap();
        // A crash in the middle of a replacement leaves half a file beside the whole one.
        let half = path_of(&folder, &first).with_extension("new");
        std::fs::write(&half, "12").unwrap();
        assert_eq!(all(&folder).unwrap(), [first.clone()]);
        (first.order, first.batch) = (Hash([9; 32]), 3);
        keep(&folder, &first).unwrap();
        keep(&folder, &second).unwrap();
        assert_eq!(all(&folder).unwrap(), [second.clone(), first.clone()]);
        assert_eq!(find(&folder, &first.order).unwrap(), first);
        let error = find(&folder, &Hash([8; 32])).unwrap_err().to_string();
        assert!(error.contains(&first.order.to_string()), "{error}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path_of(&folder, &first)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        forget(&folder, &second);
        assert_eq!(all(&folder).unwrap(), [first.clone()]);
        std::fs::write(path_of(&folder, &first), "nonsense").unwrap();
        assert!(matches!(all(&folder), Err(OrdersError::Content { .. } | OrdersError::File(_))));
    }
}
