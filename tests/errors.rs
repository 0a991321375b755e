//! Every door that may not open: each a clear error of the right kind, and nothing on disk changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mapstone::{Error, Options, Result, Store};

/// All files below a directory with their bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

/// A closed store of several segments with some keys.
fn store_in(dir: &Path) -> PathBuf {
    let path = dir.join("store");
    let store = Options::new().segment_size(4096).open(&path).expect("a fresh store");
    for i in 0..200 {
        store.put(format!("key {i}"), format!("value {i}")).expect("space");
    }
    store.close().expect("a clean close");
    path
}

/// Opens, both ways, what `damage` has made of a store; both must fail as `wanted` says, and change nothing.
fn refused(damage: impl FnOnce(&Path), wanted: impl Fn(&Error) -> bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    damage(&path);
    both_refuse(&path, wanted);
}

fn both_refuse(path: &Path, wanted: impl Fn(&Error) -> bool) {
    let holder = path.parent().expect("in a directory");
    let before = contents(holder);
    for open in [Store::open_read_only as fn(PathBuf) -> Result<Store>, Store::open] {
        let error = open(path.to_path_buf()).expect_err("nothing that can be opened");
        assert!(wanted(&error), "{error:?}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
    assert_eq!(before, contents(holder), "something was changed");
}

fn patch(path: &Path, offset: usize, bytes: &[u8]) {
    let mut content = fs::read(path).expect("a file");
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).expect("its owner may");
}

/// Changes a byte whatever it is: in a random id, or a checksum over one, any value may be the right one.
fn flip(path: &Path, offset: usize) {
    let found = fs::read(path).expect("a file")[offset];
    patch(path, offset, &[!found]);
}

fn truncate(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(len)).expect("may");
}

fn corrupt_in(name: &'static str) -> impl Fn(&Error) -> bool {
    move |error| matches!(error, Error::Corrupt { file, .. } if file.ends_with(name))
}

#[test]
fn what_is_no_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("a file");
    both_refuse(&file, |error| matches!(error, Error::NotAStore { .. }));

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("letter.txt"), "dear").expect("a file");
    both_refuse(&foreign, |error| matches!(error, Error::NotAStore { .. }));

    let logs = dir.path().join("logs");
    fs::create_dir_all(logs.join("log")).expect("a directory");
    fs::write(logs.join("log/today.txt"), "all well").expect("a file");
    both_refuse(&logs, |error| matches!(error, Error::NotAStore { .. }));
}

#[test]
fn absent_or_present_against_the_options() {
    let dir = tempfile::tempdir().expect("a directory");
    let absent = dir.path().join("absent");
    assert!(matches!(Store::open_read_only(&absent), Err(Error::NotFound { .. })));
    let opened = Options::new().create(false).open(&absent);
    assert!(matches!(opened, Err(Error::NotFound { .. })));
    assert!(!absent.exists());
    let path = store_in(dir.path());
    let opened = Options::new().create_new(true).open(&path);
    assert!(matches!(opened, Err(Error::AlreadyExists { .. })));
    for size in [0, 1000, 2048, 3 << 12] {
        let opened = Options::new().segment_size(size).open(&absent);
        assert!(matches!(opened, Err(Error::InvalidOption { .. })), "{size}");
    }
    assert!(!absent.exists());
}

#[test]
fn a_foreign_meta() {
    let foreign = |path: &Path| fs::write(path.join("meta"), vec![7; 12288]).expect("may");
    refused(
        |path| {
            foreign(path);
            fs::remove_dir_all(path.join("log")).expect("may");
        },
        |error| matches!(error, Error::NotAStore { .. }),
    );
    // Beside a log it was a store's.
    refused(foreign, corrupt_in("meta"));
}

#[test]
fn a_newer_version() {
    let newer = |path: &Path| patch(&path.join("meta"), 8, &2u32.to_le_bytes());
    refused(
        |path| {
            newer(path);
            patch(&path.join("meta"), 60, &[1, 2, 3, 4]);
        },
        |error| matches!(error, Error::Version { found: 2, supported: 1, .. }),
    );
    // Under the checksum of version 1 it is a damaged one.
    refused(newer, corrupt_in("meta"));
}

#[test]
fn a_damaged_superblock() {
    for offset in [13, 20, 30, 44, 50, 61] {
        refused(|path| flip(&path.join("meta"), offset), corrupt_in("meta"));
    }
}

#[test]
fn truncated_files() {
    refused(|path| truncate(&path.join("meta"), 5000), corrupt_in("meta"));
    refused(|path| truncate(&path.join("index"), 100), corrupt_in("index"));
}

#[test]
fn missing_files() {
    refused(|path| fs::remove_file(path.join("index")).expect("may"), corrupt_in("index"));
}

#[test]
fn an_index_of_another_store() {
    refused(
        |path| {
            let other = tempfile::tempdir().expect("a directory");
            let other = store_in(other.path());
            fs::copy(other.join("index"), path.join("index")).expect("may");
        },
        corrupt_in("index"),
    );
}

/// A segment is looked at when something in it is asked for.
fn unreadable(damage: impl FnOnce(&Path), name: &'static str) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    damage(&path.join("log").join(name));
    let before = contents(dir.path());
    let store = Store::open_read_only(&path).expect("its tail is sound");
    let errors: Vec<Error> = (0..200).filter_map(|i| store.get(format!("key {i}")).err()).collect();
    assert!(!errors.is_empty(), "nobody noticed");
    assert!(errors.iter().all(corrupt_in(name)), "{errors:?}");
    let damage = store.verify().expect("readable").damage;
    assert!(damage.iter().any(|damage| damage.file.ends_with(name)), "{damage:?}");
    drop(store);
    assert_eq!(before, contents(dir.path()), "something was changed");
}

#[test]
fn a_missing_segment() {
    unreadable(|segment| fs::remove_file(segment).expect("may"), "0000000001");
}

#[test]
fn a_truncated_segment() {
    unreadable(|segment| truncate(segment, 1024), "0000000001");
    unreadable(|segment| truncate(segment, 10), "0000000001");
}

#[test]
fn a_segment_of_another_store() {
    let other = tempfile::tempdir().expect("a directory");
    let foreign = store_in(other.path()).join("log/0000000001");
    unreadable(
        |segment| {
            fs::copy(foreign, segment).expect("may");
        },
        "0000000001",
    );
}

#[test]
fn the_segment_in_which_the_log_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    let last =
        fs::read_dir(path.join("log")).expect("there").map(|e| e.expect("there").path()).max();
    fs::remove_file(last.expect("a segment")).expect("may");
    let before = contents(dir.path());
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
    assert_eq!(before, contents(dir.path()), "something was changed");
}

#[test]
fn a_flipped_byte_is_found_by_verify_and_on_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    let segment = path.join("log/0000000001");
    let content = fs::read(&segment).expect("a segment");
    let at = content.windows(6).position(|window| window == b"value ").expect("a value");
    patch(&segment, at, b"V");
    let store = Store::open_read_only(&path).expect("a closed store");
    let damage = store.verify().expect("readable").damage;
    let found = damage.iter().find(|damage| damage.file == segment).expect("the damage");
    assert!(found.offset <= at as u64 && at as u64 - found.offset < 64, "{found}");
    let careful = Options::new().verify_on_read(true).open_read_only(&path).expect("the same");
    let errors = (0..200).filter(|i| careful.get(format!("key {i}")).is_err()).count();
    assert_eq!(errors, 1);
}

#[test]
fn a_store_without_a_valid_checkpoint_after_a_lost_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    // No clean close, and a life that no machine has.
    patch(&path.join("meta"), 8192, &[0; 8]);
    patch(&path.join("meta"), 4096 + 96, &[0xEE; 8]);
    let reading = Store::open_read_only(&path);
    assert!(matches!(reading, Err(Error::NeedsRecovery { .. })), "{reading:?}");
    for name in ["checkpoint.a", "checkpoint.b"] {
        patch(&path.join(name), 40, &[0xFF; 4]);
    }
    let opened = Store::open(&path);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn too_large() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a fresh store");
    let position = store.position();
    let key = vec![b'k'; 65_536];
    assert!(matches!(store.put(&key, ""), Err(Error::TooLarge { what: "key", max: 65_535, .. })));
    assert!(matches!(store.batch().delete(&key), Err(Error::TooLarge { what: "key", .. })));
    let huge = store.put_with("key", 1 << 32, |_| unreachable!("refused at the door"));
    assert!(matches!(huge, Err(Error::TooLarge { what: "value", .. })));
    let name = "n".repeat(256);
    assert!(matches!(store.table(&name), Err(Error::TooLarge { what: "table name", .. })));
    assert!(store.table("").is_err());
    assert_eq!(store.position(), position, "nothing was committed");
    store.put(&key[..65_535], "the largest key").expect("space");
    assert_eq!(store.get(&key[..65_535]).expect("sound").as_deref(), Some(&b"the largest key"[..]));
}

#[test]
fn read_only_handles_write_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = store_in(dir.path());
    let before = contents(dir.path());
    let store = Store::open_read_only(&path).expect("a closed store");
    assert!(matches!(store.put("key", "value"), Err(Error::ReadOnly)));
    assert!(matches!(store.delete("key 1"), Err(Error::ReadOnly)));
    assert!(matches!(store.put_with("key", 3, |_| ()), Err(Error::ReadOnly)));
    assert!(matches!(store.sync(), Err(Error::ReadOnly)));
    assert!(matches!(store.checkpoint(), Err(Error::ReadOnly)));
    assert!(matches!(store.drop_table("t"), Err(Error::ReadOnly)));
    assert!(matches!(store.table("t"), Err(Error::NoSuchTable { .. })));
    let mut batch = store.batch();
    batch.put("key", "value").expect("small");
    assert!(matches!(batch.commit(), Err(Error::ReadOnly)));
    drop((store, batch));
    assert_eq!(before, contents(dir.path()));
}

#[test]
fn views_that_do_not_fit() {
    #[derive(Clone, Copy, bytemuck::AnyBitPattern)]
    #[repr(C, align(64))]
    struct Wide {
        _bytes: [u8; 64],
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a fresh store");
    store.put("value", [0; 64]).expect("space");
    let value = store.get("value").expect("sound").expect("just put");
    assert!(value.view::<[u64; 8]>().is_ok());
    assert!(matches!(value.view::<u64>(), Err(Error::View { len: 64, .. })));
    assert!(matches!(value.view_slice::<[u8; 7]>(), Err(Error::View { .. })));
    // Values lie at multiples of 16; that one of 64 fits is luck, that it fails is an error.
    assert!(
        value.view::<Wide>().is_ok() || matches!(value.view::<Wide>(), Err(Error::View { .. }))
    );
}
