//! A light client believes what a committee signed, and nothing that was changed afterwards.

mod committee;

use committee::{NETWORK, finalize, first, header, schemes};
use commonware_consensus::types::{Epoch, Round, View};
use tessera_canon::{Hash, List, SecretKey, decode, encode};
use tessera_chain::{Block, CertifiedHeader, Header, Identity, LightClient, VerifyError, tx_root};
use tessera_ledger::{SignedTx, Tx, action};

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

    let strangers = committee::schemes(2);
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
