//! Move credits between the places they can be in, so that their sum is kept in one function.

use crate::{
    keys,
    record::Credits,
    store::{Stop, View},
};
use tessera_canon::Hash;

/// Where credits of a run can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In unspent notes.
    Notes,
    /// In the market's hands.
    Auctioned,
    /// In locked notes.
    Locked,
    /// Waiting for the next distribution.
    Pool,
}

fn place(credits: &mut Credits, place: Place) -> &mut u64 {
    match place {
        Place::Notes => &mut credits.notes,
        Place::Auctioned => &mut credits.auctioned,
        Place::Locked => &mut credits.locked,
        Place::Pool => &mut credits.pool,
    }
}

/// Move `cu` credits of a series. The caller moved the notes; what `from` holds covers it.
pub(crate) fn shift(
    view: &mut View<'_>,
    run: &Hash,
    _series: u16,
    from: Place,
    to: Place,
    cu: u64,
) -> Result<(), Stop> {
    let key = keys::credits(run);
    let mut credits: Credits = view.must(&key, "run", run)?;
    *place(&mut credits, from) -= cu;
    *place(&mut credits, to) += cu;
    view.put(key, credits);
    Ok(())
}
