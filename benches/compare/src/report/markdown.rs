//! A table in Markdown.

use std::fmt::Write;

use super::{Line, OWN, Table, human};
use crate::peer::is_floor;
use crate::row::Unit;

/// A column: its title, and its cell for a line.
type Column<'a> = (&'a str, Box<dyn Fn(&Line) -> String + 'a>);

pub fn table(table: &Table) -> String {
    let unit = table.unit;
    let mut columns: Vec<Column> = vec![
        ("store", Box::new(|line| name(&line.peer))),
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
    // What is cached has none; a few more are somebody else's.
    if table.lines.iter().any(|line| line.reads.is_some_and(|reads| reads > 0.05)) {
        columns.push((
            "disk reads, each",
            Box::new(|line| cell(line.reads, |reads| format!("{reads:.2}"))),
        ));
        columns.push((
            "read, each",
            Box::new(|line| cell(line.read, |bytes| human(bytes, Unit::Bytes))),
        ));
    }
    if table.lines.iter().any(|line| !line.notes.is_empty()) {
        columns.push(("note", Box::new(|line| line.notes.join("; "))));
    }
    write(table, &columns)
}

/// A line for each work and a column for each store, mapstone first and floors last; the best store of a line in bold.
pub fn figures(tables: &[Table]) -> String {
    matrix(tables, "All figures", true, |line, _| Some(line.median))
}

/// As `figures`, in microseconds of processor time.
pub fn processor(tables: &[Table]) -> String {
    matrix(tables, "Processor time for one operation", false, |line, unit| {
        line.cpu.filter(|_| matches!(unit, Unit::Rate | Unit::Latency)).map(|cpu| cpu * 1e6)
    })
}

/// With `native`, figures are in the unit of their table, and more of a rate is better; without, they are times.
fn matrix(
    tables: &[Table],
    title: &str,
    native: bool,
    figure: impl Fn(&Line, Unit) -> Option<f64>,
) -> String {
    let mut peers: Vec<&str> = vec![OWN];
    for line in tables.iter().flat_map(|table| &table.lines) {
        if !peers.contains(&line.peer.as_str()) {
            peers.push(&line.peer);
        }
    }
    peers.sort_by_key(|peer| is_floor(peer));
    let stores = peers.iter().filter(|peer| !is_floor(peer)).count();
    let names: Vec<String> = peers.iter().map(|peer| header(peer)).collect();
    let mut text = format!("\n## {title}\n\n| work | {} |\n", names.join(" | "));
    text += &format!("| --- |{}\n", " --- |".repeat(peers.len()));
    for table in tables {
        let figures: Vec<Option<f64>> = peers
            .iter()
            .map(|peer| figure(table.lines.iter().find(|line| line.peer == *peer)?, table.unit))
            .collect();
        let measured = figures[..stores].iter().flatten().copied();
        let most = native && table.unit == Unit::Rate;
        let best = if most { measured.reduce(f64::max) } else { measured.reduce(f64::min) };
        let unit = if native { table.unit } else { Unit::Latency };
        let cell = |(place, figure): (usize, Option<f64>)| match figure {
            Some(figure) if place < stores && Some(figure) == best => {
                format!("**{}**", human(figure, unit))
            }
            Some(figure) => human(figure, unit),
            None => String::new(),
        };
        if figures.iter().any(Option::is_some) {
            let cells: Vec<String> = figures.into_iter().enumerate().map(cell).collect();
            text += &format!("| {} | {} |\n", table.work, cells.join(" | "));
        }
    }
    text
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

/// mapstone in bold, floors in italics.
fn name(peer: &str) -> String {
    if peer == OWN { format!("**{peer}**") } else { header(peer) }
}

fn header(peer: &str) -> String {
    if is_floor(peer) { format!("*{peer}*") } else { peer.to_owned() }
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
