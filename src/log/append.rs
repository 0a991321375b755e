//! Appending: space is reserved for a whole batch first, so that a full disk is noticed before anything is written.

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::PAGE;
use crate::format::checksum::Salt;
use crate::format::position::Era;
use crate::format::record::{self, Before, CRC_BYTES, Header};
use crate::format::segment::{HEADER, SegmentHeader, name};
use crate::sys::Pin;

use super::{Log, Record, Segment, View};

/// Bytes of a version.
const VERSION_LEN: usize = size_of::<u64>();

/// A commit of so many bytes is one of a load, with which the thread that makes pages ahead may not keep up.
const LARGE: u64 = 64 << 10;

/// Where the next record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) position: u64,
    /// The segment it is in: a tail at the end of a segment is still in that one.
    pub(crate) segment: u64,
}

/// Space reserved for the records of one batch.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    log: &'a Log,
    tail: Tail,
    end: u64,
    era: Era,
    created: Vec<Segment>,
}

impl Log {
    /// Number of the segment that follows `segment`.
    pub(crate) fn after(&self, segment: &Segment) -> u64 {
        segment.header().after(self.segment_bytes)
    }

    /// Creates a segment of the given era for a log that ends at `prev_end`.
    fn create(&self, number: u64, era: Era, prev_end: u64, first: u64) -> Result<Segment> {
        let bytes = (HEADER + first).next_multiple_of(PAGE).max(self.segment_bytes);
        let (epoch, nonce) = (era.epoch(), era.nonce());
        let header = SegmentHeader { id: self.id, number, epoch, nonce, bytes, prev_end };
        self.clear_within(&header)?;
        match self.begin_spare(header)? {
            Some(segment) => Ok(segment),
            None => Segment::create(&*self.disk, self.segment_bytes, header),
        }
    }

    /// Unlinks what a batch that failed has left under the numbers that a longer segment is to take. Once that segment is gone,
    /// nothing would tell them from segments of the log. The sync of the directory that makes it durable makes this so too.
    fn clear_within(&self, longer: &SegmentHeader) -> Result<()> {
        let within = longer.number + 1..longer.after(self.segment_bytes);
        if within.is_empty() {
            return Ok(());
        }
        let mut left = self.numbers()?.into_iter().filter(|number| within.contains(number));
        left.try_for_each(|number| self.remove(number))
    }

    /// Creates segment `number` and starts the log, or a new epoch of it, there.
    pub(crate) fn begin(&self, number: u64, epoch: u32, prev_end: u64) -> Result<Tail> {
        let segment = self.create(number, Era::new(epoch, self.disk.nonce()), prev_end, 0)?;
        let position = segment.start() + HEADER;
        self.insert(segment, &Pin::new());
        Ok(Tail { position, segment: number })
    }

    /// Starts reserving space at `tail`, for the only one who may now. The log is durable up to `durable`.
    pub(crate) fn draft(&self, tail: Tail, durable: u64) -> Result<Draft<'_>> {
        let pin = Pin::new();
        let segment = self.view(&pin).segment(tail.segment)?;
        if durable >= tail.position {
            let failed = |e| Error::io("sync", self.path(tail.segment), e);
            segment.keep_pace(tail.position).map_err(failed)?;
        }
        let (end, era) = (segment.end(), segment.header().era());
        Ok(Draft { log: self, tail, end, era, created: Vec::new() })
    }
}

impl View<'_> {
    /// Up to where the log can go on from `tail` without more ado; None if something is to be done first. It is durable up to
    /// `durable`.
    #[inline]
    pub(crate) fn room(self, tail: Tail, durable: u64) -> Option<u64> {
        let segment = self.known(tail.segment)?;
        let paced = durable < tail.position || !segment.lags();
        paced.then(|| segment.end().min(segment.start() + self.log.segment_bytes))
    }

    /// Up to where a store to the segment in which the log ends may make much dirty although little is synced at a time: what is written
    /// by the file does not. 0 if it may not.
    #[cold]
    pub(crate) fn coarse(self, tail: Tail) -> u64 {
        self.known(tail.segment).map_or(0, Segment::coarse)
    }

    /// Says that records between two ends of the log come next. Only a hint.
    #[inline]
    pub(crate) fn announce(self, from: Tail, to: Tail) {
        if to.position - from.position >= LARGE {
            self.announce_much(from, to);
        }
    }

    #[cold]
    fn announce_much(self, from: Tail, to: Tail) {
        let mut number = from.segment;
        while number <= to.segment
            && let Some(segment) = self.known(number)
        {
            segment.announce(to.position);
            number = self.after(segment);
        }
    }

    /// Makes the pages of `len` bytes from `position` on ready to be written, if the log may come there in this segment and does not
    /// come to them one by one; false if not. Only a hint.
    pub(crate) fn make_ready(self, position: u64, len: u64) -> bool {
        let segment = self.known(self.log.number(position));
        segment.is_some_and(|segment| segment.make_ready(position, position + len))
    }

    /// Writes one record, given all of its header but the checksum. `fill` puts the value into its place.
    ///
    /// The range was reserved, lies after everything published, and this is the only writer.
    #[inline]
    pub(crate) fn write(
        self,
        position: u64,
        header: Header,
        key: &[u8],
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.write_settled(position, header, key, fill, || Ok(header.before()))
    }

    /// The same where what the header says of the version before this one is a guess: `settle` says what is right, once all else has
    /// been done. Nothing is a record before that.
    #[inline]
    pub(crate) fn write_settled(
        self,
        position: u64,
        guess: Header,
        key: &[u8],
        fill: impl FnOnce(&mut [u8]),
        settle: impl FnOnce() -> Result<Before>,
    ) -> Result<()> {
        self.write_form(position, guess, position, key, fill, settle)
    }

    /// Writes a copy of a record that became visible at `version`.
    pub(crate) fn write_version(
        self,
        position: u64,
        header: Header,
        version: u64,
        key: &[u8],
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.write_form(position, header, version, key, fill, || Ok(header.before()))
    }

    #[inline]
    fn write_form(
        self,
        position: u64,
        guess: Header,
        version: u64,
        key: &[u8],
        fill: impl FnOnce(&mut [u8]),
        settle: impl FnOnce() -> Result<Before>,
    ) -> Result<()> {
        let segment = self.segment_at(position)?;
        let form = Form { position, version, salt: segment.salt() };
        let lay = |bytes: &mut [u8]| form.lay(guess, bytes, key, fill, settle);
        segment.region().fill(segment.offset(position), len(&guess), lay)
    }

    /// The same as [`View::write`] by the file, and by way of `staged`.
    pub(crate) fn write_by_file(
        self,
        position: u64,
        header: Header,
        key: &[u8],
        staged: &mut Vec<u8>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let segment = self.segment_at(position)?;
        let form = Form { position, version: position, salt: segment.salt() };
        staged.clear();
        staged.resize(len(&header), 0);
        form.lay(header, staged, key, fill, || Ok(header.before()))?;
        segment.overwrite(segment.offset(position), staged);
        Ok(())
    }

    /// Makes sure that a segment, in which the log will not go on, holds no record at `end`, where it ended: who finds the next
    /// segment gone must not take for records what a batch that was cut short has left.
    ///
    /// Also where there is none to be seen, since a wipe before this one may not have reached the disk: a sync that failed has left
    /// it in a page that counts as clean (invariant I9).
    pub(crate) fn blot(self, number: u64, end: u64) -> Result<()> {
        let segment = self.segment(number)?;
        let seen = || Record::at(segment, end).is_some_and(|record| record.verify());
        if planted(Bug::SkipRedirty) && !seen() {
            return Ok(());
        }
        let len = record::HEADER.min(segment.end() - end);
        segment.region().zero(segment.offset(end), usize::try_from(len).expect("a few bytes"));
        segment.redirty(end, end + len);
        let path = || self.log.path(number);
        segment.sync(end, end + len).map_err(|e| Error::io("sync", path(), e))
    }

    /// Wipes a reserved range whose record was given up, so that nothing of it can be taken for one later.
    pub(crate) fn wipe(self, position: u64, size: u64) -> Result<()> {
        let segment = self.segment_at(position)?;
        segment.region().zero(segment.offset(position), usize::try_from(size).expect("reserved"));
        Ok(())
    }
}

/// What makes a record, but for its header, key and value.
#[derive(Clone, Copy)]
struct Form {
    position: u64,
    version: u64,
    salt: Salt,
}

impl Form {
    /// Writes the record into its bytes, the checksum last. The header is a guess until `settle` says what it is.
    #[inline]
    fn lay(
        self,
        guess: Header,
        bytes: &mut [u8],
        key: &[u8],
        fill: impl FnOnce(&mut [u8]),
        settle: impl FnOnce() -> Result<Before>,
    ) -> Result<()> {
        let key_at = usize::try_from(guess.key_offset()).expect("a header's size");
        let value_at = usize::try_from(guess.value_offset()).expect("reserved");
        lay_header(guess, bytes);
        if guess.relocated {
            bytes[key_at - VERSION_LEN..key_at].copy_from_slice(&self.version.to_le_bytes());
        }
        bytes[key_at..key_at + key.len()].copy_from_slice(key);
        reach(Point::RecordKeyed);
        fill(&mut bytes[value_at..]);
        let mut crc = self.checksum(bytes);
        if planted(Bug::SumGuess) {
            bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        reach(Point::RecordFilled);
        let before = settle()?;
        if before != guess.before() && !planted(Bug::TrustGuess) {
            crc = self.lay_again(guess.after(before), bytes);
        }
        bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Replaces a header that was wrong, and returns the checksum.
    #[cold]
    fn lay_again(self, header: Header, bytes: &mut [u8]) -> u32 {
        lay_header(header, bytes);
        self.checksum(bytes)
    }

    #[inline]
    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut crc = self.salt.start(self.position);
        crc.update(&bytes[CRC_BYTES..]);
        crc.finalize()
    }
}

/// Writes a header without the checksum.
#[inline]
fn lay_header(header: Header, bytes: &mut [u8]) {
    for (to, word) in bytes.chunks_exact_mut(8).zip(header.encode()) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

/// How many bytes of a record are written.
#[inline]
fn len(header: &Header) -> usize {
    usize::try_from(header.value_end()).expect("reserved")
}

impl Draft<'_> {
    /// `size` bytes fit into the segment that the draft has come to.
    pub(crate) fn fits(&self, size: u64) -> bool {
        let start = self.tail.segment * self.log.segment_bytes;
        // A record starts within the first segment size of its segment, or its position would name another number.
        self.tail.position + size <= self.end && self.tail.position < start + self.log.segment_bytes
    }

    /// Reserves `size` bytes and returns their position, in a new segment if they do not fit into this one.
    pub(crate) fn reserve(&mut self, size: u64) -> Result<u64> {
        if !self.fits(size) {
            self.roll(size)?;
        }
        let position = self.tail.position;
        self.tail.position += size;
        Ok(position)
    }

    fn roll(&mut self, first: u64) -> Result<()> {
        let number = self.end.div_ceil(self.log.segment_bytes);
        let segment = self.log.create(number, self.era, self.tail.position, first)?;
        self.tail = Tail { position: segment.start() + HEADER, segment: number };
        self.end = segment.end();
        self.created.push(segment);
        Ok(())
    }

    /// The segment in which the space ends.
    pub(crate) fn last_segment(&self) -> u64 {
        self.tail.segment
    }

    /// Takes the space: from here on the records can be written. Returns where the log will end.
    pub(crate) fn take(self) -> Tail {
        let pin = Pin::new();
        for segment in self.created {
            self.log.insert(segment, &pin);
        }
        self.tail
    }

    /// Gives the space back. Durably: a segment that came back after a power cut would end the log where it was created,
    /// though the log went on before it.
    pub(crate) fn give_up(self) -> Result<()> {
        let (log, created) = (self.log, self.created);
        for segment in created.iter().rev() {
            let name = name(segment.number());
            log.disk
                .remove(&name)
                .map_err(|e| Error::io("remove", log.disk.root().join(name), e))?;
            reach(Point::GiveUpRemoved);
        }
        if !created.is_empty() {
            let dir = log.disk.root().join("log");
            log.disk.sync_dir("log").map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    }
}
