//! What can happen to a store, and how likely it is.

use mapstone::sim::{Call, Point};
use proptest::collection::vec;
use proptest::prelude::*;

use super::points::At;
use super::state::{KEYS, LONGEST, TABLES, Val};

/// How a value is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    With,
    Immediate,
    /// The closure panics.
    Panic,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Rollback,
    /// It is an optimistic one.
    IfUnchanged,
}

/// A failure of a call, some calls from now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fail {
    pub(crate) call: Call,
    pub(crate) after: u8,
    pub(crate) errno: i32,
    pub(crate) times: u8,
}

/// The end of a process, or of the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Kill,
    Cut,
}

/// The moment of a crash to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// After so many calls and crash points.
    Steps(u16),
    /// When a crash point is reached.
    At(Point, u16),
}

/// What happens while the store is being opened again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    /// Further crashes.
    pub(crate) crashes: Vec<(When, Crash)>,
    pub(crate) fail: Option<Fail>,
    /// Someone looks at the store before it is recovered.
    pub(crate) peek: bool,
}

/// Operations that are committed together: table, key and new value.
pub(crate) type Batch = Vec<(u8, u16, Option<Val>)>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put {
        table: u8,
        key: u16,
        value: Val,
        how: How,
    },
    Delete {
        table: u8,
        key: u16,
    },
    /// A compare-and-swap, with the present value or with another one.
    Swap {
        table: u8,
        key: u16,
        value: Option<Val>,
        right: bool,
    },
    /// A transaction that reads each key before and after it writes it.
    Txn {
        ops: Batch,
        how: End,
    },
    Batch {
        ops: Batch,
        immediate: bool,
    },
    /// Many keys in a row in one batch.
    Bulk {
        table: u8,
        first: u16,
        count: u16,
        value: Val,
    },
    CreateTable(u8),
    DropTable(u8),
    Sync,
    Checkpoint,
    /// Make the segment that comes next, as a load has it made.
    Spare,
    /// A checkpoint, and commits by others when it comes to a point.
    Amid {
        at: At,
        batches: Vec<Batch>,
    },
    /// Lookups of all keys, and commits by others in the middle of one of them.
    Lookup {
        times: u16,
        batches: Vec<Batch>,
    },
    /// A look at the store from outside when it comes to a point.
    Look(At),
    /// So many steps of compaction, of so many bytes each; 0 for all that there are.
    Compact {
        budget: u32,
        steps: u8,
    },
    /// A backup, through the read-only handle if there is one and it is to, of which the process or the power ends after so many
    /// calls to the disk that it is made on.
    Backup {
        there: bool,
        end: Option<(u16, Crash)>,
    },
    /// Lookups of all keys without a snapshot, and in the middle of one of them a commit and all of compaction.
    Overtake {
        times: u16,
        batch: Batch,
    },
    /// An iteration, by the read-only handle if there is one, and when it has seen where to go a commit and all of compaction.
    Iterate {
        times: u16,
        batch: Batch,
    },
    /// Go from where the cursor is to the end, and move it there.
    MoveCursor,
    RemoveCursor,
    /// Take a snapshot and keep it.
    Snapshot,
    /// Take a snapshot through the read-only handle and keep it.
    SnapshotThere,
    /// Compare the snapshots and drop them.
    LetGo,
    /// Open a read-only handle and keep it.
    Reader,
    /// Compare everything.
    Check,
    WriteBack(u8),
    /// Close and open again.
    Close,
    /// Go on through another handle that writes, if the store is opened as one of several.
    Other,
    /// Close the handle that writes, and go on through another.
    Leave,
    /// The process that writes is killed at some moment from now, and another goes on without opening the store again.
    HandOver(When),
    Die {
        how: Crash,
        recovery: Recovery,
    },
    /// The power goes: so many outcomes of this moment are looked at, and then the story goes on with another.
    Outcomes {
        count: u8,
        recovery: Recovery,
    },
    /// Crash at some moment from now.
    DieAfter {
        when: When,
        how: Crash,
        recovery: Recovery,
    },
    Fail(Fail),
    /// Limit the disk to a few pages more than it has.
    Fill(u8),
    Free,
    /// The kernel evicts what a failed sync left in memory, and then something ends.
    Evict(Crash),
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) segment: u64,
    pub(crate) interval: u64,
    pub(crate) mask: u64,
    pub(crate) verify_on_read: bool,
    /// The store is opened as one of several writers.
    pub(crate) shared: bool,
    pub(crate) seed: u64,
    /// Records move before they are so many bytes behind the end of the log.
    pub(crate) age: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            segment: 4096,
            interval: 8192,
            mask: u64::MAX,
            verify_on_read: false,
            shared: false,
            seed: 1,
            age: u64::MAX,
        }
    }
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    let mask = prop_oneof![
        4 => Just(u64::MAX),
        2 => Just(0),
        2 => Just(u64::MAX << 61),
        1 => Just(0xFF),
        1 => Just(0xF << 40),
        2 => Just(u64::MAX << 61 | 0xFFFF << 24),
        1 => Just(1 << 63 | 0x3F << 30),
    ];
    let interval = prop_oneof![3 => Just(8192), 2 => Just(1 << 30), 1 => Just(2048)];
    let segment = prop_oneof![4 => Just(4096), 1 => Just(8192), 1 => Just(65_536)];
    let age = prop_oneof![3 => Just(u64::MAX), 1 => Just(1 << 15), 1 => Just(1 << 18)];
    (segment, interval, mask, any::<bool>(), any::<u16>(), age).prop_map(
        |(segment, interval, mask, verify_on_read, seed, age)| Shape {
            segment,
            interval,
            mask,
            verify_on_read,
            shared: seed % 4 == 3,
            seed: u64::from(seed),
            age,
        },
    )
}

pub(super) fn table() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 1 => 1..TABLES]
}

pub(super) fn key() -> impl Strategy<Value = u16> {
    prop_oneof![12 => 0..16u16, 4 => 0..KEYS - 1, 1 => Just(LONGEST)]
}

pub(super) fn value() -> impl Strategy<Value = Val> {
    let len = prop_oneof![
        1 => Just(0),
        10 => 0..40u32,
        3 => 100..600u32,
        2 => 3900..4200u32,
        1 => 5000..20_000u32,
    ];
    (any::<u32>(), len).prop_map(|(seed, len)| Val::new(seed, len))
}

pub(super) fn fail() -> impl Strategy<Value = Fail> {
    use Call::*;
    let call = prop_oneof![
        4 => Just(Msync),
        3 => Just(Fsync),
        2 => prop_oneof![Just(Create), Just(Grow), Just(Rename), Just(SyncDir)],
        1 => prop_oneof![Just(Map), Just(Open), Just(Remove), Just(Write), Just(Punch)],
        1 => prop_oneof![Just(List), Just(Lock), Just(Read), Just(Any)],
    ];
    (call, 0..12u8, prop_oneof![Just(5), Just(28)], 1..3u8).prop_map(
        |(call, after, errno, times)| {
            // What each kind of call may say besides.
            let errno = match (call, errno) {
                (Create | Grow | Write, _) | (_, 5) => errno,
                (Open, _) => 24,
                (Map, _) => 12,
                _ => 4,
            };
            Fail { call, after, errno, times }
        },
    )
}

/// Every crash point is as likely as another; what a batch does for each record has many turns.
pub(super) fn point() -> impl Strategy<Value = At> {
    let times = prop_oneof![4 => 1..3u16, 1 => 1..12u16, 1 => 1..300u16];
    (proptest::sample::select(Point::ALL), times)
}

pub(super) fn when() -> impl Strategy<Value = When> {
    let steps = prop_oneof![3 => 0..40u16, 2 => 0..400u16, 1 => 0..4000u16];
    prop_oneof![2 => steps.prop_map(When::Steps), 1 => point().prop_map(|(at, n)| When::At(at, n))]
}

/// A point of a checkpoint at which nothing is locked that a commit needs.
pub(super) fn amid() -> impl Strategy<Value = At> {
    use Point::*;
    const POINTS: &[Point] = &[
        CheckpointLogged,
        CheckpointCaptured,
        IndexSuspect,
        CheckpointIndexed,
        CheckpointGrown,
        CheckpointBodied,
        CheckpointHeaded,
        CheckpointSynced,
        CheckpointSet,
    ];
    (proptest::sample::select(POINTS), Just(1))
}

/// Batches of commits that come in between: some of few keys, some so large that pages split.
pub(super) fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let few = vec((table(), key(), proptest::option::weighted(0.8, value())), 1..4);
    let many = (0..TABLES, 0..KEYS - 1, 100..400u16, any::<u32>());
    let many = many.prop_map(|(table, first, count, seed)| {
        let one = |i| (table, (first + i) % (KEYS - 1), Some(Val::new(seed, 4)));
        (0..count).map(one).collect()
    });
    vec(prop_oneof![2 => few.boxed(), 1 => many.boxed()], 1..6)
}

pub(super) fn swap() -> impl Strategy<Value = Op> {
    let value = proptest::option::weighted(0.8, value());
    (table(), key(), value, proptest::bool::weighted(0.8))
        .prop_map(|(table, key, value, right)| Op::Swap { table, key, value, right })
}

pub(super) fn txn() -> impl Strategy<Value = Op> {
    let one = (table(), key(), proptest::option::weighted(0.75, value()));
    let how =
        prop_oneof![2 => Just(End::Commit), 1 => Just(End::Rollback), 2 => Just(End::IfUnchanged)];
    (vec(one, 0..8), how).prop_map(|(ops, how)| Op::Txn { ops, how })
}

pub(super) fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::Kill), Just(Crash::Cut)]
}

pub(super) fn recovery() -> impl Strategy<Value = Recovery> {
    let crashes = prop_oneof![2 => Just(Vec::new()), 1 => vec((when(), crash()), 1..4)];
    (crashes, proptest::option::weighted(0.15, fail()), any::<bool>())
        .prop_map(|(crashes, fail, peek)| Recovery { crashes, fail, peek })
}
