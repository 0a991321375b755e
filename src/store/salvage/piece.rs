//! A segment of a damaged log as it was found: its bytes, and what can be known of it, from its header or without.

use crate::format::checksum::Salt;
use crate::format::record::{CRC_BYTES, HEADER, Header, Kind};
use crate::format::segment;
use crate::format::u64_at;
use crate::sys::Region;

use super::sums::Sums;

/// One file of the log.
#[derive(Debug)]
pub(super) struct Piece {
    /// Relative to the store: `log/0000000003`.
    pub(super) name: String,
    pub(super) number: u64,
    /// Position of the first byte.
    pub(super) start: u64,
    /// How much of the file belongs to the segment: what its header says, or all there is.
    pub(super) extent: u64,
    /// What can be read of it; None if nothing.
    pub(super) region: Option<Region>,
    /// What is wrong with the file as a whole, or with its header.
    pub(super) why: Option<String>,
    /// Where the log ended before this segment, if its header tells.
    pub(super) prev_end: Option<u64>,
    pub(super) epoch: Option<u32>,
    /// With it the checksums of its records can be checked.
    pub(super) salt: Option<Salt>,
    /// Records begin before this offset: further on a position would name another segment.
    pub(super) begin_before: u64,
    /// What is at this position or after it was left behind by a crash, and is no part of the log.
    pub(super) limit: u64,
}

/// A record, or bytes that look like one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) header: Header,
    pub(super) key: &'a [u8],
    /// From the checksum's end to the value's.
    pub(super) covered: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn end(&self) -> u64 {
        self.position + self.header.size()
    }

    pub(super) fn is_put(&self) -> bool {
        self.header.kind == Kind::Put
    }

    pub(super) fn value(&self) -> &'a [u8] {
        let len = usize::try_from(self.header.value_len).expect("a 64-bit target");
        &self.covered[self.covered.len() - len..]
    }
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        let region = self.region.as_ref();
        region.and_then(|region| region.bytes(0, region.len())).unwrap_or_default()
    }

    /// Position of the first record.
    pub(super) fn first(&self) -> u64 {
        self.start + segment::HEADER
    }

    /// Position of the end.
    pub(super) fn end(&self) -> u64 {
        self.start + self.extent
    }

    /// Number of the segment that follows.
    pub(super) fn after(&self) -> u64 {
        self.number + self.extent.div_ceil(self.begin_before)
    }

    /// The header that may be at a position: its fields, and the bytes from there on.
    fn header(&self, position: u64) -> Option<(Header, &[u8])> {
        let offset = position.checked_sub(self.start)?;
        if offset < segment::HEADER || offset >= self.begin_before {
            return None;
        }
        let rest = self.bytes().get(usize::try_from(offset).ok()?..)?;
        let words = rest.get(..24)?;
        let words = [u64_at(words, 0), u64_at(words, 8), u64_at(words, 16)];
        Header::is_valid(words).then(|| (Header::fields(words), rest))
    }

    /// The first record of a segment that would start at `start`, if there is one: nothing else of the segment is known.
    pub(super) fn first_record_at(bytes: &[u8], start: u64, size: u64, salt: Salt) -> Option<()> {
        let rest = bytes.get(usize::try_from(segment::HEADER).ok()?..)?;
        let words = rest.get(..24)?;
        let words = [u64_at(words, 0), u64_at(words, 8), u64_at(words, 16)];
        let header = Header::is_valid(words).then(|| Header::fields(words))?;
        let covered = rest.get(CRC_BYTES..usize::try_from(header.value_end()).ok()?)?;
        let mut crc = salt.start(start + segment::HEADER);
        crc.update(covered);
        (size > segment::HEADER && crc.finalize() == header.crc).then_some(())
    }

    /// What looks like a record that lies within the segment.
    pub(super) fn entry(&self, position: u64) -> Option<Entry<'_>> {
        let (header, rest) = self.header(position)?;
        let covered = rest.get(CRC_BYTES..usize::try_from(header.value_end()).ok()?)?;
        if position + header.size() > self.end().min(self.limit) {
            return None;
        }
        let version = if header.relocated {
            u64_at(rest, usize::try_from(HEADER).expect("small"))
        } else {
            position
        };
        let key = key(&header, rest)?;
        (version <= position).then_some(Entry { position, version, header, key, covered })
    }

    /// The table and the key of what may once have been a record, whatever has become of its value.
    pub(super) fn key_at(&self, position: u64) -> Option<(u32, &[u8])> {
        let (header, rest) = self.header(position)?;
        Some((header.table, key(&header, rest)?))
    }

    /// The record at a position, if its checksum holds.
    pub(super) fn record(&self, position: u64) -> Option<Entry<'_>> {
        let (entry, salt) = (self.entry(position)?, self.salt?);
        let mut crc = salt.start(position);
        crc.update(entry.covered);
        (crc.finalize() == entry.header.crc).then_some(entry)
    }

    /// The same, for a search among bytes that may name any length.
    pub(super) fn search(&self, position: u64, sums: &Sums<'_>) -> Option<Entry<'_>> {
        let (entry, salt) = (self.entry(position)?, self.salt?);
        let (plain, len) = self.plain(&entry, sums);
        (salt.of_plain(position, plain, len) == entry.header.crc).then_some(entry)
    }

    /// The salt with which what looks like a record would be one.
    pub(super) fn salt_of(&self, entry: &Entry<'_>, sums: &Sums<'_>) -> Salt {
        let (plain, len) = self.plain(entry, sums);
        Salt::solve(entry.position, plain, len, entry.header.crc)
    }

    fn plain(&self, entry: &Entry<'_>, sums: &Sums<'_>) -> (u32, u64) {
        let from = usize::try_from(entry.position - self.start).expect("in the segment");
        let from = from + CRC_BYTES;
        (sums.plain(from, from + entry.covered.len()), entry.covered.len() as u64)
    }

    /// The file is shorter than its header says.
    pub(super) fn is_cut(&self) -> bool {
        self.prev_end.is_some() && (self.bytes().len() as u64) < self.extent
    }

    /// Position after the last byte from `position` on that is not zero; `position` itself if there is none.
    pub(super) fn used_from(&self, position: u64) -> u64 {
        let from = usize::try_from(position - self.start).expect("in the segment");
        let end = usize::try_from(self.extent).unwrap_or(usize::MAX).min(self.bytes().len());
        let rest = self.bytes().get(from..end).unwrap_or_default();
        let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        position + used as u64
    }
}

fn key<'a>(header: &Header, rest: &'a [u8]) -> Option<&'a [u8]> {
    let at = usize::try_from(header.key_offset()).ok()?;
    rest.get(at..at + usize::from(header.key_len))
}
