//! The model checker sees what it should: without one of the orderings, fences or checks of docs/design.md it finds a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::loom::{
    compact_and_read, explore, publish_and_count, publish_and_read, recycle_and_read,
    recycle_and_read_slowly, split_and_iterate, split_and_read, wait_and_publish,
};
use crate::faults::{Bug, plant};
use crate::sys::model::{ModelDisk, Weak, Weakened, weaken_fences};

type Scenario = fn(&ModelDisk);

/// Explores scenarios until one fails; which, if any.
fn caught(name: &str, weakened: Weakened, scenarios: &[Scenario]) -> Option<usize> {
    scenarios.iter().position(|scenario| {
        let scenario = *scenario;
        let model = move || scenario(&ModelDisk::new(64, 1, weakened));
        catch_unwind(AssertUnwindSafe(|| explore(name, 1, model))).is_err()
    })
}

fn must_catch(name: &str, weakened: Weakened, scenarios: &[Scenario]) {
    assert!(caught(name, weakened, scenarios).is_some(), "{name} went unseen");
}

const PUBLISH: Scenario = publish_and_read;
const COUNT: Scenario = publish_and_count;
const SPLIT: Scenario = split_and_read;
const ITERATE: Scenario = split_and_iterate;
const WAIT: Scenario = wait_and_publish;
const RECYCLE: Scenario = recycle_and_read;
const RECYCLE_SLOWLY: Scenario = recycle_and_read_slowly;
const COMPACT: Scenario = compact_and_read;

/// A pin is a fence for loom, and none for the processor: what follows may not lean on it.
fn without_light_fences(f: impl FnOnce()) {
    weaken_fences(Some(Ordering::SeqCst));
    f();
    weaken_fences(None);
}

macro_rules! weak {
    ($($test:ident: $file:literal $words:expr, $weak:ident, $scenarios:expr;)*) => {
        $(#[test]
        fn $test() {
            let weakened: Weakened = |file, word| {
                (file == $file && $words(word)).then_some(Weak::$weak)
            };
            without_light_fences(|| must_catch(stringify!($test), weakened, &$scenarios));
        })*
    };
}

fn committed(word: usize) -> bool {
    word == 0
}

fn directory_cell(word: usize) -> bool {
    word == 1
}

fn counters(word: usize) -> bool {
    word >= 24
}

/// The directories of the model are this small; in other pages these are the header.
fn entry(word: usize) -> bool {
    word < 8
}

fn cur(word: usize) -> bool {
    word >= 8 && word.is_multiple_of(2)
}

weak! {
    loom_sees_a_relaxed_load_of_committed: "meta" committed, Load, [PUBLISH];
    loom_sees_relaxed_loads_of_counters: "meta" counters, Load, [COUNT];
    loom_sees_a_relaxed_store_of_the_directory_cell: "meta" directory_cell, Store, [SPLIT, ITERATE];
    loom_sees_a_relaxed_store_of_an_entry: "index" entry, Store, [SPLIT, ITERATE];
    loom_sees_a_relaxed_load_of_an_entry: "index" entry, Load, [SPLIT, ITERATE];
    loom_sees_a_relaxed_store_of_a_slot: "index" cur, Store, [PUBLISH];
    loom_sees_a_relaxed_load_of_a_slot: "index" cur, Load, [PUBLISH];
}

fn strong(_: &str, _: usize) -> Option<Weak> {
    None
}

/// A commit's records and slots are ordered before `committed` twice: by its own store, and by the fence that protects the counters.
#[test]
fn loom_sees_a_relaxed_store_of_committed() {
    let weakened: Weakened =
        |file, word| (file == "meta" && committed(word)).then_some(Weak::Store);
    weaken_fences(Some(Ordering::Release));
    assert_eq!(caught("committed without the fence", strong, &[PUBLISH]), None);
    must_catch("a relaxed store of committed without the fence", weakened, &[PUBLISH]);
    weaken_fences(None);
}

#[test]
fn loom_finds_nothing_where_a_pin_is_no_fence() {
    without_light_fences(|| {
        let scenarios = [PUBLISH, COUNT, SPLIT, ITERATE, RECYCLE];
        assert_eq!(caught("a pin is no fence", strong, &scenarios), None);
    });
}

#[test]
fn loom_sees_that_a_fence_is_missing() {
    weaken_fences(Some(Ordering::Release));
    must_catch("no fence before the counters", strong, &[COUNT]);
    weaken_fences(Some(Ordering::Acquire));
    must_catch("no fence before the second loads", strong, &[SPLIT, ITERATE, RECYCLE_SLOWLY]);
    weaken_fences(Some(Ordering::SeqCst));
    must_catch("no fence between a waiter and its bell", strong, &[WAIT]);
    weaken_fences(None);
}

#[test]
fn loom_sees_that_a_check_is_missing() {
    plant(Some(Bug::IgnoreMovedDirectory));
    must_catch("the directory cell is not checked", strong, &[SPLIT, ITERATE]);
    plant(Some(Bug::IgnoreMovedPage));
    must_catch("the entry is not checked", strong, &[SPLIT, ITERATE, RECYCLE]);
    plant(Some(Bug::SkipHorizon));
    must_catch("the horizon is not told", strong, &[COMPACT]);
    plant(Some(Bug::IgnoreMarks));
    must_catch("marks are not looked at", strong, &[COMPACT]);
}
