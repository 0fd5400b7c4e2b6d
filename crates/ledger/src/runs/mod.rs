//! Publish runs, seat trainers, and turn reported windows into pending claims.

pub mod action;
pub(crate) mod bond;
pub(crate) mod course;
pub mod draw;
pub mod evaluation;
pub mod event;
pub mod fork;
pub mod keys;
pub mod policy;
pub mod record;
pub mod run;
pub(crate) mod seat;
pub mod window;
