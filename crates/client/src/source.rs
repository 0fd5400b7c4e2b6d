//! Say what a client needs of the world: somebody who carries a question to a validator and brings the answer.

use std::{collections::BTreeSet, future::Future};
use tessera_canon::PublicKey;
use tessera_wire::rpc::{Answer, Ask};

/// Carries questions to validators. Nothing that it brings is believed.
pub trait Source: Send + Sync + 'static {
    /// The validators that can be asked, always in the same order; the one in this process is not among them.
    fn validators(&self) -> &[PublicKey];
    /// The validator in this process, if there is one: it is asked first.
    fn local(&self) -> Option<PublicKey> {
        None
    }
    /// Those of the validators to which there is a connection. If there is none and the caller is `patient`,
    /// wait a moment for the first.
    fn connected(&self, patient: bool) -> impl Future<Output = BTreeSet<PublicKey>> + Send;
    /// The answer of one validator, or why none came. Must end in bounded time.
    fn ask(&self, validator: &PublicKey, ask: &Ask) -> impl Future<Output = Result<Answer, String>> + Send;
}
