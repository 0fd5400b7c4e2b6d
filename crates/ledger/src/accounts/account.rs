//! Keep balances, nonces and fees; every U that leaves one place arrives in another.

use crate::{
    action::Transfer,
    error::TxError,
    event::{FeePaid, Transferred},
    genesis::Params,
    keys,
    record::{Account, Globals},
    store::{Stop, View},
    tx::{MAX_TX_BYTES, SignedTx},
};
use tessera_canon::PublicKey;

/// The least fee of a transaction of `size` bytes.
pub fn least_fee(params: &Params, size: usize) -> u128 {
    params.fee_flat.saturating_add(params.fee_per_byte.saturating_mul(size as u128))
}

pub(crate) fn load(view: &View<'_>, key: &PublicKey) -> Result<Account, Stop> {
    Ok(view.get(&keys::account(key))?.unwrap_or(Account { key: *key, balance: 0, nonce: 0 }))
}

/// Refuse what must not stand in a block at all.
pub(crate) fn check_envelope(view: &View<'_>, tx: &SignedTx, verified: bool) -> Result<(), Stop> {
    let body = &tx.body;
    let size = tx.size();
    if size > MAX_TX_BYTES {
        return Err(TxError::TooBig { max: MAX_TX_BYTES, got: size }.into());
    }
    if body.network != view.context.network {
        return Err(TxError::WrongNetwork { expected: view.context.network, got: body.network }.into());
    }
    if !verified {
        return Err(TxError::BadSignature { sender: body.sender }.into());
    }
    view.want([keys::params(), keys::globals(), keys::account(&body.sender)])?;
    let account = load(view, &body.sender)?;
    if account.nonce != body.nonce {
        return Err(TxError::WrongNonce { expected: account.nonce, got: body.nonce }.into());
    }
    let least = least_fee(&view.params()?, size);
    if body.fee < least {
        return Err(TxError::FeeTooSmall { expected: least, got: body.fee }.into());
    }
    if account.balance < body.fee {
        return Err(TxError::FeeFunds { expected: body.fee, got: account.balance }.into());
    }
    Ok(())
}

/// Take the fee and count the nonce; the envelope was checked.
pub(crate) fn charge(view: &mut View<'_>, tx: &SignedTx) -> Result<(), Stop> {
    let mut account = load(view, &tx.body.sender)?;
    account.balance = account.balance.saturating_sub(tx.body.fee);
    account.nonce += 1;
    view.put(keys::account(&tx.body.sender), account);
    if view.params()?.fee_to_fund {
        to_fund(view, tx.body.fee)?;
    } else {
        let mut globals = globals(view)?;
        globals.burned += tx.body.fee;
        view.put(keys::globals(), globals);
    }
    view.emit(FeePaid { payer: tx.body.sender, amount: tx.body.fee });
    Ok(())
}

fn globals(view: &View<'_>) -> Result<Globals, Stop> {
    Ok(view.get(&keys::globals())?.unwrap_or(Globals { issued: 0, burned: 0, fund: 0 }))
}

/// Put `amount` into the public fund.
pub(crate) fn to_fund(view: &mut View<'_>, amount: u128) -> Result<(), Stop> {
    let mut globals = globals(view)?;
    globals.fund += amount;
    view.put(keys::globals(), globals);
    Ok(())
}

/// Take `most` from the public fund, or what it has.
pub(crate) fn from_fund(view: &mut View<'_>, most: u128) -> Result<u128, Stop> {
    let mut globals = globals(view)?;
    let taken = globals.fund.min(most);
    globals.fund -= taken;
    view.put(keys::globals(), globals);
    Ok(taken)
}

/// Take `amount` from an account.
pub(crate) fn debit(view: &mut View<'_>, from: &PublicKey, amount: u128) -> Result<(), Stop> {
    let mut account = load(view, from)?;
    account.balance =
        account.balance.checked_sub(amount).ok_or(TxError::Funds { needed: amount, got: account.balance })?;
    view.put(keys::account(from), account);
    Ok(())
}
/// Give `amount` to an account. Cannot overflow: all U together is a `u128`.
pub(crate) fn credit(view: &mut View<'_>, to: &PublicKey, amount: u128) -> Result<(), Stop> {
    let mut account = load(view, to)?;
    account.balance += amount;
    view.put(keys::account(to), account);
    Ok(())
}

pub(crate) fn transfer(view: &mut View<'_>, sender: &PublicKey, action: &Transfer) -> Result<(), Stop> {
    view.want([keys::account(&action.to)])?;
    debit(view, sender, action.amount)?;
    credit(view, &action.to, action.amount)?;
    view.emit(Transferred { from: *sender, to: action.to, amount: action.amount });
    Ok(())
}
