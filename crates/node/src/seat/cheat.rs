//! Let a seat cheat on purpose, so that a demonstration or a test can show a real node being caught.
//!
//! The kinds are rows of the attack catalogue (`verify` 14) whose outputs are false. Nothing is gained by them: the work is
//! what audits find always, and the seat says in its log that it cheats. Without the feature `cheat` the kinds have names
//! only, and a seat that is told to cheat refuses to start.

use std::{fmt, str::FromStr};

/// Whether seats of this program can cheat.
pub const AVAILABLE: bool = cfg!(feature = "cheat");

/// How a seat cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cheat {
    /// Computes nothing and sends zeros (row 6).
    Lazy,
    /// Sends gradients ten times as long and turned round (row 2).
    SignFlip,
}

impl Cheat {
    const ALL: [(&'static str, Self); 2] = [("lazy", Self::Lazy), ("sign-flip", Self::SignFlip)];

    /// The conduct of the catalogue.
    #[cfg(feature = "cheat")]
    pub(super) fn attacker(self) -> Box<dyn tessera_audit::attackers::Attacker> {
        use tessera_audit::attackers::{r02_sign_flip::SignFlip, r06_lazy::Lazy};
        match self {
            Self::Lazy => Box::new(Lazy),
            Self::SignFlip => Box::new(SignFlip { factor: 10 }),
        }
    }
}

impl fmt::Display for Cheat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Cheat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!(
                "expected one of {}, got {:?}",
                names.join(", "),
                text.chars().take(32).collect::<String>()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_that_reads_back() {
        for (name, kind) in Cheat::ALL {
            assert_eq!((name.parse(), kind.to_string()), (Ok(kind), name.to_string()));
        }
        assert!("honest".parse::<Cheat>().unwrap_err().contains("lazy, sign-flip"));
    }
}
