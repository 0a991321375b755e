//! Damaged bytes, all of them: every single bit of every file of a small store, whole sectors and pages, files cut short. What is
//! read is found by a verification that names it, or the store is as good as before.
//!
//! The short form flips a choice of bits that is spread over all files. `MAPSTONE_LONG` (in seconds) flips them all, as far as the
//! time goes, those that are read first.
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
use store::{Files, Left, Sample, sample};

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

/// How many bits the short form flips of those that are read or hints, and of those that nothing reads.
const SHORT: [usize; 2] = [700, 50];

/// The bits to flip: name of the file, and number of the bit. In an order that goes over all files again and again, those that
/// matter first, so that any beginning is a fair choice.
fn bits(sample: &Sample, ranges: &Ranges) -> Vec<(String, usize)> {
    let mut bits = [Vec::new(), Vec::new()];
    for (name, bytes) in &sample.files {
        for bit in 0..8 * bytes.len() {
            let unread = ranges.kind(name, bit) == Kind::Unread;
            bits[usize::from(unread)].push((name.clone(), bit));
        }
    }
    // The small files hold the words that each count; the steps of a golden ratio spread the rest.
    let mut chosen = Vec::new();
    for (bits, short) in bits.into_iter().zip(SHORT) {
        let count = bits.len() as u64;
        let mut order: Vec<(u64, (String, usize))> =
            (0..count).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).zip(bits).collect();
        order.sort_by_key(|(rank, (name, _))| if name == "meta" { rank / 8 } else { *rank });
        let take = if long().is_some() { order.len() } else { short };
        chosen.extend(order.into_iter().take(take).map(|(_, bit)| bit));
    }
    chosen
}

/// Unread bits that the long form flips at the same time.
const TOGETHER: usize = 256;

/// Flips bits that nothing reads, many at once and from all over the files: together they do no harm. Where they do, each is
/// judged alone.
fn flip_unread(sample: &Sample, bits: &[(String, usize)]) -> Result<(), String> {
    let mut files = sample.files.clone();
    for (name, bit) in bits {
        files.get_mut(name).expect("a file")[bit / 8] ^= 1 << (bit % 8);
    }
    let nowhere = Place { file: "nowhere".into(), first: 0, last: 0 };
    let together = read(sample, &files, &nowhere)
        .and_then(|seen| Ok((seen, write(sample, &files, &nowhere)?)));
    if let Ok((Verdict::Harmless, Verdict::Harmless)) = together {
        return Ok(());
    }
    match bits {
        [(name, bit)] => {
            let left = sample.left;
            Err(format!("{left:?} {name} byte {} bit {} (Unread): {together:?}", bit / 8, bit % 8))
        }
        _ => {
            let (some, others) = bits.split_at(bits.len() / 2);
            let (some, others) = (flip_unread(sample, some), flip_unread(sample, others));
            some.and(others)?;
            Err(format!("harm only together: {bits:?}"))
        }
    }
}

fn flip_all(left: Left) {
    let sample = sample(left);
    let ranges = Ranges::of(&sample);
    let (unread, bits): (Vec<_>, Vec<_>) = bits(&sample, &ranges)
        .into_iter()
        .partition(|(name, bit)| ranges.kind(name, *bit) == Kind::Unread);
    let together = if long().is_some() { TOGETHER } else { 1 };
    let start = Instant::now();
    let groups: Vec<_> = unread.chunks(together).collect();
    let mut wrong = judge_all(&groups, |bits| flip_unread(&sample, bits));
    eprintln!(
        "{left:?}: {} unread bits, {together} at a time, in {:.0?}",
        unread.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let (found, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
    wrong.extend(judge_all(&bits, |(name, bit)| {
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
        let reported = [seen, written].contains(&Verdict::Reported);
        let count = if reported { &found } else { &harmless };
        count.fetch_add(1, Ordering::Relaxed);
        match (kind, seen) {
            (Kind::Read, Verdict::Harmless) => {
                Err(fail(format!("not found; {written:?} for writing")))
            }
            _ => Ok(()),
        }
    }));
    eprintln!(
        "{left:?}: {} bits that are read or hints in {:.0?}, found {found:?}, harmless {harmless:?}",
        bits.len(),
        start.elapsed()
    );
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

/// Damage of many bytes at once.
fn larger(sample: &Sample) -> Vec<(Place, Files)> {
    let other = store::sample(if sample.left == Left::Clean { Left::Killed } else { Left::Clean });
    let mut all = Vec::new();
    for (name, bytes) in &sample.files {
        let mut add = |changed: Vec<u8>| {
            let differs = |at: &usize| bytes.get(*at) != changed.get(*at);
            let mut places = (0..bytes.len().max(changed.len())).filter(differs);
            let Some(first) = places.next() else { return };
            let last = places.next_back().unwrap_or(first);
            let mut files = sample.files.clone();
            files.insert(name.clone(), changed);
            all.push((Place { file: name.clone(), first: first as u64, last: last as u64 }, files));
        };
        for size in [512, 4096] {
            for at in (0..bytes.len()).step_by(size) {
                let mut zeroed = bytes.clone();
                zeroed[at..(at + size).min(bytes.len())].fill(0);
                add(zeroed);
            }
        }
        for at in (4096..bytes.len().saturating_sub(4095)).step_by(4096) {
            let mut swapped = bytes.clone();
            let (before, after) = swapped.split_at_mut(at);
            before[at - 4096..].swap_with_slice(&mut after[..4096]);
            add(swapped);
        }
        for at in (0..bytes.len().saturating_sub(4095)).step_by(4096) {
            let page = other.files.get(name).and_then(|bytes| bytes.get(at..at + 4096));
            let mut foreign = bytes.clone();
            page.inspect(|page| foreign[at..at + 4096].copy_from_slice(page));
            add(foreign);
        }
        for len in (0..bytes.len()).step_by(if long().is_some() { 16 } else { 1024 }) {
            add(bytes[..len].to_vec());
        }
        add([&bytes[..], &[0xFF; 5000]].concat());
    }
    all
}

/// Sectors and pages of zeros, pages that changed places, pages that are another store's, files cut short or too long.
#[test]
fn larger_damage() {
    for left in [Left::Clean, Left::Killed, Left::Lost] {
        let sample = sample(left);
        let damage = larger(&sample);
        let wrong = judge_all(&damage, |(place, files)| {
            let fail = |why: String| format!("{left:?} {place:?}: {why}");
            read(&sample, files, place).map_err(fail)?;
            write(&sample, files, place).map_err(fail).map(drop)
        });
        report(&wrong);
    }
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
