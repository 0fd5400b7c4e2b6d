//! Run a committee on loopback and measure it: blocks a second, latency, memory, processor time.
//!
//! `local all <members> <seconds> <tx/s>` runs everybody in this process;
//! `local one <index> <members> <seconds> <tx/s> <folder> [sync]` runs one member, so that a shell can kill it.
//! Environment: `INTERVAL`, `IDLE` (milliseconds), `PORT` (of member 0), `RUST_LOG`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tessera_canon::{Blob, List, SecretKey};
use tessera_chain::LightClient;
use tessera_ledger::{Genesis, Parameters, SignedTx, Tx, action, genesis::GenesisAccount, keys, query};
use tessera_validator::{
    Timing, Validator, ValidatorConfig, ValidatorHandle,
    committee::{SecretShare, deal},
};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Network {
    genesis: Genesis,
    keys: Vec<SecretKey>,
    shares: Vec<SecretShare>,
    addresses: Vec<SocketAddr>,
    user: SecretKey,
}

fn network(members: u8) -> Network {
    let mut keys: Vec<SecretKey> = (0..members).map(|i| SecretKey::from_seed([i + 1; 32])).collect();
    keys.sort_by_key(SecretKey::public);
    let user = SecretKey::from_seed([200; 32]);
    let public: Vec<_> = keys.iter().map(SecretKey::public).collect();
    let (committee, shares) = deal(&public, [7; 32]).expect("four members");
    let port = env("PORT", 4100) as u16;
    let genesis = Genesis {
        name: "local".parse().expect("short"),
        time_ms: 1_700_000_000_000,
        validators: List::default(),
        accounts: List::new(vec![GenesisAccount { key: user.public(), balance: 1 << 60 }]).expect("one"),
        params: Parameters::demo(),
        consensus: Blob::new(committee.to_bytes()).expect("fits"),
    };
    let addresses = (0..members).map(|i| SocketAddr::from(([127, 0, 0, 1], port + u16::from(i)))).collect();
    Network { genesis, keys, shares: shares.into_iter().map(|(_, share)| share).collect(), addresses, user }
}

impl Network {
    async fn start(&self, index: usize, folder: &Path, state_sync: bool) -> ValidatorHandle {
        let committee = self.keys.iter().map(SecretKey::public).zip(self.addresses.iter().copied()).collect();
        let config = ValidatorConfig {
            key: self.keys[index].clone(),
            share: self.shares[index].clone(),
            genesis: self.genesis.clone(),
            committee,
            listen: self.addresses[index],
            data_dir: folder.join(index.to_string()),
            state_sync,
            timing: Timing { interval_ms: env("INTERVAL", 500), idle_ms: env("IDLE", 1000) },
            keep_blocks: None,
        };
        Validator::start(config).await.unwrap_or_else(|error| panic!("validator {index}: {error}"))
    }
    fn transfer(&self, nonce: u64) -> SignedTx {
        let body = Tx {
            network: self.genesis.network_id(),
            sender: self.user.public(),
            nonce,
            fee: 1 << 30,
            fee_from: tessera_ledger::FeeSource::default(),
            action: action::Transfer { to: self.keys[0].public(), amount: 5 }.into(),
        };
        SignedTx::sign(&self.user, body)
    }
}

fn usage() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .map_or(0, |rest| rest.trim().trim_end_matches("kB").trim().parse().unwrap_or(0));
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    (rss, ticks * 10)
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args[at].parse::<u64>().expect("a number");
    let one = args[0] == "one";
    let (members, seconds, rate) =
        if one { (number(2), number(3), number(4)) } else { (number(1), number(2), number(3)) };
    let net = network(members as u8);
    let scratch = PathBuf::from(if one {
        args[5].clone()
    } else {
        format!("/tmp/tessera-local-{}", std::process::id())
    });
    let mut handles = Vec::new();
    if one {
        handles.push(net.start(number(1) as usize, &scratch, args.get(6).is_some()).await);
    } else {
        for index in 0..members as usize {
            handles.push(net.start(index, &scratch, false).await);
        }
    }
    let handle = handles[0].clone();
    let mut feed = handle.subscribe();
    let began = Instant::now();
    let (mut nonce, mut latencies, mut first, mut transactions) = (0u64, Vec::new(), None, 0usize);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut measured = (Instant::now(), usage());
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::select! {
            news = feed.recv() => if let Ok(block) = news {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
                if first.is_none() && began.elapsed() > Duration::from_secs(3) {
                    first = Some(block.header.height);
                    measured = (Instant::now(), usage());
                    latencies.clear();
                    transactions = 0;
                }
                latencies.push(now.saturating_sub(block.header.time_ms));
                transactions += block.txs.len();
                if one { println!("height {} {} txs {}", block.header.height, block.header.digest().short(), block.txs.len()); }
            },
            _ = tick.tick() => {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                while nonce < due {
                    match handle.submit(net.transfer(nonce)).await {
                        Ok(_) => nonce += 1,
                        Err(tessera_validator::SubmitError::NonceUsed { expected, .. }) => nonce = expected,
                        Err(error) => { tracing::info!(%error, "not taken"); break }
                    }
                }
            }
        }
    }
    let elapsed = measured.0.elapsed().as_secs_f64();
    let (rss, busy) = usage();
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0);
    println!(
        "members here {} blocks/s {:.2} tx/s {:.1} propose->applied ms p50 {} p90 {} p99 {}; resident {} MB, processor {:.1} %",
        handles.len(),
        latencies.len() as f64 / elapsed,
        transactions as f64 / elapsed,
        at(50),
        at(90),
        at(99),
        rss / 1024,
        (busy - measured.1.1) as f64 / 10.0 / elapsed,
    );
    let light = LightClient::new(handle.network(), &handle.identity()).expect("a group key");
    let wanted =
        vec![keys::account(&net.user.public()), keys::account(&SecretKey::from_seed([99; 32]).public())];
    let started = Instant::now();
    match handle.prove(wanted.clone()).await {
        Ok(proof) => {
            let made = started.elapsed();
            let started = Instant::now();
            let proved = light.verify_state(&proof, &wanted).expect("the proof holds");
            let checked = started.elapsed();
            let cells = proved.cells;
            let account =
                query::account(|key| cells.iter().find(|(have, _)| have == key)?.1, &net.user.public());
            println!(
                "light client at height {}: {account:?}, second key absent {}; both {} B; made in {made:?}, checked in {checked:?}",
                proved.header.height,
                cells[1].1.is_none(),
                tessera_canon::encode(&proof).len(),
            );
        }
        Err(error) => println!("no proof: {error}"),
    }
    for handle in handles {
        if let Some(failure) = handle.stop().await {
            println!("ended with {failure}");
        }
    }
    if !one {
        let _ = std::fs::remove_dir_all(&scratch);
    }
}
