//! The tables of a damaged store: their names from the catalogue's records, or made up where these are lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::tables::{FIRST_NAMED, number};
use super::super::{CATALOGUE, DEFAULT_TABLE};
use super::piece::Entry;

/// A catalogue key's newest version: its version, and its value unless it was deleted.
type Newest = (u64, Option<Vec<u8>>);

/// What is left of the catalogue.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    newest: HashMap<Vec<u8>, Newest>,
}

/// Names of tables by number, and which tables were dropped when.
#[derive(Debug, Default)]
pub(super) struct Tables {
    names: BTreeMap<u32, String>,
    dropped: HashMap<u32, u64>,
    made_up: BTreeSet<u32>,
}

impl Catalogue {
    /// Takes note of a record, if it is one of the catalogue.
    pub(super) fn note(&mut self, entry: &Entry<'_>) {
        if entry.header.table != CATALOGUE {
            return;
        }
        let newest = self.newest.entry(entry.key.to_vec()).or_insert((0, None));
        if entry.version >= newest.0 {
            *newest = (entry.version, entry.is_put().then(|| entry.value().to_vec()));
        }
    }

    pub(super) fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        // Of two tables of one name the younger has it: to make it the other was dropped.
        let mut named = HashMap::<&str, (u64, u32)>::new();
        for (key, (version, value)) in &self.newest {
            let (id, name) = match (&key[..], value) {
                ([b'i', id @ ..], Some(name)) => (number(id), Some(&name[..])),
                ([b'n', name @ ..], Some(id)) => (number(id), Some(name)),
                ([b'i', id @ ..], None) => (number(id), None),
                _ => continue,
            };
            let Some(number) = id.filter(|number| *number >= FIRST_NAMED) else { continue };
            match name.map(std::str::from_utf8) {
                None => drop(tables.dropped.insert(number, *version)),
                Some(Ok(name)) => {
                    let newest = named.entry(name).or_insert((*version, number));
                    *newest = (*newest).max((*version, number));
                }
                Some(Err(_)) => {}
            }
        }
        for (name, (_, number)) in named {
            if !tables.dropped.contains_key(&number) && (1..=255).contains(&name.len()) {
                tables.names.insert(number, name.to_owned());
            }
        }
        tables
    }
}

impl Tables {
    /// What stands in table `number` since before `version` went with the table.
    pub(super) fn is_dropped(&self, number: u32, version: u64) -> bool {
        self.dropped.get(&number).is_some_and(|dropped| version < *dropped)
    }

    /// All names, also those of tables that are empty.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(number, name)| (*number, &name[..]))
    }

    /// The names that were made up.
    pub(super) fn made_up(&self) -> Vec<String> {
        self.made_up.iter().map(|number| self.names[number].clone()).collect()
    }

    /// The name of a table that holds something; None for the one without a name.
    pub(super) fn name(&mut self, number: u32) -> Option<&str> {
        if number == DEFAULT_TABLE {
            return None;
        }
        if !self.names.contains_key(&number) {
            let taken: BTreeSet<&String> = self.names.values().collect();
            let mut name = format!("recovered-{number}");
            while taken.contains(&name) {
                name.push('+');
            }
            self.made_up.insert(number);
            self.names.insert(number, name);
        }
        self.names.get(&number).map(String::as_str)
    }
}
