//! A store that is damaged has no backup that is not, and the backup that it had stays.

use std::fs;
use std::os::unix::fs::FileExt;

use mapstone::Error;

use super::{content, copied, ground, options, put, segments, sound};

#[test]
pub(super) fn damage_in_the_store_is_told_and_not_copied() {
    for (which, way) in [(0, copied()), (2, copied()), (2, mapstone::BackupOptions::new())] {
        let ground = ground();
        let store = options().open(&ground.store).expect("a new store");
        put(&store, 0..2000, 1);
        let file = &segments(&ground.store)[which];
        flip(file, 20_050);
        match store.backup_with(&ground.dest, &way, |_| ()).expect_err("damage") {
            Error::Corrupt { file: named, offset, .. } => {
                assert_eq!(named, *file);
                assert!((19_000..=20_050).contains(&offset), "{offset}");
            }
            error => panic!("{error:?}"),
        }
        let error = options().open(&ground.dest).expect_err("not whole");
        assert!(matches!(error, Error::UnfinishedBackup { .. }), "{error:?}");
        flip(file, 20_050);
        store.backup_with(&ground.dest, &way, |_| ()).expect("a backup");
        assert!(sound(&ground.dest) == content(&store));
    }
}

#[test]
fn damage_in_what_is_new_leaves_the_backup_as_it_was() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..2000, 1);
    store.backup(&ground.dest).expect("a backup");
    let expected = content(&store);
    let old = segments(&ground.store).len();
    put(&store, 1000..2000, 2);
    let file = &segments(&ground.store)[old + 1];
    flip(file, 20_050);
    let error = store.backup(&ground.dest).expect_err("damage");
    assert!(matches!(&error, Error::Corrupt { file: named, .. } if named == file), "{error:?}");
    assert!(sound(&ground.dest) == expected, "the backup that there was");
    flip(file, 20_050);
    assert!(store.backup(&ground.dest).expect("a backup").continued);
    assert!(sound(&ground.dest) == content(&store));
}

fn flip(file: &std::path::Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(file).expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("long enough");
    file.write_all_at(&[byte[0] ^ 4], at).expect("space");
}
