//! Play both roles of the ledger's game from an [`Account`] of the unit: from a dispute as the ledger shows it to the
//! next message.
//!
//! ```text
//! accused:    Commit -> the children of this level, from its own account
//!             Prove  -> the proof of the last step
//! challenger: Name   -> the first child that is not in its own account; if none is, the first: the level's shape
//!                       is then false, and the referee sees it
//! ```
//! A player keeps nothing between messages: what was named is read from the ledger's cells, and what the accused
//! committed to from its transaction. Both sides hold the same inputs. Who opens a dispute, pays bonds and watches
//! deadlines is the node's business.

use crate::{
    account::{Account, AccountError},
    claim::UnitClaim,
    last::{LastError, Need, compute},
    program::{Made, Origin},
    proof::{
        Beside, Beyond, Body, Claimed, CopyOf, Grid, OfWeights, Operand, Place, Proof, Results, Steps, Told,
    },
    walk::{Walk, element},
};
use tessera_arith::trace::Operation;
use tessera_canon::{
    Blob, Hash, List, MerkleTree, encode,
    tree::{CHUNK, FAN},
};
use tessera_ledger::{
    TxError,
    action::{Child, Commit, NameChild, Prove, Step},
    record::{Dispute, DisputeLevel, DisputePhase},
    trust::{
        game::{leaf, unpack},
        kind::{Kind, Level, Shape},
    },
};
use tessera_model::RunSpec;

/// Why no message can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("what the accused committed to is not a level of the game: {0}")]
    Commitment(#[from] TxError),
    #[error("the game has no level {got} below what was named")]
    Level { got: usize },
    #[error("the proof has {got} bytes, {most} are allowed: units of this run do not fit the game")]
    Proof { got: usize, most: usize },
    #[error("{0}")]
    Step(String),
}

impl From<LastError> for PlayError {
    fn from(error: LastError) -> Self {
        Self::Step(error.to_string())
    }
}

/// A level as somebody tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub head: Option<Hash>,
    pub children: Vec<Hash>,
}

/// What was named on each level, from the top.
pub fn path(dispute: &Dispute, levels: &[DisputeLevel]) -> Vec<usize> {
    let count = usize::from(dispute.level) + usize::from(dispute.phase == DisputePhase::Prove);
    let mut path: Vec<(u8, usize)> = levels.iter().map(|level| (level.level, level.index.into())).collect();
    path.sort_unstable();
    path.into_iter().take(count).map(|(_, index)| index).collect()
}

fn level_at(depth: usize) -> Result<Level, PlayError> {
    Kind::Dot.levels().get(depth).copied().ok_or(PlayError::Level { got: depth })
}

fn small(word: u32) -> Hash {
    let mut full = [0; 32];
    full[..4].copy_from_slice(&word.to_le_bytes());
    Hash(full)
}

/// The level below what `path` names, as `account` tells it.
pub fn level(account: &mut Account, path: &[usize]) -> Result<Telling, PlayError> {
    let shape = level_at(path.len())?.shape;
    let none = || PlayError::Level { got: path.len() };
    let program = &account.material.program;
    let entry = match path {
        [part, at, ..] => {
            let range = program.parts.get(*part).cloned().ok_or_else(none)?;
            range.clone().nth(*at).ok_or_else(none)?
        }
        _ => 0,
    };
    let group = |path: &[usize]| path.iter().skip(2).fold(0, |group, at| group * FAN + at);
    let part_of = |all: &[Hash], group: usize| all.chunks(FAN).nth(group).map(<[Hash]>::to_vec);
    Ok(match shape {
        Shape::Trace => Telling { head: None, children: account.trace()? },
        Shape::Part => {
            let part = *path.first().ok_or_else(none)?;
            if part >= program.parts.len() {
                return Err(none());
            }
            Telling { head: Some(small(program.mask(part))), children: account.part(part)? }
        }
        Shape::Tensor => {
            let tree = account.tree(entry)?;
            Telling { head: Some(tree.head()), children: tree.level(2).to_vec() }
        }
        Shape::Node => {
            let (tree, group) = (account.tree(entry)?, group(path));
            let below = if path.len() == 3 { 1 } else { 0 };
            Telling { head: None, children: part_of(tree.level(below), group).ok_or_else(none)? }
        }
        Shape::Chunk => {
            let bytes = account.entry(entry)?.values().chunk(group(path));
            let words = bytes.as_chunks::<4>().0.iter().map(|bytes| small(u32::from_le_bytes(*bytes)));
            let children: Vec<Hash> = words.collect();
            if children.is_empty() {
                return Err(none());
            }
            Telling { head: None, children }
        }
        Shape::Points => {
            let (chunk, word) = (group(&path[..5]), path[5]);
            let width = program.entries[entry].kind.width();
            let (index, half) = element(width, chunk, word);
            let bits = account.entry(entry)?.values().bits(index).ok_or_else(none)?;
            let said = (bits >> (32 * half)) as u32;
            let mut words = if half == 1 { vec![said] } else { account.points(entry, index)? };
            // The last point is the element as it was told.
            if let Some(last) = words.last_mut() {
                *last = said;
            }
            Telling { head: None, children: words.into_iter().map(small).collect() }
        }
    })
}

/// The accused's commitment to a level.
pub fn commit(told: &Telling, depth: usize) -> Result<Commit, PlayError> {
    let width = usize::from(level_at(depth)?.width);
    let bytes: Vec<u8> = told.children.iter().flat_map(|child| child.0[..width].iter().copied()).collect();
    let got = bytes.len();
    let children = Blob::new(bytes).map_err(|error| PlayError::Proof { got, most: error.max })?;
    Ok(Commit { head: told.head, children })
}

/// The challenger's choice of child `at` among those that were committed to.
pub fn name(committed: &[Hash], at: usize) -> Result<NameChild, PlayError> {
    let tree = MerkleTree::new(committed.iter().map(leaf).collect());
    let child = |at: usize| -> Option<Child> {
        Some(Child { value: *committed.get(at)?, path: tree.path(at as u64)? })
    };
    let none = PlayError::Level { got: at };
    let before = at.checked_sub(1).map(child);
    Ok(NameChild { child: child(at).ok_or(none)?, before: before.flatten() })
}

/// The children in a commitment on a level.
pub fn committed(commit: &Commit, depth: usize) -> Result<Vec<Hash>, PlayError> {
    Ok(unpack(&level_at(depth)?, &commit.children)?)
}

/// The challenger's next message, below what `path` names.
pub fn challenge(account: &mut Account, path: &[usize], commit: &Commit) -> Result<NameChild, PlayError> {
    let said = committed(commit, path.len())?;
    // Where the accused's levels have another shape, there may be nothing to compare with.
    let mine = level(account, path).map(|told| told.children).unwrap_or_default();
    let first = said.iter().enumerate().position(|(at, child)| mine.get(at) != Some(child));
    name(&said, first.unwrap_or(0))
}

/// The accused's next message: a level below what `path` names, or the proof.
pub fn answer(account: &mut Account, path: &[usize]) -> Result<Step, PlayError> {
    let named_evidence = path == [account.material.program.parts.len()];
    if path.len() < Kind::Dot.levels().len() && !named_evidence {
        let told = level(account, path)?;
        return Ok(commit(&told, path.len())?.into());
    }
    let claim = account.claim()?;
    let body = if named_evidence { results(account)? } else { last(account, path)? };
    let proof = Proof { spec: spec_bytes(&account.material.spec)?, claim, body };
    Ok(send(&proof)?.into())
}

/// What an accused sends instead of parts where units of the run do not fit the game ([`crate::program`]).
pub fn beyond(spec: &RunSpec, claim: &UnitClaim) -> Result<Step, PlayError> {
    let proof = Proof { spec: spec_bytes(spec)?, claim: claim.clone(), body: Beyond {}.into() };
    Ok(send(&proof)?.into())
}

/// The next message of whoever has the turn, from the dispute as the ledger shows it. `said` is the accused's last
/// commitment, for the challenger. `None` where the turn is neither to commit, to name nor to prove.
pub fn next(
    account: &mut Account,
    dispute: &Dispute,
    levels: &[DisputeLevel],
    said: Option<&Commit>,
) -> Result<Option<Step>, PlayError> {
    let path = path(dispute, levels);
    Ok(match (dispute.phase, said) {
        (DisputePhase::Commit | DisputePhase::Prove, _) => Some(answer(account, &path)?),
        (DisputePhase::Name, Some(said)) => Some(challenge(account, &path, said)?.into()),
        _ => None,
    })
}

fn spec_bytes<const MAX: usize>(spec: &RunSpec) -> Result<Blob<MAX>, PlayError> {
    let bytes = encode(spec);
    let got = bytes.len();
    Blob::new(bytes).map_err(|_| PlayError::Proof { got, most: MAX })
}

fn send(proof: &Proof) -> Result<Prove, PlayError> {
    let bytes = encode(proof);
    let (got, most) = (bytes.len(), Kind::Dot.proof());
    if got > most {
        return Err(PlayError::Proof { got, most });
    }
    let part = Blob::new(bytes).map_err(|error| PlayError::Proof { got, most: error.max })?;
    Ok(Prove { at: 0, part, last: true })
}

fn results(account: &mut Account) -> Result<Body, PlayError> {
    let (trace, from) = (account.trace()?, account.material.program.results_from);
    let mut parts = Vec::new();
    for at in from..trace.len() - 1 {
        parts.push(name(&trace, at)?.child);
    }
    let got = parts.len();
    let parts = List::new(parts).map_err(|error| PlayError::Proof { got, most: error.max })?;
    Ok(Results { parts }.into())
}

/// Where the digest of what `origin` gives stands, when `entry` is in dispute.
fn place(account: &mut Account, origin: Origin, entry: usize) -> Result<Place, PlayError> {
    let material = account.material;
    let program = &material.program;
    let path = |leaves: Vec<Hash>, at: usize| {
        MerkleTree::new(leaves).path(at as u64).ok_or(PlayError::Level { got: at })
    };
    Ok(match origin {
        Origin::Weight(index) => {
            let exponent = material.exponents.get(index).copied().unwrap_or_default();
            OfWeights { exponent, path: path(material.weight_leaves(), index)? }.into()
        }
        Origin::Made(made) => {
            let (from, part) = (program.part_of(made), program.part_of(entry));
            let digests = account.part(from)?;
            let start = program.parts[from].start;
            if from == part {
                let leaves = digests.iter().map(leaf).collect();
                return Ok(Beside { path: path(leaves, made - start)? }.into());
            }
            let mask = program.mask(from);
            let told: Vec<Hash> =
                (0..digests.len()).filter(|at| mask >> at & 1 == 1).map(|at| digests[at]).collect();
            let rank = (mask & ((1 << (made - start)) - 1)).count_ones() as usize;
            let trace = account.trace()?;
            let value = trace[from];
            let part = path(trace.iter().map(leaf).collect(), from)?;
            Told { path: path(told.iter().map(leaf).collect(), rank)?, value, part }.into()
        }
        _ => Claimed {}.into(),
    })
}

/// The proof of the steps between two points.
fn last(account: &mut Account, path: &[usize]) -> Result<Body, PlayError> {
    let none = || PlayError::Level { got: path.len() };
    let [part, at, first, second, third, word, point] = *path else { return Err(none()) };
    let program = &account.material.program;
    let entry = program.parts.get(part).and_then(|range| range.clone().nth(at)).ok_or_else(none)?;
    let (index, half) =
        element(program.entries[entry].kind.width(), (first * FAN + second) * FAN + third, word);
    let nothing = Steps { grid: None, operands: List::default(), earlier: List::default() };
    let step = match program.entries[entry].made {
        Made::Copy(of) => {
            let (digest, place) = (account.digest(of)?, place(account, Origin::Made(of), entry)?);
            return Ok(CopyOf { digest, place }.into());
        }
        Made::By { .. } if half == 1 => return Ok(nothing.into()),
        Made::By { step, .. } => step,
    };
    let words = level(account, &path[..6])?.children;
    // Compute the steps on what the account tells, and remember what they asked for.
    let (mut chunks, mut points): (Vec<(Origin, usize)>, Vec<usize>) = Default::default();
    let walk = Walk::of(program, entry, index).ok_or_else(none)?;
    {
        let mut fetch = |need| match need {
            Need::Point(at) => {
                if at + 1 != point && !points.contains(&at) {
                    points.push(at);
                }
                let word = words.get(at).ok_or_else(|| LastError::Missing(format!("no point {at}")))?;
                Ok(u64::from(u32::from_le_bytes([word.0[0], word.0[1], word.0[2], word.0[3]])))
            }
            Need::Element(origin, index) => {
                let absent = || LastError::Missing(format!("no element {index} of {origin:?}"));
                let width = program.shape_of(origin).ok_or_else(absent)?.0.width();
                let chunk = (origin, index * width / CHUNK);
                if !chunks.contains(&chunk) {
                    chunks.push(chunk);
                }
                account.bits(origin, index).ok_or_else(absent)
            }
        };
        // The accused's own exponents are those of its program.
        compute(program, walk, None, (point, words.len()), &mut fetch)?;
    }
    let mut operands = Vec::new();
    for (origin, chunk) in chunks {
        let place = place(account, origin, entry)?;
        operands.push(Operand { place, opening: account.open(origin, chunk)? });
    }
    let mut earlier = Vec::new();
    for at in points {
        earlier.push(name(&words, at)?.child);
    }
    let grid = match program.steps[step].operation {
        Operation::QuantiseAdd { exponent, .. } => {
            let weight = program.results.dw.iter().position(|dw| *dw == entry).ok_or_else(none)?;
            let tensor = account.material.weight(weight).ok_or_else(none)?;
            let tree = MerkleTree::new(account.material.weight_leaves());
            Some(Grid { exponent, tensor, path: tree.path(weight as u64).ok_or_else(none)? })
        }
        _ => None,
    };
    let long = |got: usize, most: usize| PlayError::Proof { got, most };
    let (count, points) = (operands.len(), earlier.len());
    Ok(Steps {
        grid,
        operands: List::new(operands).map_err(|error| long(count, error.max))?,
        earlier: List::new(earlier).map_err(|error| long(points, error.max))?,
    }
    .into())
}
