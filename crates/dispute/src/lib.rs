//! Turn "a digest of your unit is wrong" into one judged step of arithmetic.
//!
//! - [`tensor`]: digests of tensors, and openings of single chunks of them.
//!
//! This crate knows no network and no clock.

pub mod tensor;
