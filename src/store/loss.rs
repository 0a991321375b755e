//! Files that are lost under an open store: what other programs, or a dying disk, have done to them, noticed in time.
//!
//! Names and lengths are looked at where it costs next to nothing beside what is done there: when a segment begins, at a
//! checkpoint, at a sync that was asked for. Mappings are asked after each read, when they are guarded.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::format::index as index_format;
use crate::format::meta::BYTES;
use crate::format::segment;
use crate::log::Record;
use crate::sys::{File, Pin, losses};

use super::create::{LOCK, META};
use super::{Engine, Found, WriterHalf};

const MAPPING: &str = "a page of its mapping could not be had";

impl Engine {
    /// Whether a guarded mapping may have been lost since all those of this handle were last found whole. Asked after reading.
    #[inline]
    fn in_doubt(&self) -> bool {
        losses() != self.losses_seen.load(Relaxed)
    }

    /// Whether what a first look has found, value included, came from the files and may be believed. For careful handles only.
    #[inline(never)]
    pub(super) fn vouch(&self, found: Option<Record<'_>>) -> bool {
        if let Some(record) = found {
            record.touch();
        }
        // A checksum that does not hold is an error that the long way tells.
        !self.in_doubt() && !self.verify_on_read
    }

    /// What was read, value included, came from the files, or it is an error. For guarded handles only.
    pub(super) fn vouched<'a>(
        &self,
        found: Result<Option<Found<'a>>>,
    ) -> Result<Option<Found<'a>>> {
        if let Ok(Some(record)) = &found {
            record.touch();
        }
        if self.in_doubt() {
            self.check_shared()?;
            if let Ok(Some(record)) = &found {
                self.check_record(record)?;
            }
        }
        found
    }

    /// Fails if the segment of a record is lost, after the record was read.
    #[inline]
    pub(super) fn check_record(&self, record: &Record<'_>) -> Result<()> {
        if self.guarded && record.is_lost() {
            return Err(self.lost_segment(record.segment()));
        }
        Ok(())
    }

    /// Fails if a file that every read needs is lost.
    #[cold]
    pub(super) fn check_shared(&self) -> Result<()> {
        if !self.guarded {
            return Ok(());
        }
        let before = losses();
        if self.cells.region().is_lost() {
            return Err(self.lost(META, MAPPING));
        }
        if self.index.is_lost() {
            return Err(self.lost(index_format::NAME, MAPPING));
        }
        if self.log.lost().is_none() {
            // Whatever was lost is not ours, so reads are quick again.
            self.losses_seen.store(before, Relaxed);
        }
        Ok(())
    }

    /// Fails if any mapping of this handle is lost: what was read or stored there is not what the file holds.
    pub(super) fn check_all_mappings(&self) -> Result<()> {
        if !self.guarded || !self.in_doubt() {
            return Ok(());
        }
        self.check_shared()?;
        self.log.lost().map_or(Ok(()), |number| Err(self.lost_segment(number)))
    }

    /// The same for a writer, for which it is the end of writing.
    #[inline]
    pub(super) fn check_mappings(&self, half: &WriterHalf) -> Result<()> {
        if self.guarded { self.check_guarded(half) } else { Ok(()) }
    }

    #[cold]
    fn check_guarded(&self, half: &WriterHalf) -> Result<()> {
        self.give_up_on_loss(half, self.check_all_mappings())
    }

    /// A failure of a write that comes from a loss is told as that.
    #[inline]
    pub(super) fn or_lost<T>(&self, half: &WriterHalf, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.check_mappings(half)?;
        }
        result
    }

    /// Fails, and ends writing, if a file that the writer stands on has lost its name or has become shorter.
    pub(super) fn check_files(&self, half: &WriterHalf) -> Result<()> {
        let found = self.check_each_file(half);
        self.give_up_on_loss(half, found)
    }

    fn check_each_file(&self, half: &WriterHalf) -> Result<()> {
        self.check_file(LOCK, half.hold.lock(), 0)?;
        self.check_file(META, &*self.meta, BYTES)?;
        self.check_file(index_format::NAME, half.hold.up()?, self.index.known_bytes())?;
        // None while a commit is being published; then the next look will do.
        let Some(counters) = self.cells.counters() else { return Ok(()) };
        self.check_tail(counters.segment)
    }

    /// The log ends in segment `number`, or did so a moment ago: since then others may have filled it, and compacted it away.
    pub(super) fn check_tail(&self, mut number: u64) -> Result<()> {
        loop {
            let found = self.check_segment(number);
            let Some(now) = self.cells.counters() else { return Ok(()) };
            if found.is_ok() || now.segment == number {
                return found;
            }
            number = now.segment;
        }
    }

    fn check_segment(&self, number: u64) -> Result<()> {
        let pin = Pin::new();
        let segment = self.log.view(&pin).segment(number)?;
        self.check_file(&segment::name(number), segment.file(), segment.header().bytes)
    }

    fn check_file(&self, name: &str, file: &dyn File, bytes: u64) -> Result<()> {
        let failed = |e| Error::io("stat", self.file(name), e);
        if !self.disk.names(name, file).map_err(failed)? {
            return Err(self.lost(name, "its name is gone, or is that of another file"));
        }
        let len = file.len().map_err(failed)?;
        if len < bytes {
            return Err(self.lost(name, &format!("it has {len} bytes and had at least {bytes}")));
        }
        Ok(())
    }

    /// A loss that was met while writing is told to every write from here on.
    fn give_up_on_loss(&self, half: &WriterHalf, found: Result<()>) -> Result<()> {
        if let Err(Error::Lost { file, why }) = &found {
            half.syncer.lose(file, why);
        }
        found
    }

    /// The loss of a segment's mapping.
    #[cold]
    pub(super) fn lost_segment(&self, number: u64) -> Error {
        self.lost(&segment::name(number), MAPPING)
    }

    #[cold]
    fn lost(&self, name: &str, why: &str) -> Error {
        Error::Lost { file: self.file(name), why: why.to_owned() }
    }
}
