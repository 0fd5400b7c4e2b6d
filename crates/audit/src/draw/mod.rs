//! Draw what is checked, by whom: nobody can steer it, everybody can repeat it afterwards (`verify` 11.4, 11.5).
//!
//! | draw | seed | known to | when |
//! |---|---|---|---|
//! | [`pick`]: audits of units and whole steps, their auditors, audits of audits | first beacon after the anchor | all | after the commitment |
//! | [`duplicate`]: microbatches given to two seats | VRF of the sender | the sender, until it reveals | before the work |
//! | [`canary`]: wrong digests on purpose | VRF of the worker | the worker, until it reveals | before the commitment |
//!
//! Draws compare the first 64 bits of a hash with a rate, as the ledger's own draws do. How often a seat is audited
//! follows from its record: [`rate`].

pub mod canary;
pub mod duplicate;
pub mod pick;
pub mod rate;
pub mod vrf;

use crate::params::ONE;
use tessera_canon::Hash;

/// Whether a uniform hash falls below `rate` (1/10 000).
pub fn below(hash: &Hash, rate: u32) -> bool {
    u128::from(hash.low_u64()) * u128::from(ONE) < u128::from(rate) << 64
}
