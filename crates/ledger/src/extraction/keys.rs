//! Name the cells of admission and the extraction report.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Domain, Hash, PublicKey, digest};

const MEASUREMENT: Domain = Domain::new("tessera/ledger/measurement/v1");

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

/// [`crate::record::Measurement`] with [`measurement_id`].
pub fn measurement(id: &Hash) -> Key {
    key(125, *id)
}

/// The id of what `poster` measured on `run`.
pub fn measurement_id(run: &Hash, poster: &PublicKey, evidence: &Hash) -> Hash {
    digest(MEASUREMENT, &((*run, *poster), *evidence))
}

/// Measurements of a run that count.
pub fn list_of_measurements(run: &Hash) -> Hash {
    digest(LIST, &(120u8, *run))
}

/// [`crate::record::ExtractionParams`].
pub fn extraction_params() -> Key {
    key(126, 0u8)
}
