//! Stories with a name about several handles that write the same store: each ended badly once.

use mapstone::sim::{Call, Point};

use super::ops::{Crash, End, Fail, How, Op, Recovery, Shape, When};
use super::state::Val;
use super::told::{bulk, put, rare};
use super::world::World;

/// It had said that its turn was over, though it had not begun it.
#[test]
fn who_cannot_take_over_leaves_that_to_the_next() {
    World::new(Shape {
        segment: 65_536,
        interval: 1 << 30,
        shared: true,
        seed: 0,
        ..Shape::default()
    })
    .live(&[
        Op::Other,
        Op::Bulk { table: 0, first: 0, count: 20, value: Val::new(0, 4) },
        Op::Other,
        Op::Leave,
        Op::Other,
        Op::Other,
        Op::Other,
        Op::Look((Point::CreateNamed, 1)),
        Op::Other,
        Op::Other,
        Op::HandOver(When::Steps(1)),
        Op::Fill(0),
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::HandOver(When::Steps(0)),
        Op::Other,
        Op::Other,
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Other,
        Op::Other,
        Op::Checkpoint,
    ]);
}

/// A segment that comes back was in no checkpoint, and nobody knew where it ends.
#[test]
fn a_checkpoint_knows_what_another_had_removed_when_it_died() {
    World::new(Shape { segment: 65_536, shared: true, seed: 45_295, ..Shape::default() }).live(&[
        Op::Put { table: 0, key: 119, value: Val::new(0, 0), how: How::Plain },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Sync,
        Op::DieAfter { when: When::Steps(0), how: Crash::Kill, recovery: Recovery::default() },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Bulk { table: 0, first: 263, count: 20, value: Val::new(0, 0) },
        Op::Outcomes { count: 3, recovery: Recovery::default() },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::DieAfter { when: When::Steps(0), how: Crash::Kill, recovery: Recovery::default() },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Batch { ops: vec![(0, 0, None), (0, 419, Some(Val::new(0, 0)))], immediate: false },
        Op::Other,
        Op::Sync,
        Op::Bulk { table: 0, first: 0, count: 20, value: Val::new(0, 0) },
        Op::Sync,
        Op::Bulk { table: 0, first: 258, count: 143, value: Val::new(0, 1) },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Reader,
        Op::Batch { ops: vec![(0, 0, Some(Val::new(0, 3900)))], immediate: false },
        Op::MoveCursor,
        Op::Put { table: 0, key: 419, value: Val::new(0, 0), how: How::Plain },
        Op::MoveCursor,
        Op::Txn { ops: vec![(0, 0, None)], how: End::Commit },
        Op::Put { table: 0, key: 0, value: Val::new(0, 8145), how: How::Plain },
        Op::Bulk { table: 0, first: 259, count: 20, value: Val::new(0, 0) },
        Op::Backup { there: false, end: None },
        Op::Bulk { table: 0, first: 120, count: 20, value: Val::new(0, 0) },
        Op::Put { table: 0, key: 7, value: Val::new(0, 8321), how: How::Plain },
        Op::RemoveCursor,
        Op::Put { table: 0, key: 419, value: Val::new(0, 0), how: How::Plain },
        Op::DieAfter { when: When::Steps(0), how: Crash::Kill, recovery: Recovery::default() },
        Op::Fail(Fail { call: Call::Msync, after: 0, errno: 5, times: 1 }),
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::HandOver(When::At(Point::CompactUnlinked, 5)),
        Op::Other,
        Op::Batch { ops: vec![(0, 7, None), (0, 0, None)], immediate: false },
        Op::Compact { budget: 256, steps: 0 },
        Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Plain },
        Op::Bulk { table: 0, first: 0, count: 123, value: Val::new(0, 17) },
        Op::Die { how: Crash::Cut, recovery: Recovery::default() },
    ]);
}

/// What a killed writer had left behind the end of the log was wiped, and the sync of that failed. Nobody knew, and the next sync of
/// the commits in that page was believed.
#[test]
fn a_wipe_that_could_not_be_synced_ends_writing() {
    let plain = |key| Op::Put { table: 0, key, value: Val::new(0, 0), how: How::Plain };
    World::new(Shape {
        segment: 4096,
        interval: 1 << 30,
        shared: true,
        seed: 0,
        ..Shape::default()
    })
    .live(&[
        Op::Other,
        Op::Other,
        Op::Other,
        Op::Free,
        Op::Other,
        Op::DropTable(1),
        Op::Put { table: 0, key: 15, value: Val::new(0, 0), how: How::Immediate },
        Op::Other,
        Op::Other,
        Op::Other,
        Op::Fail(Fail { call: Call::Msync, after: 3, errno: 5, times: 1 }),
        Op::Checkpoint,
        Op::Other,
        plain(0),
        Op::HandOver(When::Steps(169)),
        Op::Leave,
        Op::Delete { table: 0, key: 15 },
        Op::Bulk { table: 0, first: 0, count: 29, value: Val::new(0, 4) },
        Op::Leave,
        Op::Other,
        Op::Other,
        Op::Amid { at: (Point::CheckpointLogged, 1), batches: vec![vec![(0, 0, None)]] },
        Op::Other,
        Op::Outcomes { count: 1, recovery: Recovery::default() },
    ]);
}

/// The writer dies while a reader makes a backup. That reader lives on, and holds nothing any more once the backup has ended.
#[test]
fn a_backup_that_outlives_the_writer_holds_nothing() {
    for steps in 0..60 {
        World::new(Shape { shared: true, ..rare(0) }).live(&[
            Op::Other,
            Op::HandOver(When::Steps(steps)),
            put(0, 0),
            Op::HandOver(When::At(Point::CheckpointLogged, 1)),
            put(0, 0),
            Op::Other,
            Op::Reader,
            Op::Backup { there: true, end: None },
            Op::Other,
            put(0, 0),
            Op::Compact { budget: 256, steps: 0 },
        ]);
    }
}

/// A commit stands whose sync could not be begun, and right after it the process dies: that ends its writing all the same.
#[test]
fn who_could_not_begin_a_sync_writes_no_more_however_soon_it_dies() {
    for steps in 0..40 {
        World::new(Shape { shared: true, ..rare(0) }).live(&[
            Op::Other,
            put(1, 0),
            Op::Checkpoint,
            Op::Other,
            Op::Fail(Fail { call: Call::Lock, after: 1, errno: 5, times: 1 }),
            Op::HandOver(When::Steps(steps)),
            Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Immediate },
        ]);
    }
}

/// Who takes over completes what the dead one had begun, and then cannot sync a commit of its own: the disk may hold the former alone.
#[test]
fn what_is_completed_before_a_commit_that_cannot_be_synced_may_be_all_there_is() {
    World::new(Shape { segment: 65_536, shared: true, ..rare(0) }).live(&[
        Op::Other,
        bulk(0, 20, Val::new(0, 4)),
        Op::Other,
        put(0, 0),
        Op::Other,
        Op::HandOver(When::Steps(52)),
        Op::DropTable(1),
        Op::Other,
        put(0, 0),
        Op::Leave,
        Op::HandOver(When::Steps(179)),
        Op::Checkpoint,
        Op::MoveCursor,
        Op::Fail(Fail { call: Call::Msync, after: 2, errno: 5, times: 1 }),
        Op::Leave,
        Op::Compact { budget: 256, steps: 0 },
        Op::Sync,
        Op::DropTable(1),
        Op::Other,
        put(0, 1),
        Op::Batch { ops: vec![(0, 0, None)], immediate: true },
        Op::Evict(Crash::Kill),
    ]);
}
