//! A record in a mapped segment: bounds checked once, then borrowed.

use std::sync::atomic::Ordering::Relaxed;

use crate::faults::{Bug, planted};
use crate::format::record::{CRC_BYTES, HEADER, Header, Kind};

use super::segment::Segment;

/// One version of one key, borrowed from the mapping of its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The header as it lies there; fields are cut out when they are asked for.
    words: [u64; 3],
    offset: usize,
    segment: &'a Segment,
}

impl Segment {
    /// The record at `position` of this segment, if the bytes there can be one.
    pub(crate) fn record(&self, position: u64) -> Option<Record<'_>> {
        Record::at(self, position)
    }
}

impl<'a> Record<'a> {
    /// The record at `position`, or None if the bytes there can be none that lies within its segment.
    #[inline]
    pub(super) fn at(segment: &'a Segment, position: u64) -> Option<Record<'a>> {
        let offset = segment.offset(position);
        // Words rather than bytes: a position out of a page that is being recycled may lead to memory that is being written.
        let [a, b, c] = segment.region().words(offset, 3)? else { return None };
        let words = [a.load(Relaxed), b.load(Relaxed), c.load(Relaxed)];
        let record = Record { words, offset, segment };
        let end = offset as u64 + record.header().value_end();
        (Header::is_valid(words) && end <= segment.region().len() as u64).then_some(record)
    }

    /// What the checksum covers is what was written, at this place, in this epoch.
    pub(crate) fn verify(&self) -> bool {
        let mut crc = self.segment.salt().start(self.position());
        crc.update(self.slice(CRC_BYTES as u64, self.header().value_end() - CRC_BYTES as u64));
        let right = crc.finalize() == self.header().crc || planted(Bug::SkipRecordCrc);
        right && self.version() <= self.position()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
    fn slice(&self, offset: u64, len: u64) -> &'a [u8] {
        let start = self.offset + offset as usize;
        self.segment.region().bytes(start, len as usize).unwrap_or_else(|| beyond())
    }

    #[inline]
    pub(crate) fn header(&self) -> Header {
        Header::fields(self.words)
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.segment.start() + self.offset as u64
    }

    /// Position at which this version of the key became visible: its own, unless it was relocated.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        if self.header().relocated {
            let word = self.slice(HEADER, 8);
            u64::from_le_bytes(word.try_into().expect("eight bytes"))
        } else {
            self.position()
        }
    }

    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.position() + self.header().size()
    }

    /// Bytes from the start of the header to the end of the value.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
    pub(crate) fn len(&self) -> usize {
        self.header().value_end() as usize
    }

    #[inline]
    pub(crate) fn key(&self) -> &'a [u8] {
        self.slice(self.header().key_offset(), u64::from(self.header().key_len))
    }

    #[inline]
    pub(crate) fn value(&self) -> &'a [u8] {
        self.slice(self.header().value_offset(), u64::from(self.header().value_len))
    }

    #[inline]
    pub(crate) fn is_put(&self) -> bool {
        self.header().kind == Kind::Put
    }

    /// This is a version of `key` in `table`.
    #[inline]
    pub(crate) fn is(&self, table: u32, key: &[u8]) -> bool {
        self.header().table == table
            && usize::from(self.header().key_len) == key.len()
            && same(self.key(), key)
    }

    /// Number of the segment it is in.
    pub(crate) fn segment(&self) -> u64 {
        self.segment.number()
    }

    /// Reads from every page that the record is on.
    #[inline]
    pub(crate) fn touch(&self) {
        self.segment.region().touch(self.offset, self.len());
    }

    /// A page of its segment could not be had; what was read of the record may be zeros.
    pub(crate) fn is_lost(&self) -> bool {
        self.segment.region().is_lost()
    }

    /// The file and the offset in it, for messages.
    pub(crate) fn place(&self) -> (String, u64) {
        let name = crate::format::segment::name(self.segment.number());
        (name, self.offset as u64)
    }
}

/// Bounds were checked. Without arguments, so that nothing is prepared for a call that is never made.
#[cold]
#[inline(never)]
fn beyond() -> ! {
    unreachable!("a record lies within its segment")
}

/// Two slices of one length hold the same bytes. Short keys are the rule, and for them a call of `memcmp` costs more than
/// the comparison.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
    match a.len() {
        8..=16 => word(a, 0) == word(b, 0) && word(a, a.len() - 8) == word(b, b.len() - 8),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn keys_of_any_length_are_compared_whole() {
        for len in 0..40 {
            let a: Vec<u8> = (0..len).collect();
            assert!(same(&a, &a.clone()));
            for at in 0..a.len() {
                let mut b = a.clone();
                b[at] ^= 0x80;
                assert!(!same(&a, &b), "byte {at} of {len}");
            }
        }
    }
}
