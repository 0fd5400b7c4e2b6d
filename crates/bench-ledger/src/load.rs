//! Start a committee of processes, offer it transactions at a steady rate, and follow each until it is final.

use crate::{
    child::{Process, Usage, usage},
    error::LedgerBenchError,
    figures::Samples,
    flags::{LedgerBench, Role},
    member::{Final, Follow, MAX_OFFER, Offer, Outcome, Wish, receive, send},
    network::{Network, Place},
    relay::{Impairment, Relays},
};
use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tessera_canon::{Hash, List};
use tessera_ledger::SignedTx;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// How often a burst of transactions is offered.
const TICK: Duration = Duration::from_millis(10);
/// How long the last transactions may take, once all were offered.
const GRACE: Duration = Duration::from_secs(60);
/// How long the committee may take to make its first blocks.
const BEGIN: Duration = Duration::from_secs(90);

/// A committee of processes, with or without impaired links.
pub(crate) struct Committee {
    processes: Vec<Process>,
    doors: Vec<u16>,
    _relays: Option<Relays>,
}

/// Ports that were free a moment ago.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, LedgerBenchError> {
    let failed = || LedgerBenchError::io("find free ports");
    let sockets: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(failed())?;
    sockets.iter().map(|socket| socket.local_addr().map_err(failed())).collect()
}

impl Committee {
    pub(crate) async fn start(
        bench: &LedgerBench,
        again: &[&str],
        scratch: &Path,
        timing: (u64, u64),
        impairment: Option<Impairment>,
    ) -> Result<Self, LedgerBenchError> {
        let listen = free_addresses(bench.validators.into())?;
        let relays = match impairment {
            Some(impairment) => Some(Relays::start(&listen, impairment).await?),
            None => None,
        };
        let mut processes = Vec::new();
        for index in 0..listen.len() {
            let place = Place {
                index,
                validators: bench.validators,
                senders: bench.senders,
                addresses: relays
                    .as_ref()
                    .map_or_else(|| listen.clone(), |relays| relays.addresses[index].clone()),
                listen: listen[index],
                folder: scratch.join(format!("validator-{index}")),
                interval_ms: timing.0,
                idle_ms: timing.1,
            };
            let work = serde_json::to_string(&place)
                .map_err(|cause| LedgerBenchError::io("write the work")(cause.into()))?;
            let log = scratch.join(format!("validator-{index}.log"));
            processes.push(Process::start(again, Role::Validator, &work, &log)?);
        }
        let mut doors = Vec::new();
        for process in &mut processes {
            let line = process.line("the port of its door")?;
            doors.push(line.parse().map_err(|_| process.unexpected("the port of its door", line.clone()))?);
        }
        Ok(Self { processes, doors, _relays: relays })
    }
    async fn visit(&self, index: usize) -> Result<TcpStream, LedgerBenchError> {
        let failed = || LedgerBenchError::io(format!("talk to validator {index}"));
        let socket = TcpStream::connect(("127.0.0.1", self.doors[index])).await.map_err(failed())?;
        socket.set_nodelay(true).map_err(failed())?;
        Ok(socket)
    }
    fn usage(&self) -> Vec<Usage> {
        self.processes.iter().map(Process::usage).collect()
    }
    /// End the processes.
    pub(crate) fn end(self) {
        self.processes.into_iter().for_each(Process::end);
    }
}

/// What was seen of a load.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Transactions that were offered, taken, and final at every validator.
    pub(crate) offered: usize,
    pub(crate) taken: usize,
    pub(crate) everywhere: usize,
    /// Why the first one was refused, if one was.
    pub(crate) refusal: Option<String>,
    /// From the offer until final and applied at the validator that it was offered to, milliseconds.
    pub(crate) finality: Samples,
    /// Transactions that became final in each second between the first offer and the last, at one validator.
    pub(crate) by_second: Samples,
    /// Blocks a second, and transactions in those that had some.
    pub(crate) blocks_per_second: f64,
    pub(crate) block_txs: Samples,
    /// From the first offer to the last transaction's finality, seconds.
    pub(crate) took: f64,
    /// Processor seconds in that time: of all validators, and of this process, which signs before and relays.
    pub(crate) validators_cpu: f64,
    pub(crate) own_cpu: f64,
    /// Bytes: the greatest that one validator held in memory, and all of a validator's files at the end.
    pub(crate) peak: u64,
    pub(crate) disk: u64,
    /// Encoded length of one transaction.
    pub(crate) tx_bytes: usize,
}

#[derive(Default)]
struct Book {
    /// When and to whom a transaction was offered.
    offered: HashMap<Hash, (Instant, usize)>,
    /// By validator: final transactions of this load.
    finals: Vec<usize>,
    finality: Vec<f64>,
    /// At validator 0: moments of blocks with their number of transactions.
    blocks: Vec<(Instant, usize)>,
    last: Option<Instant>,
}

fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A plan of offers: when (after the start), by whom, which.
pub(crate) type Plan = Vec<(Duration, usize, SignedTx)>;

/// `rate` transactions a second for `seconds`, each sender always at the same validator.
pub(crate) fn steady(network: &mut Network, validators: usize, rate: u32, seconds: u32) -> Plan {
    (0..rate as usize * seconds as usize)
        .map(|at| {
            let (sender, tx) = network.transfer(at);
            (Duration::from_secs_f64(at as f64 / f64::from(rate)), sender % validators, tx)
        })
        .collect()
}

/// `count` single transactions, about one in 700 ms, at moments that do not keep step with blocks.
pub(crate) fn sparse(network: &mut Network, validators: usize, count: u32) -> Plan {
    (0..count as usize)
        .map(|at| {
            let (sender, tx) = network.transfer(at);
            (Duration::from_millis(at as u64 * 700 + at as u64 * 377 % 500), sender % validators, tx)
        })
        .collect()
}

/// Carry out `plan` on `committee`.
pub(crate) async fn offer(
    committee: &Committee,
    scratch: &Path,
    plan: Plan,
) -> Result<Seen, LedgerBenchError> {
    let count = committee.doors.len();
    let book = Arc::new(Mutex::new(Book { finals: vec![0; count], ..Book::default() }));
    let (heights, mut height) = watch::channel(0u64);
    let mut followers = JoinSet::new();
    for index in 0..count {
        let mut socket = committee.visit(index).await?;
        let failed = || LedgerBenchError::io(format!("follow validator {index}"));
        send(&mut socket, &Wish::Follow(Follow {})).await.map_err(failed())?;
        receive::<Final>(&mut socket).await.map_err(failed())?;
        followers.spawn(follow(index, socket, book.clone(), heights.clone()));
    }
    // Only whether: what the wait returns holds the followers up while it lives.
    let begun =
        matches!(tokio::time::timeout(BEGIN, height.wait_for(|height| *height >= 2)).await, Ok(Ok(_)));
    if !begun {
        return Err(committee.processes[0].unexpected("blocks", "none in time".into()));
    }
    let mut offering = JoinSet::new();
    let mut desks = Vec::new();
    for index in 0..count {
        let (sender, receiver) = mpsc::unbounded_channel();
        offering.spawn(present(index, committee.visit(index).await?, receiver));
        desks.push(sender);
    }
    let before = (committee.usage(), usage("self"));
    let (start, offered) = (Instant::now() + TICK, plan.len());
    let tx_bytes = plan.first().map_or(0, |(_, _, tx)| tx.size());
    let mut plan = plan.into_iter().peekable();
    while plan.peek().is_some() {
        let mut burst: Vec<Vec<SignedTx>> = vec![Vec::new(); count];
        let now = Instant::now();
        {
            let mut book = lock(&book);
            while let Some((_, index, tx)) = plan.next_if(|(after, _, _)| start + *after <= now) {
                book.offered.insert(tx.id(), (now, index));
                burst[index].push(tx);
            }
        }
        for (desk, txs) in desks.iter().zip(burst).filter(|(_, txs)| !txs.is_empty()) {
            // A desk that has ended shows as an error below.
            let _ = desk.send(txs);
        }
        sleep_until(now + TICK).await;
    }
    let last_offer = Instant::now();
    drop(desks);
    let (mut refused, mut refusal) = (0, None);
    while let Some(done) = offering.join_next().await {
        let (count, why) =
            done.map_err(|cause| LedgerBenchError::io("offer")(std::io::Error::other(cause)))??;
        refused += count;
        refusal = refusal.or(why);
    }
    let taken = offered - refused;
    let until = Instant::now() + GRACE;
    let everywhere = loop {
        let everywhere = lock(&book).finals.iter().copied().min().unwrap_or(0);
        if everywhere >= taken || Instant::now() > until {
            break everywhere;
        }
        sleep(TICK).await;
    };
    let after = (committee.usage(), usage("self"));
    followers.abort_all();
    let book = std::mem::take(&mut *lock(&book));
    let end = book.last.unwrap_or(last_offer);
    let took = (end - start).as_secs_f64();
    let mut seconds = vec![0.0; (last_offer - start).as_secs() as usize];
    for (at, txs) in &book.blocks {
        if let Some(second) = seconds.get_mut(at.saturating_duration_since(start).as_secs() as usize) {
            *second += *txs as f64;
        }
    }
    let during = book.blocks.iter().filter(|(at, _)| *at >= start && *at <= end);
    let filled = during.clone().filter(|(_, txs)| *txs > 0).map(|(_, txs)| *txs as f64);
    Ok(Seen {
        offered,
        taken,
        everywhere,
        refusal,
        finality: Samples::new(book.finality),
        by_second: Samples::new(seconds),
        blocks_per_second: during.clone().count() as f64 / took,
        block_txs: Samples::new(filled.collect()),
        took,
        validators_cpu: after.0.iter().zip(&before.0).map(|(after, before)| after.cpu - before.cpu).sum(),
        own_cpu: after.1.cpu - before.1.cpu,
        peak: after.0.iter().map(|usage| usage.peak).max().unwrap_or(0),
        disk: folder_bytes(&scratch.join("validator-0")),
        tx_bytes,
    })
}

async fn follow(index: usize, mut socket: TcpStream, book: Arc<Mutex<Book>>, heights: watch::Sender<u64>) {
    // The end of the connection shows as transactions that never become final.
    while let Ok(block) = receive::<Final>(&mut socket).await {
        let now = Instant::now();
        let mut book = lock(&book);
        let known: Vec<(Instant, usize)> =
            block.txs.iter().filter_map(|id| book.offered.get(id).copied()).collect();
        for (offered, to) in &known {
            book.finals[index] += 1;
            if *to == index {
                book.finality.push((now - *offered).as_secs_f64() * 1e3);
            }
        }
        if !known.is_empty() {
            book.last = Some(now);
        }
        if index == 0 {
            book.blocks.push((now, block.txs.len()));
        }
        drop(book);
        heights.send_modify(|height| *height = block.height.max(*height));
    }
}

/// Offer bursts to one validator, in order; returns how many were refused, and why the first was.
async fn present(
    index: usize,
    mut socket: TcpStream,
    mut bursts: mpsc::UnboundedReceiver<Vec<SignedTx>>,
) -> Result<(usize, Option<String>), LedgerBenchError> {
    let failed = || LedgerBenchError::io(format!("offer to validator {index}"));
    let (mut refused, mut why) = (0, None);
    while let Some(burst) = bursts.recv().await {
        for part in burst.chunks(MAX_OFFER) {
            let txs = List::new(part.to_vec()).unwrap_or_default();
            send(&mut socket, &Wish::Offer(Offer { txs })).await.map_err(failed())?;
            let outcome: Outcome = receive(&mut socket).await.map_err(failed())?;
            refused += outcome.refused.len();
            if !outcome.refused.is_empty() && why.is_none() {
                why = Some(outcome.reason.to_string());
            }
        }
    }
    Ok((refused, why))
}

/// Bytes of all files in `folder`; what cannot be read counts nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
