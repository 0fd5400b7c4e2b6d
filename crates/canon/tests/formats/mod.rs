//! Make specimens of whatever can be decoded, and compare them with a committed table, so that no byte of a format
//! changes unseen. Used by the tests of every crate that declares formats.
//!
//! A specimen is not written by hand, so none can be forgotten: it is what the decoder itself accepts. A choice is
//! tried with all 256 tags. Then every byte that can be anything gets a value of its own, and what is hashed is the
//! bytes with the fields read from them, so that fields that change places, sizes or the order of their bytes are
//! noticed. Bytes that choose something (tags, options, flags, lengths) are tried with all values, and one more
//! specimen is kept for each part of the type that none showed before.
//!
//! It does not check that decoders refuse what they should: tests of bad input and fuzzing do.
#![allow(dead_code, unreachable_pub)] // each test uses its own part

use std::{collections::BTreeSet, fmt::Write as _, path::Path};
use tessera_canon::{
    Describe, Described, Domain, Hash,
    bytes::{Buf as _, Bytes},
    codec::{Encode, Error, Read},
    decode, digest_parts, encode, hex, unhex,
};

const SPECIMENS: Domain = Domain::new("tessera/test/specimens/v1");
/// More bytes than a decoder asks for when every length is small.
const PADDING: usize = 4096;
/// Set to rewrite the committed tables.
const REWRITE: &str = "TESSERA_REWRITE";

/// The value at the beginning of `start`, followed by as many bytes `pad` as it takes, and its length.
fn complete<T: Read<Cfg = ()>>(start: &[u8], pad: u8) -> Result<(T, usize), Error> {
    let mut bytes = start.to_vec();
    bytes.resize(start.len() + PADDING, pad);
    let whole = bytes.len();
    let mut rest = Bytes::from(bytes);
    let value = T::read_cfg(&mut rest, &())?;
    Ok((value, whole - rest.remaining()))
}

/// What a value shows of its type: chosen variants, present options, flags, filled lists.
fn shown(at: &str, described: &Described, found: &mut BTreeSet<String>) {
    match described {
        Described::None => drop(found.insert(format!("{at} none"))),
        Described::Bool(value) => drop(found.insert(format!("{at} {value}"))),
        // The name of a tag; free text of a specimen does not look like one.
        Described::Text(text) if text.len() > 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) => {
            found.insert(format!("{at} {text}"));
        }
        Described::List(items) => {
            found.insert(format!("{at} {}", if items.is_empty() { "empty" } else { "filled" }));
            items.iter().for_each(|item| shown(&format!("{at}[]"), item, found));
        }
        Described::Record(fields) => {
            fields.iter().for_each(|(name, value)| shown(&format!("{at}.{name}"), value, found));
        }
        Described::Choice(name, inner) => {
            found.insert(format!("{at} {name}"));
            shown(&format!("{at}/{name}"), inner, found);
        }
        _ => {}
    }
}
fn parts<T: Describe>(value: &T) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    shown("", &value.describe(), &mut found);
    found
}

/// Fields and their forms, for people.
fn layout(described: &Described) -> String {
    match described {
        Described::None => "none".into(),
        Described::Bool(_) => "bool".into(),
        Described::Small(_) | Described::Large(_) => "int".into(),
        Described::Text(text) if text.len() > 1 => "tag".into(),
        Described::Text(_) => "text".into(),
        Described::Hash(_) => "hash".into(),
        Described::Key(_) => "key".into(),
        Described::Bytes(bytes) if bytes.len() == 1 => "bytes".into(),
        Described::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Described::List(items) => format!("[{}]", items.first().map(layout).unwrap_or_default()),
        Described::Record(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} {}", layout(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Described::Choice(name, inner) => format!("{name}{}", layout(inner)),
    }
}

/// Fields and their values.
fn values(described: &Described) -> String {
    match described {
        Described::None => "none".into(),
        Described::Bool(value) => value.to_string(),
        Described::Small(value) => value.to_string(),
        Described::Large(value) => value.to_string(),
        Described::Text(text) => format!("{text:?}"),
        Described::Hash(hash) => hash.to_string(),
        Described::Key(key) => key.to_string(),
        Described::Bytes(bytes) => hex(bytes),
        Described::List(items) => format!("[{}]", items.iter().map(values).collect::<Vec<_>>().join(", ")),
        Described::Record(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} {}", values(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Described::Choice(name, inner) => format!("{name}{}", values(inner)),
    }
}

/// A value of its own for byte `at`; below 128, so that it is text as well.
fn own(at: usize) -> u8 {
    (at * 37 % 125 + 2) as u8
}

/// Encodings of values that begin with `start` and together show every part of the type; none if nothing begins so.
fn specimens<T: Read<Cfg = ()> + Encode + Describe>(start: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let first = [1, 0, 2].map(|pad| complete::<T>(start, pad).map(|(value, _)| value));
    let [one, zero, two] = first;
    let first = one.or(zero).or(two)?;
    let (mut seen, mut kept) = (BTreeSet::new(), Vec::new());
    let mut waiting = vec![(encode(&first).to_vec(), start.len())];
    while let Some((mut bytes, from)) = waiting.pop() {
        let value: T = decode(&bytes).expect("it was encoded a moment before");
        let looks = parts(&value);
        if !kept.is_empty() && looks.iter().all(|part| seen.contains(part)) {
            continue;
        }
        seen.extend(looks.iter().cloned());
        let mut choosing = Vec::new();
        for at in from..bytes.len() {
            let before = std::mem::replace(&mut bytes[at], own(at));
            let free = decode::<T>(&bytes).is_ok_and(|other| parts(&other) == looks);
            if !free {
                bytes[at] = before;
                choosing.push(at);
            }
        }
        for at in choosing {
            for value in 0..=255 {
                let start = [&bytes[..at], &[value]].concat();
                for pad in [1, 0] {
                    let Ok((other, _)) = complete::<T>(&start, pad) else { continue };
                    if !parts(&other).is_subset(&seen) {
                        waiting.push((encode(&other).to_vec(), at + 1));
                    }
                }
            }
        }
        kept.push(bytes);
    }
    for bytes in &kept {
        let value: T = decode(bytes).expect("a specimen decodes");
        assert_eq!(&encode(&value)[..], &bytes[..], "one encoding per value");
    }
    Ok(kept)
}

/// The formats of a crate, to compare with its committed tables.
#[derive(Default)]
pub struct Table {
    formats: String,
    bytes: String,
    names: BTreeSet<String>,
}

impl Table {
    fn row<T: Read<Cfg = ()> + Describe>(&mut self, name: &str, specimens: &[Vec<u8>]) {
        assert!(self.names.insert(name.into()), "{name} stands twice in the table");
        let described: Vec<Described> = specimens
            .iter()
            .map(|bytes| decode::<T>(bytes).expect("a specimen decodes").describe())
            .collect();
        let shown: Vec<String> = specimens
            .iter()
            .zip(&described)
            .map(|(bytes, described)| format!("{} {}\n", hex(bytes), values(described)))
            .collect();
        let hash = digest_parts(SPECIMENS, shown.iter().map(String::as_bytes));
        let (count, size, layout) = (specimens.len(), specimens[0].len(), layout(&described[0]));
        writeln!(self.formats, "{name} {hash} {count} x {size} {layout}").expect("memory takes text");
        write!(self.bytes, "{name} {}", shown[0]).expect("memory takes text");
    }
    /// A type of one form.
    pub fn add<T: Read<Cfg = ()> + Encode + Describe>(&mut self, name: &str) {
        let found = specimens::<T>(&[]).unwrap_or_else(|error| panic!("no specimen of {name}: {error}"));
        self.row::<T>(name, &found);
    }
    /// Every variant of a choice.
    pub fn choice<T: Read<Cfg = ()> + Encode + Describe>(&mut self, name: &str) {
        for tag in 0..=255u8 {
            match specimens::<T>(&[tag]) {
                Ok(found) => {
                    let value: T = decode(&found[0]).expect("a specimen decodes");
                    let described = value.describe();
                    let Described::Choice(variant, _) = &described else { panic!("{name} is no choice") };
                    self.row::<T>(&format!("{name}.{tag}.{variant}"), &found);
                }
                Err(Error::InvalidEnum(other)) if other == tag => {}
                Err(error) => panic!("no specimen of {name} with tag {tag}: {error}"),
            }
        }
    }
    /// A value that no decoder would make of such bytes: one with signatures or points of a curve.
    pub fn value<T: Read<Cfg = ()> + Encode + Describe>(&mut self, name: &str, value: &T) {
        let bytes = encode(value).to_vec();
        let again: T = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(encode(&again), bytes, "one encoding per value");
        self.row::<T>(name, &[bytes]);
    }
    /// A value that cannot be looked into.
    pub fn opaque<T: Read<Cfg = ()> + Encode>(&mut self, name: &str, value: &T) {
        assert!(self.names.insert(name.into()), "{name} stands twice in the table");
        let bytes = encode(value);
        let again: T = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(encode(&again), bytes, "one encoding per value");
        let hash = digest_parts(SPECIMENS, [&bytes[..]]);
        writeln!(self.formats, "{name} {hash} 1 x {}", bytes.len()).expect("memory takes text");
        writeln!(self.bytes, "{name} {}", hex(&bytes)).expect("memory takes text");
    }
    /// A hash that follows from a format and its domain.
    pub fn hash(&mut self, name: &str, hash: &Hash) {
        assert!(self.names.insert(name.into()), "{name} stands twice in the table");
        writeln!(self.formats, "{name} {hash}").expect("memory takes text");
    }
    /// The two tables so far.
    pub fn rows(self) -> (String, String) {
        (self.formats, self.bytes)
    }
    /// Compare with `formats.txt` and `specimens.txt` in `folder`, or rewrite them if `TESSERA_REWRITE` is set.
    pub fn check(self, folder: &Path) {
        let head = "# Name, hash of its specimens, their number and the first one's bytes, its fields.\n";
        compare(&folder.join("formats.txt"), &format!("{head}{}", self.formats));
        let head =
            "# Name, canonical encoding, its fields: what another implementation must decode and encode.\n";
        compare(&folder.join("specimens.txt"), &format!("{head}{}", self.bytes));
    }
}

/// Whether a choice has no variant `tag`.
pub fn unknown<T: Read<Cfg = ()>>(tag: u8) -> bool {
    // Nothing follows the tag: a variant asks for more, unless it is empty and decodes.
    matches!(T::read_cfg(&mut Bytes::from(vec![tag]), &()), Err(Error::InvalidEnum(other)) if other == tag)
}

/// The committed specimen `name` in `folder`.
pub fn committed(folder: &Path, name: &str) -> Vec<u8> {
    let file = folder.join("specimens.txt");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
    let line = text.lines().find(of).unwrap_or_else(|| panic!("{name} is not in {}", file.display()));
    let digits = line[name.len() + 1..].split(' ').next().unwrap_or_default();
    unhex(digits).unwrap_or_else(|| panic!("{name} in {}: no hexadecimal digits", file.display()))
}

/// Compare `now` with the committed file, line by line, or rewrite it.
pub fn compare(file: &Path, now: &str) {
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(file, now).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (committed.lines().collect(), now.lines().collect());
    let gone: Vec<&str> = old.difference(&new).copied().collect();
    let came: Vec<&str> = new.difference(&old).copied().collect();
    assert!(
        committed == now,
        "{} is not what this program does.\ncommitted: {gone:#?}\nnow: {came:#?}\n\
         If the change is meant, run the test again with {REWRITE}=1 and commit the file: networks and peers that \
         exist cannot follow it.",
        file.display()
    );
}
