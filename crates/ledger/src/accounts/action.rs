//! List what an account can do with accounts, balances and validators.

use crate::accounts::evidence::Statement;
use tessera_canon::{Domain, Hash, PublicKey, Signature, record};

/// Signed by the new key: [`Rotation`].
pub const ROTATION: Domain = Domain::new("tessera/ledger/rotation/v1");
/// Signed by the validator's consensus key: [`Bonding`].
pub const BONDING: Domain = Domain::new("tessera/ledger/bonding/v1");

record! {
    /// Move U.
    pub struct Transfer { pub to: PublicKey, pub amount: u128 }
}
record! {
    /// What a new key signs to become an account's.
    pub struct Rotation { pub network: Hash, pub account: PublicKey, pub key: PublicKey }
}
record! {
    /// Let `key` sign for the sender, from one epoch later; until then the present key does. The account's name
    /// stays. `signature` is the new key's over [`Rotation`].
    pub struct RotateKey { pub key: PublicKey, pub signature: Signature }
}
record! {
    /// What a consensus key signs to be an account's.
    pub struct Bonding { pub network: Hash, pub account: PublicKey, pub key: PublicKey }
}
record! {
    /// Bond `amount` more for the consensus key `key`; in the set from the next epoch on. `signature` is the
    /// consensus key's over [`Bonding`].
    pub struct ValidatorBond { pub amount: u128, pub key: PublicKey, pub signature: Signature }
}
record! {
    /// Leave the set at the next epoch; the bond comes back after `SecurityTerms::unbond_blocks`.
    pub struct ValidatorUnbond {}
}
record! {
    /// Prove that a validator signed two conflicting statements.
    pub struct ReportDoubleSign {
        pub first: Statement,
        pub first_signature: Signature,
        pub second: Statement,
        pub second_signature: Signature,
    }
}
