//! Catch false work: units committed, drawn for audit by a beacon, computed again, judged.

pub mod draw;
pub mod params;
pub mod unit;

pub use params::AuditParams;
