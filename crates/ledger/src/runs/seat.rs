//! Seat accounts in stages: drawn from a later block's beacon, bound to the stage for life.
//!
//! An account asks in one block and is drawn at the start of a later one, so that it cannot know the beacon
//! when it asks. It goes to a stage with the fewest held seats; ties fall to the smallest hash of beacon, run,
//! account and stage. Joining again leads to the same stage. Waiting accounts are drawn in the order of a
//! hash that also depends on the beacon, so the order of their transactions has no effect.
//!
//! Place for admission work (ownership specification 8.5) and for keeping related identities apart: `draw`.

use crate::{
    action::{JoinRun, LapseSeat, UpdateEndpoint},
    error::TxError,
    event::{EndpointChanged, SeatChanged},
    keys,
    record::{Designer, Endpoint, Member, MemberState, Run, RunState, RunTerms, Seat, SeatState, Stage},
    run,
    store::{Stop, View},
};
use std::net::SocketAddr;
use tessera_canon::{Domain, Hash, PublicKey, digest};

const ORDER: Domain = Domain::new("tessera/ledger/seat-order/v1");
const DRAW: Domain = Domain::new("tessera/ledger/seat-draw/v1");

fn check_endpoint(endpoint: &Endpoint) -> Result<(), TxError> {
    endpoint.parse::<SocketAddr>().map(|_| ()).map_err(|_| TxError::Endpoint { got: endpoint.to_string() })
}

fn all_stages(view: &View<'_>, terms: &RunTerms) -> Result<Vec<Stage>, Stop> {
    view.want((0..terms.stages).map(|stage| keys::stage(&terms.run, stage)))?;
    (0..terms.stages).map(|stage| view.must(&keys::stage(&terms.run, stage), "stage", stage)).collect()
}

fn emit_change(view: &mut View<'_>, member: &Member) {
    view.emit(SeatChanged {
        run: member.run,
        account: member.account,
        stage: member.stage,
        seat: member.seat,
        state: member.state,
    });
}

pub(crate) fn join(view: &mut View<'_>, sender: &PublicKey, action: &JoinRun) -> Result<(), Stop> {
    let (terms, run) = run::load(view, &action.run)?;
    let key = keys::member(&action.run, sender);
    view.want([key, keys::designer(&action.run, sender)])?;
    check_endpoint(&action.endpoint)?;
    if run.state == RunState::Aborted {
        return Err(run::wrong_state(&run, "exclusive, open or serving"));
    }
    if run.state == RunState::Exclusive
        && view.get::<Designer>(&keys::designer(&action.run, sender))?.is_none()
    {
        return Err(TxError::NotDesigner { got: *sender }.into());
    }
    let before = view.get::<Member>(&key)?;
    match before.as_ref().map(|member| member.state) {
        Some(MemberState::Waiting) => return Err(TxError::AlreadyMember { got: "waiting for a seat" }.into()),
        Some(MemberState::Seated) => return Err(TxError::AlreadyMember { got: "seated" }.into()),
        Some(MemberState::Lapsed | MemberState::Refused) | None => {}
    }
    let stage = before.and_then(|member| member.stage);
    let stages = all_stages(view, &terms)?;
    let mine = |s: &&Stage| stage.is_none_or(|bound| bound == s.stage);
    let held = stages.iter().filter(mine).map(|s| s.held.count_ones()).sum();
    let seats = stages.iter().filter(mine).count() as u32 * u32::from(terms.seats);
    if held >= seats {
        return Err(TxError::NoSeat { held, seats }.into());
    }
    let member = Member {
        run: action.run,
        account: *sender,
        state: MemberState::Waiting,
        stage,
        seat: None,
        endpoint: action.endpoint.clone(),
        asked: view.context.height,
    };
    emit_change(view, &member);
    view.put(key, member);
    view.list_add(keys::list_of_joins(), key);
    Ok(())
}

/// Seat everybody who waits since an earlier block.
pub(crate) fn draw(view: &mut View<'_>) -> Result<(), Stop> {
    let waiting = view.list_items(&keys::list_of_joins())?;
    view.want(waiting.iter().copied())?;
    let beacon = view.context.beacon;
    let mut order: Vec<(Hash, Hash)> =
        waiting.into_iter().map(|key| (digest(ORDER, &(beacon, key)), key)).collect();
    order.sort_unstable();
    for (_, key) in order {
        view.list_remove(keys::list_of_joins(), key);
        if let Some(member) = view.get::<Member>(&key)? {
            seat_one(view, key, member, &beacon)?;
        }
    }
    Ok(())
}

fn seat_one(view: &mut View<'_>, key: Hash, mut member: Member, beacon: &Hash) -> Result<(), Stop> {
    let (terms, run) = run::load(view, &member.run)?;
    let stages = all_stages(view, &terms)?;
    let limit = u32::from(terms.seats);
    let chosen = stages
        .into_iter()
        .filter(|stage| member.stage.is_none_or(|bound| bound == stage.stage))
        .filter(|stage| run.state != RunState::Aborted && stage.held.count_ones() < limit)
        .min_by_key(|stage| {
            let tie = digest(DRAW, &((*beacon, member.run), (member.account, stage.stage)));
            (stage.held.count_ones(), tie)
        });
    let Some(mut stage) = chosen else {
        member.state = MemberState::Refused;
        emit_change(view, &member);
        view.put(key, member);
        return Ok(());
    };
    let seat = stage.held.trailing_ones() as u16;
    stage.held |= 1 << seat;
    stage.used = stage.used.max(seat + 1);
    member.state = MemberState::Seated;
    member.stage = Some(stage.stage);
    member.seat = Some(seat);
    let height = view.context.height;
    view.put(
        keys::seat(&member.run, stage.stage, seat),
        Seat {
            run: member.run,
            stage: stage.stage,
            seat,
            account: member.account,
            endpoint: member.endpoint.clone(),
            state: SeatState::Active,
            since: height,
            heard: height,
        },
    );
    view.put(keys::stage(&member.run, stage.stage), stage);
    emit_change(view, &member);
    view.put(key, member);
    Ok(())
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
    let mut seat: Seat = view.must(&seat_key, "seat", id())?;
    let mut stage: Stage = view.must(&stage_key, "stage", action.stage)?;
    if seat.state != SeatState::Active {
        return Err(TxError::Unknown { what: "held seat", id: id() }.into());
    }
    let needed = view.params()?.lapse_blocks;
    let silent = view.context.height.saturating_sub(seat.heard);
    if silent < needed {
        return Err(TxError::NotSilent { silent, needed }.into());
    }
    let key = keys::member(&action.run, &seat.account);
    let mut member: Member = view.must(&key, "member", seat.account)?;
    member.state = MemberState::Lapsed;
    member.seat = None;
    emit_change(view, &member);
    view.put(key, member);
    seat.state = SeatState::Lapsed;
    stage.held &= !(1 << seat.seat);
    crate::credits::host::seat_lost(view, &action.run, &seat.account)?;
    view.put(seat_key, seat);
    view.put(stage_key, stage);
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
