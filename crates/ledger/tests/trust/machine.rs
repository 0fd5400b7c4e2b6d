//! A small integer machine with its referee, liars and honest players, to play whole dispute games.
//!
//! A program of [`OPS`] dot-product operations on vectors of 16 numbers, modulo 2^32:
//! `out[e] = sum over k of a(op, e, k) * in[k]`. Its trace narrows as [`Kind::Dot`] says: operation, its two tensors
//! (what goes in and what comes out), one chunk of 16 elements, 16 accumulators, one multiply-add. Evidence is a
//! hash of the last result's digest.
#![allow(dead_code, unreachable_pub)] // each user takes its own part

use tessera_canon::{Blob, Hash, MerkleTree, Prf, Signature, tree};
use tessera_ledger::{
    action::{Child, Commit, NameChild, Prove, Statement, Step},
    referee::{FinalStep, Judgement, Referee, RefereeError, Signed},
    trust::{
        game::{leaf, part_value, unpack},
        kind::{Kind, Shape},
    },
};

pub const OPS: usize = 5;
pub const WIDTH: usize = 16;
pub type Tensor = [u32; WIDTH];

fn coefficient(op: usize, element: usize, k: usize) -> u32 {
    ((op * 31 + element * 17 + k * 7) % 251) as u32 + 1
}
/// What the program starts with; public.
pub fn input() -> Tensor {
    std::array::from_fn(|k| k as u32 * 3 + 1)
}
/// The accumulators of an element after each step.
pub fn accumulate(op: usize, element: usize, from: &Tensor) -> Tensor {
    let mut sum = 0u32;
    std::array::from_fn(|k| {
        sum = sum.wrapping_add(coefficient(op, element, k).wrapping_mul(from[k]));
        sum
    })
}
fn apply(op: usize, from: &Tensor) -> Tensor {
    std::array::from_fn(|element| accumulate(op, element, from)[WIDTH - 1])
}
/// The true outputs of all operations.
pub fn truth() -> Vec<Tensor> {
    let mut trace = Vec::new();
    for op in 0..OPS {
        let from = trace.last().copied().unwrap_or_else(input);
        trace.push(apply(op, &from));
    }
    trace
}

fn value(number: u32) -> Hash {
    let mut full = [0; 32];
    full[..4].copy_from_slice(&number.to_le_bytes());
    Hash(full)
}
fn number(value: &Hash) -> u32 {
    u32::from_le_bytes([value.0[0], value.0[1], value.0[2], value.0[3]])
}
fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.iter().flat_map(|n| n.to_le_bytes()).collect()
}
fn chunk(tensor: &Tensor) -> Hash {
    tree::chunk_value(0, &bytes(tensor)).expect("64 bytes")
}
const HEAD: Hash = Hash([9; 32]);
pub fn tensor_digest(tensor: &Tensor) -> Hash {
    tree::bind(&HEAD, &chunk(tensor))
}
/// What the trace holds of an operation: its result is told, its input is not.
fn part(out: &Tensor) -> Hash {
    part_value(&[Hash::ZERO, tensor_digest(out)], TOLD).expect("two children")
}
const TOLD: u32 = 0b10;

/// What a player says the program did.
#[derive(Clone, Debug)]
pub struct Account {
    pub trace: Vec<Tensor>,
    /// What it signed as the result.
    pub claimed: Tensor,
    /// Step from which the accumulators of a false element are off.
    pub off_from: usize,
    /// Makes up the accumulators before the last one, if given.
    pub noise: Option<u64>,
}
impl Account {
    pub fn honest() -> Self {
        Self { trace: truth(), claimed: truth()[OPS - 1], off_from: 0, noise: None }
    }
    /// A lie of a random sort; its result differs from the true one.
    pub fn lie(random: &mut Prf) -> Self {
        let op = random.below(OPS as u64) as usize;
        let mut trace = truth();
        let element = random.below(WIDTH as u64) as usize;
        let wrong = 1 + random.below(u64::from(u32::MAX)) as u32;
        trace[op][element] = trace[op][element].wrapping_add(wrong);
        match random.below(3) {
            // Goes on truthfully from the false value.
            0 => {
                for later in op + 1..OPS {
                    trace[later] = apply(later, &trace[later - 1]);
                }
            }
            // Makes up everything from there on.
            1 => {
                for tensor in &mut trace[op..] {
                    *tensor = std::array::from_fn(|_| random.next_u64() as u32);
                }
            }
            // Only the result is false, or only what was signed.
            _ => {
                trace = truth();
                trace[OPS - 1][element] = trace[OPS - 1][element].wrapping_add(wrong);
            }
        }
        if trace[OPS - 1] == truth()[OPS - 1] {
            // Odd factors pass an odd difference on, even ones may lose it.
            trace[OPS - 1][element] ^= 1;
        }
        let claimed = trace[OPS - 1];
        if random.below(4) == 0 {
            trace = truth();
        }
        let noise = (random.below(3) == 0).then(|| random.next_u64());
        Self { trace, claimed, off_from: random.below(WIDTH as u64) as usize, noise }
    }
    pub fn evidence(&self) -> Hash {
        leaf(&part(&self.claimed))
    }
    fn before(&self, op: usize) -> Tensor {
        if op == 0 { input() } else { self.trace[op - 1] }
    }
    fn accumulators(&self, op: usize, element: usize) -> Tensor {
        let mut sums = accumulate(op, element, &self.before(op));
        let said = self.trace[op][element];
        let off = said.wrapping_sub(sums[WIDTH - 1]);
        for sum in &mut sums[self.off_from.min(WIDTH - 1)..] {
            *sum = sum.wrapping_add(off);
        }
        if let Some(noise) = self.noise.filter(|_| off != 0) {
            for (k, sum) in sums[..WIDTH - 1].iter_mut().enumerate() {
                *sum = sum.wrapping_add(noise.rotate_left(k as u32) as u32);
            }
        }
        sums
    }
    /// The children of the level below what `path` named so far.
    pub fn children(&self, path: &[usize]) -> Vec<Hash> {
        let tensor = |op: usize, at: usize| if at == 0 { self.before(op) } else { self.trace[op] };
        match *path {
            [] => self.trace.iter().map(part).chain([self.evidence()]).collect(),
            [op] => vec![tensor_digest(&tensor(op, 0)), tensor_digest(&tensor(op, 1))],
            [op, at] | [op, at, _] | [op, at, _, _] => vec![chunk(&tensor(op, at))],
            [op, at, ..] if path.len() == 5 => tensor(op, at).iter().map(|n| value(*n)).collect(),
            // The input is not computed here: all that leads to it is itself.
            [op, 0, _, _, _, element, ..] => vec![value(self.before(op)[element])],
            [op, .., element] => self.accumulators(op, element).iter().map(|sum| value(*sum)).collect(),
        }
    }
    pub fn commit(&self, path: &[usize]) -> Step {
        let level = Kind::Dot.levels()[path.len()];
        let mut told = Hash::ZERO;
        told.0[0] = TOLD as u8;
        let head = match level.shape {
            Shape::Part => Some(told),
            Shape::Tensor => Some(HEAD),
            _ => None,
        };
        let children = self.children(path);
        let bytes: Vec<u8> =
            children.iter().flat_map(|child| child.0[..usize::from(level.width)].to_vec()).collect();
        Commit { head, children: Blob::new(bytes).expect("small") }.into()
    }
    pub fn prove(&self, path: &[usize]) -> Step {
        let bytes = if path[0] == OPS { Vec::new() } else { bytes(&self.before(path[0])) };
        Prove { at: 0, part: Blob::new(bytes).expect("small"), last: true }.into()
    }
    /// The first child that this player holds to be false; the first one if none is.
    pub fn first_false(&self, path: &[usize], said: &[Hash]) -> usize {
        let mine = self.children(path);
        (0..said.len()).find(|at| mine.get(*at) != Some(&said[*at])).unwrap_or(0)
    }
}
/// Name child `at` of what was committed.
pub fn name(committed: &Step, depth: usize, at: usize) -> Step {
    let Step::Commit(commit) = committed else { unreachable!("players commit before they name") };
    let children = unpack(&Kind::Dot.levels()[depth], &commit.children).expect("it was accepted");
    let tree = MerkleTree::new(children.iter().map(leaf).collect());
    let child = |at: usize| Child { value: children[at], path: tree.path(at as u64).expect("it is there") };
    NameChild { child: child(at), before: at.checked_sub(1).map(child) }.into()
}
/// The children in a commitment.
pub fn said(committed: &Step, depth: usize) -> Vec<Hash> {
    let Step::Commit(commit) = committed else { unreachable!("players commit before they name") };
    unpack(&Kind::Dot.levels()[depth], &commit.children).expect("it was accepted")
}

/// Computes one multiply-add and checks that the game had the program's shape.
pub struct MachineReferee;
impl Referee for MachineReferee {
    /// The proof is a digest and the accused's signature of it.
    fn contradicts(&self, _: &Statement, _: &Hash, proof: &[u8]) -> Result<Signed, RefereeError> {
        let parts =
            proof.split_first_chunk().and_then(|(digest, rest)| Some((*digest, rest.try_into().ok()?)));
        let (digest, signature) = parts.ok_or_else(|| RefereeError::Malformed("96 bytes".into()))?;
        Ok(Signed { digest: Hash(digest), signature: Signature(signature) })
    }
    fn supports(&self, kind: Kind) -> bool {
        kind == Kind::Dot
    }
    /// A claim is its own digest.
    fn claim_digest(&self, _: Kind, claim: &[u8]) -> Result<Hash, RefereeError> {
        let claim: [u8; 32] = claim.try_into().map_err(|_| RefereeError::Malformed("32 bytes".into()))?;
        Ok(Hash(claim))
    }
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError> {
        let counts: Vec<usize> = step.levels.iter().map(|level| level.count.into()).collect();
        let at: Vec<usize> = step.levels.iter().map(|level| level.index.into()).collect();
        let judgement = |right| Ok(if right { Judgement::Innocent } else { Judgement::Mismatch });
        if counts.first() != Some(&(OPS + 1)) {
            return Ok(Judgement::Mismatch);
        }
        if let [top] = &step.levels[..] {
            return judgement(top.before.is_some_and(|last| leaf(&last) == top.child));
        }
        let input_named = at[1] == 0;
        if counts[1..] != [2, 1, 1, 1, WIDTH, if input_named { 1 } else { WIDTH }] {
            return Ok(Judgement::Mismatch);
        }
        if step.levels[1].head.0[..4] != TOLD.to_le_bytes() || step.levels[2].head != HEAD {
            return Ok(Judgement::Mismatch);
        }
        if step.proof.len() != 4 * WIDTH {
            let got = step.proof.len();
            return Err(RefereeError::Malformed(format!("expected {} bytes, got {got}", 4 * WIDTH)));
        }
        let mut from = [0; WIDTH];
        for (number, bytes) in from.iter_mut().zip(step.proof.chunks(4)) {
            *number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let agreed = step.levels[0].before.unwrap_or_else(|| part(&input()));
        if part(&from) != agreed {
            return Err(RefereeError::Input("the operation's input".into()));
        }
        if input_named {
            return judgement(value(from[at[5]]) == step.levels[5].child);
        }
        let before = step.levels[6].before.map_or(0, |value| number(&value));
        let sum = before.wrapping_add(coefficient(at[0], at[5], at[6]).wrapping_mul(from[at[6]]));
        judgement(value(sum) == step.levels[6].child)
    }
}
