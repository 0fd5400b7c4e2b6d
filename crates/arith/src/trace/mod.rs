//! Break any output element of any operation into primitive steps that [`crate::referee`] judges one by one.
//!
//! Two parties computed the same operation from the same committed inputs and got different outputs. A [`Tracer`]
//! leads them to the one step where they part, without anybody computing the operation again:
//!
//! 1. They find the first output element that differs, and each has its [`Trace`].
//! 2. A long element is a *chain*: step n takes an accumulator further. Each posts [`Trace::accumulators`] at
//!    evenly spaced points; between the last that agrees and the first that differs they post again, until one
//!    step is left. Two rounds of 91 are enough for 8192 steps.
//! 3. A short element is a *program* of at most 64 steps: its steps are posted whole, and the first
//!    whose results differ is the one.
//! 4. The step is judged: [`Step::judge`] computes its result from its operands, with integers only.
//! 5. An operand is a constant, an input (opened from its commitment), an earlier step (agreed), or an *inner*
//!    value: an element of a tensor on the way, such as an attention probability, which has a trace of its
//!    own. If the parties disagree about it, they go on there, from 2. Depth is bounded by the operation: at most
//!    a dozen for attention.
//!
//! So that step 2 always has one accumulator, what the arithmetic does in several at once is split into
//! tensors: the blocks of a matrix product and the 16 lanes of a sum are chains, and their folding is a program.
//! Which tensors an operation has is in [`Operation::tensors`]; their formulas are those at the head of each
//! module, step for step.
//!
//! Which steps, operands and sources belong to an element depends on the operation's sizes and parameters, and on
//! indices among its inputs (tokens, targets, positions); never on a number. So a validator of a ledger, which has no
//! weights, knows every step from [`Tracer::blank`] and needs only the operands of the disputed one. With
//! [`Arithmetic::Referee`] no floating-point instruction is used, and it may evaluate a whole row itself.
//!
//! ```
//! use tessera_arith::trace::{Arithmetic, At, Data, Operation, Tracer};
//! let x = [1.0, 2.0, 3.0];
//! let tracer = Tracer::new(Operation::Softmax { len: 3 }, &[("x", Data::Numbers(&x))], Arithmetic::Referee)?;
//! let mut same = x;
//! tessera_arith::scalar::softmax(&mut same);
//! let trace = tracer.trace(At { tensor: "out", index: 2 })?;
//! assert_eq!(trace.output().bits, u64::from(same[2].to_bits()));
//! assert!(trace.steps().all(|step| step.judge()));
//! # Ok::<(), tessera_arith::ArithError>(())
//! ```
//!
//! This module plays no game: it has no messages, deadlines or commitments.

mod define;
mod element;
mod machine;
mod operation;
mod step;
mod tensor;
mod tracer;

pub use element::Trace;
pub use operation::Operation;
pub use step::{Arithmetic, At, Opcode, Source, Step, Value};
pub use tensor::{Kind, Role, Tensor};
pub use tracer::{Data, Tracer};
