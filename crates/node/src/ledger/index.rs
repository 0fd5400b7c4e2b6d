//! Remember on disk where in final blocks each run, key, note, order and transaction is named.
//!
//! Nothing here is part of consensus, and nothing is believed by who reads it: it only says where to look. It
//! can be deleted; [`super::follow`] makes it again from the blocks. Memory does not grow with the chain.
//!
//! ```text
//! heights     "TESSIDX1", network, first height; then for each block: offset (8), length (4) in `log`
//! log         for each block: check (8), canonical bytes of its events
//! names/XX    by the first byte of the name's hash: name (16), height (8), place (4; top bit: a transaction)
//! ```
//! A block is in the index once its entry in `heights`, written last, is there. What a crash left beyond that is
//! cut off when the index is opened. Integers are big-endian. Which events name what follows from their
//! declarations ([`Describe`]): every hash and key in an event or a transaction is a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};
use tessera_canon::{Describe, Domain, Hash, List, decode, digest, digest_bytes, encode};
use tessera_ledger::{Event, SignedTx};
use tessera_wire::rpc::{MAX_EVENTS, MAX_PLACES, Place, Places};

const NAME: Domain = Domain::new("tessera/index/name/v1");
const CHECK: Domain = Domain::new("tessera/index/check/v1");
const MAGIC: &[u8; 8] = b"TESSIDX1";
const HEAD: u64 = 8 + 32 + 8;
const HEIGHT_ENTRY: u64 = 12;
const NAME_ENTRY: usize = 28;
const TX_BIT: u32 = 1 << 31;
/// No block's events are longer.
const MAX_LOG_ENTRY: u32 = 64 << 20;

/// Why the index could not be used. It may be deleted; it is made again.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot use the index of events in {}: {cause}", path.display())]
    Disk { path: PathBuf, cause: io::Error },
    #[error("the index of events in {} is damaged: {reason}; it is made again from the blocks", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the index of events goes on at height {expected}, got block {got}")]
    Gap { expected: u64, got: u64 },
}

/// The index of one network.
#[derive(Debug)]
pub struct EventIndex {
    dir: PathBuf,
    network: Hash,
    first: u64,
    blocks: u64,
    heights: File,
    log: File,
    log_end: u64,
}

/// The part of a name that is stored, and its file.
fn stored_name(subject: &Hash) -> ([u8; 16], u8) {
    let hash = digest(NAME, subject);
    let mut name = [0; 16];
    name.copy_from_slice(&hash.0[1..17]);
    (name, hash.0[0])
}

/// Everything that a value names, each once.
fn names(value: &impl Describe) -> BTreeSet<Hash> {
    value.describe().hashes().into_iter().filter(|hash| *hash != Hash::ZERO).collect()
}

impl EventIndex {
    /// Open the index in `dir`, or begin one at height 1.
    pub fn open(dir: &Path, network: Hash) -> Result<Self, IndexError> {
        let failed = |cause| IndexError::Disk { path: dir.into(), cause };
        let damaged = |reason: &str| IndexError::Damaged { path: dir.into(), reason: reason.into() };
        fs::create_dir_all(dir.join("names")).map_err(failed)?;
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).open(dir.join(name)).map_err(failed)
        };
        let (mut heights, log) = (open("heights")?, open("log")?);
        let length = heights.metadata().map_err(failed)?.len();
        if length < HEAD {
            let index = Self { dir: dir.into(), network, first: 1, blocks: 0, heights, log, log_end: 0 };
            return index.begun_at(1);
        }
        let mut head = [0; HEAD as usize];
        heights.rewind().and_then(|()| heights.read_exact(&mut head)).map_err(failed)?;
        if head[..8] != MAGIC[..] || head[8..40] != network.0 {
            return Err(damaged("it begins otherwise, or is of another network"));
        }
        let first = u64::from_be_bytes(head[40..48].try_into().map_err(|_| damaged("no first height"))?);
        let blocks = (length - HEAD) / HEIGHT_ENTRY;
        let mut index = Self { dir: dir.into(), network, first, blocks, heights, log, log_end: 0 };
        index.log_end = match blocks {
            0 => 0,
            _ => {
                let (offset, length) = index.entry(blocks - 1)?;
                offset + u64::from(length)
            }
        };
        index.cut()?;
        Ok(index)
    }
    fn failed(&self, cause: io::Error) -> IndexError {
        IndexError::Disk { path: self.dir.clone(), cause }
    }
    fn damaged(&self, reason: impl Into<String>) -> IndexError {
        IndexError::Damaged { path: self.dir.clone(), reason: reason.into() }
    }
    /// Drop what a crash left behind the last complete block.
    fn cut(&mut self) -> Result<(), IndexError> {
        let held = self.log.metadata().map_err(|cause| self.failed(cause))?.len();
        if held < self.log_end {
            return Err(self.damaged(format!("expected {} bytes of events, got {held}", self.log_end)));
        }
        self.log.set_len(self.log_end).map_err(|cause| self.failed(cause))?;
        let end = HEAD + self.blocks * HEIGHT_ENTRY;
        self.heights.set_len(end).map_err(|cause| self.failed(cause))?;
        let last = self.first + self.blocks;
        for entry in fs::read_dir(self.dir.join("names")).map_err(|cause| self.failed(cause))? {
            let path = entry.map_err(|cause| self.failed(cause))?.path();
            cut_names(&path, last).map_err(|cause| self.failed(cause))?;
        }
        Ok(())
    }
    /// Forget everything and go on at `height`.
    pub fn begun_at(mut self, height: u64) -> Result<Self, IndexError> {
        let names = self.dir.join("names");
        let cleared = self
            .heights
            .set_len(0)
            .and_then(|()| self.log.set_len(0))
            .and_then(|()| fs::remove_dir_all(&names))
            .and_then(|()| fs::create_dir_all(&names))
            .and_then(|()| self.heights.rewind())
            .and_then(|()| self.heights.write_all(MAGIC))
            .and_then(|()| self.heights.write_all(&self.network.0))
            .and_then(|()| self.heights.write_all(&height.to_be_bytes()));
        cleared.map_err(|cause| self.failed(cause))?;
        (self.first, self.blocks, self.log_end) = (height, 0, 0);
        Ok(self)
    }
    /// First height that it covers.
    pub fn first(&self) -> u64 {
        self.first
    }
    /// The height that it needs next.
    pub fn next(&self) -> u64 {
        self.first + self.blocks
    }
    /// Offset and length in `log` of the block number `at` of the index.
    fn entry(&self, at: u64) -> Result<(u64, u32), IndexError> {
        let mut bytes = [0; HEIGHT_ENTRY as usize];
        let mut file = &self.heights;
        file.seek(SeekFrom::Start(HEAD + at * HEIGHT_ENTRY))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|cause| self.failed(cause))?;
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        offset.copy_from_slice(&bytes[..8]);
        length.copy_from_slice(&bytes[8..]);
        Ok((u64::from_be_bytes(offset), u32::from_be_bytes(length)))
    }
    /// Add the block at `height`, which must be [`Self::next`].
    pub fn append(&mut self, height: u64, txs: &[SignedTx], events: &[Event]) -> Result<(), IndexError> {
        if height != self.next() {
            return Err(IndexError::Gap { expected: self.next(), got: height });
        }
        let list = List::<Event, MAX_EVENTS>::new(events.to_vec())
            .map_err(|error| self.damaged(format!("block {height} has too many events: {error}")))?;
        let body = encode(&list);
        let check = digest_bytes(CHECK, &body);
        let record = [&check.0[..8], &body].concat();

        let mut files = BTreeMap::<u8, Vec<u8>>::new();
        let mut note = |subjects: BTreeSet<Hash>, place: u32| {
            for subject in subjects {
                let (name, file) = stored_name(&subject);
                let bytes = files.entry(file).or_default();
                bytes.extend(name);
                bytes.extend(height.to_be_bytes());
                bytes.extend(place.to_be_bytes());
            }
        };
        for (at, event) in (0u32..).zip(events) {
            note(names(event), at);
        }
        for (at, tx) in (0u32..).zip(txs) {
            let mut subjects = names(tx);
            subjects.remove(&self.network);
            subjects.insert(tx.id());
            note(subjects, at | TX_BIT);
        }
        let mut write = || {
            self.log.seek(SeekFrom::Start(self.log_end))?;
            self.log.write_all(&record)?;
            for (file, bytes) in &files {
                let path = self.dir.join("names").join(format!("{file:02x}"));
                OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)?;
            }
            let entry = [&self.log_end.to_be_bytes()[..], &(record.len() as u32).to_be_bytes()].concat();
            self.heights.seek(SeekFrom::Start(HEAD + self.blocks * HEIGHT_ENTRY))?;
            self.heights.write_all(&entry)
        };
        write().map_err(|cause| self.failed(cause))?;
        self.log_end += record.len() as u64;
        self.blocks += 1;
        Ok(())
    }
    /// The events of the block at `height`; `None` where it is not covered.
    pub fn events(&self, height: u64) -> Result<Option<Vec<Event>>, IndexError> {
        if height < self.first || height >= self.next() {
            return Ok(None);
        }
        let (offset, length) = self.entry(height - self.first)?;
        if !(8..=MAX_LOG_ENTRY).contains(&length) {
            return Err(self.damaged(format!("the events of block {height} take {length} bytes")));
        }
        let mut record = vec![0; length as usize];
        let mut file = &self.log;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut record))
            .map_err(|cause| self.failed(cause))?;
        if digest_bytes(CHECK, &record[8..]).0[..8] != record[..8] {
            return Err(self.damaged(format!("the events of block {height} are not those that were written")));
        }
        let events: List<Event, MAX_EVENTS> =
            decode(&record[8..]).map_err(|error| self.damaged(format!("block {height}: {error}")))?;
        Ok(Some(events.into_inner()))
    }
    /// Where `subject` is named from height `from` on, without the first `skip` places of that height.
    pub fn places(&self, subject: &Hash, from: u64, skip: u32) -> Result<Places, IndexError> {
        let (name, file) = stored_name(subject);
        let path = self.dir.join("names").join(format!("{file:02x}"));
        let (mut places, mut more, mut skip) = (Vec::new(), false, skip);
        match File::open(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(self.failed(cause)),
            Ok(file) => {
                let mut reader = BufReader::with_capacity(1 << 16, file);
                let mut entry = [0; NAME_ENTRY];
                while reader.read_exact(&mut entry).is_ok() {
                    let Some(place) = place_of(&entry, &name) else { continue };
                    // A block that is being written now is not in the index yet.
                    if place.height < from || place.height >= self.next() {
                        continue;
                    }
                    if place.height == from && skip > 0 {
                        skip -= 1;
                        continue;
                    }
                    if places.len() == MAX_PLACES {
                        more = true;
                        break;
                    }
                    places.push(place);
                }
            }
        }
        let (first, last) = (self.first, self.next() - 1);
        Ok(Places { first, last, more, places: List::new(places).unwrap_or_default() })
    }
    /// The height of the block that holds the transaction `id`.
    pub fn height_of(&self, id: &Hash) -> Result<Option<u64>, IndexError> {
        // A transaction can only be named after it was included, so its own place is among the first.
        let places = self.places(id, 0, 0)?;
        Ok(places.places.iter().find(|place| place.tx).map(|place| place.height))
    }
}

/// The place that a name's entry tells, if it is of `name`.
fn place_of(entry: &[u8; NAME_ENTRY], name: &[u8; 16]) -> Option<Place> {
    if entry[..16] != name[..] {
        return None;
    }
    let height = u64::from_be_bytes(entry[16..24].try_into().ok()?);
    let place = u32::from_be_bytes(entry[24..].try_into().ok()?);
    Some(Place { height, tx: place & TX_BIT != 0, at: place & !TX_BIT })
}

/// Cut entries of heights from `end` on, and half an entry, off the end of a file of names.
fn cut_names(path: &Path, end: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut entries = file.metadata()?.len() / NAME_ENTRY as u64;
    let mut height = [0; 8];
    while entries > 0 {
        file.seek(SeekFrom::Start((entries - 1) * NAME_ENTRY as u64 + 16))?;
        file.read_exact(&mut height)?;
        if u64::from_be_bytes(height) < end {
            break;
        }
        entries -= 1;
    }
    file.set_len(entries * NAME_ENTRY as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{PublicKey, SecretKey};
    use tessera_ledger::{Action, FeeSource, Tx, action::Transfer, event};

    const NETWORK: Hash = Hash([1; 32]);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }
    fn subject(seed: u8) -> Hash {
        Hash(key(seed).public().0)
    }
    fn block(height: u64) -> (Vec<SignedTx>, Vec<Event>) {
        let (from, to) = (key(height as u8 % 3 + 1), key(9).public());
        let action = Action::Transfer(Transfer { to, amount: 5 });
        let fee_from = FeeSource::default();
        let tx = Tx { network: NETWORK, sender: from.public(), nonce: height, fee: 1, fee_from, action };
        let events = vec![
            event::FeePaid { payer: from.public(), amount: 1 }.into(),
            event::Transferred { from: from.public(), to, amount: 5 }.into(),
        ];
        (vec![SignedTx::sign(&from, tx)], events)
    }
    fn filled(dir: &Path, to: u64) -> EventIndex {
        let mut index = EventIndex::open(dir, NETWORK).unwrap();
        for height in index.next()..=to {
            let (txs, events) = block(height);
            index.append(height, &txs, &events).unwrap();
        }
        index
    }
    fn place(height: u64, tx: bool, at: u32) -> Place {
        Place { height, tx, at }
    }

    #[test]
    fn every_name_is_found_where_it_stands_and_pages_go_on() {
        let home = tempfile::tempdir().unwrap();
        let mut index = filled(home.path(), 7);
        let found = index.places(&subject(1), 0, 0).unwrap();
        let expected: Vec<Place> = [3, 6]
            .iter()
            .flat_map(|h| [place(*h, false, 0), place(*h, false, 1), place(*h, true, 0)])
            .collect();
        assert_eq!((found.first, found.last, found.more), (1, 7, false));
        assert_eq!(found.places.to_vec(), expected);
        assert_eq!(index.places(&subject(1), 3, 2).unwrap().places.to_vec(), expected[2..]);
        assert_eq!(
            index.places(&subject(1), 4, 2).unwrap().places.to_vec(),
            expected[3..],
            "skips only at 4"
        );
        assert!(
            index.places(&NETWORK, 0, 0).unwrap().places.is_empty(),
            "the network is in every transaction"
        );
        let (txs, events) = block(5);
        assert_eq!(index.height_of(&txs[0].id()).unwrap(), Some(5));
        assert_eq!(index.events(5).unwrap(), Some(events));
        assert_eq!((index.events(0).unwrap(), index.events(8).unwrap()), (None, None));
        let stranger = PublicKey([200; 32]);
        assert_eq!(index.height_of(&Hash(stranger.0)).unwrap(), None);
        assert!(matches!(index.append(9, &[], &[]), Err(IndexError::Gap { expected: 8, got: 9 })));
        let index = index.begun_at(40).unwrap();
        assert_eq!((index.first(), index.next()), (40, 40));
        assert!(index.places(&subject(1), 0, 0).unwrap().places.is_empty());
    }

    #[test]
    fn a_crash_between_any_two_writes_loses_only_the_last_block() {
        let home = tempfile::tempdir().unwrap();
        drop(filled(home.path(), 6));
        let names = |dir: &Path| -> Vec<PathBuf> {
            fs::read_dir(dir.join("names")).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        // `heights` is written last: without its entry, everything else of the block must go.
        let heights = OpenOptions::new().write(true).open(home.path().join("heights")).unwrap();
        heights.set_len(HEAD + 5 * HEIGHT_ENTRY + 3).unwrap();
        for path in names(home.path()) {
            OpenOptions::new().append(true).open(path).unwrap().write_all(&[7; 5]).unwrap();
        }
        let again = filled(home.path(), 6);
        let other = tempfile::tempdir().unwrap();
        let straight = filled(other.path(), 6);
        for name in [1, 2, 3, 9] {
            let places = |index: &EventIndex| index.places(&subject(name), 0, 0).unwrap();
            assert_eq!(places(&again), places(&straight));
        }
        for height in 1..=6 {
            assert_eq!(again.events(height).unwrap(), straight.events(height).unwrap());
        }
    }

    #[test]
    fn damage_is_named_and_never_served() {
        let home = tempfile::tempdir().unwrap();
        drop(filled(home.path(), 3));
        let log = home.path().join("log");
        let mut bytes = fs::read(&log).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&log, &bytes).unwrap();
        let index = EventIndex::open(home.path(), NETWORK).unwrap();
        let error = index.events(3).unwrap_err().to_string();
        assert!(error.contains("not those that were written"), "{error}");
        fs::write(&log, &bytes[..last]).unwrap();
        let error = EventIndex::open(home.path(), NETWORK).unwrap_err().to_string();
        assert!(error.contains("bytes of events"), "{error}");
        assert!(EventIndex::open(home.path(), Hash([2; 32])).is_err(), "the index of another network");
    }
}
