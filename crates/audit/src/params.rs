//! Hold the public numbers of the audit protocol (`verify` 11.1), so that a demonstration can raise its rates.

use tessera_canon::record;

/// One, in the unit of rates.
pub const ONE: u32 = 10_000;

record! {
    /// Rates in 1/10 000; spans in steps or units where they say so.
    pub struct AuditParams {
        /// Post-commit audits of units, and blind duplicates of microbatches.
        pub post_rate: u16,
        pub blind_rate: u16,
        /// Seat-steps that are computed again whole.
        pub step_rate: u16,
        /// Audit rate of a seat's first `probation_units` units.
        pub probation_rate: u16,
        pub probation_units: u32,
        /// How many times as often a flagged seat is audited, and after how many units no more than others.
        pub flag_factor: u16,
        pub flag_units: u32,
        /// Audits that are audited themselves.
        pub second_rate: u16,
        /// Units in which a seat hides a canary, per unit expected to be audited.
        pub canary_rate: u16,
        /// Steps for which boundary tensors, receipts and openings are kept.
        pub retention_steps: u32,
        /// Steps an audit may take, and the most that may be granted.
        pub audit_steps: u32,
        pub most_audit_steps: u32,
    }
}

impl Default for AuditParams {
    fn default() -> Self {
        Self {
            post_rate: 100,
            blind_rate: 100,
            step_rate: 25,
            probation_rate: 2000,
            probation_units: 200,
            flag_factor: 10,
            flag_units: 500,
            second_rate: 1000,
            canary_rate: 200,
            retention_steps: 8,
            audit_steps: 2,
            most_audit_steps: 4,
        }
    }
}

impl AuditParams {
    /// Whether the numbers can work together: an audit must end while its material is kept.
    pub fn is_valid(&self) -> bool {
        let rates = [
            self.post_rate,
            self.blind_rate,
            self.step_rate,
            self.probation_rate,
            self.second_rate,
            self.canary_rate,
        ];
        rates.iter().all(|rate| u32::from(*rate) <= ONE)
            && self.flag_factor >= 1
            && self.flag_units > 0
            && self.audit_steps >= 1
            && self.audit_steps <= self.most_audit_steps
            && self.most_audit_steps < self.retention_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_rules_that_cannot_are_told_apart() {
        let good = AuditParams::default();
        assert!(good.is_valid());
        assert!(
            !AuditParams { retention_steps: 4, ..good.clone() }.is_valid(),
            "audits outlive their material"
        );
        assert!(!AuditParams { post_rate: 10_001, ..good.clone() }.is_valid());
        assert!(!AuditParams { audit_steps: 5, ..good }.is_valid());
    }
}
