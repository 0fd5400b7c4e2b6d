//! Keep a part of every run's credits for those who own none (ownership specification 6.3).
//!
//! ```text
//! step 6   whole notes that nobody asked for return to the pool; then floor(rho * R + carry) of the pool R is
//!          set aside (the rest of the division is carried, so that small runs are not rounded to nothing)
//! step 12  the applicants of the epoch are drawn by the beacon; each winner gets one note of k credits
//! ```
//! An application costs a transaction's fee and a deposit that comes back at the lottery. The specification also
//! allows a puzzle; a deposit needs no tuning to a machine and costs validators nothing to check. Whoever applies
//! with many keys pays a fee for each and gains at most rho * R credits an epoch, which is all there is. The
//! notes are bound to their owner, cannot be reshaped, and end after `public_life` epochs, whatever is left of
//! them in change; part of the host fee of their sessions is paid by the fund while it lasts.
//!
//! An applicant cannot know the beacon that draws: it belongs to a later block.

use crate::{
    account,
    action::PublicApply,
    credits::host,
    error::TxError,
    event::{Absorbed, PublicDraw, Reason},
    keys,
    note::{self, NewNote},
    record::{Application, Credits, Lane, Note, NoteState, Run, RunTerms},
    run,
    runs::policy,
    series,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Domain, Hash, PublicKey, digest};

const LOTTERY: Domain = Domain::new("tessera/ledger/public-lottery/v1");
const PRIZE: Domain = Domain::new("tessera/ledger/public-note/v1");

/// What the public lane gets of `allotted` credits at `part`/10 000 with `carry`/10 000 left over before:
/// (credits, new carry).
pub fn cut(allotted: u64, part: u16, carry: u32) -> (u64, u32) {
    let exact = u128::from(allotted) * u128::from(part) + u128::from(carry);
    // At most `allotted` + 1 times the part, and the part is at most one fifth.
    ((exact / 10_000) as u64, (exact % 10_000) as u32)
}

pub(crate) fn apply(view: &mut View<'_>, sender: &PublicKey, action: &PublicApply) -> Result<(), Stop> {
    let key = keys::application(&action.run, &action.owner);
    view.want([key, keys::run_terms(&action.run), keys::run(&action.run), keys::rules()])?;
    let (_, run) = run::load(view, &action.run)?;
    if !run.serves() {
        return Err(run::wrong_state(&run, "serving"));
    }
    if view.get::<Application>(&key)?.is_some() {
        return Err(TxError::Duplicate { what: "application", id: action.owner.to_string() }.into());
    }
    let deposit = view.rules()?.public_deposit;
    account::charge_for(view, sender, deposit, (Reason::PublicDeposit, &action.run))?;
    view.list_add(keys::list_of_applications(&action.run), action.owner);
    view.put(key, Application { run: action.run, owner: action.owner, payer: *sender, deposit });
    Ok(())
}

/// Step 6: return what nobody asked for, and set aside this epoch's part of the pool.
pub(crate) fn set_aside(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    view.want([keys::run_terms(id), keys::run(id), keys::credits(id), keys::lane(id), keys::run_policy(id)])?;
    let (_, run): (RunTerms, Run) = run::load(view, id)?;
    let credits: Credits = view.must(&keys::credits(id), "run", id)?;
    if !run.serves() || credits.active == 0 {
        return Ok(());
    }
    let size = u64::from(view.rules()?.public_note.max(1));
    let pot = series::lane(view, id)?.public_pot;
    supply::shift(view, id, credits.series, Place::Public, Place::Pool, pot - pot % size)?;
    let pool = view.must::<Credits>(&keys::credits(id), "run", id)?.pool;
    let mut lane: Lane = series::lane(view, id)?;
    let (credits_cut, carry) = cut(pool, policy::of(view, id)?.public_part, lane.public_carry);
    let aside = credits_cut.min(pool);
    lane.public_carry = carry;
    lane.public_cut += aside;
    lane.allotted += pool;
    view.put(keys::lane(id), lane);
    supply::shift(view, id, credits.series, Place::Pool, Place::Public, aside)
}

/// Step 12: draw the applicants of the epoch that ends.
pub(crate) fn lottery(view: &mut View<'_>, id: &Hash, epoch: u64) -> Result<(), Stop> {
    let list = keys::list_of_applications(id);
    let owners = view.list_items(&list)?;
    if owners.is_empty() {
        return Ok(());
    }
    view.want(owners.iter().map(|owner| keys::application(id, owner)))?;
    let rules = view.rules()?;
    let mut drawn: Vec<(Hash, Application)> = Vec::new();
    for owner in owners {
        view.list_remove(list, owner);
        let Some(application) = view.get::<Application>(&keys::application(id, &owner))? else { continue };
        let ticket = digest(LOTTERY, &((view.context.beacon, *id), owner));
        drawn.push((ticket, application));
    }
    view.want(drawn.iter().map(|(_, application)| keys::account(&application.payer)))?;
    drawn.sort_unstable_by_key(|(ticket, _)| *ticket);
    let credits: Credits = view.must(&keys::credits(id), "run", id)?;
    let run: Run = view.must(&keys::run(id), "run", id)?;
    let (size, series) = (u64::from(rules.public_note.max(1)), credits.series);
    let prizes = if run.serves() { series::lane(view, id)?.public_pot / size } else { 0 };
    let applied = drawn.len() as u32;
    let mut notes = 0;
    for (at, (_, application)) in (0u64..).zip(drawn) {
        account::credit_for(view, &application.payer, application.deposit, (Reason::PublicDeposit, id))?;
        view.delete(keys::application(id, &application.owner));
        if at < prizes {
            let source = digest(PRIZE, &((*id, application.owner), epoch));
            let flags = Note::BOUND | Note::PUBLIC;
            let new = NewNote { run: *id, series, cu: size, owner: application.owner, flags };
            supply::shift(view, id, series, Place::Public, Place::Notes, size)?;
            note::create_until(view, new, epoch + u64::from(rules.public_life.max(1)), &source, 0);
            notes += 1;
        }
    }
    view.emit(PublicDraw { run: *id, epoch, applied, notes });
    Ok(())
}

/// At the boundary that opens `epoch`: public notes whose life ends go to the pool.
pub(crate) fn end_notes(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let list = keys::list_of_public_ends(epoch);
    let ids = view.list_items(&list)?;
    view.want(ids.iter().map(keys::note))?;
    for id in ids {
        view.list_remove(list, id);
        let Some(note) = view.get::<Note>(&keys::note(&id))? else { continue };
        // A note in a lock ends with its session: what comes back of it is past its life.
        if note.state != NoteState::Unspent {
            continue;
        }
        let credits: Credits = view.must(&keys::credits(&note.run), "run", note.run)?;
        if series::live(credits.series, note.series) {
            supply::shift(view, &note.run, note.series, Place::Notes, Place::Pool, note.cu)?;
            view.emit(Absorbed { run: note.run, source: note.id, cu: note.cu });
        }
        note::spend(view, note, &Hash::ZERO);
    }
    Ok(())
}

/// Nano-U of the fund for a session of `cu` public credits whose hosts cost `posted` each; taken from the fund.
pub(crate) fn subsidy(
    view: &mut View<'_>,
    flags: u8,
    posted: u128,
    fee_per_cu: u128,
    cu: u32,
) -> Result<u128, Stop> {
    if flags & Note::PUBLIC == 0 {
        return Ok(0);
    }
    let part = u128::from(view.rules()?.public_subsidy.min(10_000));
    let covered = posted.min(fee_per_cu).saturating_mul(cu.into());
    account::from_fund(view, covered.saturating_mul(part) / 10_000)
}

/// The present epoch, for whoever counts a note's life.
pub(crate) fn now(view: &View<'_>) -> Result<u64, Stop> {
    host::epoch(view)
}
