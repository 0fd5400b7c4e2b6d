//! Simulate the network: [`Links`] for pure state machines, [`SimNet`] for asynchronous code in virtual time.

mod links;
mod network;
mod transport;

pub use links::{Cause, Delivery, Links, Profile};
pub use network::SimNet;
pub use transport::SimTransport;
