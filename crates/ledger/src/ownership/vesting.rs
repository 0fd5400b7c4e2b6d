//! Turn pending shares into active ones, and release these for transfer little by little (ownership 4.4).
//!
//! A claim matures `A` windows after its own closed, at an epoch boundary only, and not while it is in dispute:
//! then it waits, while the others of its window mature. It follows at the second boundary after the dispute, so
//! that there is always an epoch in which somebody else can dispute it: a sham dispute is no shelter.
//!
//! Of what matures at epoch `e`, a quarter can be transferred at once; of the rest, at epoch `t`, the part
//! ```text
//! max(L - (t - e), min(W, s + W - t)) / L        L: policy.transfer_lock, W: serving_lock, at most L
//! ```
//! is still locked, where `s` is the epoch in which the run began to serve (`min(..) = W` before). So all is free
//! after `L` epochs or `W` epochs of serving, whichever is later, and nothing that was free is ever locked again.
//!
//! The parts are sums over time buckets of one grid for everybody, `ceil(L/6)` epochs apart; `e` is rounded up
//! to the grid, so rounding only delays. What is older than `L` has one formula whatever its age and is kept in one
//! sum. An owner's locked amount is one division of one sum, rounded up: splitting work among accounts or
//! claims frees no share earlier.

use crate::{
    accumulator,
    error::TxError,
    event::{Activated, ClaimVoided},
    extraction::admission,
    governance, keys,
    market::proceeds,
    record::{Claim, ClaimState, Credits, Run, RunState, Unlocking, VESTING_BUCKETS, Vesting},
    runs::policy,
    shares,
    store::{Stop, View},
    trust::{params, slashing},
};
use tessera_canon::{Hash, PublicKey};

/// What the lock of a run depends on besides the owner.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Epochs of the lock (`L`).
    pub span: u32,
    /// Epochs of serving (`W`).
    pub serving: u32,
    /// Epoch in which the run began to serve (`s`).
    pub since: Option<u32>,
    /// The present epoch.
    pub now: u32,
}

impl Lock {
    /// Epochs between buckets.
    fn grid(&self) -> u32 {
        self.span.div_ceil(6).max(1)
    }
    /// Parts of `span` that are locked of what matured at `start`.
    fn parts(&self, start: u32) -> u32 {
        let by_age = self.span.saturating_sub(self.now.saturating_sub(start));
        by_age.max(self.old_parts())
    }
    /// Parts of `span` that are locked however old.
    fn old_parts(&self) -> u32 {
        let most = self.serving.min(self.span);
        match self.since {
            None => most,
            Some(since) => most.min(since.saturating_add(self.serving).saturating_sub(self.now)),
        }
    }
}

impl Vesting {
    fn new(run: &Hash, account: &PublicKey, span: u32) -> Self {
        Self { run: *run, account: *account, span, first: 0, buckets: [0; VESTING_BUCKETS], old: 0 }
    }
    /// Move buckets that are older than the lock into `old`, and let the first one be `first`.
    fn advance(&mut self, first: u32) {
        while self.first < first {
            self.old += self.buckets[0];
            self.buckets.rotate_left(1);
            self.buckets[VESTING_BUCKETS - 1] = 0;
            self.first += 1;
            if self.buckets.iter().all(|bucket| *bucket == 0) {
                self.first = first;
            }
        }
    }
    /// Shares locked now.
    pub fn locked(&self, lock: &Lock) -> u128 {
        let lock = Lock { span: self.span, ..*lock };
        if self.span == 0 {
            return 0;
        }
        let grid = lock.grid();
        // At most 2^78 shares x 2^24 epochs x 3.
        let sum: u128 = (self.first..)
            .zip(&self.buckets)
            .map(|(slot, shares)| shares * u128::from(lock.parts(slot.saturating_mul(grid))))
            .sum();
        let sum = sum + self.old * u128::from(lock.old_parts());
        (3 * sum).div_ceil(4 * u128::from(self.span))
    }
    /// Lock what has just matured.
    pub fn add(&mut self, lock: &Lock, shares: u128) {
        if self.span != lock.span {
            // The owners changed the span: what is locked starts anew under it, which only delays.
            let locked = self.locked(lock);
            *self = Self::new(&self.run, &self.account, lock.span);
            if locked > 0 {
                self.add(lock, (4 * locked).div_ceil(3));
            }
        }
        if lock.span == 0 {
            return;
        }
        let grid = lock.grid();
        let slot = lock.now.div_ceil(grid);
        // Everything before `slot - 6` is at least `span` old.
        self.advance(slot.saturating_sub(6));
        let at = slot.saturating_sub(self.first) as usize;
        self.buckets[at.min(VESTING_BUCKETS - 1)] += shares;
    }
}

/// The lock of `run` at this height.
pub(crate) fn lock(view: &View<'_>, run: &Hash) -> Result<Lock, Stop> {
    view.want([keys::params(), keys::trust_params(), keys::run_policy(run), keys::unlocking(run)])?;
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    let since = view.get::<Unlocking>(&keys::unlocking(run))?;
    Ok(Lock {
        span: policy::of(view, run)?.transfer_lock,
        serving: params::load(view)?.serving_lock,
        since: since.map(|unlocking| unlocking.since),
        now: u32::try_from(epoch).unwrap_or(u32::MAX),
    })
}

/// Active shares of an owner that are not transferable yet.
pub(crate) fn locked(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    view.want([keys::vesting(run, account)])?;
    match view.get::<Vesting>(&keys::vesting(run, account))? {
        Some(vesting) => Ok(vesting.locked(&lock(view, run)?)),
        None => Ok(0),
    }
}

/// Refuse to take `amount` from an owner of `held` shares if the lock does not leave as much.
pub(crate) fn check_movable(
    view: &View<'_>,
    run: &Hash,
    account: &PublicKey,
    held: u128,
    amount: u128,
) -> Result<(), Stop> {
    let movable = held.saturating_sub(locked(view, run, account)?);
    if movable < amount {
        return Err(TxError::SharesLocked { needed: amount, movable }.into());
    }
    Ok(())
}

/// At an epoch boundary: remember since when a run serves.
pub(crate) fn note_serving(view: &mut View<'_>, run: &Hash) -> Result<(), Stop> {
    let key = keys::unlocking(run);
    if view.get::<Unlocking>(&key)?.is_none()
        && view.get::<Run>(&keys::run(run))?.is_some_and(|run| run.state == RunState::Serving)
    {
        let since = lock(view, run)?.now;
        view.put(key, Unlocking { run: *run, since });
    }
    Ok(())
}

/// Let a claim become active (or void, if `void`). Does nothing to one that is not pending; one in dispute waits, and
/// one that was in dispute until now goes on the list of ripe claims.
/// The owner's record and `credits` must be read already; the caller keeps `credits`.
pub(crate) fn settle(
    view: &mut View<'_>,
    credits: &mut Credits,
    key: Hash,
    mut claim: Claim,
    void: bool,
    lock: &Lock,
) -> Result<(), Stop> {
    let frozen = claim.state == ClaimState::Disputed;
    if claim.state != ClaimState::Pending && !(frozen && void) {
        return Ok(());
    }
    if claim.not_before > lock.now && !void {
        if !claim.ripe {
            claim.ripe = true;
            view.list_add(keys::list_of_ripe(&claim.run), key);
            view.put(key, claim);
        }
        return Ok(());
    }
    let (run, account) = (claim.run, claim.account);
    let (window, stage, made) = (claim.window, claim.stage, claim.shares);
    let mut conduct = slashing::conduct(view, &run, &account)?;
    if slashing::condemned(&conduct, &claim) {
        // The verdict took it out of the sums.
        claim.state = ClaimState::Void;
        claim.voided = made;
        view.emit(ClaimVoided { run, window, stage, account, shares: made });
        view.put(key, claim);
        return Ok(());
    }
    let mut owner = shares::load_or_new(view, credits, &account)?;
    let lost = if void { made } else { conduct.debt.min(made) };
    let kept = made - lost;
    owner.pending -= made;
    credits.pending -= made;
    credits.voided += lost;
    claim.voided = lost;
    if lost > 0 {
        view.emit(ClaimVoided { run, window, stage, account, shares: lost });
        if !void {
            conduct.debt -= lost;
            view.put(keys::conduct(&run, &account), conduct);
        }
    }
    claim.state = if kept > 0 { ClaimState::Active } else { ClaimState::Void };
    if kept > 0 {
        admission::credit(view, &claim)?;
        proceeds::touch(view, &run, &account, owner.shares)?;
        governance::history::shares_change(view, &owner)?;
        governance::history::active_change(view, credits)?;
        governance::work::credit(view, &run, &account, kept)?;
        accumulator::touch(&mut owner, credits);
        owner.shares += kept;
        credits.active += kept;
        let vesting_key = keys::vesting(&run, &account);
        let vesting = view.get::<Vesting>(&vesting_key)?;
        let mut vesting = vesting.unwrap_or_else(|| Vesting::new(&run, &account, lock.span));
        vesting.add(lock, kept);
        if vesting.old > 0 || vesting.buckets.iter().any(|bucket| *bucket > 0) {
            view.put(vesting_key, vesting);
        }
        view.emit(Activated { run, window, stage, account, shares: kept });
    }
    view.put(keys::owner(&run, &account), owner);
    view.put(key, claim);
    Ok(())
}

/// At an epoch boundary: claims that a dispute kept from maturing with their window.
pub(crate) fn settle_ripe(view: &mut View<'_>, run: &Hash, void: bool) -> Result<(), Stop> {
    let list = keys::list_of_ripe(run);
    let ripe = view.list_items(&list)?;
    if ripe.is_empty() {
        return Ok(());
    }
    view.want(ripe.iter().copied())?;
    let lock = lock(view, run)?;
    let mut credits: Credits = view.must(&keys::credits(run), "run", run)?;
    for key in ripe {
        let Some(mut claim) = view.get::<Claim>(&key)? else { continue };
        if claim.state == ClaimState::Pending && claim.not_before > lock.now && !void {
            continue;
        }
        view.list_remove(list, key);
        claim.ripe = false;
        view.put(key, claim.clone());
        settle(view, &mut credits, key, claim, void, &lock)?;
    }
    view.put(keys::credits(run), credits);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{Domain, Prf};

    fn lock_at(span: u32, serving: u32, since: Option<u32>, now: u32) -> Lock {
        Lock { span, serving, since, now }
    }
    fn fresh(span: u32) -> Vesting {
        Vesting::new(&Hash::ZERO, &PublicKey::default(), span)
    }

    #[test]
    fn a_quarter_is_free_at_once_and_the_rest_linearly() {
        let mut vesting = fresh(6);
        vesting.add(&lock_at(6, 0, None, 12), 400);
        let locked: Vec<u128> = (12..20).map(|now| vesting.locked(&lock_at(6, 0, None, now))).collect();
        assert_eq!(locked, [300, 250, 200, 150, 100, 50, 0, 0]);
    }

    #[test]
    fn what_is_old_waits_for_serving() {
        let mut vesting = fresh(8);
        vesting.add(&lock_at(8, 2, None, 0), 400);
        // A quarter of the locked part stays until the run serves.
        assert_eq!(vesting.locked(&lock_at(8, 2, None, 100)), 75);
        let after: Vec<u128> = (100..104).map(|now| vesting.locked(&lock_at(8, 2, Some(100), now))).collect();
        assert_eq!(after, [75, 38, 0, 0]);
    }

    /// Random maturities over years: the lock only falls between them, never below the exact formula, and is late
    /// by the grid at most; parts of an owner are never freer than the whole.
    #[test]
    fn rounding_only_delays_and_splitting_frees_nothing() {
        let mut random = Prf::new(Domain::new("tessera/test/vesting/v1"), b"1");
        for case in 0..300 {
            let span = [1, 2, 5, 6, 7, 48, 100, 1000, 8064][random.below(9) as usize];
            let serving = random.below(u64::from(span) + 5) as u32;
            let start = random.below(u64::from(span) * 3) as u32;
            let grid = lock_at(span, serving, None, 0).grid();
            let (mut whole, mut parts) = (fresh(span), [fresh(span), fresh(span), fresh(span)]);
            let mut made: Vec<(u32, u128)> = Vec::new();
            let (mut now, mut free_before) = (0u32, 0u128);
            for _ in 0..60 {
                now += random.below(u64::from(grid)) as u32 + u32::from(random.below(2) == 0);
                let since = (now >= start).then_some(start);
                let lock = lock_at(span, serving, since, now);
                let total: u128 = made.iter().map(|(_, shares)| shares).sum();
                let locked = whole.locked(&lock);
                assert!(total - locked >= free_before, "case {case}: what was free stays free");
                let exact = |delay: u32| {
                    made.iter().map(|(at, shares)| shares * u128::from(lock.parts(at + delay))).sum::<u128>()
                        * 3
                };
                let full = 4 * u128::from(span);
                assert!(locked * full >= exact(0), "case {case}: too early");
                assert!(locked <= exact(grid).div_ceil(full), "case {case}: later than the grid");
                let sum: u128 = parts.iter().map(|part| part.locked(&lock)).sum();
                assert!((locked..locked + 3).contains(&sum), "case {case}: {sum} in parts, {locked}");
                let split = [random.below(1 << 40), random.below(1 << 20), random.below(3)].map(u128::from);
                for (part, shares) in parts.iter_mut().zip(split) {
                    part.add(&lock, shares);
                }
                let shares = split.iter().sum();
                whole.add(&lock, shares);
                made.push((now, shares));
                free_before = total + shares - whole.locked(&lock);
            }
        }
    }

    #[test]
    fn another_span_only_delays() {
        let mut vesting = fresh(100);
        vesting.add(&lock_at(100, 0, None, 0), 1000);
        let before = vesting.locked(&lock_at(100, 0, None, 50));
        vesting.add(&lock_at(10, 0, None, 50), 0);
        assert!(vesting.locked(&lock_at(10, 0, None, 50)) >= before);
        assert_eq!(vesting.locked(&lock_at(10, 0, None, 70)), 0);
    }
}
