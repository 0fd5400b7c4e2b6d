//! Name the cells of notes and sessions.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Domain, Hash, PublicKey, digest};

const OWNER: Domain = Domain::new("tessera/ledger/owner/v1");

const NOTE_ID: Domain = Domain::new("tessera/ledger/note-id/v1");

/// The hash that stands for a note owner; the public key is revealed when the note is spent.
pub fn owner_hash(owner: &PublicKey) -> Hash {
    digest(OWNER, owner)
}

/// The id of the note that a transaction or order (`source`) creates as output `index`.
pub fn note_id(source: &Hash, index: u32) -> Hash {
    digest(NOTE_ID, &(*source, index))
}

/// [`crate::record::Note`].
pub fn note(id: &Hash) -> Key {
    key(40, *id)
}

/// [`crate::record::Lock`].
pub fn lock(order: &Hash) -> Key {
    key(41, *order)
}

/// [`crate::record::Escrow`] of a lock.
pub fn escrow(order: &Hash) -> Key {
    key(42, *order)
}

/// [`crate::record::LockedNotes`], part `index`.
pub fn locked_notes(order: &Hash, index: u16) -> Key {
    key(43, (*order, index))
}

/// [`crate::record::Settlement`] of a lock.
pub fn settlement(order: &Hash) -> Key {
    key(44, *order)
}

/// [`crate::record::LegHosts`], part `index` of the leg of `attempt`.
pub fn leg_hosts(order: &Hash, attempt: u16, index: u16) -> Key {
    key(45, (*order, (attempt, index)))
}

/// [`crate::credits::params::CreditRules`].
pub fn rules() -> Key {
    key(46, 0u8)
}

/// [`crate::record::Series`].
pub fn series(run: &Hash, series: u16) -> Key {
    key(47, (*run, series))
}

/// [`crate::record::Lane`].
pub fn lane(run: &Hash) -> Key {
    key(48, *run)
}

/// [`crate::record::Attempts`] of a lock.
pub fn attempts(order: &Hash) -> Key {
    key(49, *order)
}

/// [`crate::record::Host`].
pub fn host(run: &Hash, account: &PublicKey) -> Key {
    key(50, (*run, *account))
}

/// [`crate::record::Capacity`] of a stage.
pub fn capacity(run: &Hash, stage: u16) -> Key {
    key(51, (*run, stage))
}

/// [`crate::record::StagePrice`].
pub fn stage_price(run: &Hash, stage: u16) -> Key {
    key(52, (*run, stage))
}

/// [`crate::record::Application`] of an owner hash to the public lane.
pub fn application(run: &Hash, owner: &Hash) -> Key {
    key(53, (*run, *owner))
}

/// [`crate::record::SessionDispute`] about an order.
pub fn session_dispute(order: &Hash) -> Key {
    key(54, *order)
}

/// Notes of an owner that are not spent, by id.
pub fn list_of_notes(owner: &Hash) -> Hash {
    digest(LIST, &(40u8, *owner))
}

/// Orders to look at on the boundary that opens `epoch`: they expire or become final.
pub fn list_of_due(epoch: u64) -> Hash {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&epoch.to_be_bytes());
    digest(LIST, &(41u8, Hash(id)))
}

/// Orders that wait for the draw of their home.
pub fn list_of_locking() -> Hash {
    digest(LIST, &(42u8, Hash::ZERO))
}

/// The `what` (43 hosts that leave, 44 public notes that end, 45 disputes that lapse) to look at on the boundary
/// that opens `epoch`.
fn list_at(what: u8, epoch: u64) -> Hash {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&epoch.to_be_bytes());
    digest(LIST, &(what, Hash(id)))
}

/// Hosts whose bond comes free at `epoch`; the ids are keys of [`crate::record::Host`] cells.
pub fn list_of_leaving(epoch: u64) -> Hash {
    list_at(43, epoch)
}

/// Notes of the public lane whose life ends at `epoch`.
pub fn list_of_public_ends(epoch: u64) -> Hash {
    list_at(44, epoch)
}

/// Orders whose dispute lapses at `epoch`.
pub fn list_of_session_disputes(epoch: u64) -> Hash {
    list_at(45, epoch)
}

/// Applications to the public lane of a run, by owner hash.
pub fn list_of_applications(run: &Hash) -> Hash {
    digest(LIST, &(46u8, *run))
}
