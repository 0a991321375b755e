//! A history that is not linearizable, made short enough to be read.

use std::fmt::Write;

use crate::call::{Call, KEEP, Kind, Op, TORN};
use crate::checker::{Stuck, check};

/// How many calls are shown at most.
const SHOWN: usize = 24;

/// The calls that matter, and why no order of them can be.
pub(crate) fn witness(ops: &[Op], stuck: &Stuck) -> String {
    let failed = ops[stuck.op];
    let end = failed.returned.expect("only a return cannot be explained");
    // What came later is not needed, and a call that only reads asks for something: without it less is asked for.
    let ops: Vec<Op> = ops.iter().copied().filter(|op| op.invoked <= end).collect();
    let ops = without_reads(ops);
    let stuck = check(&ops).expect_err("less is asked for, and still too much");
    let failed = ops[stuck.op];
    let from = first_shown(&ops, stuck.op);
    let start = ops[from].invoked;
    let mut text = format!("after {from} calls that can be explained:\n");
    for op in &ops[from..] {
        writeln!(text, "{}", line(op, start)).expect("memory");
    }
    let before: Vec<String> = stuck.before.iter().map(|state| pair(state, 3)).collect();
    write!(text, "nothing explains\n{}\n", line(&failed, start)).expect("memory");
    write!(text, "before which there was {}, or what is under way", before.join(" or "))
        .expect("memory");
    text
}

/// From the call on that wrote what the failed one has seen, if that is not long ago.
fn first_shown(ops: &[Op], failed: usize) -> usize {
    let seen = ops[failed].call.seen;
    let wrote = |op: &Op| (0..2).any(|i| seen[i] != 0 && op.call.new[i] == seen[i]);
    let source = ops.iter().position(wrote).unwrap_or(ops.len());
    source.min(failed.saturating_sub(4)).max(ops.len().saturating_sub(SHOWN))
}

/// Leaves out calls that only read, in ever smaller groups, as long as what is left is not linearizable.
fn without_reads(mut ops: Vec<Op>) -> Vec<Op> {
    let mut group = ops.len();
    while group > 0 {
        let mut at = 0;
        while at < ops.len() {
            let end = (at + group).min(ops.len());
            let kept = ops[at..end].iter().filter(|op| !op.call.only_reads());
            let less: Vec<Op> = ops[..at].iter().chain(kept).chain(&ops[end..]).copied().collect();
            let fewer = less.len() < ops.len();
            if fewer && check(&less).is_err() {
                ops = less;
            } else {
                at = end;
            }
        }
        group /= 2;
    }
    ops
}

fn line(op: &Op, start: u64) -> String {
    let micros = |time: u64| (time as f64 - start as f64) / 1000.0;
    let returned = op.returned.map_or("  killed".into(), |time| format!("{:8.1}", micros(time)));
    format!("{:8.1} to {returned} us, process {:3}: {}", micros(op.invoked), op.who, told(&op.call))
}

fn value(value: u64) -> String {
    match value {
        0 => "-".into(),
        TORN => "what nobody wrote".into(),
        value => format!("{}.{}", value >> 32, value & 0xFFFF_FFFF),
    }
}

fn pair(state: &[u64; 2], mask: u8) -> String {
    let keys = (0..2).filter(|i| mask >> i & 1 == 1);
    keys.map(|i| format!("{}={}", ["a", "b"][i], value(state[i]))).collect::<Vec<_>>().join(" ")
}

fn told(call: &Call) -> String {
    let written = (0..2).filter(|i| call.new[*i] != KEEP).fold(0, |mask, i| mask | 1 << i);
    let (seen, new) = (pair(&call.seen, call.mask), pair(&call.new, written));
    let wrote = match call.wrote {
        None => ", or not",
        Some(true) => "",
        Some(false) => ": no",
    };
    match call.kind {
        Kind::Read => format!("reads {seen}"),
        Kind::Write => format!("writes {new}{wrote}"),
        Kind::Delete => format!("deletes {new}{wrote}"),
        Kind::Swap if call.wrote.is_none() => format!("swaps to {new}{wrote}"),
        Kind::Swap => format!("swaps {seen} to {new}"),
        Kind::Cas => format!("writes {new} if {seen}{wrote}"),
        Kind::Guarded => format!("reads {seen}, and writes {new} if unchanged{wrote}"),
    }
}
