//! What must be left of a damaged store, worked out from the sound one by docs/format.md and not by the code under test: the
//! records whose bytes are as they were.

use std::collections::{BTreeMap, BTreeSet};

use mapstone::{Extent, Salvage};

use crate::store::{Files, Model};

/// A record of the sound log.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) file: String,
    pub(crate) from: usize,
    /// Where the value ends: what follows is padding.
    pub(crate) to: usize,
    pub(crate) position: u64,
    pub(crate) table: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) commit: bool,
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at..at + width]);
    u64::from_le_bytes(word)
}

fn align(at: usize) -> usize {
    at.next_multiple_of(16)
}

/// The record at an offset, if there is one. The store is sound, so its checksum is not looked at.
fn record(file: &str, start: u64, bytes: &[u8], from: usize) -> Option<Record> {
    let kind = *bytes.get(from + 14).filter(|kind| [1, 2].contains(*kind))?;
    let (key_len, value_len) = (number(bytes, from + 12, 2), number(bytes, from + 4, 4));
    let key_at = from + 24;
    let value_at = align(key_at + usize::try_from(key_len).expect("small"));
    let to = value_at + usize::try_from(value_len).expect("small");
    Some(Record {
        file: file.into(),
        from,
        to,
        position: start + from as u64,
        table: u32::try_from(number(bytes, from + 8, 4)).expect("four bytes"),
        key: bytes[key_at..][..usize::try_from(key_len).expect("small")].to_vec(),
        value: (kind == 1).then(|| bytes[value_at..to].to_vec()),
        commit: bytes[from + 15] & 1 != 0,
    })
}

/// All records of a sound store that were committed, in order.
pub(crate) fn records(files: &Files) -> Vec<Record> {
    let size = number(&files["meta"], 48, 8);
    let segments: Vec<(&String, &Vec<u8>)> =
        files.iter().filter(|(name, _)| name.starts_with("log/")).collect();
    let mut all = Vec::new();
    for (at, (name, bytes)) in segments.iter().enumerate() {
        let start = number(bytes, 32, 8) * size;
        let limit = segments.get(at + 1).map_or(u64::MAX, |(_, next)| number(next, 48, 8));
        let mut from = 64;
        while start + (from as u64) < limit
            && let Some(record) = record(name, start, bytes, from)
        {
            from = align(record.to);
            all.push(record);
        }
    }
    let last = all.iter().rposition(|record| record.commit).expect("a commit");
    all.truncate(last + 1);
    all
}

/// What was damaged, and what is left.
#[derive(Clone, Copy)]
pub(crate) struct Oracle<'a> {
    pub(crate) all: &'a [Record],
    pub(crate) damaged: &'a Files,
    pub(crate) sound: &'a Files,
}

impl Oracle<'_> {
    /// What a segment is read from: the file with its header, whatever its name, or else the one with its name.
    fn file_of(&self, name: &str) -> Option<(&String, &Vec<u8>)> {
        let header = self.sound[name].get(..64);
        let is_own = |(_, bytes): &(&String, &Vec<u8>)| bytes.get(..64) == header;
        let mut segments = self.damaged.iter().filter(|(name, _)| name.starts_with("log/"));
        let named = self.damaged.get_key_value(name);
        named.filter(is_own).or_else(|| segments.find(is_own)).or(named)
    }

    pub(crate) fn is_left(&self, record: &Record) -> bool {
        let range = record.from..record.to;
        let left = self.file_of(&record.file).and_then(|(_, bytes)| bytes.get(range.clone()));
        left == self.sound[&record.file].get(range)
    }

    /// What a crash has left behind the end of a segment, where the next one that said where that was is gone: it cannot be told
    /// from the beginning of a batch that went on there.
    pub(crate) fn debris(&self) -> Vec<Record> {
        let segments: Vec<&String> =
            self.sound.keys().filter(|name| name.starts_with("log/")).collect();
        let size = number(&self.sound["meta"], 48, 8);
        let mut debris = Vec::new();
        for pair in segments.windows(2) {
            let (bytes, next) = (&self.sound[pair[0]], pair[1]);
            let header = |files: &Files| {
                files.get(next).and_then(|bytes| bytes.get(..64).map(<[u8]>::to_vec))
            };
            if header(self.damaged) == header(self.sound) {
                continue;
            }
            let start = number(bytes, 32, 8) * size;
            let end = number(&self.sound[next], 48, 8);
            let mut from = usize::try_from(end.saturating_sub(start)).expect("small");
            // A power cut leaves some of its pages, so that records follow after holes. All have small keys and values.
            while from >= 64 && from + 64 <= bytes.len() {
                let small = number(bytes, from + 12, 2) <= 8 && number(bytes, from + 4, 4) <= 32;
                let found = record(pair[0], start, bytes, from).filter(|it| small && it.table <= 2);
                from = found.as_ref().map_or(from + 16, |record| align(record.to));
                debris.extend(found);
            }
        }
        debris
    }

    /// Position after the last record that is left and ends a commit.
    pub(crate) fn last_mark(&self) -> u64 {
        let marks = self.all.iter().filter(|record| record.commit && self.is_left(record));
        marks.map(|record| record.position + 1).max().unwrap_or_default()
    }

    /// Records that are left and begin before `end`.
    pub(crate) fn left(&self, end: u64) -> Vec<&Record> {
        self.all.iter().filter(|it| it.position < end && self.is_left(it)).collect()
    }

    /// What a store holds that is made of the records that are left.
    pub(crate) fn model(&self, end: u64) -> Model {
        let mut newest = BTreeMap::new();
        for record in self.left(end) {
            newest.insert((record.table, &record.key), record);
        }
        let mut names = BTreeMap::new();
        let mut dropped = BTreeMap::new();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        for ((_, key), record) in newest.iter().filter(|((table, _), _)| *table == 0) {
            match (key.first(), &record.value) {
                (Some(b'n'), Some(id)) => drop(names.insert(number(id), key[1..].to_vec())),
                (Some(b'i'), Some(name)) => drop(names.insert(number(&key[1..]), name.clone())),
                (Some(b'i'), None) => drop(dropped.insert(number(&key[1..]), record.position)),
                _ => {}
            }
        }
        names.retain(|id, _| !dropped.contains_key(id));
        let mut model = Model::new();
        for ((table, key), record) in newest.iter().filter(|((table, _), _)| *table != 0) {
            let gone = dropped.get(table).is_some_and(|at| record.position < *at);
            let Some(value) = record.value.as_ref().filter(|_| !gone) else { continue };
            let name = match (table, names.get(table)) {
                (1, _) => String::new(),
                (_, Some(name)) => String::from_utf8(name.clone()).expect("UTF-8"),
                (id, None) => format!("recovered-{id}"),
            };
            model.insert((name, key.to_vec()), value.clone());
        }
        model
    }

    /// Fails unless the report names every record that is lost, and none that is left.
    pub(crate) fn check_lost(&self, salvage: &Salvage, end: u64) -> Result<(), String> {
        for record in self.all {
            let found = self.file_of(&record.file).map_or(&record.file, |(name, _)| name);
            let covers = |lost: &&Extent| {
                lost.file.ends_with(if lost.why == "no file" { &record.file } else { found })
                    && lost.from < record.to as u64
                    && record.from as u64 <= lost.to.saturating_sub(1)
            };
            let said = salvage.lost.iter().find(covers);
            match (self.is_left(record), said) {
                (true, Some(lost)) if record.position < end => {
                    return Err(format!(
                        "{} {} is said to be lost: {lost}",
                        record.file, record.from
                    ));
                }
                // Segments that are missing may be named as one.
                (false, None)
                    if record.position < end
                        && !salvage.lost.iter().any(|lost| lost.why == "no file")
                        && !self.may_have_gone(&record.file) =>
                {
                    return Err(format!(
                        "nobody says that {} {} is lost",
                        record.file, record.from
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Segments are missing, and no checkpoint is left to tell which of them compaction may have removed.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let mut segments = self.sound.keys().filter(|name| name.starts_with("log/"));
        self.checkpoints().next().is_none() && segments.any(|name| self.may_have_gone(name))
    }

    /// Those that are as they were, and were one.
    fn checkpoints(&self) -> impl Iterator<Item = &Vec<u8>> {
        let names = ["checkpoint.a", "checkpoint.b"].into_iter();
        let left = names.filter(|name| self.damaged.get(*name) == self.sound.get(*name));
        left.filter_map(|name| self.sound.get(name))
            .filter(|bytes| bytes.len() > 128 && number(bytes, 40, 8) > 0)
    }

    /// Compaction may have removed a segment, by what is left of the newest checkpoint: nothing in it was alive then.
    fn may_have_gone(&self, file: &str) -> bool {
        let header = |bytes: &Vec<u8>| bytes.get(..64).map(<[u8]>::to_vec);
        if self.file_of(file).and_then(|(_, bytes)| header(bytes)) == header(&self.sound[file]) {
            return false;
        }
        let newest = self.checkpoints().max_by_key(|bytes| number(bytes, 32, 8));
        let Some(before) = newest.map(|bytes| number(bytes, 40, 8)) else { return true };
        if number(&self.sound[file], 32, 8) * number(&self.sound["meta"], 48, 8) >= before {
            return false;
        }
        let mut alive = BTreeMap::new();
        for record in self.all.iter().filter(|record| record.position < before) {
            alive.insert((record.table, &record.key), &record.file);
        }
        !alive.into_values().any(|other| *other == file)
    }

    /// Keys without the catalogue's whose newest version before `limit` is lost, or not before the end that was found.
    pub(crate) fn outdated(&self, limit: u64, end: u64) -> BTreeSet<(u32, Vec<u8>)> {
        let mut newest = BTreeMap::new();
        for record in self.all.iter().filter(|it| it.table != 0 && it.position < limit) {
            newest.insert((record.table, record.key.clone()), record);
        }
        newest.retain(|_, record| record.position >= end || !self.is_left(record));
        newest.into_keys().collect()
    }
}
