//! What operations cost, in figures that do not depend on how busy a machine is: instructions, cache lines, system calls, and what a
//! durable commit has a disk do. None may pass its bound (`bounds`). `cargo test --release --test cost -- --nocapture` prints all.

mod bounds;
mod device;
mod operations;
mod part;
mod strace;
mod valgrind;

use std::fs;
use std::path::Path;

use bounds::{CALLS, DEVICE, PROCESSOR, TABLES, Table, shown};
use part::Part;

#[test]
fn play_a_part() {
    match Part::mine() {
        Some((Part::Operations, place)) => operations::child(&place),
        Some((Part::Device, place)) => device::child(&place),
        None => {}
    }
}

#[test]
fn instructions_and_cache_lines() {
    if let Some(figures) = valgrind::figures() {
        PROCESSOR.hold(&figures);
    }
}

#[test]
fn system_calls() {
    if let Some(figures) = strace::figures() {
        CALLS.hold(&figures);
    }
}

#[test]
fn writes_and_flushes_of_a_durable_commit() {
    if let Some(figures) = device::figures() {
        DEVICE.hold(&figures);
    }
}

#[test]
fn the_document_has_the_bounds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let text = fs::read_to_string(path).expect("the document");
    TABLES.into_iter().for_each(|table| compare(table, &text));
}

/// The rows of the document are those of the code, with the same bounds, and with figures, or ranges of them, that keep the bounds.
fn compare(table: &Table, text: &str) {
    let head = table.head();
    let lines = text.lines().skip_while(|line| *line != head).skip(2);
    let lines: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), table.rows.len(), "rows below {head}");
    for (line, (name, bounds)) in lines.into_iter().zip(table.rows) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[0], *name, "{head}");
        assert_eq!(cells.len(), 1 + 2 * bounds.len(), "{line}");
        for (pair, bound) in cells[1..].chunks(2).zip(*bounds) {
            assert_eq!(pair[1], shown(*bound), "{line}");
            let mut ends = pair[0].split(" to ").map(|end| {
                end.parse::<f64>().unwrap_or_else(|_| panic!("{line}: no figure: {end:?}"))
            });
            assert!(
                ends.all(|figure| figure <= *bound),
                "{line}: {} is not at most {bound}",
                pair[0]
            );
        }
    }
}
