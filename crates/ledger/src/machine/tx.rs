//! Wrap an action so that it counts once, on one network, from one account.

use crate::action::Action;
use tessera_canon::{Domain, Hash, PublicKey, SecretKey, Signature, choice, digest, encode, record};

const TX: Domain = Domain::new("tessera/ledger/tx/v1");

/// Most bytes of an encoded [`SignedTx`].
pub const MAX_TX_BYTES: usize = 16_384;

record! {
    /// The sender's balance pays.
    pub struct FromBalance {}
}
record! {
    /// A note of the sender's pays, valued at its run's median price; change is a new note.
    pub struct FromNote { pub note: Hash }
}
record! {
    /// Credits that are due to the sender as an owner of this run pay.
    pub struct FromDue { pub run: Hash }
}
choice! {
    /// What pays a fee ([`crate::market::fee`]).
    pub enum FeeSource { 0 => U(FromBalance), 1 => Note(FromNote), 2 => Due(FromDue) }
}
impl Default for FeeSource {
    fn default() -> Self {
        Self::U(FromBalance {})
    }
}
record! {
    /// What an account wants done.
    pub struct Tx {
        /// [`crate::Genesis::network_id`].
        pub network: Hash,
        pub sender: PublicKey,
        /// The sender's number of transactions before this one.
        pub nonce: u64,
        /// Nano-U offered, taken whole whether the action succeeds or not.
        pub fee: u128,
        /// What pays the fee.
        pub fee_from: FeeSource,
        pub action: Action,
    }
}
record! {
    /// A transaction and its sender's signature.
    pub struct SignedTx { pub body: Tx, pub signature: Signature }
}

impl SignedTx {
    /// Sign `body`; `key` is the one that signs for its sender.
    pub fn sign(key: &SecretKey, body: Tx) -> Self {
        let signature = key.sign(TX, &body);
        Self { body, signature }
    }
    /// The id: the hash of the body, so that nobody can give one transaction two ids by another signature.
    pub fn id(&self) -> Hash {
        digest(TX, &self.body)
    }
    /// Whether the signature is that of the key which the sender is named after. An account whose key was
    /// rotated signs with another one: see [`crate::record::Account::signer_at`].
    pub fn verify(&self) -> bool {
        self.verify_by(&self.body.sender)
    }
    /// Whether the signature is `signer`'s.
    pub fn verify_by(&self, signer: &PublicKey) -> bool {
        signer.verify(TX, &self.body, &self.signature)
    }
    /// Length of the encoding, which the fee is measured by.
    pub fn size(&self) -> usize {
        encode(self).len()
    }
}
