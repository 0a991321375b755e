//! The store against a model of it: whatever happens to the disk, it holds exactly the first n commits for some n, and n covers
//! every commit that was acknowledged as durable.
//!
//! `MAPSTONE_MODEL_ROUNDS` sets how many stories the soak tells, `MAPSTONE_LONG` for how many seconds it tells them,
//! `MAPSTONE_MODEL_FIRST` with which seed it begins, and
//! `MAPSTONE_MODEL_SEED` tells one of them again.
#![cfg(feature = "sim")]

mod backups;
mod between;
mod bookmarks;
mod check;
mod counted;
mod cuts;
mod feeds;
mod lives;
mod named;
mod ops;
mod others;
mod outcome;
mod points;
mod quiet;
mod seeds;
mod several;
mod space;
mod state;
mod tally;
mod themes;
mod told;
mod world;
mod writes;

use ops::{Op, Shape};
use proptest::strategy::{Strategy, Union};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tally::Watch;
use world::World;

/// Tells one story; a failure is what the panic said, not printed for every attempt at a shorter story.
fn live(shape: Shape, ops: &[Op]) -> Result<(), TestCaseError> {
    quiet::run(|| World::new(shape).live(ops)).map_err(TestCaseError::fail)
}

/// Any story, of any theme.
fn story(longest: usize) -> impl Strategy<Value = themes::Story> {
    let weights = std::iter::once(6).chain(std::iter::repeat(2));
    Union::new_weighted(weights.zip(themes::stories(longest)).collect())
}

/// Tells `cases` stories that a seed decides, and if one fails the shortest like it that does.
fn tell(seed: u64, cases: u32, longest: usize) {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 3000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, seeds::random(seed));
    match runner.run(&story(longest), |(shape, ops)| live(shape, &ops)) {
        Ok(()) => {}
        Err(TestError::Fail(why, (shape, ops))) => {
            let ops: String = ops.iter().map(|op| format!("    {op:?},\n")).collect();
            panic!("seed {seed}: {why}\n{shape:?}\n[\n{ops}]");
        }
        Err(other) => panic!("seed {seed}: {other}"),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn short_stories_end_well() {
    tell(number("MAPSTONE_MODEL_SEED").unwrap_or_else(rand_seed), 100, 30);
}

/// Story after story; together they must come to every rare thing that can happen to a store.
#[test]
fn soak() {
    if let Some(seed) = number("MAPSTONE_MODEL_SEED") {
        return tell(seed, 1, 120);
    }
    let rounds = number("MAPSTONE_MODEL_ROUNDS").unwrap_or(150);
    let long = number("MAPSTONE_LONG");
    let watch = Watch::start();
    let more = |seed| long.map_or(seed < rounds, |long| watch.seconds() < long as f64);
    let first = number("MAPSTONE_MODEL_FIRST").unwrap_or(0);
    for seed in (first..).take_while(|seed| more(*seed - first)) {
        tell(seed, 1, 120);
    }
    let passed = watch.report("soak");
    for (what, count) in passed.all().filter(|_| rounds >= 150) {
        assert!(count > 0, "the soak came to no {what}");
    }
}

/// What the simulator can do: many outcomes of power cuts of short stories.
#[test]
fn cuts_of_one_moment() {
    cuts::cut_for(number("MAPSTONE_LONG").map_or(2.0, |long| long as f64));
}

/// Another seed for every run.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
