//! Sell credits at a posted price. The batch auction of the ownership specification (5.2) takes this place later.

use crate::{
    account,
    action::{BuyOffer, CancelOffer, PostOffer},
    error::TxError,
    event::{OfferCancelled, OfferPosted, Sold},
    keys,
    note::{self, NewNote},
    record::{Note, NoteState, Offer},
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Hash, PublicKey};

pub(crate) fn post(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &PostOffer,
) -> Result<(), Stop> {
    let mut note = note::unspent(view, &action.note)?;
    if note.owner != keys::owner_hash(sender) {
        return Err(TxError::NotOwner { note: note.id, owner: note.owner }.into());
    }
    note::unbound(&note)?;
    if action.price == 0 {
        return Err(TxError::Parameter {
            what: "the price",
            expected: "at least 1 nano-U per credit".into(),
            got: "0".into(),
        }
        .into());
    }
    supply::shift(view, &note.run, note.series, Place::Notes, Place::Auctioned, note.cu)?;
    let offer = Offer {
        id: *tx,
        run: note.run,
        series: note.series,
        note: note.id,
        seller: *sender,
        cu: note.cu,
        price: action.price,
    };
    view.list_add(keys::list_of_offers(&note.run), offer.id);
    view.emit(OfferPosted { offer: offer.id, run: note.run, cu: note.cu, price: action.price });
    view.put(keys::offer(&offer.id), offer);
    note.state = NoteState::Offered;
    note.bound_to = *tx;
    view.put(keys::note(&note.id), note);
    Ok(())
}

fn close(view: &mut View<'_>, offer: &Offer) {
    view.list_remove(keys::list_of_offers(&offer.run), offer.id);
    view.delete(keys::offer(&offer.id));
}

pub(crate) fn cancel(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &CancelOffer,
) -> Result<(), Stop> {
    let offer: Offer = view.must(&keys::offer(&action.offer), "offer", action.offer)?;
    if offer.seller != *sender {
        return Err(TxError::Role { expected: format!("the seller {}", offer.seller), got: *sender }.into());
    }
    view.want([keys::credits(&offer.run), keys::note(&offer.note)])?;
    let mut note: Note = view.must(&keys::note(&offer.note), "note", offer.note)?;
    supply::shift(view, &offer.run, offer.series, Place::Auctioned, Place::Notes, offer.cu)?;
    if note.cu == offer.cu {
        // Nothing was sold: the note is as it was.
        note.state = NoteState::Unspent;
        note.bound_to = Hash::ZERO;
        view.put(keys::note(&note.id), note);
    } else {
        let owner = note.owner;
        note::spend(view, note, &offer.id);
        let new = NewNote { run: offer.run, series: offer.series, cu: offer.cu, owner, flags: 0 };
        note::create(view, new, tx, 0);
    }
    close(view, &offer);
    view.emit(OfferCancelled { offer: offer.id, cu: offer.cu });
    Ok(())
}

pub(crate) fn buy(view: &mut View<'_>, tx: &Hash, sender: &PublicKey, action: &BuyOffer) -> Result<(), Stop> {
    let mut offer: Offer = view.must(&keys::offer(&action.offer), "offer", action.offer)?;
    view.want([keys::credits(&offer.run), keys::note(&offer.note), keys::account(&offer.seller)])?;
    if action.cu == 0 || action.cu > offer.cu {
        return Err(TxError::OfferTooSmall { wanted: action.cu, got: offer.cu }.into());
    }
    if offer.price > action.max_price {
        return Err(TxError::Price { limit: action.max_price, price: offer.price }.into());
    }
    let cost = offer
        .price
        .checked_mul(action.cu.into())
        .ok_or(TxError::Overflow { what: "the cost of the purchase" })?;
    account::debit(view, sender, cost)?;
    account::credit(view, &offer.seller, cost)?;
    supply::shift(view, &offer.run, offer.series, Place::Auctioned, Place::Notes, action.cu)?;
    offer.cu -= action.cu;
    let new = NewNote { run: offer.run, series: offer.series, cu: action.cu, owner: action.to, flags: 0 };
    note::create(view, new, tx, 0);
    view.emit(Sold {
        offer: offer.id,
        run: offer.run,
        buyer: *sender,
        seller: offer.seller,
        cu: action.cu,
        price: offer.price,
    });
    if offer.cu == 0 {
        let note: Note = view.must(&keys::note(&offer.note), "note", offer.note)?;
        note::spend(view, note, &offer.id);
        close(view, &offer);
    } else {
        view.put(keys::offer(&offer.id), offer);
    }
    Ok(())
}
