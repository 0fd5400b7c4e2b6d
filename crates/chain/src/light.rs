//! Follow the ledger with the committee's group key only: verify headers and state, trust nobody.
//!
//! Pure: no clock, no network, no entropy. The caller decides how old a header may be; a [`LightClient`]
//! says whether it was ever final.

use crate::{
    block::{Header, event_leaf, tx_leaf},
    certificate::{CertifiedHeader, Identity, IdentityError, Scheme, consensus_namespace},
    inclusion::Inclusion,
    path::{unpack_absence, unpack_presence},
    proof::{CellEncoding, ProvedEntry, StateProof},
};
use commonware_consensus::types::Epoch;
use commonware_cryptography::blake3::{Blake3, Digest};
use commonware_parallel::Sequential;
use rand::{SeedableRng, rngs::StdRng};
use tessera_canon::{Domain, Hash, digest};
use tessera_ledger::Cell;

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
}

impl LightClient {
    /// A client of `network`, whose committee has the group key `identity`.
    pub fn new(network: Hash, identity: &Identity) -> Result<Self, IdentityError> {
        let scheme = Scheme::certificate_verifier(&consensus_namespace(&network), identity.point()?);
        Ok(Self { network, scheme })
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
    /// Check a state proof and its header; returns every key with its cell, `None` where it holds nothing.
    pub fn verify_state(&self, proof: &StateProof) -> Result<Vec<(Hash, Option<Cell>)>, VerifyError> {
        self.verify_header(&proof.header)?;
        let header = &proof.header.header;
        proof
            .entries
            .iter()
            .map(|entry| {
                if entry_holds(entry, header) {
                    Ok((entry.key, entry.cell))
                } else {
                    Err(VerifyError::BadProof { key: entry.key, height: header.height })
                }
            })
            .collect()
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

/// Whether one entry follows from the state of `header`.
fn entry_holds(entry: &ProvedEntry, header: &Header) -> bool {
    let (key, root) = (Digest(entry.key.0), Digest(header.state_root.0));
    match &entry.cell {
        Some(cell) => unpack_presence(&entry.proof, header)
            .is_some_and(|proof| proof.verify::<Blake3, CellEncoding>(key, *cell, &root)),
        None => unpack_absence(&entry.proof, header).is_some_and(|proof| proof.verify::<Blake3>(&key, &root)),
    }
}
