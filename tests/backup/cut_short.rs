//! Backups that end in the middle: by a kill, a power cut, a full disk or any other failure. What they leave is no store, or one
//! that is whole; and the next attempt goes on.

use std::path::Path;
use std::process::{Command, Stdio};

use mapstone::sim::{CRASH_AT, Call, Fault, Point, SimDisk, at_points};
use mapstone::{Error, Options, Store};

use super::script::Random;
use super::{content, ground, options, put, sound};

const POINTS: [Point; 10] = [
    Point::BackupNoted,
    Point::BackupMarked,
    Point::BackupCopied,
    Point::BackupSegment,
    Point::BackupBrought,
    Point::BackupEmptied,
    Point::BackupLed,
    Point::BackupSwept,
    Point::BackupClosed,
    Point::BackupNamed,
];

/// A store in memory with several segments.
fn store(disk: &SimDisk) -> Store {
    let mut options = Options::new();
    options.segment_size(1 << 14).compaction(None).background(false);
    let store = options.open_sim(disk).expect("a new store");
    put(&store, 0..300, 1);
    store
}

/// Changes much: what was there is compacted away, and there is more.
fn go_on(store: &Store) {
    put(store, 0..300, 2);
    for key in 100..150u64 {
        store.delete(key.to_le_bytes()).expect("space");
    }
    store.compact(|_| true).expect("space");
    put(store, 1000..1100, 3);
}

/// What may be there: nothing, something unfinished, or a store that holds one of these.
fn is_one_of(
    dest: &SimDisk,
    allowed: &[&std::collections::BTreeMap<Vec<u8>, Vec<u8>>],
    what: &str,
) {
    let mut whole = Vec::new();
    let mut options = Options::new();
    options.create(false);
    match options.open_read_only_sim(dest) {
        Ok(store) => {
            let verified = store.verify().expect("readable");
            assert!(verified.is_ok(), "{what}: {:#?}", verified.damage);
            let found = content(&store);
            whole.extend(allowed.iter().map(|allowed| found == **allowed));
            assert!(whole.contains(&true), "{what}: a store with {} keys", found.len());
        }
        Err(Error::UnfinishedBackup { .. } | Error::NotFound { .. } | Error::NotAStore { .. }) => {}
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// Ends backups with `end`, which is told the number of the attempt and says whether there is another one, and looks what is left,
/// by kill and by power cut.
fn ends(
    mut end: impl FnMut(&SimDisk, u64, &dyn Fn() -> mapstone::Result<mapstone::Backup>) -> bool,
) {
    let empty = std::collections::BTreeMap::new();
    let mut n = 0;
    for continued in [false, true] {
        let mut at = 0;
        loop {
            let source = SimDisk::new(1);
            let store = store(&source);
            let dest = SimDisk::new(1000 + n);
            let mut before = None;
            if continued {
                store.backup_sim(&dest).expect("a backup");
                before = Some(content(&store));
                go_on(&store);
            }
            let after = content(&store);
            let more = end(&dest, at, &|| store.backup_sim(&dest));
            let allowed = [before.as_ref().unwrap_or(&after), &after];
            for power in [false, true] {
                let left = if power { dest.power_cut() } else { dest.process_kill() };
                let what = format!("attempt {at}, continued {continued}, power {power}");
                let allowed = if continued || dest.is_cut() { &allowed[..] } else { &[&empty] };
                is_one_of(&left, allowed, &what);
                store.backup_sim(&left).unwrap_or_else(|e| panic!("{what}: {e:?}"));
                let opened = Options::new().open_read_only_sim(&left).expect("a store");
                assert!(content(&opened) == after, "{what}");
                // What has been said to be durable is.
                let opened = Options::new().open_read_only_sim(&left.power_cut());
                let opened = opened.unwrap_or_else(|e| panic!("{what}: {e:?}"));
                assert!(opened.verify().expect("readable").is_ok(), "{what}");
                assert!(content(&opened) == after, "{what}");
            }
            at += 1;
            n += 1;
            if !more {
                break;
            }
        }
        println!("continued {continued}: {at} ends");
    }
}

#[test]
pub(super) fn a_backup_can_end_at_every_point() {
    ends(|dest, at, backup| {
        let point = POINTS[usize::try_from(at / 3).expect("small") % POINTS.len()];
        let (cut, left) = (dest.clone(), std::cell::Cell::new(at % 3));
        at_points(Some(Box::new(move |reached| {
            if reached == point && left.replace(left.get().wrapping_sub(1)) == 0 {
                cut.cut();
            }
        })));
        let _ = backup();
        at_points(None);
        dest.cut();
        at + 1 < 3 * POINTS.len() as u64
    });
}

#[test]
fn a_backup_can_end_at_every_call() {
    let step = if super::rounds::long().is_some() { 1 } else { 7 };
    ends(|dest, at, backup| {
        let calls = at * step;
        dest.cut_after(calls);
        let whole = backup().is_ok();
        dest.cut();
        !whole
    });
}

#[test]
fn any_call_of_a_backup_may_fail() {
    let calls = [
        Call::Open,
        Call::Create,
        Call::Grow,
        Call::Map,
        Call::Msync,
        Call::Fsync,
        Call::SyncDir,
        Call::Rename,
        Call::Remove,
        Call::List,
        Call::Lock,
        Call::Read,
        Call::Write,
        Call::Punch,
    ];
    let mut random = Random(7);
    for (number, call) in (0u64..).zip(calls) {
        for continued in [false, true] {
            let mut after = 0;
            loop {
                let source = SimDisk::new(2);
                let store = store(&source);
                let dest = SimDisk::new(5000 + number);
                if continued {
                    store.backup_sim(&dest).expect("a backup");
                    go_on(&store);
                }
                let errno = if call == Call::Grow { 28 } else { 5 };
                dest.fail(Fault { call, after, errno, times: 1 });
                let result = store.backup_sim(&dest);
                let failed = !dest.mend().is_empty();
                if let Err(error) = &result {
                    assert!(!matches!(error, Error::Corrupt { .. }), "{call:?}: {error:?}");
                    dest.drop_caches();
                    match Options::new().create(false).open_read_only_sim(&dest) {
                        Err(
                            Error::UnfinishedBackup { .. }
                            | Error::NotFound { .. }
                            | Error::NotAStore { .. },
                        ) => {}
                        Err(error) => panic!("{call:?} {after}: {error:?}"),
                        Ok(left) => assert!(left.verify().expect("readable").is_ok(), "{call:?}"),
                    }
                    store.backup_sim(&dest).unwrap_or_else(|e| panic!("{call:?} {after}: {e:?}"));
                }
                let backup = Options::new().open_read_only_sim(&dest).expect("a store");
                assert!(content(&backup) == content(&store), "{call:?} {after}");
                assert!(backup.verify().expect("readable").is_ok(), "{call:?} {after}");
                if !failed {
                    break;
                }
                after += 1 + random.below(4);
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_and_the_backup_goes_on_when_there_is_room() {
    for continued in [false, true] {
        for room in 0..12u64 {
            let source = SimDisk::new(3);
            let store = store(&source);
            let dest = SimDisk::new(9000 + room);
            if continued {
                store.backup_sim(&dest).expect("a backup");
                go_on(&store);
            }
            let before = continued
                .then(|| content(&Options::new().open_read_only_sim(&dest).expect("a store")));
            dest.capacity(Some(dest.used() + room * (16 << 10)));
            match store.backup_sim(&dest) {
                Err(error) => {
                    assert!(matches!(error, Error::Full { .. }), "{room}: {error:?}");
                    let left = Options::new().create(false).open_read_only_sim(&dest);
                    // What finds no room for the first byte changes nothing.
                    assert!(
                        left.ok().map(|left| content(&left)).is_none_or(|it| Some(it) == before)
                    );
                }
                Ok(_) => assert!(room > 3, "{room}"),
            }
            assert!(store.verify().expect("readable").is_ok());
            dest.capacity(None);
            store.backup_sim(&dest).expect("a backup");
            let backup = Options::new().open_read_only_sim(&dest).expect("a store");
            assert!(content(&backup) == content(&store), "{room}");
        }
    }
}

const PLACE: &str = "MAPSTONE_TEST_BACKUP";

/// The part of a process that makes a backup of a store in another, and is killed.
#[test]
fn play_a_part() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = Path::new(&place);
    let store = options().open_read_only(place).expect("a store");
    store.backup(place.with_file_name("backup")).expect("a backup");
}

fn child(place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "cut_short::play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(PLACE, place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The writer is this process; another one makes the backup, through a handle that only reads, and is killed at every point.
#[test]
fn a_process_that_makes_a_backup_can_be_killed_at_every_point() {
    for point in POINTS {
        let ground = ground();
        let store = options().open(&ground.store).expect("a new store");
        put(&store, 0..2000, 1);
        for round in 0..2 {
            let crash = format!("{}:{}", point.name(), 1);
            let status = child(&ground.store).env(CRASH_AT, crash).status().expect("a process");
            let reached = !status.success();
            assert!(reached || round == 1 && point == Point::BackupEmptied, "{point:?} {round}");
            match options().open_read_only(&ground.dest) {
                Err(
                    Error::UnfinishedBackup { .. }
                    | Error::NotFound { .. }
                    | Error::NotAStore { .. },
                ) => {
                    assert!(reached, "{point:?}");
                }
                Err(error) => panic!("{point:?}: {error:?}"),
                Ok(backup) => assert!(backup.verify().expect("readable").is_ok()),
            }
            assert!(child(&ground.store).status().expect("a process").success(), "{point:?}");
            assert!(sound(&ground.dest) == content(&store), "{point:?}");
            // No mark is left behind: compaction gets everything.
            put(&store, 0..2000, 2);
            let done = store.compact(|_| true).expect("space");
            assert_eq!(done.held, 0, "{point:?}");
        }
        assert!(store.holders().expect("readable").is_empty());
    }
}

#[test]
fn a_process_that_makes_a_backup_can_be_killed_at_random() {
    let long = super::rounds::long();
    let start = std::time::Instant::now();
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..3000, 1);
    let mut random = Random(11);
    let (mut kills, mut number) = (0, 0);
    while long.map_or(number < 12, |long| start.elapsed() < long) {
        number += 1;
        put(&store, 0..500, u8::try_from(number % 200).expect("small"));
        if number % 3 == 0 {
            store.compact(|_| true).expect("space");
        }
        let mut process = child(&ground.store).spawn().expect("a process");
        std::thread::sleep(std::time::Duration::from_micros(random.below(40_000)));
        let _ = process.kill();
        kills += u32::from(!process.wait().expect("it ends").success());
        match options().open_read_only(&ground.dest) {
            Ok(backup) => assert!(backup.verify().expect("readable").is_ok()),
            Err(
                Error::UnfinishedBackup { .. } | Error::NotFound { .. } | Error::NotAStore { .. },
            ) => {}
            Err(error) => panic!("{error:?}"),
        }
        if number % 4 == 0 {
            store.backup(&ground.dest).expect("a backup");
            assert!(sound(&ground.dest) == content(&store));
        }
    }
    println!("{kills} kills");
}
