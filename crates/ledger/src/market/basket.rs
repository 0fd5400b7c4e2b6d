//! Move shares of several runs at once, so that a portfolio changes hands in one piece (ownership specification 4.9).

use crate::{
    action::{BasketTransfer, TransferShares},
    error::TxError,
    keys, shares,
    store::{Stop, View},
};
use tessera_canon::PublicKey;

pub(crate) fn transfer(view: &mut View<'_>, sender: &PublicKey, action: &BasketTransfer) -> Result<(), Stop> {
    let parts = &action.parts;
    view.want(parts.iter().flat_map(|part| {
        [keys::credits(&part.run), keys::owner(&part.run, sender), keys::owner(&part.run, &action.to)]
    }))?;
    if parts.is_empty() {
        let (what, expected, got) = ("the number of runs", "at least 1".into(), "0".into());
        return Err(TxError::Parameter { what, expected, got }.into());
    }
    if let Some(at) = parts.windows(2).position(|pair| pair[0].run >= pair[1].run) {
        return Err(TxError::NotAscending { what: "the runs", at: at + 1 }.into());
    }
    for part in parts.iter() {
        let (run, amount) = (part.run, part.amount);
        shares::transfer(view, sender, &TransferShares { run, to: action.to, amount })?;
    }
    Ok(())
}
