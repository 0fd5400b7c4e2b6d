//! Decide whether faking work can pay (ownership specification 4.6), in integers.
//!
//! ```text
//! v * (1 - (1-q)^(A+1)) + q*B >= 1
//! ```
//! in units of the honest cost of one window's claim: `v` the value of its shares, `q` the probability that a fake
//! claim is caught while pending, `A` the windows that claims are pending, `B` the bond. Re-entry is free, so the
//! binding case is faking everything.
//!
//! The power is a fraction of 10^38, exact while `A` is at most 8 and else rounded up at every multiplication:
//! against the protocol, by less than 10^-33 for the longest `A`. The formula takes the first catch to cost everything pending and the bond. The ladder of
//! [`super::slashing`] forgives one mismatch, so a cheat who is caught once goes on; [`after_second`] is the
//! condition under which faking everything does not pay even so.

use ruint::aliases::U256;

/// One, in the unit of `v`, `q` and `B` here.
pub const ONE: u32 = 10_000;
/// The fraction's one.
pub(super) const FULL: u128 = 10u128.pow(38);

/// `a * b` of fractions of [`FULL`], rounded up.
pub(super) fn times(a: u128, b: u128) -> u128 {
    let product = U256::from(a) * U256::from(b) + U256::from(FULL - 1);
    let rounded: U256 = product / U256::from(FULL);
    let limbs = rounded.into_limbs();
    u128::from(limbs[0]) | (u128::from(limbs[1]) << 64)
}

/// `(1 - q)^n`, rounded up, of [`FULL`]; `q` in 1/10 000.
pub(super) fn survival_of(q: u32, n: u32) -> u128 {
    let base = U256::from(FULL) * U256::from(ONE - q.min(ONE)) + U256::from(ONE - 1);
    let limbs = (base / U256::from(ONE)).into_limbs();
    let mut square = u128::from(limbs[0]) | (u128::from(limbs[1]) << 64);
    let (mut power, mut left) = (FULL, n);
    while left > 0 {
        if left & 1 == 1 {
            power = times(power, square);
        }
        square = times(square, square);
        left >>= 1;
    }
    power.min(FULL)
}

/// `v * loss + q * B >= 1`, all but `loss` (a fraction of [`FULL`]) in 1/10 000.
fn enough(v: u32, loss: u128, q: u32, bond: u64) -> bool {
    let one = U256::from(ONE);
    let left = U256::from(v) * U256::from(loss) * one + U256::from(q) * U256::from(bond) * U256::from(FULL);
    left >= U256::from(FULL) * one * one
}

/// Whether the condition holds; `v`, `q` and `bond` in 1/10 000, `windows` = A.
pub fn deterrence(v: u32, q: u32, windows: u32, bond: u64) -> bool {
    enough(v, FULL - survival_of(q, windows.saturating_add(1)), q, bond)
}

/// The least bond (1/10 000 claims) with which the condition holds; `None` if `q` is 0 and none does.
pub fn minimum_bond(v: u32, q: u32, windows: u32) -> Option<u64> {
    if deterrence(v, q, windows, 0) {
        return Some(0);
    }
    let (mut low, mut high) = (0u64, 2 * u64::from(ONE) * u64::from(ONE));
    if q == 0 || !deterrence(v, q, windows, high) {
        return None;
    }
    // The condition fails at `low` and holds at `high`.
    while high - low > 1 {
        let middle = low.midpoint(high);
        if deterrence(v, q, windows, middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// The condition where only the second catch within the pending windows costs everything:
/// `v * (1 - s^n - n*q*s^(n-1)) + q*B/2 >= 1` with `s = 1-q`, `n = A+1`. Two catches take `2/q` fakes on average,
/// so the bond counts half.
pub fn after_second(v: u32, q: u32, windows: u32, bond: u64) -> bool {
    let n = windows.saturating_add(1);
    let once = U256::from(survival_of(q, n - 1)) * U256::from(n) * U256::from(q) / U256::from(ONE);
    let kept = U256::from(survival_of(q, n)) + once + U256::from(n);
    let loss = if kept >= U256::from(FULL) { U256::ZERO } else { U256::from(FULL) - kept };
    let limbs = loss.into_limbs();
    enough(v, u128::from(limbs[0]) | (u128::from(limbs[1]) << 64), q, bond / 2)
}
