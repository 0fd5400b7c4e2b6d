//! Name the cells of runs, their seats and their windows.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, PublicKey, digest};

/// [`crate::record::RunTerms`]: what never changes.
pub fn run_terms(run: &Hash) -> Key {
    key(10, *run)
}

/// [`crate::record::Run`]: progress of training.
pub fn run(run: &Hash) -> Key {
    key(11, *run)
}

/// [`crate::record::Designer`].
pub fn designer(run: &Hash, account: &PublicKey) -> Key {
    key(13, (*run, *account))
}

/// [`crate::record::Stage`].
pub fn stage(run: &Hash, stage: u16) -> Key {
    key(14, (*run, stage))
}

/// [`crate::record::Seat`].
pub fn seat(run: &Hash, stage: u16, seat: u16) -> Key {
    key(15, (*run, (stage, seat)))
}

/// [`crate::record::Member`]: an account's place in a run.
pub fn member(run: &Hash, account: &PublicKey) -> Key {
    key(16, (*run, *account))
}

/// [`crate::record::Window`].
pub fn window(run: &Hash, window: u32) -> Key {
    key(17, (*run, window))
}

/// [`crate::record::StageReport`].
pub fn stage_report(run: &Hash, window: u32, stage: u16) -> Key {
    key(18, (*run, (window, stage)))
}

/// All runs, by id.
pub fn list_of_runs() -> Hash {
    digest(LIST, &(10u8, Hash::ZERO))
}

/// Members waiting for the next seat draw; the ids are keys of [`crate::record::Member`] cells.
pub fn list_of_joins() -> Hash {
    digest(LIST, &(11u8, Hash::ZERO))
}

/// [`crate::record::RunPolicy`].
pub fn run_policy(run: &Hash) -> Key {
    key(19, *run)
}

/// [`crate::record::Evaluation`]: the last evaluation of a run.
pub fn evaluation(run: &Hash) -> Key {
    key(20, *run)
}

/// [`crate::record::EvalMember`] number `index`.
pub fn eval_member(run: &Hash, index: u16) -> Key {
    key(21, (*run, index))
}

/// [`crate::record::CommitteeParams`].
pub fn committee_params() -> Key {
    key(22, 0u8)
}

/// [`crate::record::Lineage`] of a forked run.
pub fn lineage(child: &Hash) -> Key {
    key(23, *child)
}

/// Runs with an evaluation in progress.
pub fn list_of_evaluations() -> Hash {
    digest(LIST, &(12u8, Hash::ZERO))
}

/// Runs forked from `parent`.
pub fn list_of_children(parent: &Hash) -> Hash {
    digest(LIST, &(13u8, *parent))
}
