//! Test the markets: the auction by itself, and everything that it moves on the ledger.

mod auction;
mod clearing;
mod fees;
mod hosts;
mod pool;
#[path = "../world/mod.rs"]
mod world;
