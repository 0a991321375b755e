//! The fuzz targets as plain functions of bytes, so that libFuzzer runs them and an ordinary test replays what it has found.
//!
//! Whatever the files of a store hold, there is an error or an answer: no panic, no signal, no endless loop, no memory beyond
//! bounds. And a store that a verification finds whole can be read and written, and stays whole.

mod cells;
mod checkpoints;
mod damage;
mod exercise;
mod files;
mod index;
mod operations;
mod records;
mod sample;

/// A target's name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has a program of its name in `fuzz_targets`.
pub const TARGETS: [Target; 6] = [
    ("cells", cells::run),
    ("checkpoints", checkpoints::run),
    ("files", files::run),
    ("index", index::run),
    ("operations", operations::run),
    ("records", records::run),
];

/// Runs one target on one input.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    target.expect("a target of this name").1(data);
}

/// Makes of an input what a target takes; None when it is too short for that.
fn input<'a, T: arbitrary::Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(arbitrary::Unstructured::new(data)).ok()
}
