//! Play the attacks of the ownership specification's catalogue (section 7): each test is named after one, and ends
//! with what the attacker has gained, which is nothing.

mod market;
#[path = "../world/mod.rs"]
mod world;
