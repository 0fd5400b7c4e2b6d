//! Play the incentive attacks of the ownership specification, section 7: each test is named after one, and ends with
//! what the attacker has gained, which is nothing, or no more than the catalogue's bound.

#[path = "../governance/hall.rs"]
mod hall;
#[path = "../trust/machine.rs"]
mod machine;
#[path = "../trust/setting.rs"]
mod setting;
#[path = "../world/mod.rs"]
mod world;

mod credits;
mod governance;
mod market;
mod runs;
mod trust;
