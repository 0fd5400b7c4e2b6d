//! A small integer machine with its referee, liars and honest players, to play whole dispute games.
//!
//! A program of [`OPS`] dot-product operations on vectors of 16 numbers, modulo 2^32:
//! `out[e] = sum over k of a(op, e, k) * in[k]`. Its trace narrows as [`Kind::Dot`] says: operation, tensor node
//! (1, 2 and 2 children), element (4), accumulators (4 and 4), one multiply-add.
#![allow(dead_code, unreachable_pub)] // each user takes its own part

use tessera_canon::{Blob, Hash, MerkleTree, Prf, merkle_root};
use tessera_ledger::{
    action::{Child, Commit, NameChild, Prove, Step},
    referee::{FinalStep, Judgement, Referee, RefereeError},
    trust::{
        game::{leaf, unpack},
        kind::Kind,
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
fn node(children: &[Hash]) -> Hash {
    merkle_root(children.iter().map(leaf).collect())
}
fn elements(tensor: &Tensor, chunk: usize) -> Vec<Hash> {
    tensor[chunk * 4..chunk * 4 + 4].iter().map(|n| value(*n)).collect()
}
fn chunks(tensor: &Tensor, group: usize) -> Vec<Hash> {
    (0..2).map(|i| node(&elements(tensor, group * 2 + i))).collect()
}
fn groups(tensor: &Tensor) -> Vec<Hash> {
    (0..2).map(|group| node(&chunks(tensor, group))).collect()
}
pub fn tensor_digest(tensor: &Tensor) -> Hash {
    node(&[node(&groups(tensor))])
}

/// What a player says the program did.
#[derive(Clone, Debug)]
pub struct Account {
    pub trace: Vec<Tensor>,
    /// Step from which the accumulators of a false element are off.
    pub off_from: usize,
    /// Makes up the accumulators before the last one, if given.
    pub noise: Option<u64>,
}
impl Account {
    pub fn honest() -> Self {
        Self { trace: truth(), off_from: 0, noise: None }
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
            // Only the result is false.
            _ => {
                trace = truth();
                trace[OPS - 1][element] = trace[OPS - 1][element].wrapping_add(wrong);
            }
        }
        if trace[OPS - 1] == truth()[OPS - 1] {
            // Odd factors pass an odd difference on, even ones may lose it.
            trace[OPS - 1][element] ^= 1;
        }
        let noise = (random.below(3) == 0).then(|| random.next_u64());
        Self { trace, off_from: random.below(WIDTH as u64) as usize, noise }
    }
    pub fn evidence(&self) -> Hash {
        tensor_digest(&self.trace[OPS - 1])
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
        let tensor = |op: usize| &self.trace[op];
        match *path {
            [] => self.trace.iter().map(tensor_digest).collect(),
            [op] => vec![node(&groups(tensor(op)))],
            [op, _] => groups(tensor(op)),
            [op, _, group] => chunks(tensor(op), group),
            [op, _, group, chunk] => elements(tensor(op), group * 2 + chunk),
            [op, _, group, chunk, at] => {
                let sums = self.accumulators(op, element_of(group, chunk, at));
                sums.iter().skip(3).step_by(4).map(|sum| value(*sum)).collect()
            }
            [op, _, group, chunk, at, quarter, ..] => {
                let sums = self.accumulators(op, element_of(group, chunk, at));
                sums[quarter * 4..quarter * 4 + 4].iter().map(|sum| value(*sum)).collect()
            }
        }
    }
    pub fn commit(&self, path: &[usize]) -> Step {
        let width = usize::from(Kind::Dot.levels()[path.len()].width);
        let children = self.children(path);
        let bytes: Vec<u8> = children.iter().flat_map(|child| child.0[..width].to_vec()).collect();
        Commit { children: Blob::new(bytes).expect("small") }.into()
    }
    pub fn prove(&self, path: &[usize]) -> Step {
        let bytes: Vec<u8> = self.before(path[0]).iter().flat_map(|n| n.to_le_bytes()).collect();
        Prove { at: 0, part: Blob::new(bytes).expect("small"), last: true }.into()
    }
    /// The first child that this player holds to be false; the first one if none is.
    pub fn first_false(&self, path: &[usize], said: &[Hash]) -> usize {
        let mine = self.children(path);
        (0..said.len()).find(|at| mine.get(*at) != Some(&said[*at])).unwrap_or(0)
    }
}
fn element_of(group: usize, chunk: usize, at: usize) -> usize {
    group * 8 + chunk * 4 + at
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
    fn supports(&self, kind: Kind) -> bool {
        kind == Kind::Dot
    }
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError> {
        let counts: Vec<usize> = step.levels.iter().map(|level| level.count.into()).collect();
        if counts != [OPS, 1, 2, 2, 4, 4, 4] {
            return Ok(Judgement::Mismatch);
        }
        let at: Vec<usize> = step.levels.iter().map(|level| level.index.into()).collect();
        if step.proof.len() != 4 * WIDTH {
            let got = step.proof.len();
            return Err(RefereeError::Malformed(format!("expected {} bytes, got {got}", 4 * WIDTH)));
        }
        let mut from = [0; WIDTH];
        for (number, bytes) in from.iter_mut().zip(step.proof.chunks(4)) {
            *number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let agreed = step.levels[0].before.unwrap_or_else(|| tensor_digest(&input()));
        if tensor_digest(&from) != agreed {
            return Err(RefereeError::Input("the operation's input".into()));
        }
        let (element, k) = (element_of(at[2], at[3], at[4]), at[5] * 4 + at[6]);
        let before = step.levels[6].before.or(step.levels[5].before).map_or(0, |value| number(&value));
        let sum = before.wrapping_add(coefficient(at[0], element, k).wrapping_mul(from[k]));
        let right = value(sum) == step.levels[6].child;
        Ok(if right { Judgement::Innocent } else { Judgement::Mismatch })
    }
}
