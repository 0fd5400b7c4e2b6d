//! Test credits, sessions, hosts and the public lane: each rule with its exact figures.

mod hosts;
mod income;
mod matrix;
mod public;
mod series;
mod supply;
#[path = "../world/mod.rs"]
mod world;
