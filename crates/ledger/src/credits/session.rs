//! Lock notes for a session, settle what was used, return the rest (ownership specification 3.3, 3.7).
//!
//! ```text
//! LockNotes -> Open --SettleSession(j)--> Settling --delay, boundary or FinalizeSession--> Final:   j to the pool,
//!               |                            ^ RaiseSettle(higher j)                        hosts paid, change note
//!               +--past open_until + delay, boundary or ExpireLock--> Expired: lock fee to the pool, change note
//! ```
//! The session home is drawn when the order locks, from that block's beacon and the smallest note id: neither
//! is the client's to choose once its order is under way. Handing a session to another home (`attempt` above
//! 0), blind redemption and disputes about delivered chunks come later. Until hosts countersign the fee
//! split, its poster is trusted with it up to `fee_per_cu * chunks`.

use crate::{
    account,
    action::{FeeShare, LockNotes, MAX_ORDER_CU, ORDER, RaiseSettle, SettleSession},
    error::TxError,
    event::{Expired, HostPaid, Locked, Settled, Settling},
    keys,
    note::{self, NewNote},
    payword,
    record::{
        Credits, Escrow, FeeShares, Lock, LockState, LockedNotes, Member, Note, NoteState, Settlement, Stage,
    },
    run, seat,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Domain, Hash, List, PublicKey, digest};

const HOME: Domain = Domain::new("tessera/ledger/session-home/v1");
const NOTES_IN_CELL: usize = 6;
const SHARES_IN_CELL: usize = 5;

/// The home of a session: one of stage 0's held seats (`accounts`, in seat order), the same for everybody who
/// knows the beacon of the locking block, the smallest note id and the attempt. `None` without seats.
pub fn expected_home(
    beacon: &Hash,
    first_note: &Hash,
    attempt: u16,
    accounts: &[PublicKey],
) -> Option<PublicKey> {
    let draw = digest(HOME, &((*beacon, *first_note), attempt)).low_u64();
    // At most 64 seats of 2^64 draws: the bias is below 2^-58.
    let at = draw.checked_rem(accounts.len() as u64)?;
    accounts.get(at as usize).copied()
}

/// The first boundary after `height`.
fn epoch_after(height: u64, epoch_blocks: u64) -> u64 {
    height / epoch_blocks.max(1) + 1
}

pub(crate) fn lock(view: &mut View<'_>, sender: &PublicKey, action: &LockNotes) -> Result<(), Stop> {
    let order = &action.order;
    let id = order.id();
    if order.network != view.context.network {
        return Err(TxError::SignedForOtherNetwork {
            what: "the order",
            expected: view.context.network,
            got: order.network,
        }
        .into());
    }
    view.want(
        [keys::params(), keys::credits(&order.run), keys::stage(&order.run, 0), keys::lock(&id)]
            .into_iter()
            .chain(order.notes.iter().map(keys::note)),
    )?;
    let (_, run) = run::load(view, &order.run)?;
    if view.get::<Lock>(&keys::lock(&id))?.is_some() {
        return Err(TxError::Duplicate { what: "order", id: id.to_string() }.into());
    }
    if let Some(at) = order.notes.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(TxError::NotAscending { what: "the notes", at: at + 1 }.into());
    }
    if !run.serving {
        return Err(run::wrong_state(&run, "serving"));
    }
    let credits: Credits = view.must(&keys::credits(&order.run), "run", order.run)?;
    if order.series != credits.series {
        return Err(TxError::Series { expected: credits.series, got: order.series }.into());
    }
    let notes = note::inputs(view, &order.notes, sender, ORDER, order, &action.owners)?;
    if let Some(other) = notes.iter().find(|note| note.run != order.run || note.series != order.series) {
        return Err(TxError::Mixed { note: other.id }.into());
    }
    let sum: u128 = notes.iter().map(|note| u128::from(note.cu)).sum();
    if sum != u128::from(order.cu) {
        return Err(TxError::Sum { what: "locked notes", expected: order.cu.into(), got: sum }.into());
    }
    if order.cu > MAX_ORDER_CU {
        return Err(TxError::Chunks { max: MAX_ORDER_CU, got: order.cu }.into());
    }
    let height = view.context.height;
    let params = view.params()?;
    let latest = height.saturating_add(params.lock_blocks);
    if order.open_until <= height || order.open_until > latest {
        return Err(TxError::OpenUntil { from: height, to: latest, got: order.open_until }.into());
    }
    let stage: Stage = view.must(&keys::stage(&order.run, 0), "stage", 0)?;
    let seats: Vec<PublicKey> = seat::held_seats(view, &stage)?.iter().map(|seat| seat.account).collect();
    let first_note = notes[0].id;
    let beacon = view.context.beacon;
    let home = expected_home(&beacon, &first_note, 0, &seats).ok_or(TxError::NoHome)?;
    let held = order
        .fee_per_cu
        .checked_mul(order.cu.into())
        .ok_or(TxError::Overflow { what: "the fee of the session" })?;
    account::debit(view, sender, held)?;

    supply::shift(view, &order.run, order.series, Place::Notes, Place::Locked, order.cu.into())?;
    view.put(
        keys::lock(&id),
        Lock {
            order: id,
            run: order.run,
            series: order.series,
            cu: order.cu,
            session_key: order.session_key,
            payword_root: order.payword_root,
            home,
            attempt: 0,
            locked_at: height,
            open_until: order.open_until,
            notes: notes.len() as u16,
            state: LockState::Open,
        },
    );
    view.put(
        keys::escrow(&id),
        Escrow {
            order: id,
            payer: *sender,
            refund_to: order.refund_to,
            fee_per_cu: order.fee_per_cu,
            held,
            first_note,
            beacon,
        },
    );
    for (part, ids) in (0u16..).zip(order.notes.chunks(NOTES_IN_CELL)) {
        let notes = List::new(ids.to_vec()).unwrap_or_default();
        view.put(keys::locked_notes(&id, part), LockedNotes { order: id, part, notes });
    }
    for mut note in notes {
        note.state = NoteState::Locked;
        note.bound_to = id;
        view.put(keys::note(&note.id), note);
    }
    let due = epoch_after(order.open_until.saturating_add(params.settle_delay), params.epoch_blocks);
    view.list_add(keys::list_of_due(due), id);
    view.emit(Locked { order: id, run: order.run, cu: order.cu, home });
    Ok(())
}

fn load(view: &View<'_>, id: &Hash) -> Result<(Lock, Escrow), Stop> {
    view.want([keys::lock(id), keys::escrow(id), keys::params()])?;
    Ok((view.must(&keys::lock(id), "order", id)?, view.must(&keys::escrow(id), "order", id)?))
}

fn wrong_state(lock: &Lock, expected: &'static str) -> Stop {
    let got = match lock.state {
        LockState::Open => "open",
        LockState::Settling => "settling",
        LockState::Final => "final",
        LockState::Expired => "expired",
    };
    TxError::OrderState { expected, got }.into()
}

/// Chunks in range, every payee a member of the run, the sum under the cap, the payword right.
fn check_settlement(
    view: &View<'_>,
    lock: &Lock,
    escrow: &Escrow,
    chunks: u32,
    word: &Hash,
    hosts: &[FeeShare],
) -> Result<(), Stop> {
    if chunks == 0 || chunks > lock.cu {
        return Err(TxError::Chunks { max: lock.cu, got: chunks }.into());
    }
    if let Some(at) = hosts.windows(2).position(|pair| pair[0].host >= pair[1].host) {
        return Err(TxError::NotAscending { what: "the hosts", at: at + 1 }.into());
    }
    view.want(hosts.iter().map(|share| keys::member(&lock.run, &share.host)))?;
    for share in hosts {
        let member = view.get::<Member>(&keys::member(&lock.run, &share.host))?;
        if member.and_then(|member| member.stage).is_none() {
            return Err(TxError::NotMember { account: share.host, detail: " and cannot be paid" }.into());
        }
    }
    let cap = escrow.fee_per_cu.saturating_mul(chunks.into());
    let sum = hosts.iter().try_fold(0u128, |sum, share| sum.checked_add(share.amount));
    if sum.is_none_or(|sum| sum > cap) {
        let got = sum.unwrap_or(u128::MAX);
        return Err(TxError::Sum { what: "fees of the hosts, at most,", expected: cap, got }.into());
    }
    // Last, so that a repeated attempt does not hash again.
    if !payword::check(&lock.payword_root, chunks, word) {
        return Err(TxError::Payword { chunks }.into());
    }
    Ok(())
}

fn put_hosts(view: &mut View<'_>, id: &Hash, hosts: &[FeeShare]) {
    for (part, shares) in (0u16..).zip(hosts.chunks(SHARES_IN_CELL)) {
        let shares = List::new(shares.to_vec()).unwrap_or_default();
        view.put(keys::fee_shares(id, part), FeeShares { shares });
    }
}

pub(crate) fn settle(view: &mut View<'_>, sender: &PublicKey, action: &SettleSession) -> Result<(), Stop> {
    let id = action.order;
    let (mut lock, escrow) = load(view, &id)?;
    if lock.state != LockState::Open {
        return Err(wrong_state(&lock, "open"));
    }
    let params = view.params()?;
    let now = view.context.height;
    let until = lock.open_until.saturating_add(params.settle_delay);
    if now > until {
        return Err(TxError::Late { what: "settling", until, now }.into());
    }
    if *sender != lock.home && *sender != escrow.payer {
        let expected = format!("the home {} or the payer {}", lock.home, escrow.payer);
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    view.want([keys::member(&lock.run, sender)])?;
    seat::heard(view, &lock.run, sender)?;
    check_settlement(view, &lock, &escrow, action.chunks, &action.payword, &action.hosts)?;
    put_hosts(view, &id, &action.hosts);
    view.put(
        keys::settlement(&id),
        Settlement {
            order: id,
            chunks: action.chunks,
            payword: action.payword,
            poster: *sender,
            height: now,
            shares: action.hosts.len() as u16,
        },
    );
    let expiry = epoch_after(until, params.epoch_blocks);
    let due = epoch_after(now.saturating_add(params.settle_delay), params.epoch_blocks);
    if due != expiry {
        view.list_add(keys::list_of_due(due), id);
    }
    lock.state = LockState::Settling;
    view.put(keys::lock(&id), lock);
    view.emit(Settling { order: id, chunks: action.chunks, by: *sender });
    Ok(())
}

pub(crate) fn raise(view: &mut View<'_>, sender: &PublicKey, action: &RaiseSettle) -> Result<(), Stop> {
    let id = action.order;
    let (lock, escrow) = load(view, &id)?;
    if lock.state != LockState::Settling {
        return Err(wrong_state(&lock, "settling"));
    }
    view.want([keys::settlement(&id), keys::member(&lock.run, sender)])?;
    let mut settlement: Settlement = view.must(&keys::settlement(&id), "settlement", id)?;
    let now = view.context.height;
    let until = settlement.height.saturating_add(view.params()?.settle_delay);
    if now > until {
        return Err(TxError::Late { what: "raising", until, now }.into());
    }
    if *sender != escrow.payer && seat::held_by(view, &lock.run, sender)?.is_none() {
        let expected = format!("a seated host of the run or the payer {}", escrow.payer);
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    if action.chunks <= settlement.chunks {
        return Err(TxError::NotBetter { settled: settlement.chunks, got: action.chunks }.into());
    }
    seat::heard(view, &lock.run, sender)?;
    check_settlement(view, &lock, &escrow, action.chunks, &action.payword, &action.hosts)?;
    for part in 0..usize::from(settlement.shares).div_ceil(SHARES_IN_CELL) {
        view.delete(keys::fee_shares(&id, part as u16));
    }
    put_hosts(view, &id, &action.hosts);
    settlement.chunks = action.chunks;
    settlement.payword = action.payword;
    settlement.poster = *sender;
    settlement.shares = action.hosts.len() as u16;
    view.put(keys::settlement(&id), settlement);
    view.emit(Settling { order: id, chunks: action.chunks, by: *sender });
    Ok(())
}

/// Spend the notes, absorb `used` credits, give the rest back as a change note.
fn absorb(view: &mut View<'_>, lock: &Lock, escrow: &Escrow, used: u64) -> Result<(), Stop> {
    let parts = || (0..usize::from(lock.notes).div_ceil(NOTES_IN_CELL)).map(|part| part as u16);
    view.want(parts().map(|part| keys::locked_notes(&lock.order, part)))?;
    let mut ids = Vec::new();
    for part in parts() {
        if let Some(cell) = view.get::<LockedNotes>(&keys::locked_notes(&lock.order, part))? {
            ids.extend(cell.notes.into_inner());
        }
    }
    view.want(ids.iter().map(keys::note).chain([keys::credits(&lock.run)]))?;
    for id in ids {
        let note: Note = view.must(&keys::note(&id), "note", id)?;
        note::spend(view, note, &lock.order);
    }
    let rest = u64::from(lock.cu) - used;
    supply::shift(view, &lock.run, lock.series, Place::Locked, Place::Pool, used)?;
    supply::shift(view, &lock.run, lock.series, Place::Locked, Place::Notes, rest)?;
    if rest > 0 {
        let new = NewNote { run: lock.run, series: lock.series, cu: rest, owner: escrow.refund_to, flags: 0 };
        note::create(view, new, &lock.order, 0);
    }
    Ok(())
}

/// Pay what remains of the escrow back.
fn release(view: &mut View<'_>, mut escrow: Escrow) -> Result<(), Stop> {
    let rest = std::mem::take(&mut escrow.held);
    account::credit(view, &escrow.payer, rest)?;
    view.put(keys::escrow(&escrow.order), escrow);
    Ok(())
}

pub(crate) fn finalize(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (mut lock, mut escrow) = load(view, id)?;
    if lock.state != LockState::Settling {
        return Err(wrong_state(&lock, "settling"));
    }
    let settlement: Settlement = view.must(&keys::settlement(id), "settlement", id)?;
    let after = settlement.height.saturating_add(view.params()?.settle_delay);
    let now = view.context.height;
    if now <= after {
        return Err(TxError::Early { what: "finalizing", after, now }.into());
    }
    let mut fees = 0;
    for part in 0..usize::from(settlement.shares).div_ceil(SHARES_IN_CELL) {
        let key = keys::fee_shares(id, part as u16);
        let Some(cell) = view.get::<FeeShares>(&key)? else { continue };
        view.want(cell.shares.iter().map(|share| keys::account(&share.host)))?;
        for share in cell.shares.iter() {
            escrow.held -= share.amount;
            fees += share.amount;
            account::credit(view, &share.host, share.amount)?;
            view.emit(HostPaid { order: *id, host: share.host, amount: share.amount });
        }
    }
    absorb(view, &lock, &escrow, settlement.chunks.into())?;
    release(view, escrow)?;
    view.emit(Settled { order: *id, run: lock.run, chunks: settlement.chunks, fees });
    lock.state = LockState::Final;
    view.put(keys::lock(id), lock);
    Ok(())
}

pub(crate) fn expire(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (mut lock, escrow) = load(view, id)?;
    if lock.state != LockState::Open {
        return Err(wrong_state(&lock, "open"));
    }
    let params = view.params()?;
    let after = lock.open_until.saturating_add(params.settle_delay);
    let now = view.context.height;
    if now <= after {
        return Err(TxError::Early { what: "expiring", after, now }.into());
    }
    let lock_fee = u64::from(params.lock_fee.min(lock.cu));
    absorb(view, &lock, &escrow, lock_fee)?;
    release(view, escrow)?;
    view.emit(Expired { order: *id, run: lock.run, lock_fee });
    lock.state = LockState::Expired;
    view.put(keys::lock(id), lock);
    Ok(())
}

/// At the boundary that opens `epoch`: whatever ran out or can no longer be raised.
pub(crate) fn boundary(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let list = keys::list_of_due(epoch);
    let ids = view.list_items(&list)?;
    view.want(ids.iter().flat_map(|id| [keys::lock(id), keys::escrow(id), keys::settlement(id)]))?;
    for id in ids {
        view.list_remove(list, id);
        let state = view.get::<Lock>(&keys::lock(&id))?.map(|lock| lock.state);
        let done = match state {
            Some(LockState::Open) => expire(view, &id),
            Some(LockState::Settling) => finalize(view, &id),
            _ => Ok(()),
        };
        match done {
            // Not ripe: the order stands on a later list too.
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(need) => return Err(need),
        }
    }
    Ok(())
}
