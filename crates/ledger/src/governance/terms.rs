//! Hold the rules of voting: fixed at genesis, and votable by nobody.

use crate::{
    governance::parameter::Class,
    keys,
    store::{Stop, View},
};
use tessera_canon::record;

record! {
    /// Spans of governance, in blocks unless they say otherwise. No motion can change them: delays below those of
    /// the table of 6.1 are on the list of what is not votable.
    pub struct GovernanceTerms {
        /// Between a proposal and its first vote.
        pub voting_delay: u64,
        pub voting_period: u64,
        /// A quorum first reached within this span of the end extends voting by `late_extension`.
        pub late_window: u64,
        pub late_extension: u64,
        /// Between passing and execution, for classes A, B, C, P.
        pub delay_a: u64,
        pub delay_b: u64,
        pub delay_c: u64,
        pub delay_p: u64,
        /// Length of a pause, in epochs.
        pub pause_epochs: u64,
        /// Between the end of a pause and the next one.
        pub pause_gap: u64,
        /// Least deposit, nano-U.
        pub deposit: u128,
        /// Most proposals of one account that take votes.
        pub open_most: u16,
        /// Epochs of a year, in which verified work decays by half.
        pub year_epochs: u64,
    }
}
/// Blocks of a day at one a second.
const DAY: u64 = 86_400;
impl Default for GovernanceTerms {
    /// The table of 6.1 with one block a second.
    fn default() -> Self {
        Self {
            voting_delay: DAY,
            voting_period: 5 * DAY,
            late_window: DAY,
            late_extension: 2 * DAY,
            delay_a: DAY,
            delay_b: 3 * DAY,
            delay_c: 14 * DAY,
            delay_p: 28 * DAY,
            pause_epochs: 3 * 144,
            pause_gap: 14 * DAY,
            deposit: 10_000_000_000,
            open_most: 3,
            year_epochs: 365 * 144,
        }
    }
}
impl GovernanceTerms {
    /// The same proportions in minutes.
    pub fn demo() -> Self {
        Self {
            voting_delay: 2,
            voting_period: 10,
            late_window: 2,
            late_extension: 4,
            delay_a: 2,
            delay_b: 6,
            delay_c: 28,
            delay_p: 56,
            pause_epochs: 2,
            pause_gap: 28,
            deposit: 1_000_000,
            open_most: 3,
            year_epochs: 1000,
        }
    }
    /// Blocks between passing and execution.
    pub fn delay(&self, class: Class) -> u64 {
        match class {
            Class::A => self.delay_a,
            Class::B => self.delay_b,
            Class::C => self.delay_c,
            Class::P => self.delay_p,
        }
    }
}

pub(crate) fn of(view: &View<'_>) -> Result<GovernanceTerms, Stop> {
    Ok(view.get(&keys::governance())?.unwrap_or_default())
}
