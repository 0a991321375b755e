//! What all processes have logged, by object.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::call::{Event, Kind, Line, Op};

/// The calls on each object.
pub(crate) type Histories = BTreeMap<u32, Vec<Op>>;

/// Reads the logs in a folder: `12.log` is of process 12.
pub(crate) fn read(logs: &Path) -> Histories {
    let mut histories = Histories::new();
    for entry in fs::read_dir(logs).expect("a folder of logs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let who = stem.and_then(|stem| stem.parse().ok()).expect("a number");
            let bytes = fs::read(&path).expect("a log");
            add(who, &bytes, &mut histories);
        }
    }
    for ops in histories.values_mut() {
        ops.sort_unstable_by_key(|op| op.invoked);
    }
    histories
}

/// Adds the calls of one process, which come one after the other; the last may never have returned.
fn add(who: u32, bytes: &[u8], histories: &mut Histories) {
    let mut open: Option<Line> = None;
    let mut call = None;
    for bytes in bytes.chunks_exact(size_of::<Line>()) {
        let line: Line = bytemuck::pod_read_unaligned(bytes);
        call = Some(line.call());
        match line.event() {
            Event::Invoked => {
                open = Some(line);
                // What only reads changes nothing, and an optimistic transaction does not before it has read.
                call = call.filter(|call| !matches!(call.kind, Kind::Read | Kind::Guarded));
            }
            Event::Read => {}
            Event::Returned => {
                let begun = open.take().expect("what returns was invoked");
                let op =
                    Op { who, call: line.call(), invoked: begun.time, returned: Some(line.time) };
                histories.entry(line.object).or_default().push(op);
            }
        }
    }
    if let (Some(begun), Some(call)) = (open, call) {
        let op = Op { who, call, invoked: begun.time, returned: None };
        histories.entry(begun.object).or_default().push(op);
    }
}
