//! Play the incentive attacks of the ownership specification, section 7, and assert what they leave the attacker.

#[path = "../trust/machine.rs"]
mod machine;
mod runs;
#[path = "../trust/setting.rs"]
mod setting;
mod trust;
#[path = "../world/mod.rs"]
mod world;
