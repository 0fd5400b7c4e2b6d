//! Sell credits and shares in batches at one price, sell for those who do not want to trade, and price hosts' work.

pub mod action;
pub(crate) mod basket;
pub(crate) mod batch;
pub mod clearing;
pub mod event;
pub mod fee;
pub mod host;
pub mod keys;
pub(crate) mod order;
pub(crate) mod pool;
pub mod price;
pub(crate) mod proceeds;
pub mod query;
pub mod record;

pub(crate) use price::{last_median, reserve_bound};
