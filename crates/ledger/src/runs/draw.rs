//! Draw seats from a later block's beacon: an account cannot choose its stage, and keeps it for life.
//!
//! An account asks in one block and is drawn at the start of a later one, so that it cannot know the beacon
//! when it asks. Waiting accounts are drawn in the order of a hash that also depends on the beacon, so the
//! order of their transactions has no effect. Of the stages that it may hold and that have a free seat, an
//! account gets the first by
//! 1. no seat held at all: without it nothing is trained or served,
//! 2. distance from the stages that its declared operator ever held ([`closeness`]),
//! 3. while the run is exclusive: fewest held seats, so that designers cover all stages evenly,
//! 4. a hash of beacon, run, account and stage.
//!
//! After the exclusive phase a newcomer's stage is therefore uniform among those with a free seat. Evening out
//! would let a coalition cover S stages with S identities; independent draws make it `S x ln(1/mu)` for all
//! but a share mu (`extraction::kappa`).

use crate::{
    event::SeatChanged,
    extraction::{kappa::covered, operator},
    keys,
    record::{Member, MemberState, RunState, RunTerms, Seat, SeatState, Stage},
    run,
    runs::bond,
    store::{Stop, View},
};
use tessera_canon::{Domain, Hash, digest};

const ORDER: Domain = Domain::new("tessera/ledger/seat-order/v1");
const DRAW: Domain = Domain::new("tessera/ledger/seat-draw/v1");

pub(crate) fn all_stages(view: &View<'_>, terms: &RunTerms) -> Result<Vec<Stage>, Stop> {
    view.want((0..terms.stages).map(|stage| keys::stage(&terms.run, stage)))?;
    (0..terms.stages).map(|stage| view.must(&keys::stage(&terms.run, stage), "stage", stage)).collect()
}

/// Whether the draw may seat `member` in `stage`.
pub(crate) fn may_hold(terms: &RunTerms, member: &Member, stage: u16) -> bool {
    member.stage.is_none_or(|bound| bound == stage) && (member.admitted || terms.is_open(stage))
}

pub(crate) fn emit_change(view: &mut View<'_>, member: &Member) {
    view.emit(SeatChanged {
        run: member.run,
        account: member.account,
        stage: member.stage,
        seat: member.seat,
        state: member.state,
    });
}

/// How undesirable `stage` is for an identity whose relatives ever held `related`: 0 if no held stage is nearer
/// than three away, so that no gap of one comes to lie between them; else one more than the stages that
/// coverage would grow by. A stage that a relative holds counts as the worst: the two would audit each other.
pub fn closeness(related: u128, stage: u16, stages: u16) -> u16 {
    let near = (stage.saturating_sub(2)..=stage.saturating_add(2)).filter(|near| *near < stages);
    let mut near = near.filter(|near| related >> near & 1 == 1);
    if near.next().is_none() {
        return 0;
    }
    if related >> stage & 1 == 1 {
        return u16::MAX;
    }
    1 + covered(related | 1 << stage, stages) - covered(related, stages)
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
    let related = operator::related(view, &member.run, &member.account)?;
    let limit = u32::from(terms.seats);
    let accepts = !matches!(run.state, RunState::Aborted | RunState::Retired);
    let chosen = stages
        .into_iter()
        .filter(|stage| accepts && may_hold(&terms, &member, stage.stage))
        .filter(|stage| stage.held.count_ones() < limit)
        .min_by_key(|stage| {
            let held = stage.held.count_ones();
            let evening = if run.state == RunState::Exclusive { held } else { 0 };
            let tie = digest(DRAW, &((*beacon, member.run), (member.account, stage.stage)));
            (held > 0, closeness(related, stage.stage, terms.stages), evening, tie)
        });
    let Some(mut stage) = chosen else {
        member.state = MemberState::Refused;
        if member.stage.is_none() {
            // It never held a seat, so there is nothing that it could be called to account for.
            bond::give_back(view, &mut member)?;
        }
        emit_change(view, &member);
        view.put(key, member);
        return Ok(());
    };
    let seat = stage.held.trailing_ones() as u16;
    stage.held |= 1 << seat;
    stage.used = stage.used.max(seat + 1);
    let first = member.stage.is_none();
    stage.identities = stage.identities.saturating_add(first.into());
    member.state = MemberState::Seated;
    member.stage = Some(stage.stage);
    member.seat = Some(seat);
    operator::seated(view, &terms, &member.account, stage.stage, first)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_of_three_is_far_enough() {
        let held = 1 << 4;
        let expected = [0, 0, 3, 2, u16::MAX, 2, 3, 0, 0];
        for (stage, expected) in (0u16..).zip(expected) {
            assert_eq!(closeness(held, stage, 9), expected, "stage {stage}");
        }
        assert_eq!((closeness(0, 0, 1), closeness(1 << 127, 127, 128)), (0, u16::MAX));
        assert_eq!(closeness(1 << 127, 124, 128), 0);
    }
}
