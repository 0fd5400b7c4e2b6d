//! Show that this machine computes the canonical bits: hard cases of every operation, hashed into one root.
//!
//! Inputs come from an integer generator and include odd sizes, signed zeros, subnormals, the largest
//! exponents, NaN and infinities; one row trains a small model for three steps. Each operation's outputs
//! are hashed into one [`Row`]; the rows are the leaves of a binary tree of blake3 hashes. A machine whose
//! root is not [`ROOT`], or whose floating-point mode is not sound ([`environment`]), must not take part in the
//! exact tier; [`Report::mismatches`] says which operations differ.
//!
//! A NaN counts as one value whatever its payload and sign; elsewhere every bit counts.
//!
//! ```no_run
//! let report = tessera_arith::conform::run();
//! assert!(report.conforms(), "{:?}", report.mismatches());
//! ```
//!
//! It tells nothing about speed, and nothing about sizes it does not try.

mod cases;
mod environment;
mod inputs;
mod operations;
mod specials;
#[cfg(test)]
mod tests;
mod training;

pub use environment::{Environment, environment};

use crate::ArithError;
use inputs::{Inputs, Leaf};
use operations::{CANON, Operations};

/// The hash over all outputs of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub operation: &'static str,
    pub digest: [u8; 32],
}

/// An operation whose outputs are not the canonical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    pub operation: &'static str,
    pub expected: [u8; 32],
    pub got: [u8; 32],
}

/// What a machine computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The mode of the thread that ran the suite.
    pub environment: Environment,
    pub root: [u8; 32],
    /// In the order of [`ROWS`].
    pub rows: Vec<Row>,
}

impl Report {
    /// Returns whether the machine may take part in the exact tier.
    pub fn conforms(&self) -> bool {
        self.environment.is_sound() && self.root == ROOT
    }

    /// Returns the operations that differ from [`ROWS`].
    pub fn mismatches(&self) -> Vec<Mismatch> {
        let differing = self.rows.iter().zip(&ROWS).filter(|(row, expected)| row != expected);
        let mismatch = |(row, expected): (&Row, &Row)| Mismatch {
            operation: row.operation,
            expected: expected.digest,
            got: row.digest,
        };
        differing.map(mismatch).collect()
    }
}

/// Computes all cases with the instruction set and threads in force.
pub fn run() -> Report {
    suite(&CANON)
}

/// The root every conforming machine computes: that of [`ROWS`].
pub const ROOT: [u8; 32] = bytes("b51adb32a9c8a8e80c7c128bc5edce4e95694eaf40795c0035b89f98e75fa2e3");

/// The rows every conforming machine computes.
pub const ROWS: [Row; 24] = [
    row("gemm", "78371c65a8c0b823db0602d03caf9739bfdf62abfe2e9df66727097255a58bfa"),
    row("reduce", "591cc785fbe27f4a4f6955b562d38ee7d6c634317c1b1f864d3353111440ec2d"),
    row("scalar", "fa7f875471ccc9d0b6b2417b2daa061279923fff75f5f4b19490db2d9893f8b8"),
    row("softmax", "b066bdc9163ea98d4dc4203b7f3cc696c5ef5c9c5b34cbf166fd4cad9a303ca6"),
    row("norm", "2ad46dc0f4f9c48100226d8ad8543a91442d89ff3675351c364ba8b95d29828e"),
    row("rope", "eb1611fefbc5e407506a1ad1ba30dba8d0c13caa66776557e3708896dc856403"),
    row("attention", "3eccd95ad465059564167bb6a43ab4fe1a9f93e3834d7966e6f67159931aa528"),
    row("attention decode", "8a49d006c68de8a000240d92fb28903ce1cc14f064e925115ae8e4f1eca3c508"),
    row("swiglu", "7c387d54dad8d7b635714ca864b4988c69a0456710f03abf81760041b2e6cf73"),
    row("loss", "bdad3d6e104dcd3fb91dd02f74c449fc91749ce312005f64b34ad6fd4709cc77"),
    row("embed", "60d9c932b7fc6adca1047848736ac7db907f83cb537d58c203b0a90bdca30a45"),
    row("elementwise", "86bfe967b71509d7a320decb128a2d7fe1b3c8127ab7f22a525c4fba747dd053"),
    row("adamw", "db2bb5fec0b9b91c38ebb832299089a2c086681b7b512b64ae25a68b3b1af00f"),
    row("momentum", "6216971ed10758349823f94c650ba6cbe69c39f261ef46c1ff13d9998c700548"),
    row("clip", "e70266ce26b2174f9a29c51bb571dbfd1b4f2974b80be95725b5bb9146168580"),
    row("newton_schulz", "765a7bea2d06156e448aca07f2cc34523f615e3bdfa25cc59aaffe848019586b"),
    row("grid", "74a067a7e501c2b86e80539b4123739cd338164064a3d542a49d41a4bffc17cd"),
    row("quantise", "ea80bc2bccecbbfa918b1c1b5d81467fedcdd02c92e0946097f9ec412cb7e2c7"),
    row("special values", "8203d4cf6201182936dd1cb92329758b65f4a4b4d412e9afd78f6ef587ff7eba"),
    row("training", "b613afb6e1e7712b5ae7002a9185302dc8f0a25e7cda0d6c0deac5dbb35af726"),
    row("gemm_symmetric", "4b3d6ae1ed4941a12f2fad09022379eca9f4b0bd203d64ec08ad667d5d0ae36d"),
    row("newton_schulz_gram", "5bf4d5fe75a88f22b65a5ab473fa88e2ff9d11b5d2a1c0ced5bb0d3fedc85138"),
    row("in place", "0f838e075e16b0b7e8cfc4cb93d1ef98af73a71512a4a8df9c40d843e5e43a98"),
    row("orthogonalise", "35c5ade4a9712f151b226dd9461f9d94d358da62029f1c0951198bf83f89783d"),
];

const fn row(operation: &'static str, digest: &str) -> Row {
    Row { operation, digest: bytes(digest) }
}

/// Reads 64 hexadecimal digits; anything else does not compile.
const fn bytes(hex: &str) -> [u8; 32] {
    const fn digit(c: u8) -> u8 {
        match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => panic!("a digest has hexadecimal digits"),
        }
    }
    let hex = hex.as_bytes();
    assert!(hex.len() == 64, "a digest has 64 digits");
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = digit(hex[2 * at]) << 4 | digit(hex[2 * at + 1]);
        at += 1;
    }
    bytes
}

type Case = fn(&Operations, &mut Inputs, &mut Leaf) -> Result<(), ArithError>;

const CASES: [(&str, Case); ROWS.len()] = [
    ("gemm", cases::products),
    ("reduce", cases::reductions),
    ("scalar", cases::functions),
    ("softmax", cases::softmaxes),
    ("norm", cases::norms),
    ("rope", cases::rotations),
    ("attention", cases::attentions),
    ("attention decode", cases::decodes),
    ("swiglu", cases::gates),
    ("loss", cases::losses),
    ("embed", cases::embeddings),
    ("elementwise", cases::elements),
    ("adamw", cases::adamws),
    ("momentum", cases::momenta),
    ("clip", cases::clips),
    ("newton_schulz", cases::orthogonalisations),
    ("grid", cases::grids),
    ("quantise", cases::quantisers),
    ("special values", specials::specials),
    ("training", training::training),
    ("gemm_symmetric", cases::symmetric_products),
    ("newton_schulz_gram", cases::gram_orthogonalisations),
    ("in place", cases::in_place),
    ("orthogonalise", cases::chosen_orthogonalisations),
];

fn suite(operations: &Operations) -> Report {
    let environment = environment();
    let compute = |(index, (name, case)): (usize, &(&'static str, Case))| {
        // Each row has inputs of its own, so a change of one leaves the others.
        let mut inputs = Inputs(0x7465_7373_6572_6121 ^ (index as u64) << 56);
        let mut leaf = Leaf::new(name);
        // A wrong operation may refuse what a right one accepts: that too is an outcome.
        let outcome = case(operations, &mut inputs, &mut leaf);
        leaf.add_refusal(&outcome);
        leaf.row()
    };
    let rows: Vec<Row> = CASES.iter().enumerate().map(compute).collect();
    Report { environment, root: root(&rows), rows }
}

fn root(rows: &[Row]) -> [u8; 32] {
    let mut level: Vec<[u8; 32]> = rows.iter().map(|row| row.digest).collect();
    while level.len() > 1 {
        let pair = |pair: &[[u8; 32]]| match pair {
            [left, right] => blake3::Hasher::new().update(&[1]).update(left).update(right).finalize().into(),
            rest => rest[0],
        };
        level = level.chunks(2).map(pair).collect();
    }
    level.first().copied().unwrap_or([0; 32])
}
