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
