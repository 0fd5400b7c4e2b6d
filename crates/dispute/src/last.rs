//! Compute the steps between two points from operands that somebody hands over: the one place where a dispute meets
//! arithmetic. The accused runs it to learn what to open, the referee to judge.
//!
//! Integers only ([`tessera_arith::referee`]); the tables of rotary positions are the exception: one entry of the
//! run's public recipe, by `libm` in f64, which is the same everywhere.

use crate::{
    program::{Origin, Program},
    walk::{Walk, points},
};
use tessera_arith::{
    ArithError, referee,
    trace::{Data, Opcode, Operation, Source, Step, Trace, Tracer, Value},
};

/// Something that the steps rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// An element of what an origin gives.
    Element(Origin, usize),
    /// The point at this place.
    Point(usize),
}

/// What came of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The right word, and whether it is an f32.
    Word { word: u32, number: bool },
    /// The walk has another number of points.
    Points(usize),
}

/// Why steps cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastError {
    #[error(transparent)]
    Arithmetic(#[from] ArithError),
    #[error("{0}")]
    Missing(String),
}

fn missing(what: &str) -> LastError {
    LastError::Missing(format!("the step has no {what}"))
}

/// Whether a result is an i64: its word then carries the sign.
fn is_sum(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::GridSteps | Opcode::SumAdd | Opcode::SumSub)
}

/// The index among the inputs that the formula of an element depends on.
fn index_of(program: &Program, step: usize, at: tessera_arith::trace::At) -> Option<(Origin, usize)> {
    match program.steps[step].operation {
        Operation::Gather { d, .. } => Some((Origin::X, at.index / d)),
        Operation::CrossEntropy { .. } if at.tensor == "loss" => Some((Origin::Dy, at.index)),
        Operation::CrossEntropy { vocab, .. } if at.tensor == "dlogits" => {
            Some((Origin::Dy, at.index / vocab))
        }
        _ => None,
    }
}

/// Compute what stands at point `point` of `count` on the way to an element, from the word at the point before.
/// `exponent` is that of a gradient's grid.
pub(crate) fn compute(
    program: &Program,
    walk: Walk,
    exponent: Option<i32>,
    (point, count): (usize, usize),
    fetch: &mut dyn FnMut(Need) -> Result<u64, LastError>,
) -> Result<Outcome, LastError> {
    let (step, at) = match walk {
        Walk::Copy(_) => return Err(missing("arithmetic: it is a copy")),
        Walk::Scatter { step, rows, width, row, column } => {
            return scatter(program, (step, rows, width, row, column), (point, count), fetch);
        }
        Walk::Formula { step, at } => (step, at),
    };
    let mut operation = program.steps[step].operation.clone();
    if let (Operation::QuantiseAdd { exponent: grid, .. }, Some(exponent)) = (&mut operation, exponent) {
        *grid = exponent;
    }
    // Every index but the one that counts may read as 0.
    let mut indices = Vec::new();
    match operation {
        Operation::Rope { rows, .. } => indices.extend((0..rows).map(|row| program.position(row))),
        Operation::Gather { tokens: rows, .. } | Operation::CrossEntropy { rows, .. } => {
            indices.resize(rows, 0)
        }
        _ => {}
    }
    if let Some((origin, row)) = index_of(program, step, at) {
        let index = fetch(Need::Element(origin, row))? as u32;
        *indices.get_mut(row).ok_or_else(|| missing("such row"))? = index;
    }
    let name = match operation {
        Operation::Rope { .. } => "position",
        Operation::Gather { .. } => "token",
        _ => "target",
    };
    let tracer = Tracer::blank(operation, &[(name, Data::Indices(&indices))])?;
    let trace = tracer.trace(at)?;
    let ends = points(trace.len());
    if count != ends.len() || point >= count {
        return Ok(Outcome::Points(ends.len()));
    }
    let from = point.checked_sub(1).map_or(0, |before| ends[before]);
    let mut element = |value: Value| source(program, step, value, fetch);
    if trace.is_empty() {
        let word = element(trace.output())?.ok_or_else(|| missing("earlier step"))? as u32;
        return Ok(Outcome::Word { word, number: true });
    }
    if !trace.is_chain() {
        return formula(&trace, program, step, from, fetch);
    }
    let mut acc = None;
    for n in from..ends[point] {
        let mut one = trace.claim(n, 0, 0).ok_or_else(|| missing("such step"))?;
        for operand in one.operands.iter_mut().take(one.opcode.arity()) {
            operand.bits = match (source(program, step, *operand, fetch)?, acc) {
                (Some(bits), _) => bits,
                (None, Some(acc)) => acc,
                // The accumulator at the point before.
                (None, None) => fetch(Need::Point(point.wrapping_sub(1)))?,
            };
        }
        acc = Some(one.ruling());
    }
    let word = acc.ok_or_else(|| missing("operation"))? as u32;
    Ok(Outcome::Word { word, number: true })
}

/// One step of a program of single steps, whose points are the results of all of them.
fn formula(
    trace: &Trace,
    program: &Program,
    step: usize,
    n: usize,
    fetch: &mut dyn FnMut(Need) -> Result<u64, LastError>,
) -> Result<Outcome, LastError> {
    let mut one: Step = trace.step(n).ok_or_else(|| missing("such step"))?;
    for operand in one.operands.iter_mut().take(one.opcode.arity()) {
        operand.bits = match (source(program, step, *operand, fetch)?, operand.source) {
            (Some(bits), _) => bits,
            (None, Source::Step(earlier)) => {
                let word = fetch(Need::Point(earlier))? as u32;
                let made = trace.step(earlier).ok_or_else(|| missing("earlier step"))?;
                if is_sum(made.opcode) { i64::from(word as i32) as u64 } else { u64::from(word) }
            }
            (None, _) => return Err(missing("such operand")),
        };
    }
    Ok(Outcome::Word { word: one.ruling() as u32, number: one.opcode.is_number() })
}

/// The bits of an operand; `None` if it is the result of an earlier step.
fn source(
    program: &Program,
    step: usize,
    operand: Value,
    fetch: &mut dyn FnMut(Need) -> Result<u64, LastError>,
) -> Result<Option<u64>, LastError> {
    let (origin, index) = match operand.source {
        Source::Constant => return Ok(Some(operand.bits)),
        Source::Step(_) => return Ok(None),
        Source::Inner(at) => {
            let entry = program.entry(step, at.tensor).ok_or_else(|| missing(at.tensor))?;
            (Origin::Made(entry), at.index)
        }
        Source::Input(at) => {
            let input = program.steps[step].inputs.iter().find(|(name, _)| *name == at.tensor);
            (input.ok_or_else(|| missing(at.tensor))?.1, at.index)
        }
    };
    Ok(Some(match origin {
        Origin::Zero => 0,
        Origin::Positions => u64::from(program.position(index)),
        Origin::Cosines | Origin::Sines => {
            program.rotary(origin, index).ok_or_else(|| missing("such entry of a table"))?
        }
        Origin::X | Origin::Dy | Origin::Weight(_) | Origin::Made(_) => fetch(Need::Element(origin, index))?,
    }))
}

/// Some rows of the walk to an element of the embedding's gradient: [`crate::walk`].
fn scatter(
    program: &Program,
    (step, rows, width, row, column): (usize, usize, usize, usize, usize),
    (point, count): (usize, usize),
    fetch: &mut dyn FnMut(Need) -> Result<u64, LastError>,
) -> Result<Outcome, LastError> {
    let ends = points(rows);
    if count != ends.len() || point >= count {
        return Ok(Outcome::Points(ends.len()));
    }
    let dout = program.steps[step].inputs.iter().find(|(name, _)| *name == "dout");
    let dout = dout.ok_or_else(|| missing("dout"))?.1;
    let (from, mut acc) = match point.checked_sub(1) {
        Some(before) => (ends[before], fetch(Need::Point(before))? as u32),
        None => (0, 0),
    };
    for at in from..ends[point] {
        if fetch(Need::Element(Origin::X, at))? == row as u64 {
            acc = referee::add(acc, fetch(Need::Element(dout, at * width + column))? as u32);
        }
    }
    Ok(Outcome::Word { word: acc, number: true })
}
