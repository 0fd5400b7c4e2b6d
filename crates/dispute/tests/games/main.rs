//! Whole disputes about units of work, through the ledger's own machine and with the validators' referee.
//!
//! `TESSERA_DISPUTES` sets how many games of malicious players are played (60 if absent); `just disputes` plays 10^5.

mod errors;
mod limits;
mod malice;
mod setting;
#[path = "../../../ledger/tests/world/mod.rs"]
mod world;
