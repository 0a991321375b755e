//! What a story is about. Some are about everything; the others dwell on one thing that goes wrong rarely.

use mapstone::sim::{Call, Point};
use proptest::collection::vec;
use proptest::prelude::*;

use super::ops::{
    Crash, Fail, How, Op, Recovery, Shape, When, amid, batches, crash, fail, key, point, recovery,
    shape, swap, table, txn, value, when,
};
use super::state::{KEYS, TABLES, Val};

type Ops = BoxedStrategy<Op>;

/// A life story of a store.
pub(crate) type Story = (Shape, Vec<Op>);

/// The stories about everything, and those of each theme.
pub(crate) fn stories(longest: usize) -> Vec<BoxedStrategy<Story>> {
    let everything = (shape(), vec(anything(), 1..longest)).boxed();
    let themed = themes().into_iter().map(|(own, about)| {
        let own_is_shared = own.iter().any(|op| matches!(op, Op::Other));
        let about = prop_oneof![3 => about, 1 => anything()];
        // Rare things show on a plain store whose checkpoints are made by the story alone.
        let segment = prop_oneof![Just(4096), Just(65_536)];
        let plain = (shape(), segment).prop_map(move |(shape, segment)| Shape {
            segment,
            mask: u64::MAX,
            interval: 1 << 30,
            shared: shape.shared || own_is_shared,
            ..shape
        });
        let told = (plain, vec(about, 1..longest)).prop_map(move |(shape, mut ops)| {
            ops.splice(0..0, own.iter().cloned());
            (shape, ops)
        });
        told.boxed()
    });
    std::iter::once(everything).chain(themed).collect()
}

/// Each theme but the first: how its stories begin, and what they are made of.
fn themes() -> Vec<(Vec<Op>, Ops)> {
    let tables: Vec<Op> = (1..TABLES).map(Op::CreateTable).collect();
    // Pages that a checkpoint holds are not free when they split: the index will grow.
    let half = |table| Op::Bulk { table, first: 0, count: 200, value: Val::new(1, 4) };
    let halves = (0..TABLES).map(half).chain([Op::Checkpoint]);
    let filled: Vec<Op> = tables.iter().cloned().chain(halves).collect();
    vec![
        (tables.clone(), growth().boxed()),
        (tables.clone(), lookups().boxed()),
        (tables.clone(), torn_checkpoints().boxed()),
        (filled, full_disk().boxed()),
        (vec![], torn_pages().boxed()),
        (vec![], failed_syncs().boxed()),
        (tables, kills().boxed()),
        (vec![], recoveries().boxed()),
        (vec![], tables_again().boxed()),
        (space_begins(), space().boxed()),
        (graves_begin(), graves().boxed()),
        (space_begins(), cursors().boxed()),
        (vec![Op::Other], turns().boxed()),
    ]
}

fn put() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        6 => Just(How::Plain),
        2 => Just(How::With),
        2 => Just(How::Immediate),
        1 => Just(How::Panic),
    ];
    (table(), key(), value(), how).prop_map(|(table, key, value, how)| Op::Put {
        table,
        key,
        value,
        how,
    })
}

fn batch() -> impl Strategy<Value = Op> {
    let one = (table(), key(), proptest::option::weighted(0.75, value()));
    (vec(one, 0..12), any::<bool>()).prop_map(|(ops, immediate)| Op::Batch { ops, immediate })
}

fn bulk() -> impl Strategy<Value = Op> {
    (0..TABLES, 0..KEYS - 1, 20..300u16, any::<u32>(), 0..24u32).prop_map(
        |(table, first, count, seed, len)| Op::Bulk {
            table,
            first,
            count,
            value: Val::new(seed, len),
        },
    )
}

/// Not so many that the index is as large as it gets after a few.
fn some() -> impl Strategy<Value = Op> {
    (0..TABLES, 0..KEYS - 1, 20..120u16, any::<u32>()).prop_map(|(table, first, count, seed)| {
        Op::Bulk { table, first, count, value: Val::new(seed, 4) }
    })
}

fn die() -> impl Strategy<Value = Op> {
    (crash(), recovery()).prop_map(|(how, recovery)| Op::Die { how, recovery })
}

/// A crash at one of a few points, the first or second time that one is reached.
fn die_at(
    points: &'static [Point],
    how: impl Strategy<Value = Crash>,
) -> impl Strategy<Value = Op> {
    (proptest::sample::select(points), 1..3u16, how, recovery())
        .prop_map(|(at, n, how, recovery)| Op::DieAfter { when: When::At(at, n), how, recovery })
}

fn outcomes() -> impl Strategy<Value = Op> {
    (1..6u8, recovery()).prop_map(|(count, recovery)| Op::Outcomes { count, recovery })
}

fn anything() -> impl Strategy<Value = Op> {
    let data = prop_oneof![
        10 => put(),
        4 => (table(), key()).prop_map(|(table, key)| Op::Delete { table, key }),
        4 => batch(),
        1 => swap(),
        1 => txn(),
        3 => bulk(),
        1 => (1..TABLES).prop_map(Op::CreateTable),
        1 => (1..TABLES).prop_map(Op::DropTable),
    ];
    prop_oneof![
        26 => data,
        3 => Just(Op::Sync),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Spare),
        1 => (amid(), batches()).prop_map(|(at, batches)| Op::Amid { at, batches }),
        1 => point().prop_map(Op::Look),
        2 => Just(Op::Snapshot),
        1 => Just(Op::SnapshotThere),
        1 => Just(Op::MoveCursor),
        1 => Just(Op::RemoveCursor),
        1 => Just(Op::LetGo),
        2 => compact(),
        2 => backup(),
        1 => Just(Op::Reader),
        1 => Just(Op::Check),
        3 => (0..40u8).prop_map(Op::WriteBack),
        1 => Just(Op::Close),
        1 => Just(Op::Other),
        1 => when().prop_map(Op::HandOver),
        3 => die(),
        1 => outcomes(),
        4 => (when(), crash(), recovery())
            .prop_map(|(when, how, recovery)| Op::DieAfter { when, how, recovery }),
        1 => fail().prop_map(Op::Fail),
        1 => (0..60u8).prop_map(Op::Fill),
        1 => Just(Op::Free),
        1 => crash().prop_map(Op::Evict),
    ]
}

/// Pages split while a checkpoint is under way, and writers die in the middle of it.
fn growth() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[SplitAnnounced, LeadEntry, SplitHalf, DoubleWritten];
    const AMID: &[Point] = &[CheckpointLogged, CheckpointIndexed];
    let amid = (proptest::sample::select(AMID), batches());
    prop_oneof![
        3 => amid.prop_map(|(at, batches)| Op::Amid { at: (at, 1), batches }),
        3 => some(),
        1 => outcomes(),
        2 => die_at(POINTS, prop_oneof![3 => Just(Crash::Kill), 1 => Just(Crash::Cut)]),
    ]
}

/// Pages are recycled under someone who looks a key up.
fn lookups() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => bulk(),
        3 => (1..40u16, batches()).prop_map(|(times, batches)| Op::Lookup { times, batches }),
        1 => point().prop_map(Op::Look),
    ]
}

/// The power goes while a checkpoint is being written.
fn torn_checkpoints() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] =
        &[CheckpointGrown, CheckpointBodied, CheckpointHeaded, CheckpointSynced, CheckpointSet];
    prop_oneof![
        4 => some(),
        3 => Just(Op::Checkpoint),
        3 => die_at(POINTS, Just(Crash::Cut)),
    ]
}

/// The disk fills up, and is emptied again.
fn full_disk() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => some(),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Spare),
        5 => (0..3u8).prop_map(Op::Fill),
        3 => Just(Op::Free),
        1 => die(),
    ]
}

/// The power goes when all of the log is on the disk and half of the index.
fn torn_pages() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => bulk(),
        3 => Just(Op::Sync),
        2 => Just(Op::Spare),
        1 => (0..6u8).prop_map(Op::WriteBack),
        2 => outcomes(),
    ]
}

/// Syncs fail, pages are lost, and processes die without knowing.
fn failed_syncs() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[SyncReturned, SyncFailed, SyncNoted, IndexSuspect];
    let call = prop_oneof![2 => Just(Call::Msync), 1 => Just(Call::Fsync)];
    let fail = (call, 0..2u8).prop_map(|(call, after)| Fail { call, after, errno: 5, times: 1 });
    prop_oneof![
        4 => put(),
        1 => bulk(),
        3 => fail.prop_map(Op::Fail),
        3 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Spare),
        2 => crash().prop_map(Op::Evict),
        2 => crash().prop_map(|how| Op::Die { how, recovery: Recovery::default() }),
        1 => die_at(POINTS, crash()),
    ]
}

/// A process is killed in the middle of a commit.
fn kills() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[
        SpaceReserved,
        AppendRecord,
        AppendLast,
        RecordKeyed,
        RecordFilled,
        AppendMarked,
        ApplySlot,
        SlotPrev,
        SlotOverflow,
        SlotNew,
        SlotInserted,
        PublishCounted,
        PublishDone,
        SegmentRenamed,
        SpareHeaded,
        SpareNamed,
    ];
    prop_oneof![
        2 => put(),
        3 => batch(),
        1 => bulk(),
        1 => Just(Op::Spare),
        3 => die_at(POINTS, prop_oneof![3 => Just(Crash::Kill), 1 => Just(Crash::Cut)]),
    ]
}

/// A recovery is cut short, and so is the recovery of that.
fn recoveries() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[
        SealRemoved,
        SealCleared,
        SealBlotted,
        SealReplaced,
        SealBegun,
        SegmentCreated,
        SegmentHeaded,
        SegmentSynced,
        SegmentRenamed,
        SegmentDurable,
        RestoreNumbered,
        RestoreSwitched,
        SettlePage,
        RestoreSettled,
        RestoreSynced,
        RestoreReplayed,
        RestoreDurable,
        ReplayRecord,
    ];
    let at = (proptest::sample::select(POINTS), crash());
    let crashes = vec(at.prop_map(|(at, how)| (When::At(at, 1), how)), 1..4);
    let die = (crash(), crashes).prop_map(|(how, crashes)| Op::Die {
        how,
        recovery: Recovery { crashes, ..Recovery::default() },
    });
    prop_oneof![
        3 => put(),
        1 => Just(Op::Sync),
        1 => Just(Op::Spare),
        1 => (0..40u8).prop_map(Op::WriteBack),
        4 => die,
    ]
}

/// Tables come and go.
fn tables_again() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => put(),
        3 => (1..TABLES).prop_map(Op::CreateTable),
        2 => (1..TABLES).prop_map(Op::DropTable),
    ]
}

fn backup() -> impl Strategy<Value = Op> {
    let end = prop_oneof![Just(0u16), 0..300u16, Just(u16::MAX)];
    let end = proptest::option::weighted(0.4, (end, crash()));
    (any::<bool>(), end).prop_map(|(there, end)| Op::Backup { there, end })
}

fn compact() -> impl Strategy<Value = Op> {
    let steps = prop_oneof![1 => Just(0u8), 1 => 1..30u8];
    let budget = prop_oneof![Just(256u32), Just(4096), Just(1 << 20)];
    (budget, steps).prop_map(|(budget, steps)| Op::Compact { budget, steps })
}

/// Segments full of what is dead, and tombstones in the oldest one that is left.
fn space_begins() -> Vec<Op> {
    let bulk = |seed| Op::Bulk { table: 0, first: 0, count: 60, value: Val::new(seed, 20) };
    vec![bulk(1), bulk(2)]
}

/// Keys are overwritten and deleted, space comes back, and writers die in the middle of it.
fn space() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[
        CompactMoved,
        CompactDrained,
        CompactHorizon,
        CompactReleased,
        CompactBuried,
        CompactSettled,
        CompactUnlinked,
        CompactForgotten,
        CompactRemoved,
        TidyAnnounced,
        TidyLed,
        TrimLowered,
        CheckpointHeaded,
        CheckpointSet,
    ];
    let few = || (0..60u16, value());
    let delete = (0..60u16).prop_map(|key| Op::Delete { table: 0, key });
    let deletes = (0..60u16, 1..60u16).prop_map(|(first, count)| Op::Batch {
        ops: (first..first + count).map(|key| (0, key % 60, None)).collect(),
        immediate: false,
    });
    let put = few().prop_map(|(key, value)| Op::Put { table: 0, key, value, how: How::Plain });
    let one = (0..60u16, proptest::option::weighted(0.5, value()));
    let batch = vec(one.prop_map(|(key, value)| (0, key, value)), 1..8).boxed();
    let overtake =
        (1..60u16, batch.clone()).prop_map(|(times, batch)| Op::Overtake { times, batch });
    // Compaction alone may change what snapshots of the last commit do not hold.
    let batch = prop_oneof![Just(Vec::new()), batch];
    let iterate = (1..8u16, batch).prop_map(|(times, batch)| Op::Iterate { times, batch });
    prop_oneof![
        3 => put,
        2 => some(),
        2 => delete,
        2 => deletes,
        5 => compact(),
        2 => overtake,
        2 => iterate,
        2 => Just(Op::Snapshot),
        1 => Just(Op::Reader),
        1 => Just(Op::SnapshotThere),
        1 => Just(Op::LetGo),
        1 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        1 => (0..40u8).prop_map(Op::WriteBack),
        2 => outcomes(),
        2 => die_at(POINTS, crash()),
    ]
}

/// The same, with a cursor that keeps some of it.
fn cursors() -> impl Strategy<Value = Op> {
    prop_oneof![6 => space(), 2 => Just(Op::MoveCursor), 1 => Just(Op::RemoveCursor)]
}

/// Several handles write the same store in turns, are killed, go away and come, and then the power goes.
fn turns() -> impl Strategy<Value = Op> {
    let fail = (prop_oneof![Just(Call::Msync), Just(Call::Lock)], 0..4u8)
        .prop_map(|(call, after)| Op::Fail(Fail { call, after, errno: 5, times: 1 }));
    prop_oneof![
        10 => Just(Op::Other),
        4 => when().prop_map(Op::HandOver),
        2 => Just(Op::Leave),
        4 => put(),
        2 => batch(),
        2 => some(),
        1 => txn(),
        1 => (1..TABLES).prop_map(Op::CreateTable),
        1 => (1..TABLES).prop_map(Op::DropTable),
        2 => Just(Op::Sync),
        2 => Just(Op::Checkpoint),
        2 => compact(),
        1 => (amid(), batches()).prop_map(|(at, batches)| Op::Amid { at, batches }),
        1 => (1..40u16, batches()).prop_map(|(times, batches)| Op::Lookup { times, batches }),
        1 => (0..40u8).prop_map(Op::WriteBack),
        1 => outcomes(),
        1 => (0..20u8).prop_map(Op::Fill),
        1 => Just(Op::Free),
        1 => fail,
    ]
}

/// What was durable is deleted by tombstones that are not, in a segment that is no longer the last.
fn graves_begin() -> Vec<Op> {
    let bulk = |first, seed| Op::Bulk { table: 0, first, count: 60, value: Val::new(seed, 4) };
    let deletes = (0..60).map(|key| (0, key, None)).collect();
    let deletes = Op::Batch { ops: deletes, immediate: false };
    vec![bulk(0, 1), Op::Checkpoint, deletes, bulk(60, 2)]
}

/// Tombstones are buried, and the power goes before a checkpoint is made of it.
fn graves() -> impl Strategy<Value = Op> {
    use Point::*;
    const POINTS: &[Point] = &[CompactReleased, CompactBuried, CompactSettled];
    let when = prop_oneof![1 => 1..3u16, 1 => 1..60u16];
    let die = (proptest::sample::select(POINTS), when, crash(), recovery())
        .prop_map(|(at, n, how, recovery)| Op::DieAfter { when: When::At(at, n), how, recovery });
    let deletes = (0..120u16, 1..60u16).prop_map(|(first, count)| Op::Batch {
        ops: (first..first + count).map(|key| (0, key % 120, None)).collect(),
        immediate: false,
    });
    let all = Just(Op::Compact { budget: 1 << 20, steps: 0 });
    let again = (0..60u16, 1..60u16, any::<u32>()).prop_map(|(first, count, seed)| Op::Bulk {
        table: 0,
        first,
        count,
        value: Val::new(seed, 4),
    });
    prop_oneof![
        3 => die,
        3 => all,
        1 => deletes,
        1 => some(),
        1 => again,
        1 => (0..40u8).prop_map(Op::WriteBack),
        2 => outcomes(),
    ]
}
