//! Try the attacks of the specification's catalogue (section 7), one test for each, by its number and name.

mod credits;
#[path = "../world/mod.rs"]
mod world;
