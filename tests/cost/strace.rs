//! System calls.

use std::fs;
use std::process::Command;

use crate::bounds::Figures;
use crate::operations::{BEGIN, END, ROWS};
use crate::part::{Part, scratch, works};

const SYNCS: [&str; 3] = ["msync(", "fsync(", "fdatasync("];

/// For 1,000 operations: calls, and those of them that are syncs. None, said visibly, where they cannot be counted.
pub(crate) fn figures() -> Option<Figures> {
    if !works("strace", &["-f", "-o", "/dev/null", "true"], "system calls") {
        return None;
    }
    let dir = scratch();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    Part::Operations.run_under(&mut strace, dir.path());
    let text = fs::read_to_string(&trace).expect("a trace");
    let rows = rows(&text);
    assert_eq!(rows.len(), ROWS.len());
    let each = |((name, times), calls): ((&str, u64), [u64; 2])| {
        let figures = calls.map(|calls| calls as f64 * 1000.0 / times as f64);
        (name.to_owned(), figures.to_vec())
    };
    Some(ROWS.into_iter().zip(rows).map(each).collect())
}

/// What stands between each two marks, of the thread that made them.
fn rows(trace: &str) -> Vec<[u64; 2]> {
    let calls = || trace.lines().filter_map(|line| line.split_once(' '));
    let (thread, _) = calls().find(|(_, call)| call.contains(BEGIN)).expect("a mark");
    let (mut rows, mut inside) = (Vec::new(), false);
    for (_, call) in calls().filter(|(by, _)| *by == thread) {
        let call = call.trim_start();
        if call.contains(BEGIN) {
            rows.push([0, 0]);
            inside = true;
        } else if call.contains(END) {
            inside = false;
        } else if let Some([calls, syncs]) = rows.last_mut().filter(|_| inside)
            // What another thread's call has cut in two in the trace is one call.
            && !call.starts_with("<...")
        {
            *calls += 1;
            *syncs += u64::from(SYNCS.iter().any(|sync| call.starts_with(sync)));
        }
    }
    rows
}
