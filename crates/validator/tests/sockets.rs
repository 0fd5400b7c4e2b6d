//! A real committee over loopback TCP: blocks, a transfer, a proof for a light client, and refusals.

use std::{net::SocketAddr, path::Path};
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey, decode, encode};
use tessera_chain::{LightClient, StateProof, VerifyError};
use tessera_ledger::{Genesis, Parameters, SignedTx, Tx, action, genesis::GenesisAccount, keys, query};
use tessera_validator::{
    ProveError, StartError, SubmitError, Timing, Validator, ValidatorConfig,
    committee::{Committee, SecretShare, deal},
};

const BALANCE: u128 = 1 << 60;

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}

fn configs(folder: &Path, user: &PublicKey) -> Vec<ValidatorConfig> {
    let mut keys: Vec<SecretKey> = (1..=4).map(|index| SecretKey::from_seed([index; 32])).collect();
    keys.sort_by_key(SecretKey::public);
    let members: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
    let (committee, shares) = deal(&members, [3; 32]).unwrap();
    assert_eq!(Committee::from_bytes(&committee.to_bytes()).unwrap(), committee);
    let genesis = Genesis {
        name: "sockets".parse().unwrap(),
        time_ms: 1,
        validators: List::default(),
        accounts: List::new(vec![GenesisAccount { key: *user, balance: BALANCE }]).unwrap(),
        params: Parameters::demo(),
        consensus: Blob::new(committee.to_bytes()).unwrap(),
    };
    let addresses: Vec<(PublicKey, SocketAddr)> =
        members.iter().map(|member| (*member, free_address())).collect();
    keys.into_iter()
        .zip(shares)
        .zip(&addresses)
        .map(|((key, (_, share)), (_, listen))| ValidatorConfig {
            data_dir: folder.join(key.public().short()),
            key,
            share: SecretShare::from_hex(&share.to_hex()).unwrap(),
            genesis: genesis.clone(),
            committee: addresses.clone(),
            listen: *listen,
            state_sync: false,
            timing: Timing { interval_ms: 100, idle_ms: 200 },
            keep_blocks: None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committee_makes_blocks_and_proves_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (user, other) = (SecretKey::from_seed([90; 32]), SecretKey::from_seed([91; 32]).public());
    let configs = configs(folder.path(), &user.public());
    let mut handles = Vec::new();
    for config in &configs {
        handles.push(Validator::start(config.clone()).await.unwrap());
    }
    let handle = &handles[0];

    let busy = Validator::start(configs[0].clone()).await;
    assert!(matches!(busy, Err(StartError::FolderInUse { .. })), "{busy:?}");
    let port = ValidatorConfig { data_dir: folder.path().join("elsewhere"), ..configs[0].clone() };
    let port = Validator::start(port).await;
    assert!(matches!(port, Err(StartError::Listen { .. })), "{port:?}");
    let foreign = ValidatorConfig { share: configs[1].share.clone(), ..configs[0].clone() };
    assert!(matches!(Validator::start(foreign).await, Err(StartError::Committee(_))));

    let tx = |network: Hash, nonce: u64| {
        let action = action::Transfer { to: other, amount: 77 }.into();
        let fee_from = tessera_ledger::FeeSource::default();
        SignedTx::sign(&user, Tx { network, sender: user.public(), nonce, fee: 1_000_000, fee_from, action })
    };
    let mut feed = handle.subscribe();
    // The first block opens the ledger; before it the validators are still meeting.
    feed.recv().await.unwrap();
    let wrong = handle.submit(tx(Hash::ZERO, 0)).await.unwrap_err();
    assert!(matches!(wrong, SubmitError::OtherNetwork { .. }) && !wrong.may_retry());
    let far = handle.submit(tx(handle.network(), 500)).await.unwrap_err();
    assert!(matches!(far, SubmitError::NonceTooFar { expected: 0, got: 500 }));
    let mut forged = tx(handle.network(), 0);
    forged.body.nonce = 1;
    assert!(matches!(handle.submit(forged).await, Err(SubmitError::BadSignature { .. })));
    let id = handle.submit(tx(handle.network(), 0)).await.unwrap();
    let block = loop {
        let block = feed.recv().await.unwrap();
        if block.txs.iter().any(|tx| tx.id() == id) {
            break block;
        }
    };
    assert!(block.receipts[0].ok() && !block.events.is_empty());
    assert_eq!(
        handle.receipt(&id).map(|(height, receipt)| (height, receipt.ok())),
        Some((block.header.height, true))
    );
    let used = handle.submit(tx(handle.network(), 0)).await.unwrap_err();
    assert!(matches!(used, SubmitError::NonceUsed { expected: 1, got: 0 }), "{used}");
    while feed.recv().await.unwrap().header.height < block.header.height + 5 {}

    let light = LightClient::new(handle.network(), &handle.identity()).unwrap();
    let nobody = keys::account(&SecretKey::from_seed([92; 32]).public());
    let wanted = [keys::account(&other), nobody];
    let proof = handle.prove(wanted.to_vec()).await.unwrap();
    let proof: StateProof = decode(&encode(&proof)).unwrap();
    let proved = light.verify_state(&proof, &wanted).unwrap();
    let cells = proved.cells;
    let paid = query::account(|key| cells.iter().find(|(have, _)| have == key)?.1, &other).unwrap();
    assert_eq!(paid.balance, 77);
    assert_eq!(cells[1], (nobody, None));
    assert_eq!(proved.header, handle.header_at(proved.header.height).await.unwrap().header.of_state());

    let lie = StateProof { entries: List::new(vec![proof.entries[1].clone()]).unwrap(), ..proof.clone() };
    let absent = light.verify_state(&lie, &[wanted[0]]);
    assert!(matches!(absent, Err(VerifyError::BadProof { .. })), "presence is not absence");
    let mut altered = proof.clone();
    altered.finality.time_ms.0 += 1;
    assert!(matches!(light.verify_state(&altered, &wanted), Err(VerifyError::NotFinal { .. })));
    let stranger = LightClient::new(Hash::ZERO, &handle.identity()).unwrap();
    assert!(matches!(stranger.verify_state(&proof, &wanted), Err(VerifyError::NotFinal { .. })));
    let certified = handle.header_at(1).await.unwrap();
    assert!(matches!(stranger.verify_header(&certified), Err(VerifyError::OtherNetwork { .. })));
    let mut altered = certified.clone();
    altered.header.time_ms += 1;
    assert!(matches!(
        light.verify_header(&altered),
        Err(VerifyError::OtherBlock { .. } | VerifyError::BrokenLink { .. })
    ));
    assert!(matches!(handle.prove(Vec::new()).await, Err(ProveError::WrongCount { got: 0 })));
    for height in 1..=block.header.height {
        let certified = handle.header_at(height).await.unwrap();
        light.verify_header(&certified).unwrap();
        assert_eq!(handle.block_at(height).await.unwrap().header(), &certified.header);
    }

    for handle in &handles {
        assert_eq!(handle.stop().await, None);
    }
    let marker = configs[0].data_dir.join("network");
    std::fs::write(&marker, "network 00 validator 00\n").unwrap();
    let other_folder = Validator::start(configs[0].clone()).await;
    assert!(matches!(other_folder, Err(StartError::OtherFolder { .. })), "{other_folder:?}");
}
