//! Decide a vote from its counts, in integers (the table of ownership specification 6.1).
//!
//! - Quorum: all votes cast, abstentions too, against the whole of the first chamber at the snapshot.
//! - Pass: "yes" against "yes" and "no"; abstentions do not count.
//! - Classes C and P: besides, "yes" of more than half of all work there is, cast or not.
//! - A deposit is burned if "no" is more than 80 % of "yes" and "no".

use crate::{
    governance::parameter::Class,
    record::{Proposal, Tally},
};
use ruint::aliases::U256;

/// Least part of the first chamber that must vote, and the part of "yes" that must be exceeded, in 1/10 000.
pub fn thresholds(class: Class) -> (u16, u16) {
    match class {
        Class::A => (1_000, 5_000),
        Class::B => (2_000, 5_000),
        Class::C | Class::P => (3_300, 6_600),
    }
}

/// Whether `amount` is at least (`strictly`: more than) `part`/10 000 of `of`.
fn reaches(amount: U256, part: u16, of: U256, strictly: bool) -> bool {
    let (left, right) = (amount * U256::from(10_000), of * U256::from(part));
    if strictly { left > right } else { left >= right }
}
fn sum(parts: &[u128]) -> U256 {
    parts.iter().fold(U256::ZERO, |sum, part| sum + U256::from(*part))
}

/// Whether enough of the first chamber has voted.
pub fn has_quorum(proposal: &Proposal, tally: &Tally) -> bool {
    let cast = sum(&[tally.yes, tally.no, tally.abstain]);
    reaches(cast, thresholds(proposal.class).0, U256::from(proposal.total), false)
}
/// Whether the proposal passes with these votes.
pub fn passes(proposal: &Proposal, tally: &Tally) -> bool {
    let share = thresholds(proposal.class).1;
    let majority = reaches(sum(&[tally.yes]), share, sum(&[tally.yes, tally.no]), true);
    let both = matches!(proposal.class, Class::C | Class::P);
    // Work stays below 2^200 (see `work`), so that these products cannot overflow.
    let workers = !both || tally.work_yes.0 * U256::from(2) > proposal.work.0;
    has_quorum(proposal, tally) && majority && workers
}
/// Whether more than half of everything there is in the first chamber says "yes".
pub fn is_certain(proposal: &Proposal, tally: &Tally) -> bool {
    reaches(sum(&[tally.yes]), 5_000, U256::from(proposal.total), true)
}
/// Whether the deposit is burned.
pub fn burns_deposit(tally: &Tally) -> bool {
    reaches(sum(&[tally.no]), 8_000, sum(&[tally.yes, tally.no]), true)
}
