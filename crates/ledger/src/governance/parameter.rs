//! List every parameter that a vote can change, with its bounds and class (ownership specification 6.1, 10.4).
//!
//! What is not listed cannot be proposed: shares that exist and how long they are locked (10.4 gives the transfer
//! lock no bounds to move in, and any change of it would reach shares already made), claims, weights of windows,
//! notes of others, keys and accounts, series that are live, votes' own delays and quorums, exclusivity and its
//! caps. For what is listed but must not go one way, [`check_change`] refuses by `Forbidden`.

use crate::{
    error::TxError,
    genesis::{NetworkPolicy, Params},
    governance::action::{Change, Motion},
    record::{Issuance, SecurityTerms},
    runs::policy::{Policy, SupplyMode},
};
use tessera_canon::tags;

tags! {
    /// How much agreement a motion needs: see [`crate::governance::tally::thresholds`].
    pub enum Class {
        /// Parameters.
        0 => A,
        /// The run's course.
        1 => B,
        /// The run's constitution.
        2 => C,
        /// The network's protocol.
        3 => P,
    }
}

macro_rules! parameters {
    ($($(#[$meta:meta])* $tag:literal => $name:ident, $class:ident, $what:literal;)*) => {
        tags! {
            /// What a vote can change. Units are those of [`Policy`], [`Params`], [`SecurityTerms`].
            pub enum Parameter { $($(#[$meta])* $tag => $name),* }
        }
        impl Parameter {
            /// Every parameter.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// The class of a change.
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class),* }
            }
            /// Its name, for people.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what),* }
            }
        }
    };
}
parameters! {
    0 => PromptTokens, A, "prompt tokens per credit";
    1 => GeneratedTokens, A, "generated tokens per credit";
    2 => Reserve, A, "the reserve price";
    3 => RollHaircut, A, "the roll-over haircut";
    4 => HostFeeCap, A, "the host fee cap";
    /// 0 capacity, 1 constant.
    5 => SupplyMode, A, "the supply mode";
    6 => LockFee, A, "the lock fee";
    7 => SupplyHorizon, A, "the supply horizon";
    8 => PendingWindows, C, "pending windows";
    9 => AuditRate, C, "the audit rate";
    10 => BondClaims, C, "the bond in claims";
    /// Upward only.
    11 => PublicPart, C, "the public part";
    12 => Theta, C, "theta";
    40 => LapseBlocks, P, "the silence that lapses a seat";
    41 => SettleDelay, P, "the settlement delay";
    42 => LockBlocks, P, "the longest lock";
    43 => FeeFlat, P, "the flat fee";
    44 => FeePerByte, P, "the fee per byte";
    /// 0 burned, 1 to the public fund.
    45 => FeeToFund, P, "the use of fees";
    46 => RunBond, P, "the least bond of a run";
    47 => ValidatorBond, P, "the least bond of a validator";
    /// Part of the schedule that is issued.
    48 => IssuancePart, P, "the issued part of the schedule";
}

/// Least part of the public lane, whatever anybody votes.
pub const PUBLIC_FLOOR: u128 = 200;

/// What the network's parameters are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub base: Params,
    pub security: SecurityTerms,
    pub issuance: Issuance,
}

fn bound(parameter: Parameter, got: u128, least: u128, most: u128) -> Result<(), TxError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(TxError::Parameter {
        what: parameter.what(),
        expected: format!("{least} to {most}"),
        got: got.to_string(),
    })
}
/// `value` as the parameter's own integer.
fn fit<T: TryFrom<u128> + Into<u128> + Copy>(
    parameter: Parameter,
    value: u128,
    most: T,
) -> Result<T, TxError> {
    bound(parameter, value, 0, most.into())?;
    Ok(T::try_from(value).unwrap_or(most))
}

impl Parameter {
    /// Whether the deterrence condition (4.6) depends on it.
    pub fn deters(self) -> bool {
        matches!(self, Self::PendingWindows | Self::AuditRate | Self::BondClaims)
    }
    /// Whether it belongs to the network rather than to a run.
    pub fn of_network(self) -> bool {
        self.class() == Class::P
    }
    /// Its value in a run's policy; `None` if it is the network's.
    pub fn in_policy(self, policy: &Policy) -> Option<u128> {
        Some(match self {
            Self::PromptTokens => policy.price.prompt_tokens.into(),
            Self::GeneratedTokens => policy.price.generated_tokens.into(),
            Self::Reserve => policy.reserve,
            Self::RollHaircut => policy.roll_haircut.into(),
            Self::HostFeeCap => policy.host_fee_cap,
            Self::SupplyMode => match policy.supply_mode {
                SupplyMode::Capacity => 0,
                SupplyMode::Constant => 1,
            },
            Self::LockFee => policy.lock_fee.into(),
            Self::SupplyHorizon => policy.supply_horizon.into(),
            Self::PendingWindows => policy.pending_windows.into(),
            Self::AuditRate => policy.audit_rate.into(),
            Self::BondClaims => policy.bond_claims.into(),
            Self::PublicPart => policy.public_part.into(),
            Self::Theta => policy.theta.into(),
            _ => return None,
        })
    }
    /// Set it in a run's policy; [`Policy::check`] must follow.
    fn set_in_policy(self, policy: &mut Policy, value: u128) -> Result<(), TxError> {
        match self {
            Self::PromptTokens => policy.price.prompt_tokens = fit(self, value, u32::MAX)?,
            Self::GeneratedTokens => policy.price.generated_tokens = fit(self, value, u32::MAX)?,
            Self::Reserve => policy.reserve = value,
            Self::RollHaircut => policy.roll_haircut = fit(self, value, u16::MAX)?,
            Self::HostFeeCap => policy.host_fee_cap = value,
            Self::SupplyMode => {
                bound(self, value, 0, 1)?;
                policy.supply_mode = if value == 0 { SupplyMode::Capacity } else { SupplyMode::Constant };
            }
            Self::LockFee => policy.lock_fee = fit(self, value, u16::MAX)?,
            Self::SupplyHorizon => policy.supply_horizon = fit(self, value, u32::MAX)?,
            Self::PendingWindows => policy.pending_windows = fit(self, value, u32::MAX)?,
            Self::AuditRate => policy.audit_rate = fit(self, value, u16::MAX)?,
            Self::BondClaims => policy.bond_claims = fit(self, value, u16::MAX)?,
            Self::PublicPart => policy.public_part = fit(self, value, u16::MAX)?,
            Self::Theta => policy.theta = fit(self, value, u16::MAX)?,
            _ => return Err(wrong_scope(self, "the network")),
        }
        Ok(())
    }
    /// Its value in the network's parameters; `None` if it is a run's.
    pub fn in_network(self, network: &Network) -> Option<u128> {
        let base = &network.base;
        Some(match self {
            Self::LapseBlocks => base.lapse_blocks.into(),
            Self::SettleDelay => base.settle_delay.into(),
            Self::LockBlocks => base.lock_blocks.into(),
            Self::FeeFlat => base.fee_flat,
            Self::FeePerByte => base.fee_per_byte,
            Self::FeeToFund => base.fee_to_fund.into(),
            Self::RunBond => base.run_bond,
            Self::ValidatorBond => network.security.min_bond,
            Self::IssuancePart => network.issuance.part.into(),
            _ => return None,
        })
    }
    /// Set it in the network's parameters, within its bounds.
    fn set_in_network(self, network: &mut Network, value: u128) -> Result<(), TxError> {
        // Bounds keep the network usable: nobody can be priced out of a transaction or locked in for long.
        let (least, most) = match self {
            Self::LapseBlocks | Self::SettleDelay => (1, 1 << 20),
            Self::LockBlocks => (1, u128::from(network.base.epoch_blocks) * 12),
            Self::FeeFlat | Self::FeePerByte => (0, 1_000_000),
            Self::FeeToFund => (0, 1),
            Self::IssuancePart => (0, 10_000),
            _ => (0, 1 << 90),
        };
        bound(self, value, least, most)?;
        let base = &mut network.base;
        match self {
            Self::LapseBlocks => base.lapse_blocks = value as u64,
            Self::SettleDelay => base.settle_delay = value as u64,
            Self::LockBlocks => base.lock_blocks = value as u64,
            Self::FeeFlat => base.fee_flat = value,
            Self::FeePerByte => base.fee_per_byte = value,
            Self::FeeToFund => base.fee_to_fund = value == 1,
            Self::RunBond => base.run_bond = value,
            Self::ValidatorBond => network.security.min_bond = value,
            Self::IssuancePart => network.issuance.part = value as u16,
            _ => return Err(wrong_scope(self, "a run")),
        }
        Ok(())
    }
}

fn wrong_scope(parameter: Parameter, got: &str) -> TxError {
    let expected = if parameter.of_network() { "the network" } else { "a run" };
    TxError::Parameter {
        what: "the scope of the motion",
        expected: format!("{expected} for {}", parameter.what()),
        got: got.into(),
    }
}
fn stale(change: &Change, now: u128) -> TxError {
    TxError::Stale { what: change.parameter.what(), old: change.old, now }
}

impl Motion {
    /// The class that it needs.
    pub fn class(&self) -> Class {
        match self {
            Self::Changes(list) => {
                list.changes.iter().map(|change| change.parameter.class()).max().unwrap_or(Class::A)
            }
            Self::RetireRun(_) | Self::StrikeMeasurement(_) => Class::C,
            _ => Class::B,
        }
    }
}

/// Refuse what nobody may vote, and steps that are too large for one vote.
pub fn check_change(change: &Change) -> Result<(), TxError> {
    let (old, new) = (change.old, change.new);
    match change.parameter {
        _ if old == new => Err(TxError::Parameter {
            what: "a change",
            expected: format!("another value of {}", change.parameter.what()),
            got: new.to_string(),
        }),
        Parameter::PublicPart if new < PUBLIC_FLOOR => {
            Err(TxError::Forbidden { what: "a public lane below 2 %" })
        }
        Parameter::PublicPart if new < old => Err(TxError::Forbidden { what: "a smaller public lane" }),
        Parameter::IssuancePart if new > 10_000 => {
            Err(TxError::Forbidden { what: "issuance above its schedule" })
        }
        // At most 20 % at a time; a run's price is frozen within a series besides.
        Parameter::PromptTokens | Parameter::GeneratedTokens => {
            let step = old / 5;
            bound(change.parameter, new, old - step, old.saturating_add(step))
        }
        _ => Ok(()),
    }
}

/// The policy after `changes`, checked against the network's bounds. With `matching`, every old value must be
/// the current one; else `Stale`.
pub fn changed_policy(
    policy: &Policy,
    network: &NetworkPolicy,
    changes: &[Change],
    matching: bool,
) -> Result<Policy, TxError> {
    let mut after = policy.clone();
    for change in changes {
        check_change(change)?;
        let now = change.parameter.in_policy(policy).ok_or_else(|| wrong_scope(change.parameter, "a run"))?;
        if matching && now != change.old {
            return Err(stale(change, now));
        }
        change.parameter.set_in_policy(&mut after, change.new)?;
    }
    // Bounds of 10.4, and deterrence of 4.6 where the network demands it.
    after.check(&network.bounds)?;
    Ok(after)
}
/// As [`changed_policy`], for the network.
pub fn changed_network(network: &Network, changes: &[Change], matching: bool) -> Result<Network, TxError> {
    let mut after = network.clone();
    for change in changes {
        check_change(change)?;
        let now = change
            .parameter
            .in_network(network)
            .ok_or_else(|| wrong_scope(change.parameter, "the network"))?;
        if matching && now != change.old {
            return Err(stale(change, now));
        }
        change.parameter.set_in_network(&mut after, change.new)?;
    }
    Ok(after)
}
