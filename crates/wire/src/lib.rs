//! Define every message between peers: what it carries, how long it may be, on which channel it travels.
//!
//! A frame is one version byte and one message in the canonical encoding. The transport has authenticated
//! the sender (its Ed25519 identity) before a frame arrives here; whether the sender may say such a thing is
//! decided by the receiver's state machine. Everything is bounded by type, so a hostile length prefix is
//! refused before memory is taken.
//!
//! | module | channel | messages |
//! |---|---|---|
//! | [`training`] | [`CONTROL`], [`TENSORS`] | activations, gradients, replay, averaging, votes, reports, state transfer |
//! | [`rpc`] | [`RPC`] | light clients and validators: headers, proofs, transactions |
//! | [`serving`] | [`SERVING`] | sessions, chunk tickets, hidden rows, tokens |
//!
//! This crate holds no behaviour beyond encoding and shape checks.

mod frame;
pub mod rpc;
pub mod serving;
mod tensor;
pub mod training;

pub use frame::{
    CONTROL, FrameError, MAX_CONTROL_FRAME, MAX_RPC_FRAME, MAX_SERVING_FRAME, MAX_TENSOR_FRAME, RPC, SERVING,
    TENSORS, VERSION, from_frame, limit_of, to_frame,
};
pub use tensor::{MAX_TENSOR_BYTES, Tensor, TensorError};
