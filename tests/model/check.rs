//! Comparing a store with what it should hold, through every door that leads to its content.

use std::collections::{BTreeMap, BTreeSet};

use mapstone::{Result, Snapshot, Store};

use super::state::{State, TABLES, Val, key_number, keys, table_name};

/// What an iteration over all tables of a snapshot gives.
pub(crate) fn read(snapshot: &Snapshot) -> Result<State> {
    let names = snapshot.tables()?;
    let tables: BTreeSet<u8> =
        (1..TABLES).filter(|table| names.contains(&table_name(*table))).collect();
    assert_eq!(names.len(), tables.len(), "{names:?}");
    let mut data = BTreeMap::new();
    for table in std::iter::once(0).chain(tables.iter().copied()) {
        for item in &open(snapshot, table)? {
            let (key, value) = item?;
            let number = key_number(key);
            let twice = data.insert((table, number), Val::of(&value));
            assert_eq!(twice, None, "key {number} of table {table} came twice");
        }
    }
    Ok(State { tables, data, numbered: false })
}

/// The content is what the state says; tells two states apart that differ in the catalogue only.
pub(crate) fn is((actual, live_bytes): &(State, u64), state: &State) -> bool {
    actual.data == state.data && actual.tables == state.tables && state.may_take(*live_bytes)
}

/// What is different, in short.
pub(crate) fn difference(actual: &State, live_bytes: u64, state: &State) -> String {
    let wrong = state.data.iter().filter(|(at, value)| actual.data.get(at) != Some(value));
    let wrong: Vec<_> = wrong.map(|(at, _)| at).collect();
    let extra: Vec<_> = actual.data.keys().filter(|at| !state.data.contains_key(at)).collect();
    let (tables, of) = (&actual.tables, &state.tables);
    let bytes = state.live_bytes();
    format!(
        "{} keys wrong {:?}, {} too many {:?}, tables {tables:?} of {of:?}, {live_bytes} of {bytes} live bytes",
        wrong.len(),
        &wrong[..wrong.len().min(4)],
        extra.len(),
        &extra[..extra.len().min(4)],
    )
}

/// What a handle holds now, and its live bytes. Tries again while an injected failure is in the way.
pub(crate) fn content(store: &Store) -> (State, u64) {
    let look = || -> Result<_> { Ok((read(&store.snapshot()?)?, store.stats()?.live_bytes)) };
    let mut tries = std::iter::repeat_with(look).take(20);
    tries.find_map(Result::ok).unwrap_or_else(|| panic!("unreadable: {}", look().unwrap_err()))
}

fn open(snapshot: &Snapshot, table: u8) -> Result<Snapshot> {
    match table {
        0 => Ok(snapshot.clone()),
        _ => Ok(snapshot.table(&table_name(table))?.expect("a table")),
    }
}

/// Everything that can be read at the snapshot's position.
pub(crate) fn snapshot(snapshot: &Snapshot, state: &State) {
    let actual = read(snapshot).expect("iteration");
    assert_eq!(actual.tables, state.tables, "tables");
    same(&actual, state);
    for table in 0..TABLES {
        if !state.has(table) {
            assert!(snapshot.table(&table_name(table)).expect("a table's name").is_none());
            continue;
        }
        let view = open(snapshot, table).expect("a table");
        let many = view.get_many(keys()).expect("get_many");
        let mut count = 0;
        for ((number, key), many) in (0..).zip(keys()).zip(many) {
            let expected = state.data.get(&(table, number)).copied();
            let one = view.get(key).expect("get").map(|value| Val::of(&value));
            assert_eq!(one, expected, "get of key {number} of table {table}");
            assert_eq!(many.map(|value| Val::of(&value)), expected, "get_many of key {number}");
            assert_eq!(view.contains(key).expect("contains"), expected.is_some());
            count += u64::from(expected.is_some());
        }
        assert_eq!(view.len().expect("len"), count);
        assert_eq!(view.is_empty().expect("is_empty"), count == 0);
    }
}

fn same(actual: &State, state: &State) {
    for (at, value) in &state.data {
        assert_eq!(actual.data.get(at), Some(value), "key {at:?} in an iteration");
    }
    for at in actual.data.keys() {
        assert!(state.data.contains_key(at), "key {at:?} should be absent");
    }
}

/// Everything that a handle tells; nobody may write meanwhile.
pub(crate) fn store(store: &Store, state: &State) {
    snapshot(&store.snapshot().expect("snapshot"), state);
    for table in (0..TABLES).filter(|table| state.has(*table)) {
        let named = (table != 0).then(|| store.table(&table_name(table)).expect("a table"));
        for (number, key) in (0..).zip(keys()).step_by(7) {
            let value = match &named {
                Some(table) => table.get(key).expect("get"),
                None => store.get(key).expect("get"),
            };
            let expected = state.data.get(&(table, number)).copied();
            assert_eq!(value.map(|value| Val::of(&value)), expected, "key {number}");
        }
    }
    // First, since who shares the store takes over from one that died for that.
    let verified = store.verify().expect("verify");
    let stats = store.stats().expect("stats");
    assert!(verified.is_ok(), "{:#?}", verified.damage);
    let entries = state.data.len() as u64;
    assert_eq!((stats.entries, verified.entries), (entries, entries), "entries");
    assert_eq!(stats.tables, state.tables.len() as u64);
    let (live, plain) = (stats.live_bytes, state.live_bytes());
    assert!(state.may_take(live), "{live} live bytes, or {plain} before any record moved");
    assert_eq!(stats.live_bytes + stats.dead_bytes, verified.bytes, "bytes of all records");
    assert_eq!(stats.committed, store.position().as_u64());
    assert!(stats.durable <= stats.committed, "{stats:?}");
    assert!(stats.checkpoint <= stats.durable, "{stats:?}");
}
