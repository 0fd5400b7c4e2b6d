//! Hold results, and write them for people and for programs.

use crate::{
    error::BenchError,
    flags::Common,
    machine::{Machine, load},
    measure::Timing,
    store,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// A row counts as worse when a rate fell below this share of the stored one.
const WORSE: f64 = 0.9;
/// Rounds below which medians are not to be relied on.
const ENOUGH_ROUNDS: u32 = 7;

/// One measured rate: work per second, so that more is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `crate::operation/key=value/...`.
    pub name: String,
    /// Unit of the three rates.
    pub unit: String,
    /// Work per second of the clock, median of the rounds.
    pub median: f64,
    /// The best round.
    pub best: f64,
    /// Work per CPU second of the process, median of the rounds: what other programs disturb least.
    pub per_cpu_second: f64,
    /// Milliseconds of one call, median of the rounds.
    pub milliseconds: f64,
    /// Further figures by name; the name ends in the unit.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    /// The last stored result of the same machine; never itself stored.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
}

/// How a row compares with the last stored one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Last {
    /// Median now over median then.
    pub median_ratio: f64,
    /// Per CPU second, now over then.
    pub per_cpu_second_ratio: f64,
    /// Whether either fell by more than a tenth.
    pub worse: bool,
    /// When the stored one was measured.
    pub date: String,
    /// Its source revision.
    pub revision: Option<String>,
}

impl Row {
    /// A row of `work` units per call.
    pub(crate) fn rate(name: String, unit: &str, work: f64, timing: &Timing) -> Row {
        let median = timing.median();
        Row {
            name,
            unit: unit.into(),
            median: work / median.wall,
            best: work / timing.best_wall(),
            per_cpu_second: work / median.cpu,
            milliseconds: median.wall * 1e3,
            figures: BTreeMap::new(),
            last: None,
        }
    }
    /// The same row with one more figure.
    pub(crate) fn with(mut self, figure: &str, value: f64) -> Row {
        self.figures.insert(figure.into(), value);
        self
    }
    /// Notes how this row compares with `then`.
    pub(crate) fn compare(&mut self, then: &Row, date: &str, revision: Option<&str>) {
        let median_ratio = self.median / then.median;
        let per_cpu_second_ratio = self.per_cpu_second / then.per_cpu_second;
        let worse = median_ratio.min(per_cpu_second_ratio) < WORSE;
        let (date, revision) = (date.into(), revision.map(String::from));
        self.last = Some(Last { median_ratio, per_cpu_second_ratio, worse, date, revision });
    }
}

/// The results of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// `machine`, `gemm`, `stage`, `decode`, `muon` or `ledger`.
    pub kind: &'static str,
    /// Where it was measured.
    pub machine: Machine,
    /// When, UTC, ISO 8601.
    pub date: String,
    /// Source revision, as given.
    pub revision: Option<String>,
    /// Load average of the last minute when the measurement began.
    pub load: Option<f64>,
    /// Rounds of each case.
    pub rounds: u32,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// An empty report that begins now.
    pub(crate) fn new(kind: &'static str, common: &Common) -> Report {
        let mut report = Report {
            kind,
            machine: Machine::here(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
            revision: common.revision.clone().filter(|revision| !revision.is_empty()),
            load: load(),
            rounds: common.rounds,
            rows: Vec::new(),
            notes: Vec::new(),
        };
        let most = common.threads.iter().copied().max().unwrap_or(1);
        if most > report.machine.cores {
            report.notes.push(format!("{most} threads on {}", count(report.machine.cores, "core")));
        }
        if cfg!(debug_assertions) {
            report.notes.push("built with debug assertions: a release build is several times faster".into());
        }
        if common.rounds < ENOUGH_ROUNDS {
            report.notes.push(format!("fewer than {ENOUGH_ROUNDS} rounds: the medians say little"));
        }
        report
    }

    /// An empty report of another crate's measurements that begins now, of `rounds` rounds each.
    pub fn begin(kind: &'static str, revision: Option<String>, rounds: u32) -> Report {
        let mut report = Report {
            kind,
            machine: Machine::here(),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
            revision: revision.filter(|revision| !revision.is_empty()),
            load: load(),
            rounds,
            rows: Vec::new(),
            notes: Vec::new(),
        };
        if cfg!(debug_assertions) {
            report.notes.push("built with debug assertions: a release build is several times faster".into());
        }
        report
    }
    /// Note in every row how it compares with the stored one of this machine, and with `store` put these in
    /// their place.
    pub fn settle(&mut self, results: &Path, store: bool) -> Result<(), BenchError> {
        store::compare(self, results)?;
        if store {
            store::write(self, results)?;
        }
        Ok(())
    }
    /// The results as one JSON object.
    pub fn json(&self) -> Value {
        json!({
            "kind": self.kind, "machine": self.machine, "date": self.date, "revision": self.revision,
            "load": self.load, "rounds": self.rounds, "rows": self.rows, "notes": self.notes,
        })
    }

    /// The results as an aligned table.
    pub fn text(&self) -> String {
        let load = self.load.map_or(String::new(), |load| format!(", load {load:.2}"));
        let mut text = format!(
            "{} on {} ({}, {}), {}, {}{load}\n\n",
            self.kind,
            self.machine.cpu,
            count(self.machine.cores, "core"),
            self.machine.isa,
            self.date,
            count(self.rounds as usize, "round")
        );
        let figures: Vec<&String> =
            self.rows.iter().flat_map(|row| row.figures.keys()).fold(Vec::new(), |mut seen, name| {
                if !seen.contains(&name) {
                    seen.push(name);
                }
                seen
            });
        let compared = self.rows.iter().any(|row| row.last.is_some());
        let mut table = vec![["", "median", "best", "per CPU s", "unit", "ms"].map(String::from).to_vec()];
        table[0].extend(figures.iter().map(|name| name.replace('_', " ")));
        if compared {
            table[0].extend(["x last", "x last/CPU s", ""].map(String::from));
        }
        for row in &self.rows {
            let mut cells = vec![row.name.clone()];
            cells.extend([row.median, row.best, row.per_cpu_second].map(rate));
            cells.extend([row.unit.clone(), number(row.milliseconds)]);
            cells
                .extend(figures.iter().map(|name| row.figures.get(*name).copied().map_or("".into(), number)));
            if let Some(last) = &row.last {
                let mark = if last.worse { "WORSE" } else { "" };
                cells.extend([ratio(last.median_ratio), ratio(last.per_cpu_second_ratio), mark.into()]);
            }
            table.push(cells);
        }
        text += &align(&table);
        if let Some(last) = self.rows.iter().find_map(|row| row.last.as_ref()) {
            let revision =
                last.revision.as_deref().map_or(String::new(), |text| format!(", revision {text}"));
            text += &format!("\ncompared with {}{revision}\n", last.date);
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }
}

/// Columns wide enough for their cells: the first and the unit begin left, numbers end right.
fn align(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            line += &match column {
                0 => format!("{cell:<width$}"),
                4 => format!("  {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A rate; there is none where a difference of two times is negative.
fn rate(value: f64) -> String {
    if value > 0.0 { number(value) } else { "-".into() }
}

/// A number with about four significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `1 core`, `2 cores`.
fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

/// Seconds since 1970 as a UTC date and time (Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_798_761_600), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_fall_by_more_than_a_tenth_is_marked_on_either_clock() {
        let row = |wall, cpu| {
            Row::rate("a::b/c=1".into(), "GFLOP/s", 10.0, &Timing::new(vec![Sample { wall, cpu }]))
        };
        let then = row(1.0, 1.0);
        for (mut now, worse) in [(row(1.05, 1.05), false), (row(1.2, 1.0), true), (row(0.5, 1.2), true)] {
            now.compare(&then, "today", None);
            assert_eq!(now.last.unwrap().worse, worse);
        }
    }

    #[test]
    fn tables_are_aligned() {
        let table =
            [["", "median"], ["long name", "1"], ["x", "23456789"]].map(|r| r.map(String::from).to_vec());
        assert_eq!(align(&table), "             median\nlong name         1\nx          23456789\n");
    }

    #[test]
    fn a_negative_difference_has_no_rate_but_keeps_its_time() {
        assert_eq!([2048.0, 0.0, -38332.0].map(rate), ["2048", "-", "-"]);
        assert_eq!(number(-53.43), "-53.43");
    }
}
