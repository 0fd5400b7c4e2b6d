//! Read typed values from any source of cells: a state, a store, or a light client's proved answers.
//!
//! Every read is one cell unless it says otherwise. `keys_for_*` list the keys that a reader without the
//! state must fetch before it asks.

use crate::{
    cell::{Cell, Key},
    keys,
    record::*,
};
use tessera_canon::{Hash, PublicKey};

/// The value at `key`.
pub fn read<T: Stored>(get: impl Fn(&Key) -> Option<Cell>, key: &Key) -> Option<T> {
    get(key).as_ref().and_then(Cell::unpack).and_then(T::from_record)
}

macro_rules! one_cell {
    ($($(#[$meta:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $record:ident = $key:ident;)*) => {
        $($(#[$meta])* pub fn $name(get: impl Fn(&Key) -> Option<Cell>, $($arg: $ty),*) -> Option<$record> {
            read(get, &keys::$key($($arg),*))
        })*
    };
}
one_cell! {
    /// Money that is on no account.
    globals() -> Globals = globals;
    /// The network's parameters.
    params() -> Params = params;
    /// An account.
    account(of: &PublicKey) -> Account = account;
    /// A validator of the genesis set.
    validator(index: u32) -> Validator = validator;
    /// What a run promised.
    run_terms(run: &Hash) -> RunTerms = run_terms;
    /// Progress of a run.
    run(run: &Hash) -> Run = run;
    /// Shares and credits of a run.
    credits(run: &Hash) -> Credits = credits;
    /// Whether an account is a designer of a run.
    designer(run: &Hash, account: &PublicKey) -> Designer = designer;
    /// A stage.
    stage(run: &Hash, stage: u16) -> Stage = stage;
    /// A seat.
    seat(run: &Hash, stage: u16, seat: u16) -> Seat = seat;
    /// An account's place in a run.
    member(run: &Hash, account: &PublicKey) -> Member = member;
    /// A window.
    window(run: &Hash, window: u32) -> Window = window;
    /// A stage's report of a window, with its state root.
    stage_report(run: &Hash, window: u32, stage: u16) -> StageReport = stage_report;
    /// A claim.
    claim(run: &Hash, window: u32, stage: u16, index: u16) -> Claim = claim;
    /// An account's shares in a run; see also [`due_credits`].
    owner(run: &Hash, account: &PublicKey) -> Owner = owner;
    /// The last evaluation of a run by a committee.
    evaluation(run: &Hash) -> Evaluation = evaluation;
    /// Where a forked run comes from.
    lineage(child: &Hash) -> Lineage = lineage;
    /// What a run's owners may change.
    run_policy(run: &Hash) -> RunPolicy = run_policy;
    /// An account's verified work over all runs.
    work(account: &PublicKey) -> Work = work;
    /// The declared operator of an account in a run.
    affiliation(run: &Hash, account: &PublicKey) -> Affiliation = affiliation;
    /// Stages that an operator ever held in a run.
    coverage(run: &Hash, operator: &PublicKey) -> Coverage = coverage;
    /// The last extraction report of a run.
    extraction(run: &Hash) -> ExtractionReport = extraction_report;
    /// A note.
    note(id: &Hash) -> Note = note;
    /// An offer.
    offer(id: &Hash) -> Offer = offer;
    /// A lock.
    lock(order: &Hash) -> Lock = lock;
    /// The money of a lock.
    escrow(order: &Hash) -> Escrow = escrow;
    /// The posted settlement of a lock.
    settlement(order: &Hash) -> Settlement = settlement;
}

/// The committee of the last evaluation of `run`: the evaluation's cell, then one cell for each member.
pub fn committee(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<EvalMember> {
    let count = evaluation(&get, run).map_or(0, |evaluation| evaluation.members);
    (0..count).filter_map(|index| read(&get, &keys::eval_member(run, index))).collect()
}
/// The measurements of `run` that count: their list, then one cell each.
pub fn measurements(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<Measurement> {
    let ids = list(&get, &keys::list_of_measurements(run));
    ids.iter().filter_map(|id| read(&get, &keys::measurement(id))).collect()
}
/// Runs forked from `parent`.
pub fn children(get: impl Fn(&Key) -> Option<Cell>, parent: &Hash) -> Vec<Hash> {
    list(get, &keys::list_of_children(parent))
}

/// The items of a list of [`keys`] (see `keys::list_of_*`): one cell for the length and one for each item.
pub fn list(get: impl Fn(&Key) -> Option<Cell>, list: &Hash) -> Vec<Hash> {
    let count = read::<ListLength>(&get, &keys::list_length(list)).map_or(0, |length| length.count);
    (0..count)
        .filter_map(|at| read::<ListSlot>(&get, &keys::list_slot(list, at)).map(|slot| slot.id))
        .collect()
}
/// Keys of the items of a list whose length is `count` (read it at [`keys::list_length`]).
pub fn keys_for_list(list: &Hash, count: u64) -> Vec<Key> {
    (0..count).map(|at| keys::list_slot(list, at)).collect()
}
/// All runs.
pub fn runs(get: impl Fn(&Key) -> Option<Cell>) -> Vec<Hash> {
    list(get, &keys::list_of_runs())
}
/// The notes of `owner` that are not spent: its list, then one cell each.
pub fn notes_of(get: impl Fn(&Key) -> Option<Cell>, owner: &PublicKey) -> Vec<Note> {
    let ids = list(&get, &keys::list_of_notes(&keys::owner_hash(owner)));
    ids.iter().filter_map(|id| note(&get, id)).collect()
}
/// Runs in which `account` has shares, pending or active.
pub fn holdings_of(get: impl Fn(&Key) -> Option<Cell>, account: &PublicKey) -> Vec<Owner> {
    let runs = list(&get, &keys::list_of_holdings(account));
    runs.iter().filter_map(|run| owner(&get, run, account)).collect()
}
/// The open offers of a run.
pub fn offers_of(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<Offer> {
    list(&get, &keys::list_of_offers(run)).iter().filter_map(|id| offer(&get, id)).collect()
}
/// Keys of every stage of a run.
pub fn keys_for_stages(terms: &RunTerms) -> Vec<Key> {
    (0..terms.stages).map(|stage| keys::stage(&terms.run, stage)).collect()
}
/// Keys of the held seats of a stage.
pub fn keys_for_seats(stage: &Stage) -> Vec<Key> {
    held(stage).map(|seat| keys::seat(&stage.run, stage.stage, seat)).collect()
}
fn held(stage: &Stage) -> impl Iterator<Item = u16> {
    let bits = stage.held;
    (0..stage.used).filter(move |seat| bits.checked_shr(u32::from(*seat)).unwrap_or(0) & 1 == 1)
}
/// The held seats of a stage, by seat: the stage's cell, then one for each seat.
pub fn seats_of_stage(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, at: u16) -> Vec<Seat> {
    let Some(stage) = stage(&get, run, at) else { return Vec::new() };
    held(&stage).filter_map(|index| seat(&get, run, at, index)).collect()
}
/// Keys of the claims of a stage report.
pub fn keys_for_claims(report: &StageReport) -> Vec<Key> {
    (0..report.claims).map(|index| keys::claim(&report.run, report.window, report.stage, index)).collect()
}
/// The claims of a stage in a window: the report's cell, then one for each claim.
pub fn claims_of_stage(
    get: impl Fn(&Key) -> Option<Cell>,
    run: &Hash,
    window: u32,
    stage: u16,
) -> Vec<Claim> {
    let Some(report) = stage_report(&get, run, window, stage) else { return Vec::new() };
    (0..report.claims).filter_map(|index| claim(&get, run, window, stage, index)).collect()
}
/// Credits that `account` could claim now: its owner cell and the run's credits cell.
pub fn due_credits(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, account: &PublicKey) -> u64 {
    let (Some(mut owner), Some(credits)) = (owner(&get, run, account), credits(&get, run)) else { return 0 };
    crate::accumulator::touch(&mut owner, &credits);
    owner.due
}
