//! Damaged bytes, all of them: every single bit of every file of a small store, whole sectors and pages, files cut short. What is
//! read is found by a verification that names it, or the store is as good as before.
//!
//! The short form flips every bit of what is small and important, and one bit of each byte elsewhere. `MAPSTONE_LONG` (in
//! seconds) flips them all, as far as the time goes.
#![cfg(feature = "sim")]

mod judge;
mod ranges;
mod store;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use judge::{Place, Verdict, read, write};
use ranges::{Kind, Ranges};
use store::{Left, Sample, sample};

/// How long the long form may take.
fn long() -> Option<Duration> {
    let seconds = std::env::var("MAPSTONE_LONG").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

/// Runs `judge` for every item, on all processors; returns what is wrong.
fn judge_all<T: Sync>(items: &[T], judge: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let end = long().map(|time| Instant::now() + time);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let judged = catch_unwind(AssertUnwindSafe(|| judge(item)));
            wrong.extend(judged.unwrap_or_else(|_| Err("a panic".into())).err());
            if end.is_some_and(|end| Instant::now() > end) {
                break;
            }
        }
        wrong
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let done = next.load(Ordering::Relaxed).min(items.len());
    eprintln!("{done} of {} judged", items.len());
    wrong
}

/// The bits to flip: name of the file, and number of the bit.
fn bits(sample: &Sample, ranges: &Ranges) -> Vec<(String, usize)> {
    let all = long().is_some();
    let mut bits = Vec::new();
    for (name, bytes) in &sample.files {
        for bit in 0..8 * bytes.len() {
            let (byte, one) = (bit / 8, bit % 8 == (bit / 8 * 5 + 3) % 8);
            let chosen = match ranges.kind(name, bit) {
                // Cells, headers and directories whole; of slots and records a bit of each byte.
                Kind::Read | Kind::Hint if name == "meta" || byte % 4096 < 64 => true,
                Kind::Read | Kind::Hint => one && (name == "index" || byte % 7 == 0),
                Kind::Unread => one && byte % 97 == 0,
            };
            if chosen || all {
                bits.push((name.clone(), bit));
            }
        }
    }
    bits
}

fn flip_all(left: Left) {
    let sample = sample(left);
    let ranges = Ranges::of(&sample);
    let bits = bits(&sample, &ranges);
    let wrong = judge_all(&bits, |(name, bit)| {
        let mut files = sample.files.clone();
        files.get_mut(name).expect("a file")[bit / 8] ^= 1 << (bit % 8);
        let at = (bit / 8) as u64;
        let place = Place { file: name.clone(), first: at, last: at };
        let kind = ranges.kind(name, *bit);
        let fail =
            |why: String| format!("{left:?} {name} byte {at} bit {} ({kind:?}): {why}", bit % 8);
        let (seen, written) = (
            read(&sample, &files, &place).map_err(fail)?,
            write(&sample, &files, &place).map_err(fail)?,
        );
        match (kind, seen) {
            (Kind::Read, Verdict::Harmless) => {
                Err(fail(format!("not found; {written:?} for writing")))
            }
            (Kind::Unread, Verdict::Reported) => {
                Err(fail("reported, though nothing reads it".into()))
            }
            _ => Ok(()),
        }
    });
    report(&wrong);
}

/// Fails with the first wrong ones, and how many there are.
fn report(wrong: &[String]) {
    let mut lines: Vec<&String> = wrong.iter().take(40).collect();
    lines.sort();
    let lines: Vec<&str> = lines.into_iter().map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), lines.join("\n"));
}

#[test]
fn every_bit_of_a_store_that_was_closed() {
    flip_all(Left::Clean);
}

#[test]
fn every_bit_of_a_store_whose_writer_was_killed() {
    flip_all(Left::Killed);
}

#[test]
fn every_bit_of_a_store_that_lost_its_power() {
    flip_all(Left::Lost);
}

/// The samples are what the other tests take them for.
#[test]
fn undamaged_samples_are_sound() {
    for left in [Left::Clean, Left::Killed, Left::Lost] {
        let sample = sample(left);
        let nowhere = Place { file: "nowhere".into(), first: 0, last: 0 };
        assert_eq!(read(&sample, &sample.files, &nowhere), Ok(Verdict::Harmless), "{left:?}");
        assert_eq!(write(&sample, &sample.files, &nowhere), Ok(Verdict::Harmless), "{left:?}");
        let sizes: BTreeMap<&String, usize> =
            sample.files.iter().map(|(name, bytes)| (name, bytes.len())).collect();
        eprintln!("{left:?}: {sizes:?}");
    }
}
