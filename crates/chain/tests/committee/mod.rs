//! Deal a committee for tests and let it finalize headers.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use commonware_consensus::{
    simplex::types::{Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    blake3,
    bls12381::{dkg::feldman_desmedt, primitives::sharing::Mode, primitives::variant::MinSig},
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, TryCollect as _, ordered::Set};
use rand::{SeedableRng as _, rngs::StdRng};
use tessera_canon::{Hash, SecretKey};
use tessera_chain::{
    Finalization, Header, SEED_BYTES, Scheme, Seed, consensus_key, consensus_namespace, event_root, tx_root,
};

pub const NETWORK: Hash = Hash([5; 32]);

pub fn schemes(seed: u64) -> Vec<Scheme> {
    let keys = (1..=4).map(|index| consensus_key(&SecretKey::from_seed([index; 32]).public()).unwrap());
    let set: Set<_> = keys.try_collect().unwrap();
    let rng = StdRng::seed_from_u64(seed);
    let (output, shares) =
        feldman_desmedt::deal::<MinSig, _, N3f1>(rng, Mode::NonZeroCounter, set.clone()).unwrap();
    set.iter()
        .map(|key| {
            let share = shares.get_value(key).unwrap().clone();
            Scheme::signer(&consensus_namespace(&NETWORK), set.clone(), output.public().clone(), share)
                .unwrap()
        })
        .collect()
}

pub fn header(height: u64, parent: &Header) -> Header {
    Header {
        height,
        parent: parent.digest(),
        view: height * 2,
        parent_view: parent.view,
        time_ms: parent.time_ms + 1,
        seed: Some(Seed { signature: [height as u8; SEED_BYTES] }),
        ..parent.clone()
    }
}

pub fn first() -> Header {
    Header {
        network: NETWORK,
        height: 1,
        parent: Hash([1; 32]),
        view: 1,
        parent_view: 0,
        proposer: SecretKey::from_seed([1; 32]).public(),
        time_ms: 1,
        state_root: Hash([2; 32]),
        ops_root: Hash([3; 32]),
        ops_start: 0,
        ops_end: 4,
        tx_root: tx_root(&[]),
        event_root: event_root(&[]),
        seed: None,
    }
}

pub fn finalize(schemes: &[Scheme], header: &Header) -> Finalization {
    let proposal = Proposal::new(
        Round::new(Epoch::zero(), View::new(header.view)),
        View::new(header.parent_view),
        blake3::Digest(header.digest().0),
    );
    let votes: Vec<_> =
        schemes.iter().take(3).map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap()).collect();
    let votes = commonware_utils::iter::NonEmpty::try_new(votes.iter()).unwrap();
    Finalization::from_finalizes(&schemes[0], votes, &Sequential).unwrap()
}
