//! A table in Markdown.

use std::fmt::Write;

use super::{Line, OWN, Table, human};
use crate::row::Unit;

/// A column: its title, and its cell for a line.
type Column<'a> = (&'a str, Box<dyn Fn(&Line) -> String + 'a>);

pub fn table(table: &Table) -> String {
    let unit = table.unit;
    let mut columns: Vec<Column> = vec![
        (
            "store",
            Box::new(
                |line| if line.peer == OWN { format!("**{OWN}**") } else { line.peer.clone() },
            ),
        ),
        (title(unit), Box::new(move |line| human(line.median, unit))),
    ];
    if table.lines.iter().any(|line| line.least < line.most) {
        let range =
            move |line: &Line| format!("{} to {}", human(line.least, unit), human(line.most, unit));
        columns.push(("range", Box::new(range)));
    }
    if table.lines.iter().any(|line| !line.survives.is_empty()) {
        columns.insert(1, ("survives", Box::new(|line| line.survives.clone())));
    }
    if let Some(own) = table.own() {
        columns.push(("of mapstone", Box::new(move |line| format!("{:.2}", line.median / own))));
    }
    if matches!(unit, Unit::Rate | Unit::Latency)
        && table.lines.iter().any(|line| line.cpu.is_some())
    {
        columns.push((
            "processor, each",
            Box::new(|line| cell(line.cpu, |cpu| human(cpu * 1e6, Unit::Latency))),
        ));
    }
    if table.lines.iter().any(|line| line.latency.is_some()) {
        let at = |pick: fn(&crate::row::Latency) -> f64| {
            move |line: &Line| {
                line.latency
                    .as_ref()
                    .map_or(String::new(), |latency| human(pick(latency), Unit::Latency))
            }
        };
        columns.push(("p50", Box::new(at(|latency| latency.p50))));
        columns.push(("p90", Box::new(at(|latency| latency.p90))));
        columns.push(("p99", Box::new(at(|latency| latency.p99))));
        columns.push(("p99.9", Box::new(at(|latency| latency.p999))));
        columns.push(("most", Box::new(at(|latency| latency.max))));
    }
    if table.lines.iter().any(|line| line.wrote.is_some_and(|wrote| wrote > 0.0)) {
        columns.push((
            "dirtied, each",
            Box::new(|line| cell(line.wrote, |bytes| human(bytes, Unit::Bytes))),
        ));
        columns.push((
            "to the disk, each",
            Box::new(|line| cell(line.device, |bytes| human(bytes, Unit::Bytes))),
        ));
        columns.push((
            "flushes, each",
            Box::new(|line| cell(line.flushes, |flushes| format!("{flushes:.2}"))),
        ));
    }
    if table.lines.iter().any(|line| !line.notes.is_empty()) {
        columns.push(("note", Box::new(|line| line.notes.join("; "))));
    }
    write(table, &columns)
}

fn write(table: &Table, columns: &[Column]) -> String {
    let mut text = format!("\n## {}\n", table.work);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    if !table.lines.is_empty() {
        text.push('\n');
        text += &line(columns.iter().map(|(title, _)| (*title).to_owned()).collect());
        text += &line(columns.iter().map(|_| "---".to_owned()).collect());
        for one in &table.lines {
            text += &line(columns.iter().map(|(_, cell)| cell(one)).collect());
        }
    }
    let mut reasons: Vec<&str> = table.skipped.iter().map(|(_, why)| why.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for why in reasons {
        let peers: Vec<&str> = table
            .skipped
            .iter()
            .filter(|(_, other)| other == why)
            .map(|(peer, _)| peer.as_str())
            .collect();
        let _ = write!(text, "\nskipped: {}: {why}\n", peers.join(", "));
    }
    text
}

fn title(unit: Unit) -> &'static str {
    match unit {
        Unit::Rate => "operations",
        Unit::Time => "time",
        Unit::Bytes => "bytes",
        Unit::Latency => "median",
    }
}

fn cell(figure: Option<f64>, text: impl Fn(f64) -> String) -> String {
    figure.map_or_else(String::new, text)
}
