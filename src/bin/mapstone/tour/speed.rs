//! How many gets a second, one by one and in groups: nothing but the gets, on what the tour has loaded.

use super::corpus::Corpus;
use anyhow::Result;
use mapstone::Store;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const TIME: Duration = Duration::from_millis(300);
const GROUP: usize = 32;

/// Keys a second.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Speed {
    pub(crate) one_by_one: f64,
    pub(crate) in_groups: f64,
}

pub(crate) fn measure(store: &Store, corpus: &Corpus) -> Result<Speed> {
    let mut keys: Vec<&[u8]> = corpus.files.iter().map(|file| &file.key[..]).collect();
    // By the end of the path, so that neighbours in the log are not asked for one after the other.
    keys.sort_by(|a, b| a.iter().rev().cmp(b.iter().rev()));
    let one_by_one = rate(keys.len(), || {
        for key in &keys {
            black_box(store.get(key)?.map(|value| value.len()));
        }
        Ok(())
    })?;
    let in_groups = rate(keys.len(), || {
        for group in keys.chunks(GROUP) {
            black_box(store.get_many(group)?.len());
        }
        Ok(())
    })?;
    Ok(Speed { one_by_one, in_groups })
}

/// Repeats `round`, of `keys` keys each, until the time is up.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn rate(keys: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut rounds = 0_u64;
    while start.elapsed() < TIME {
        round()?;
        rounds += 1;
    }
    Ok(rounds as f64 * keys as f64 / start.elapsed().as_secs_f64())
}
