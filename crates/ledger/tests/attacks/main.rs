//! Play the attack catalogue of the ownership specification, section 7: no attacker gains.

#[path = "../world/mod.rs"]
mod world;

#[path = "../trust/machine.rs"]
mod machine;
#[path = "../trust/setting.rs"]
mod setting;

mod trust;
