//! Medians over the rounds: as Markdown tables and as plots.

mod markdown;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::row::{Device, Latency, Row, Unit};

pub const OWN: &str = "mapstone";

pub struct Report {
    /// In the order in which they were first measured.
    tables: Vec<Table>,
    rounds: usize,
}

struct Table {
    work: String,
    unit: Unit,
    /// Best first.
    lines: Vec<Line>,
    /// Stores without a figure, and why.
    skipped: Vec<(String, String)>,
}

/// What the rounds of one store come to.
struct Line {
    peer: String,
    survives: String,
    rounds: usize,
    median: f64,
    least: f64,
    most: f64,
    latency: Option<Latency>,
    /// Seconds, for one operation.
    cpu: Option<f64>,
    /// For one operation.
    wrote: Option<f64>,
    device: Option<f64>,
    flushes: Option<f64>,
    reads: Option<f64>,
    read: Option<f64>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(rows: Vec<Row>) -> Report {
        let mut works: Vec<(&str, Unit)> = Vec::new();
        for row in &rows {
            if !works.iter().any(|(work, _)| *work == row.work) {
                works.push((&row.work, row.unit));
            }
        }
        let tables: Vec<Table> =
            works.iter().map(|(work, unit)| Table::new(work, *unit, &rows)).collect();
        let rounds =
            tables.iter().flat_map(|table| &table.lines).map(|line| line.rounds).max().unwrap_or(0);
        Report { tables, rounds }
    }

    /// Reads JSON lines of one run, or of parts of it.
    pub fn read(paths: &[PathBuf]) -> Result<Report> {
        let mut rows = Vec::new();
        for path in paths {
            let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            for line in text.lines() {
                rows.push(
                    serde_json::from_str(line)
                        .with_context(|| format!("{}: {line}", path.display()))?,
                );
            }
        }
        Ok(Report::new(rows))
    }

    /// Writes report.md, and a plot for each table with more than one figure.
    pub fn write(&self, out: &Path) -> Result<()> {
        fs::create_dir_all(out)?;
        let mut text = format!("Medians; rounds: {}.\n", self.rounds);
        text += &markdown::figures(&self.tables);
        text += &markdown::processor(&self.tables);
        for table in &self.tables {
            text.push_str(&markdown::table(table));
            if table.lines.len() > 1 {
                plot::bars(table, &out.join(format!("{}.svg", table.slug())))?;
            }
        }
        fs::write(out.join("report.md"), text)?;
        Ok(())
    }
}

impl Table {
    fn new(work: &str, unit: Unit, rows: &[Row]) -> Table {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.work == work).collect();
        let mut peers: Vec<&str> = Vec::new();
        for row in &rows {
            if !peers.contains(&row.peer.as_str()) {
                peers.push(&row.peer);
            }
        }
        let (mut lines, mut skipped) = (Vec::new(), Vec::new());
        for peer in peers {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.peer == peer).copied().collect();
            match Line::new(peer, &rows) {
                Some(line) => lines.push(line),
                None => {
                    skipped.push((peer.to_owned(), rows[0].skipped.clone().unwrap_or_default()))
                }
            }
        }
        lines.sort_by(|a, b| a.median.total_cmp(&b.median));
        if unit == Unit::Rate {
            lines.reverse();
        }
        Table { work: work.to_owned(), unit, lines, skipped }
    }

    fn slug(&self) -> String {
        let words: Vec<String> = self
            .work
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        words.join("-")
    }

    fn own(&self) -> Option<f64> {
        self.lines.iter().find(|line| line.peer == OWN).map(|line| line.median)
    }
}

impl Line {
    fn new(peer: &str, rows: &[&Row]) -> Option<Line> {
        let measured: Vec<&Row> =
            rows.iter().filter(|row| row.figure().is_some()).copied().collect();
        let figures: Vec<f64> = measured.iter().filter_map(|row| row.figure()).collect();
        let of = |pick: &dyn Fn(&Row) -> Option<f64>| {
            median(measured.iter().filter_map(|row| pick(row)).collect())
        };
        let at = |pick: fn(&Latency) -> f64| of(&|row: &Row| row.latency.as_ref().map(pick));
        let latency = at(|latency| latency.p50).map(|p50| Latency {
            p50,
            p90: at(|latency| latency.p90).unwrap_or(0.0),
            p99: at(|latency| latency.p99).unwrap_or(0.0),
            p999: at(|latency| latency.p999).unwrap_or(0.0),
            max: at(|latency| latency.max).unwrap_or(0.0),
        });
        let device = |pick: fn(&Device) -> u64| {
            of(&|row: &Row| row.device.as_ref().map(|device| pick(device) as f64 / row.ops as f64))
        };
        let mut notes: Vec<String> = measured.iter().filter_map(|row| row.note.clone()).collect();
        notes.dedup();
        Some(Line {
            peer: peer.to_owned(),
            survives: measured.first()?.survives.clone(),
            rounds: figures.len(),
            median: median(figures.clone())?,
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            most: figures.iter().copied().fold(0.0, f64::max),
            latency,
            cpu: of(&|row: &Row| row.cpu.map(|cpu| cpu / row.ops as f64)),
            wrote: of(&|row: &Row| row.wrote.map(|wrote| wrote as f64 / row.ops as f64)),
            device: device(|device| device.bytes),
            flushes: device(|device| device.flushes),
            reads: device(|device| device.reads),
            read: device(|device| device.read),
            notes,
        })
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        len if len % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

/// A figure as people read it.
fn human(figure: f64, unit: Unit) -> String {
    let scales: &[(f64, &str)] = match unit {
        Unit::Rate => &[(1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")],
        Unit::Time => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
        Unit::Bytes => &[
            (1024.0 * 1024.0 * 1024.0, "GiB"),
            (1024.0 * 1024.0, "MiB"),
            (1024.0, "KiB"),
            (1.0, "B"),
        ],
        Unit::Latency => &[(1e6, "s"), (1e3, "ms"), (1.0, "µs"), (1e-3, "ns")],
    };
    let (scale, name) =
        scales.iter().find(|(scale, _)| figure >= *scale).or(scales.last()).expect("not empty");
    let scaled = figure / scale;
    let digits = if scaled >= 100.0 {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(human(2_540_000.0, Unit::Rate), "2.54 M/s");
        assert_eq!(human(41_230.0, Unit::Rate), "41.2 k/s");
        assert_eq!(human(0.000_092, Unit::Time), "92.0 µs");
        assert_eq!(human(163.0, Unit::Latency), "163 µs");
        assert_eq!(human(3.0 * 1024.0 * 1024.0, Unit::Bytes), "3.00 MiB");
    }

    #[test]
    fn the_middle_of_the_rounds_counts() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
