//! Four validators over loopback, a folder each; a visitor sends, reads and verifies. One process, real sockets.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};
use tessera_canon::{Hash, SecretKey};
use tessera_client::explain::explain;
use tessera_ledger::{Action, Parameters, action::Transfer, keys, query};
use tessera_net::Transport as _;
use tessera_node::{
    daemon::{Daemon, DaemonOptions, Ledger, StartError, Visitor},
    folder::{Folder, FolderError},
    ledger::LedgerError,
    network::{self, NetworkError, NetworkFile, NetworkPlan, NewNetwork},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn new_network(home: &Path, rich: &SecretKey, validators: u16) -> NewNetwork {
    let time_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let plan = NetworkPlan {
        name: "loopback".into(),
        validators,
        fund: vec![(rich.public(), 1_000_000_000_000)],
        params: Parameters::demo(),
        host: IpAddr::from([127, 0, 0, 1]),
        first_port: 0,
        time_ms,
    };
    network::create(&plan, home).unwrap()
}

fn options(new: &NewNetwork, index: usize) -> DaemonOptions {
    DaemonOptions {
        dir: new.folders[index].clone(),
        network: Some(new.path.clone()),
        validate: true,
        ..DaemonOptions::default()
    }
}

async fn sender_balance(ledger: &Ledger, of: &SecretKey) -> u128 {
    let key = of.public();
    ledger
        .read(|view| query::account(view.source(), &key).map_or(0, |account| account.balance))
        .await
        .unwrap()
}

/// The whole response.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_client_sends_and_reads_over_four_validators_and_survives_the_loss_of_one() {
    let home = tempfile::tempdir().unwrap();
    let (rich, poor) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]).public());
    let new = new_network(home.path(), &rich, 4);
    let http = DaemonOptions { http: "127.0.0.1:0".parse().ok(), ..options(&new, 0) };
    let all = [http, options(&new, 1), options(&new, 2), options(&new, 3)];
    let (a, b, c, d) = tokio::join!(
        Daemon::start(&all[0]),
        Daemon::start(&all[1]),
        Daemon::start(&all[2]),
        Daemon::start(&all[3])
    );
    let mut nodes = vec![a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
    let visitor = Visitor::enter(NetworkFile::read(&new.path).unwrap()).await.unwrap();
    let ledger = &visitor.ledger;

    let give = |amount| Action::Transfer(Transfer { to: poor, amount });
    let receipt = ledger.submit(&rich, give(700)).await.unwrap();
    // Two at once: one waits for the other, both count.
    let (x, y) = tokio::join!(ledger.submit(&rich, give(20)), ledger.submit(&rich, give(3)));
    assert_ne!(x.unwrap().tx, y.unwrap().tx);
    let (height, sender, receiver, nothing) = ledger
        .read(|view| {
            let account = |key| query::account(view.source(), key);
            (
                view.height,
                account(&rich.public()),
                account(&poor),
                view.cell(&keys::account(&new.network.validators[0].key)),
            )
        })
        .await
        .unwrap();
    assert!(height >= receipt.height);
    assert_eq!((receiver.unwrap().balance, sender.unwrap().nonce, nothing), (723, 3, None));
    let block = ledger.block_at(receipt.height).await.unwrap();
    assert!(block.txs().iter().any(|tx| tx.id() == receipt.tx));

    // A refused transaction says why and costs its fee only.
    let error = ledger.submit(&rich, give(u128::MAX)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { .. }), "{error}");
    let stranger = SecretKey::from_seed([9; 32]);
    let error = ledger.submit(&stranger, give(1)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Funds { balance: 0, .. }), "{error}");
    let error = ledger.run(&Hash([4; 32])).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotHere { .. }), "{error}");

    // The same key elsewhere at the same time: the nonces are sorted out, nothing is done twice.
    let other = Visitor::enter(NetworkFile::read(&new.path).unwrap()).await.unwrap();
    let (x, y) = tokio::join!(ledger.submit(&rich, give(1)), other.ledger.submit(&rich, give(1)));
    assert!(x.is_ok() && y.is_ok(), "{x:?} {y:?}");
    other.leave().await;

    assert_eq!(nodes.remove(1).stop().await, None);
    ledger.submit(&rich, give(5)).await.unwrap();
    let balance = ledger
        .read(|view| query::account(view.source(), &poor).map(|account| account.balance))
        .await
        .unwrap();
    assert_eq!(balance, Some(730));

    // Why the balances are what they are, from proved events; over HTTP too.
    for (key, expected) in [(poor, 730), (rich.public(), sender_balance(ledger, &rich).await)] {
        let explained = explain(ledger, &new.network.genesis, Hash(key.0)).await.unwrap();
        assert!(explained.holds(), "{}", explained.text());
        assert_eq!((explained.parts[0].cell, explained.indexed_from), (expected, 1));
    }
    let address = nodes[0].http.as_ref().unwrap().address();
    let answer = get(address, &format!("/explain/{poor}")).await;
    assert!(answer.contains("\"holds\":true") && answer.contains("\"sum\":\"730\""), "{answer}");
    assert!(get(address, "/runs/7").await.starts_with("HTTP/1.1 400"));

    // An index that was deleted is made again from the blocks, and is the same.
    let subject = Hash(poor.0);
    let before = ledger.history(subject, receipt.height).await.unwrap();
    std::fs::remove_dir_all(Folder::open(&new.folders[1]).unwrap().index_path()).unwrap();
    let again = Daemon::start(&all[1]).await.unwrap();
    let mut tip = again.ledger.latest().await.unwrap().height;
    let made = async {
        loop {
            let part = again.ledger.places(subject, 0, 0).await.unwrap();
            if part.first == 1 && part.last >= tip {
                return part;
            }
            tip = again.ledger.after(tip, Duration::from_millis(50)).await.unwrap().height - 1;
        }
    };
    let part = tokio::time::timeout(Duration::from_secs(60), made).await.unwrap();
    let early: Vec<_> = part.places.iter().filter(|place| place.height <= receipt.height).cloned().collect();
    assert_eq!((1, early), before);
    nodes.push(again);

    visitor.leave().await;
    let stops = nodes.into_iter().map(Daemon::stop);
    assert!(futures::future::join_all(stops).await.into_iter().all(|failure| failure.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_with_a_reason() {
    let home = tempfile::tempdir().unwrap();
    let rich = SecretKey::from_seed([1; 32]);
    let (one, two) =
        (new_network(&home.path().join("one"), &rich, 1), new_network(&home.path().join("two"), &rich, 1));

    // A port in use, for questions (UDP) and for consensus (TCP).
    let rpc = one.network.validators[0].rpc;
    let held = UdpSocket::bind(rpc).unwrap();
    let error = Daemon::start(&options(&one, 0)).await.err().unwrap();
    assert!(matches!(error, StartError::Bind(_)) && error.to_string().contains(&rpc.to_string()), "{error}");
    drop(held);
    let held = std::net::TcpListener::bind(one.network.validators[0].consensus).unwrap();
    let error = Daemon::start(&options(&one, 0)).await.err().unwrap();
    assert!(error.to_string().contains("stop the other program"), "{error}");
    drop(held);

    // That start had opened its endpoint, whose socket closes with the last of its tasks, a moment after it failed.
    let freed = async {
        while UdpSocket::bind(rpc).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
    let node = Daemon::start(&options(&one, 0)).await.unwrap();
    // A second process on the folder.
    let error = Daemon::start(&options(&one, 0)).await.err().unwrap();
    assert!(matches!(error, StartError::Folder(FolderError::InUse { .. })), "{error}");
    // The folder of one network with the file of another.
    let error =
        Daemon::start(&DaemonOptions { network: Some(two.path.clone()), ..options(&one, 0) }).await.err();
    assert!(error.is_some());
    let folder = Folder::open(&one.folders[0]).unwrap();
    let error = tessera_node::daemon::network_of(&folder, Some(&two.path)).unwrap_err();
    assert!(matches!(error, StartError::Network(NetworkError::OtherNetwork { .. })), "{error}");
    // A key that is no validator's.
    let stranger = DaemonOptions { dir: home.path().join("stranger"), ..options(&one, 0) };
    let error = Daemon::start(&stranger).await.err().unwrap();
    assert!(error.to_string().contains("is not a validator of network"), "{error}");

    // A client that follows another network at this address believes nothing it hears.
    let entry = |validator: &network::ValidatorEntry| network::ValidatorEntry { rpc, ..validator.clone() };
    let mut lying = two.network.clone();
    lying.validators = one.network.validators.iter().map(entry).collect();
    let visitor = Visitor::enter(lying).await.unwrap();
    let error = visitor.ledger.latest().await.unwrap_err();
    assert!(error.to_string().contains("expected a header of network"), "{error}");
    visitor.leave().await;

    // What is no question costs the connection.
    let visitor = Visitor::enter(one.network.clone()).await.unwrap();
    visitor.ledger.latest().await.unwrap();
    let mut events = visitor.switchboard.subscribe(&[], 16);
    visitor
        .switchboard
        .transport()
        .send(one.network.validators[0].key, tessera_wire::RPC, vec![77, 1].into())
        .unwrap();
    let dropped = async {
        while let Some(event) = events.recv().await {
            if matches!(event, tessera_net::NetEvent::Down { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), dropped).await.unwrap();
    assert_eq!(node.validator.as_ref().unwrap().counts().malformed, 1);
    visitor.leave().await;

    // Nobody there.
    assert_eq!(node.stop().await, None);
    let free = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut gone = one.network.clone();
    gone.validators[0].rpc = free;
    let visitor = Visitor::enter(gone).await.unwrap();
    let error =
        tokio::time::timeout(Duration::from_secs(25), visitor.ledger.latest()).await.unwrap().unwrap_err();
    assert!(matches!(error, LedgerError::NoAnswer { validators: 1, .. }), "{error}");
    visitor.leave().await;
}
