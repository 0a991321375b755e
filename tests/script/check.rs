//! Comparing a store with what it should hold, through every door that leads to its content.

use std::collections::BTreeMap;

use mapstone::{Result, Snapshot, Store};

use super::{State, TABLES, key, number};

fn views(store: &Store) -> Result<Vec<(u8, Snapshot)>> {
    let snapshot = store.snapshot()?;
    let mut views = vec![(0, snapshot.clone())];
    for (table, name) in (1u8..).zip(&TABLES[1..]) {
        views.extend(snapshot.table(name)?.map(|view| (table, view)));
    }
    Ok(views)
}

/// What an iteration over everything gives.
pub(crate) fn content(store: &Store) -> Result<State> {
    let (mut data, mut tables) = (BTreeMap::new(), std::collections::BTreeSet::new());
    for (table, view) in views(store)? {
        if table != 0 {
            tables.insert(table);
        }
        for item in &view {
            let (key, value) = item?;
            let twice = data.insert((table, number(key)), value.to_vec());
            assert_eq!(twice, None, "{key:?} of table {table} came twice");
        }
    }
    Ok(State { tables, data })
}

/// The same, also when a failure that was made to come is in the way the first times.
pub(crate) fn content_at_last(store: &Store) -> State {
    let mut tries = std::iter::repeat_with(|| content(store)).take(5);
    tries.find_map(Result::ok).unwrap_or_else(|| panic!("{}", content(store).unwrap_err()))
}

/// The store is sound and holds exactly `state`, whichever way one asks.
pub(crate) fn equals(store: &Store, state: &State) {
    let actual = content(store).expect("readable");
    assert!(actual == *state, "not that state: {}", difference(&actual, state));
    for (table, view) in views(store).expect("readable") {
        let expected: Vec<_> = state.data.range((table, 0)..=(table, u16::MAX)).collect();
        let mut keys: Vec<_> = expected.iter().map(|((_, at), _)| key(*at)).collect();
        keys.push(b"no such key".to_vec());
        let many = view.get_many(&keys).expect("readable");
        let wanted = expected.iter().map(|(_, value)| Some(&value[..])).chain([None]);
        for ((key, value), wanted) in keys.iter().zip(many).zip(wanted) {
            assert_eq!(value.as_deref(), wanted, "get_many of {key:?}");
            assert_eq!(view.get(key).expect("readable").as_deref(), wanted, "get of {key:?}");
        }
    }
    let verified = store.verify().expect("readable");
    assert!(verified.is_ok(), "{:#?}", verified.damage);
    let stats = store.stats().expect("readable");
    let entries = state.data.len() as u64;
    assert_eq!((stats.entries, verified.entries), (entries, entries), "entries");
    assert_eq!(stats.live_bytes + stats.dead_bytes, verified.bytes, "bytes of all records");
}

/// Which of the states that may be the store holds; panics when it is none of them.
pub(crate) fn one_of(store: &Store, allowed: &[(u64, State)]) -> usize {
    let actual = content_at_last(store);
    allowed.iter().position(|(_, state)| *state == actual).unwrap_or_else(|| {
        let each = allowed.iter().map(|(_, state)| difference(&actual, state));
        panic!("none of the states that may be:\n{}", each.collect::<Vec<_>>().join("\n"))
    })
}

fn difference(actual: &State, state: &State) -> String {
    let wrong = state.data.iter().filter(|(at, value)| actual.data.get(at) != Some(value));
    let wrong: Vec<_> = wrong.map(|(at, _)| at).collect();
    let extra: Vec<_> = actual.data.keys().filter(|at| !state.data.contains_key(at)).collect();
    format!(
        "{} wrong or missing {:?}, {} too many {:?}, tables {:?} instead of {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(4)],
        extra.len(),
        &extra[..extra.len().min(4)],
        actual.tables,
        state.tables
    )
}
