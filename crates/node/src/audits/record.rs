//! Name a unit for people, and write down every audit of this seat as a line of JSON.
//!
//! A book has at most [`MOST_BYTES`]; then it becomes `*.old` and a new one is begun, so it cannot fill a disk. A line
//! that a crash cut off is skipped by whoever reads.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};
use tessera_audit::{exchange::Ticket, reexec::UnitDigests};
use tessera_canon::{Hash, decode, encode};
use tessera_swarm::Found;

/// A book that is longer is set aside when the next line is written.
pub const MOST_BYTES: u64 = 16 << 20;

/// A unit by its place: `RUN/STAGE/STEP/UNIT`. After a rollback a step is done again under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName {
    pub run: Hash,
    pub stage: u16,
    pub step: u64,
    /// Its number in the step: which microbatch.
    pub unit: u32,
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.run, self.stage, self.step, self.unit)
    }
}

/// A text is not the name of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a unit as RUN/STAGE/STEP/UNIT, the run as 64 digits and the rest as numbers, got {0:?}")]
pub struct NotAUnit(String);

impl FromStr for UnitName {
    type Err = NotAUnit;
    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let parse = || {
            let mut parts = text.split('/');
            let (run, stage) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let (step, unit) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { run, stage, step, unit })
        };
        parse().ok_or_else(|| NotAUnit(text.chars().take(120).collect()))
    }
}

/// The digests of a unit's tensors, in hexadecimal; zeros where the stage has no such tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Input, output, the output's gradient, the input's gradient, the weights' gradient.
    pub x: String,
    pub y: String,
    pub dy: String,
    pub dx: String,
    pub dw: String,
}

impl From<&UnitDigests> for Digests {
    fn from(digests: &UnitDigests) -> Self {
        let UnitDigests { x, y, dy, dx, dw } = digests;
        let [x, y, dy, dx, dw] = [x, y, dy, dx, dw].map(Hash::to_string);
        Self { x, y, dy, dx, dw }
    }
}

impl Digests {
    /// The names of those that differ.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("x", &self.x, &other.x),
            ("y", &self.y, &other.y),
            ("dy", &self.dy, &other.dy),
            ("dx", &self.dx, &other.dx),
            ("dw", &self.dw, &other.dw),
        ];
        pairs.into_iter().filter(|(_, a, b)| a != b).map(|(name, _, _)| name).collect()
    }
}

/// An audit that this seat carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// [`UnitName`].
    pub unit: String,
    pub window: u32,
    /// Rollbacks of the run before the unit was computed.
    pub generation: u32,
    pub worker: String,
    pub verdict: String,
    /// What this seat computed, and what the worker says.
    pub computed: Option<Digests>,
    pub claimed: Option<Digests>,
    /// That the unit stands below the anchor that the ledger holds: the canonical bytes of a [`Ticket`], hexadecimal.
    pub ticket: String,
}

impl AuditRecord {
    /// The record of what an audit of `unit` found.
    pub fn new(unit: UnitName, worker: String, verdict: &str, found: &Found) -> Self {
        let bytes = encode(&found.ticket);
        Self {
            unit: unit.to_string(),
            window: found.ticket.window,
            generation: found.ticket.header.generation,
            worker,
            verdict: verdict.into(),
            computed: found.mine.as_ref().map(Digests::from),
            claimed: found.told.as_ref().map(Digests::from),
            ticket: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
    /// Which digests differ; none where one side is missing.
    pub fn differing(&self) -> Vec<&'static str> {
        match (&self.computed, &self.claimed) {
            (Some(computed), Some(claimed)) => computed.differing(claimed),
            _ => Vec::new(),
        }
    }
    /// Whether the unit stands below `anchor`, as this record claims.
    pub fn is_anchored(&self, anchor: &Hash) -> bool {
        let stands = || {
            let ticket: Ticket = decode(&from_hex(&self.ticket)?).ok()?;
            let unit = ticket.unit(anchor)?;
            let name: UnitName = self.unit.parse().ok()?;
            Some(
                (unit.run, unit.stage, unit.step) == (name.run, name.stage, name.step)
                    && tessera_swarm::number_of(&unit.label) == name.unit
                    && unit.worker.to_string() == self.worker,
            )
        };
        stands().unwrap_or(false)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The audits of one participant in one run.
#[derive(Clone, Debug)]
pub struct AuditBook(PathBuf);

impl AuditBook {
    /// The book in a run's folder ([`crate::folder::Folder::run_path`]); nothing is written yet.
    pub fn of(run_folder: &Path) -> Self {
        Self(run_folder.join("audits.jsonl"))
    }
    fn old(&self) -> PathBuf {
        self.0.with_extension("jsonl.old")
    }
    /// Add a line.
    pub fn add(&self, record: &AuditRecord) -> io::Result<()> {
        if fs::metadata(&self.0).is_ok_and(|file| file.len() > MOST_BYTES) {
            fs::rename(&self.0, self.old())?;
        }
        let mut line = serde_json::to_string(record).map_err(io::Error::other)?;
        line.push('\n');
        OpenOptions::new().create(true).append(true).open(&self.0)?.write_all(line.as_bytes())
    }
    /// All lines that are still kept, in order; none if there is no book.
    pub fn read(&self) -> io::Result<Vec<AuditRecord>> {
        let mut records = Vec::new();
        for path in [self.old(), self.0.clone()] {
            match fs::read(&path) {
                Ok(bytes) => records.extend(
                    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()),
                ),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(unit: u32) -> AuditRecord {
        let run = Hash([7; 32]);
        AuditRecord {
            unit: UnitName { run, stage: 1, step: 2, unit }.to_string(),
            window: 0,
            generation: 0,
            worker: "ab".into(),
            verdict: "match".into(),
            computed: None,
            claimed: None,
            ticket: "00".into(),
        }
    }

    #[test]
    fn a_units_name_reads_back_and_nothing_else_is_one() {
        let name = UnitName { run: Hash([7; 32]), stage: 1, step: 20, unit: 3 };
        assert_eq!(name.to_string().parse(), Ok(name));
        let run = name.run;
        for wrong in ["", "1/2/3", &format!("{run}/1/2"), &format!("{run}/1/2/3/4"), &format!("{run}/1/-2/3")]
        {
            assert!(wrong.parse::<UnitName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_kept_in_order_and_a_torn_one_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let book = AuditBook::of(folder.path());
        assert_eq!(book.read().unwrap(), vec![]);
        book.add(&record(0)).unwrap();
        OpenOptions::new().append(true).open(&book.0).unwrap().write_all(b"{\"unit\":\n").unwrap();
        book.add(&record(1)).unwrap();
        assert_eq!(book.read().unwrap(), vec![record(0), record(1)]);
    }

    #[test]
    fn a_full_book_is_set_aside_and_both_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let book = AuditBook::of(folder.path());
        book.add(&record(0)).unwrap();
        let file = OpenOptions::new().write(true).open(&book.0).unwrap();
        file.set_len(MOST_BYTES + 1).unwrap();
        book.add(&record(1)).unwrap();
        assert_eq!(fs::read_to_string(&book.0).unwrap().lines().count(), 1);
        assert_eq!(book.read().unwrap().last(), Some(&record(1)));
    }

    #[test]
    fn digests_that_differ_are_named_and_a_ticket_that_is_none_proves_nothing() {
        let digests =
            |y: &str| Digests { x: "1".into(), y: y.into(), dy: "3".into(), dx: "4".into(), dw: "5".into() };
        assert_eq!(digests("2").differing(&digests("9")), vec!["y"]);
        assert!(digests("2").differing(&digests("2")).is_empty());
        assert!(!record(0).is_anchored(&Hash([7; 32])));
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("0aff"), Some(vec![10, 255]));
    }
}
