//! Show that owners decide what they may, when they may, with exactly the power that they had.

mod accounts;
mod course;
mod hall;
mod issuance;
mod network;
mod power;
mod refusals;
mod tables;
mod votes;
#[path = "../world/mod.rs"]
mod world;
