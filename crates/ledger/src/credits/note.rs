//! Make and spend notes: each is used whole, once; change is a new note (ownership specification 3.1, 3.2).

use crate::{
    action::{OwnerProof, Reshape},
    error::TxError,
    event::{NoteCreated, NoteSpent},
    keys,
    record::{Credits, Note, NoteState},
    series,
    store::{Stop, View},
};
use std::collections::BTreeSet;
use tessera_canon::{Domain, Hash, PublicKey, codec::Encode, digest};

/// A note to be made.
pub(crate) struct NewNote {
    pub(crate) run: Hash,
    pub(crate) series: u16,
    pub(crate) cu: u64,
    pub(crate) owner: Hash,
    pub(crate) flags: u8,
}

/// Create output `index` of `source`; the caller accounts for the credits.
pub(crate) fn create(view: &mut View<'_>, new: NewNote, source: &Hash, index: u32) -> Hash {
    create_until(view, new, 0, source, index)
}

/// As [`create`], of a note that ends at the boundary that opens epoch `until` (0: with its series).
pub(crate) fn create_until(view: &mut View<'_>, new: NewNote, until: u64, source: &Hash, index: u32) -> Hash {
    let NewNote { run, series, cu, owner, flags } = new;
    let id = keys::note_id(source, index);
    view.put(
        keys::note(&id),
        Note { id, run, series, cu, flags, owner, state: NoteState::Unspent, bound_to: Hash::ZERO, until },
    );
    if until > 0 {
        view.list_add(keys::list_of_public_ends(until), id);
    }
    view.list_add(keys::list_of_notes(&owner), id);
    view.emit(NoteCreated { note: id, run, cu, owner });
    id
}

/// Mark a note as spent by `by` and take it off its owner's list.
pub(crate) fn spend(view: &mut View<'_>, mut note: Note, by: &Hash) {
    view.list_remove(keys::list_of_notes(&note.owner), note.id);
    view.emit(NoteSpent { note: note.id, by: *by });
    note.state = NoteState::Spent;
    note.bound_to = *by;
    view.put(keys::note(&note.id), note);
}

/// The note, if it is free to be used: unspent, of a live series.
pub(crate) fn unspent(view: &View<'_>, id: &Hash) -> Result<Note, Stop> {
    let note: Note = view.must(&keys::note(id), "note", id)?;
    let credits: Credits = view.must(&keys::credits(&note.run), "run", note.run)?;
    if note.state == NoteState::Unspent && !series::live(credits.series, note.series) {
        return Err(TxError::NoteExpired { note: note.id, series: note.series, now: credits.series }.into());
    }
    let (note_id, bound) = (note.id, note.bound_to);
    match note.state {
        NoteState::Unspent => Ok(note),
        NoteState::Spent => Err(TxError::Spent { note: note_id, by: bound }.into()),
        NoteState::Locked => Err(TxError::Locked { note: note_id, order: bound }.into()),
        NoteState::Offered => Err(TxError::Offered { note: note_id, offer: bound }.into()),
    }
}

/// Refuse a note that must stay with its owner.
pub(crate) fn unbound(note: &Note) -> Result<(), TxError> {
    if note.flags & Note::BOUND == 0 { Ok(()) } else { Err(TxError::Bound { note: note.id }) }
}

/// Load `ids` as free notes of one run and series, each owned by the sender or by a key with a valid proof
/// over `signed`.
pub(crate) fn inputs<T: Encode>(
    view: &View<'_>,
    ids: &[Hash],
    sender: &PublicKey,
    domain: Domain,
    signed: &T,
    proofs: &[OwnerProof],
) -> Result<Vec<Note>, Stop> {
    view.want(ids.iter().map(keys::note))?;
    let mut notes = Vec::with_capacity(ids.len());
    for id in ids {
        notes.push(unspent(view, id)?);
    }
    let Some(first) = notes.first() else {
        return Err(TxError::Parameter {
            what: "the number of notes",
            expected: "at least 1".into(),
            got: "0".into(),
        }
        .into());
    };
    let (run, series) = (first.run, first.series);
    if let Some(other) = notes.iter().find(|note| note.run != run || note.series != series) {
        return Err(TxError::Mixed { note: other.id }.into());
    }
    let digest = digest(domain, signed);
    let mut owners = BTreeSet::from([keys::owner_hash(sender)]);
    for proof in proofs {
        if proof.key.verify_digest(&digest, &proof.signature) {
            owners.insert(keys::owner_hash(&proof.key));
        }
    }
    if let Some(other) = notes.iter().find(|note| !owners.contains(&note.owner)) {
        return Err(TxError::NotOwner { note: other.id, owner: other.owner }.into());
    }
    Ok(notes)
}

pub(crate) fn reshape(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &Reshape,
) -> Result<(), Stop> {
    let reshaping = &action.reshaping;
    if reshaping.network != view.context.network {
        return Err(TxError::SignedForOtherNetwork {
            what: "the reshaping",
            expected: view.context.network,
            got: reshaping.network,
        }
        .into());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = reshaping.inputs.iter().find(|id| !seen.insert(**id)) {
        return Err(TxError::Duplicate { what: "input note", id: twice.to_string() }.into());
    }
    let notes = inputs(view, &reshaping.inputs, sender, crate::action::RESHAPE, reshaping, &action.owners)?;
    notes.iter().try_for_each(unbound)?;
    let expected: u128 = notes.iter().map(|note| u128::from(note.cu)).sum();
    let got: u128 = reshaping.outputs.iter().map(|output| u128::from(output.cu)).sum();
    if got != expected {
        return Err(TxError::Sum { what: "outputs", expected, got }.into());
    }
    if reshaping.outputs.iter().any(|output| output.cu == 0) {
        return Err(TxError::Parameter {
            what: "credits of an output",
            expected: "at least 1".into(),
            got: "0".into(),
        }
        .into());
    }
    let (run, series) = (notes[0].run, notes[0].series);
    for note in notes {
        spend(view, note, tx);
    }
    for (index, output) in (0u32..).zip(reshaping.outputs.iter()) {
        let new = NewNote { run, series, cu: output.cu, owner: output.owner, flags: 0 };
        create(view, new, tx, index);
    }
    Ok(())
}
