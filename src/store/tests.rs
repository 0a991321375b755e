//! What only the inside can bring about: a batch that has its commit mark and is not in the index yet.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::commit::header;
use super::{DEFAULT_TABLE, Effort, Engine, Op};
use crate::error::Error;
use crate::faults::{Point, at_points};
use crate::options::{Durability, Options};
use crate::sys::Pin;
use crate::sys::sim::{Call, Fault, SimDisk};

fn open(disk: &SimDisk) -> Engine {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    Engine::open(disk.disk(), &options).expect("an open store")
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) {
    engine.commit(&[Op { table: DEFAULT_TABLE, key, value: Some(value) }], None).expect("space");
}

fn get(engine: &Engine, key: &[u8]) -> Option<Vec<u8>> {
    let pin = Pin::new();
    let found = engine.reader(&pin).get(DEFAULT_TABLE, key, engine.committed()).expect("sound");
    found.map(|record| record.value().to_vec())
}

/// Does what a commit does up to the point where it needs index pages, and stops as if the disk were full.
fn stop_before_the_index(engine: &Engine, key: &[u8], value: &[u8]) {
    let half = engine.writer().expect("a writer");
    let mut writer = half.lock();
    engine.prepare(half, &mut writer).expect("space");
    let op = Op { table: DEFAULT_TABLE, key, value: Some(value) };
    let pin = Pin::new();
    let reader = engine.reader(&pin);
    let mut plan = reader.plan_single(&writer, &op).expect("sound");
    let tail = engine
        .reserve(half, &mut writer, reader.log, std::slice::from_mut(&mut plan))
        .expect("space");
    let header = header(&plan, &op, value.len(), true);
    let written = reader.log.write(plan.position, header, key, |to| to.copy_from_slice(value));
    written.expect("reserved");
    writer.tail = tail;
    writer.unfinished = true;
}

/// Brings a store there with all of it durable but the last batch, and returns it with its disk.
fn unfinished() -> (SimDisk, Arc<Engine>) {
    let disk = SimDisk::new(7);
    let engine = open(&disk);
    put(&engine, b"key", b"old");
    put(&engine, b"other", b"old");
    engine.checkpoint().expect("space");
    stop_before_the_index(&engine, b"key", b"new");
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"old"[..]), "not published");
    (disk, Arc::new(engine))
}

#[test]
fn a_close_completes_the_batch_that_the_index_had_no_space_for() {
    let (disk, engine) = unfinished();
    engine.close().expect("space by now");
    drop(engine);
    let engine = open(&disk);
    put(&engine, b"other", b"new");
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"new"[..]));
    assert_eq!(get(&engine, b"other").as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.verify().expect("readable").damage, []);
}

#[test]
fn so_does_a_checkpoint_or_another_commit() {
    let (_disk, engine) = unfinished();
    engine.checkpoint().expect("space by now");
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"new"[..]));
    let (_disk, engine) = unfinished();
    put(&engine, b"other", b"new");
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.stats().expect("sound").entries, 2);
    assert_eq!(engine.verify().expect("readable").damage, []);
}

#[test]
fn so_does_the_next_process() {
    let (disk, engine) = unfinished();
    let disk = disk.process_kill();
    drop(engine);
    let engine = open(&disk);
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"new"[..]));
    assert_eq!(engine.verify().expect("readable").damage, []);
}

/// Whoever completes the batch may be killed at it.
#[test]
fn so_does_the_process_after_one_that_was_killed_at_it() {
    let (disk, engine) = unfinished();
    let left = Rc::new(RefCell::new(None));
    let killed = Rc::clone(&left);
    at_points(Some(Box::new(move |point| {
        if point == Point::ReplayRecord {
            killed.borrow_mut().get_or_insert_with(|| disk.process_kill());
        }
    })));
    let _ = engine.checkpoint();
    at_points(None);
    let engine = open(&left.take().expect("a replay"));
    assert_eq!(get(&engine, b"key").as_deref(), Some(&b"new"[..]));
    assert!(engine.verify().expect("readable").is_ok());
}

/// A split has moved the slot that a commit has planned for, and the new page does not have it.
#[test]
fn a_page_that_has_lost_its_slot_is_an_error() {
    let disk = SimDisk::new(9);
    let engine = open(&disk);
    put(&engine, b"key", b"old");
    let half = engine.writer().expect("a writer");
    let plan = {
        let writer = half.lock();
        let op = Op { table: DEFAULT_TABLE, key: b"key", value: Some(b"new") };
        let pin = Pin::new();
        let mut plan = engine.reader(&pin).plan_single(&writer, &op).expect("sound");
        // The slot held another version, and does not any more.
        plan.prev += 16;
        plan
    };
    for i in 0..400u32 {
        put(&engine, &i.to_le_bytes(), b"value");
    }
    let applied = engine.apply(&mut half.lock(), &plan);
    assert!(matches!(applied, Err(Error::Corrupt { .. })), "{applied:?}");
}

/// A snapshot between the two would otherwise have to go back to the record that was copied.
#[test]
fn a_record_that_moves_keeps_its_version() {
    let disk = SimDisk::new(11);
    let engine = open(&disk);
    put(&engine, b"key", b"value");
    for i in 0..2000u32 {
        put(&engine, b"other", &i.to_le_bytes());
    }
    let pin = Pin::new();
    let found = || {
        let at = engine.committed();
        let found = engine.reader(&pin).get(DEFAULT_TABLE, b"key", at).expect("sound");
        found.expect("there")
    };
    let before = found();
    assert_eq!(before.version(), before.position());
    while !engine.compact_step(Effort::Thorough, 1 << 20).expect("space").done {}
    let after = found();
    assert!(after.position() > before.position());
    assert_eq!(after.version(), before.position());
    assert_eq!(after.header().prev, before.position());
}

/// On a disk that fails once they would be gone, though the program goes on and could read them. The simulated disk looks.
#[test]
fn no_page_is_evicted_that_is_not_durable() {
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false);
    let engine = Engine::open(SimDisk::new(3).disk(), &options).expect("an open store");
    let engine = Arc::new(engine);
    for again in [false, true] {
        if again {
            // The next commit finds that two syncs were of little, and pages that they have left out.
            let other = Arc::clone(&engine);
            at_points(Some(Box::new(move |point| {
                if point == Point::SyncBegun {
                    put(&other, b"key", &[1; 9_000]);
                }
            })));
        }
        put(&engine, b"key", b"durable");
        engine.sync().expect("a sound disk");
    }
    at_points(None);
    put(&engine, b"key", b"after");
    engine.sync().expect("a sound disk");
    put(&engine, b"key", b"after all of it was durable");
}

/// By another process, while this one was about to look at its name.
#[test]
fn a_segment_that_was_the_last_a_moment_ago_may_be_gone() {
    let disk = SimDisk::new(4);
    let engine = open(&disk);
    let before = engine.settled_counters().expect("counters").segment;
    for n in 0..1_000_u32 {
        put(&engine, b"key", &n.to_le_bytes());
    }
    while !engine.compact_step(Effort::Thorough, 1 << 20).expect("space").done {}
    assert!(engine.log.view(&Pin::new()).find(before).expect("sound").is_none());
    engine.check_tail(before).expect("nothing is lost");
    let last = engine.settled_counters().expect("counters").segment;
    disk.disk().remove(&crate::format::segment::name(last)).expect("it is there");
    assert!(matches!(engine.check_tail(last), Err(Error::Lost { .. })));
    assert!(matches!(engine.check_tail(before), Err(Error::Lost { .. })));
}

/// A record that is synced next goes by the file; where that cannot be written, by the mapping.
#[test]
fn a_file_that_cannot_be_written_is_stored_to() {
    let disk = SimDisk::new(7);
    let engine = open(&disk);
    let put = |key: &[u8], value: &[u8]| {
        let op = Op { table: DEFAULT_TABLE, key, value: Some(value) };
        engine.commit(&[op], Some(Durability::Immediate)).expect("a sound disk");
    };
    put(b"by the file", b"1");
    disk.fail(Fault { call: Call::Write, after: 0, errno: 28, times: 1 });
    put(b"by the mapping", b"2");
    assert_eq!(disk.mend(), [Call::Write], "it was tried");
    let after = open(&disk.power_cut());
    for (key, value) in [(&b"by the file"[..], b"1"), (b"by the mapping", b"2")] {
        assert_eq!(get(&after, key).as_deref(), Some(&value[..]));
    }
}

/// Bytes of log that a checkpoint syncs while nobody can write, and how often it has synced before, beside a writer that puts so many
/// hundredths of what each sync makes durable.
fn beside(hundredths: u64) -> (u64, u32) {
    let disk = SimDisk::new(21);
    let mut options = Options::new();
    options.segment_size(1 << 20).background(false).checkpoint_interval(u64::MAX);
    let engine = Arc::new(Engine::open(disk.disk(), &options).expect("an open store"));
    let load = {
        let engine = Arc::clone(&engine);
        move |bytes: u64| {
            let end = engine.committed() + bytes;
            while engine.committed() < end {
                put(&engine, b"key", &[1; 60_000]);
            }
        }
    };
    load(4 << 20);
    let left = Rc::new(RefCell::new((None, 0)));
    at_points(Some(Box::new({
        let (engine, left) = (Arc::clone(&engine), Rc::clone(&left));
        let before = RefCell::new(engine.cells.durable());
        move |point| match point {
            Point::SyncBegun if left.borrow().0.is_none() => {
                let synced = engine.committed() - before.replace(engine.committed());
                left.borrow_mut().1 += 1;
                load(synced * hundredths / 100);
            }
            Point::CheckpointLogged => {
                left.borrow_mut().0 = Some(engine.committed() - engine.cells.durable());
            }
            _ => {}
        }
    })));
    engine.checkpoint().expect("space");
    at_points(None);
    let (left, syncs) = left.take();
    (left.expect("a checkpoint"), syncs)
}

#[test]
fn a_checkpoint_syncs_the_log_beside_a_load_as_long_as_less_and_less_is_left() {
    let (little, syncs) = beside(75);
    assert!(little < 1 << 20 && syncs > 4, "{little} bytes after {syncs} syncs");
    let (much, syncs) = beside(100);
    assert!(much > 3 << 20 && syncs < 4, "{much} bytes after {syncs} syncs");
}
