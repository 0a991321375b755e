//! Regressions of what `usage` says of each segment: stories that a random search has found.

use mapstone::sim::{Call, Point};

use super::ops::{Crash, Fail, Op, Recovery, Shape, When};
use super::state::Val;
use super::told::{batch, bulk, die_at, outcomes, put, rare};
use super::world::World;

/// Regression: a recovery could not map `usage` and went on, and later what it had not written there was taken for counted.
#[test]
fn words_of_usage_that_could_not_be_mapped_are_not_known() {
    for after in 0..12 {
        let fail = Fail { call: Call::Map, after, errno: 5, times: 1 };
        let recovery =
            Recovery { crashes: vec![(When::Steps(26), Crash::Cut)], fail: Some(fail), peek: true };
        let when = When::At(Point::AppendRecord, 1);
        let mut story: Vec<Op> = (1..4).map(Op::CreateTable).collect();
        story.extend([
            Op::Reader,
            put(0, 3900),
            die_at(Point::AppendLast, 1, Crash::Kill),
            put(0, 0),
            Op::DieAfter { when, how: Crash::Kill, recovery },
            batch(vec![(0, 419, Some(Val::new(0, 0))), (0, 0, None)]),
            die_at(Point::SpaceReserved, 1, Crash::Kill),
            put(0, 0),
        ]);
        World::new(Shape { segment: 1 << 16, ..rare(0) }).live(&story);
    }
}

/// Regression: a segment whose directory could not be synced stayed there under a number that a longer segment took later. When
/// that one had been removed, what was left passed for a segment, and hid those under the numbers that it seemed to take.
#[test]
fn what_a_failed_batch_has_left_is_gone_before_a_longer_segment_takes_its_number() {
    let fail = Fail { call: Call::SyncDir, after: 3, errno: 5, times: 1 };
    let recovery = Recovery { crashes: Vec::new(), fail: Some(fail), peek: false };
    let small = Some(Val::new(0, 0));
    World::new(Shape { shared: true, ..rare(5567) }).live(&[
        put(14, 0),
        Op::Die { how: Crash::Kill, recovery },
        batch(vec![(0, 0, Some(Val::new(0, 4001))), (0, 14, None), (0, 419, small)]),
        batch(vec![(0, 419, small)]),
        put(0, 0),
        put(0, 0),
        batch(vec![(0, 419, None)]),
        die_at(Point::RecordKeyed, 1, Crash::Kill),
        Op::Compact { budget: 256, steps: 0 },
    ]);
}

/// Regression: after a power cut a file of the log as it was before still lay behind the log's end, and a checkpoint told of that
/// number what `usage` had known of it. A replay went on from there when the log had come to it.
#[test]
fn a_checkpoint_tells_nothing_of_segments_that_the_log_has_not_come_to() {
    let small = Some(Val::new(0, 4));
    let many = |count: u16| (0..count).map(|key| (0, key, small)).collect();
    let amid = |point, batch| Op::Amid { at: (point, 1), batches: vec![batch] };
    let fail = Fail { call: Call::Map, after: 4, errno: 5, times: 1 };
    let crashes = vec![(When::At(Point::CreateNamed, 1), Crash::Kill)];
    let recovery = Recovery { crashes, fail: Some(fail), peek: false };
    World::new(rare(64_992)).live(&[
        Op::CreateTable(1),
        Op::CreateTable(2),
        Op::CreateTable(3),
        outcomes(3),
        amid(Point::CheckpointIndexed, many(306)),
        Op::Outcomes { count: 1, recovery },
        Op::Bulk { table: 0, first: 61, count: 65, value: Val::new(0, 0) },
        Op::Bulk { table: 0, first: 102, count: 101, value: Val::new(0, 4) },
        bulk(0, 75, Val::new(0, 4)),
        amid(Point::CheckpointLogged, vec![(0, 0, None)]),
        outcomes(1),
        bulk(0, 20, Val::new(0, 4)),
        bulk(0, 20, Val::new(0, 4)),
        Op::Bulk { table: 2, first: 0, count: 20, value: Val::new(0, 4) },
        die_at(Point::SplitAnnounced, 1, Crash::Kill),
        amid(Point::CheckpointLogged, many(211)),
        outcomes(1),
    ]);
}

/// Regression: a recovery could not map `usage`, and so nothing was believed that it says; nor was it when compaction had taken the
/// segments away whose headers would have told the same.
#[test]
fn where_segments_end_is_known_again_before_their_successors_go() {
    let small = Some(Val::new(0, 4));
    let many =
        |table, keys: std::ops::Range<u16>| keys.map(|key| (table, key % 419, small)).collect();
    let bulk = |table, first, count| Op::Bulk { table, first, count, value: Val::new(0, 4) };
    let amid = |point, batch| Op::Amid { at: (point, 1), batches: vec![batch] };
    let logged = |batch| amid(Point::CheckpointLogged, batch);
    let split = die_at(Point::SplitAnnounced, 1, Crash::Kill);
    let fail = Fail { call: Call::Map, after: 6, errno: 5, times: 1 };
    let recovery = Recovery { crashes: Vec::new(), fail: Some(fail), peek: false };
    let when = When::At(Point::LeadEntry, 1);
    World::new(Shape { shared: true, ..rare(10_251) }).live(&[
        Op::CreateTable(1),
        Op::CreateTable(2),
        Op::CreateTable(3),
        bulk(1, 207, 20),
        logged(vec![(0, 0, None)]),
        bulk(0, 16, 21),
        split.clone(),
        logged(vec![(0, 37, None)]),
        logged(vec![(0, 0, None)]),
        bulk(1, 0, 20),
        split,
        logged(vec![(0, 0, Some(Val::new(0, 161)))]),
        bulk(0, 388, 32),
        logged(many(2, 0..179)),
        amid(Point::CheckpointIndexed, many(1, 375..539)),
        outcomes(3),
        Op::DieAfter { when, how: Crash::Kill, recovery },
        Op::Compact { budget: 256, steps: 0 },
        bulk(0, 228, 108),
        logged(vec![(0, 0, None)]),
        outcomes(1),
    ]);
}
