//! Walk the steps of one element: whole, up to a point, at evenly spaced points, or one of them.

use super::{
    machine::{Machine, ZERO},
    step::{Arithmetic, Opcode, Source, Step, Value},
};

/// What each step of a chain does with its accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// acc = fma(a, b, acc).
    Fma,
    /// acc = acc + a.
    Add,
    /// acc = a if a > acc, else acc.
    Max,
}

/// The formula of one element.
pub(super) enum Definition<'t> {
    /// `len` steps that each take an accumulator further.
    Chain { link: Link, start: Value, len: usize, term: Box<dyn Fn(usize) -> [Value; 2] + 't> },
    /// A short straight-line program.
    Program(Box<dyn Fn(&mut Machine) -> Value + 't>),
}

impl<'t> Definition<'t> {
    pub(super) fn program(formula: impl Fn(&mut Machine) -> Value + 't) -> Definition<'t> {
        Definition::Program(Box::new(formula))
    }

    pub(super) fn chain(
        link: Link,
        start: Value,
        len: usize,
        term: impl Fn(usize) -> [Value; 2] + 't,
    ) -> Definition<'t> {
        Definition::Chain { link, start, len, term: Box::new(term) }
    }

    /// An element that is another value, unchanged.
    pub(super) fn is(value: Value) -> Definition<'t> {
        Definition::chain(Link::Add, value, 0, move |_| [value; 2])
    }

    /// Computes the element without keeping its steps.
    pub(super) fn value(&self, arithmetic: Arithmetic) -> u64 {
        match self {
            Definition::Chain { link, start, len, term } => (0..*len).fold(start.bits, |acc, n| {
                let (opcode, operands) =
                    step_of(*link, term(n), Value { bits: acc, source: Source::Constant });
                arithmetic.compute(opcode, operands.map(|operand| operand.bits))
            }),
            Definition::Program(formula) => formula(&mut Machine::new(arithmetic, false)).bits,
        }
    }
}

/// Returns the step of a chain that takes `acc` further.
fn step_of(link: Link, [a, b]: [Value; 2], acc: Value) -> (Opcode, [Value; 3]) {
    match link {
        Link::Fma => (Opcode::Fma, [a, b, acc]),
        Link::Add => (Opcode::Add, [acc, a, ZERO]),
        Link::Max => (Opcode::Max, [a, acc, ZERO]),
    }
}

/// The steps of one element.
///
/// The element is either a *chain*, whose step n takes the result of step n - 1 (its accumulator) further,
/// however long it is, or a *program* of at most 64 steps. A chain is computed as it is walked;
/// nothing is kept.
pub struct Trace<'t> {
    body: Body<'t>,
    arithmetic: Arithmetic,
}

enum Body<'t> {
    Chain { link: Link, start: Value, len: usize, term: Box<dyn Fn(usize) -> [Value; 2] + 't> },
    Program { steps: Vec<Step>, output: Value },
}

impl<'t> Trace<'t> {
    pub(super) fn new(definition: Definition<'t>, arithmetic: Arithmetic) -> Trace<'t> {
        let body = match definition {
            Definition::Chain { link, start, len, term } => Body::Chain { link, start, len, term },
            Definition::Program(formula) => {
                let mut machine = Machine::new(arithmetic, true);
                let output = formula(&mut machine);
                Body::Program { steps: machine.steps(), output }
            }
        };
        Trace { body, arithmetic }
    }

    /// How many steps lead to the element. Zero: it is a copy of [`Trace::output`]'s source.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Chain { len, .. } => *len,
            Body::Program { steps, .. } => steps.len(),
        }
    }

    /// Whether there is no step at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the element is a chain: its state after n steps is one accumulator.
    pub fn is_chain(&self) -> bool {
        matches!(self.body, Body::Chain { .. })
    }

    /// The steps in order.
    pub fn steps(&self) -> Box<dyn Iterator<Item = Step> + '_> {
        match &self.body {
            Body::Program { steps, .. } => Box::new(steps.iter().copied()),
            Body::Chain { link, start, len, term } => Box::new((0..*len).scan(*start, |acc, n| {
                let (opcode, operands) = step_of(*link, term(n), *acc);
                let result = self.arithmetic.compute(opcode, operands.map(|operand| operand.bits));
                *acc = Value { bits: result, source: Source::Step(n) };
                Some(Step { opcode, operands, result })
            })),
        }
    }

    /// Step `n`, in time proportional to n.
    pub fn step(&self, n: usize) -> Option<Step> {
        match &self.body {
            Body::Program { steps, .. } => steps.get(n).copied(),
            Body::Chain { .. } => self.steps().nth(n),
        }
    }

    /// What is there after `n` steps, in time proportional to n: the accumulator of a chain (its start, for 0),
    /// the result of step n - 1 of a program. None beyond the end.
    pub fn prefix(&self, n: usize) -> Option<u64> {
        match (&self.body, n.checked_sub(1)) {
            (Body::Chain { start, .. }, None) => Some(start.bits),
            (_, Some(last)) => self.step(last).map(|step| step.result),
            (Body::Program { .. }, None) => None,
        }
    }

    /// The accumulators of a chain after `count` evenly spaced numbers of steps in `from..to`, and after `to`:
    /// pairs of a number of steps and what is there then. A dispute over 8192 steps posts 91, then 91 between
    /// two of those, and is left with one step.
    pub fn accumulators(&self, from: usize, to: usize, count: usize) -> Vec<(usize, u64)> {
        let to = to.min(self.len());
        let width = to.saturating_sub(from);
        let count = count.clamp(1, width.max(1));
        // Ascending, without repeats, the last one `to`. u128: a product of two lengths.
        let mut wanted =
            (1..=count).map(|n| from + (n as u128 * width as u128 / count as u128) as usize).peekable();
        let mut found = Vec::new();
        if let Some(first) = self.prefix(0).filter(|_| wanted.peek() == Some(&0)) {
            found.push((0, first));
            wanted.next();
        }
        for (n, step) in self.steps().enumerate() {
            match wanted.peek() {
                Some(&next) if next == n + 1 => {
                    found.push((next, step.result));
                    wanted.next();
                }
                Some(_) => {}
                None => break,
            }
        }
        found
    }

    /// Step `n` of a chain between two claimed accumulators, for [`Step::judge`]. Its operands are looked up in
    /// constant time and the chain is not walked; before step 0 stands the start of the chain, whatever is claimed.
    /// None for a program, or beyond the end.
    pub fn claim(&self, n: usize, before: u64, after: u64) -> Option<Step> {
        match &self.body {
            Body::Chain { link, start, len, term } if n < *len => {
                let acc = n
                    .checked_sub(1)
                    .map_or(*start, |last| Value { bits: before, source: Source::Step(last) });
                let (opcode, operands) = step_of(*link, term(n), acc);
                Some(Step { opcode, operands, result: after })
            }
            _ => None,
        }
    }

    /// The element: its bits, and the step or other value it is.
    pub fn output(&self) -> Value {
        match &self.body {
            Body::Program { output, .. } => *output,
            Body::Chain { start, .. } => self
                .steps()
                .enumerate()
                .last()
                .map_or(*start, |(n, step)| Value { bits: step.result, source: Source::Step(n) }),
        }
    }
}
