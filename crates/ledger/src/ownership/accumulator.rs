//! Allot credits to owners in proportion to shares, exactly and in constant time (ownership specification 3.8).
//!
//! ```text
//! distribute(R): num = (R << 128) + rem;  acc += num / T;  rem = num mod T
//! touch(o):      d = (acc - seen) * shares + frac;  due += d >> 128;  frac = d mod 2^128;  seen = acc
//! ```
//! Nothing is dropped: after every step
//! `sum over owners of [(due << 128) + frac + (acc - seen) * shares] + rem = (in - out) << 128`.
//!
//! Bounds: `acc` grows by at most `R << 128` a call, so 2^64 credits over the life of a run keep it below
//! 2^192; `(acc - seen) * shares` is below `(sum of R) << 128` because `shares <= T` at every distribution.

use crate::record::{Credits, Owner, Wide};
use ruint::aliases::U256;

/// Hand the pool to the active shares; without any, the pool waits. Returns the credits handed out.
pub fn distribute(credits: &mut Credits) -> u64 {
    if credits.active == 0 || credits.pool == 0 {
        return 0;
    }
    let handed = std::mem::take(&mut credits.pool);
    let shares = U256::from(credits.active);
    let number = (U256::from(handed) << 128) + U256::from(credits.rem);
    credits.acc = Wide(credits.acc.0 + number / shares);
    credits.rem = low(number % shares);
    credits.owner_in += handed;
    handed
}

/// Bring an owner up to date; must precede every change of its shares.
pub fn touch(owner: &mut Owner, credits: &Credits) {
    let earned = (credits.acc.0 - owner.acc_seen.0) * U256::from(owner.shares) + U256::from(owner.frac);
    owner.due += low(earned >> 128) as u64;
    owner.frac = low(earned);
    owner.acc_seen = credits.acc;
}

/// The low 128 bits.
fn low(number: U256) -> u128 {
    let limbs = number.as_limbs();
    u128::from(limbs[0]) | (u128::from(limbs[1]) << 64)
}
