//! A record of the log: one version of one key. 24 bytes of header, key, value.

use super::position::{ALIGN, align};

/// Bytes of the fixed header.
pub(crate) const HEADER: u64 = 24;
/// Bytes of the version that follows the header of a relocated record.
pub(crate) const VERSION_BYTES: u64 = 8;
/// Longest key, in bytes.
pub(crate) const MAX_KEY: usize = u16::MAX as usize;
/// Longest value, in bytes.
pub(crate) const MAX_VALUE: u64 = u32::MAX as u64;

/// The first four bytes hold the checksum, which covers everything from here to the end of the value.
pub(crate) const CRC_BYTES: usize = 4;

const COMMIT: u8 = 1;
const LIVE_BEFORE: u8 = 2;
const RELOCATED: u8 = 4;

/// What a record says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Put = 1,
    Tombstone = 2,
}

/// The header of a record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) kind: Kind,
    /// The last record of its batch: the commit mark.
    pub(crate) commit: bool,
    /// The previous version of the key was a put, so counters can be kept exactly on replay.
    pub(crate) live_before: bool,
    /// Carries the version of the record that it is a copy of.
    pub(crate) relocated: bool,
    pub(crate) table: u32,
    pub(crate) key_len: u16,
    pub(crate) value_len: u32,
    /// Position of the previous version of the key; 0 if there is none.
    pub(crate) prev: u64,
}

/// What a record says about the version of its key before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// Its position; 0 if there is none.
    pub(crate) prev: u64,
    /// It is a put.
    pub(crate) live: bool,
}

impl Header {
    /// What it says about the version before.
    #[inline]
    pub(crate) fn before(&self) -> Before {
        Before { prev: self.prev, live: self.live_before }
    }

    /// The header of a record that comes after another version.
    #[inline]
    pub(crate) fn after(self, before: Before) -> Header {
        Header { prev: before.prev, live_before: before.live, ..self }
    }

    /// The header as three little-endian words.
    #[inline]
    pub(crate) fn encode(&self) -> [u64; 3] {
        let flags = (u8::from(self.commit) * COMMIT)
            | (u8::from(self.live_before) * LIVE_BEFORE)
            | (u8::from(self.relocated) * RELOCATED);
        [
            u64::from(self.crc) | u64::from(self.value_len) << 32,
            u64::from(self.table)
                | u64::from(self.key_len) << 32
                | u64::from(self.kind as u8) << 48
                | u64::from(flags) << 56,
            self.prev,
        ]
    }

    /// The header that three words hold, or None when they can be no header. Sixteen zero bytes never are one.
    #[inline]
    #[cfg(test)]
    pub(crate) fn decode(words: [u64; 3]) -> Option<Header> {
        Header::is_valid(words).then(|| Header::fields(words))
    }

    /// The words can be a header.
    #[inline]
    pub(crate) fn is_valid(words: [u64; 3]) -> bool {
        let flags = COMMIT | LIVE_BEFORE | RELOCATED;
        // Without the flags that there are, what is left is a kind: one comparison for all.
        let kind = words[1] >> 48 & !(u64::from(flags) << 8);
        kind.wrapping_sub(1) < Kind::Tombstone as u64 && words[2].is_multiple_of(ALIGN)
    }

    /// The fields of words that can be a header.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of wider words")]
    pub(crate) fn fields(words: [u64; 3]) -> Header {
        let flags = (words[1] >> 56) as u8;
        Header {
            crc: words[0] as u32,
            kind: if words[1] >> 48 & 1 == 1 { Kind::Put } else { Kind::Tombstone },
            commit: flags & COMMIT != 0,
            live_before: flags & LIVE_BEFORE != 0,
            relocated: flags & RELOCATED != 0,
            table: words[1] as u32,
            key_len: (words[1] >> 32) as u16,
            value_len: (words[0] >> 32) as u32,
            prev: words[2],
        }
    }

    /// Offset of the key from the start of the record.
    #[inline]
    pub(crate) fn key_offset(&self) -> u64 {
        if self.relocated { HEADER + VERSION_BYTES } else { HEADER }
    }

    /// Offset of the value from the start of the record, a multiple of 16.
    #[inline]
    pub(crate) fn value_offset(&self) -> u64 {
        align(self.key_offset() + u64::from(self.key_len))
    }

    /// Offset of the first byte after the value.
    #[inline]
    pub(crate) fn value_end(&self) -> u64 {
        self.value_offset() + u64::from(self.value_len)
    }

    /// Bytes the record takes in the log, a multiple of 16.
    #[inline]
    pub(crate) fn size(&self) -> u64 {
        align(self.value_end())
    }
}

/// Bytes that a record which is no relocation takes in the log.
#[inline]
pub(crate) fn size(key_len: usize, value_len: usize) -> u64 {
    align(align(HEADER + key_len as u64) + value_len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            crc: 0xDEAD_BEEF,
            kind: Kind::Put,
            commit: true,
            live_before: false,
            relocated: false,
            table: 7,
            key_len: 8,
            value_len: 100,
            prev: 4096,
        }
    }

    #[test]
    fn a_header_survives_its_encoding() {
        for kind in [Kind::Put, Kind::Tombstone] {
            for bits in 0..8 {
                let header = Header {
                    kind,
                    commit: bits & 1 != 0,
                    live_before: bits & 2 != 0,
                    relocated: bits & 4 != 0,
                    key_len: u16::MAX,
                    value_len: u32::MAX,
                    ..header()
                };
                assert_eq!(Header::decode(header.encode()), Some(header));
            }
        }
    }

    #[test]
    fn zeros_and_unknown_bits_are_no_header() {
        assert_eq!(Header::decode([0; 3]), None);
        let mut words = header().encode();
        words[1] |= 1 << 63;
        assert_eq!(Header::decode(words), None);
        let mut words = header().encode();
        words[2] += 1;
        assert_eq!(Header::decode(words), None);
    }

    #[test]
    fn small_records_cost_at_most_forty_bytes_over_key_and_value() {
        assert_eq!(header().size(), 144);
        assert_eq!(size(8, 100), 144);
        assert_eq!(size(0, 0), 32);
        assert_eq!(header().value_offset() % ALIGN, 0);
    }
}
