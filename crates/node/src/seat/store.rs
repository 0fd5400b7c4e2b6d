//! Keep a stage's states in files that survive a crash, and notice when one is damaged.
//!
//! One file per step: a header line, the canonical bytes of state and records, and a BLAKE3 checksum of all of
//! it. A file is written beside its name, synced, then renamed, so a name never holds half a state. The
//! [`HISTORY`] newest are kept: audits compute past units again, and a run may be rolled back. States that a rollback
//! undid are renamed to `*.undone`, and as many of them are kept. A file that does not match its checksum is set aside
//! as `*.damaged` and counts as absent.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};
use tessera_canon::{Blob, Domain, List, decode, digest_bytes, encode, record};
use tessera_swarm::{HISTORY, Saved, StateStore, StoreError};
use tessera_wire::training::{MAX_RECORDS, StepRecord};

const FILE: Domain = Domain::new("tessera/state-file/v1");
const MAGIC: &[u8; 16] = b"tessera-state-2\n";
/// Greatest state in a file: 16 GiB.
const MAX_STATE_BYTES: usize = 16 << 30;

record! {
    /// What a file holds behind its magic line and before its checksum.
    struct Contents {
        progress: u64,
        generation: u32,
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
            generation: saved.generation,
            records: List::new(saved.records[newest..].to_vec()).map_err(too_big)?,
            state: Blob::new(saved.state.clone()).map_err(too_big)?,
        };
        let bytes = encode(&contents);
        self.set_aside(saved)?;
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
        for old in steps.iter().rev().skip(HISTORY) {
            fs::remove_file(self.path(*old))?;
        }
        let undone = self.undone()?;
        for (_, _, path) in undone.iter().rev().skip(HISTORY) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// States of this and later steps make way for `saved`: those of another generation are kept as undone.
    fn set_aside(&self, saved: &Saved) -> io::Result<()> {
        for step in self.steps()?.into_iter().filter(|step| *step >= saved.progress) {
            let path = self.path(step);
            match self.read(step) {
                Ok(old) if old.generation != saved.generation => {
                    let name = format!("step-{step:08}-{:04}.undone", old.generation);
                    fs::rename(&path, self.folder.join(name))?;
                }
                // One that is written again is replaced by renaming.
                _ if step == saved.progress => {}
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// Undone states by generation and step, ascending, with their files.
    fn undone(&self) -> io::Result<Vec<(u32, u64, PathBuf)>> {
        let mut undone: Vec<(u32, u64, PathBuf)> = fs::read_dir(&self.folder)?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (step, generation) =
                    name.strip_prefix("step-")?.strip_suffix(".undone")?.split_once('-')?;
                Some((generation.parse().ok()?, step.parse().ok()?, entry.path()))
            })
            .collect();
        undone.sort_unstable();
        Ok(undone)
    }

    fn read(&self, progress: u64) -> Result<Saved, String> {
        read(&self.path(progress), progress)
    }
}

fn read(path: &Path, progress: u64) -> Result<Saved, String> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(|e| e.to_string())?;
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
    let Contents { generation, records, state, .. } = contents;
    Ok(Saved { progress, state: state.to_vec(), generation, records: records.into_inner() })
}

impl StateFiles {
    /// The newest intact state among `steps`, which are ascending; damaged ones are set aside.
    fn newest_of(&mut self, steps: Vec<u64>) -> Result<Option<Saved>, StoreError> {
        for step in steps.into_iter().rev() {
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
}

impl StateStore for StateFiles {
    fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        self.write(saved).map_err(|error| StoreError::Save {
            progress: saved.progress,
            reason: format!("{error} (in {}); free some space or fix the folder", self.folder.display()),
        })
    }

    fn load(&mut self, progress: Option<u64>) -> Result<Option<Saved>, StoreError> {
        let mut steps = self.steps().map_err(|error| StoreError::Load { reason: error.to_string() })?;
        steps.retain(|step| progress.is_none_or(|progress| progress == *step));
        self.newest_of(steps)
    }

    fn load_before(&mut self, progress: u64) -> Result<Option<Saved>, StoreError> {
        let mut steps = self.steps().map_err(|error| StoreError::Load { reason: error.to_string() })?;
        steps.retain(|step| *step <= progress);
        self.newest_of(steps)
    }

    fn load_undone(&mut self, progress: u64) -> Result<Vec<Saved>, StoreError> {
        let undone = self.undone().map_err(|error| StoreError::Load { reason: error.to_string() })?;
        let of_step = undone.into_iter().filter(|(_, step, _)| *step == progress);
        // A damaged one is as good as none: whoever needs it looks at all there are.
        Ok(of_step.filter_map(|(_, step, path)| read(&path, step).ok()).collect())
    }

    fn damaged(&self) -> Vec<String> {
        self.damaged.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(progress: u64) -> Saved {
        Saved { progress, state: vec![progress as u8; 1000], generation: 0, records: Vec::new() }
    }

    #[test]
    fn the_newest_states_are_kept_and_a_damaged_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFiles::open(folder.path()).unwrap();
        let last = HISTORY as u64 + 3;
        for progress in 1..=last {
            store.save(&saved(progress)).unwrap();
        }
        assert_eq!(store.steps().unwrap(), (4..=last).collect::<Vec<_>>());
        assert_eq!(store.load(None).unwrap().unwrap().state, vec![last as u8; 1000]);
        assert_eq!(store.load(Some(4)).unwrap().unwrap().progress, 4);
        assert!(store.load(Some(3)).unwrap().is_none());
        assert_eq!(store.load_before(9).unwrap().unwrap().progress, 9);
        assert!(store.load_before(3).unwrap().is_none());

        let path = store.path(last);
        let mut bytes = fs::read(&path).unwrap();
        bytes[500] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut again = StateFiles::open(folder.path()).unwrap();
        assert_eq!(again.load(None).unwrap().unwrap().progress, last - 1);
        assert!(again.damaged()[0].contains("checksum"), "{:?}", again.damaged());
        assert!(!path.exists() && path.with_extension("damaged").exists());
    }

    #[test]
    fn what_a_rollback_undid_is_set_aside_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = StateFiles::open(folder.path()).unwrap();
        for progress in 1..=6 {
            store.save(&saved(progress)).unwrap();
        }
        let again = |progress: u64, generation| Saved {
            generation,
            state: vec![100 + progress as u8; 10],
            ..saved(progress)
        };
        store.save(&again(3, 1)).unwrap();
        assert_eq!(store.steps().unwrap(), vec![1, 2, 3]);
        assert_eq!(store.load(None).unwrap().unwrap().state, vec![103; 10]);
        assert_eq!(store.load_undone(5).unwrap()[0].state, vec![5; 1000]);
        assert!(store.load_undone(2).unwrap().is_empty());
        store.save(&again(4, 1)).unwrap();
        store.save(&again(3, 2)).unwrap();
        let undone: Vec<u32> = store.load_undone(4).unwrap().iter().map(|saved| saved.generation).collect();
        assert_eq!(undone, vec![0, 1]);
        let mut reopened = StateFiles::open(folder.path()).unwrap();
        assert_eq!(reopened.load_undone(4).unwrap().len(), 2);
        assert_eq!(reopened.load(None).unwrap().unwrap().generation, 2);
        // A state of the same generation that is replaced leaves nothing behind.
        store.save(&again(3, 2)).unwrap();
        assert_eq!(store.load_undone(3).unwrap().len(), 2);
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
