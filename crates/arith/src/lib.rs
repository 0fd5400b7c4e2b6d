//! Compute in f32 with the same bits on every machine: the arithmetic that training, serving and audits share.
//!
//! A worker's result is checked by computing it again elsewhere, so each operation here is a written formula
//! with one order of evaluation, and every instruction set and thread count must reproduce its bits.
//! The rules, called *canon v1*:
//! - Only `+ - * / sqrt` and the fused multiply-add are used, each correctly rounded to nearest even, with
//!   subnormal numbers kept. A product and a sum are fused exactly where the formula says `fma`.
//! - [`gemm()`]: k is cut into blocks of 256; within a block an output is one `fma` chain, k ascending from +0;
//!   blocks are added in order.
//! - [`reduce`]: vectors are summed in 16 virtual lanes, then folded 8, 4, 2, 1.
//! - [`scalar`]: exp, log and what is built on them are fixed polynomials; no mathematics library at run time.
//! - [`grid`]: gradients of different microbatches are added as integers, so their order does not matter.
//! - Threads partition outputs, never a reduction.
//! - NaN and infinity are never hidden: they stay in the result, and [`grid::quantise_add`], [`optim::clip`]
//!   and [`quantise::encode`] refuse them. The payload and sign of a NaN are outside the promise.
//! - [`quantise`]: what lossy wire codecs send has one form in bytes, and decoding it does not round.
//!
//! [`trace`] breaks any output element into primitive steps, and [`referee`] judges one step with integers only: what
//! a dispute about a result comes down to.
//!
//! [`conform::run`] computes a fixed set of hard cases; its root must equal [`conform::ROOT`] on every machine
//! that takes part.
//!
//! ```
//! use tessera_arith::{Mat, MatMut, Store, gemm};
//! let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
//! let mut c = [0.0; 4];
//! gemm(MatMut::new(&mut c, 2, 2)?, Mat::new(&a, 2, 2)?, Mat::new(&b, 2, 2)?.t(), Store::Set)?;
//! assert_eq!(c, [17.0, 23.0, 39.0, 53.0]);
//! # Ok::<(), tessera_arith::ArithError>(())
//! ```
//!
//! This crate knows no model, no tokens and no optimizer schedule.

pub mod attention;
pub mod conform;
pub mod elementwise;
pub mod embed;
mod error;
pub mod gemm;
pub mod grid;
mod isa;
mod kernels;
mod lanes;
pub mod loss;
pub mod norm;
pub mod optim;
mod parallel;
pub mod peak;
pub mod quantise;
pub mod reduce;
pub mod referee;
pub mod rope;
pub mod scalar;
pub mod swiglu;
pub mod trace;

pub use error::ArithError;
pub use gemm::{Mat, MatMut, Store, gemm, gemm_symmetric};
pub use isa::{Isa, isa, with_isa};
pub use parallel::{set_threads, threads, with_threads};
