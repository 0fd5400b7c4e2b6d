//! Remember the committee's seeds, so that a proposer can put its parent's into the block.
//!
//! Every notarization and finalization certificate of a round carries the round's seed, a threshold signature
//! that nobody can choose. [`SeedBook`] taps the consensus engine's reports; it is bounded and holds only what
//! the next few proposals may need. It verifies nothing: users check a seed against the group key.

use commonware_actor::Feedback;
use commonware_consensus::simplex::scheme::bls12381_threshold::vrf;
use commonware_consensus::{Reporter, Viewable as _, simplex::types::Activity, types::Round};
use commonware_cryptography::bls12381::primitives::variant::{MinSig, Variant};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tessera_canon::{decode, encode};
use tessera_chain::{BlockDigest, SEED_BYTES, Scheme, Seed};
use tokio::sync::Notify;

/// Seeds kept: the newest views.
const KEPT: usize = 256;

/// Seeds of recent views, shared between the engine's reports and the proposer.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeedBook {
    seeds: Arc<Mutex<BTreeMap<u64, Seed>>>,
    learned: Arc<Notify>,
}

impl SeedBook {
    /// The seed of `view`, if it was seen and not forgotten.
    pub(crate) fn get(&self, view: u64) -> Option<Seed> {
        self.seeds.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&view).cloned()
    }
    /// Remember the seed in a certificate of `view`.
    pub(crate) fn learn(&self, view: u64, certificate: &vrf::Certificate<MinSig>) {
        let Some(signature) = certificate.get() else { return };
        let mut bytes = [0; SEED_BYTES];
        bytes.copy_from_slice(&encode(&signature.seed_signature));
        let mut seeds = self.seeds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seeds.insert(view, Seed { signature: bytes });
        while seeds.len() > KEPT {
            seeds.pop_first();
        }
        drop(seeds);
        self.learned.notify_waiters();
    }
    /// Wait until a seed is learned. Poll the future once before looking at [`SeedBook::get`].
    pub(crate) fn learned(&self) -> impl Future<Output = ()> + Send + use<> {
        let learned = self.learned.clone();
        async move { learned.notified().await }
    }
}

impl Reporter for SeedBook {
    type Activity = Activity<Scheme, BlockDigest>;
    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match activity {
            Activity::Notarization(seen) | Activity::Certification(seen) => {
                self.learn(seen.view().get(), &seen.certificate);
            }
            Activity::Finalization(seen) => self.learn(seen.view().get(), &seen.certificate),
            _ => {}
        }
        Feedback::Ok
    }
}

/// Whether `seed` is the committee's for `round`.
pub(crate) fn seed_holds(scheme: &Scheme, round: Round, seed: &Seed) -> bool {
    decode::<<MinSig as Variant>::Signature>(&seed.signature)
        .is_ok_and(|point| vrf::Seed::<MinSig>::new(round, point).verify(scheme))
}
