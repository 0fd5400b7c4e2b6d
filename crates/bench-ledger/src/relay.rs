//! Impair the links between validators in user space: a delay one way, and a rate up and down for each host.
//!
//! Every ordered pair of validators has a relay of its own, a socket that the first dials instead of the
//! second. Bytes of both directions wait their turn on the sender's way up, travel for the delay, wait their
//! turn on the receiver's way down, and are delivered in order. What is modelled is delay and rate, with queues
//! bounded by the sockets; there is no loss, and TCP's own slow start is that of the loopback.

use crate::error::LedgerBenchError;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Bytes that are read at once: the grain of the rate.
const CHUNK: usize = 8 << 10;
/// Chunks of one direction that may be under way; then the sender waits.
const UNDER_WAY: usize = 512;

/// The links of one host, each free again at its moment.
struct Host {
    up: Mutex<Instant>,
    down: Mutex<Instant>,
}

/// Delay and rate of all links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Impairment {
    pub(crate) one_way: Duration,
    /// Bytes a second, up and down, of each host.
    pub(crate) rate: f64,
}

impl Impairment {
    /// When `bytes` that leave at `now` have arrived.
    fn arrival(&self, from: &Host, to: &Host, bytes: usize, now: Instant) -> Instant {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate);
        let pass = |link: &Mutex<Instant>, at: Instant| {
            let mut free = link.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *free = (*free).max(at) + takes;
            *free
        };
        pass(&to.down, pass(&from.up, now) + self.one_way)
    }
}

/// Running relays; they end when this is dropped.
pub(crate) struct Relays {
    /// By dialling validator: where it reaches each validator (itself at its own address).
    pub(crate) addresses: Vec<Vec<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Relays {
    /// Put relays between validators that listen at `listen`.
    pub(crate) async fn start(
        listen: &[SocketAddr],
        impairment: Impairment,
    ) -> Result<Self, LedgerBenchError> {
        let now = Instant::now();
        let host = |_: &SocketAddr| Arc::new(Host { up: Mutex::new(now), down: Mutex::new(now) });
        let hosts: Vec<Arc<Host>> = listen.iter().map(host).collect();
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        for from in 0..listen.len() {
            let mut reached = Vec::new();
            for (to, target) in listen.iter().enumerate() {
                if to == from {
                    reached.push(*target);
                    continue;
                }
                let failed = || LedgerBenchError::io("open a relay");
                let door = TcpListener::bind("127.0.0.1:0").await.map_err(failed())?;
                reached.push(door.local_addr().map_err(failed())?);
                tasks.spawn(serve(door, *target, hosts[from].clone(), hosts[to].clone(), impairment));
            }
            addresses.push(reached);
        }
        Ok(Self { addresses, _tasks: tasks })
    }
}

async fn serve(
    door: TcpListener,
    target: SocketAddr,
    from: Arc<Host>,
    to: Arc<Host>,
    impairment: Impairment,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept() => {
                // A failed connection is the dialler's to repeat.
                let Ok((near, _)) = accepted else { continue };
                let (from, to) = (from.clone(), to.clone());
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
                        return;
                    }
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(
                        carry(near_in, far_out, &from, &to, impairment),
                        carry(far_in, near_out, &to, &from, impairment),
                    );
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn carry(
    mut input: tcp::OwnedReadHalf,
    mut output: tcp::OwnedWriteHalf,
    from: &Host,
    to: &Host,
    impairment: Impairment,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            match input.read(&mut chunk).await {
                Ok(bytes) if bytes > 0 => {
                    chunk.truncate(bytes);
                    let due = impairment.arrival(from, to, bytes, Instant::now());
                    if sender.send((due, chunk)).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            if output.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The other side may have gone first.
        let _ = output.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_both_links_and_the_delay() {
        let start = Instant::now();
        let host = || Host { up: Mutex::new(start), down: Mutex::new(start) };
        let (a, b, c) = (host(), host(), host());
        let links = Impairment { one_way: Duration::from_millis(40), rate: 1e6 };
        let ms = |due: Instant| due.duration_since(start).as_millis();
        assert_eq!(ms(links.arrival(&a, &b, 10_000, start)), 60, "10 ms up, 40 ms on the way, 10 ms down");
        assert_eq!(ms(links.arrival(&a, &c, 10_000, start)), 70, "the way up is shared");
        assert_eq!(ms(links.arrival(&c, &b, 10_000, start)), 70, "the way down is shared");
        assert_eq!(ms(links.arrival(&b, &a, 0, start)), 40, "the other direction is free");
    }
}
