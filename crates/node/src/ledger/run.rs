//! See a run as the ledger records it: terms, progress, stages, seats; once, or again whenever it changes.

use super::{LedgerClient, LedgerError, View};
use std::{collections::BTreeMap, time::Duration};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    query,
    record::{ChunkPrice, Credits, Run, RunTerms, Seat, SeatState, Stage, Window},
};
use tessera_net::Transport;
use tokio::sync::watch;

/// A run at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    pub height: u64,
    pub time_ms: u64,
    pub terms: RunTerms,
    pub run: Run,
    pub credits: Option<Credits>,
    /// Tokens per credit of each live series.
    pub prices: BTreeMap<u16, ChunkPrice>,
    /// By stage.
    pub stages: Vec<Stage>,
    /// Every seat that was ever taken, by stage and index.
    pub seats: Vec<Seat>,
    /// The window being reported, if any stage has reported it.
    pub window: Option<Window>,
}

impl RunView {
    /// Read it; `None` if there is no such run (or some of it is not fetched yet).
    pub fn read(view: &View, run: &Hash) -> Option<Self> {
        let (terms, state) = (query::run_terms(view.source(), run), query::run(view.source(), run));
        let credits = query::credits(view.source(), run);
        let (terms, state) = (terms?, state?);
        let current = credits.as_ref().map_or(0, |credits| credits.series);
        let live = [current.checked_sub(1), Some(current)].into_iter().flatten();
        let prices: BTreeMap<u16, ChunkPrice> =
            live.filter_map(|series| Some((series, query::price_of(view.source(), run, series)?))).collect();
        // Look at everything of one round before giving up, so that it is fetched in one round.
        let stages: Vec<Option<Stage>> =
            (0..terms.stages).map(|stage| query::stage(view.source(), run, stage)).collect();
        let window = query::window(view.source(), run, state.window);
        let stages: Vec<Stage> = stages.into_iter().collect::<Option<_>>()?;
        let places = stages.iter().flat_map(|stage| (0..stage.used).map(|seat| (stage.stage, seat)));
        let seats: Vec<Option<Seat>> =
            places.map(|(stage, seat)| query::seat(view.source(), run, stage, seat)).collect();
        let seats = seats.into_iter().collect::<Option<_>>()?;
        Some(Self {
            height: view.height,
            time_ms: view.time_ms,
            terms,
            run: state,
            credits,
            prices,
            stages,
            seats,
            window,
        })
    }
    /// Tokens per credit of `series`; the run's own price if the series is not live.
    pub fn price_of(&self, series: u16) -> ChunkPrice {
        self.prices.get(&series).unwrap_or(&self.terms.price).clone()
    }
    /// Tokens per credit of the current series.
    pub fn price(&self) -> ChunkPrice {
        self.price_of(self.credits.as_ref().map_or(0, |credits| credits.series))
    }
    /// The seat of `account`, if it has one that has not lapsed.
    pub fn seat_of(&self, account: &PublicKey) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.account == *account && seat.state == SeatState::Active)
    }
    /// Windows of `stage` that the ledger has accepted.
    pub fn reported(&self, stage: u16) -> u32 {
        let bit = |window: &Window| stage < 128 && window.reported >> stage & 1 == 1;
        self.run.window + u32::from(self.window.as_ref().is_some_and(|window| !window.closed && bit(window)))
    }
}

impl<T: Transport> LedgerClient<T> {
    /// The run as it stands; [`LedgerError::NotHere`] if there is none.
    pub async fn run(&self, run: &Hash) -> Result<RunView, LedgerError> {
        self.read(|view| RunView::read(view, run))
            .await?
            .ok_or_else(|| LedgerError::NotHere { what: format!("run {run}"), network: self.network() })
    }
    /// Look at the run again every `pause`; the receiver sees a change whenever more than the height changed.
    /// `None` until the run was seen for the first time. Ends when the receiver is dropped.
    pub fn watch_run(&self, run: Hash, pause: Duration) -> watch::Receiver<Option<RunView>> {
        let (sender, receiver) = watch::channel(None);
        let client = self.clone();
        tokio::spawn(async move {
            while !sender.is_closed() {
                match client.run(&run).await {
                    Ok(new) => {
                        sender.send_if_modified(|old: &mut Option<RunView>| {
                            let changed = old.as_ref().is_none_or(|old| {
                                let at = (new.height, new.time_ms);
                                RunView { height: at.0, time_ms: at.1, ..old.clone() } != new
                            });
                            *old = Some(new);
                            changed
                        });
                    }
                    Err(error) => tracing::debug!(%run, %error, "the run was not read"),
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = sender.closed() => return,
                }
            }
        });
        receiver
    }
}
