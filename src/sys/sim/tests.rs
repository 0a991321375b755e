//! The simulated disk's own faults: each test fails when the fault does not happen, or when too much is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::{Access, Disk, File, LockKind, PAGE, Region};
use super::state::EIO;
use super::{Call, Fault, SimDisk};

const SIZE: u64 = PAGE as u64;
const ENOSPC: i32 = 28;
const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
/// Enough that each outcome of a coin is seen.
const ROUNDS: u64 = if cfg!(miri) { 30 } else { 60 };

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.map(|_| ()).expect_err("this must fail").raw_os_error()
}

/// A disk with a durable file of some pages, each full of ones, mapped.
fn with_pages(seed: u64, pages: usize) -> (SimDisk, Arc<dyn File>, Region) {
    let sim = SimDisk::new(seed);
    let disk = sim.disk();
    disk.make_dir("").expect("make the root");
    let file = disk.create("file", (pages * PAGE) as u64).expect("create");
    let region = file.map(0, pages * PAGE, Access::Write).expect("map");
    region.fill(0, pages * PAGE, |bytes| bytes.fill(1));
    file.sync().expect("sync");
    disk.sync_dir("").expect("sync the root");
    (sim, file, region)
}

fn content(sim: &SimDisk, name: &str) -> Vec<u8> {
    let file = sim.disk().open(name, Access::Read).expect("open");
    let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    file.read_at(&mut bytes, 0).expect("read");
    bytes
}

fn fail(sim: &SimDisk, call: Call, after: u64, times: u64) {
    sim.fail(Fault { call, after, errno: EIO, times });
}

#[test]
fn a_power_cut_keeps_what_was_synced() {
    for seed in 0..ROUNDS {
        let (sim, file, region) = with_pages(seed, 3);
        file.grow(4 * SIZE).expect("growth");
        file.sync().expect("sync the length");
        region.fill(PAGE, PAGE, |bytes| bytes.fill(2));
        region.sync(PAGE + 9, 1).expect("sync a byte's page");
        let after = content(&sim.power_cut(), "file");
        assert_eq!(after, [[1; PAGE], [2; PAGE], [1; PAGE], [0; PAGE]].concat());
    }
}

#[test]
fn a_power_cut_writes_dirty_pages_not_wholly_or_torn() {
    let (mut old, mut new, mut torn) = (0, 0, 0);
    for seed in 0..ROUNDS {
        let (sim, _file, region) = with_pages(seed, 1);
        region.fill(0, PAGE, |bytes| bytes.fill(2));
        let after = content(&sim.power_cut(), "file");
        assert!(
            after.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]),
            "sectors are atoms"
        );
        match after.iter().filter(|byte| **byte == 2).count() {
            0 => old += 1,
            PAGE => new += 1,
            _ => torn += 1,
        }
    }
    assert!(old > 0 && new > 0 && torn > 0, "{old} {new} {torn}");
}

#[test]
fn outcomes_follow_from_the_seed_and_differ_when_asked_again() {
    let cuts = |seed| {
        let (sim, _file, region) = with_pages(seed, 4);
        region.fill(0, 4 * PAGE, |bytes| bytes.fill(2));
        [0; 4].map(|_| content(&sim.power_cut(), "file"))
    };
    assert_eq!(cuts(7), cuts(7));
    assert!(cuts(7).into_iter().collect::<BTreeSet<_>>().len() > 1);
}

#[test]
fn an_unsynced_length_may_be_lost_and_takes_its_bytes_along() {
    let mut lengths = BTreeSet::new();
    for seed in 0..ROUNDS {
        let (sim, file, _region) = with_pages(seed, 1);
        file.grow(2 * SIZE).expect("growth");
        file.write_at(&[3; 10], 2 * SIZE).expect("a write that extends the file");
        lengths.insert(content(&sim.power_cut(), "file").len());
        let (sim, file, _region) = with_pages(seed, 1);
        file.grow(2 * SIZE).expect("growth");
        let map = file.map(SIZE, PAGE, Access::Write).expect("map");
        map.write(0, &[2; PAGE]);
        map.sync(0, PAGE).expect("sync the bytes, and the length that they need");
        assert_eq!(content(&sim.power_cut(), "file")[PAGE..], [2; PAGE]);
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [PAGE, 2 * PAGE, 2 * PAGE + 10]);
}

#[test]
fn names_survive_in_order_or_apart_and_only_surely_when_synced() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..ROUNDS {
        let (sim, _file, _region) = with_pages(seed, 1);
        let disk = sim.disk();
        disk.make_dir("log").expect("make a directory");
        disk.create("log/synced", 0).expect("create");
        disk.create("new", 0).expect("create");
        disk.sync_dir("log").expect("sync");
        disk.rename("new", "newer").expect("rename");
        disk.remove("file").expect("remove");
        let after = sim.power_cut().disk();
        assert_eq!(after.list("log").expect("list"), ["synced"]);
        outcomes.insert(after.list("").expect("list").join(" "));
    }
    let in_order = ["file log", "file log new", "file log newer", "log newer"];
    let apart = ["log", "log new"];
    let expected: BTreeSet<_> = in_order.into_iter().chain(apart).map(String::from).collect();
    assert_eq!(outcomes, expected);
}

#[test]
fn a_killed_process_leaves_bytes_and_life_but_no_lock() {
    let (sim, file, region) = with_pages(1, 1);
    region.write(0, b"unsynced");
    assert!(file.try_lock(LockKind::Exclusive).expect("lock"));
    let next = sim.process_kill();
    region.write(0, b"too late");
    assert_eq!(&content(&next, "file")[..8], b"unsynced");
    let again = next.disk().open("file", Access::Write).expect("open");
    assert!(again.try_lock(LockKind::Exclusive).expect("lock"));
    assert_eq!(next.disk().life(&*again).expect("life"), sim.shared.lock().life);
    assert_ne!(next.power_cut().shared.lock().life, sim.shared.lock().life);
    assert_eq!(
        (errno(file.len()), errno(region.sync(0, 1))),
        (Some(EIO), Some(EIO)),
        "the old handles are dead"
    );
    assert_eq!(region.bytes(0, 8), Some(&b"too late"[..]), "its memory is not");
}

#[test]
fn the_unsynced_of_a_killed_process_can_still_be_lost_or_synced() {
    let mut lost = 0;
    for seed in 0..ROUNDS {
        let (sim, _file, region) = with_pages(seed, 1);
        region.fill(0, PAGE, |bytes| bytes.fill(2));
        let next = sim.process_kill();
        lost += usize::from(content(&next.power_cut(), "file") != [2; PAGE]);
        let next = sim.process_kill();
        next.disk().open("file", Access::Write).expect("open").sync().expect("sync");
        assert_eq!(content(&next.power_cut(), "file"), [2; PAGE]);
    }
    assert!(lost > 0);
}

#[test]
fn background_write_back_makes_pages_durable() {
    let (sim, _file, region) = with_pages(1, 8);
    region.fill(0, 8 * PAGE, |bytes| bytes.fill(2));
    sim.write_back(3);
    let count = |bytes: Vec<u8>| bytes.chunks(PAGE).filter(|page| *page == [2; PAGE]).count();
    assert!((0..20).all(|_| count(content(&sim.power_cut(), "file")) >= 3));
    let (sim, _file, region) = with_pages(1, 8);
    region.fill(0, 8 * PAGE, |bytes| bytes.fill(2));
    sim.write_back(9);
    assert_eq!(count(content(&sim.power_cut(), "file")), 8);
}

#[test]
fn a_failed_sync_forgets_pages_that_it_did_not_write() {
    for call in [Call::Msync, Call::Fsync] {
        let mut outcomes = BTreeSet::new();
        for seed in 0..ROUNDS {
            let (sim, file, region) = with_pages(seed, 3);
            let sync = || if call == Call::Msync { region.sync(0, 2 * PAGE) } else { file.sync() };
            region.fill(0, 2 * PAGE, |bytes| bytes.fill(2));
            fail(&sim, call, 0, 1);
            assert_eq!(errno(sync()), Some(EIO));
            sync().expect("the second sync says that all is well");
            assert_eq!(region.bytes(0, PAGE), Some(&[2; PAGE][..]), "the cache has the bytes");
            assert_eq!(content(&sim.process_kill(), "file")[..PAGE], [2; PAGE]);
            let after = content(&sim.power_cut(), "file");
            assert!((0..9).all(|_| content(&sim.power_cut(), "file") == after), "none is dirty");
            outcomes.insert([after[0], after[PAGE], after[2 * PAGE]]);
        }
        let expected = [[1, 1, 1], [1, 2, 1], [2, 1, 1]];
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), expected, "one page at least is lost");
    }
}

#[test]
fn a_sync_that_was_refused_forgets_nothing() {
    for error in [EINTR, ENOMEM] {
        let (sim, file, region) = with_pages(1, 1);
        region.fill(0, PAGE, |bytes| bytes.fill(2));
        sim.fail(Fault { call: Call::Fsync, after: 0, errno: error, times: 1 });
        assert_eq!(errno(file.sync()), Some(error));
        file.sync().expect("sync");
        assert_eq!(content(&sim.power_cut(), "file"), [2; PAGE]);
    }
}

#[test]
fn a_step_counts_as_a_call_unless_told_otherwise() {
    let (sim, file, region) = with_pages(1, 1);
    sim.cut_after(1);
    sim.step();
    sim.uncounted(|| (0..9).for_each(|_| sim.step()));
    region.fill(0, PAGE, |bytes| bytes.fill(2));
    assert!(!sim.is_cut());
    sim.step();
    assert!(sim.is_cut());
    region.fill(0, PAGE, |bytes| bytes.fill(3));
    assert_eq!(errno(file.sync()), Some(EIO));
    assert!((0..20).all(|_| !content(&sim.power_cut(), "file").contains(&3)), "after the cut");
}

#[test]
fn what_a_failed_sync_forgot_is_written_when_it_is_written_again() {
    let spoil = || {
        let (sim, file, region) = with_pages(1, 1);
        region.fill(0, PAGE, |bytes| bytes.fill(2));
        fail(&sim, Call::Msync, 0, 1);
        assert!(region.sync(0, PAGE).is_err());
        (sim, file, region)
    };
    let (sim, file, region) = spoil();
    region.write(0, &[3]);
    file.sync().expect("sync");
    assert_eq!(content(&sim.power_cut(), "file")[..2], [3, 2], "other bytes make the page dirty");

    let (sim, file, region) = spoil();
    file.write_at(&[2], 0).expect("write");
    region.sync(0, 1).expect("sync");
    assert_eq!(content(&sim.power_cut(), "file"), [2; PAGE], "a write of the same bytes does, too");

    let (sim, _file, region) = spoil();
    sim.drop_caches();
    assert_eq!(
        region.word(0).expect("a word").load(std::sync::atomic::Ordering::Relaxed),
        0x0101_0101_0101_0101
    );
}

#[test]
fn each_kind_of_call_fails_when_told_and_no_other() {
    type Action = fn(&dyn Disk, &dyn File) -> std::io::Result<()>;
    let actions: [(Call, Action); 14] = [
        (Call::Open, |disk, _| disk.open("file", Access::Read).map(drop)),
        (Call::Create, |disk, _| disk.create("new", 0).map(drop)),
        (Call::Create, |disk, _| disk.make_dir("dir")),
        (Call::Grow, |_, file| file.grow(2 * SIZE)),
        (Call::Map, |_, file| file.map(0, PAGE, Access::Read).map(drop)),
        (Call::Fsync, |_, file| file.sync()),
        (Call::SyncDir, |disk, _| disk.sync_dir("")),
        (Call::Rename, |disk, _| disk.rename("file", "file")),
        (Call::Remove, |disk, _| disk.create("gone", 0).and_then(|_| disk.remove("gone"))),
        (Call::List, |disk, _| disk.list("").map(drop)),
        (Call::Lock, |_, file| file.try_lock(LockKind::Shared).map(drop)),
        (Call::Read, |_, file| file.read_at(&mut [0], 0)),
        (Call::Write, |_, file| file.write_at(&[0], 0)),
        (Call::Punch, |_, file| file.punch(0, 1)),
    ];
    for (call, _) in actions {
        for (other, action) in actions {
            let (sim, file, _region) = with_pages(1, 1);
            fail(&sim, call, 1, 2);
            let disk = sim.disk();
            let failures = [0; 4].map(|_| action(&*disk, &*file).is_err());
            let expected = if call == other { [false, true, true, false] } else { [false; 4] };
            let creates_too = call == Call::Create && other == Call::Remove;
            assert!(failures == expected || creates_too, "{call:?} and {other:?}: {failures:?}");
        }
    }
    let (sim, file, _region) = with_pages(1, 1);
    fail(&sim, Call::Any, 0, 1);
    assert_eq!(errno(file.identity()), Some(EIO));
    assert!(file.identity().is_ok());
}

#[test]
fn a_full_disk_refuses_to_grow_and_forgets_what_is_unlinked_and_unused() {
    let (sim, file, region) = with_pages(1, 2);
    let disk = sim.disk();
    sim.capacity(Some(3 * SIZE));
    assert_eq!(sim.used(), 2 * SIZE);
    assert_eq!(errno(file.grow(4 * SIZE)), Some(ENOSPC));
    assert_eq!(file.len().expect("length"), 2 * SIZE);
    assert_eq!(errno(disk.create("big", 2 * SIZE)), Some(ENOSPC));
    file.grow(3 * SIZE).expect("as much as fits");
    assert_eq!(errno(file.write_at(&[1], 3 * SIZE)), Some(ENOSPC));
    disk.remove("file").expect("remove");
    drop(file);
    assert_eq!(sim.used(), 3 * SIZE, "a mapping keeps the blocks");
    drop(region);
    assert_eq!(sim.used(), 0);
    disk.create("big", 3 * SIZE).expect("room again");
}

#[test]
fn the_power_goes_at_a_chosen_call_and_later_stores_do_not_count() {
    let (sim, file, region) = with_pages(1, 1);
    let before = sim.calls();
    sim.cut_after(2);
    region.fill(0, PAGE, |bytes| bytes.fill(2));
    region.sync(0, PAGE).expect("the first call");
    file.len().expect("the second call");
    region.fill(0, PAGE, |bytes| bytes.fill(3));
    assert_eq!(errno(region.sync(0, PAGE)), Some(EIO), "the power is gone");
    assert_eq!(sim.calls(), before + 3);
    region.fill(0, PAGE, |bytes| bytes.fill(4));
    let outcome = || content(&sim.power_cut(), "file");
    assert!((0..20).all(|_| outcome().iter().all(|byte| *byte == 2 || *byte == 3)));
    assert_eq!(errno(sim.disk().list("")), Some(EIO));
}

#[test]
fn a_store_beyond_the_end_is_caught() {
    let (_sim, file, _region) = with_pages(1, 1);
    let beyond = file.map(SIZE, PAGE, Access::Write).expect("map");
    file.sync().expect("nothing is wrong yet");
    beyond.write(0, &[1]);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.sync())).is_err());
}

#[test]
fn maps_join_what_was_only_read_and_written() {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    disk.make_dir("").expect("make the root");
    let file = disk.create("file", 4 * SIZE).expect("create");
    file.write_at(&[7; 2 * PAGE], SIZE).expect("write");
    file.sync().expect("sync");
    disk.sync_dir("").expect("sync");
    let whole = file.map(0, 4 * PAGE, Access::Read).expect("map");
    assert_eq!(whole.bytes(PAGE - 1, 3), Some(&[0, 7, 7][..]));
    let next = sim.power_cut().disk().open("file", Access::Read).expect("open");
    let half = next.map(SIZE, PAGE, Access::Read).expect("map what survived");
    assert_eq!(half.bytes(0, PAGE), Some(&[7; PAGE][..]));
}

#[test]
fn what_one_process_stored_after_its_end_is_undone_for_the_others() {
    let (sim, _file, region) = with_pages(1, 2);
    let disk = sim.disk();
    let others = disk.open("file", Access::Write).expect("open");
    let seen = others.map(0, 2 * PAGE, Access::Write).expect("map");
    let held = disk.open("file", Access::Write).expect("open");
    assert!(held.try_lock(LockKind::Exclusive).expect("lock"));
    region.write(0, &[2; 8]);
    sim.cut();
    region.write(0, &[3; 8]);
    region.write(PAGE, &[3; 8]);
    assert_eq!(errno(disk.list("")), Some(EIO));
    assert!(held.unlock().is_err());
    drop(held);
    sim.survive();
    assert_eq!(seen.bytes(0, 8), Some(&[2; 8][..]));
    assert_eq!(seen.bytes(PAGE, 8), Some(&[1; 8][..]));
    assert!(others.try_lock(LockKind::Exclusive).expect("nobody has it"));
    seen.write(PAGE, &[4; 8]);
    others.sync().expect("a disk that goes on");
    assert_eq!(content(&sim.power_cut(), "file")[PAGE], 4);
}

#[test]
fn to_evict_what_is_not_durable_is_caught() {
    let (_sim, file, region) = with_pages(1, 2);
    file.evict(0);
    region.write(PAGE, &[2; 8]);
    let caught = |offset| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.evict(offset))).is_err()
    };
    assert!(caught(0) && caught(SIZE) && !caught(2 * SIZE));
}
