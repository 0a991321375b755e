//! A segment: one mapped file of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::checksum::Salt;
use crate::format::position::MAX_POSITION;
use crate::format::segment::{HEADER_BYTES, SegmentHeader, name};
use crate::format::{PAGE, PAGE_BYTES, StoreId, record};
use crate::sys::{Access, Disk, File, Region};

/// After two syncs of less than this the pages that follow come into memory one at a time: a piece of the page cache is about as large,
/// and a sync writes all of it.
pub(crate) const LITTLE: u64 = 128 << 10;
/// After one of this or more they come in pieces again: that takes a third of the time, and such a sync writes whole pieces anyway.
const MUCH: u64 = 4 << 20;
/// So much behind the end of the log is written with it when it comes to pages that were never written. To note that they are costs
/// a file system a commit of its journal, as much for many as for one.
const AHEAD: usize = 128 << 10;
/// The largest piece of the page cache.
const PIECE: usize = 2 << 20;
/// Bytes that are read ahead at once by who reads all of a segment.
const AT_ONCE: usize = 1 << 20;

/// A segment file, mapped at its full size (invariants I11, I12). It never shrinks, and what was published in it never changes.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) header: SegmentHeader,
    salt: Salt,
    start: u64,
    region: Region,
    pub(super) file: Arc<dyn File>,
    /// Up to where the pages have been written, if they come into memory one at a time; 0 if not.
    written: AtomicUsize,
    /// Up to where they may be in a large piece all the same, if another process has that mapped.
    coarse: AtomicUsize,
    /// So many syncs in turn were of little.
    little: AtomicUsize,
    /// Pages that are not in memory come by themselves.
    scattered: AtomicBool,
    /// Its name is known to be durable.
    named: AtomicBool,
    /// Up to where pages were made before the log came to them.
    ready: AtomicUsize,
}

impl Segment {
    /// Opens and checks segment `number`; None when there is no such file.
    pub(super) fn open(
        disk: &dyn Disk,
        id: &StoreId,
        segment_bytes: u64,
        number: u64,
        access: Access,
    ) -> Result<Option<Segment>> {
        let name = name(number);
        let path = disk.root().join(&name);
        let file = match disk.open(&name, access) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let len = file.len().map_err(|e| Error::io("stat", &path, e))?;
        if len < HEADER_BYTES as u64 {
            return Err(Error::corrupt(path, 0, "a segment", format!("{len} bytes")));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", &path, e))?;
        let header = SegmentHeader::decode(&bytes)
            .map_err(|(offset, expected)| Error::corrupt(&path, offset, expected, "other bytes"))?;
        if header.id != *id {
            return Err(Error::corrupt(&path, 16, "the id of this store", "another id"));
        }
        if header.number != number {
            return Err(Error::corrupt(&path, 32, format!("number {number}"), header.number));
        }
        if header.bytes < segment_bytes || header.bytes % PAGE != 0 || header.bytes > len {
            let expected = format!("a size of {} bytes at most", len);
            return Err(Error::corrupt(&path, 40, expected, header.bytes));
        }
        Segment::map(disk, segment_bytes, header, file, access).map(Some)
    }

    pub(super) fn map(
        disk: &dyn Disk,
        segment_bytes: u64,
        header: SegmentHeader,
        file: Arc<dyn File>,
        access: Access,
    ) -> Result<Segment> {
        let path = || disk.root().join(name(header.number));
        let bytes = usize::try_from(header.bytes).expect("a 64-bit target");
        let region = file.map(0, bytes, access).map_err(|e| Error::io("map", path(), e))?;
        let start = header
            .number
            .checked_mul(segment_bytes)
            .filter(|start| start.saturating_add(header.bytes) < MAX_POSITION)
            .ok_or_else(|| Error::corrupt(path(), 32, "a number within the log", header.number))?;
        let salt = Salt::new(&header.id, header.epoch);
        let none = || AtomicUsize::new(0);
        let (written, coarse, little, ready) = (none(), none(), none(), none());
        let (scattered, named) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Segment {
            header,
            salt,
            start,
            region,
            file,
            written,
            coarse,
            little,
            scattered,
            named,
            ready,
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(super) fn salt(&self) -> Salt {
        self.salt
    }

    /// Position of the header.
    #[inline]
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Position of the end of the file.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.header.bytes
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    #[inline]
    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// Offset in the file of a position that is in this segment.
    #[inline]
    pub(super) fn offset(&self, position: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let offset = (position - self.start) as usize;
        offset
    }

    /// The part of `from..to` that is in this segment, as offset and length.
    fn part(&self, from: u64, to: u64) -> (usize, usize) {
        let from = from.clamp(self.start, self.end());
        let to = to.clamp(from, self.end());
        (self.offset(from), self.offset(to) - self.offset(from))
    }

    /// Its name is known to be durable.
    #[inline]
    pub(super) fn is_named(&self) -> bool {
        self.named.load(Relaxed)
    }

    pub(super) fn set_named(&self) {
        self.named.store(true, Relaxed);
    }

    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let (offset, len) = self.part(from, to);
        let len = if planted(Bug::SyncFirstPage) { len.min(1) } else { len };
        self.region.sync(offset, len)
    }

    /// Makes the log durable from `from` to `to`, where it ends.
    pub(super) fn sync_log(&self, from: u64, to: u64) -> io::Result<()> {
        let written = self.written.load(Relaxed);
        if to > self.end() || to - from >= MUCH {
            if written > 0 {
                if !self.scattered.load(Relaxed) {
                    self.region.together();
                }
                self.written.store(0, Relaxed);
            }
            self.little.store(0, Relaxed);
            return self.sync(from, to);
        }
        let end = self.offset(to).next_multiple_of(PAGE_BYTES);
        if written == 0 {
            self.sync(from, to)?;
            let before = self.little.load(Relaxed);
            let now = if to - from < LITTLE { before.saturating_add(1) } else { 0 };
            self.little.store(now, Relaxed);
            return Ok(());
        }
        if end <= written {
            return self.sync(from, to);
        }
        self.region.dirty(end, AHEAD);
        self.written.store(end + AHEAD, Relaxed);
        self.sync(from, to + AHEAD as u64)
    }

    /// The next sync would write much more than there is to write.
    #[inline]
    pub(super) fn lags(&self) -> bool {
        // The second in turn: what a checkpoint finds after it has synced a lot may be as little, and more than one of these
        // is no load.
        self.little.load(Relaxed) > 1 && self.written.load(Relaxed) == 0
    }

    /// Sees to it that the next sync writes little if those before it did. The log ends at `end`, and all of it is durable.
    pub(super) fn keep_pace(&self, end: u64) -> io::Result<()> {
        if self.lags() {
            self.page_by_page(self.offset(end).next_multiple_of(PAGE_BYTES))?;
        }
        Ok(())
    }

    /// Has the pages come one at a time from here on. What is there is in pieces, perhaps, so it has to go first. The kernel would
    /// write what is dirty for that, and if it failed to, drop it: so nothing may be dirty. And a file system that goes down in
    /// the middle of a sync may call it a success (ext4 does), but not the next one: so there is another. It is one of all the file,
    /// since a piece that was made ready for a load is dirty, whoever made it, and would stay.
    #[cold]
    fn page_by_page(&self, end: usize) -> io::Result<()> {
        let from = (end - 1) / PIECE * PIECE;
        // From here on no more is made ready.
        self.written.store(end, Relaxed);
        self.file.sync()?;
        self.region.singly(from);
        self.file.evict(from as u64);
        self.coarse.store(from + PIECE, Relaxed);
        Ok(())
    }

    /// Up to where a store may make more dirty than its page, although a sync is to write little: the page is in a large piece, which
    /// could not be let go if another process has it mapped. Written by the file it is that page alone. 0 if there is no such place, or
    /// no longer.
    pub(super) fn coarse(&self) -> u64 {
        match self.written.load(Relaxed) {
            0 => 0,
            _ => self.start + self.coarse.load(Relaxed) as u64,
        }
    }

    /// Makes pages dirty before the log comes to them; false if they come by themselves.
    pub(super) fn make_ready(&self, from: u64, to: u64) -> bool {
        let (offset, len) = self.part(from, to);
        let together = self.written.load(Relaxed) == 0;
        if together {
            self.region.make_ready(offset, len);
            self.ready.fetch_max(offset + len, Relaxed);
        }
        together
    }

    /// Before a load stores to what there is up to a position: if nobody has made these pages ahead, they come many at a time as long as
    /// the log is in this segment.
    pub(super) fn announce(&self, to: u64) {
        let (offset, len) = self.part(self.start, to);
        if offset + len > self.ready.load(Relaxed) && self.written.load(Relaxed) == 0 {
            self.ready.store(usize::MAX, Relaxed);
            self.region.stores_together();
        }
    }

    /// Writes bytes to space that only the writer knows, by the file, or where that fails by the mapping. The mapping knows the page
    /// in any case: one that cannot be synced can be read only as long as it is mapped, and one that is lost is noticed.
    pub(super) fn overwrite(&self, at: usize, bytes: &[u8]) {
        self.region.touch(at, bytes.len());
        if self.region.is_lost() || self.file.overwrite(bytes, at as u64).is_err() {
            self.region.fill(at, bytes.len(), |to| to.copy_from_slice(bytes));
        }
    }

    pub(super) fn redirty(&self, from: u64, to: u64) {
        let (offset, len) = self.part(from, to);
        self.region.redirty(offset / PAGE_BYTES * PAGE_BYTES, len + offset % PAGE_BYTES);
    }

    /// Has pages that are not in memory come by themselves from now on.
    pub(super) fn scatter(&self) {
        if !self.scattered.swap(true, Relaxed) {
            self.region.scattered(usize::MAX);
        }
    }

    /// The same for what was written before `position`. New pages cost less in pieces, so those after it come as they did.
    pub(super) fn scatter_before(&self, position: u64) {
        self.region.scattered(self.offset(position) / PIECE * PIECE);
    }

    /// For who reads on from `position`: has what follows read in large pieces, where it would come page by page. Returns the
    /// position from which on to say so again.
    pub(super) fn read_ahead(&self, position: u64) -> u64 {
        if !self.scattered.load(Relaxed) {
            return self.end();
        }
        // Twice as much as is read before the next time, so that the disk is never idle.
        self.region.will_need(self.offset(position), 2 * AT_ONCE);
        position + AT_ONCE as u64
    }

    /// Gives the blocks after `position`, where the log ended, back: nothing will ever be written there but what a recovery wipes.
    pub(crate) fn release_after(&self, position: u64) -> io::Result<()> {
        let offset = (position - self.start + record::HEADER).next_multiple_of(PAGE);
        match self.header.bytes.checked_sub(offset) {
            None | Some(0) => Ok(()),
            Some(len) => self.file.punch(offset, len),
        }
    }
}
