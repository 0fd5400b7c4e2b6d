//! Narrow a dispute level by level to one step, and hand that to the referee (`verify` section 11.6).
//!
//! ```text
//! accused:    children of this level, bound to the value above         (a level's root is kept, not its children)
//! challenger: the first child that is false, with the one before it    (both with paths to that root)
//! ...         until the kind's last level, or until the evidence itself is named
//! accused:    the proof of the last step                               -> Referee::judge
//! ```
//! Why it is just: the value above is false in the challenger's eyes and bound to the children, so one of them must
//! be false; what an honest accused says is true, so an untruth named by the challenger does not survive the last
//! step. One honest party wins against everybody else.

use crate::{
    action::{Child, Commit, MAX_PROOF_PART, NameChild, Prove},
    error::TxError,
    keys,
    record::{Dispute, DisputeLevel, DisputePhase, DisputeProof, PROOF_CELL, Verdict},
    store::{Stop, View},
    trust::{
        kind::{Level, Shape},
        referee::{FinalStep, Judgement, LevelStep},
    },
};
use tessera_canon::{Blob, Domain, Hash, digest, merkle_root, tree};

const CHILD: Domain = Domain::new("tessera/ledger/dispute-child/v1");

/// The leaf of a child in its level's tree.
pub fn leaf(child: &Hash) -> Hash {
    digest(CHILD, child)
}

/// The children in a message, each filled up to 32 bytes.
pub fn unpack(level: &Level, bytes: &[u8]) -> Result<Vec<Hash>, TxError> {
    let width = usize::from(level.width);
    let most = usize::from(level.arity) * width;
    if bytes.is_empty() || bytes.len() > most || !bytes.len().is_multiple_of(width) {
        return Err(TxError::Parameter {
            what: "bytes of children",
            expected: format!("a multiple of {width} up to {most}, not 0"),
            got: bytes.len().to_string(),
        });
    }
    let fill = |child: &[u8]| {
        let mut full = [0; 32];
        full[..child.len()].copy_from_slice(child);
        Hash(full)
    };
    Ok(bytes.chunks(width).map(fill).collect())
}

/// The value of a part whose told children are those with bits set in `mask`; `None` if it has others.
pub fn part_value(children: &[Hash], mask: u32) -> Option<Hash> {
    if children.len() < 32 && mask >> children.len() != 0 {
        return None;
    }
    let told = children.iter().enumerate().filter(|(at, _)| mask >> (at % 32) & 1 == 1);
    Some(merkle_root(told.map(|(_, child)| leaf(child)).collect()))
}

/// The number of the chunk that the levels of a tensor above the present one named.
fn chunk_of(view: &View<'_>, dispute: &Dispute) -> Result<u32, Stop> {
    let levels = dispute.kind.map(|kind| kind.levels()).unwrap_or_default();
    let mut chunk = 0u32;
    for (at, level) in (0..dispute.level).zip(levels) {
        if matches!(level.shape, Shape::Tensor | Shape::Node) {
            let cell: DisputeLevel =
                view.must(&keys::dispute_level(&dispute.id, at), "level of the dispute", at)?;
            chunk = chunk * tree::FAN as u32 + u32::from(cell.index);
        }
    }
    Ok(chunk)
}

fn level_of(dispute: &Dispute) -> Result<Level, Stop> {
    let levels = dispute.kind.map(|kind| kind.levels()).unwrap_or_default();
    let none = || TxError::Unknown { what: "level of the dispute", id: dispute.level.to_string() };
    Ok(*levels.get(usize::from(dispute.level)).ok_or_else(none)?)
}

pub(crate) fn commit(view: &mut View<'_>, dispute: &mut Dispute, action: &Commit) -> Result<(), Stop> {
    let level = level_of(dispute)?;
    if level.shape == Shape::Chunk {
        let above = (0..dispute.level).map(|at| keys::dispute_level(&dispute.id, at));
        view.want(above)?;
    }
    let children = unpack(&level, &action.children)?;
    let target = match dispute.level.checked_sub(1) {
        None => dispute.evidence,
        Some(above) => {
            let above: DisputeLevel =
                view.must(&keys::dispute_level(&dispute.id, above), "level of the dispute", above)?;
            above.child
        }
    };
    let root = merkle_root(children.iter().map(leaf).collect());
    let wrong = |detail| Stop::from(TxError::Child { level: dispute.level, detail });
    let head = match (level.shape.has_head(), action.head) {
        (true, Some(head)) => head,
        (false, None) => Hash::ZERO,
        (true, None) => return Err(wrong("the head of the children is missing")),
        (false, Some(_)) => return Err(wrong("the children have no head")),
    };
    let bound = match level.shape {
        Shape::Trace | Shape::Points => children.last() == Some(&target),
        Shape::Part => {
            let mask = u32::from_le_bytes([head.0[0], head.0[1], head.0[2], head.0[3]]);
            part_value(&children, mask) == Some(target)
        }
        Shape::Tensor => tree::join(&children).map(|top| tree::bind(&head, &top)) == Some(target),
        Shape::Node => tree::join(&children) == Some(target),
        Shape::Chunk => tree::chunk_value(chunk_of(view, dispute)?, &action.children) == Some(target),
    };
    if !bound {
        return Err(wrong("the children do not give the value above them"));
    }
    view.put(
        keys::dispute_level(&dispute.id, dispute.level),
        DisputeLevel {
            dispute: dispute.id,
            level: dispute.level,
            head,
            root,
            count: children.len() as u16,
            index: 0,
            child: Hash::ZERO,
            before: None,
        },
    );
    dispute.phase = DisputePhase::Name;
    Ok(())
}

pub(crate) fn name(view: &mut View<'_>, dispute: &mut Dispute, action: &NameChild) -> Result<(), Stop> {
    let at = dispute.level;
    let key = keys::dispute_level(&dispute.id, at);
    let mut level: DisputeLevel = view.must(&key, "level of the dispute", at)?;
    let wrong = |detail| Stop::from(TxError::Child { level: at, detail });
    let stands = |child: &Child, index: u64| {
        child.path.index == index
            && child.path.count == u64::from(level.count)
            && child.path.verify(leaf(&child.value), &level.root)
    };
    let index = action.child.path.index;
    if !stands(&action.child, index) {
        return Err(wrong("the child is not one that was committed"));
    }
    match (&action.before, index.checked_sub(1)) {
        (None, None) => {}
        (Some(before), Some(place)) if stands(before, place) => {}
        (None, Some(_)) => return Err(wrong("the child before the named one is missing")),
        (Some(_), _) => return Err(wrong("the child before the named one is another")),
    }
    level.index = index as u16;
    level.child = action.child.value;
    level.before = action.before.as_ref().map(|before| before.value);
    let count = u64::from(level.count);
    view.put(key, level);
    let shapes = dispute.kind.map(|kind| kind.levels()).unwrap_or_default();
    let ends =
        index + 1 == count && shapes.get(usize::from(at)).is_some_and(|level| level.shape == Shape::Trace);
    if usize::from(at) + 1 < shapes.len() && !ends {
        dispute.level += 1;
        dispute.phase = DisputePhase::Commit;
    } else {
        dispute.phase = DisputePhase::Prove;
    }
    Ok(())
}

/// Keep a part of the proof; with the last one, judge. Returns the verdict then. Before the first level the proof is
/// that nothing can be narrowed.
pub(crate) fn prove(
    view: &mut View<'_>,
    dispute: &mut Dispute,
    action: &Prove,
) -> Result<Option<Verdict>, Stop> {
    let Some(kind) = dispute.kind else {
        return Err(TxError::Unknown { what: "kind of the dispute", id: dispute.id.to_string() }.into());
    };
    if action.at == 0 {
        forget_proof(view, dispute);
        dispute.proof = 0;
    }
    let (have, part) = (usize::from(dispute.proof), &action.part[..]);
    let parts = have / MAX_PROOF_PART;
    let whole = action.last || part.len() == MAX_PROOF_PART;
    if usize::from(action.at) != parts || !whole || have + part.len() > kind.proof() {
        return Err(TxError::Parameter {
            what: "part of the proof",
            expected: format!(
                "number {parts}, full unless it is the last, {} bytes in all at most",
                kind.proof()
            ),
            got: format!("number {}, {} bytes after {have}", action.at, part.len()),
        }
        .into());
    }
    if !action.last {
        for (at, bytes) in (0u16..).zip(part.chunks(PROOF_CELL)) {
            let at = (have / PROOF_CELL) as u16 + at;
            let bytes = Blob::new(bytes.to_vec()).unwrap_or_default();
            view.put(keys::dispute_proof(&dispute.id, at), DisputeProof { dispute: dispute.id, at, bytes });
        }
        dispute.proof += part.len() as u16;
        return Ok(None);
    }
    let cells = (have / PROOF_CELL) as u16;
    view.want((0..cells).map(|at| keys::dispute_proof(&dispute.id, at)))?;
    let mut proof = Vec::with_capacity(have + part.len());
    for at in 0..cells {
        let cell: DisputeProof = view.must(&keys::dispute_proof(&dispute.id, at), "part of the proof", at)?;
        proof.extend_from_slice(&cell.bytes);
    }
    proof.extend_from_slice(part);
    // None before the first level was committed to.
    let count = dispute.level + u8::from(dispute.phase == DisputePhase::Prove);
    view.want((0..count).map(|at| keys::dispute_level(&dispute.id, at)))?;
    let mut levels = Vec::new();
    for (at, level) in (0..count).zip(kind.levels()) {
        let cell: DisputeLevel =
            view.must(&keys::dispute_level(&dispute.id, at), "level of the dispute", at)?;
        levels.push(LevelStep {
            shape: level.shape,
            head: cell.head,
            root: cell.root,
            count: cell.count,
            index: cell.index,
            child: cell.child,
            before: cell.before,
        });
    }
    let step = FinalStep {
        kind,
        run: dispute.run,
        window: dispute.window,
        stage: dispute.stage,
        accused: dispute.accused,
        evidence: dispute.evidence,
        levels,
        proof,
    };
    let judgement =
        view.referee.judge(&step).map_err(|error| TxError::Referee { reason: error.to_string() })?;
    Ok(Some(match judgement {
        Judgement::Innocent => Verdict::Innocent,
        Judgement::HonestError => Verdict::HonestError,
        Judgement::Mismatch => Verdict::Mismatch,
        Judgement::Fraud => Verdict::Fraud,
    }))
}

fn forget_proof(view: &mut View<'_>, dispute: &Dispute) {
    for at in 0..(usize::from(dispute.proof) / PROOF_CELL) as u16 {
        view.delete(keys::dispute_proof(&dispute.id, at));
    }
}

/// Remove what a game kept.
pub(crate) fn forget(view: &mut View<'_>, dispute: &Dispute) {
    forget_proof(view, dispute);
    if dispute.kind.is_some() && dispute.phase != DisputePhase::Weigh {
        // The present level has a cell once it was committed to.
        let count = dispute.level + u8::from(dispute.phase != DisputePhase::Commit);
        for at in 0..count {
            view.delete(keys::dispute_level(&dispute.id, at));
        }
    }
}
