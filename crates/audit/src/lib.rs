//! Catch false work: units committed, drawn for audit by a beacon, computed again, judged.

#[cfg(feature = "attackers")]
pub mod attackers;
pub mod audit;
pub mod averaging;
pub mod data_end;
pub mod draw;
pub mod guard;
pub mod monitor;
pub mod params;
pub mod reexec;
pub mod tensors;
pub mod unit;

pub use params::AuditParams;
pub use reexec::{UnitDigests, Work, execute, reexec};
