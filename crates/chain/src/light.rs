//! Follow the ledger with the committee's group key only: verify headers and state, trust nobody.
//!
//! Pure: no clock, no network, no entropy. The caller decides how old a header may be; a [`LightClient`]
//! says whether it was ever final.

use crate::{
    block::{event_leaf, tx_leaf},
    certificate::{CertifiedHeader, Identity, IdentityError, Scheme, consensus_namespace},
    inclusion::Inclusion,
    proof::{ProvedCells, StateProof},
};
use commonware_consensus::{simplex::scheme::Namespace, types::Epoch};
use commonware_cryptography::{
    blake3::Digest,
    bls12381::primitives::{
        ops,
        variant::{MinSig, Variant},
    },
};
use commonware_parallel::Sequential;
use rand::{SeedableRng, rngs::StdRng};
use tessera_canon::{Domain, Hash, decode, digest, encode};

const WEIGHTS: Domain = Domain::new("tessera/certificate-weights/v1");

/// Why a header or a proof is not to be believed. Whoever sent it is faulty or on another network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The header belongs to another network.
    #[error("expected a header of network {expected}, got one of {got}")]
    OtherNetwork { expected: Hash, got: Hash },
    /// The headers between the block and its certificate are not a chain.
    #[error("header at height {height} is not the child of the one before it")]
    BrokenLink { height: u64 },
    /// The certificate signs something else.
    #[error("the certificate of height {height} is for another block or round")]
    OtherBlock { height: u64 },
    /// The committee did not sign it.
    #[error("the certificate of height {height} is not signed by the committee")]
    BadCertificate { height: u64 },
    /// The proof is for another number of keys than were asked for, or for none.
    #[error("expected a proof of {expected} keys, at least one, got one of {got}")]
    OtherKeys { expected: usize, got: usize },
    /// The cells lead to a state that the committee did not sign: a cell, a path, a number of the header, the
    /// network or the signature is wrong.
    #[error("the cells proved at height {height} are not of a state that the committee signed")]
    NotFinal { height: u64 },
    /// The proof of one key does not hold against the header's state root.
    #[error("the proof for key {key} does not hold against the state at height {height}")]
    BadProof { key: Hash, height: u64 },
    /// An event or a transaction does not stand where the proof says.
    #[error("the proof for {what} {index} does not hold against the block at height {height}")]
    NotIncluded { what: &'static str, index: u64, height: u64 },
}

/// Verifies what validators say about one network.
#[derive(Clone, Debug)]
pub struct LightClient {
    network: Hash,
    scheme: Scheme,
    /// What the committee signs under when it makes a block final.
    final_namespace: Vec<u8>,
}

impl LightClient {
    /// A client of `network`, whose committee has the group key `identity`.
    pub fn new(network: Hash, identity: &Identity) -> Result<Self, IdentityError> {
        let namespace = consensus_namespace(&network);
        let scheme = Scheme::certificate_verifier(&namespace, identity.point()?);
        Ok(Self { network, scheme, final_namespace: Namespace::new(&namespace).finalize })
    }
    /// The network this client follows.
    pub fn network(&self) -> Hash {
        self.network
    }
    /// Check that `certified.header` is final.
    pub fn verify_header(&self, certified: &CertifiedHeader) -> Result<(), VerifyError> {
        let mut above = &certified.header;
        self.on_network(above.network)?;
        for link in certified.links.iter() {
            self.on_network(link.network)?;
            if link.parent != above.digest() || link.height != above.height.saturating_add(1) {
                return Err(VerifyError::BrokenLink { height: link.height });
            }
            above = link;
        }
        let (height, signed) = (above.height, &certified.certificate.proposal);
        let right_round = signed.round.epoch() == Epoch::zero() && signed.round.view().get() == above.view;
        if signed.payload != Digest(above.digest().0) || !right_round {
            return Err(VerifyError::OtherBlock { height });
        }
        // The weights of the two-signature batch are drawn from a hash of everything that is checked, so they
        // cannot be known before the signatures are fixed and this function needs no entropy.
        let mut weights = StdRng::from_seed(digest(WEIGHTS, certified).0);
        if !certified.certificate.verify(&mut weights, &self.scheme, &Sequential) {
            return Err(VerifyError::BadCertificate { height });
        }
        Ok(())
    }
    /// Check what the answer to a question for `keys` says they hold, in a final state.
    ///
    /// The first path leads to a state root; the committee's signature must be over a header with that root, and the
    /// engine's check of every entry must hold against it.
    pub fn verify_state(&self, proof: &StateProof, keys: &[Hash]) -> Result<ProvedCells, VerifyError> {
        let (expected, got, height) = (keys.len(), proof.entries.len(), proof.finality.height.0);
        if expected != got {
            return Err(VerifyError::OtherKeys { expected, got });
        }
        let bad = |key: &Hash| VerifyError::BadProof { key: *key, height };
        let first = keys.first().ok_or(VerifyError::OtherKeys { expected, got })?;
        let unpack = |key: &Hash, at: usize| {
            proof.entries.get(at).and_then(|entry| entry.unpack(&proof.log)).ok_or_else(|| bad(key))
        };
        let root = unpack(first, 0)?.root(first).ok_or_else(|| bad(first))?;
        let header = proof.finality.header(self.network, &proof.log, root);
        let signed = header.as_ref().and_then(|header| proof.finality.signed(header));
        let (Some(header), Some(signed)) = (header, signed) else {
            return Err(VerifyError::NotFinal { height });
        };
        let signature = decode::<<MinSig as Variant>::Signature>(&proof.finality.signature);
        let (group, message) = (self.scheme.identity(), encode(&signed));
        let signed = signature.is_ok_and(|signature| {
            ops::verify_message::<MinSig>(group, &self.final_namespace, &message, &signature).is_ok()
        });
        if !signed {
            return Err(VerifyError::NotFinal { height });
        }
        let mut cells = Vec::with_capacity(expected);
        for (at, key) in keys.iter().enumerate() {
            let entry = unpack(key, at)?;
            if !entry.holds(key, &root) {
                return Err(bad(key));
            }
            cells.push((*key, entry.cell()));
        }
        Ok(ProvedCells { header, cells })
    }
    /// Check that events and transactions are those of their block, at the places that their paths name.
    pub fn verify_inclusion(&self, inclusion: &Inclusion) -> Result<(), VerifyError> {
        self.verify_header(&inclusion.header)?;
        let header = &inclusion.header.header;
        let missing = |what, index| VerifyError::NotIncluded { what, index, height: header.height };
        for proved in inclusion.events.iter() {
            if !proved.path.verify(event_leaf(&proved.event), &header.event_root) {
                return Err(missing("event", proved.path.index));
            }
        }
        for proved in inclusion.txs.iter() {
            if !proved.path.verify(tx_leaf(&proved.tx), &header.tx_root) {
                return Err(missing("transaction", proved.path.index));
            }
        }
        Ok(())
    }
    fn on_network(&self, got: Hash) -> Result<(), VerifyError> {
        if got == self.network {
            Ok(())
        } else {
            Err(VerifyError::OtherNetwork { expected: self.network, got })
        }
    }
}
