//! Say from the live state of a run how likely false work is caught, and whether that deters (ownership specification
//! 4.6, `verify` 13).
//!
//! ```text
//! u    part of the units that are audited after their commitment      a    part of the claims that panels audit
//! n    units of the smallest claim of the last closed window           A    windows that claims are pending
//!
//! one false unit     q = 1 - (1-u)   * (1-a)     saves 1/n of a claim      1 - (1-q)^(A+1) + q*B >= 1/n
//! all units false    q = 1 - (1-u)^n * (1-a)     saves a claim             1 - (1-q)^(A+1) + q*B >= 1
//! ```
//! in claims, with shares worth what their work costs (`v` = 1). A claim is drawn once, with the first beacon after
//! its report, so `q` does not grow with `A`. `a` is the policy's rate times the part of canaries that audits were found
//! to catch. `B` is the least bond that a seat holds now, not the one that the policy asks for; where work has no price it
//! is nothing.
//!
//! Auditors are taken to be honest and the arithmetic to be exact, so that a false unit that is looked at is found: who owns part of
//! a stage multiplies `u` by the part of auditors that are not his. A stage with fewer than two seats has no auditor: there
//! `q` is 0. As in [`super::deterrence`], fractions are rounded against the protocol.

use crate::{
    cell::{Cell, Key},
    keys, query,
    record::{Claim, Member, Run, RunPolicy, RunTerms, Window},
    trust::{
        TrustParams,
        deterrence::{FULL, ONE, survival_of, times},
        panel::measured_rate,
    },
};
use tessera_canon::Hash;

/// One, in the unit of [`Chance`].
pub const MILLION: u64 = 1_000_000;

/// Whose work it is: three audit rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In its first `probation_windows`.
    Newcomer,
    Regular,
    /// For `watch_windows` after a mismatch.
    Watched,
}

/// What a way to cheat comes to; parts in 1/1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// Chance that the claim is caught while pending.
    pub caught: u64,
    /// What being caught costs on average, and what the cheat saves, in claims a window.
    pub cost: u64,
    pub saved: u64,
}
impl Chance {
    /// Whether cheating does not pay.
    pub fn deters(&self) -> bool {
        self.cost >= self.saved
    }
}

/// What deters false work in a run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deterrence {
    pub standing: Standing,
    /// Audited units and claims, 1/10 000.
    pub unit_rate: u16,
    pub claim_rate: u16,
    /// Units of the smallest claim.
    pub units: u32,
    pub windows: u32,
    /// The least bond of a seat, in 1/10 000 of a median claim.
    pub bond: u64,
    /// With one false unit in every claim, and with nothing but false units.
    pub one: Chance,
    pub all: Chance,
}
impl Deterrence {
    /// From the numbers alone: units of a claim, rates and bond in 1/10 000.
    pub fn of(
        standing: Standing,
        (unit_rate, claim_rate): (u16, u16),
        units: u32,
        windows: u32,
        bond: u64,
    ) -> Self {
        let missed = times(survival_of(unit_rate.into(), 1), survival_of(claim_rate.into(), 1));
        let all_missed =
            times(survival_of(unit_rate.into(), units.max(1)), survival_of(claim_rate.into(), 1));
        let chance = |missed: u128, saved: u64| {
            let q = FULL - missed;
            let loss = FULL - power(missed, windows.saturating_add(1));
            // `q * B` in claims: below 10^38 x 50 claims would not fit, so in millionths from here on.
            let (loss, q) = (parts(loss), parts(q));
            let bonded = u128::from(q) * u128::from(bond) / u128::from(ONE);
            let cost = u128::from(loss).saturating_add(bonded).min(u64::MAX.into()) as u64;
            Chance { caught: q, cost, saved }
        };
        Self {
            standing,
            unit_rate,
            claim_rate,
            units,
            windows,
            bond,
            one: chance(missed, MILLION.div_ceil(units.max(1).into())),
            all: chance(all_missed, MILLION),
        }
    }
    /// Whether neither way to cheat pays.
    pub fn holds(&self) -> bool {
        self.one.deters() && self.all.deters()
    }
}

/// A fraction of [`FULL`] in millionths, rounded down.
fn parts(fraction: u128) -> u64 {
    (fraction / (FULL / u128::from(MILLION))) as u64
}

/// `base^n` of a fraction of [`FULL`], rounded up.
fn power(base: u128, n: u32) -> u128 {
    let (mut power, mut square, mut left) = (FULL, base, n);
    while left > 0 {
        if left & 1 == 1 {
            power = times(power, square);
        }
        square = times(square, square);
        left >>= 1;
    }
    power
}

/// What deters an account of this standing from false work in `run` now; `None` if there is no such run.
pub fn deterrence_of(
    get: impl Fn(&Key) -> Option<Cell>,
    run: &Hash,
    standing: Standing,
) -> Option<Deterrence> {
    let now: Run = query::read(&get, &keys::run(run))?;
    let terms: RunTerms = query::read(&get, &keys::run_terms(run))?;
    let policy = query::read::<RunPolicy>(&get, &keys::run_policy(run))?.policy;
    let trust = query::read::<TrustParams>(&get, &keys::trust_params()).unwrap_or_default();
    let seats: Vec<_> = (0..terms.stages).map(|stage| query::seats_of_stage(&get, run, stage)).collect();
    let raised = |rate: u16| (u32::from(rate) * u32::from(trust.watch_factor.max(1))).min(ONE) as u16;
    let claim_rate = measured_rate(policy.audit_rate, query::audit_stats(&get, run).as_ref());
    let (unit_rate, claim_rate) = match standing {
        // No stage has an auditor, or one of them has none: there nothing is found.
        _ if seats.iter().any(|seats| seats.len() < 2) => (0, 0),
        Standing::Newcomer => (trust.probation_rate.max(trust.unit_rate), claim_rate),
        Standing::Regular => (trust.unit_rate, claim_rate),
        Standing::Watched => (raised(trust.unit_rate), raised(claim_rate)),
    };
    let closed = now.window.checked_sub(1);
    let median = closed.and_then(|window| query::read::<Window>(&get, &keys::window(run, window)));
    let claims = closed.into_iter().flat_map(|window| {
        let stages = 0..terms.stages;
        stages.flat_map(|stage| query::claims_of_stage(&get, run, window, stage)).collect::<Vec<Claim>>()
    });
    let reported = claims.map(|claim| claim.microbatches).filter(|units| *units > 0).min();
    // Before the first window closes: an equal part of its work.
    let planned = || {
        let seats = seats.iter().map(Vec::len).max().unwrap_or(0).max(1) as u64;
        u32::try_from(terms.window_microbatches(now.window) / seats).unwrap_or(u32::MAX)
    };
    let units = reported.unwrap_or_else(planned).max(1);
    let worth = u128::from(median.map_or(0, |window| window.median)).saturating_mul(policy.work_price);
    let held = seats.iter().flatten().map(|seat| {
        query::read::<Member>(&get, &keys::member(run, &seat.account)).map_or(0, |member| member.bond)
    });
    let bond = held.min().unwrap_or(0).saturating_mul(ONE.into()).checked_div(worth).unwrap_or(0);
    let bond = u64::try_from(bond).unwrap_or(u64::MAX);
    Some(Deterrence::of(standing, (unit_rate, claim_rate), units, policy.pending_windows, bond))
}
