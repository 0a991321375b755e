//! Cursors: names for commits after which nothing may go, each in a file of its own that whoever reads from there replaces.
//!
//! A cursor is made at the present commit, under a mark on it. What compaction picked before has no part of the log after that;
//! what it picks later is settled after the mark is given back, and only then, with the file in sight, does it remove (invariant
//! I22).

use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::cursor::{BYTES, DIR, MAX_NAME, UNFINISHED, decode, encode, is_name};
use crate::format::position::{Bookmark, Position};
use crate::sys::Access;

use super::Engine;

/// A cursor, as [`Store::cursors`](crate::Store::cursors) tells of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct CursorStats {
    /// Its name.
    pub name: String,
    /// Where it is. An error if its file is damaged: then it holds all of the log until it is removed.
    pub at: Result<Bookmark>,
    /// Bytes of segments that it keeps from compaction.
    pub held_bytes: u64,
}

/// The file of a cursor, for which the name has to be one.
fn file_name(name: &str) -> Result<String> {
    if name.len() > MAX_NAME {
        let (len, max) = (name.len() as u64, MAX_NAME as u64);
        return Err(Error::TooLarge { what: "cursor name", len, max });
    }
    if !is_name(name) {
        let why =
            "letters, digits, '.', '-' and '_', not beginning with '.' nor ending in '.unfinished'";
        return Err(Error::InvalidOption { option: "cursor name", why: why.into() });
    }
    Ok(format!("{DIR}/{name}"))
}

impl Engine {
    /// Where the cursor is; None if there is none of that name.
    pub(crate) fn cursor(&self, name: &str) -> Result<Option<Bookmark>> {
        let name = file_name(name)?;
        let path = self.file(&name);
        let file = match self.disk.open(&name, Access::Read) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| Error::io("open", &path, e))?,
        };
        let mut bytes = [0; BYTES];
        match file.read_at(&mut bytes, 0) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(Error::corrupt(path, 0, "the 64 bytes of a cursor", "fewer"));
            }
            read => read.map_err(|e| Error::io("read", &path, e))?,
        }
        let at = decode(&bytes, &self.superblock.id);
        at.map(Some)
            .map_err(|(offset, expected)| Error::corrupt(path, offset, expected, "other bytes"))
    }

    /// The cursor, which is made at the present commit if there is none.
    pub(crate) fn open_cursor(&self, name: &str) -> Result<Bookmark> {
        match self.cursor(name)? {
            Some(at) => Ok(at),
            None => self.begin_cursor(name),
        }
    }

    /// Puts a cursor, new or not, at the present commit.
    pub(crate) fn begin_cursor(&self, name: &str) -> Result<Bookmark> {
        let hold = self.hold_on()?;
        let at = self.feed(Position(hold.at).into())?.bookmark();
        self.write_cursor(name, at)?;
        Ok(at)
    }

    /// Moves a cursor on, durably.
    pub(crate) fn move_cursor(&self, name: &str, to: Bookmark) -> Result<()> {
        let committed = self.committed();
        if to.position.0 > committed {
            let why = format!("the last one ends at {committed}");
            return Err(Error::NoSuchCommit { position: to.position.0, why });
        }
        let Some(at) = self.cursor(name)? else {
            return Err(Error::NotFound { path: self.file(&file_name(name)?) });
        };
        if to.position < at.position {
            let why = format!("it is at {}, and cannot go back to {}", at.position, to.position);
            return Err(Error::InvalidOption { option: "position of a cursor", why });
        }
        if to != at { self.write_cursor(name, to) } else { Ok(()) }
    }

    fn write_cursor(&self, name: &str, at: Bookmark) -> Result<()> {
        let name = file_name(name)?;
        let unfinished = format!("{name}{UNFINISHED}");
        let finish = || {
            self.disk.make_dir(DIR)?;
            let file = self.disk.create(&unfinished, BYTES as u64)?;
            file.write_at(&encode(&self.superblock.id, at), 0)?;
            file.sync()?;
            self.disk.rename(&unfinished, &name)?;
            self.disk.sync_dir(DIR)
        };
        finish().map_err(|e| Error::io("write", self.file(&name), e))
    }

    /// Removes a cursor, durably; false if there is none of that name.
    pub(crate) fn remove_cursor(&self, name: &str) -> Result<bool> {
        let name = file_name(name)?;
        match self.disk.remove(&name) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            removed => removed.map_err(|e| Error::io("remove", self.file(&name), e))?,
        }
        self.disk.sync_dir(DIR).map_err(|e| Error::io("sync", self.file(DIR), e))?;
        Ok(true)
    }

    /// Names of all cursors, in order.
    pub(super) fn cursor_names(&self) -> Result<Vec<String>> {
        let mut names = match self.disk.list(DIR) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(|e| Error::io("list", self.file(DIR), e))?,
        };
        names.retain(|name| is_name(name));
        names.sort_unstable();
        Ok(names)
    }

    /// The first of the segments `numbers` that some cursor keeps; one of which nobody knows where it is keeps all.
    pub(super) fn first_kept(&self, numbers: &[u64]) -> Result<Option<u64>> {
        let mut first = None::<u64>;
        if planted(Bug::IgnoreCursors) {
            return Ok(None);
        }
        for name in self.cursor_names()? {
            let at = match self.cursor(&name) {
                Ok(None) => continue,
                Ok(Some(at)) => at.position.0,
                Err(Error::Corrupt { .. }) => 0,
                Err(error) => return Err(error),
            };
            let kept = self.kept_from(numbers, at);
            first = [first, kept].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// The segment in which the commit at `at` ends: what is in it and after it is kept.
    fn kept_from(&self, numbers: &[u64], at: u64) -> Option<u64> {
        let after = numbers.partition_point(|number| *number <= self.number(at.saturating_sub(1)));
        numbers.get(after.saturating_sub(1)).copied()
    }

    /// All cursors, and what they keep.
    pub(crate) fn cursors(&self) -> Result<Vec<CursorStats>> {
        let numbers = self.log.numbers()?;
        let end = self.settled_counters()?.segment;
        let stats = |name: String| {
            let at = self.cursor(&name).transpose()?;
            let position = at.as_ref().map_or(0, |at| at.position.0);
            let first = self.kept_from(&numbers, position).unwrap_or_default();
            let kept = numbers.iter().filter(|number| (first..end).contains(number));
            let held_bytes = kept.filter_map(|number| self.usage.used(*number)).sum();
            Some(CursorStats { name, at, held_bytes })
        };
        Ok(self.cursor_names()?.into_iter().filter_map(stats).collect())
    }
}
