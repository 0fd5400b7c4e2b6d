//! Remember what was held just before a proposal was posted, at the price of one cell for each change.
//!
//! Power is counted at the end of the block *before* a proposal (ownership specification 6.1), so that shares
//! borrowed for a vote, or moved after it, do not count. The ledger keeps no past states. Instead, whoever
//! changes an amount first says what it was (`before_change`).
//!
//! ```text
//! newest entry: until = U, amount = a, older = O    a is what was held just before block U, and back to the
//!                                                   end of block O, where the amount last changed before
//! power of a proposal posted in block p:  p > U          what is held now
//!                                         O < p <= U     a
//!                                         p <= O         the entry with until = O, and so on
//! ```
//! The first change in a block always leaves an entry, also while nothing is proposed: a proposal may still be
//! posted in the same block. The entry before it is kept only if a proposal that takes votes may need it. Once
//! nothing takes votes, every change deletes up to four old entries. So a subject has at most one entry more
//! than there are proposals taking votes, up to a backlog that shrinks with use.

use crate::{
    cell::Key,
    keys,
    market::pool,
    record::{Assembly, Credits, History, Owner, Wide},
    store::{Stop, View},
};
use ruint::aliases::U256;
use tessera_canon::{Domain, Hash, PublicKey, digest};

const SUBJECT: Domain = Domain::new("tessera/ledger/power-subject/v1");

/// Old entries that one change deletes at most.
const SWEEP: usize = 4;

/// An account's active shares of a run; its bonded U where `run` is [`Hash::ZERO`].
pub fn shares_of(run: &Hash, account: &PublicKey) -> Hash {
    digest(SUBJECT, &((0u8, *run), *account))
}
/// An account's verified work in a run; in all runs where `run` is [`Hash::ZERO`].
pub fn work_of(run: &Hash, account: &PublicKey) -> Hash {
    digest(SUBJECT, &((1u8, *run), *account))
}
/// All active shares of a run; all bonded U.
pub fn all_shares(run: &Hash) -> Hash {
    digest(SUBJECT, &(2u8, *run))
}
/// The verified work of all accounts.
pub fn all_work(run: &Hash) -> Hash {
    digest(SUBJECT, &(3u8, *run))
}

pub(crate) fn assembly(view: &View<'_>, run: &Hash) -> Result<Assembly, Stop> {
    Ok(view.get(&keys::assembly(run))?.unwrap_or(Assembly {
        run: *run,
        latest: 0,
        busy_until: 0,
        earlier: 0,
        busy_before: 0,
        no_pause_before: 0,
        work: Wide::default(),
        plan: Hash::ZERO,
    }))
}

/// Note that `subject` is `amount` and about to change in this block.
pub(crate) fn before_change(
    view: &mut View<'_>,
    run: &Hash,
    subject: Hash,
    amount: U256,
) -> Result<(), Stop> {
    let (key, height) = (keys::history(&subject), view.context.height);
    view.want([key, keys::assembly(run)])?;
    let mut older = 0;
    if let Some(last) = view.get::<History>(&key)? {
        if last.until == height {
            return Ok(());
        }
        let assembly = assembly(view, run)?;
        // Proposals of this very block need the new entry only. They must not be seen here, or the order of
        // independent transactions in the block would show in what is kept.
        let (latest, busy_until) = if assembly.latest == height {
            (assembly.earlier, assembly.busy_before)
        } else {
            (assembly.latest, assembly.busy_until)
        };
        older = last.older;
        if busy_until < height {
            for _ in 0..SWEEP {
                if older == 0 {
                    break;
                }
                let key = keys::history_until(&subject, older);
                older = view.get::<History>(&key)?.map_or(0, |entry| entry.older);
                view.delete(key);
            }
        } else if latest > older {
            older = last.until;
            view.put(keys::history_until(&subject, last.until), last);
        }
    }
    view.put(key, History { run: *run, subject, until: height, amount: Wide(amount), older });
    Ok(())
}

/// Shares with which an owner would vote now: its own, and those that it lets the auto-sell pool hold.
pub(crate) fn voting_shares(view: &View<'_>, owner: &Owner) -> Result<u128, Stop> {
    pool::voting_shares(view, owner)
}
/// Note that an owner's shares are about to change. Must precede every change of [`Owner::shares`].
pub(crate) fn shares_change(view: &mut View<'_>, owner: &Owner) -> Result<(), Stop> {
    let (subject, now) = (shares_of(&owner.run, &owner.account), voting_shares(view, owner)?);
    before_change(view, &owner.run, subject, U256::from(now))
}
/// Note that a run's active shares are about to change. Must precede every change of [`Credits::active`].
pub(crate) fn active_change(view: &mut View<'_>, credits: &Credits) -> Result<(), Stop> {
    before_change(view, &credits.run, all_shares(&credits.run), U256::from(credits.active))
}

/// What `subject` was just before block `posted`, given what it is now. Exact for the blocks of proposals that
/// take votes and for the present block; `read` gives the entry at a key.
pub fn just_before<E>(
    read: impl Fn(&Key) -> Result<Option<History>, E>,
    subject: &Hash,
    posted: u64,
    now: U256,
) -> Result<U256, E> {
    let mut entry = match read(&keys::history(subject))? {
        Some(entry) if posted <= entry.until => entry,
        _ => return Ok(now),
    };
    while posted <= entry.older {
        match read(&keys::history_until(subject, entry.older))? {
            Some(older) => entry = older,
            None => break,
        }
    }
    Ok(entry.amount.0)
}
pub(crate) fn power(view: &View<'_>, subject: &Hash, posted: u64, now: U256) -> Result<U256, Stop> {
    just_before(|key| view.get::<History>(key), subject, posted, now)
}
