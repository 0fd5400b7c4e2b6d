//! Allot credits or U to owners in proportion to shares, exactly and in constant time (ownership specification 3.8).
//!
//! ```text
//! distribute(R): num = (R << 128) + rem;  acc += num / T;  rem = num mod T
//! touch(o):      d = (acc - seen) * shares + frac;  due += d >> 128;  frac = d mod 2^128;  seen = acc
//! ```
//! Nothing is dropped: after every step
//! `sum over owners of [(due << 128) + frac + (acc - seen) * shares] + rem = (in - out) << 128`.
//!
//! Bounds: `R` and `rem` are below 2^128, so `num` fits. `(acc - seen) * shares` is below the owner's own part of
//! what came in since it was last touched, shifted by 128; that part exists (credits of the run, or U of the
//! network) and is below 2^128. `acc` itself may wrap around when U passes through a pot for ages: only
//! differences are used, and they are right modulo 2^256. 2^64 credits keep the credits' `acc` below 2^192.

use crate::record::{Credits, Owner, Wide};
use ruint::aliases::U256;
use tessera_canon::record;

record! {
    /// What was paid for each share since the beginning, Q128, and the remainder of the last division.
    pub struct Pot { pub acc: Wide, pub rem: u128 }
}
record! {
    /// Where one owner stands: up to where its income was counted, and its fraction of a unit, Q128.
    pub struct Part { pub seen: Wide, pub frac: u128 }
}

impl Pot {
    pub fn new() -> Self {
        Self { acc: Wide::default(), rem: 0 }
    }
    /// Allot `amount` to `shares` shares. The caller keeps it back while there are none.
    pub fn allot(&mut self, amount: u128, shares: u128) {
        if shares == 0 {
            return;
        }
        let shares = U256::from(shares);
        let number = (U256::from(amount) << 128) + U256::from(self.rem);
        self.acc = Wide(self.acc.0.wrapping_add(number / shares));
        self.rem = low(number % shares);
    }
}
impl Default for Pot {
    fn default() -> Self {
        Self::new()
    }
}

impl Part {
    /// One who begins at `acc`.
    pub fn at(acc: Wide) -> Self {
        Self { seen: acc, frac: 0 }
    }
    /// Count what `shares` earned until `acc`; returns the whole units.
    pub fn earn(&mut self, shares: u128, acc: Wide) -> u128 {
        let number = self.owed(shares, acc);
        self.seen = acc;
        self.frac = low(number);
        low(number >> 128)
    }
    /// What `shares` earned until `acc` with the fraction kept so far, Q128.
    pub fn owed(&self, shares: u128, acc: Wide) -> U256 {
        acc.0.wrapping_sub(self.seen.0).wrapping_mul(U256::from(shares)) + U256::from(self.frac)
    }
    /// Take over another's fraction; returns the whole unit that the two may make.
    pub fn merge(&mut self, frac: u128) -> u128 {
        let (sum, carry) = self.frac.overflowing_add(frac);
        self.frac = sum;
        carry.into()
    }
}

/// Hand the pool to the active shares; without any, the pool waits. Returns the credits handed out.
pub fn distribute(credits: &mut Credits) -> u64 {
    if credits.active == 0 || credits.pool == 0 {
        return 0;
    }
    let handed = std::mem::take(&mut credits.pool);
    let mut pot = Pot { acc: credits.acc, rem: credits.rem };
    pot.allot(handed.into(), credits.active);
    (credits.acc, credits.rem) = (pot.acc, pot.rem);
    credits.owner_in += handed;
    handed
}

/// Bring an owner up to date; must precede every change of its shares.
pub fn touch(owner: &mut Owner, credits: &Credits) {
    let mut part = Part { seen: owner.acc_seen, frac: owner.frac };
    owner.due += part.earn(owner.shares, credits.acc) as u64;
    (owner.acc_seen, owner.frac) = (part.seen, part.frac);
}

/// The low 128 bits.
fn low(number: U256) -> u128 {
    let limbs = number.as_limbs();
    u128::from(limbs[0]) | (u128::from(limbs[1]) << 64)
}
