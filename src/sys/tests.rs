//! What both disks promise, held against each of them by the same tests, and what only the real one can show.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::sim::SimDisk;
use super::{Access, Disk, File, LockKind, PAGE, Region, Wishes, open_real, random_u64};

const SIZE: u64 = PAGE as u64;

/// Runs a test on a real and on a simulated disk whose store's directory is absent. Miri maps no files.
fn on_both(test: impl Fn(&dyn Disk)) {
    test(&*SimDisk::new(1).disk());
    if !cfg!(miri) {
        let dir = tempfile::tempdir().expect("temporary directory");
        test(&*open_real(&dir.path().join("a/store"), Wishes::default()));
    }
}

fn with_file(len: u64, test: impl Fn(&dyn Disk, &dyn File)) {
    on_both(|disk| {
        disk.make_dir("").expect("make the root");
        test(disk, &*disk.create("file", len).expect("create"));
    });
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.map(|_| ()).expect_err("this must fail").kind()
}

fn map(file: &dyn File, offset: u64, len: usize) -> Region {
    file.map(offset, len, Access::Write).expect("map")
}

fn bytes_of(file: &dyn File, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; len];
    file.read_at(&mut bytes, offset).expect("read");
    bytes
}

#[test]
fn directories_are_made_once_and_listed_in_order() {
    on_both(|disk| {
        assert_eq!(kind(disk.list("")), ErrorKind::NotFound);
        assert_eq!(kind(disk.make_dir("log")), ErrorKind::NotFound);
        for dir in ["", "", "log", "log"] {
            disk.make_dir(dir).expect("make a directory");
        }
        for name in ["z", "log/2", "log/1", "a"] {
            disk.create(name, 0).expect("create");
        }
        assert_eq!(disk.list("").expect("list"), ["a", "log", "z"]);
        assert_eq!(disk.list("log").expect("list"), ["1", "2"]);
        assert_eq!(kind(disk.list("a")), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.make_dir("a")), ErrorKind::NotADirectory);
        disk.sync_dir("log").expect("sync a directory");
        assert_eq!(kind(disk.sync_dir("none")), ErrorKind::NotFound);
    });
}

#[test]
fn only_regular_files_that_exist_can_be_opened() {
    on_both(|disk| {
        disk.make_dir("").expect("make the root");
        disk.make_dir("log").expect("make a directory");
        assert_eq!(kind(disk.open("none", Access::Read)), ErrorKind::NotFound);
        assert_eq!(kind(disk.open("log", Access::Read)), ErrorKind::InvalidInput);
        assert_eq!(kind(disk.create("none/file", 0)), ErrorKind::NotFound);
        assert_eq!(kind(disk.remove("none")), ErrorKind::NotFound);
        assert_eq!(kind(disk.rename("none", "other")), ErrorKind::NotFound);
    });
}

#[test]
fn a_leftover_keeps_its_bytes_for_those_who_mapped_it() {
    with_file(SIZE, |disk, old| {
        let region = map(old, 0, PAGE);
        region.write(0, b"old");
        let new = disk.create("file", SIZE).expect("create over it");
        assert_eq!(bytes_of(&*new, 0, 3), [0; 3]);
        assert_eq!(region.bytes(0, 3), Some(&b"old"[..]));
        assert_ne!(new.identity().expect("identity"), old.identity().expect("identity"));
        let again = disk.open("file", Access::Read).expect("open");
        assert_eq!(again.identity().expect("identity"), new.identity().expect("identity"));
    });
}

#[test]
fn growing_adds_zeros_and_never_shrinks() {
    with_file(SIZE, |_, file| {
        file.write_at(&[7; PAGE], 0).expect("write");
        file.grow(100).expect("no growth");
        assert_eq!(file.len().expect("length"), SIZE);
        file.grow(3 * SIZE).expect("growth");
        assert_eq!(file.len().expect("length"), 3 * SIZE);
        assert_eq!(bytes_of(file, 0, PAGE), [7; PAGE]);
        assert_eq!(bytes_of(file, SIZE, 2 * PAGE), [0; 2 * PAGE]);
        assert_eq!(kind(file.read_at(&mut [0; 2], 3 * SIZE - 1)), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn maps_reads_and_writes_see_the_same_bytes() {
    with_file(SIZE, |disk, file| {
        let beyond = map(file, 0, 4 * PAGE);
        file.grow(4 * SIZE).expect("growth");
        file.write_at(b"written", 3 * SIZE - 3).expect("write");
        let other = disk.open("file", Access::Read).expect("open");
        let part = other.map(2 * SIZE, 2 * PAGE, Access::Read).expect("map a part");
        assert_eq!(beyond.bytes(3 * PAGE - 3, 7), Some(&b"written"[..]));
        assert_eq!(part.bytes(PAGE - 3, 7), Some(&b"written"[..]));
        beyond.word_to_store(3 * PAGE + 8).expect("a word").store(42, Relaxed);
        assert_eq!(part.word(PAGE + 8).expect("a word").load(Relaxed), 42);
        assert_eq!(bytes_of(&*other, 3 * SIZE + 8, 8), 42_u64.to_ne_bytes());
        file.overwrite(b"over", 3 * SIZE - 2).expect("overwrite");
        assert_eq!(beyond.bytes(3 * PAGE - 3, 7), Some(&b"woveren"[..]));
        beyond.sync(2 * PAGE + 17, 2 * PAGE).expect("sync");
        file.sync().expect("sync");
    });
}

#[test]
fn a_region_refuses_what_is_misaligned_or_out_of_range() {
    with_file(SIZE, |_, file| {
        let region = map(file, 0, PAGE - 4);
        assert_eq!(region.len(), PAGE - 4);
        for (offset, fits) in
            [(0, true), (4, false), (PAGE - 16, true), (PAGE - 8, false), (usize::MAX - 7, false)]
        {
            assert_eq!(region.word(offset).is_some(), fits, "word at {offset}");
        }
        assert_eq!(region.words(8, 510).map(<[_]>::len), Some(510));
        assert!(region.words(8, 511).is_none() && region.words(1, 0).is_none());
        assert!(region.words(8, usize::MAX).is_none());
        assert_eq!(region.bytes(PAGE - 4, 0), Some(&[][..]));
        assert!(region.bytes(PAGE - 4, 1).is_none() && region.bytes(1, usize::MAX).is_none());
        region.prefetch(0, 3 * PAGE);
        region.prefetch(usize::MAX, usize::MAX);
        region.sync(usize::MAX, 9).expect("nothing to sync");
        region.sync(PAGE - 5, usize::MAX).expect("the clipped rest");
        assert_eq!(kind(file.map(8, PAGE, Access::Write)), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_region_writes_where_it_is_told() {
    with_file(SIZE, |_, file| {
        let region = map(file, 0, PAGE);
        region.fill(16, 32, |space| space.fill(9));
        region.write(20, &[1, 2]);
        region.zero(40, 4);
        let mut expected = [9; 32];
        expected[4..6].copy_from_slice(&[1, 2]);
        expected[24..28].fill(0);
        assert_eq!(bytes_of(file, 16, 32), expected);
        assert_eq!((bytes_of(file, 15, 1), bytes_of(file, 48, 1)), (vec![0], vec![0]));
    });
}

/// Kilobytes of the mapping at an address that its page table knows.
fn known(address: *const u8) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("a kernel that tells");
    let mut lines =
        maps.lines().skip_while(|line| !line.starts_with(&format!("{:x}-", address.addr())));
    let line = lines.find(|line| line.starts_with("Rss:")).expect("such a mapping");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "maps memory")]
#[cfg_attr(one_mapping, ignore = "there are not two")]
fn what_is_synced_is_known_to_who_reads_and_forgotten_for_stores() {
    const LEN: usize = 20 << 20;
    let dir = tempfile::tempdir().expect("directory");
    let file = open_real(dir.path(), Wishes::default()).create("file", LEN as u64).expect("a file");
    let region = file.map(0, LEN, Access::Write).expect("map");
    let word = |page: usize| region.word(page * PAGE).expect("in range").load(Relaxed);
    let store = |value| {
        for page in 0..LEN / PAGE {
            region
                .word_to_store(page * PAGE)
                .expect("in range")
                .store(value + page as u64, Relaxed);
        }
    };
    let reads = region.bytes(0, 1).expect("in range").as_ptr();
    let stores: *const u8 = region.word_to_store(0).expect("in range").as_ptr().cast();
    store(1);
    assert_eq!((known(reads), known(stores)), (0, LEN as u64 / 1024));
    region.sync(0, LEN).expect("sync");
    assert_eq!((known(reads), known(stores)), (LEN as u64 / 1024, 0));
    assert!((0..LEN / PAGE).all(|page| word(page) == 1 + page as u64));
    store(7);
    assert!((0..LEN / PAGE).all(|page| word(page) == 7 + page as u64));
    region.sync(PAGE, PAGE).expect("sync");
    assert_eq!(known(stores), LEN as u64 / 1024, "a little is synced as it is");
    region.scattered(LEN);
    region.sync(0, LEN).expect("sync");
    assert_eq!(known(stores), LEN as u64 / 1024, "so is a file that memory does not hold");
}

#[test]
fn pages_hold_what_they_held_however_they_come() {
    with_file(4 * SIZE, |_, file| {
        let region = map(file, 0, 4 * PAGE);
        region.write(PAGE, &[7; 8]);
        region.sync(PAGE, 8).expect("sync");
        // This one is dirty.
        region.write(2 * PAGE, &[8; 8]);
        let held = || {
            [1, 2, 3].map(|page| region.bytes(page * PAGE, 8).expect("in range")[0]) == [7, 8, 0]
        };
        region.singly(PAGE + 9);
        assert!(held());
        region.sync(0, usize::MAX).expect("sync");
        file.evict(0);
        assert!(held());
        region.dirty(PAGE, usize::MAX);
        region.dirty(usize::MAX, 1);
        region.stores_together();
        region.dirty(0, PAGE);
        region.singly(usize::MAX);
        assert!(held());
        region.together();
        region.sync(0, usize::MAX).expect("sync");
        assert!(held());
        assert_eq!(bytes_of(file, 2 * PAGE as u64, 8), [8; 8]);
    });
}

#[test]
fn writes_out_of_range_or_into_a_reader_panic() {
    with_file(SIZE, |_, file| {
        for access in [Access::Read, Access::Write] {
            let region = file.map(0, PAGE, access).expect("map");
            let write = |offset| {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    region.write(offset, &[1; 8])
                }))
                .is_ok()
            };
            assert_eq!(write(PAGE - 8), access == Access::Write);
            assert!(!write(PAGE - 7) && !write(usize::MAX));
        }
    });
}

#[test]
fn a_reading_handle_cannot_write() {
    with_file(SIZE, |disk, _| {
        let file = disk.open("file", Access::Read).expect("open");
        assert!(file.map(0, PAGE, Access::Write).is_err());
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.grow(2 * SIZE).is_err());
        assert!(file.map(0, PAGE, Access::Read).is_ok());
    });
}

#[test]
fn a_punched_range_is_zero_and_its_surroundings_are_not() {
    with_file(4 * SIZE, |_, file| {
        file.write_at(&[5; 4 * PAGE], 0).expect("write");
        file.punch(SIZE, 2 * SIZE).expect("punch");
        file.punch(0, 0).expect("punch nothing");
        assert_eq!(bytes_of(file, SIZE, 2 * PAGE), [0; 2 * PAGE]);
        assert_eq!(
            (bytes_of(file, 0, PAGE), bytes_of(file, 3 * SIZE, PAGE)),
            (vec![5; PAGE], vec![5; PAGE])
        );
        assert_eq!(file.len().expect("length"), 4 * SIZE);
    });
}

#[test]
fn names_move_and_vanish_and_handles_stay() {
    with_file(SIZE, |disk, file| {
        file.write_at(b"one", 0).expect("write");
        disk.create("other", SIZE).expect("create");
        disk.rename("file", "other").expect("rename");
        assert_eq!(disk.list("").expect("list"), ["other"]);
        assert_eq!(bytes_of(&*disk.open("other", Access::Read).expect("open"), 0, 3), b"one");
        disk.remove("other").expect("remove");
        assert!(disk.list("").expect("list").is_empty());
        assert_eq!(bytes_of(file, 0, 3), b"one");
    });
}

#[test]
fn locks_belong_to_handles_and_die_with_them() {
    with_file(0, |disk, _| {
        let open = || disk.open("file", Access::Read).expect("open");
        let lock = |file: &Arc<dyn File>, kind| file.try_lock(kind).expect("lock");
        let (one, two) = (open(), open());
        assert!(lock(&one, LockKind::Shared) && lock(&two, LockKind::Shared));
        assert!(!lock(&open(), LockKind::Exclusive), "shared locks are in the way");
        two.unlock().expect("unlock");
        assert!(lock(&one, LockKind::Exclusive), "its own shared lock is converted");
        assert!(!lock(&two, LockKind::Shared) && !lock(&two, LockKind::Exclusive));
        drop(one);
        assert!(lock(&two, LockKind::Exclusive), "the owner is gone");
    });
}

#[test]
fn life_is_the_same_for_all_handles_of_a_file() {
    with_file(0, |disk, file| {
        let life = disk.life(file).expect("life");
        assert_ne!(life, 0);
        assert_eq!(
            disk.life(&*disk.open("file", Access::Read).expect("open")).expect("life"),
            life
        );
        assert_eq!(disk.coherent().expect("coherence"), Ok(()));
    });
}

#[test]
#[cfg_attr(miri, ignore = "maps real files")]
fn real_files_are_private_and_their_blocks_reserved() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let disk = open_real(&dir.path().join("store"), Wishes::default());
    disk.make_dir("").expect("make the root");
    let file = disk.create("file", 10 * SIZE).expect("create");
    let mode = |path: &str| {
        disk.root().join(path).metadata().expect("metadata").permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("file")), (0o700, 0o600));
    file.grow(20 * SIZE).expect("growth");
    assert!(disk.root().join("file").metadata().expect("metadata").blocks() * 512 >= 20 * SIZE);
}

#[test]
#[cfg_attr(miri, ignore = "maps real files")]
fn a_real_file_that_cannot_grow_keeps_its_length() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let disk = open_real(dir.path(), Wishes::default());
    let file = disk.create("file", SIZE).expect("create");
    assert!(file.grow(1 << 62).is_err());
    assert_eq!(file.len().expect("length"), SIZE);
    assert!(disk.create("huge", 1 << 62).is_err());
    assert_eq!(disk.list("").expect("list"), ["file"]);
}

/// Says where the file is, to a process that may not have files as large.
const LIMITED: &str = "MAPSTONE_TEST_LIMITED";

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_file_that_may_not_be_as_large_is_not_overwritten() {
    if let Some(path) = std::env::var_os(LIMITED) {
        let disk = open_real(path.as_ref(), Wishes::default());
        let file = disk.open("file", Access::Write).expect("open");
        assert_eq!(kind(file.overwrite(b"bytes", 15 * SIZE)), ErrorKind::FileTooLarge);
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = open_real(dir.path(), Wishes::default()).create("file", 16 * SIZE).expect("create");
    file.overwrite(b"bytes", 15 * SIZE).expect("no limit");
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]);
    limited.arg(std::env::current_exe().expect("this program")).env(LIMITED, dir.path());
    let name = "sys::tests::a_file_that_may_not_be_as_large_is_not_overwritten";
    let output = limited.args(["--exact", name]).output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[cfg_attr(miri, ignore = "maps real files")]
fn a_real_name_that_is_no_file_does_not_block() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no mkfifo here");
    }
    for access in [Access::Read, Access::Write] {
        assert_eq!(
            kind(open_real(dir.path(), Wishes::default()).open("pipe", access)),
            ErrorKind::InvalidInput
        );
    }
}

#[test]
fn random_numbers_differ() {
    assert_ne!(random_u64(), random_u64());
}

/// On a full btrfs a store across two pages faults for ever, so what a caller writes must not go straight there.
#[test]
#[cfg_attr(miri, ignore = "maps memory")]
fn what_is_lent_of_a_mapping_that_copies_on_write_comes_there_page_by_page() {
    let anonymous = memmap2::MmapOptions::new().len(3 * PAGE).map_anon().expect("memory");
    let mapping = super::mapping::Mapping::of_memory(memmap2::MmapRaw::from(anonymous), true);
    let region = Region::new(Box::new(mapping), Access::Write);
    let (offset, len) = (PAGE - 24, PAGE + 48);
    let word = |offset| region.word(offset).expect("aligned").load(Relaxed);
    let answer = region.fill(offset, len, |bytes| {
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(7);
        assert_eq!(word(PAGE), 0, "not yet");
        42
    });
    assert_eq!(answer, 42);
    let written = region.bytes(0, 3 * PAGE).expect("in range");
    let expected = |at| if (offset..offset + len).contains(&at) { 7 } else { 0 };
    assert!(written.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    region.zero(offset, len);
    assert!(region.words(0, 3 * PAGE / 8).expect("all").iter().all(|word| word.load(Relaxed) == 0));
}
