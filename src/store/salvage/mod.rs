//! Reading a store that is damaged in any way, without writing to it: every record that passes its checksum, and what is lost.
//!
//! The log alone holds the data. Its files are read as they are found: who the store is, how large its segments are and where its
//! log ends is worked out from whatever is left that says so. A record is believed if its checksum holds at its own place, in its
//! own epoch. The index only helps to name the keys that are lost.

mod account;
mod end;
mod identity;
mod keys;
mod lost;
mod newest;
mod piece;
mod pieces;
mod report;
mod runs;
mod sums;
mod tables;

pub use report::{Extent, LostKey, Salvage};

use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::index;
use crate::options::Options;
use crate::sys::{Disk, File, LockKind};

use super::CATALOGUE;
use super::create::{LOCK, META};
use super::hasher;
use super::locks::holder;
use super::progress::{Progress, Watch};
use super::removed::Removed;
use end::Said;
use identity::Identity;
use keys::Suspects;
use lost::Lost;
use newest::{Newest, parts};
use piece::{Entry, Piece};
use runs::Run;
use tables::Catalogue;

/// A damaged store that is held still and has been read once.
#[derive(Debug)]
pub(crate) struct Damaged {
    disk: Arc<dyn Disk>,
    identity: Identity,
    pieces: Vec<Piece>,
    /// The records that count.
    runs: Vec<Run>,
    end: u64,
    said: Said,
    removed: Removed,
    /// Segments of which the disk could not deliver a page when they were read.
    failing: usize,
    lost: Lost,
    strays: Vec<(String, String)>,
    catalogue: Catalogue,
    salvage: Salvage,
    /// Their locks keep writers out.
    _held: Vec<Arc<dyn File>>,
}

/// A key with its newest value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// None for the table without a name.
    pub(crate) table: Option<&'a str>,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Damaged {
    /// Reads all there is. Fails while somebody writes, and where nothing is that could be a store.
    pub(crate) fn open(disk: Arc<dyn Disk>, watch: Watch<'_>) -> Result<Damaged> {
        check_there(&*disk)?;
        let held = hold(&*disk)?;
        let found = identity::find(&*disk)?;
        let identity = Identity::of(&*disk, &found)?;
        if found.is_empty() && identity.superblock.is_none() {
            let why = "it holds no segment of a log".into();
            return Err(Error::NotAStore { path: disk.root().to_path_buf(), why });
        }
        let segments = found.len() as u64;
        let (pieces, strays) = pieces::pieces(&identity, found);
        let (said, removed) = end::said(&*disk, &identity)?;
        let mut damaged = Damaged {
            disk,
            identity,
            pieces,
            runs: Vec::new(),
            end: 0,
            said,
            removed,
            failing: 0,
            lost: Lost::default(),
            strays,
            catalogue: Catalogue::default(),
            salvage: Salvage { segments, ..Salvage::default() },
            _held: held,
        };
        damaged.read(watch);
        Ok(damaged)
    }

    /// Bytes to read, once for each time that the log is gone through.
    fn total(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes().len() as u64).sum()
    }

    fn failing(&self) -> usize {
        let regions = self.pieces.iter().filter_map(|piece| piece.region.as_ref());
        regions.filter(|region| region.is_lost()).count()
    }

    /// Fails if the disk has failed since the records were checked: what was taken for a value may be zeros.
    fn check_delivered(&self) -> Result<()> {
        if self.failing() == self.failing {
            return Ok(());
        }
        let why = "the disk has failed while it was read; repair again".into();
        Err(Error::Lost { file: self.disk.root().join("log"), why })
    }

    fn read(&mut self, watch: Watch<'_>) {
        let total = self.total();
        let (mut runs, mut done) = (Vec::new(), 0);
        let mut ends = Vec::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            runs::walk(piece, number, &mut runs, &mut |entry| {
                if entry.header.table == CATALOGUE {
                    ends.push((number, entry.position));
                }
                self.salvage.uncommitted += 1;
            });
            done += piece.bytes().len() as u64;
            watch(Progress { done, total: 3 * total });
        }
        self.failing = self.failing();
        runs::join(&self.pieces, &mut runs);
        self.end = end::end(self.said, &runs);
        let size = self.identity.segment_bytes;
        self.lost = lost::lost(&self.pieces, &runs, (self.end, self.said), size, &self.removed);
        runs.retain_mut(|run| run.cut(&self.pieces[run.piece], self.end));
        self.runs = runs;
        for (number, position) in ends {
            let entry = self.pieces[number].entry(position);
            entry.filter(|it| it.end() <= self.end).inspect(|it| self.catalogue.note(it));
        }
        self.salvage.records = self.runs.iter().map(|run| run.records).sum();
        self.salvage.bytes = self.runs.iter().map(|run| run.to - run.from).sum();
        self.salvage.uncommitted -= self.salvage.records;
    }

    /// Bytes of the store's segments.
    pub(crate) fn segment_size(&self) -> u64 {
        self.identity.segment_bytes
    }

    /// Gives each key that has a value to `put`, and each table that has a name to `table`; says what was found and lost.
    pub(crate) fn salvage(
        &mut self,
        options: &Options,
        watch: Watch<'_>,
        table: &mut dyn FnMut(&str) -> Result<()>,
        put: &mut dyn FnMut(Item<'_>) -> Result<()>,
    ) -> Result<Salvage> {
        let mut tables = self.catalogue.tables();
        tables.names().try_for_each(|(_, name)| table(name))?;
        let hasher = self.identity.superblock.map(|block| hasher(block.seed, options));
        let mut suspects = Suspects::find(self, hasher)?;
        let mut entries = 0;
        let parts = parts(self.salvage.records);
        let mut told = Told { done: self.total(), total: self.total() * (1 + 2 * parts), watch };
        for part in 0..parts {
            let mut newest = Newest::new(part, parts);
            self.each(&mut told, &mut |entry| {
                newest.note(&entry);
                Ok(())
            })?;
            suspects.judge(&newest);
            self.each(&mut told, &mut |entry| {
                if !newest.is_head(&entry) {
                    return Ok(());
                }
                let name = newest::Name::of(entry.header.table, entry.key);
                newest.head(name).into_iter().for_each(|head| suspects.meet(&entry, head));
                let number = entry.header.table;
                let gone = number == CATALOGUE || tables.is_dropped(number, entry.version);
                if gone || !entry.is_put() {
                    return Ok(());
                }
                entries += 1;
                let (key, value) = (entry.key, entry.value());
                put(Item { table: tables.name(number), key, value })
            })?;
        }
        self.check_delivered()?;
        let (guesses, unnamed) = suspects.conclude();
        self.salvage.entries = entries;
        self.salvage.unnamed = unnamed;
        Ok(self.report(guesses, &mut tables))
    }

    /// Visits every record that counts.
    fn each<'a>(
        &'a self,
        told: &mut Told<'_>,
        visit: &mut dyn FnMut(Entry<'a>) -> Result<()>,
    ) -> Result<()> {
        for run in &self.runs {
            let mut at = run.from;
            while at < run.to
                && let Some(entry) = self.pieces[run.piece].entry(at)
            {
                at = entry.end();
                visit(entry)?;
            }
            told.read(run.to - run.from);
        }
        Ok(())
    }
}

/// How far the reading has come.
struct Told<'a> {
    done: u64,
    total: u64,
    watch: Watch<'a>,
}

impl Told<'_> {
    fn read(&mut self, bytes: u64) {
        self.done += bytes;
        (self.watch)(Progress { done: self.done, total: self.total });
    }
}

fn check_there(disk: &dyn Disk) -> Result<()> {
    let path = disk.root().to_path_buf();
    match disk.list("") {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { path }),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(Error::NotAStore { path, why: "it is not a directory".into() })
        }
        Err(e) => Err(Error::io("list", path, e)),
    }
}

/// Takes the locks that a writer would have to take, as one of those who only read; fails if there is a writer.
fn hold(disk: &dyn Disk) -> Result<Vec<Arc<dyn File>>> {
    let mut held = Vec::new();
    for name in [LOCK, index::NAME, META] {
        let Some(file) = identity::open(disk, name)? else { continue };
        let path = disk.root().join(name);
        if !file.try_lock(LockKind::Shared).map_err(|e| Error::io("lock", path, e))? {
            let pid = holder(disk, &*file);
            return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
        }
        held.push(file);
    }
    Ok(held)
}
