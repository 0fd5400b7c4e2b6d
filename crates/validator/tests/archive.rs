//! One real validator, stopped: its history is verified and every change of it found; its state goes into a file, is
//! checked, and begins a validator that goes on from there.

use std::{fs, net::SocketAddr, path::Path};
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey};
use tessera_chain::Block;
use tessera_ledger::{Genesis, Parameters, SignedTx, Tx, action, genesis::GenesisAccount, keys, query};
use tessera_validator::{
    FinalBlock, HistoryError, Snapshot, SnapshotError, StartError, Timing, VOTE_NOTES, Validator,
    ValidatorConfig, ValidatorHandle, Verified, VotesLost, committee::deal, feed, read_folder, verify,
};

const HEIGHT: u64 = 24;

fn user() -> SecretKey {
    SecretKey::from_seed([90; 32])
}

/// A committee of one.
fn config(folder: &Path) -> ValidatorConfig {
    let key = SecretKey::from_seed([1; 32]);
    let (committee, shares) = deal(&[key.public()], [3; 32]).unwrap();
    let listen: SocketAddr =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let genesis = Genesis {
        name: "alone".parse().unwrap(),
        time_ms: 1,
        validators: List::default(),
        accounts: List::new(vec![GenesisAccount { key: user().public(), balance: 1 << 60 }]).unwrap(),
        params: Parameters::demo(),
        consensus: Blob::new(committee.to_bytes()).unwrap(),
    };
    ValidatorConfig {
        data_dir: folder.to_path_buf(),
        committee: vec![(key.public(), listen)],
        key,
        share: shares[0].1.clone(),
        genesis,
        listen,
        state_sync: false,
        timing: Timing { interval_ms: 20, idle_ms: 20 },
        keep_blocks: None,
    }
}

async fn reach(handle: &ValidatorHandle, height: u64) {
    let mut feed = handle.subscribe();
    while handle.status().tip.is_none_or(|tip| tip.height < height) {
        feed.recv().await.unwrap();
    }
}

/// Run it until it has some blocks with transfers.
async fn history(config: &ValidatorConfig, to: &PublicKey) {
    let handle = Validator::start(config.clone()).await.unwrap();
    reach(&handle, 2).await;
    for nonce in 0..10 {
        let action = action::Transfer { to: *to, amount: 7 }.into();
        let (network, sender) = (handle.network(), user().public());
        let tx = SignedTx::sign(
            &user(),
            Tx {
                network,
                sender,
                nonce,
                fee: 1_000_000,
                fee_from: tessera_ledger::FeeSource::default(),
                action,
            },
        );
        handle.submit(tx).await.unwrap();
    }
    reach(&handle, HEIGHT).await;
    assert_eq!(handle.stop().await, None);
}

fn blocks(folder: &Path) -> Vec<FinalBlock> {
    let (sender, mut receiver) = feed();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_folder(folder, None, &sender));
        let mut blocks = Vec::new();
        while let Some(next) = receiver.blocking_recv() {
            blocks.push(next.unwrap());
        }
        reader.join().unwrap().unwrap();
        blocks
    })
}

fn check(genesis: &Genesis, blocks: Vec<FinalBlock>) -> Result<Verified, HistoryError> {
    let scratch = tempfile::tempdir().unwrap();
    let (sender, receiver) = feed();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for block in blocks {
                if sender.blocking_send(Ok(block)).is_err() {
                    return;
                }
            }
        });
        verify(genesis, scratch.path(), receiver, |_| ())
    })
}

/// The block at `height` with another header, and without its certificate, which would show the change at once.
fn alter(blocks: &[FinalBlock], height: u64, change: impl Fn(&mut tessera_chain::Header)) -> Vec<FinalBlock> {
    let mut blocks = blocks.to_vec();
    let block = &mut blocks[height as usize - 1];
    let mut header = block.block.header().clone();
    change(&mut header);
    *block = FinalBlock { block: Block::new(header, block.block.txs().to_vec()).unwrap(), certificate: None };
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_verified_and_a_state_survives_its_validator() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("first");
    let first = config(&folder);
    let other = SecretKey::from_seed([91; 32]).public();
    history(&first, &other).await;
    tokio::task::block_in_place(|| {
        a_true_history_holds_and_a_changed_one_is_named(&first.genesis, &folder);
        a_snapshot_is_believed_only_as_far_as_it_is_proved(&first, home.path());
    });

    // Everything is lost but the snapshot: the committee goes on from there.
    let again = config(&home.path().join("second"));
    let path = home.path().join("state");
    let restored =
        tokio::task::block_in_place(|| Snapshot::restore(&path, &again.genesis, &again.data_dir)).unwrap();
    let handle = Validator::start(again.clone()).await.unwrap();
    reach(&handle, restored.header.height + 5).await;
    assert!(handle.block_at(restored.header.height - 1).await.is_none(), "it has no blocks from before");
    let block = handle.block_at(restored.header.height + 1).await.unwrap();
    assert_eq!(block.header().parent, restored.header.digest());
    let proof = handle.prove(vec![keys::account(&other)]).await.unwrap();
    let light = tessera_chain::LightClient::new(handle.network(), &handle.identity()).unwrap();
    let proved = light.verify_state(&proof, &[keys::account(&other)]).unwrap();
    assert_eq!(query::account(|_| proved.cells[0].1, &other).unwrap().balance, 70);
    assert_eq!(handle.stop().await, None);

    // A validator whose votes are gone says so, and does not start.
    fs::remove_dir_all(again.data_dir.join("store/validator-simplex")).unwrap();
    let error = Validator::start(again.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Votes { cause: VotesLost::NotInJournal { .. }, .. }), "{error}");
    fs::write(again.data_dir.join(VOTE_NOTES), "no notes").unwrap();
    let error = Validator::start(again).await.unwrap_err();
    assert!(matches!(error, StartError::Votes { cause: VotesLost::Unreadable { .. }, .. }), "{error}");
}

fn a_true_history_holds_and_a_changed_one_is_named(genesis: &Genesis, folder: &Path) {
    let blocks = blocks(folder);
    let verified = check(genesis, blocks.clone()).unwrap();
    assert!(verified.progress.height >= HEIGHT && verified.progress.transactions == 10, "{verified:?}");
    assert!(verified.progress.checks > 2, "invariants are checked at each epoch: {verified:?}");
    assert_eq!(verified.progress.certificates, verified.progress.height);
    println!(
        "verified {} blocks with {} transactions and {} certificates",
        verified.progress.height, verified.progress.transactions, verified.progress.certificates
    );

    let flip = |hash: &mut Hash| hash.0[3] ^= 1;
    let changed = |change: &dyn Fn(&mut tessera_chain::Header)| check(genesis, alter(&blocks, 9, change));
    let outcomes: [&dyn Fn(&mut tessera_chain::Header); 3] =
        [&|header| flip(&mut header.state_root), &|header| flip(&mut header.ops_root), &|header| {
            flip(&mut header.event_root)
        }];
    for change in outcomes {
        let error = changed(change).unwrap_err();
        assert!(matches!(error, HistoryError::Outcome { height: 9, .. }), "{error}");
    }
    let headers: [&dyn Fn(&mut tessera_chain::Header); 6] = [
        &|header| flip(&mut header.parent),
        &|header| flip(&mut header.network),
        &|header| header.height += 1,
        &|header| header.time_ms = 2,
        &|header| header.ops_end += 1,
        &|header| header.seed = None,
    ];
    for change in headers {
        let error = changed(change).unwrap_err();
        assert!(matches!(error, HistoryError::Header { height: 9, .. }), "{error}");
    }
    // A change that executes alike is found by the next block, which names its parent.
    let error = changed(&|header| header.proposer = user().public()).unwrap_err();
    assert!(
        matches!(
            error,
            HistoryError::Header { height: 10, what: "parent", .. } | HistoryError::Outcome { height: 9, .. }
        ),
        "{error}"
    );

    let mut gap = blocks.clone();
    gap.remove(4);
    let error = check(genesis, gap).unwrap_err();
    assert!(matches!(error, HistoryError::Header { height: 5, what: "height", .. }), "{error}");
    let mut swapped = blocks.clone();
    swapped[6].certificate = swapped[5].certificate.clone();
    let error = check(genesis, swapped).unwrap_err();
    assert!(matches!(error, HistoryError::Header { height: 7, .. }), "{error}");
    let mut forged = blocks.clone();
    let certificate = forged[7].certificate.as_mut().unwrap();
    certificate.certificate = blocks[6].certificate.as_ref().unwrap().certificate.clone();
    let error = check(genesis, forged).unwrap_err();
    assert!(matches!(error, HistoryError::Certificate { height: 8, .. }), "{error}");
    let mut open = blocks[..12].to_vec();
    open[11].certificate = None;
    let error = check(genesis, open).unwrap_err();
    assert!(matches!(error, HistoryError::Uncertified { height: 12, certified: 11 }), "{error}");
    assert!(matches!(check(genesis, Vec::new()), Err(HistoryError::Missing { height: 1, .. })));
    let stranger = Genesis { time_ms: 2, ..genesis.clone() };
    let error = check(&stranger, blocks).unwrap_err();
    assert!(matches!(error, HistoryError::Header { height: 1, what: "network", .. }), "{error}");
}

fn a_snapshot_is_believed_only_as_far_as_it_is_proved(config: &ValidatorConfig, home: &Path) {
    let (path, genesis) = (home.join("state"), &config.genesis);
    let saved = Snapshot::save(&config.data_dir, genesis, &path).unwrap();
    // What was applied and not yet synced at the end is applied again from the blocks.
    assert!(saved.header.height + 3 >= HEIGHT && saved.cells > 3, "{saved:?}");
    println!(
        "a snapshot of {} cells in {} state changes takes {} bytes",
        saved.cells, saved.changes, saved.bytes
    );
    assert_eq!(saved.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(Snapshot::read(&path, genesis).unwrap(), saved);
    assert!(matches!(Snapshot::save(&config.data_dir, genesis, &path), Err(SnapshotError::File { .. })));
    let taken = Snapshot::restore(&path, genesis, &config.data_dir).unwrap_err();
    assert!(matches!(taken, SnapshotError::NotEmpty { .. }), "{taken}");
    let stranger = Genesis { time_ms: 2, ..genesis.clone() };
    assert!(matches!(Snapshot::read(&path, &stranger), Err(SnapshotError::OtherNetwork { .. })));

    let (bytes, bad) = (fs::read(&path).unwrap(), home.join("bad"));
    let read = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        Snapshot::read(&bad, genesis).unwrap_err()
    };
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        let error = read(&bytes[..cut]);
        assert!(
            matches!(error, SnapshotError::Damaged { .. } | SnapshotError::NotASnapshot { .. }),
            "{error}"
        );
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let error = read(&changed);
        assert!(
            matches!(error, SnapshotError::Damaged { .. } | SnapshotError::NotASnapshot { .. }),
            "{error}"
        );
    }
    let more = [&bytes[..], b"x"].concat();
    assert!(matches!(read(&more), SnapshotError::Damaged { .. }));
    // A length that no part has takes no memory.
    let mut huge = bytes.clone();
    huge[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = read(&huge);
    assert!(error.to_string().contains("at most 1048576 bytes"), "{error}");
    // Right checksums over false content.
    let error = read(&with_sums(&bytes, |part, content| {
        if part == 1 {
            let middle = content.len() / 2;
            content[middle] ^= 1;
        }
    }));
    assert!(matches!(error, SnapshotError::Unproved { .. } | SnapshotError::Damaged { .. }), "{error}");
    let error = read(&with_sums(&bytes, |part, content| {
        if part == 0 {
            // The last bytes of the head are the certificate's signature.
            let end = content.len() - 60;
            content[end] ^= 1;
        }
    }));
    assert!(matches!(error, SnapshotError::Certificate { .. } | SnapshotError::Damaged { .. }), "{error}");
    let folder = home.join("nothing");
    assert!(Snapshot::restore(&bad, genesis, &folder).is_err());
    assert!(!folder.exists(), "nothing is written before the file was checked");
}

/// The file with its parts changed and its checksums right again.
fn with_sums(bytes: &[u8], change: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
    let domain = tessera_canon::Domain::new("tessera/snapshot-part/v1");
    let (mut out, mut at, mut sum, mut part) = (bytes[..20].to_vec(), 20, [0; 32], 0);
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut content = bytes[at + 4..at + 4 + length].to_vec();
        change(part, &mut content);
        sum = tessera_canon::digest_parts(domain, [&sum[..], &content]).0;
        out.extend((content.len() as u32).to_be_bytes());
        out.extend(&content);
        out.extend(sum);
        (at, part) = (at + 4 + length + 32, part + 1);
    }
    out
}
