//! Transactions and single atomic calls: what is read under the writer lock is still so at the commit, and nothing of a
//! transaction that is given up is ever seen.
#![cfg(feature = "sim")]

use std::collections::BTreeMap;

use mapstone::sim::{Bug, plant};
use mapstone::{Error, Options, Store, Table, WriteTxn};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Options::new().segment_size(1 << 16).open(dir.path().join("db")).expect("a store");
    (dir, store)
}

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

#[test]
fn a_transaction_reads_what_it_wrote_and_nobody_else_does() -> mapstone::Result<()> {
    let (_dir, store) = store();
    let table = store.table("named")?;
    store.put("a", "1")?;
    table.put("a", "11")?;
    let mut txn = store.write()?;
    txn.put("a", "2")?.put_in(&table, "b", "12")?;
    assert!(txn.delete_in(&table, "a")?);
    assert!(!txn.delete("none")?);
    assert_eq!(txn.get("a")?.as_deref(), Some(&b"2"[..]));
    assert_eq!(txn.get_in(&table, "a")?, None);
    assert_eq!(txn.get_in(&table, "b")?.expect("written").view_slice::<u16>()?.len(), 1);
    assert_eq!(store.get("a")?.as_deref(), Some(&b"1"[..]));
    let position = txn.commit()?;
    assert_eq!(store.position(), position);
    assert_eq!(store.get("a")?.as_deref(), Some(&b"2"[..]));
    assert_eq!(table.get("a")?, None);
    assert!(store.verify()?.is_ok());
    Ok(())
}

/// What a transaction and all its savepoints hold, the last on top.
type Levels = Vec<BTreeMap<u64, u64>>;

/// Random writes through savepoints within savepoints, each released or given up; `left` calls are still to be made.
fn nest(txn: &mut WriteTxn<'_>, table: &Table, levels: &mut Levels, left: &mut u64) {
    while *left > 0 {
        *left -= 1;
        let dice = left.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) % 1_000;
        let (key, depth) = (dice / 10 % 8, levels.len());
        let top = levels.last_mut().expect("a level");
        match dice % 10 {
            0..4 => {
                txn.put_in(table, key.to_le_bytes(), left.to_le_bytes()).expect("short");
                top.insert(key, *left);
            }
            4..6 => {
                let had = txn.delete_in(table, key.to_le_bytes()).expect("short");
                assert_eq!(had, top.remove(&key).is_some());
            }
            6 if depth > 1 => return,
            _ => {
                let here = top.clone();
                levels.push(here.clone());
                let mut savepoint = txn.savepoint();
                nest(&mut savepoint, table, levels, left);
                let above = levels.pop().expect("a level");
                match dice % 3 {
                    0 => {
                        savepoint.release();
                        *levels.last_mut().expect("a level") = above;
                    }
                    1 => drop(savepoint),
                    _ => {
                        savepoint.rollback();
                        same(&savepoint, table, &here);
                        savepoint.release();
                    }
                }
            }
        }
        same(txn, table, levels.last().expect("a level"));
    }
}

fn same(txn: &WriteTxn<'_>, table: &Table, expected: &BTreeMap<u64, u64>) {
    for key in 0..8_u64 {
        let found = txn.get_in(table, key.to_le_bytes()).expect("get");
        assert_eq!(found.map(|value| number(Some(&value))), expected.get(&key).copied());
    }
}

#[test]
fn savepoints_within_savepoints_are_released_or_given_up() -> mapstone::Result<()> {
    let (_dir, store) = store();
    let table = store.table("named")?;
    for key in 0..4_u64 {
        table.put(key.to_le_bytes(), key.to_le_bytes())?;
    }
    let mut levels = vec![(0..4).map(|key| (key, key)).collect::<BTreeMap<u64, u64>>()];
    let mut txn = store.write()?;
    nest(&mut txn, &table, &mut levels, &mut 5_000);
    txn.commit()?;
    let txn = store.write()?;
    same(&txn, &table, &levels[0]);
    Ok(())
}

#[test]
fn what_is_rolled_back_was_never_there() -> mapstone::Result<()> {
    let (_dir, store) = store();
    store.put("a", "1")?;
    let before = store.position();
    let mut txn = store.write()?;
    txn.put("a", "2")?;
    drop(txn);
    let failed: Result<(), Error> = store.update(|txn| {
        txn.put("b", "3")?;
        Err(Error::Conflict)
    });
    assert!(matches!(failed, Err(Error::Conflict)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.fetch_update("a", |_| std::panic::resume_unwind(Box::new("planned")))
    }));
    assert!(panicked.is_err());
    assert_eq!(store.position(), before);
    assert_eq!(store.get("a")?.as_deref(), Some(&b"1"[..]));
    store.put("a", "4")?;
    Ok(())
}

#[test]
fn a_write_beside_the_own_transaction_is_an_error_and_no_deadlock() -> mapstone::Result<()> {
    let (_dir, store) = store();
    let txn = store.write()?;
    assert!(matches!(store.put("a", "1"), Err(Error::InTransaction)));
    assert!(matches!(store.write(), Err(Error::InTransaction)));
    assert!(matches!(store.checkpoint(), Err(Error::InTransaction)));
    assert!(matches!(store.verify(), Err(Error::InTransaction)));
    drop(txn);
    store.fetch_update("a", |_| {
        assert!(matches!(store.delete("a"), Err(Error::InTransaction)));
        Some(vec![1])
    })?;
    store.put("a", "1")
}

#[test]
fn single_calls_tell_what_they_found() -> mapstone::Result<()> {
    let (_dir, store) = store();
    let table = store.table("named")?;
    assert!(table.put_if_absent("k", "1")?);
    assert!(!table.put_if_absent("k", "2")?);
    assert!(store.put_if_absent("k", "0")?, "another table");
    assert!(!table.compare_and_swap("k", Some(b"2"), None)?);
    assert!(table.compare_and_swap("k", Some(b"1"), Some(b"3"))?);
    assert_eq!(table.fetch_update("k", |_| None)?.as_deref(), Some(&b"3"[..]));
    assert!(table.get("k")?.is_none());
    store.drop_table("named")?;
    assert!(matches!(table.put_if_absent("k", "1"), Err(Error::NoSuchTable { .. })));
    Ok(())
}

#[test]
fn an_optimistic_transaction_conflicts_with_what_it_has_read_alone() -> mapstone::Result<()> {
    let (_dir, store) = store();
    store.put("read", "1")?;
    let begin = || {
        let mut txn = store.optimistic()?;
        assert!(txn.get("read")?.is_some() && txn.get("absent")?.is_none());
        txn.put("written", "2")?;
        mapstone::Result::Ok(txn)
    };
    let txn = begin()?;
    store.put("other", "3")?;
    txn.commit_if_unchanged()?;
    let txn = begin()?;
    store.put("read", "1")?;
    assert!(matches!(txn.commit_if_unchanged(), Err(Error::Conflict)), "the same value, newer");
    let txn = begin()?;
    store.put("absent", "")?;
    assert!(matches!(txn.commit_if_unchanged(), Err(Error::Conflict)));
    store.delete("absent")?;
    let txn = begin()?;
    store.put("absent", "")?;
    store.delete("absent")?;
    txn.commit_if_unchanged()?;
    Ok(())
}

/// Four threads add to one number, each in another way.
fn total(bug: Option<Bug>) -> u64 {
    const EACH: u64 = 300;
    let (_dir, store) = store();
    let add = |number: u64| (number + 1).to_le_bytes();
    let swap = || {
        loop {
            let old = store.get("n").expect("readable").map(|value| value.to_vec());
            let new = add(number(old.as_deref()));
            if store.compare_and_swap("n", old.as_deref(), Some(&new)).expect("space") {
                break;
            }
        }
    };
    let optimistic = || {
        loop {
            let mut txn = store.optimistic().expect("memory");
            let new = add(number(txn.get("n").expect("readable").as_deref()));
            txn.put("n", new).expect("short");
            match txn.commit_if_unchanged() {
                Err(Error::Conflict) => {}
                result => {
                    result.expect("space");
                    break;
                }
            }
        }
    };
    let update = || {
        let more = |old: Option<&[u8]>| Some(add(number(old)).to_vec());
        store.fetch_update("n", more).expect("space");
    };
    let ways: [&(dyn Fn() + Sync); 4] = [&swap, &swap, &optimistic, &update];
    std::thread::scope(|scope| {
        for way in ways {
            scope.spawn(move || {
                plant(bug);
                (0..EACH).for_each(|_| way());
            });
        }
    });
    let sum = number(store.get("n").expect("readable").as_deref());
    assert!(sum <= 4 * EACH);
    4 * EACH - sum
}

#[test]
fn no_addition_of_many_threads_is_lost() {
    assert_eq!(total(None), 0);
}

#[test]
fn additions_are_lost_when_nothing_is_compared_under_the_lock() {
    for bug in [Bug::CompareUnlocked, Bug::SkipValidate] {
        assert!((0..20).any(|_| total(Some(bug)) > 0), "{} is not noticed", bug.name());
    }
}
