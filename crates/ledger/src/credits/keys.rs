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

/// [`crate::record::FeeShares`], part `index`.
pub fn fee_shares(order: &Hash, index: u16) -> Key {
    key(45, (*order, index))
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
