//! Play the incentive attacks of the ownership specification, section 7, and assert what they leave the attacker.

#[path = "../governance/hall.rs"]
mod hall;
#[path = "../trust/machine.rs"]
mod machine;
#[path = "../trust/setting.rs"]
mod setting;
#[path = "../world/mod.rs"]
mod world;

mod governance;
mod runs;
mod trust;
