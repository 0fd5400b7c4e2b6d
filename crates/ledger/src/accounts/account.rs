//! Keep balances, nonces and fees; every U that leaves one place arrives in another.

use crate::{
    action::{Action, ROTATION, RotateKey, Rotation, Transfer},
    error::TxError,
    event::{FeePaid, KeyRotated, Transferred},
    genesis::Params,
    keys,
    market::fee,
    record::{Account, Globals, NextSigner},
    store::{Stop, View},
    tx::{FeeSource, MAX_TX_BYTES, SignedTx},
};
use tessera_canon::PublicKey;

/// Whether `tx` comes without a fee and need not have one: a window report, which the quorum of a stage owes
/// once for each window and whose senders may not own any U yet.
pub(crate) fn waived(view: &View<'_>, tx: &SignedTx) -> Result<bool, Stop> {
    let free = matches!(tx.body.action, Action::ReportWindow(_));
    Ok(free && tx.body.fee < least_fee(&view.params()?, tx.size()))
}

/// The least fee of a transaction of `size` bytes.
pub fn least_fee(params: &Params, size: usize) -> u128 {
    params.fee_flat.saturating_add(params.fee_per_byte.saturating_mul(size as u128))
}

pub(crate) fn load(view: &View<'_>, key: &PublicKey) -> Result<Account, Stop> {
    Ok(view.get(&keys::account(key))?.unwrap_or_else(|| Account::new(*key)))
}

/// The key whose signatures count for the account `of` in this block. Ask here, wherever the ledger checks what
/// an account signed outside of transactions.
pub(crate) fn signer(view: &View<'_>, of: &PublicKey) -> Result<PublicKey, Stop> {
    Ok(load(view, of)?.signer_at(view.context.height))
}

/// Let another key sign for the sender from one epoch later. Both keys signed, so neither a stolen key alone
/// nor a mistyped one can end up in charge. Notes belong to keys, not accounts: they do not follow.
pub(crate) fn rotate(view: &mut View<'_>, sender: &PublicKey, action: &RotateKey) -> Result<(), Stop> {
    let height = view.context.height;
    let statement = Rotation { network: view.context.network, account: *sender, key: action.key };
    if !action.key.verify(ROTATION, &statement, &action.signature) {
        return Err(TxError::KeySignature { key: action.key }.into());
    }
    let from = height.saturating_add(view.params()?.epoch_blocks.max(1));
    let mut account = load(view, sender)?;
    account.signer = account.signer_at(height);
    account.next = Some(NextSigner { key: action.key, from });
    view.put(keys::account(sender), account);
    view.emit(KeyRotated { account: *sender, key: action.key, from });
    Ok(())
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
    if body.fee < least && !waived(view, tx)? {
        return Err(TxError::FeeTooSmall { expected: least, got: body.fee }.into());
    }
    fee::check(view, body)?;
    if matches!(body.fee_from, FeeSource::U(_)) && account.balance < body.fee {
        return Err(TxError::FeeFunds { expected: body.fee, got: account.balance }.into());
    }
    Ok(())
}

/// Take the fee and count the nonce; the envelope was checked.
pub(crate) fn charge(view: &mut View<'_>, tx: &SignedTx) -> Result<(), Stop> {
    let mut account = load(view, &tx.body.sender)?;
    account.nonce += 1;
    let in_credits = fee::charge(view, &tx.id(), &tx.body)?;
    if !in_credits {
        account.balance = account.balance.saturating_sub(tx.body.fee);
    }
    view.put(keys::account(&tx.body.sender), account);
    if in_credits {
        return Ok(());
    }
    if view.params()?.fee_to_fund {
        to_fund(view, tx.body.fee)?;
    } else {
        burn(view, tx.body.fee)?;
    }
    view.emit(FeePaid { payer: tx.body.sender, amount: tx.body.fee });
    Ok(())
}

fn globals(view: &View<'_>) -> Result<Globals, Stop> {
    Ok(view.get(&keys::globals())?.unwrap_or(Globals { issued: 0, burned: 0, fund: 0 }))
}

/// Burn `amount` that has left its place.
pub(crate) fn burn(view: &mut View<'_>, amount: u128) -> Result<(), Stop> {
    let mut globals = globals(view)?;
    globals.burned += amount;
    view.put(keys::globals(), globals);
    Ok(())
}

/// Count `amount` as issued; the caller puts it somewhere.
pub(crate) fn issue(view: &mut View<'_>, amount: u128) -> Result<(), Stop> {
    let mut globals = globals(view)?;
    globals.issued += amount;
    view.put(keys::globals(), globals);
    Ok(())
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
