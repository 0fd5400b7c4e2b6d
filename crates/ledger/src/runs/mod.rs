//! Publish runs, seat trainers, and turn reported windows into pending claims.

pub mod action;
#[allow(dead_code)] // governance calls it
pub(crate) mod course;
pub mod event;
pub mod keys;
pub mod policy;
pub mod record;
pub mod run;
pub(crate) mod seat;
pub mod window;
