//! Say what it would take to gather a run's weights, and ask for that much: admission work, declared operators,
//! the extraction report (DESIGN section 9; ownership specification 8.5, 8.6).
//!
//! Secrecy of weights rests on who may ever hold which stage. An identity is bound for life to one stage that
//! it cannot choose (`runs::draw`); before a seating it must have done a part of an average seat's work
//! ([`admission`]); operators who declare several identities are counted as one (`operator`); and the
//! [`report`] publishes, per run and epoch, the part of the run's compute that a coalition must contribute to
//! cover what it needs ([`kappa`]), with every input, and with "not measured" where nothing was measured.

pub mod action;
pub mod admission;
pub mod event;
pub mod kappa;
pub mod keys;
pub(crate) mod measurement;
pub(crate) mod operator;
pub mod record;
pub mod report;

pub use measurement::MOST as MOST_MEASUREMENTS;
