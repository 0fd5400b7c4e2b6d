//! Lay down by which steps an element comes about, and after which of them the accused tells what was there.
//!
//! Most elements are formulas of [`tessera_arith::trace`]. Two are not: a copied result is its original, without a
//! step, and a row of the embedding's gradient is walked over all rows of the unit, because which of them hold the
//! row's token is itself among the unit's inputs:
//! `acc = acc + dout[row, column] if token[row] is the row's, else acc`, rows ascending from +0.

use crate::program::{Made, Program};
use tessera_arith::trace::{At, Operation};
use tessera_canon::tree::CHUNK;

/// Most points on the way to an element.
pub(crate) const POINTS: usize = 256;

/// How an element comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    Copy(usize),
    /// Element [row, column] of the embedding's gradient.
    Scatter {
        step: usize,
        rows: usize,
        width: usize,
        row: usize,
        column: usize,
    },
    Formula {
        step: usize,
        at: At,
    },
}

impl Walk {
    /// The walk to an element; `None` where there is no such entry.
    pub(crate) fn of(program: &Program, entry: usize, index: usize) -> Option<Self> {
        Some(match program.entries.get(entry)?.made {
            Made::Copy(of) => Self::Copy(of),
            Made::By { step, tensor, .. } => match program.steps.get(step)?.operation {
                Operation::ScatterAdd { d, tokens, .. } => {
                    Self::Scatter { step, rows: tokens, width: d, row: index / d, column: index % d }
                }
                _ => Self::Formula { step, at: At { tensor, index } },
            },
        })
    }
}

/// The number of steps after which each point stands, of so many steps in all.
pub(crate) fn points(len: usize) -> Vec<usize> {
    let count = len.clamp(1, POINTS);
    (1..=count).map(|at| at * len / count).collect()
}

/// The element and, of a sum, the half that word `word` of chunk `chunk` is.
pub(crate) fn element(width: usize, chunk: usize, word: usize) -> (usize, usize) {
    let byte = chunk * CHUNK + word * 4;
    (byte / width, byte % width / 4)
}
