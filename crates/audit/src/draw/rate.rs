//! Say how often a seat is audited, from its record alone: more while it is new, more after a flag.
//!
//! A flag of an edge monitor or a first mismatch raises the rate `flag_factor` times; the raise falls on a straight
//! line to nothing over the next `flag_units` units (`verify` 11.1). The rate never falls below `post_rate`, however
//! long a seat was honest: a cheat that waits gains nothing by waiting.

use crate::params::{AuditParams, ONE};

/// What of a seat's record decides its audit rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Units committed so far by this identity in this run.
    pub units: u64,
    /// `units` at the last flag.
    pub flagged: Option<u64>,
}

impl Standing {
    /// Whether the seat is still on probation: it neither audits nor is paid at once.
    pub fn on_probation(&self, params: &AuditParams) -> bool {
        self.units < u64::from(params.probation_units)
    }
    /// Note a flag. Repeated flags do not add up: the raise starts anew.
    pub fn flag(&mut self) {
        self.flagged = Some(self.units);
    }
    /// Audits of this seat's next unit, in 1/10 000.
    pub fn rate(&self, params: &AuditParams) -> u32 {
        let base = u64::from(params.post_rate);
        let span = u64::from(params.flag_units);
        let since = self.flagged.map(|at| self.units.saturating_sub(at)).filter(|since| *since < span);
        let raised = match since {
            Some(since) => {
                let more = base * u64::from(params.flag_factor.saturating_sub(1));
                base + (more * (span - since)).div_ceil(span)
            }
            None => base,
        };
        let probation = if self.on_probation(params) { u64::from(params.probation_rate) } else { 0 };
        raised.max(probation).min(u64::from(ONE)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_probation_and_flags_and_have_a_floor() {
        let params = AuditParams::default();
        let rate = |units, flagged| Standing { units, flagged }.rate(&params);
        assert_eq!(
            [rate(0, None), rate(199, None), rate(200, None), rate(1 << 40, None)],
            [2000, 2000, 100, 100]
        );
        assert_eq!(
            [rate(1000, Some(1000)), rate(1250, Some(1000)), rate(1500, Some(1000))],
            [1000, 550, 100]
        );
        assert_eq!(rate(10, Some(5)), 2000, "probation is the higher one");
        let mut last = u32::MAX;
        for units in 1000..1600 {
            let now = rate(units, Some(1000));
            assert!(now <= last && now >= 100);
            last = now;
        }
        let steep = AuditParams { post_rate: 5000, ..params };
        assert_eq!(Standing { units: 300, flagged: Some(300) }.rate(&steep), 10_000, "never above one");
    }
}
