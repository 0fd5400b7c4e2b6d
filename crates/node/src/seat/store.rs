//! Keep a stage's states in files that survive a crash, and notice when one is damaged.
//!
//! One file per step: a header line, the canonical bytes of state and records, and a BLAKE3 checksum of all of
//! it. A file is written beside its name, synced, then renamed, so a name never holds half a state. The two
//! newest are kept. A file that does not match its checksum is set aside as `*.damaged` and counts as absent.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};
use tessera_canon::{Blob, Domain, List, decode, digest_bytes, encode, record};
use tessera_swarm::{Saved, StateStore, StoreError};
use tessera_wire::training::{MAX_RECORDS, StepRecord};

const FILE: Domain = Domain::new("tessera/state-file/v1");
const MAGIC: &[u8; 16] = b"tessera-state-1\n";
const KEPT: usize = 2;
/// Greatest state in a file: 16 GiB.
const MAX_STATE_BYTES: usize = 16 << 30;

record! {
    /// What a file holds behind its magic line and before its checksum.
    struct Contents {
        progress: u64,
        records: List<StepRecord, MAX_RECORDS>,
        state: Blob<MAX_STATE_BYTES>,
    }
}

/// States of one stage of one run in one folder.
pub struct StateFiles {
    folder: PathBuf,
    damaged: Vec<String>,
}

impl StateFiles {
    /// Use `folder`, creating it if needed.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // Leftovers of a write that a crash interrupted.
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "partial") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_path_buf(), damaged: Vec::new() })
    }

    fn path(&self, progress: u64) -> PathBuf {
        self.folder.join(format!("step-{progress:08}.state"))
    }

    /// Steps that have a file, ascending.
    fn steps(&self) -> io::Result<Vec<u64>> {
        let mut steps: Vec<u64> = fs::read_dir(&self.folder)?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_prefix("step-")?.strip_suffix(".state")?.parse().ok()
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let too_big = |_| io::Error::other("the state is larger than a state file may be");
        let newest = saved.records.len().saturating_sub(MAX_RECORDS);
        let contents = Contents {
            progress: saved.progress,
            records: List::new(saved.records[newest..].to_vec()).map_err(too_big)?,
            state: Blob::new(saved.state.clone()).map_err(too_big)?,
        };
        let bytes = encode(&contents);
        let path = self.path(saved.progress);
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        let written = (|| {
            file.write_all(MAGIC)?;
            file.write_all(&bytes)?;
            file.write_all(&digest_bytes(FILE, &bytes).0)?;
            file.sync_all()
        })();
        if let Err(error) = written {
            // A full disk must not stay full because of a half-written file.
            drop(file);
            fs::remove_file(&partial)?;
            return Err(error);
        }
        fs::rename(&partial, &path)?;
        File::open(&self.folder)?.sync_all()?;
        let steps = self.steps()?;
        for old in steps.iter().filter(|step| **step > saved.progress) {
            // A downloaded state replaces a newer one only when replicas overruled it.
            fs::remove_file(self.path(*old))?;
        }
        let older: Vec<u64> = steps.into_iter().filter(|step| *step <= saved.progress).collect();
        for old in older.iter().rev().skip(KEPT) {
            fs::remove_file(self.path(*old))?;
        }
        Ok(())
    }

    fn read(&self, progress: u64) -> Result<Saved, String> {
        let mut bytes = Vec::new();
        File::open(self.path(progress))
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .map_err(|e| e.to_string())?;
        let body = bytes
            .strip_prefix(MAGIC)
            .ok_or("it does not begin like a state file")?
            .split_last_chunk::<32>()
            .filter(|(body, checksum)| digest_bytes(FILE, body).0 == **checksum)
            .map(|(body, _)| body)
            .ok_or("its checksum does not match")?;
        let contents: Contents = decode(body).map_err(|e| e.to_string())?;
        if contents.progress != progress {
            return Err(format!("it holds step {}", contents.progress));
        }
        Ok(Saved { progress, state: contents.state.to_vec(), records: contents.records.into_inner() })
    }
}

impl StateStore for StateFiles {
    fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        self.write(saved).map_err(|error| StoreError::Save {
            progress: saved.progress,
            reason: format!("{error} (in {}); free some space or fix the folder", self.folder.display()),
        })
    }

    fn load(&mut self, progress: Option<u64>) -> Result<Option<Saved>, StoreError> {
        let steps = self.steps().map_err(|error| StoreError::Load { reason: error.to_string() })?;
        let wanted = steps.into_iter().rev().filter(|step| progress.is_none_or(|p| p == *step));
        for step in wanted.collect::<Vec<_>>() {
            match self.read(step) {
                Ok(saved) => return Ok(Some(saved)),
                Err(why) => {
                    let path = self.path(step);
                    let aside = path.with_extension("damaged");
                    self.damaged.push(format!("{} is damaged: {why}; set aside", path.display()));
                    fs::rename(&path, &aside)
                        .map_err(|error| StoreError::Load { reason: error.to_string() })?;
                }
            }
        }
        Ok(None)
    }

    fn damaged(&self) -> Vec<String> {
        self.damaged.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(progress: u64) -> Saved {
        Saved { progress, state: vec![progress as u8; 1000], records: Vec::new() }
    }

    #[test]
    fn the_two_newest_states_are_kept_and_a_damaged_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFiles::open(folder.path()).unwrap();
        for progress in 1..=5 {
            store.save(&saved(progress)).unwrap();
        }
        assert_eq!(store.steps().unwrap(), vec![4, 5]);
        assert_eq!(store.load(None).unwrap().unwrap().state, vec![5; 1000]);
        assert_eq!(store.load(Some(4)).unwrap().unwrap().progress, 4);
        assert!(store.load(Some(3)).unwrap().is_none());

        let path = store.path(5);
        let mut bytes = fs::read(&path).unwrap();
        bytes[500] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut again = StateFiles::open(folder.path()).unwrap();
        assert_eq!(again.load(None).unwrap().unwrap().progress, 4);
        assert!(again.damaged()[0].contains("checksum"), "{:?}", again.damaged());
        assert!(!path.exists() && path.with_extension("damaged").exists());
    }

    #[test]
    fn a_failed_write_leaves_the_older_states_and_no_debris() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFiles::open(folder.path()).unwrap();
        store.save(&saved(1)).unwrap();
        // A folder where the file should go makes the write fail as a full disk would.
        fs::create_dir(folder.path().join("step-00000002.partial")).unwrap();
        let error = store.save(&saved(2)).unwrap_err();
        assert!(error.to_string().contains("step 2"), "{error}");
        fs::remove_dir(folder.path().join("step-00000002.partial")).unwrap();
        assert_eq!(store.load(None).unwrap().unwrap().progress, 1);
        store.save(&saved(2)).unwrap();
        assert_eq!(store.load(None).unwrap().unwrap().progress, 2);
    }
}
