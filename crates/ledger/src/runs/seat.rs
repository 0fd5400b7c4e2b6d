//! Take and give up places in a run: ask for a seat, give signs of life, leave, free silent seats.
//!
//! Who asks is drawn to a stage in a later block ([`draw`]) and keeps that stage for life: joining again, after
//! a lapse or after leaving, leads to the same one. Before a seating an account must have done admission work
//! and must post its bond. Both are asked again on joining again, except that short absences are exempt from
//! the work.

use crate::{
    action::{JoinRun, LapseSeat, LeaveRun, UpdateEndpoint},
    credits::host,
    error::TxError,
    event::EndpointChanged,
    extraction::admission,
    keys,
    record::{Designer, Endpoint, Member, MemberState, Run, RunState, Seat, SeatState, Stage},
    run,
    runs::{bond, draw, policy},
    store::{Stop, View},
    trust,
};
use std::net::SocketAddr;
use tessera_canon::{Hash, PublicKey};

fn check_endpoint(endpoint: &Endpoint) -> Result<(), TxError> {
    endpoint.parse::<SocketAddr>().map(|_| ()).map_err(|_| TxError::Endpoint { got: endpoint.to_string() })
}

pub(crate) fn join(view: &mut View<'_>, sender: &PublicKey, action: &JoinRun) -> Result<(), Stop> {
    let (terms, run) = run::load(view, &action.run)?;
    let key = keys::member(&action.run, sender);
    view.want([key, keys::designer(&action.run, sender), keys::run_policy(&action.run)])?;
    view.want([keys::verified_work(sender), keys::lineage(&action.run)])?;
    check_endpoint(&action.endpoint)?;
    if matches!(run.state, RunState::Aborted | RunState::Retired) {
        return Err(run::wrong_state(&run, "exclusive, open, paused or serving"));
    }
    trust::slashing::refuse_barred(view, &run, sender)?;
    if run.state == RunState::Exclusive
        && view.get::<Designer>(&keys::designer(&action.run, sender))?.is_none()
    {
        return Err(TxError::NotDesigner { got: *sender }.into());
    }
    let before = view.get::<Member>(&key)?;
    match before.as_ref().map(|member| member.state) {
        Some(MemberState::Waiting) => return Err(TxError::AlreadyMember { got: "waiting for a seat" }.into()),
        Some(MemberState::Seated) => return Err(TxError::AlreadyMember { got: "seated" }.into()),
        Some(MemberState::Lapsed | MemberState::Refused | MemberState::Left) | None => {}
    }
    let policy = policy::of(view, &action.run)?;
    let lacking = admission::check(view, &terms, &run, &policy, sender, before.as_ref())?;
    let mut member = before.unwrap_or(Member {
        run: action.run,
        account: *sender,
        state: MemberState::Waiting,
        stage: None,
        seat: None,
        endpoint: action.endpoint.clone(),
        asked: 0,
        bond: 0,
        wu: 0,
        away: None,
        left: 0,
        admitted: false,
        seated: false,
    });
    member.state = MemberState::Waiting;
    member.seat = None;
    member.endpoint = action.endpoint.clone();
    member.asked = view.context.height;
    member.admitted = lacking.is_none();
    let stages = draw::all_stages(view, &terms)?;
    let mine: Vec<_> = stages.iter().filter(|s| draw::may_hold(&terms, &member, s.stage)).collect();
    if let (true, Some(lacking)) = (mine.is_empty(), lacking) {
        return Err(TxError::Admission { needed: lacking.needed, got: lacking.got }.into());
    }
    let held = mine.iter().map(|s| s.held.count_ones()).sum();
    let seats = mine.len() as u32 * u32::from(terms.seats);
    if held >= seats {
        return Err(TxError::NoSeat { held, seats }.into());
    }
    let needed = bond::needed(view, &run, &policy)?;
    bond::raise(view, &mut member, needed)?;
    draw::emit_change(view, &member);
    view.put(key, member);
    view.list_add(keys::list_of_joins(), key);
    Ok(())
}

/// Give up a place: a seat is free at once, the stage stays bound, the bond waits for the pending windows.
pub(crate) fn leave(view: &mut View<'_>, sender: &PublicKey, action: &LeaveRun) -> Result<(), Stop> {
    let key = keys::member(&action.run, sender);
    view.want([key])?;
    let (_, run) = run::load(view, &action.run)?;
    let not_member = |detail| TxError::NotMember { account: *sender, detail };
    let mut member: Member = view.get(&key)?.ok_or(not_member(""))?;
    match member.state {
        MemberState::Left => return Err(not_member(": it left").into()),
        MemberState::Waiting => view.list_remove(keys::list_of_joins(), key),
        MemberState::Seated => vacate(view, &member)?,
        MemberState::Lapsed | MemberState::Refused => {}
    }
    if member.state == MemberState::Seated {
        member.away = Some(run.clock());
    }
    member.left = run.clock();
    member.state = MemberState::Left;
    member.seat = None;
    draw::emit_change(view, &member);
    view.put(key, member);
    Ok(())
}

/// Free the seat that `member` holds; what it promised to serve as a host goes with it.
fn vacate(view: &mut View<'_>, member: &Member) -> Result<(), Stop> {
    let (Some(stage), Some(seat)) = (member.stage, member.seat) else { return Ok(()) };
    let (seat_key, stage_key) = (keys::seat(&member.run, stage, seat), keys::stage(&member.run, stage));
    view.want([seat_key, stage_key])?;
    let mut seat: Seat = view.must(&seat_key, "seat", seat)?;
    let mut stage: Stage = view.must(&stage_key, "stage", stage)?;
    seat.state = SeatState::Lapsed;
    stage.held &= !(1 << seat.seat);
    view.put(seat_key, seat);
    view.put(stage_key, stage);
    host::seat_lost(view, &member.run, &member.account)
}

/// Seat number `seat` of `stage`.
pub(crate) fn at(view: &View<'_>, run: &Hash, stage: u16, seat: u16) -> Result<Option<Seat>, Stop> {
    view.get(&keys::seat(run, stage, seat))
}

/// The seat that `account` holds in `run`, if any.
pub(crate) fn held_by(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<Option<Seat>, Stop> {
    let Some(member) = view.get::<Member>(&keys::member(run, account))? else { return Ok(None) };
    match (member.state, member.stage, member.seat) {
        (MemberState::Seated, Some(stage), Some(seat)) => view.get(&keys::seat(run, stage, seat)),
        _ => Ok(None),
    }
}

/// Note a sign of life: any transaction of the account about the run.
pub(crate) fn heard(view: &mut View<'_>, run: &Hash, account: &PublicKey) -> Result<(), Stop> {
    if let Some(mut seat) = held_by(view, run, account)? {
        seat.heard = view.context.height;
        view.put(keys::seat(run, seat.stage, seat.seat), seat);
    }
    Ok(())
}

pub(crate) fn update_endpoint(
    view: &mut View<'_>,
    sender: &PublicKey,
    action: &UpdateEndpoint,
) -> Result<(), Stop> {
    check_endpoint(&action.endpoint)?;
    let key = keys::member(&action.run, sender);
    let not_member = TxError::NotMember { account: *sender, detail: "" };
    let mut member: Member = view.get(&key)?.ok_or(not_member)?;
    if let Some(mut seat) = held_by(view, &action.run, sender)? {
        seat.endpoint = action.endpoint.clone();
        seat.heard = view.context.height;
        view.put(keys::seat(&action.run, seat.stage, seat.seat), seat);
    }
    member.endpoint = action.endpoint.clone();
    view.put(key, member);
    view.emit(EndpointChanged { run: action.run, account: *sender, endpoint: action.endpoint.clone() });
    Ok(())
}

pub(crate) fn lapse(view: &mut View<'_>, sender: &PublicKey, action: &LapseSeat) -> Result<(), Stop> {
    let (seat_key, stage_key) =
        (keys::seat(&action.run, action.stage, action.seat), keys::stage(&action.run, action.stage));
    view.want([seat_key, stage_key, keys::params(), keys::member(&action.run, sender)])?;
    let id = || format!("{} of stage {}", action.seat, action.stage);
    let seat: Seat = view.must(&seat_key, "seat", id())?;
    if seat.state != SeatState::Active {
        return Err(TxError::Unknown { what: "held seat", id: id() }.into());
    }
    let needed = view.params()?.lapse_blocks;
    let silent = view.context.height.saturating_sub(seat.heard);
    if silent < needed {
        return Err(TxError::NotSilent { silent, needed }.into());
    }
    let key = keys::member(&action.run, &seat.account);
    let (_, run) = run::load(view, &action.run)?;
    let mut member: Member = view.must(&key, "member", seat.account)?;
    vacate(view, &member)?;
    member.state = MemberState::Lapsed;
    member.seat = None;
    member.away = Some(run.clock());
    draw::emit_change(view, &member);
    view.put(key, member);
    heard(view, &action.run, sender)
}

/// The held seats of a stage, by seat.
pub(crate) fn held_seats(view: &View<'_>, stage: &Stage) -> Result<Vec<Seat>, Stop> {
    let held = || (0..stage.used).filter(|seat| stage.held >> seat & 1 == 1);
    view.want(held().map(|seat| keys::seat(&stage.run, stage.stage, seat)))?;
    held().map(|seat| view.must(&keys::seat(&stage.run, stage.stage, seat), "seat", seat)).collect()
}

/// Whether `run` takes work reports.
pub(crate) fn in_training(run: &Run) -> bool {
    matches!(run.state, RunState::Exclusive | RunState::Open)
}

/// Take the place of an account that a verdict barred; it keeps its stage. No short absence: coming back asks for
/// admission work.
pub(crate) fn bar(view: &mut View<'_>, run: &Hash, account: &PublicKey) -> Result<(), Stop> {
    let key = keys::member(run, account);
    let Some(mut member) = view.get::<Member>(&key)? else { return Ok(()) };
    match member.state {
        MemberState::Seated => vacate(view, &member)?,
        MemberState::Waiting => view.list_remove(keys::list_of_joins(), key),
        MemberState::Lapsed | MemberState::Refused | MemberState::Left => return Ok(()),
    }
    member.state = MemberState::Lapsed;
    member.seat = None;
    member.away = None;
    draw::emit_change(view, &member);
    view.put(key, member);
    Ok(())
}
