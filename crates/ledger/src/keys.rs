//! Name every cell: the hash of what it is and whose it is, so that no two kinds of cell can meet.

use crate::cell::Key;
use tessera_canon::{Domain, Hash, PublicKey, digest};

const KEY: Domain = Domain::new("tessera/ledger/key/v1");
const OWNER: Domain = Domain::new("tessera/ledger/owner/v1");
const LIST: Domain = Domain::new("tessera/ledger/list/v1");
const NOTE_ID: Domain = Domain::new("tessera/ledger/note-id/v1");

fn key<T: tessera_canon::codec::Encode>(class: u8, ids: T) -> Key {
    digest(KEY, &(class, Hash(*blake3::hash(&ids.encode()).as_bytes())))
}

/// The hash that stands for a note owner; the public key is revealed when the note is spent.
pub fn owner_hash(owner: &PublicKey) -> Hash {
    digest(OWNER, owner)
}
/// The id of the note that a transaction or order (`source`) creates as output `index`.
pub fn note_id(source: &Hash, index: u32) -> Hash {
    digest(NOTE_ID, &(*source, index))
}

/// [`crate::record::Globals`].
pub fn globals() -> Key {
    key(1, 0u8)
}
/// [`crate::genesis::Params`].
pub fn params() -> Key {
    key(2, 0u8)
}
/// [`crate::record::Account`].
pub fn account(of: &PublicKey) -> Key {
    key(3, *of)
}
/// [`crate::record::Validator`] number `index`.
pub fn validator(index: u32) -> Key {
    key(4, index)
}
/// [`crate::record::RunTerms`]: what never changes.
pub fn run_terms(run: &Hash) -> Key {
    key(10, *run)
}
/// [`crate::record::Run`]: progress of training.
pub fn run(run: &Hash) -> Key {
    key(11, *run)
}
/// [`crate::record::Credits`]: shares and credits in total.
pub fn credits(run: &Hash) -> Key {
    key(12, *run)
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
/// [`crate::record::Claim`] number `index` of a stage report.
pub fn claim(run: &Hash, window: u32, stage: u16, index: u16) -> Key {
    key(19, (*run, (window, (stage, index))))
}
/// [`crate::record::Owner`]: an account's shares in a run.
pub fn owner(run: &Hash, account: &PublicKey) -> Key {
    key(20, (*run, *account))
}
/// [`crate::record::Note`].
pub fn note(id: &Hash) -> Key {
    key(30, *id)
}
/// [`crate::record::Offer`].
pub fn offer(id: &Hash) -> Key {
    key(31, *id)
}
/// [`crate::record::Lock`].
pub fn lock(order: &Hash) -> Key {
    key(32, *order)
}
/// [`crate::record::Escrow`] of a lock.
pub fn escrow(order: &Hash) -> Key {
    key(33, *order)
}
/// [`crate::record::LockedNotes`], part `index`.
pub fn locked_notes(order: &Hash, index: u16) -> Key {
    key(34, (*order, index))
}
/// [`crate::record::Settlement`] of a lock.
pub fn settlement(order: &Hash) -> Key {
    key(35, *order)
}
/// [`crate::record::FeeShares`], part `index`.
pub fn fee_shares(order: &Hash, index: u16) -> Key {
    key(36, (*order, index))
}

/// [`crate::record::ListLength`].
pub fn list_length(list: &Hash) -> Key {
    key(50, *list)
}
/// [`crate::record::ListSlot`].
pub fn list_slot(list: &Hash, at: u64) -> Key {
    key(51, (*list, at))
}
/// [`crate::record::ListPosition`].
pub fn list_position(list: &Hash, id: &Hash) -> Key {
    key(52, (*list, *id))
}

/// All runs, by id.
pub fn list_of_runs() -> Hash {
    digest(LIST, &(1u8, Hash::ZERO))
}
/// Members waiting for the next seat draw; the ids are keys of [`crate::record::Member`] cells.
pub fn list_of_joins() -> Hash {
    digest(LIST, &(2u8, Hash::ZERO))
}
/// Notes of an owner that are not spent, by id.
pub fn list_of_notes(owner: &Hash) -> Hash {
    digest(LIST, &(3u8, *owner))
}
/// Open offers of a run, by id.
pub fn list_of_offers(run: &Hash) -> Hash {
    digest(LIST, &(4u8, *run))
}
/// Runs in which an account has shares, by run id.
pub fn list_of_holdings(account: &PublicKey) -> Hash {
    digest(LIST, &(5u8, Hash(account.0)))
}
/// Orders to look at on the boundary that opens `epoch`: they expire or become final.
pub fn list_of_due(epoch: u64) -> Hash {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&epoch.to_be_bytes());
    digest(LIST, &(6u8, Hash(id)))
}
