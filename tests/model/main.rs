//! The store against a model of it: whatever happens to the disk, it holds exactly the first n commits for some n, and n covers
//! every commit that was acknowledged as durable.
//!
//! `MAPSTONE_MODEL_ROUNDS` sets how many stories the soak tells, `MAPSTONE_MODEL_SEED` tells one of them again.
#![cfg(feature = "sim")]

mod check;
mod named;
mod ops;
mod state;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use world::World;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_store_is_what_its_commits_made_it((shape, ops) in ops::story(60)) {
        World::new(shape).live(&ops);
    }
}

/// Tells the story of one seed, and if it fails the shortest like it that does.
fn tell(seed: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config(1), random);
    runner
        .run(&ops::story(120), |(shape, ops)| {
            World::new(shape).live(&ops);
            Ok(())
        })
        .map_err(|failure| failure.to_string())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn soak() {
    let seeds = match number("MAPSTONE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MAPSTONE_MODEL_ROUNDS").unwrap_or(150),
    };
    for seed in seeds {
        if let Err(failure) = tell(seed) {
            panic!("MAPSTONE_MODEL_SEED={seed} tells it again:\n{failure}");
        }
    }
}
