//! Decide how many bytes may be in flight: steady over home links, deaf to single losses, gentle to the household.
//!
//! The window may grow to `measured bandwidth x least round trip x 1.5`, within bounds. It shrinks when the round
//! trip exceeds the least one by 50 ms (our own queue), on an ECN mark, or when more than an eighth of it is lost;
//! isolated loss is ignored, because on the links this is made for it means noise, not congestion. Loss-driven
//! controllers took 4 to 10 times as long for a 1 MiB frame at 0.1 to 1 % loss. Each connection is on its own: the
//! sum over many peers of one uplink is held down only by the delay rule.

use noq_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory},
};
use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

const LEAST_WINDOW: u64 = 32 * 1024;
/// The cap is never below this: on very short paths bandwidth x delay says too little.
const LEAST_CAP: u64 = 512 * 1024;
const GREATEST_CAP: u64 = 16 * 1024 * 1024;
const START: u64 = 256 * 1024;
const OWN_QUEUE: Duration = Duration::from_millis(50);
/// How long a bandwidth sample counts; the maximum of this and the last period is used.
const PERIOD: Duration = Duration::from_secs(10);

/// Builds a [`SteadyWindow`] per connection.
pub(crate) struct SteadyWindowFactory;
impl ControllerFactory for SteadyWindowFactory {
    fn build(self: Arc<Self>, now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(SteadyWindow::new(now))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SteadyWindow {
    window: u64,
    cap: u64,
    /// Bytes per second: greatest of the running and of the last period.
    best: (u64, u64),
    period_start: Instant,
    round_start: Instant,
    round_bytes: u64,
    last_decrease: Instant,
    round_trip: Duration,
}

impl SteadyWindow {
    fn new(now: Instant) -> Self {
        Self {
            window: START,
            cap: LEAST_CAP,
            best: (0, 0),
            period_start: now,
            round_start: now,
            round_bytes: 0,
            last_decrease: now,
            round_trip: Duration::from_millis(50),
        }
    }
    /// At most one decrease per round trip: one event must not be punished packet by packet.
    fn decrease(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_decrease) >= self.round_trip {
            self.last_decrease = now;
            self.window = (self.window * 9 / 10).max(LEAST_WINDOW);
        }
    }
}

impl Controller for SteadyWindow {
    fn on_ack(&mut self, now: Instant, _: Instant, bytes: u64, _: u64, limited: bool, rtt: &RttEstimator) {
        self.round_trip = rtt.get();
        self.round_bytes += bytes;
        let elapsed = now.saturating_duration_since(self.round_start);
        if elapsed >= rtt.get().max(Duration::from_millis(5)) {
            let rate = (u128::from(self.round_bytes) * 1_000_000 / elapsed.as_micros().max(1)) as u64;
            if now.saturating_duration_since(self.period_start) >= PERIOD {
                // A period in which the application had little to say tells nothing about the path.
                self.best = (rate, if limited { self.best.0.max(self.best.1) } else { self.best.0 });
                self.period_start = now;
            }
            self.best.0 = self.best.0.max(rate);
            let product = u128::from(self.best.0.max(self.best.1)) * rtt.min().as_micros() / 1_000_000;
            self.cap = ((product * 3 / 2) as u64).clamp(LEAST_CAP, GREATEST_CAP);
            (self.round_start, self.round_bytes) = (now, 0);
        }
        if rtt.get() > rtt.min() + OWN_QUEUE {
            self.decrease(now);
        } else if !limited {
            self.window += bytes / 2;
        }
        self.window = self.window.min(self.cap).max(LEAST_WINDOW);
    }
    fn on_congestion_event(
        &mut self,
        now: Instant,
        _: Instant,
        persistent: bool,
        ecn: bool,
        lost: u64,
        _: u64,
    ) {
        if persistent {
            self.window = (self.cap / 4).min(self.window).max(LEAST_WINDOW);
        } else if ecn || lost > self.window / 8 {
            self.decrease(now);
        }
    }
    fn on_mtu_update(&mut self, _: u16) {}
    fn window(&self) -> u64 {
        self.window
    }
    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }
    fn initial_window(&self) -> u64 {
        START
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_losses_are_ignored_and_heavy_loss_shrinks_once_a_round_trip() {
        let start = Instant::now();
        let mut controller = SteadyWindow::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        controller.on_congestion_event(at(100), start, false, false, 1200, 1);
        assert_eq!(controller.window(), START);
        controller.on_congestion_event(at(100), start, false, false, START / 4, 2);
        assert_eq!(controller.window(), START * 9 / 10);
        controller.on_congestion_event(at(101), start, false, true, 0, 3);
        assert_eq!(controller.window(), START * 9 / 10, "the same round trip");
        controller.on_congestion_event(at(200), start, true, false, START, 4);
        assert_eq!(controller.window(), LEAST_CAP / 4);
        for event in 0..200 {
            controller.on_congestion_event(at(300 + 100 * event), start, false, true, 0, 5);
        }
        assert_eq!(controller.window(), LEAST_WINDOW);
    }
}
