//! Run whole swarms in virtual time: the seats' real state machines and real arithmetic, a real ledger state,
//! simulated links and disks.
//!
//! One thread, no clock, no socket. Every random choice comes from one seed, so a run is repeated by its
//! number, and two runs of one seed have the same [`SwarmSim::log_hash`]. Seats can be killed in the middle of
//! anything, restarted with or without their disk, cut off and healed; messages can be lost.
//!
//! What it does not simulate: consensus (one simulated ledger executes each block at once; `tessera-validator`
//! has simulations of its own) and QUIC (`tessera-net`).

mod ledger;
pub mod scenario;
mod swarm;

pub use ledger::SimLedger;
pub use swarm::{Conduct, SimConfig, SwarmSim};
