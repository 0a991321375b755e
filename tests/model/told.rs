//! Stories with a name about compaction and backups: each ended badly once, or would if the rule that it is named after were
//! broken.

use mapstone::sim::{Bug, Call, Point, plant};

use super::ops::{Crash, Fail, How, Op, Recovery, Shape, When};
use super::quiet;
use super::state::Val;
use super::world::World;

pub(super) fn put(key: u16, len: u16) -> Op {
    Op::Put { table: 0, key, value: Val::new(0, len.into()), how: How::Plain }
}

pub(super) fn batch(ops: Vec<(u8, u16, Option<Val>)>) -> Op {
    Op::Batch { ops, immediate: false }
}

pub(super) fn bulk(first: u16, count: u16, value: Val) -> Op {
    Op::Bulk { table: 0, first, count, value }
}

fn delete(keys: std::ops::Range<u16>) -> Op {
    batch(keys.map(|key| (0, key, None)).collect())
}

pub(super) fn die_at(point: Point, times: u16, how: Crash) -> Op {
    Op::DieAfter { when: When::At(point, times), how, recovery: Recovery::default() }
}

fn kill() -> Op {
    Op::Die { how: Crash::Kill, recovery: Recovery::default() }
}

fn cut() -> Op {
    Op::Die { how: Crash::Cut, recovery: Recovery::default() }
}

pub(super) fn outcomes(count: u8) -> Op {
    Op::Outcomes { count, recovery: Recovery::default() }
}

const ALL: Op = Op::Compact { budget: 1 << 20, steps: 0 };
const BACKUP: Op = Op::Backup { there: false, end: None };

/// Segments of 4 KiB, and checkpoints as the log grows.
fn shape(seed: u64) -> Shape {
    Shape { seed, ..Shape::default() }
}

/// No checkpoint but those of the story.
pub(super) fn rare(seed: u64) -> Shape {
    Shape { seed, interval: 1 << 30, ..Shape::default() }
}

/// A killed batch leaves whole records behind the end of the log. When compaction has removed the segment that said where the end
/// is, nobody must take them for records.
#[test]
fn what_a_killed_batch_has_left_is_nothing_once_the_next_segment_is_gone() {
    for records in 2..30 {
        World::new(shape(1)).live(&[
            bulk(0, 20, Val::new(1, 4)),
            die_at(Point::AppendRecord, records, Crash::Kill),
            bulk(100, 40, Val::new(2, 4)),
            bulk(100, 40, Val::new(3, 4)),
            kill(),
            bulk(100, 40, Val::new(4, 4)),
            ALL,
            Op::Check,
            BACKUP,
        ]);
    }
}

/// Such records are wiped, and the sync of that fails. Who recovers next sees the wiped bytes in the page cache, and no record;
/// the disk has it still.
#[test]
fn what_was_wiped_by_a_recovery_that_could_not_sync_it_is_wiped_again() {
    for (seed, after) in (0..20).flat_map(|seed| (0..6).map(move |after| (seed, after))) {
        let fail = Fail { call: Call::Msync, after, errno: 5, times: 1 };
        let recovery = Recovery { fail: Some(fail), ..Recovery::default() };
        World::new(rare(seed)).live(&[
            bulk(0, 20, Val::new(1, 4)),
            Op::Checkpoint,
            Op::DieAfter { when: When::At(Point::AppendRecord, 20), how: Crash::Cut, recovery },
            bulk(100, 40, Val::new(2, 4)),
            cut(),
            bulk(100, 80, Val::new(3, 4)),
            bulk(100, 80, Val::new(4, 4)),
            ALL,
            Op::Check,
        ]);
    }
}

/// Where the records of a segment end that a given-up batch had left is not known before the log has left it for good: a
/// checkpoint said so.
#[test]
fn a_segment_that_the_log_came_back_to_has_no_known_end() {
    World::new(shape(0)).live(&[
        put(0, 0),
        Op::Put { table: 0, key: 0, value: Val::new(0, 3969), how: How::Panic },
        Op::Close,
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Immediate },
        put(0, 3937),
        cut(),
    ]);
}

/// A segment that is longer than others has the number of one within it that a failed batch has left.
#[test]
fn the_end_of_a_long_segment_is_found_past_one_left_over_in_it() {
    let fail = Fail { call: Call::SyncDir, after: 8, errno: 5, times: 1 };
    let recovery = Recovery { fail: Some(fail), ..Recovery::default() };
    let value = |len| Some(Val::new(0, len));
    World::new(shape(0)).live(&[
        Op::CreateTable(1),
        Op::CreateTable(2),
        Op::CreateTable(3),
        put(0, 0),
        put(0, 0),
        Op::DieAfter { when: When::At(Point::SlotInserted, 1), how: Crash::Kill, recovery },
        BACKUP,
        batch(vec![(0, 0, value(4001))]),
        batch(vec![(0, 0, None), (0, 8, value(3969)), (0, 1, value(0))]),
        batch(vec![(0, 0, value(3969))]),
        bulk(0, 155, Val::new(0, 1)),
        Op::Batch { ops: vec![(0, 0, None), (0, 1, value(4001))], immediate: true },
        die_at(Point::AppendLast, 1, Crash::Cut),
        put(0, 0),
        put(0, 0),
    ]);
}

/// Invariant I18: a tombstone in a segment that is worth compacting is moved as long as an older segment stays, which is not worth
/// it.
#[test]
fn a_tombstone_stays_as_long_as_an_older_segment() {
    World::new(shape(1)).live(&[
        bulk(0, 60, Val::new(1, 20)),
        kill(),
        delete(0..2),
        bulk(100, 50, Val::new(1, 20)),
        kill(),
        bulk(100, 50, Val::new(2, 20)),
        ALL,
        BACKUP,
        Op::Check,
    ]);
}

/// A sync that the writer saw fail leaves pages clean that are not on the disk. Who backs up through another handle would find
/// nothing to sync.
#[test]
fn a_backup_by_another_promises_nothing_after_a_failed_sync() {
    let fail = Fail { call: mapstone::sim::Call::Msync, after: 1, errno: 5, times: 1 };
    let recovery = Recovery { fail: Some(fail), ..Recovery::default() };
    World::new(Shape { interval: 8192, ..shape(0) }).live(&[
        Op::DieAfter { when: When::Steps(0), how: Crash::Kill, recovery },
        put(0, 0),
        put(0, 0),
        put(0, 0),
        Op::Reader,
        put(0, 4049),
        Op::Backup { there: true, end: None },
        Op::Evict(Crash::Kill),
    ]);
}

/// A tombstone is buried, and its key begins anew. A backup, which still has the tombstone, gets the new record.
#[test]
fn a_key_that_began_anew_does_so_again_in_a_backup_with_its_tombstone() {
    World::new(rare(0)).live(&[
        bulk(0, 60, Val::new(1, 20)),
        bulk(0, 60, Val::new(2, 20)),
        Op::Overtake { times: 1, batch: vec![(0, 13, None), (0, 3, None)] },
        outcomes(1),
        BACKUP,
        put(0, 0),
        Op::Compact { budget: 256, steps: 0 },
        bulk(377, 46, Val::new(0, 4)),
        Op::Snapshot,
        BACKUP,
    ]);
}

/// The same where a power cut takes the burial back, but not the record that came after it.
#[test]
fn a_key_that_began_anew_does_so_again_once_its_burial_is_lost() {
    let released = || die_at(Point::CompactReleased, 1, Crash::Kill);
    World::new(rare(385)).live(&[
        bulk(0, 60, Val::new(1, 4)),
        Op::Checkpoint,
        delete(0..60),
        bulk(60, 60, Val::new(2, 4)),
        Op::WriteBack(0),
        released(),
        released(),
        bulk(90, 155, Val::new(0, 1)),
        released(),
        released(),
        released(),
        die_at(Point::CompactSettled, 1, Crash::Kill),
        ALL,
        put(0, 0),
        released(),
        released(),
        outcomes(1),
    ]);
    World::new(rare(0)).live(&[
        bulk(0, 60, Val::new(1, 4)),
        Op::Checkpoint,
        delete(0..60),
        bulk(60, 60, Val::new(2, 4)),
        delete(0..1),
        delete(0..1),
        put(1, 0),
        die_at(Point::CompactBuried, 1, Crash::Kill),
        ALL,
        bulk(344, 76, Val::new(0, 4)),
        outcomes(2),
    ]);
}

/// A page that only the checkpoint still names, with a tombstone buried in it that came after: a power cut replays that.
#[test]
fn a_burial_in_a_page_that_a_checkpoint_names_is_no_damage() {
    World::new(rare(394)).live(&[
        bulk(0, 60, Val::new(1, 4)),
        Op::Checkpoint,
        delete(0..60),
        bulk(60, 60, Val::new(2, 4)),
        delete(0..1),
        delete(0..1),
        die_at(Point::CompactReleased, 1, Crash::Kill),
        die_at(Point::CompactBuried, 1, Crash::Kill),
        ALL,
        bulk(243, 149, Val::new(0, 1)),
        die_at(Point::CompactReleased, 1, Crash::Cut),
        ALL,
    ]);
}

/// What a restore takes from the end of the index, and what later batches take after it, is there before it is used.
#[test]
fn an_index_that_was_restored_twice_grows_before_its_pages_are_used() {
    let table = |table, first, count| Op::Bulk { table, first, count, value: Val::new(1, 4) };
    let mut story: Vec<Op> = (1..4).map(Op::CreateTable).collect();
    story.extend((0..4).map(|number| table(number, 0, 200)));
    story.extend([
        table(0, 165, 63),
        table(3, 198, 82),
        Op::Batch { ops: vec![(0, 6, None), (1, 419, None)], immediate: true },
        cut(),
        table(1, 377, 38),
        Op::Checkpoint,
        cut(),
        table(3, 334, 91),
        table(2, 291, 96),
        table(1, 268, 63),
    ]);
    for seed in 0..40 {
        World::new(rare(seed)).live(&story);
    }
}

/// Bugs that random stories come to by luck have one that finds them always.
#[test]
fn a_bug_with_a_story_of_its_own_is_found_by_it() {
    let stories: [(Bug, fn()); 4] = [
        (Bug::SkipGrow, an_index_that_was_restored_twice_grows_before_its_pages_are_used),
        (Bug::SkipBlot, what_a_killed_batch_has_left_is_nothing_once_the_next_segment_is_gone),
        (Bug::KeepTwin, a_key_that_was_put_again_after_its_burial_keeps_one_slot),
        (Bug::SumGuess, a_put_of_a_deleted_key_is_none_until_it_counts_as_one),
    ];
    for (bug, story) in stories {
        plant(Some(bug));
        let found = quiet::run(story).is_err();
        plant(None);
        assert!(found, "{}", bug.name());
    }
}

/// The record of a put is written while the one before it comes, as if that were a put too. A process is killed before it is known
/// that it was a tombstone: what is there already must be no record, or who replays it takes the key for one that was there.
#[test]
fn a_put_of_a_deleted_key_is_none_until_it_counts_as_one() {
    World::new(rare(1)).live(&[
        bulk(0, 8, Val::new(1, 20)),
        delete(3..4),
        die_at(Point::RecordFilled, 1, Crash::Kill),
        put(3, 20),
        Op::Check,
        put(3, 20),
        Op::Check,
    ]);
}

/// Regression: between the drain of the oldest segment and the burial of its tombstones a key was written again. The chain of its
/// new records led a snapshot to the tombstone, which was gone.
#[test]
fn a_snapshot_sees_nothing_where_a_tombstone_has_gone() {
    World::new(rare(11_667)).live(&[
        bulk(0, 60, Val::new(1, 20)),
        bulk(0, 60, Val::new(2, 20)),
        Op::Reader,
        Op::Compact { budget: 4096, steps: 0 },
        put(0, 0),
        put(0, 0),
        Op::Snapshot,
        delete(0..1),
        put(1, 0),
        put(1, 0),
        delete(0..1),
        Op::Overtake { times: 1, batch: vec![(0, 1, None)] },
        Op::LetGo,
        Op::Snapshot,
        put(0, 0),
        Op::Compact { budget: 256, steps: 0 },
        put(0, 0),
    ]);
}

/// Regression: the sync of a checkpoint failed, and its writer was killed. The recovery found it in the page cache and named it in the
/// cell; the power went before it was durable, and then the cell told of a checkpoint that was damaged.
#[test]
fn a_checkpoint_is_durable_before_a_recovery_names_it() {
    let all = |table| Op::Bulk { table, first: 0, count: 200, value: Val::new(1, 4) };
    let small = |count| bulk(0, count, Val::new(0, 4));
    let fail = Fail { call: mapstone::sim::Call::Fsync, after: 1, errno: 5, times: 1 };
    let failing = Recovery { crashes: Vec::new(), fail: Some(fail), peek: false };
    for steps in 40..56 {
        let crashes = vec![(When::Steps(steps), Crash::Cut)];
        let recovery = Recovery { crashes, fail: None, peek: false };
        let durably = Op::Put { table: 0, key: 0, value: Val::new(0, 305), how: How::Immediate };
        let mut story: Vec<Op> = (1..4).map(Op::CreateTable).chain((0..4).map(all)).collect();
        story.extend([
            Op::Checkpoint,
            small(20),
            small(73),
            Op::Checkpoint,
            durably,
            small(74),
            Op::Checkpoint,
            small(105),
            Op::Sync,
            small(20),
            small(20),
            Op::Die { how: Crash::Cut, recovery: failing.clone() },
            small(20),
            Op::Checkpoint,
            Op::Die { how: Crash::Kill, recovery },
        ]);
        World::new(Shape { segment: 1 << 16, ..rare(24_288) }).live(&story);
    }
}

/// Keys were deleted, buried and put again. A power cut lost the sectors of some pages in which the buried slots were, but not
/// those of the new ones: such a key had two slots, was told twice, and what was deleted later could come back.
#[test]
fn a_key_that_was_put_again_after_its_burial_keeps_one_slot() {
    for seed in 20_386..20_394 {
        World::new(Shape { segment: 4096, ..rare(seed) }).live(&[
            bulk(0, 60, Val::new(1, 4)),
            Op::Checkpoint,
            delete(0..60),
            bulk(60, 60, Val::new(2, 4)),
            die_at(Point::CompactSettled, 1, Crash::Kill),
            Op::Compact { budget: 1 << 20, steps: 0 },
            bulk(0, 20, Val::new(0, 4)),
            outcomes(16),
        ]);
    }
}

/// The log had gone on in a segment that was made ahead, whose name was not durable yet. A process that only reads made a backup and synced
/// the segments, but not their names: the power cut took what the backup has.
#[test]
fn a_backup_by_a_reader_makes_the_names_of_segments_durable() {
    World::new(Shape { segment: 8192, ..rare(152) }).live(&[
        put(419, 0),
        Op::Spare,
        Op::Reader,
        Op::CreateTable(1),
        Op::Backup { there: true, end: None },
        outcomes(1),
    ]);
}
