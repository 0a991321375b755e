//! Writes of all kinds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mapstone::{Durability, Error, Table};

use super::ops::{End, How};
use super::state::{TABLES, Val, keys, table_name};
use super::world::World;

impl World {
    pub(crate) fn put(&mut self, table: u8, key: u16, value: Val, how: How) {
        let table = self.existing(table);
        let bytes = &keys()[usize::from(key)];
        let named = self.table(table);
        let fill = |to: &mut [u8]| {
            assert!(to.iter().all(|byte| *byte == 0), "the bytes to fill are zero before");
            value.fill(to);
            if how == How::Panic {
                // Without the message of a panic that nobody foresaw.
                resume_unwind(Box::new("planned"));
            }
        };
        let result = match (how, &named) {
            (How::Plain, Some(table)) => table.put(bytes, value.bytes()),
            (How::Plain, None) => self.store().put(bytes, value.bytes()),
            (How::With, Some(table)) => table.put_with(bytes, value.len(), fill),
            (How::With, None) => self.store().put_with(bytes, value.len(), fill),
            (How::Immediate, _) => return self.batch(&[(table, key, Some(value))], true),
            (How::Panic, _) => {
                let store = self.store();
                match catch_unwind(AssertUnwindSafe(|| store.put_with(bytes, value.len(), fill))) {
                    Ok(result) => self.committed(result, false, |_| {}),
                    Err(panic) if panic.is::<&str>() => self.committed(Ok(()), false, |_| {}),
                    Err(panic) => resume_unwind(panic),
                }
                return;
            }
        };
        self.committed(result, false, |state| state.set(table, key, Some(value)));
    }

    pub(crate) fn batch(&mut self, ops: &[(u8, u16, Option<Val>)], immediate: bool) {
        let ops: Vec<_> =
            ops.iter().map(|(table, key, value)| (self.existing(*table), *key, *value)).collect();
        let named: Vec<_> = (0..TABLES).map(|table| self.table(table)).collect();
        let mut batch = self.store().batch();
        for (table, key, value) in &ops {
            let key = &keys()[usize::from(*key)];
            let added = match (&named[usize::from(*table)], value) {
                (Some(table), Some(value)) => batch.put_in(table, key, value.bytes()),
                (Some(table), None) => batch.delete_in(table, key),
                (None, Some(value)) => batch.put(key, value.bytes()),
                (None, None) => batch.delete(key),
            };
            added.expect("keys and values are within their limits");
        }
        let (durability, result) = if immediate {
            (true, batch.commit_with(Durability::Immediate))
        } else {
            (false, batch.commit())
        };
        if let Ok(position) = result {
            assert_eq!(position, self.store().position(), "there is no other writer");
            assert!(batch.is_empty());
        }
        drop((batch, named));
        self.committed(result.map(drop), durability, |state| {
            for (table, key, value) in &ops {
                state.set(*table, *key, *value);
            }
        });
    }

    pub(crate) fn delete(&mut self, table: u8, key: u16) {
        let table = self.existing(table);
        let bytes = &keys()[usize::from(key)];
        let had = self.last().data.contains_key(&(table, key));
        let sure = self.maybes.is_empty();
        let result = match self.table(table) {
            Some(named) => named.delete(bytes),
            None => self.store().delete(bytes),
        };
        if let (Ok(found), true) = (&result, sure) {
            assert_eq!(*found, had, "what delete says of key {key}");
        }
        self.committed(result.map(drop), false, |state| state.set(table, key, None));
    }

    pub(crate) fn swap(&mut self, table: u8, key: u16, value: Option<Val>, right: bool) {
        let table = self.existing(table);
        let bytes = &keys()[usize::from(key)];
        let present = self.last().data.get(&(table, key)).copied();
        let old = if right { present } else { Some(Val::new(7, 77)) };
        let (from, to) = (old.map(Val::bytes), value.map(Val::bytes));
        let (from, to) = (from.as_deref(), to.as_deref());
        let result = match self.table(table) {
            Some(named) => named.compare_and_swap(bytes, from, to),
            None => self.store().compare_and_swap(bytes, from, to),
        };
        if let (Ok(swapped), true) = (&result, self.maybes.is_empty()) {
            assert_eq!(*swapped, present == old, "what a swap says of key {key}");
        }
        self.committed(result.map(drop), false, |state| {
            if state.data.get(&(table, key)).copied() == old {
                state.set(table, key, value);
            }
        });
    }

    pub(crate) fn transact(&mut self, ops: &[(u8, u16, Option<Val>)], how: End) {
        let ops: Vec<_> =
            ops.iter().map(|(table, key, value)| (self.existing(*table), *key, *value)).collect();
        let result = match how {
            End::IfUnchanged => self.optimistic(&ops),
            _ => self.locked(&ops, how),
        };
        let applied = *result.as_ref().unwrap_or(&(how != End::Rollback));
        self.committed(result.map(drop), false, |state| {
            for (table, key, value) in ops.iter().filter(|_| applied) {
                state.set(*table, *key, *value);
            }
        });
    }

    /// True if it was committed.
    fn locked(&self, ops: &[(u8, u16, Option<Val>)], how: End) -> mapstone::Result<bool> {
        let named: Vec<_> = (0..TABLES).map(|table| self.table(table)).collect();
        let mut txn = self.store().write()?;
        let sure = self.maybes.is_empty();
        let mut state = self.last().clone();
        for (of, number, value) in ops {
            let key = &keys()[usize::from(*number)];
            let table = named[usize::from(*of)].as_ref();
            let mut given_up = txn.savepoint();
            match table {
                Some(table) => drop(given_up.put_in(table, key, b"given up")?),
                None => drop(given_up.delete(key)?),
            }
            drop(given_up);
            let found = match table {
                Some(table) => txn.get_in(table, key)?,
                None => txn.get(key)?,
            };
            let expected = state.data.get(&(*of, *number)).copied();
            assert!(!sure || found.map(|found| Val::of(&found)) == expected, "key {number}");
            match (table, value) {
                (Some(table), Some(value)) => drop(txn.put_in(table, key, value.bytes())?),
                (None, Some(value)) => drop(txn.put(key, value.bytes())?),
                (Some(table), None) => drop(txn.delete_in(table, key)?),
                (None, None) => drop(txn.delete(key)?),
            }
            state.set(*of, *number, *value);
        }
        if how == End::Rollback { Ok(false) } else { txn.commit().map(|_| true) }
    }

    fn optimistic(&self, ops: &[(u8, u16, Option<Val>)]) -> mapstone::Result<bool> {
        let named: Vec<_> = (0..TABLES).map(|table| self.table(table)).collect();
        let mut txn = self.store().optimistic()?;
        for (of, number, value) in ops {
            let key = &keys()[usize::from(*number)];
            let table = named[usize::from(*of)].as_ref();
            match (table, value) {
                (Some(table), Some(value)) => {
                    txn.get_in(table, key)?;
                    txn.put_in(table, key, value.bytes())?;
                }
                (None, Some(value)) => {
                    txn.get(key)?;
                    txn.put(key, value.bytes())?;
                }
                (Some(table), None) => drop(txn.delete_in(table, key)?),
                (None, None) => drop(txn.delete(key)?),
            }
        }
        match txn.commit_if_unchanged() {
            // A batch that a full disk has kept from the index is completed first, and may change what was read.
            Err(Error::Conflict) if !self.maybes.is_empty() => Ok(false),
            result => result.map(|_| true),
        }
    }

    pub(crate) fn create_table(&mut self, table: u8) {
        let result = self.store().table(&table_name(table)).map(drop);
        let made = result.is_ok() && !self.dead();
        self.committed(result, false, |state| state.numbered |= state.tables.insert(table));
        let old: Vec<Table> = self.stale.iter().map(|(_, table)| table.clone()).collect();
        if made && !self.faulty && !self.full && !self.poisoned && self.armed.is_none() {
            for table in old {
                assert_dropped(&table);
            }
        }
    }

    pub(crate) fn drop_table(&mut self, table: u8) {
        let before = self.last().tables.contains(&table) && self.maybes.is_empty();
        let stale = self.table(table).filter(|_| before);
        let result = self.store().drop_table(&table_name(table));
        // Who shares the store asks the kernel for its turn first, and the answer may be the end.
        let asks = self.shape.shared && (self.armed.is_some() || self.faulty || self.dead());
        if let (Ok(true), Some(stale)) = (&result, stale) {
            if !asks {
                assert_dropped(&stale);
            }
            self.stale.push((table, stale));
        }
        self.committed(result.map(drop), false, |state| state.drop_table(table));
    }

    /// A table of the model's that exists; while that is in doubt, the one that always does.
    pub(crate) fn existing(&self, table: u8) -> u8 {
        if self.maybes.is_empty() && self.last().has(table) { table } else { 0 }
    }
}

/// A handle of a table that was dropped takes no writes and finds nothing, whatever tables there are since.
fn assert_dropped(table: &Table) {
    assert!(matches!(table.put("k1", "x"), Err(Error::NoSuchTable { .. })));
    assert!(table.get(&keys()[1]).expect("get").is_none());
}
