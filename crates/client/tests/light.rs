//! Lying, silent and lagging validators: the client believes none, names them, and goes on with the others.

use std::{sync::atomic::Ordering, time::Instant};
use tessera_canon::{Blob, Domain, Hash, List, PublicKey, SecretKey, decode, digest_bytes, encode};
use tessera_chain::{CertifiedHeader, Inclusion, LightClient, ProvedEntry, StateProof, VerifyError};
use tessera_client::{
    Client, LAG, LedgerError, TrustFile,
    testing::{Lie, TestChain, TestSource},
};
use tessera_ledger::{
    Action, Cell, Event, FeeSource, Genesis, Params, SignedTx, Tx,
    action::Transfer,
    genesis::GenesisAccount,
    keys, query,
    record::{Account, Note, NoteState},
};
use tessera_wire::rpc::{Answer, Ask, Latest, Prove, ProveItems};

const RICH: u128 = 1_000_000_000_000;
const OTHERS: Domain = Domain::new("tessera/test/other-cells/v1");
/// Cells of the state whose proofs are measured, and how many of each kind are.
const CELLS: u64 = 200_000;
const SAMPLES: u64 = 200;

fn key(index: u32) -> SecretKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_seed(seed)
}

fn genesis(accounts: u32) -> Genesis {
    let accounts = (0..accounts).map(|index| GenesisAccount { key: key(index).public(), balance: RICH });
    Genesis {
        name: "light".parse().unwrap(),
        time_ms: 1_800_000_000_000,
        validators: List::default(),
        accounts: List::new(accounts.collect()).unwrap(),
        params: Params::demo().into(),
        consensus: Blob::default(),
    }
}

fn give(chain: &TestChain, from: u32, nonce: u64, to: PublicKey) -> SignedTx {
    let action = Action::Transfer(Transfer { to, amount: 1000 });
    let network = chain.genesis().network_id();
    SignedTx::sign(
        &key(from),
        Tx {
            network,
            sender: key(from).public(),
            nonce,
            fee: 500_000,
            fee_from: FeeSource::default(),
            action,
        },
    )
}

/// A chain of ten blocks, each with a transfer.
fn chain() -> TestChain {
    let chain = TestChain::start(genesis(3), 1);
    for nonce in 0..10 {
        chain.block(vec![give(&chain, 0, nonce, key(1).public())]);
    }
    chain
}

async fn balance(client: &Client<TestSource>, of: u32) -> Result<Option<u128>, LedgerError> {
    let key = key(of).public();
    client.read(|view| query::account(view.source(), &key).map(|account| account.balance)).await
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_lies_is_named_dropped_and_never_asked_again() {
    let chain = chain();
    let lies = [Lie::Forgery, Lie::Silence, Lie::Busy, Lie::None];
    let source = TestSource::new(lies.iter().map(|lie| (chain.clone(), *lie)).collect());
    let liar = SecretKey::from_seed([1; 32]).public();
    let client = chain.client(source);
    assert_eq!(balance(&client, 1).await.unwrap(), Some(RICH + 10_000));
    assert_eq!(balance(&client, 9).await.unwrap(), None, "absence is proved too");
    let liars = client.liars();
    assert_eq!(liars.keys().collect::<Vec<_>>(), [&liar]);
    assert!(matches!(liars[&liar], VerifyError::NotFinal { .. }), "{liars:?}");
    assert_eq!(client.source().asked[0].load(Ordering::Relaxed), 1, "once was enough");
    assert_eq!(client.latest().await.unwrap().height, 11);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_only_liars_gets_nothing_and_their_names() {
    let chain = chain();
    let stranger = TestChain::start(genesis(3), 2);
    stranger.block(Vec::new());
    for (lie, of) in [(Lie::Forgery, &chain), (Lie::None, &stranger)] {
        let client = chain.client(TestSource::new(vec![(of.clone(), lie)]));
        let error = balance(&client, 1).await.unwrap_err();
        assert!(matches!(error, LedgerError::NoAnswer { .. }), "{error}");
        let liar = SecretKey::from_seed([1; 32]).public();
        assert!(client.liars().contains_key(&liar));
        assert!(
            error.to_string().contains(&format!("validator {} gave a wrong answer", liar.short())),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_refused_by_name_also_after_a_restart() {
    let chain = chain();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("trusted");
    let network = chain.genesis().network_id();
    let client = |lies: &[Lie]| {
        let source = TestSource::new(lies.iter().map(|lie| (chain.clone(), *lie)).collect());
        let trust = TrustFile::open(&path, network).unwrap();
        Client::new(source, network, &chain.identity(), 0, Some(trust)).unwrap()
    };
    // It lags no more than is allowed, and is believed.
    assert_eq!(client(&[Lie::Past(2)]).latest().await.unwrap().height, 9);
    let first = client(&[Lie::None]);
    assert_eq!(first.latest().await.unwrap().height, 11);
    first.remember();
    let again = client(&[Lie::Past(LAG + 1)]);
    assert_eq!(again.seen().height, 11);
    let error = again.latest().await.unwrap_err().to_string();
    assert!(error.contains("showed an old state: expected height 3 or later, got 2"), "{error}");
    assert_eq!(client(&[Lie::Past(LAG + 1), Lie::None]).latest().await.unwrap().height, 11);
    assert!(again.liars().is_empty(), "a validator may lag; it is asked again");

    // The same height with another block can only be signed by a dishonest committee.
    let mut fork = chain.genesis();
    fork.time_ms += 0;
    let other = TestChain::start(fork, 1);
    for nonce in 0..10 {
        other.block(vec![give(&other, 0, nonce, key(2).public())]);
    }
    let source = TestSource::new(vec![(other, Lie::None)]);
    let trust = TrustFile::open(&path, network).unwrap();
    let forked = Client::new(source, network, &chain.identity(), 0, Some(trust)).unwrap();
    let error = forked.latest().await.unwrap_err();
    assert!(matches!(error, LedgerError::Forked { height: 11, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn events_and_transactions_are_proved_and_forged_ones_are_not_believed() {
    let chain = chain();
    let tx = give(&chain, 2, 0, key(1).public());
    chain.block(vec![give(&chain, 0, 10, key(1).public()), tx.clone()]);
    let client = chain.client(chain.honest());
    let inclusion = client.inclusion(12, &[0, 3], &[1]).await.unwrap();
    assert_eq!(inclusion.txs[0].tx, tx);
    let Event::Transferred(moved) = &inclusion.events[1].event else { panic!("{inclusion:?}") };
    assert_eq!((moved.from, moved.amount), (key(2).public(), 1000));
    assert!(matches!(client.inclusion(12, &[4], &[]).await.unwrap_err(), LedgerError::NotHere { .. }));
    let outcome = client.outcome(&tx.id()).await.unwrap();
    assert_eq!((outcome.height, outcome.index, outcome.refused), (12, 1, None));

    let liar = chain.client(TestSource::new(vec![(chain.clone(), Lie::Forgery)]));
    liar.inclusion(12, &[0], &[]).await.unwrap_err();
    assert!(matches!(
        liar.liars().values().next(),
        Some(VerifyError::NotIncluded { what: "event", index: 0, height: 12 })
    ));
    let liar = chain.client(TestSource::new(vec![(chain.clone(), Lie::Forgery)]));
    liar.inclusion(12, &[], &[1]).await.unwrap_err();
    assert!(matches!(
        liar.liars().values().next(),
        Some(VerifyError::NotIncluded { what: "transaction", .. })
    ));

    // A place moved, an event for another: none holds.
    let light = LightClient::new(client.network(), &chain.identity()).unwrap();
    let bytes = encode(&inclusion);
    light.verify_inclusion(&decode::<Inclusion>(&bytes).unwrap()).unwrap();
    for wrong in [
        Inclusion { events: List::new(vec![swap(&inclusion, 0, 1)]).unwrap(), ..inclusion.clone() },
        Inclusion { events: List::new(vec![swap(&inclusion, 1, 0)]).unwrap(), ..inclusion.clone() },
    ] {
        assert!(matches!(light.verify_inclusion(&wrong), Err(VerifyError::NotIncluded { .. })));
    }
}

/// The event of one proof with the path of another.
fn swap(inclusion: &Inclusion, event: usize, path: usize) -> tessera_chain::ProvedEvent {
    let (event, path) = (&inclusion.events[event].event, &inclusion.events[path].path);
    tessera_chain::ProvedEvent { event: event.clone(), path: path.clone() }
}

/// The `index`-th of cells that a large state holds besides: accounts and, as many, notes.
fn other(index: u64) -> (Hash, Cell) {
    let word = |kind: u8| digest_bytes(OTHERS, &[&[kind][..], &index.to_be_bytes()].concat());
    if index.is_multiple_of(2) {
        let key = PublicKey(word(0).0);
        let record = Account {
            balance: 1 << 40 | u128::from(word(4).low_u64() >> 24),
            nonce: index % 100,
            ..Account::new(key)
        };
        return (keys::account(&key), Cell::pack(&record.into()));
    }
    let (id, state) = (word(1), NoteState::Unspent);
    let record = Note {
        id,
        run: word(2),
        series: 0,
        cu: 100,
        flags: 0,
        owner: word(3),
        state,
        bound_to: Hash::ZERO,
        until: 0,
    };
    (keys::note(&id), Cell::pack(&record.into()))
}

/// Hashes on the path of the only entry.
fn siblings(proof: &StateProof) -> usize {
    match &proof.entries[0] {
        ProvedEntry::Present(entry) => entry.path.siblings.len(),
        ProvedEntry::Between(entry) => entry.path.siblings.len(),
        ProvedEntry::Nothing(entry) => entry.path.siblings.len(),
    }
}

/// What a client receives and how long it takes to check it, on a state of `TESSERA_CELLS` cells. Times are printed;
/// sizes are exact, and asserted.
#[test]
fn sizes_and_times_of_what_a_client_verifies() {
    let cells = std::env::var("TESSERA_CELLS").ok().and_then(|text| text.parse().ok()).unwrap_or(CELLS);
    let chain = TestChain::filled(genesis(64), 1, (0..cells).map(other));
    chain.block((0..64).map(|from| give(&chain, from, 0, key(1).public())).collect());
    let light = LightClient::new(chain.genesis().network_id(), &chain.identity()).unwrap();
    let best = |mut check: Box<dyn FnMut() + '_>| {
        let times = (0..40).map(|_| {
            let start = Instant::now();
            check();
            start.elapsed()
        });
        times.min().unwrap_or_default().as_micros()
    };
    let Answer::Header(header) = chain.answer(&Ask::Latest(Latest {})) else { panic!("a header") };
    let bytes = encode(&header);
    let time = best(Box::new(|| light.verify_header(&decode::<CertifiedHeader>(&bytes).unwrap()).unwrap()));
    println!("header with certificate: {} bytes, {time} us", bytes.len());
    let prove = |wanted: &[Hash]| {
        let ask = Ask::Prove(Prove { keys: List::new(wanted.to_vec()).unwrap() });
        let Answer::State(proof) = chain.answer(&ask) else { panic!("a proof") };
        encode(&proof)
    };
    let check = |bytes: &[u8], wanted: &[Hash]| {
        light.verify_state(&decode::<StateProof>(bytes).unwrap(), wanted).unwrap().cells
    };
    let timed = |name: &str, wanted: &[Hash]| {
        let bytes = prove(wanted);
        let time = best(Box::new(|| drop(check(&bytes, wanted))));
        println!("{name}: {} bytes, {time} us", bytes.len());
        bytes.len()
    };
    // Of accounts spread over the whole log, and of accounts that are not there.
    let sizes = |name: &str, first: u64, there: bool| {
        let mut fixed = 0;
        let mut sizes: Vec<usize> = (0..SAMPLES)
            .map(|at| {
                let key = other((first + at * (cells / SAMPLES)) & !1).0;
                let bytes = prove(&[key]);
                assert_eq!(check(&bytes, &[key])[0].1.is_some(), there);
                fixed = fixed.max(bytes.len() - 32 * siblings(&decode(&bytes).unwrap()));
                bytes.len()
            })
            .collect();
        sizes.sort_unstable();
        let (least, median, most) = (sizes[0], sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
        println!(
            "one account of {cells} cells, {name}: {least} to {most} bytes, half {median} or less; {fixed} without siblings"
        );
        // The height of a chain of 10^8 blocks takes three bytes more.
        [fixed, median, most].map(|bytes| bytes + 3)
    };
    let [fixed, half, most] = sizes("present", 0, true);
    let [_, half_absent, most_absent] = sizes("absent", cells, false);
    timed("one account, present", &[other(0).0]);
    timed("one account, absent", &[other(cells & !1).0]);
    timed("one account of the newest block", &[keys::account(&key(5).public())]);
    let eight: Vec<Hash> = (0..8).map(|at| other(at * (cells / 8)).0).collect();
    assert!(timed("eight cells", &eight) < 8 * half, "what they share stands once");
    let ask = ProveItems { height: 2, events: List::new(vec![7]).unwrap(), txs: List::default() };
    let Answer::Inclusion(inclusion) = chain.answer(&Ask::ProveItems(ask)) else { panic!("an inclusion") };
    let bytes = encode(&inclusion);
    let time = best(Box::new(|| light.verify_inclusion(&decode::<Inclusion>(&bytes).unwrap()).unwrap()));
    println!("one event of {}: {} bytes with header, {time} us", 128, bytes.len());
    assert!(bytes.len() < 1024, "{}", bytes.len());
    // The default state keeps every proof within the aim of 1,000 bytes. Larger ones, up to 2,000,000 cells, keep the
    // median of present cells within it and pass it by little else.
    let [bound, bound_absent] = if cells <= CELLS { [1000, 1000] } else { [1024, 1110] };
    assert!(fixed <= 300 && half <= 1000 && most <= bound, "{fixed} {half} {most}");
    assert!(
        half_absent <= bound_absent.min(1050) && most_absent <= bound_absent,
        "{half_absent} {most_absent}"
    );
}
