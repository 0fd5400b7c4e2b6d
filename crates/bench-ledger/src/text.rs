//! Write the results for people: a paragraph for each row, its figures in columns.
//!
//! The table of the other measurements has one column for each figure; here every group of rows has figures of
//! its own, and the table would be wider than any screen.

use tessera_bench::{Report, Row};

/// Figures beside each other.
const COLUMNS: usize = 4;

/// The results as text.
pub(crate) fn text(report: &Report) -> String {
    let load = report.load.map_or(String::new(), |load| format!(", load {load:.2} when it began"));
    let mut text = format!(
        "{} on {} ({} cores, {}), {}{load}\n",
        report.kind, report.machine.cpu, report.machine.cores, report.machine.isa, report.date
    );
    for row in &report.rows {
        text += &format!("\n{}\n", row.name);
        text += &paragraph(row);
    }
    if let Some(last) = report.rows.iter().find_map(|row| row.last.as_ref()) {
        let revision = last.revision.as_deref().map_or(String::new(), |text| format!(", revision {text}"));
        text += &format!("\ncompared with {}{revision}", last.date);
    }
    text.push('\n');
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text
}

fn paragraph(row: &Row) -> String {
    let unit = &row.unit;
    let mut text = format!(
        "    {} {unit}, best {}, {} per CPU second, {} ms\n",
        number(row.median),
        number(row.best),
        number(row.per_cpu_second),
        number(row.milliseconds)
    );
    let figures: Vec<String> = row
        .figures
        .iter()
        .map(|(name, value)| format!("{:<16} {:>8}", name.replace('_', " "), number(*value)))
        .collect();
    for line in figures.chunks(COLUMNS) {
        text += &format!("      {}\n", line.join("   "));
    }
    if let Some(last) = &row.last {
        let mark = if last.worse { "  WORSE" } else { "" };
        text += &format!(
            "      x last {:.3}, per CPU second {:.3}{mark}\n",
            last.median_ratio, last.per_cpu_second_ratio
        );
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figures as _, Samples, row};

    #[test]
    fn every_figure_of_a_row_is_written() {
        let rates = Samples::new(vec![998.0, 1002.0]);
        let row =
            row("a::b/c=1".into(), "tx/s", &rates, 777.0, 12.5).with("lost_%", 0.0).with("peak_MB", 123.4);
        let text = paragraph(&row);
        for part in
            ["998.0 tx/s", "best 1002", "777.0 per CPU second", "12.50 ms", "lost %", "peak MB", "123.4"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
