//! Name the cells of admission and the extraction report.

use crate::{cell::Key, keys::key};
use tessera_canon::{Hash, PublicKey};

/// [`crate::record::VerifiedWork`] of an account over all runs.
pub fn verified_work(account: &PublicKey) -> Key {
    key(120, *account)
}

/// [`crate::record::Affiliation`] of an account in a run.
pub fn affiliation(run: &Hash, account: &PublicKey) -> Key {
    key(121, (*run, *account))
}

/// [`crate::record::Coverage`] of an operator in a run.
pub fn coverage(run: &Hash, operator: &PublicKey) -> Key {
    key(122, (*run, *operator))
}

/// [`crate::record::Concentration`] of a run.
pub fn concentration(run: &Hash) -> Key {
    key(123, *run)
}

/// [`crate::record::ExtractionReport`]: the last one of a run.
pub fn extraction_report(run: &Hash) -> Key {
    key(124, *run)
}

/// [`crate::record::Measurement`] in one of a run's slots.
pub fn measurement(run: &Hash, slot: u8) -> Key {
    key(125, (*run, slot))
}

/// [`crate::record::ExtractionParams`].
pub fn extraction_params() -> Key {
    key(126, 0u8)
}
