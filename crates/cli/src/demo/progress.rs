//! Show where the demo stands: one moving line on a terminal, a plain line per stage of the story elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    begun: Instant,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} step {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { begun: Instant::now(), bar }
    }
    /// Seconds since the demo began.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
    /// A new part of the story.
    pub(crate) fn tell(&self, text: impl AsRef<str>) {
        let line = format!("{:>6.1} s  {}", self.seconds(), text.as_ref());
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
    /// The moving line.
    pub(crate) fn show(&self, step: u64, text: String) {
        self.bar.set_position(step);
        self.bar.set_message(text);
    }
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
