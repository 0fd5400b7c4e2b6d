//! Lock notes for a session, draw its home, return what was not used (ownership specification 3.3, 3.7).
//!
//! ```text
//! LockNotes -> Locking --next block--> Open --SettleSession(j)--> Settling --delay--> Final: j to the pool, hosts
//!                 ^                    |  |                         ^ RaiseSettle     paid, change note
//!                 +----- Failover -----+  +--past open_until + delay--> Expired: lock fee to the pool, change note
//! ```
//! The session home is drawn at the start of the block after the one that locked, with that later block's beacon
//! and the smallest note id: the client cannot know the beacon when it signs or sends its order. Bonded hosts
//! come before others, and refusals make a host less likely. A client whose home does not serve may ask for
//! another one (`attempt` + 1) once its time is up; that one is drawn by a later beacon too, is not the home
//! before it if there is any other, and chunks past `j_start` are its work. There are [`MAX_ATTEMPTS`] at most,
//! so that a client cannot go on until it has the home it wants.
//!
//! Settlements and the hosts' pay are in `settle`. Blind redemption has its place here and is not built.

use crate::{
    account,
    action::{FAILOVER, Failover, LockNotes, LockOrder, MAX_ORDER_CU, ORDER},
    credits::{host, params::MAX_ATTEMPTS, public, settle},
    error::TxError,
    event::{Absorbed, Expired, HomeDrawn, Locked, NoHomeDrawn},
    keys,
    note::{self, NewNote},
    record::{
        Attempt, Attempts, Credits, Escrow, Host, Lock, LockState, LockedNotes, Note, NoteState, RunTerms,
        Stage,
    },
    run,
    runs::policy,
    seat, series,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Domain, Hash, List, PublicKey, digest};

const HOME: Domain = Domain::new("tessera/ledger/session-home/v1");
const NOTES_IN_CELL: usize = 6;

/// The home of a session: one of `candidates` (accounts with weights, in seat order), the same for everybody who
/// knows the beacon of the drawing block, the smallest note id and the attempt. `None` if no weight is above 0.
pub fn expected_home(
    beacon: &Hash,
    first_note: &Hash,
    attempt: u16,
    candidates: &[(PublicKey, u64)],
) -> Option<PublicKey> {
    let draw = digest(HOME, &((*beacon, *first_note), attempt)).low_u64();
    let total: u64 = candidates.iter().map(|(_, weight)| weight).sum();
    // At most 64 seats of weight 8 in 2^64 draws: the bias is below 2^-54.
    let mut at = draw.checked_rem(total)?;
    for (account, weight) in candidates {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return Some(*account),
        }
    }
    None
}

/// The first boundary after `height`.
pub(crate) fn epoch_after(height: u64, epoch_blocks: u64) -> u64 {
    height / epoch_blocks.max(1) + 1
}

/// Who may become home: the held seats of stage 0 (the bonded ones only, if there are any) with their weights.
fn candidates(view: &View<'_>, run: &Hash) -> Result<Vec<(PublicKey, u64)>, Stop> {
    view.want([keys::stage(run, 0), keys::rules(), keys::params()])?;
    let Some(stage) = view.get::<Stage>(&keys::stage(run, 0))? else { return Ok(Vec::new()) };
    let seats = seat::held_seats(view, &stage)?;
    view.want(seats.iter().map(|seat| keys::host(run, &seat.account)))?;
    let (epoch, memory) = (host::epoch(view)?, view.rules()?.refusal_epochs);
    let mut all = Vec::new();
    for seat in seats {
        let host = view.get::<Host>(&keys::host(run, &seat.account))?;
        let bonded = host.as_ref().is_some_and(|host| host.cu > 0);
        all.push((seat.account, host::selection_weight(host.as_ref(), epoch, memory), bonded));
    }
    let any = all.iter().any(|(.., bonded)| *bonded);
    Ok(all.into_iter().filter(|c| c.2 || !any).map(|(account, weight, _)| (account, weight)).collect())
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
    let (terms, run) = run::load(view, &order.run)?;
    if view.get::<Lock>(&keys::lock(&id))?.is_some() {
        return Err(TxError::Duplicate { what: "order", id: id.to_string() }.into());
    }
    if let Some(at) = order.notes.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(TxError::NotAscending { what: "the notes", at: at + 1 }.into());
    }
    // Notes outlive the end of a run's service: they are its owners' debt.
    if !run.serving {
        return Err(run::wrong_state(&run, "serving"));
    }
    let credits: Credits = view.must(&keys::credits(&order.run), "run", order.run)?;
    if !series::live(credits.series, order.series) {
        return Err(TxError::Series { expected: credits.series, got: order.series }.into());
    }
    let notes = note::inputs(view, &order.notes, sender, ORDER, order, &action.owners)?;
    check_notes(order, &notes)?;
    let height = view.context.height;
    let params = view.params()?;
    let latest = height.saturating_add(params.lock_blocks);
    if order.open_until <= height || order.open_until > latest {
        return Err(TxError::OpenUntil { from: height, to: latest, got: order.open_until }.into());
    }
    if candidates(view, &order.run)?.is_empty() {
        return Err(TxError::NoHome.into());
    }
    let posted = posted_fee(view, &terms)?;
    if order.fee_per_cu < posted {
        return Err(TxError::FeeCap { posted, got: order.fee_per_cu }.into());
    }
    let (flags, first_note) = (notes[0].flags, notes[0].id);
    let held = order
        .fee_per_cu
        .checked_mul(order.cu.into())
        .ok_or(TxError::Overflow { what: "the fee of the session" })?;
    let subsidy = public::subsidy(view, flags, posted, order.fee_per_cu, order.cu)?.min(held);
    account::debit(view, sender, held - subsidy)?;

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
            home: PublicKey::default(),
            attempt: 0,
            locked_at: height,
            open_until: order.open_until,
            notes: notes.len() as u16,
            state: LockState::Locking,
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
            beacon: Hash::ZERO,
            subsidy,
            flags,
            until: notes.iter().map(|note| note.until).min().unwrap_or(0),
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
    view.list_add(keys::list_of_locking(), id);
    view.emit(Locked { order: id, run: order.run, cu: order.cu, payer: *sender, held, subsidy });
    Ok(())
}

/// Notes of the order's run and series, all of one kind, that sum to what it locks; bound ones stay with their owner.
fn check_notes(order: &LockOrder, notes: &[Note]) -> Result<(), TxError> {
    let fits =
        |note: &&Note| note.run == order.run && note.series == order.series && note.flags == notes[0].flags;
    if let Some(other) = notes.iter().find(|note| !fits(note)) {
        return Err(TxError::Mixed { note: other.id });
    }
    let leaves = |note: &&Note| note.flags & Note::BOUND != 0 && note.owner != order.refund_to;
    if let Some(bound) = notes.iter().find(leaves) {
        return Err(TxError::Bound { note: bound.id });
    }
    let sum: u128 = notes.iter().map(|note| u128::from(note.cu)).sum();
    if sum != u128::from(order.cu) {
        return Err(TxError::Sum { what: "locked notes", expected: order.cu.into(), got: sum });
    }
    if order.cu > MAX_ORDER_CU {
        return Err(TxError::Chunks { max: MAX_ORDER_CU, got: order.cu });
    }
    Ok(())
}

/// What all stages together cost for a credit, nano-U.
fn posted_fee(view: &View<'_>, terms: &RunTerms) -> Result<u128, Stop> {
    let prices = host::prices(view, terms)?;
    Ok(prices.iter().fold(0u128, |sum, price| sum.saturating_add(*price)))
}

/// At the start of a block: draw the homes of the orders that earlier blocks left waiting.
pub(crate) fn draw(view: &mut View<'_>) -> Result<(), Stop> {
    let waiting = view.list_items(&keys::list_of_locking())?;
    view.want(waiting.iter().flat_map(|id| [keys::lock(id), keys::escrow(id), keys::attempts(id)]))?;
    for id in waiting {
        view.list_remove(keys::list_of_locking(), id);
        match draw_one(view, &id) {
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(need) => return Err(need),
        }
    }
    Ok(())
}

fn draw_one(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (mut lock, mut escrow) = load(view, id)?;
    if lock.state != LockState::Locking {
        return Ok(());
    }
    let mut attempts = attempts(view, id)?.homes.into_inner();
    let mut from = candidates(view, &lock.run)?;
    if from.len() > 1 {
        from.retain(|(account, _)| *account != lock.home);
    }
    let beacon = view.context.beacon;
    let drawn = expected_home(&beacon, &escrow.first_note, lock.attempt, &from);
    match (drawn, attempts.last_mut()) {
        // Nobody is there at all: as if it had never been locked.
        (None, _) if lock.attempt == 0 => {
            absorb(view, &lock, &escrow, 0)?;
            settle::release(view, escrow, 0)?;
            lock.state = LockState::Expired;
            view.put(keys::lock(id), lock);
            view.emit(NoHomeDrawn { order: *id });
            return Ok(());
        }
        (Some(home), Some(last)) => {
            (last.home, last.at) = (home, view.context.height);
            (lock.home, escrow.beacon) = (home, beacon);
            view.emit(HomeDrawn { order: *id, attempt: lock.attempt, home });
        }
        // The seats went away between two attempts: it stays with the home it has.
        (None, _) | (_, None) => {}
    }
    lock.state = LockState::Open;
    view.put(keys::lock(id), lock);
    view.put(keys::escrow(id), escrow);
    view.put(keys::attempts(id), Attempts { order: *id, homes: List::new(attempts).unwrap_or_default() });
    Ok(())
}

/// The homes of an order; one that waits for its first has one empty place.
pub(crate) fn attempts(view: &View<'_>, id: &Hash) -> Result<Attempts, Stop> {
    let none = || {
        let empty = Attempt { home: PublicKey::default(), start: 0, at: 0, reported: false, slashed: false };
        Attempts { order: *id, homes: List::new(vec![empty]).unwrap_or_default() }
    };
    Ok(view.get(&keys::attempts(id))?.unwrap_or_else(none))
}

pub(crate) fn failover(view: &mut View<'_>, action: &Failover) -> Result<(), Stop> {
    let request = &action.request;
    let id = request.order;
    if request.network != view.context.network {
        return Err(TxError::SignedForOtherNetwork {
            what: "the failover",
            expected: view.context.network,
            got: request.network,
        }
        .into());
    }
    let (mut lock, _) = load(view, &id)?;
    view.want([keys::attempts(&id), keys::rules()])?;
    if lock.state != LockState::Open {
        return Err(wrong_state(&lock, "open"));
    }
    if !lock.session_key.verify(FAILOVER, request, &action.signature) {
        return Err(TxError::SessionSignature { order: id }.into());
    }
    let mut homes = attempts(view, &id)?.homes.into_inner();
    let most = MAX_ATTEMPTS as u16;
    let expected = lock.attempt + 1;
    if request.attempt != expected || expected >= most {
        return Err(TxError::Attempt { expected, most, got: request.attempt }.into());
    }
    let (start, at) = homes.last().map_or((0, 0), |last| (last.start, last.at));
    if request.j_start < start || request.j_start > lock.cu {
        return Err(TxError::JStart { from: start, to: lock.cu, got: request.j_start }.into());
    }
    let (now, after) = (view.context.height, at.saturating_add(view.rules()?.failover_blocks));
    if now <= after {
        return Err(TxError::Early { what: "another home", after, now }.into());
    }
    if now >= lock.open_until {
        return Err(TxError::Late { what: "another home", until: lock.open_until - 1, now }.into());
    }
    // The place of the next home, filled by the draw; until then the home before it stands there.
    homes.push(Attempt { home: lock.home, start: request.j_start, at: now, reported: false, slashed: false });
    lock.attempt = expected;
    lock.state = LockState::Locking;
    view.put(keys::attempts(&id), Attempts { order: id, homes: List::new(homes).unwrap_or_default() });
    view.put(keys::lock(&id), lock);
    view.list_add(keys::list_of_locking(), id);
    Ok(())
}

pub(crate) fn load(view: &View<'_>, id: &Hash) -> Result<(Lock, Escrow), Stop> {
    view.want([keys::lock(id), keys::escrow(id), keys::params()])?;
    Ok((view.must(&keys::lock(id), "order", id)?, view.must(&keys::escrow(id), "order", id)?))
}

pub(crate) fn wrong_state(lock: &Lock, expected: &'static str) -> Stop {
    let got = match lock.state {
        LockState::Open => "open",
        LockState::Settling => "settling",
        LockState::Final => "final",
        LockState::Expired => "expired",
        LockState::Locking => "waiting for its home",
    };
    TxError::OrderState { expected, got }.into()
}

/// Spend the notes, absorb `used` credits, give the rest back as a change note of the same kind; what comes back
/// after the end of its life goes to the pool.
pub(crate) fn absorb(view: &mut View<'_>, lock: &Lock, escrow: &Escrow, used: u64) -> Result<(), Stop> {
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
    let credits: Credits = view.must(&keys::credits(&lock.run), "run", lock.run)?;
    let ended = !series::live(credits.series, lock.series)
        || (escrow.until > 0 && escrow.until <= public::now(view)?);
    let to = if ended { Place::Pool } else { Place::Notes };
    supply::shift(view, &lock.run, lock.series, Place::Locked, to, rest)?;
    if rest > 0 && ended {
        view.emit(Absorbed { run: lock.run, source: lock.order, cu: rest });
    } else if rest > 0 {
        let (run, series, owner, flags) = (lock.run, lock.series, escrow.refund_to, escrow.flags);
        let new = NewNote { run, series, cu: rest, owner, flags };
        note::create_until(view, new, escrow.until, &lock.order, 0);
    }
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
    let lock_fee = u64::from(policy::of(view, &lock.run)?.lock_fee).min(lock.cu.into());
    absorb(view, &lock, &escrow, lock_fee)?;
    settle::release(view, escrow, 0)?;
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
            Some(LockState::Settling) => settle::finalize(view, &id),
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
