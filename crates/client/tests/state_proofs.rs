//! A proof of cells holds for the keys, the network and the state that it was made for, and for nothing else.

use tessera_canon::{Blob, Compact, Hash, List, PublicKey, SecretKey, decode, encode};
use tessera_chain::{
    Group, LightClient, Link, MAX_LINKS, MAX_PROVED_KEYS, ProvedCells, ProvedEntry, StateProof, VerifyError,
};
use tessera_client::{LedgerError, testing::TestChain};
use tessera_ledger::{Genesis, Params, genesis::GenesisAccount, keys};
use tessera_wire::rpc::{Answer, Ask, Prove};

fn public(index: u8) -> PublicKey {
    SecretKey::from_seed([index; 32]).public()
}
fn account(index: u8) -> Hash {
    keys::account(&public(index))
}

/// A chain whose accounts are 1 to 40, and its light client.
fn chain() -> (TestChain, LightClient) {
    let accounts =
        (1..=40).map(|index| GenesisAccount { key: public(index), balance: 1_000_000 + u128::from(index) });
    let chain = TestChain::start(
        Genesis {
            name: "proofs".parse().unwrap(),
            time_ms: 1_800_000_000_000,
            validators: List::default(),
            accounts: List::new(accounts.collect()).unwrap(),
            params: Params::demo().into(),
            consensus: Blob::default(),
        },
        1,
    );
    chain.block(Vec::new());
    let light = LightClient::new(chain.genesis().network_id(), &chain.identity()).unwrap();
    (chain, light)
}

fn prove(chain: &TestChain, wanted: &[Hash]) -> StateProof {
    let ask = Ask::Prove(Prove { keys: List::new(wanted.to_vec()).unwrap() });
    let Answer::State(proof) = chain.answer(&ask) else { panic!("a proof") };
    decode(&encode(&proof)).unwrap()
}

/// What both sides say of cells and header must agree with the chain.
fn agrees(chain: &TestChain, proved: &ProvedCells) {
    let state = chain.state();
    for (key, cell) in &proved.cells {
        assert_eq!(*cell, state.get(key));
    }
    let Answer::Header(tip) = chain.answer(&Ask::Latest(tessera_wire::rpc::Latest {})) else {
        panic!("a header")
    };
    assert_eq!(proved.header, tip.header.of_state());
    assert_eq!(proved.header.digest(), tip.header.digest());
}

#[test]
fn no_byte_of_a_proof_can_be_another() {
    let (chain, light) = chain();
    chain.finalize_late(1);
    for wanted in [vec![account(3)], vec![account(90)], vec![account(4), account(91)]] {
        let bytes = encode(&prove(&chain, &wanted)).to_vec();
        agrees(&chain, &light.verify_state(&decode(&bytes).unwrap(), &wanted).unwrap());
        let mut decoded = 0;
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            let Ok(other) = decode::<StateProof>(&other) else { continue };
            decoded += 1;
            light.verify_state(&other, &wanted).unwrap_err();
        }
        assert!(decoded > bytes.len() / 2, "most bytes are hashes, any of which decode");
        (0..bytes.len()).for_each(|cut| assert!(decode::<StateProof>(&bytes[..cut]).is_err()));
        assert!(decode::<StateProof>(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn an_answer_to_another_question_does_not_hold() {
    let (chain, light) = chain();
    let (here, there, gone) = (account(5), account(6), account(95));
    let check = |asked: &[Hash], wanted: &[Hash]| light.verify_state(&prove(&chain, asked), wanted);
    agrees(&chain, &check(&[here, gone], &[here, gone]).unwrap());
    // The first cell leads to the state root, so with another key it leads to a state that nobody signed.
    assert!(matches!(check(&[here], &[there]), Err(VerifyError::NotFinal { .. })));
    assert!(matches!(check(&[here, there], &[there, here]), Err(VerifyError::NotFinal { .. })));
    // Presence is not absence, and the gap around one key is not that around another.
    assert!(matches!(check(&[here], &[gone]), Err(VerifyError::NotFinal { .. })));
    let bad = |asked: &[Hash], wanted: &[Hash], key: Hash| {
        let found = check(asked, wanted).unwrap_err();
        assert!(matches!(found, VerifyError::BadProof { key: found, .. } if found == key), "{found}");
    };
    bad(&[gone], &[here], here);
    bad(&[here, gone], &[here, there], there);
    let ProvedEntry::Between(between) = &prove(&chain, &[gone]).entries[0] else {
        panic!("the state is not empty")
    };
    bad(&[gone], &[between.key], between.key);
    bad(&[gone], &[between.next], between.next);
    let inside = |key: &Hash| match between.key < between.next {
        true => between.key < *key && *key < between.next,
        false => between.key < *key || *key < between.next,
    };
    assert!(inside(&gone));
    let lost = (100..200).map(account).find(|key| !inside(key)).unwrap();
    bad(&[gone], &[lost], lost);

    for (asked, wanted) in [(&[here][..], &[here, there][..]), (&[here, there], &[here]), (&[here], &[])] {
        let (expected, got) = (wanted.len(), asked.len());
        assert_eq!(check(asked, wanted), Err(VerifyError::OtherKeys { expected, got }));
    }
    let empty = StateProof { entries: List::default(), ..prove(&chain, &[here]) };
    assert_eq!(light.verify_state(&empty, &[]), Err(VerifyError::OtherKeys { expected: 0, got: 0 }));

    let elsewhere = LightClient::new(Hash([6; 32]), &chain.identity()).unwrap();
    let proof = prove(&chain, &[here]);
    assert!(matches!(elsewhere.verify_state(&proof, &[here]), Err(VerifyError::NotFinal { .. })));
    let strangers = TestChain::start(chain.genesis(), 2).identity();
    let strangers = LightClient::new(chain.genesis().network_id(), &strangers).unwrap();
    assert!(matches!(strangers.verify_state(&proof, &[here]), Err(VerifyError::NotFinal { .. })));
}

#[test]
fn a_state_is_final_by_the_certificate_of_a_descendant() {
    let (chain, light) = chain();
    let wanted = [account(7)];
    let alone = encode(&prove(&chain, &wanted)).len();
    for links in [1, 2, MAX_LINKS] {
        chain.finalize_late(links);
        let proof = prove(&chain, &wanted);
        agrees(&chain, &light.verify_state(&proof, &wanted).unwrap());
        assert_eq!(encode(&proof).len(), alone + 65 * links, "a link is two hashes and a number");
        let with = |links: Vec<Link>| {
            let mut other = proof.clone();
            other.finality.links = List::new(links).unwrap();
            light.verify_state(&other, &wanted)
        };
        let links = proof.finality.links.to_vec();
        assert!(with(links.clone()).is_ok());
        assert!(matches!(with(links[1..].to_vec()), Err(VerifyError::NotFinal { .. })));
        let changed = |change: &dyn Fn(&mut Link)| {
            let mut links = links.clone();
            links.first_mut().map(change);
            assert!(matches!(with(links), Err(VerifyError::NotFinal { .. })));
        };
        changed(&|link| link.view_step.0 += 1);
        changed(&|link| link.view_step.0 = u64::MAX);
        changed(&|link| std::mem::swap(&mut link.state, &mut link.body));
    }
}

#[test]
fn numbers_that_make_no_path_are_refused() {
    let (chain, light) = chain();
    for wanted in [[account(8)], [account(98)]] {
        let proof = prove(&chain, &wanted);
        let end = proof.log.end.0;
        let ends = [0, 1, 255, 256, end - 1, end + 1, 1 << 40, (1 << 62) - 1, 1 << 62, u64::MAX];
        let refused = |change: &dyn Fn(&mut StateProof, &mut tessera_chain::Path)| {
            let mut other = proof.clone();
            let mut entry = proof.entries[0].clone();
            match &mut entry {
                ProvedEntry::Present(entry) => change(&mut other, &mut entry.path),
                ProvedEntry::Between(entry) => change(&mut other, &mut entry.path),
                ProvedEntry::Nothing(entry) => change(&mut other, &mut entry.path),
            }
            other.entries = List::new(vec![entry]).unwrap();
            light.verify_state(&other, &wanted).unwrap_err();
        };
        for number in ends {
            refused(&|proof, _| proof.log.end = Compact(number));
            refused(&|_, path| path.place = Compact(path.place.0 ^ number.max(1)));
            refused(&|proof, path| (proof.log.end, path.place) = (Compact(number), Compact(number)));
            refused(&|proof, _| proof.finality.height.0 ^= number.max(1));
            refused(&|proof, _| proof.finality.view_ahead.0 ^= number.max(1));
            refused(&|proof, _| proof.finality.view_step.0 ^= number.max(1));
        }
        for count in [0, 1, 2, 64, 192] {
            refused(&|_, path| path.siblings = List::new(vec![Hash([1; 32]); count]).unwrap());
        }
        for inactive in [1, 2, 7, 64, 255] {
            refused(&|proof, _| proof.log.inactive ^= inactive);
        }
        refused(&|proof, _| proof.log.unfinished = Group([0; 32]));
        refused(&|_, path| path.group = Group([0; 32]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_for_nothing_is_refused_and_nobody_is_a_liar_for_it() {
    let (chain, _) = chain();
    let client = chain.client(chain.honest());
    assert!(matches!(client.proof(&[]).await, Err(LedgerError::Rejected { .. })));
    let many = vec![account(1); MAX_PROVED_KEYS + 1];
    assert!(matches!(client.proof(&many).await, Err(LedgerError::TooMany { .. })));
    assert!(client.liars().is_empty());
}
