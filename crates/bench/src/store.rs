//! Keep results per kind and machine, and compare new ones with them.
//!
//! A file holds each row's last stored result with its own date, revision, rounds and load; a run that
//! measures other rows leaves it alone. Files are replaced whole, never written in place.

use crate::{
    error::BenchError,
    machine::Machine,
    report::{Report, Row},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    kind: String,
    machine: Machine,
    rows: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    date: String,
    revision: Option<String>,
    load: Option<f64>,
    rounds: u32,
    #[serde(flatten)]
    row: Row,
}

fn path(report: &Report, folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}.json", report.kind, report.machine.fingerprint()))
}

fn read(path: &Path) -> Result<Option<Stored>, BenchError> {
    match fs::read_to_string(path) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(stored) => Ok(Some(stored)),
            Err(cause) => Err(BenchError::Stored { path: path.display().to_string(), cause }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BenchError::io("read", path)(error)),
    }
}

/// Notes in every row how it compares with the stored one.
pub(crate) fn compare(report: &mut Report, folder: &Path) -> Result<(), BenchError> {
    let path = path(report, folder);
    let Some(stored) = read(&path)? else {
        report.notes.push(format!("nothing to compare with: {} does not exist", path.display()));
        return Ok(());
    };
    for row in &mut report.rows {
        if let Some(then) = stored.rows.get(&row.name) {
            row.compare(&then.row, &then.date, then.revision.as_deref());
        }
    }
    let worse = report.rows.iter().filter(|row| row.last.as_ref().is_some_and(|last| last.worse)).count();
    if worse > 0 {
        report.notes.push(format!("{worse} rows are worse than the stored ones by more than 10 %"));
    }
    Ok(())
}

/// Stores the rows of `report`, each in place of the last one of its name.
pub(crate) fn write(report: &mut Report, folder: &Path) -> Result<(), BenchError> {
    let path = path(report, folder);
    let mut rows = read(&path)?.map(|stored| stored.rows).unwrap_or_default();
    for row in &report.rows {
        let entry = Entry {
            date: report.date.clone(),
            revision: report.revision.clone(),
            load: report.load,
            rounds: report.rounds,
            row: Row { last: None, ..row.clone() },
        };
        rows.insert(row.name.clone(), entry);
    }
    let stored = Stored { kind: report.kind.into(), machine: report.machine.clone(), rows };
    let text = serde_json::to_string_pretty(&stored)
        .map_err(|cause| BenchError::Stored { path: path.display().to_string(), cause })?;
    fs::create_dir_all(folder).map_err(BenchError::io("make folder", folder))?;
    let beside = path.with_extension(format!("json.{}", std::process::id()));
    fs::write(&beside, text + "\n").map_err(BenchError::io("write", &beside))?;
    fs::rename(&beside, &path).map_err(BenchError::io("replace", &path))?;
    report.notes.push(format!("stored in {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Sample, Timing};

    fn report(rows: &[(&str, f64)]) -> Report {
        let row = |&(name, wall): &(&str, f64)| {
            Row::rate(name.into(), "tokens/s", 1.0, &Timing::new(vec![Sample { wall, cpu: wall }]))
                .with("share_%", 12.5)
        };
        Report {
            kind: "gemm",
            machine: Machine { cpu: "test".into(), cores: 1, isa: "portable".into() },
            date: "2026-01-01T00:00:00Z".into(),
            revision: Some("abc".into()),
            load: None,
            rounds: 7,
            rows: rows.iter().map(row).collect(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn rows_are_compared_with_the_stored_ones_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        compare(&mut report(&[("a", 1.0)]), folder.path()).unwrap();
        write(&mut report(&[("a", 1.0), ("b", 1.0)]), folder.path()).unwrap();
        let mut second = report(&[("b", 2.0), ("c", 1.0)]);
        compare(&mut second, folder.path()).unwrap();
        let last = second.rows[0].last.clone().unwrap();
        assert_eq!((last.median_ratio, last.worse, last.revision.as_deref()), (0.5, true, Some("abc")));
        assert!(second.rows[1].last.is_none());
        assert!(second.text().contains("WORSE"));
        write(&mut second, folder.path()).unwrap();
        let mut third = report(&[("a", 1.0), ("b", 2.0), ("c", 1.0)]);
        compare(&mut third, folder.path()).unwrap();
        assert!(third.rows.iter().all(|row| row.last.as_ref().unwrap().median_ratio == 1.0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = report(&[("a", 1.0)]);
        let path = path(&report, folder.path());
        fs::write(&path, "not results").unwrap();
        let error = write(&mut report, folder.path()).unwrap_err().to_string();
        assert!(error.contains("stored results") && error.contains("move the file away"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not results");
    }
}
