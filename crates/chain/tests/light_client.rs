//! A light client believes what a committee signed, and nothing that was changed afterwards.

use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    blake3,
    bls12381::{dkg::feldman_desmedt, primitives::sharing::Mode, primitives::variant::MinSig},
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, TryCollect as _, ordered::Set};
use rand::{SeedableRng as _, rngs::StdRng};
use tessera_canon::{Hash, List, SecretKey, decode, encode};
use tessera_chain::{
    Block, CertifiedHeader, Header, Identity, LightClient, SEED_BYTES, Scheme, Seed, VerifyError,
    consensus_key, consensus_namespace, event_root, tx_root,
};
use tessera_ledger::{SignedTx, Tx, action};

const NETWORK: Hash = Hash([5; 32]);

fn schemes(seed: u64) -> Vec<Scheme> {
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

fn header(height: u64, parent: &Header) -> Header {
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

fn first() -> Header {
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

fn finalize(schemes: &[Scheme], header: &Header) -> tessera_chain::Finalization {
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

#[test]
fn a_header_is_final_by_its_own_or_a_descendants_certificate() {
    let schemes = schemes(1);
    let identity = Identity::from_point(schemes[0].identity());
    assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
    let client = LightClient::new(NETWORK, &identity).unwrap();
    let (one, two, three) = {
        let one = first();
        let two = header(2, &one);
        let three = header(3, &two);
        (one, two, three)
    };
    let certificate = finalize(&schemes, &three);
    let direct =
        CertifiedHeader { header: three.clone(), links: List::default(), certificate: certificate.clone() };
    let linked = CertifiedHeader {
        header: one.clone(),
        links: List::new(vec![two.clone(), three.clone()]).unwrap(),
        certificate: certificate.clone(),
    };
    for good in [&direct, &linked] {
        let sent: CertifiedHeader = decode(&encode(good)).unwrap();
        client.verify_header(&sent).unwrap();
    }

    let gap = CertifiedHeader { links: List::new(vec![three.clone()]).unwrap(), ..linked.clone() };
    assert_eq!(client.verify_header(&gap), Err(VerifyError::BrokenLink { height: 3 }));
    let mut changed = linked.clone();
    changed.header.state_root = Hash([9; 32]);
    assert_eq!(client.verify_header(&changed), Err(VerifyError::BrokenLink { height: 2 }));
    let short = CertifiedHeader { links: List::new(vec![two]).unwrap(), ..linked };
    assert_eq!(client.verify_header(&short), Err(VerifyError::OtherBlock { height: 2 }));
    let mut moved = direct.clone();
    moved.certificate.proposal.round = Round::new(Epoch::zero(), View::new(999));
    assert_eq!(client.verify_header(&moved), Err(VerifyError::OtherBlock { height: 3 }));

    let strangers = self::schemes(2);
    let forged = CertifiedHeader { certificate: finalize(&strangers, &three), ..direct.clone() };
    assert_eq!(client.verify_header(&forged), Err(VerifyError::BadCertificate { height: 3 }));
    let elsewhere = LightClient::new(Hash([6; 32]), &identity).unwrap();
    assert!(matches!(elsewhere.verify_header(&direct), Err(VerifyError::OtherNetwork { .. })));
}

#[test]
fn a_block_exists_only_with_the_transactions_of_its_header() {
    let key = SecretKey::from_seed([8; 32]);
    let tx = |nonce| {
        let action = action::Transfer { to: key.public(), amount: 1 }.into();
        let fee_from = tessera_ledger::FeeSource::default();
        SignedTx::sign(&key, Tx { network: NETWORK, sender: key.public(), nonce, fee: 1, fee_from, action })
    };
    let txs = vec![tx(0), tx(1)];
    let header = Header { tx_root: tx_root(&txs), ..first() };
    let block = Block::new(header.clone(), txs.clone()).unwrap();
    assert_eq!(decode::<Block>(&encode(&block)).unwrap(), block);
    for wrong in [vec![tx(1), tx(0)], vec![tx(0)], vec![], vec![tx(0), tx(2)]] {
        assert!(Block::new(header.clone(), wrong).is_err());
    }
    let empty = Header { ops_start: 4, ..first() };
    assert!(Block::new(empty, vec![]).is_err());
    let bytes = encode(&block);
    for cut in 0..bytes.len() {
        assert!(decode::<Block>(&bytes[..cut]).is_err());
    }
}

#[test]
fn the_beacon_follows_from_the_seed_alone() {
    let one = first();
    let (two, other) = (header(2, &one), header(2, &Header { time_ms: 50, ..one.clone() }));
    assert_eq!(two.beacon(), other.beacon());
    assert_ne!(two.beacon(), header(3, &two).beacon());
    assert_ne!(one.beacon(), Header { network: Hash([7; 32]), ..one.clone() }.beacon());
}
