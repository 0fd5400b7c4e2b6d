//! Take a seat in a run: ask the ledger for one, train in it, and serve from it once the run is trained.
//!
//! [`join`] deals with the ledger, [`training`] and [`hosting`] drive the pure state machines of
//! `tessera-swarm` and `tessera-serve` with real messages, threads and disks, [`store`] keeps states in files,
//! `worker` runs the arithmetic, [`event`] says what an operator or a script may see.

pub mod cheat;
pub mod event;
pub mod hosting;
pub mod join;
pub mod meter;
pub mod store;
pub mod training;
mod trust;
mod worker;

use crate::{folder::Folder, ledger::LedgerClient, switchboard::Switchboard};
use bytes::Bytes;
use cheat::Cheat;
use event::{Events, SeatEvent};
use join::Place;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tessera_canon::{PublicKey, SecretKey, codec};
use tessera_chain::LightClient;
use tessera_model::{Dataset, RunSpec};
use tessera_net::Transport;
pub use tessera_swarm::DEFAULT_TAPE_BYTES;
use tessera_wire::from_frame;
use tokio::sync::{oneshot, watch};
use training::Trained;

/// How often the ledger is asked for news of the run.
const LEDGER_PAUSE: Duration = Duration::from_millis(700);

/// What a seat needs to know.
pub struct SeatConfig {
    pub key: SecretKey,
    pub spec: RunSpec,
    /// The text that the run trains on; `None` for the embedded corpus.
    pub corpus: Option<String>,
    /// Where other seats reach this one.
    pub endpoint: SocketAddr,
    /// Threads of arithmetic.
    pub threads: usize,
    /// Most bytes of tapes held between forward and backward; with 0 every backward pass runs forward again.
    pub tape_bytes: usize,
    /// Most bytes of boundary tensors and receipts that are kept for auditors.
    pub retention_bytes: usize,
    /// Serve inference after training.
    pub serve: bool,
    /// Cheat, to show what becomes of a cheat; refused where the program has no such part.
    pub cheat: Option<Cheat>,
}

/// Why a seat could not be taken or had to be given up.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
    #[error("the run's data cannot be used: {0}")]
    Data(#[from] tessera_model::DataError),
    #[error("cannot keep states in {folder}: {cause}; {}", crate::folder::advice(cause))]
    Store { folder: String, cause: std::io::Error },
    #[error("the stage cannot be set up: {0}")]
    Worker(#[from] tessera_swarm::WorkerError),
    #[error("the stage cannot serve: {0}")]
    Serve(#[from] tessera_model::ModelError),
    #[error(
        "the ledger's terms of run {run} do not fit the specification: {what} is {expected} in the specification and {got} on the ledger"
    )]
    Terms { run: String, what: &'static str, expected: String, got: String },
    #[error("the run was aborted: {0}")]
    Aborted(&'static str),
    #[error("stopped: {0}")]
    Halted(String),
    #[error(
        "this program was built without the feature `cheat`, so its seats cannot be made to cheat; leave the flag out"
    )]
    CannotCheat,
    #[error("cannot start a thread: {0}; is the limit of processes reached (`ulimit -u`)?")]
    Thread(std::io::Error),
    #[error("the thread of arithmetic ended unexpectedly; see the messages above and start the node again")]
    WorkerGone,
}

/// Take part in the run until `stop` becomes true. Returns early only for an error.
pub async fn run<T: Transport>(
    switchboard: Switchboard<T>,
    ledger: LedgerClient<T>,
    light: LightClient,
    folder: &Folder,
    config: SeatConfig,
    events: Events,
    mut stop: watch::Receiver<bool>,
) -> Result<(), SeatError> {
    if config.cheat.is_some() && !cheat::AVAILABLE {
        return Err(SeatError::CannotCheat);
    }
    let run = config.spec.run_id();
    let watch = ledger.watch_run(run, LEDGER_PAUSE);
    tessera_arith::set_threads(config.threads.max(1));
    let spec = Arc::new(config.spec.clone());
    // Before a seat is asked for: one that cannot work must not keep others from it.
    let mut data = Some(load_data(&spec, config.corpus.clone()).await?);
    loop {
        let Some(place) = join::take_seat(&ledger, &config, watch.clone(), &events, &mut stop).await? else {
            return Ok(());
        };
        events.send(SeatEvent::Seated { run, stage: place.stage, seat: place.seat });
        if place.stage != 0 && place.stage + 1 != spec.stage_count() {
            // Only the first and the last stage see text; a seat that moves keeps its stage.
            data = None;
        }
        let seat = Seat {
            switchboard: &switchboard,
            ledger: &ledger,
            folder,
            config: &config,
            place,
            events: &events,
        };
        let key = config.key.clone();
        let keep =
            join::keep_seat(ledger.clone(), key, run, config.endpoint, watch.clone(), switchboard.clone());
        let keeper = KeptTask(tokio::spawn(keep));
        let (ready, weights) = oneshot::channel();
        let train = training::train(&seat, spec.clone(), data.clone(), watch.clone(), stop.clone(), ready);
        let serve = async {
            match weights.await {
                Ok(weights) if config.serve => {
                    hosting::serve(&seat, light.clone(), weights, watch.clone(), stop.clone()).await
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            trained = train => match trained? {
                Trained::Moved => drop(keeper),
                Trained::Stopped => return Ok(()),
            },
            served = serve => return served,
        }
    }
}

/// What training and serving share.
pub(crate) struct Seat<'a, T> {
    pub(crate) switchboard: &'a Switchboard<T>,
    pub(crate) ledger: &'a LedgerClient<T>,
    pub(crate) folder: &'a Folder,
    pub(crate) config: &'a SeatConfig,
    pub(crate) place: Place,
    pub(crate) events: &'a Events,
}

impl<T: Transport> Seat<'_, T> {
    /// The message in a frame; a peer that sends anything else is dropped.
    pub(crate) fn open<M: codec::Read<Cfg = ()>>(
        &self,
        from: PublicKey,
        channel: u8,
        bytes: &Bytes,
    ) -> Option<M> {
        from_frame(channel, bytes).map_err(|error| self.drop_peer(from, error.to_string())).ok()
    }
    /// Close the connection to a peer that misbehaves, and say so.
    pub(crate) fn drop_peer(&self, peer: PublicKey, reason: String) {
        self.switchboard.transport().drop_peer(peer, &reason);
        self.events.send(SeatEvent::Dropped { peer, reason });
    }
}

/// A task that ends with its owner.
struct KeptTask(tokio::task::JoinHandle<()>);
impl Drop for KeptTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The run's data, checked against its manifest.
async fn load_data(spec: &Arc<RunSpec>, corpus: Option<String>) -> Result<Arc<Dataset>, SeatError> {
    let spec = spec.clone();
    let load = move || match corpus {
        Some(text) => Dataset::from_text(&spec, &text),
        None => Dataset::embedded(&spec),
    };
    Ok(Arc::new(tokio::task::spawn_blocking(load).await.map_err(|_| SeatError::WorkerGone)??))
}
