//! Keep balances, nonces and fees; every U that leaves one place arrives in another.

use crate::{
    action::{Action, ROTATION, RotateKey, Rotation, Transfer},
    error::TxError,
    event::{Charged, Credited, FeePaid, KeyRotated, Reason, Transferred},
    genesis::Params,
    keys,
    market::fee,
    record::{Account, Globals, NextSigner, SignerTerm, SignerTerms},
    store::{Stop, View},
    tx::{FeeSource, MAX_TX_BYTES, SignedTx},
};
use tessera_canon::{Hash, PublicKey};

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

/// Keys that one look at the past tries at most, the newest first. Of a span of fewer epochs none is left out, since a
/// key stays for an epoch at least.
const MOST_KEYS: u32 = 16;

/// The key whose signatures count for the account `of` in this block. Ask here, wherever the ledger checks what
/// an account signed for this moment outside of transactions; for what it signed before, ask [`signed_then`].
pub(crate) fn signer(view: &View<'_>, of: &PublicKey) -> Result<PublicKey, Stop> {
    Ok(load(view, of)?.signer_at(view.context.height))
}

/// Whether a key that signed for the account `of` at some height from `from` to `to` passes `check`. A key that came
/// later proves nothing about then, and one that was given up still answers for what it signed in its time.
pub(crate) fn signed_then(
    view: &View<'_>,
    of: &PublicKey,
    (from, to): (u64, u64),
    check: impl Fn(&PublicKey) -> bool,
) -> Result<bool, Stop> {
    view.want([keys::account(of), keys::signer_terms(of)])?;
    let account = load(view, of)?;
    let count = view.get::<SignerTerms>(&keys::signer_terms(of))?.map_or(0, |terms| terms.count);
    let term = |number: u32| view.must::<SignerTerm>(&keys::signer_term(of, number), "key of", of);
    // The first term that ends after `to`; past the last one, the key of the newest rotation signs.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if term(middle)?.until > to {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let newest = account.next.as_ref().map_or(account.signer, |next| next.key);
    let mut at = low;
    for _ in 0..MOST_KEYS {
        let key = if at == count { newest } else { term(at)?.key };
        if check(&key) {
            return Ok(true);
        }
        let Some(before) = at.checked_sub(1) else { break };
        if term(before)?.until <= from {
            break;
        }
        at = before;
    }
    Ok(false)
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
    view.want([keys::account(sender), keys::signer_terms(sender)])?;
    let mut account = load(view, sender)?;
    let count = view.get::<SignerTerms>(&keys::signer_terms(sender))?.map_or(0, |terms| terms.count);
    // A key that has not begun to sign is replaced by this one: the present key's term becomes longer.
    let waits = account.next.as_ref().is_some_and(|next| next.from > height);
    let number = if waits { count.saturating_sub(1) } else { count };
    account.signer = account.signer_at(height);
    let term = SignerTerm { account: *sender, number, key: account.signer, until: from };
    view.put(keys::signer_term(sender, number), term);
    view.put(keys::signer_terms(sender), SignerTerms { account: *sender, count: number.saturating_add(1) });
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

/// As [`debit`], told by an event.
pub(crate) fn charge_for(
    view: &mut View<'_>,
    from: &PublicKey,
    amount: u128,
    (reason, of): (Reason, &Hash),
) -> Result<(), Stop> {
    debit(view, from, amount)?;
    if amount > 0 {
        view.emit(Charged { account: *from, amount, reason, of: *of });
    }
    Ok(())
}

/// As [`credit`], told by an event.
pub(crate) fn credit_for(
    view: &mut View<'_>,
    to: &PublicKey,
    amount: u128,
    (reason, of): (Reason, &Hash),
) -> Result<(), Stop> {
    credit(view, to, amount)?;
    if amount > 0 {
        view.emit(Credited { account: *to, amount, reason, of: *of });
    }
    Ok(())
}

pub(crate) fn transfer(view: &mut View<'_>, sender: &PublicKey, action: &Transfer) -> Result<(), Stop> {
    view.want([keys::account(&action.to)])?;
    debit(view, sender, action.amount)?;
    credit(view, &action.to, action.amount)?;
    view.emit(Transferred { from: *sender, to: action.to, amount: action.amount });
    Ok(())
}
