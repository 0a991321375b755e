//! Stories with a name: each lost data once, or would if the rule that it is named after were broken.

use mapstone::sim::{Call, Point};

use super::ops::{Crash, Fail, How, Op, Recovery, Shape, When};
use super::state::{LONGEST, Val};
use super::world::World;

fn put(key: u16, seed: u32) -> Op {
    Op::Put { table: 0, key, value: Val::new(seed, 20), how: How::Plain }
}

fn put_durably(key: u16, seed: u32) -> Op {
    Op::Put { table: 0, key, value: Val::new(seed, 20), how: How::Immediate }
}

fn bulk(first: u16, count: u16) -> Op {
    Op::Bulk { table: 0, first, count, value: Val::new(u32::from(first), 1) }
}

fn cut() -> Op {
    Op::Die { how: Crash::Cut, recovery: Recovery::default() }
}

fn kill() -> Op {
    Op::Die { how: Crash::Kill, recovery: Recovery::default() }
}

fn die_after(steps: u16, how: Crash) -> Op {
    Op::DieAfter { when: When::Steps(steps), how, recovery: Recovery::default() }
}

fn fail(call: Call) -> Op {
    Op::Fail(Fail { call, after: 0, errno: 5, times: 1 })
}

/// No checkpoint but those of the story.
fn shape(seed: u64) -> Shape {
    Shape { seed, interval: 1 << 30, ..Shape::default() }
}

/// The slot rule's own story: v1 is durable, v2 and v3 are not and share the slot with it; a checkpoint that were not quiet
/// would cover v2, and the cut that takes v3 would leave the slot with v1 alone.
#[test]
fn a_checkpoint_at_a_place_that_is_not_quiet_would_lose_a_version() {
    for seed in 0..40 {
        let write_back = Op::WriteBack(u8::try_from(seed % 5).expect("small"));
        World::new(shape(seed)).live(&[
            put(1, 1),
            Op::Sync,
            put(1, 2),
            put(1, 3),
            Op::Checkpoint,
            put(1, 4),
            write_back,
            cut(),
        ]);
    }
}

/// A slot that led past the end of the log must not be found on the disk when the position is given to another record.
#[test]
fn positions_are_given_anew_only_after_the_slots_that_held_them_are_gone() {
    for seed in 0..40 {
        World::new(shape(seed)).live(&[
            bulk(0, 30),
            Op::WriteBack(40),
            cut(),
            bulk(200, 30),
            Op::WriteBack(3),
            Op::Sync,
            cut(),
        ]);
    }
}

/// A recovery begins a segment and may call the log durable up to there before any commit.
#[test]
fn a_cut_after_a_recovery_without_a_commit_is_no_damage() {
    for how in [Crash::Kill, Crash::Cut] {
        for seed in 0..8 {
            World::new(shape(seed)).live(&[
                put(1, 1),
                Op::Die { how, recovery: Recovery::default() },
                Op::Sync,
                Op::WriteBack(40),
                cut(),
                put(1, 2),
                Op::Sync,
                cut(),
            ]);
        }
    }
}

/// A checkpoint that was cut short leaves its file torn; the next one must not go over the one that is whole.
#[test]
fn a_checkpoint_never_overwrites_the_only_whole_one() {
    for first in (9..69).step_by(4) {
        for second in (9..69).step_by(4) {
            World::new(shape(u64::from(first) * 99 + u64::from(second))).live(&[
                bulk(0, 200),
                Op::Checkpoint,
                bulk(150, 150),
                die_after(first, Crash::Kill),
                Op::Checkpoint,
                bulk(250, 160),
                die_after(second, Crash::Cut),
                Op::Checkpoint,
            ]);
        }
    }
}

/// The same without a kill: a failing disk ends the checkpoint. What was free before it is used again, so the one before
/// that is worth nothing any more.
#[test]
fn a_failed_checkpoint_leaves_the_next_one_its_file() {
    let other = |first, count| Op::Bulk { table: 1, first, count, value: Val::new(1, 1) };
    for call in [Call::Open, Call::Grow, Call::Write, Call::Fsync] {
        for after in 4..24 {
            World::new(shape(u64::from(after))).live(&[
                bulk(0, 300),
                Op::CreateTable(1),
                Op::Checkpoint,
                other(0, 300),
                fail(call),
                Op::Checkpoint,
                kill(),
                other(300, 110),
                die_after(after, Crash::Cut),
                Op::Checkpoint,
            ]);
        }
    }
}

/// A clean record that could not be removed from the disk must not come back as the word of a later life.
#[test]
fn a_clean_record_does_not_outlive_the_commits_after_it() {
    for seed in 0..10 {
        World::new(shape(seed)).live(&[
            put(1, 1),
            Op::Close,
            fail(Call::Msync),
            put(1, 2),
            kill(),
            put_durably(1, 3),
            cut(),
            put_durably(1, 4),
        ]);
    }
}

/// A commit stands whatever becomes of the checkpoint that it made.
#[test]
fn a_failed_checkpoint_is_not_the_failure_of_a_commit() {
    for call in [Call::Open, Call::Grow, Call::Write] {
        let shape = Shape { interval: 16, segment: 1 << 16, ..shape(1) };
        World::new(shape).live(&[put(1, 1), fail(call), put(1, 2), put(1, 3), kill()]);
    }
}

/// Regression: the lock of a turn that was none any more failed, and that was what the writer heard.
#[test]
fn a_handle_whose_sync_failed_says_so_before_it_takes_a_lock() {
    for after in 0..6 {
        let shape = Shape { shared: true, ..shape(1) };
        let lock = Op::Fail(Fail { call: Call::Lock, after, errno: 5, times: 2 });
        World::new(shape).live(&[
            put(1, 1),
            fail(Call::Msync),
            Op::Checkpoint,
            lock,
            put(1, 2),
            put(1, 3),
        ]);
    }
}

/// Regression: it was an error like any other, and the handle went on.
#[test]
fn a_commit_whose_sync_cannot_begin_ends_writing() {
    for after in 0..6 {
        for call in [Call::Lock, Call::Map] {
            let shape = Shape { shared: true, ..shape(1) };
            let fail = Op::Fail(Fail { call, after, errno: 5, times: 1 });
            World::new(shape).live(&[put(1, 1), fail, put_durably(1, 2), put(1, 3), kill()]);
        }
    }
}

/// A segment that was created for nothing is there under the number of one to come.
#[test]
fn a_segment_left_over_does_not_end_the_log() {
    let panic = Op::Put { table: 0, key: 1, value: Val::new(1, 9000), how: How::Panic };
    for end in [cut(), kill(), Op::Close] {
        World::new(shape(1)).live(&[
            put(1, 1),
            Op::Checkpoint,
            panic.clone(),
            Op::Close,
            put_durably(1, 2),
            end.clone(),
            put(LONGEST, 3),
            Op::Close,
        ]);
        for call in [Call::SyncDir, Call::Rename, Call::Fsync] {
            let large = Op::Put { table: 0, key: 2, value: Val::new(1, 9000), how: How::Plain };
            World::new(shape(1)).live(&[
                put(1, 1),
                Op::Checkpoint,
                fail(call),
                large,
                put_durably(1, 2),
                end.clone(),
                put(LONGEST, 3),
                Op::Close,
            ]);
        }
    }
}

/// The segment that a recovery has begun is called durable; another recovery may replace it, but it must never be gone.
#[test]
fn a_recovery_that_is_cut_short_takes_back_nothing_that_was_durable() {
    for steps in 0..120 {
        let crashes = [(0, Crash::Cut), (steps, Crash::Kill), (0, Crash::Cut)];
        let crashes = crashes.map(|(steps, how)| (When::Steps(steps), how)).to_vec();
        let recovery = Recovery { crashes, ..Recovery::default() };
        World::new(shape(u64::from(steps))).live(&[
            put(1, 1),
            Op::Sync,
            cut(),
            Op::Sync,
            Op::WriteBack(40),
            Op::Die { how: Crash::Kill, recovery },
        ]);
    }
}

/// A handle is poisoned by a removal that may come undone as well; who opens the store next goes on from the page cache, and
/// owes nothing that was not durable.
#[test]
fn a_segment_that_could_not_be_given_up_makes_nothing_durable() {
    let panic = Op::Put { table: 0, key: 0, value: Val::new(0, 0), how: How::Panic };
    let failing = Fail { call: Call::SyncDir, after: 4, errno: 5, times: 2 };
    let recovery = Recovery { fail: Some(failing), ..Recovery::default() };
    let large = Op::Batch { ops: vec![(0, 0, Some(Val::new(0, 5000)))], immediate: false };
    for seed in 0..20 {
        World::new(shape(seed)).live(&[
            put(0, 1),
            panic.clone(),
            put_durably(0, 2),
            put(0, 3),
            Op::Die { how: Crash::Kill, recovery: recovery.clone() },
            large.clone(),
            put(0, 4),
            bulk(0, 155),
            Op::Evict(Crash::Kill),
            Op::Outcomes { count: 3, recovery: Recovery::default() },
        ]);
    }
}

/// A segment left over follows from where the log ends as soon as a cut has taken what was written there since.
#[test]
fn slots_of_lost_records_before_a_segment_left_over_go_back() {
    for seed in 0..40 {
        let value = Val::new(1, 9000);
        World::new(shape(seed)).live(&[
            Op::Put { table: 0, key: 1, value, how: How::Panic },
            Op::Close,
            put(1, 1),
            Op::WriteBack(2),
            cut(),
        ]);
    }
}

/// Half the entries of a page that splits lead to a new page, the others still to the old one, which has all the keys.
#[test]
fn an_iteration_in_the_middle_of_a_split_meets_each_key_once() {
    use Point::*;
    for point in [SplitBuilt, SplitAnnounced, LeadEntry, SplitHalf, SplitLed, SplitEnded] {
        for times in 1..4 {
            let look = Op::Look((point, times));
            World::new(shape(1)).live(&[
                Op::CreateTable(1),
                bulk(0, 200),
                look.clone(),
                bulk(200, 210),
                look,
                Op::Bulk { table: 1, first: 0, count: 400, value: Val::new(1, 1) },
            ]);
        }
    }
}

/// A tombstone stays in the last segment, and what it hides is held by a snapshot.
#[test]
fn compaction_ends_while_a_snapshot_is_held() {
    let batch = |ops| Op::Batch { ops, immediate: false };
    let put = |key, len| (0, key, Some(Val::new(0, len)));
    let ops = [
        batch(vec![put(14, 0), put(1, 0), put(6, 5000)]),
        batch(vec![(0, 6, None), (0, 14, None)]),
        Op::Snapshot,
        Op::Compact { budget: 256, steps: 0 },
    ];
    World::new(Shape { seed: 0, ..Shape::default() }).live(&ops);
}

/// A put that is given up has begun a segment, and the log still ends in the one before, which is empty.
#[test]
fn the_segment_in_which_the_log_ends_is_not_removed() {
    let ops = [
        Op::Put { table: 0, key: 0, value: Val::new(0, 4001), how: How::Panic },
        Op::Compact { budget: 256, steps: 0 },
    ];
    World::new(Shape { seed: 0, ..Shape::default() }).live(&ops);
}
