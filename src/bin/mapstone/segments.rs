//! The segments of the log in a table, with a bar for what of each is live.

use crate::units;
use anyhow::Result;
use mapstone::SegmentStats;
use serde::Serialize;
use std::{fs, io::Write, time::SystemTime};

/// Rows of the short form: more segments than these are put together.
const ROWS: usize = 24;
const BAR: u64 = 24;

/// One segment, or several that follow each other.
#[derive(Clone, Serialize)]
pub(crate) struct Row {
    number: u64,
    #[serde(skip)]
    last: u64,
    file_bytes: u64,
    record_bytes: Option<u64>,
    live_bytes: Option<u64>,
    /// Seconds since the file was written to; of several the oldest.
    age_seconds: Option<u64>,
}

impl Row {
    pub(crate) fn new(segment: &SegmentStats) -> Row {
        let modified = fs::metadata(&segment.file).and_then(|file| file.modified()).ok();
        let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        Row {
            number: segment.number,
            last: segment.number,
            file_bytes: segment.file_bytes,
            record_bytes: segment.record_bytes,
            live_bytes: segment.live_bytes,
            age_seconds: age.map(|age| age.as_secs()),
        }
    }

    fn with(self, next: &Row) -> Row {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Row {
            number: self.number,
            last: next.last,
            file_bytes: self.file_bytes + next.file_bytes,
            record_bytes: sum(self.record_bytes, next.record_bytes),
            live_bytes: sum(self.live_bytes, next.live_bytes),
            age_seconds: self.age_seconds.max(next.age_seconds),
        }
    }

    fn name(&self) -> String {
        if self.number == self.last {
            self.number.to_string()
        } else {
            format!("{}-{}", self.number, self.last)
        }
    }
}

/// So many rows at most, of about as many segments each.
fn shorten(rows: &[Row], most: usize) -> Vec<Row> {
    let together = rows.len().div_ceil(most).max(1);
    let merged = rows.chunks(together).filter_map(|rows| {
        let (first, rest) = rows.split_first()?;
        Some(rest.iter().fold(first.clone(), Row::with))
    });
    merged.collect()
}

/// The table; all rows, or a few for many.
pub(crate) fn table(rows: &[Row], all: bool, out: &mut impl Write) -> Result<()> {
    let rows = shorten(rows, if all { rows.len().max(1) } else { ROWS });
    let width = rows.iter().map(|row| row.name().len()).max().unwrap_or(0).max("segment".len());
    writeln!(out, "\n{:>width$}  {:>10}  {:>5}  {:>5}", "segment", "bytes", "live", "age")?;
    for row in rows {
        let live = row.live_bytes.zip(row.record_bytes.filter(|bytes| *bytes > 0));
        let share = live.map_or("?".into(), |(live, bytes)| {
            format!("{:.0} %", 100.0 * units::ratio(live, bytes))
        });
        let age = row.age_seconds.map_or("?".into(), units::age);
        let bar = live.map_or(String::new(), |(live, bytes)| bar(live, bytes, row.file_bytes));
        let line = format!(
            "{:>width$}  {:>10}  {share:>5}  {age:>5}  {bar}",
            row.name(),
            units::size(row.file_bytes)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Of the file: what is live, what is dead, and what was never used.
fn bar(live: u64, records: u64, file: u64) -> String {
    let part = |bytes: u64| {
        let scaled = u128::from(bytes.min(file)) * u128::from(BAR);
        usize::try_from(scaled.div_ceil(u128::from(file.max(1)))).expect("no longer than a bar")
    };
    let (live, records) = (part(live), part(records));
    "█".repeat(live) + &"░".repeat(records.saturating_sub(live))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64, live_bytes: Option<u64>) -> Row {
        let (record_bytes, age_seconds) = (Some(50), Some(number));
        Row { number, last: number, file_bytes: 100, record_bytes, live_bytes, age_seconds }
    }

    #[test]
    fn many_segments_are_put_together() {
        let rows: Vec<Row> = (0..50).map(|number| row(number, Some(25))).collect();
        let short = shorten(&rows, 24);
        assert_eq!(short.len(), 17);
        assert_eq!(
            (short[0].name(), short[0].live_bytes, short[0].age_seconds),
            ("0-2".into(), Some(75), Some(2))
        );
        assert_eq!(shorten(&rows, 50).len(), 50);
        assert_eq!(row(0, None).with(&row(1, Some(1))).live_bytes, None);
    }

    #[test]
    fn a_bar_shows_what_is_live_dead_and_empty() {
        assert_eq!(bar(25, 50, 100), "█".repeat(6) + &"░".repeat(6));
        assert_eq!(bar(0, 0, 0), "");
        assert_eq!(bar(1, 100, 100).chars().count(), 24);
    }

    #[test]
    fn what_is_unknown_is_a_question_mark() {
        let mut out = Vec::new();
        table(&[row(3, None)], false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().last().unwrap(), "      3       100 B      ?     3s");
    }
}
