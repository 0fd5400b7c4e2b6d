//! Put disputes, audits, penalties, vesting and deterrence to the test through whole blocks.

#[path = "../world/mod.rs"]
mod world;

mod audits;
mod catch;
mod deterrence;
mod disputes;
mod histories;
mod machine;
mod openings;
mod rollback;
mod setting;
mod verdicts;
mod vesting;
