//! Instructions and cache lines, counted by a simulated processor, so that neither the machine nor what else it does matters.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bounds::Figures;
use crate::operations::{MEASURED, ROWS};
use crate::part::{Part, scratch, works};

/// A last cache of 1 MiB holds what an operation needs again at once, and little of the store: a miss is a line that comes from memory.
const CACHES: [&str; 4] =
    ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"];

/// For each operation; None, said visibly, where they cannot be counted.
pub(crate) fn figures() -> Option<Figures> {
    let what = "instructions and cache lines";
    if cfg!(debug_assertions) || !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: {what}, whose bounds are for --release on x86-64");
        return None;
    }
    if !works("valgrind", &["--tool=none", "true"], what) {
        return None;
    }
    let dir = scratch();
    let counts = dir.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").args(CACHES);
    // Counts inside the function alone, and writes a file at its end. Two options with the same pattern are taken for one.
    valgrind.arg(format!("--toggle-collect=*{MEASURED}*"));
    valgrind.arg(format!("--dump-after=*::{MEASURED}*"));
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    Part::Operations.run_under(&mut valgrind, dir.path());
    let row = |(n, (name, times)): (usize, (&str, u64))| {
        let counts = read(&counts.with_extension(n.to_string()));
        (name.to_owned(), counts.map(|count| count as f64 / times as f64).to_vec())
    };
    Some((1..).zip(ROWS).map(row).collect())
}

/// Instructions, and lines of data that the last cache did not hold.
fn read(path: &Path) -> [u64; 2] {
    let text = fs::read_to_string(path).expect("a file for each row");
    let words = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.expect("events and their totals").split_whitespace()
    };
    let of = |event: &str| -> u64 {
        let at = words("events:").position(|name| name == event).expect("an event");
        // Zeros at the end are left out.
        words("totals:").nth(at).map_or(0, |count| count.parse().expect("a number"))
    };
    [of("Ir"), of("DLmr") + of("DLmw")]
}
