//! Read from the ledger what a seat must know: the one place that maps cells to a [`Roster`].
//!
//! The source may be a state, or proved answers of which some are still missing: then what is missing reads as absent,
//! and the caller reads again once it has it.

use crate::{Anchored, OpenDispute, RolledBack, Roster, SeatInfo};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    cell::{Cell, Key},
    keys, query,
    record::{Affiliation, Conduct, Dispute, DisputeLevel, Rollback, SeatState, StageReport, TrustParams},
};

/// Windows before the open one whose anchors are read: audits are drawn soon after a report.
const RECENT_WINDOWS: u32 = 4;
/// Rollbacks that are read, the newest ones: a seat that missed more finds that its state is nobody's and fetches.
const RECENT_ROLLBACKS: u32 = 64;

/// The run as the seat of `me` sees it; `None` if there is no such run. What was said in disputes the caller adds:
/// [`OpenDispute::said`] and [`OpenDispute::opened`].
pub fn roster(source: impl Fn(&Key) -> Option<Cell>, run: &Hash, me: &PublicKey) -> Option<Roster> {
    let get = |key: &Key| source(key);
    let terms = query::run_terms(get, run);
    let state = query::run(get, run);
    let trust: TrustParams = query::read(get, &keys::trust_params()).unwrap_or_default();
    let (terms, state) = (terms?, state?);
    let bits = query::window(get, run, state.window).map_or(0, |window| window.reported);
    let clock = state.clock();
    let mut roster = Roster { open_window: state.window, ..Roster::default() };
    for stage in 0..terms.stages {
        let done = state.window + u32::from(bits >> stage & 1 == 1);
        roster.reported.insert(stage, done);
        for seat in query::seats_of_stage(get, run, stage) {
            let conduct: Option<Conduct> = query::read(get, &keys::conduct(run, &seat.account));
            let operator: Option<Affiliation> = query::read(get, &keys::affiliation(run, &seat.account));
            let watched = conduct.as_ref().is_some_and(|conduct| clock < conduct.watched_until);
            let barred = conduct.as_ref().is_some_and(|conduct| clock < conduct.barred_until);
            let on_probation = clock < u64::from(trust.probation_windows);
            let base = if on_probation { trust.probation_rate.max(trust.unit_rate) } else { trust.unit_rate };
            let factor = if watched { u32::from(trust.watch_factor.max(1)) } else { 1 };
            roster.seats.push(SeatInfo {
                account: seat.account,
                stage,
                index: seat.seat,
                active: seat.state == SeatState::Active && !barred,
                operator: operator.map_or(seat.account, |affiliation| affiliation.operator),
                audit_rate: (u32::from(base) * factor).min(10_000) as u16,
                on_probation: false,
            });
        }
    }
    let own = roster.seat_of(me).map(|seat| seat.stage);
    for stage in (0..terms.stages).filter(|stage| own.is_none_or(|own| own.abs_diff(*stage) <= 1)) {
        let done = roster.reported(stage);
        for window in done.saturating_sub(RECENT_WINDOWS)..done {
            let report: Option<StageReport> = query::read(get, &keys::stage_report(run, window, stage));
            if let Some(report) = report {
                let StageReport { anchor: root, seed, generation, .. } = report;
                roster.anchors.insert((stage, window), Anchored { root, seed, generation });
            }
        }
    }
    let newest = query::rollback(get, run).map_or(0, |newest| newest.generation);
    for at in newest.saturating_sub(RECENT_ROLLBACKS)..newest {
        if let Some(Rollback { generation, step, .. }) = query::read(get, &keys::rollback(run, at + 1)) {
            roster.rollbacks.push(RolledBack { generation, step });
        }
    }
    let parties =
        |dispute: &Dispute| dispute.run == *run && [dispute.accused, dispute.challenger].contains(me);
    for dispute in query::disputes(get).into_iter().filter(parties) {
        let level = |at| query::read::<DisputeLevel>(get, &keys::dispute_level(&dispute.id, at));
        let levels = (0..=dispute.level).filter_map(level).collect();
        roster.disputes.push(OpenDispute { dispute, levels, said: None, opened: None });
    }
    Some(roster)
}
