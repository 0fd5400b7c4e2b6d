//! Test runs and extraction: evaluations, seats, bonds, forks, reports, and the properties of shares.

mod bonds;
mod coalition;
mod evaluation;
mod extraction;
mod forks;
mod properties;
mod seats;
mod weights;
#[path = "../world/mod.rs"]
mod world;

#[path = "../../examples/extraction/simulation.rs"]
mod simulation;
