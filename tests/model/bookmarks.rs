//! Regressions of bookmarks: what they are told from.

use mapstone::sim::{Call, Point};

use super::ops::{Crash, Fail, How, Op, Recovery, Shape, When};
use super::state::Val;
use super::told::{batch, bulk, die_at, put, rare};
use super::world::World;

/// Regression: a recovery was lost in a power cut with all that was committed after it. The next one gave its epoch the same number,
/// and a commit in it ended where one had that a bookmark was of.
#[test]
fn an_epoch_that_was_taken_back_is_not_the_one_that_takes_its_number() {
    let small = |len| Some(Val::new(0, len));
    let killed =
        |point, recovery| Op::DieAfter { when: When::At(point, 1), how: Crash::Kill, recovery };
    let cut = |fail| Recovery { crashes: vec![(When::Steps(0), Crash::Cut)], fail, peek: false };
    let fail = Fail { call: Call::Msync, after: 0, errno: 5, times: 1 };
    let durably = Op::Put { table: 0, key: 419, value: Val::new(0, 0), how: How::Immediate };
    World::new(Shape { segment: 1 << 16, ..rare(1440) }).live(&[
        Op::CreateTable(1),
        Op::CreateTable(2),
        Op::CreateTable(3),
        die_at(Point::ApplySlot, 1, Crash::Kill),
        put(0, 3900),
        die_at(Point::AppendMarked, 1, Crash::Kill),
        put(0, 0),
        durably,
        die_at(Point::SpaceReserved, 1, Crash::Kill),
        put(0, 0),
        Op::Batch { ops: vec![(0, 419, None), (0, 0, small(0))], immediate: true },
        bulk(0, 206, Val::new(0, 0)),
        killed(Point::AppendMarked, cut(None)),
        batch(vec![
            (0, 419, small(0)),
            (0, 1, small(3900)),
            (0, 2, small(3900)),
            (0, 0, small(225)),
        ]),
        Op::DropTable(1),
        die_at(Point::SpaceReserved, 2, Crash::Kill),
        put(0, 3900),
        batch(vec![(0, 0, None)]),
        put(0, 17),
        die_at(Point::AppendMarked, 1, Crash::Kill),
        batch(vec![(0, 0, small(17)), (0, 1, small(33))]),
        Op::DieAfter {
            when: When::At(Point::AppendLast, 2),
            how: Crash::Kill,
            recovery: cut(Some(fail)),
        },
        batch(vec![(0, 419, small(0))]),
        batch(vec![(0, 0, None), (0, 419, None), (0, 1, None)]),
        batch(vec![(0, 2, small(33)), (0, 0, None), (0, 3, small(0)), (0, 1, small(17))]),
        die_at(Point::SpaceReserved, 1, Crash::Kill),
        put(0, 0),
    ]);
}

/// Regression: a commit that a power cut took back had ended where the records of a segment begin now. What was found there is the
/// commit before that, which is of the same era.
#[test]
fn a_commit_that_was_taken_back_does_not_end_where_a_segment_begins() {
    World::new(Shape { seed: 13_199, shared: true, ..rare(0) }).live(&[
        bulk(0, 60, Val::new(1, 20)),
        bulk(0, 60, Val::new(2, 20)),
        Op::Compact { budget: 256, steps: 0 },
        put(0, 0),
        put(0, 0),
        Op::MoveCursor,
        put(0, 4049),
        Op::MoveCursor,
        Op::Outcomes { count: 1, recovery: Recovery::default() },
        Op::Overtake { times: 1, batch: vec![(0, 1, Some(Val::new(0, 4001)))] },
        Op::MoveCursor,
    ]);
}
