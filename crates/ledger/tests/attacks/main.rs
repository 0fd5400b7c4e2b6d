//! Try each attack of the catalogue (ownership specification, section 7) that the ledger can stop.

mod governance;
#[path = "../governance/hall.rs"]
mod hall;
#[path = "../world/mod.rs"]
mod world;
