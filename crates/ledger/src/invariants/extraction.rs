//! Check seats, who was ever seated, and declared operators.

use super::{Scan, Violation, hold};
use crate::{extraction::kappa::covered, record::*};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// SEAT: held seats, their bits and their members' stages agree, and an account holds one seat of a run.
/// COVER: counts of identities and the largest operator are those of the cells they summarise.
pub(super) fn check(scan: &Scan) -> Result<(), Violation> {
    let members: BTreeMap<_, _> = scan.members.iter().map(|m| ((m.run, m.account), m)).collect();
    let mut held = BTreeMap::<_, u64>::new();
    let mut seated = BTreeSet::new();
    for seat in scan.seats.iter().filter(|seat| seat.state == SeatState::Active) {
        *held.entry((seat.run, seat.stage)).or_default() |= 1u64.checked_shl(seat.seat.into()).unwrap_or(0);
        let once = seated.insert((seat.run, seat.account));
        let member = members.get(&(seat.run, seat.account)).is_some_and(|member| {
            (member.state, member.stage, member.seat)
                == (MemberState::Seated, Some(seat.stage), Some(seat.seat))
        });
        hold("SEAT", once && member, || format!("{seat:?}"))?;
    }
    let mut identities = BTreeMap::new();
    for (key, stage) in &scan.stages {
        let bits = held.get(key).copied().unwrap_or(0);
        hold("SEAT", bits == stage.held, || format!("bits {bits:b}, {stage:?}"))?;
        let held = |m: &&Member| m.seated && (m.run, m.stage) == (key.0, Some(key.1));
        let once = scan.members.iter().filter(held).count();
        hold("COVER", once == stage.identities as usize, || format!("{once} held seats of {stage:?}"))?;
        let sum = identities.entry(key.0).or_insert(0u32);
        *sum = sum.saturating_add(stage.identities);
    }
    let mut largest = BTreeMap::new();
    for coverage in &scan.coverages {
        let stages = scan.terms.get(&coverage.run).map_or(0, |terms| terms.stages);
        let rank = (Reverse(covered(coverage.stages, stages)), coverage.operator);
        let most = largest.entry(coverage.run).or_insert(rank);
        *most = rank.min(*most);
    }
    for (run, most) in &scan.concentrations {
        let expected = identities.get(run).copied().unwrap_or(0);
        hold("COVER", most.identities == expected, || format!("{expected} were seated, {most:?}"))?;
        let kept = most.operator.map(|operator| (Reverse(most.coverage), operator));
        hold("COVER", kept == largest.get(run).copied(), || format!("{:?}, {most:?}", largest.get(run)))?;
    }
    Ok(())
}
