//! Judge the last step of a game: the referee that every validator of a network runs.
//!
//! ```text
//! proof -> run spec (its hash is the run) -> program of the unit    what every level should look like
//!       -> claim (its digest is the evidence)                       inputs and results of the unit
//!       -> chunks, each with the place of its tensor's digest in what both sides agreed on
//! a level of another shape than the program's                       -> Mismatch
//! the step, computed from the opened operands, gives another word   -> Mismatch
//! ... in a full chunk of zeros                                      -> Fraud: nothing was computed
//! ```
//! Agreed is what stands before the first false child: earlier parts, earlier tensors of the part, the point before.
//! The accused's own lists bind it, so an accused that is wrong cannot open what would acquit it; and an honest
//! accused's levels are those of the program, and its step gives its word, whatever the challenger named.
//!
//! A proof that is malformed, or opens something else than what was agreed on, is refused; the turn remains the
//! accused's. Time and memory are bounded by [`crate::program`]'s limits. Nothing here is unwrapped.

use crate::{
    claim::{UnitClaim, parts_root, single, weight_leaf},
    last::{LastError, Need, Outcome, compute},
    program::{Made, Origin, Program},
    proof::{Body, CopyOf, Place, Proof, Results, Steps},
    tensor::{self, TensorKind},
    walk::{Walk, element},
};
use tessera_arith::{referee, trace::Operation};
use tessera_canon::{
    Hash, MerklePath, decode, merkle_root,
    tree::{CHUNK, FAN, chunk_count},
};
use tessera_ledger::{
    referee::{FinalStep, Judgement, LevelStep, Referee, RefereeError},
    trust::{game::leaf, kind::Kind},
};
use tessera_model::RunSpec;

/// Judges units of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitReferee;

impl Referee for UnitReferee {
    fn supports(&self, kind: Kind) -> bool {
        kind == Kind::Dot
    }
    fn claim_digest(&self, kind: Kind, claim: &[u8]) -> Result<Hash, RefereeError> {
        if kind != Kind::Dot {
            return Err(RefereeError::Malformed(format!("claims of kind {kind:?} are not opened")));
        }
        let claim: UnitClaim =
            decode(claim).map_err(|error| RefereeError::Malformed(format!("claim: {error}")))?;
        Ok(claim.digest())
    }
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError> {
        let proof: Proof =
            decode(&step.proof).map_err(|error| RefereeError::Malformed(format!("proof: {error}")))?;
        let spec = RunSpec::from_canonical(&proof.spec)
            .map_err(|error| RefereeError::Malformed(format!("run spec: {error}")))?;
        if spec.run_id() != step.run {
            return Err(input("the run spec is another run's"));
        }
        let claim = &proof.claim;
        // Which window the work counts in the accused's statement says: a step that was done again counts in a later one.
        if claim.digest() != step.evidence || claim.run != step.run || claim.stage != step.stage {
            return Err(input("the claim is not the unit in dispute"));
        }
        let tensors = spec.stage_plan(claim.stage).map_or(0, |plan| plan.tensors.len());
        let program = match (Program::new(&spec, claim.stage, &vec![0; tensors]), step.levels.first()) {
            // What cannot be narrowed convicts nobody.
            (Err(_), _) => return Ok(Judgement::Innocent),
            (Ok(_), None) => return Err(input("units of this run can be narrowed: commit to their parts")),
            (Ok(program), Some(_)) => program,
        };
        Case { program, proof: &proof, levels: &step.levels }.judge()
    }
}

fn input(what: &str) -> RefereeError {
    RefereeError::Input(what.into())
}

/// The word of a level's child.
fn word(child: &Hash) -> u32 {
    u32::from_le_bytes([child.0[0], child.0[1], child.0[2], child.0[3]])
}

struct Case<'a> {
    program: Program,
    proof: &'a Proof,
    levels: &'a [LevelStep],
}

impl Case<'_> {
    fn judge(&self) -> Result<Judgement, RefereeError> {
        let program = &self.program;
        let top = &self.levels[0];
        let (count, part) = (usize::from(top.count), usize::from(top.index));
        if count != program.parts.len() + 1 {
            return Ok(Judgement::Mismatch);
        }
        let (Some(range), [_, tensors, tensor, groups, chunks, words, told]) =
            (program.parts.get(part), self.levels)
        else {
            return self.results();
        };
        let entry_at = range.start + usize::from(tensors.index);
        if usize::from(tensors.count) != range.len()
            || tensors.head.0[..4] != program.mask(part).to_le_bytes()
        {
            return Ok(Judgement::Mismatch);
        }
        let Some(entry) = program.entries.get(entry_at) else { return Ok(Judgement::Mismatch) };
        // The tensor's tree has one shape only.
        let (kind, elements) = (entry.kind, entry.dims.iter().product::<usize>());
        let all = chunk_count(elements * kind.width());
        let (first, second) = (usize::from(tensor.index), usize::from(groups.index));
        let group = first * FAN + second;
        let chunk = group * FAN + usize::from(chunks.index);
        let bytes = (elements * kind.width()).saturating_sub(chunk * CHUNK).min(CHUNK);
        let counts = [
            (tensor, all.div_ceil(FAN * FAN)),
            (groups, all.div_ceil(FAN).saturating_sub(first * FAN).min(FAN)),
            (chunks, all.saturating_sub(group * FAN).min(FAN)),
            (words, bytes / 4),
        ];
        let shaped = counts.iter().all(|(level, expected)| usize::from(level.count) == *expected);
        if !shaped || Some(tensor.head) != tensor::head(kind, &entry.dims) {
            return Ok(Judgement::Mismatch);
        }
        let (index, half) = element(kind.width(), chunk, usize::from(words.index));
        if let Made::Copy(of) = entry.made {
            return self.copy(of, entry_at, &tensors.child);
        }
        if half == 1 {
            // Steps of one unit's grid fit 32 bits: the upper half is the sign of the lower, which is agreed.
            let low = words.before.as_ref().map_or(0, word) as i32;
            return Ok(verdict(word(&words.child) == (low >> 31) as u32, Judgement::Mismatch));
        }
        let Body::Steps(steps) = &self.proof.body else { return Err(input("the steps are missing")) };
        let walk = Walk::of(program, entry_at, index).ok_or_else(|| input("no such element"))?;
        let exponent = self.exponent(entry_at, steps)?;
        let mut fetch = |need| self.fetch(need, entry_at, steps, told);
        let place = (usize::from(told.index), usize::from(told.count));
        let right = match compute(program, walk, exponent, place, &mut fetch) {
            Ok(Outcome::Points(_)) => false,
            Ok(Outcome::Word { word: right, number }) => {
                let said = word(&told.child);
                if number { referee::same(right, said) } else { right == said }
            }
            Err(LastError::Arithmetic(error)) => return Err(RefereeError::Input(error.to_string())),
            Err(LastError::Missing(what)) => return Err(RefereeError::Input(what)),
        };
        let economy = kind == TensorKind::Number && zeros(words);
        Ok(verdict(right, if economy { Judgement::Fraud } else { Judgement::Mismatch }))
    }

    /// The evidence itself was named: the parts that copy the results give the claim.
    fn results(&self) -> Result<Judgement, RefereeError> {
        let Body::Results(Results { parts }) = &self.proof.body else {
            return Err(input("the results are missing"));
        };
        let (program, top, claim) = (&self.program, &self.levels[0], &self.proof.claim);
        let from = program.results_from;
        if parts.len() != program.parts.len() - from {
            return Err(input("the results are not all there"));
        }
        for (at, part) in parts.iter().enumerate() {
            if !stands(&part.path, from + at, usize::from(top.count), &part.value, &top.root) {
                return Err(input("a result is not the trace's"));
            }
        }
        let values: Vec<Hash> = parts.iter().map(|part| part.value).collect();
        let mut expected = vec![single(&claim.y)];
        expected.extend(program.results.dx.map(|_| single(&claim.dx)));
        let (outputs, gradients) = values.split_at(expected.len().min(values.len()));
        let no_dx = program.results.dx.is_some() || claim.dx == Hash::ZERO;
        let right = outputs == expected && no_dx && parts_root(gradients) == claim.dw;
        Ok(verdict(right, Judgement::Mismatch))
    }

    /// A copied result: its digest is the original's.
    fn copy(&self, of: usize, entry: usize, said: &Hash) -> Result<Judgement, RefereeError> {
        let Body::CopyOf(CopyOf { digest, place }) = &self.proof.body else {
            return Err(input("the original is missing"));
        };
        if !self.agreed(Origin::Made(of), entry, place, digest) {
            return Err(input("the original is not the trace's"));
        }
        Ok(verdict(digest == said, Judgement::Mismatch))
    }

    /// The exponent of the grid to which a gradient is rounded.
    fn exponent(&self, entry: usize, steps: &Steps) -> Result<Option<i32>, RefereeError> {
        let program = &self.program;
        let Made::By { step, .. } = program.entries[entry].made else { return Ok(None) };
        if !matches!(program.steps[step].operation, Operation::QuantiseAdd { .. }) {
            return Ok(None);
        }
        let weight = program.results.dw.iter().position(|dw| *dw == entry);
        let (Some(weight), Some(grid)) = (weight, &steps.grid) else {
            return Err(input("the exponent of the grid is missing"));
        };
        let hash = weight_leaf(grid.exponent, &grid.tensor);
        let path = &grid.path;
        let there = path.index == weight as u64 && path.count == program.weights.len() as u64;
        if !there || !path.verify(hash, &self.proof.claim.weights) {
            return Err(input("the exponent is not the state's"));
        }
        Ok(Some(grid.exponent))
    }

    /// Whether both sides agreed that the digest of what `origin` gives is `digest`, when `entry` is in dispute.
    fn agreed(&self, origin: Origin, entry: usize, place: &Place, digest: &Hash) -> bool {
        let (program, claim) = (&self.program, &self.proof.claim);
        let part = program.part_of(entry);
        match (origin, place) {
            (Origin::X, Place::Claimed(_)) => claim.x == *digest,
            (Origin::Dy, Place::Claimed(_)) => claim.dy == *digest,
            (Origin::Weight(index), Place::OfWeights(place)) => {
                let there =
                    place.path.index == index as u64 && place.path.count == program.weights.len() as u64;
                there && place.path.verify(weight_leaf(place.exponent, digest), &claim.weights)
            }
            (Origin::Made(made), Place::Beside(place)) if program.part_of(made) == part && made < entry => {
                let range = &program.parts[part];
                let level = self.levels.get(1);
                level.is_some_and(|level| {
                    stands(&place.path, made - range.start, range.len(), digest, &level.root)
                })
            }
            (Origin::Made(made), Place::Told(place)) if program.part_of(made) < part => {
                let from = program.part_of(made);
                let (mask, at) = (program.mask(from), made - program.parts[from].start);
                let (below, told) = (mask & ((1u32 << at) - 1), mask >> at & 1 == 1);
                let (rank, count) = (below.count_ones() as usize, mask.count_ones() as usize);
                told && stands(&place.path, rank, count, digest, &place.value)
                    && stands(&place.part, from, program.parts.len() + 1, &place.value, &self.levels[0].root)
            }
            _ => false,
        }
    }

    fn fetch(&self, need: Need, entry: usize, steps: &Steps, told: &LevelStep) -> Result<u64, LastError> {
        let absent = |what: String| LastError::Missing(what);
        match need {
            Need::Point(at) if at + 1 == usize::from(told.index) => {
                let before = told.before.as_ref().map(word);
                before.map(u64::from).ok_or_else(|| absent("the point before is missing".into()))
            }
            Need::Point(at) => {
                let count = usize::from(told.count);
                let there = at < usize::from(told.index);
                let found = steps.earlier.iter().filter(|_| there);
                let mut found =
                    found.filter(|point| stands(&point.path, at, count, &point.value, &told.root));
                let point = found.next().ok_or_else(|| absent(format!("point {at} is not there")))?;
                Ok(u64::from(word(&point.value)))
            }
            Need::Element(origin, index) => {
                let shape = self.program.shape_of(origin);
                let (kind, dims) = shape.ok_or_else(|| absent(format!("{origin:?} has no digest")))?;
                let chunk = index * kind.width() / CHUNK;
                for operand in steps.operands.iter().filter(|one| one.opening.path.index as usize == chunk) {
                    let digest = operand.opening.digest(kind, dims);
                    if digest.is_some_and(|digest| self.agreed(origin, entry, &operand.place, &digest))
                        && let Some(bits) = operand.opening.bits(kind, index)
                    {
                        return Ok(bits);
                    }
                }
                Err(absent(format!("chunk {chunk} of {origin:?} is not opened as agreed")))
            }
        }
    }
}

/// Whether `value` is child `at` of the `count` children of a level with this root.
fn stands(path: &MerklePath, at: usize, count: usize, value: &Hash, root: &Hash) -> bool {
    path.index == at as u64 && path.count == count as u64 && path.verify(leaf(value), root)
}

fn verdict(right: bool, otherwise: Judgement) -> Judgement {
    if right { Judgement::Innocent } else { otherwise }
}

/// Whether a level holds a full chunk of zeros.
fn zeros(words: &LevelStep) -> bool {
    let full = usize::from(words.count) == CHUNK / 4;
    full && words.root == merkle_root(vec![leaf(&Hash::ZERO); CHUNK / 4])
}
