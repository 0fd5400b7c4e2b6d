//! Play the incentive attacks of the ownership specification, section 7, and assert what they leave the attacker.

mod governance;
#[path = "../governance/hall.rs"]
mod hall;
mod runs;
#[path = "../world/mod.rs"]
mod world;
