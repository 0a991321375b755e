//! A page of the index: one line of header and 63 lines of four slots; a slot is two words.
//!
//! `cur` holds the position of a key's newest version and the low 20 of the 39 stored hash bits, `prev` that of its newest
//! version known durable when it was overwritten (the slot rule) and the high 19 bits. The bit that `prev` has left is an
//! *overflow bit*, which belongs to the line and not to the slot.

use super::PAGE_BYTES;
use super::hash::Hash;

/// Bytes of a line: what memory moves at once.
pub(crate) const LINE: usize = 64;
/// Lines that hold slots.
///
/// Under the model checker as few as there can be, so that it sees pages split.
pub(crate) const LINES: usize = if cfg!(all(test, loom)) { 1 } else { PAGE_BYTES / LINE - 1 };
/// Slots of a line.
pub(crate) const LINE_SLOTS: usize = 4;
/// Words of a page.
pub(crate) const WORDS: usize = (LINES + 1) * LINE / 8;

/// Word offsets in the header line.
pub(crate) const MAGIC_WORD: usize = 0;
pub(crate) const PREFIX_WORD: usize = 1;
pub(crate) const SHAPE_WORD: usize = 2;
pub(crate) const BIRTH_WORD: usize = 3;

const MAGIC: u64 = 0x746B_426D; // "mBkt"
const TAG_SHIFT: u32 = 44;
const POSITION_MASK: u64 = (1 << TAG_SHIFT) - 1;
const TAG_MASK: u64 = 0xF_FFFF;
/// The positions below are in the header of a segment, where no record is.
const FIRST_POSITION: u64 = super::segment::HEADER >> 4;
/// The bit of `prev` in slot number n of a line that says that keys whose probe starts at this line, and whose stored bits end in n,
/// may lie on a later one. Without it a lookup ends here, though the line is full.
///
/// Boost's `unordered_flat_map` (J. M. Lopez Munoz, 2022) has such bits for each group of its slots. Its probes set them on all groups
/// that they pass. A page is so small that here the first line alone has them, which is right more often.
pub(crate) const OVERFLOW: u64 = 1 << 63;
/// The `cur` word of a slot that is neither empty nor a key's, and may become any key's.
pub(crate) const DEAD: u64 = 1;

/// The header line of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub(crate) number: u32,
    /// The hash bits that all keys of the page share, as a number.
    pub(crate) prefix: u64,
    /// How many bits these are.
    pub(crate) depth: u32,
    /// The next page of a chain; 0 for none.
    pub(crate) next: u32,
    /// The checkpoint sequence at which the page was written.
    pub(crate) birth: u64,
}

impl PageHeader {
    pub(crate) fn encode(&self) -> [u64; 4] {
        [
            MAGIC | u64::from(self.number) << 32,
            self.prefix,
            u64::from(self.depth) | u64::from(self.next) << 32,
            self.birth,
        ]
    }

    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of wider words")]
    pub(crate) fn decode(words: [u64; 4]) -> Option<PageHeader> {
        (words[0] as u32 == MAGIC as u32).then_some(PageHeader {
            number: (words[0] >> 32) as u32,
            prefix: words[1],
            depth: words[2] as u32,
            next: (words[2] >> 32) as u32,
            birth: words[3],
        })
    }
}

/// The tag of `cur` and the tag of `prev` for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) cur: u64,
    pub(crate) prev: u64,
}

impl Tags {
    #[inline]
    pub(crate) fn of(hash: Hash) -> Tags {
        let stored = hash.stored();
        Tags { cur: (stored & TAG_MASK) << TAG_SHIFT, prev: (stored >> 20) << TAG_SHIFT }
    }

    /// The `cur` word for a version at `position`.
    #[inline]
    pub(crate) fn cur_word(self, position: u64) -> u64 {
        self.cur | position >> 4 & POSITION_MASK
    }

    /// The `prev` word for a version at `position`.
    #[inline]
    pub(crate) fn prev_word(self, position: u64) -> u64 {
        self.prev | position >> 4 & POSITION_MASK
    }

    /// The slot's `cur` word carries this key's tag.
    #[inline]
    pub(crate) fn is_cur(self, word: u64) -> bool {
        word ^ self.cur <= POSITION_MASK
    }

    /// The slot's `prev` word carries this key's tag.
    #[inline]
    pub(crate) fn is_prev(self, word: u64) -> bool {
        (word ^ self.prev) & !OVERFLOW <= POSITION_MASK
    }
}

/// The 39 stored hash bits of a used slot.
#[inline]
pub(crate) fn stored(cur: u64, prev: u64) -> u64 {
    cur >> TAG_SHIFT | (prev & !OVERFLOW) >> TAG_SHIFT << 20
}

/// Bytes of the log of which a slot tells the positions apart.
pub(crate) const WINDOW: u64 = 1 << 48;

/// The line at which the probe for a key starts.
///
/// The multiplication makes every stored bit below count, so that keys spread over all lines however deep the page is.
#[inline]
pub(crate) fn start_line(stored: u64) -> usize {
    let mixed = (stored & TAG_MASK).wrapping_mul(0x9_E375) & TAG_MASK;
    ((mixed * LINES as u64) >> 20) as usize
}

/// Word offset in its line of the `prev` that has the overflow bit of a key.
#[inline]
pub(crate) fn overflow_word(stored: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    let slot = stored as usize & (LINE_SLOTS - 1);
    2 * slot + 1
}

/// Word offset in the page of the overflow bit that says that a key's slot is at `word`; None if that is on the line where the probe
/// for it starts.
#[inline]
pub(crate) fn overflows(stored: u64, word: usize) -> Option<usize> {
    let first = line_word(start_line(stored));
    (first != word & !(2 * LINE_SLOTS - 1)).then(|| first + overflow_word(stored))
}

/// Word offset in the page of the first slot of a line.
#[inline]
pub(crate) fn line_word(line: usize) -> usize {
    (line + 1) * (LINE / 8)
}

/// The position that a slot word holds, or None when it holds none: the one nearest to `reference` with its low 44 bits.
///
/// Live positions span less than half the window of 256 TiB on either side of the log's end.
#[inline]
pub(crate) fn position(word: u64, reference: u64) -> Option<u64> {
    let low = word & POSITION_MASK;
    if low < FIRST_POSITION {
        return None;
    }
    let units = reference >> 4;
    let distance = (low.wrapping_sub(units) << 20).cast_signed() >> 20;
    Some(units.wrapping_add_signed(distance) << 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_rebuilt_on_both_sides_of_the_reference_and_across_the_window() {
        let tags = Tags::of(Hash(0x0123_4567_89AB_CDEF));
        for reference in [1u64 << 20, 1 << 47, (1 << 48) - 64, 1 << 48, (7 << 48) + 4096] {
            for distance in [0i64, 16, -16, 1 << 40, -(1 << 40), (1 << 46), -(1 << 46)] {
                let Some(at) = reference.checked_add_signed(distance) else { continue };
                if at >> 4 & POSITION_MASK < FIRST_POSITION {
                    continue;
                }
                assert_eq!(position(tags.cur_word(at), reference), Some(at));
                assert_eq!(position(tags.prev_word(at), reference), Some(at));
            }
        }
        assert_eq!(position(tags.cur_word(0), 1 << 20), None);
    }

    #[test]
    fn a_slot_holds_all_stored_bits_beside_an_overflow_bit() {
        let hash = Hash(0xFEDC_BA98_7654_3210);
        let tags = Tags::of(hash);
        assert_eq!(stored(tags.cur_word(64), tags.prev_word(0)), hash.stored());
        assert!(tags.is_cur(tags.cur_word(4096)) && tags.is_prev(tags.prev_word(4096)));
        let overflown = tags.prev_word(4096) | OVERFLOW;
        assert_ne!(overflown, tags.prev_word(4096));
        assert_eq!(stored(tags.cur_word(64), overflown), hash.stored());
        assert!(tags.is_prev(overflown));
        assert_eq!(position(overflown, 4096), Some(4096));
        let other = Tags::of(Hash(hash.0 ^ 1 << 63));
        assert!(other.is_cur(tags.cur_word(64)) && !other.is_prev(tags.prev_word(64)));
    }

    #[test]
    fn keys_of_a_deep_page_start_on_all_lines() {
        let mut seen = [0; LINES];
        for low in 0..4096 {
            seen[start_line(0xABCD_E000 + low)] += 1;
        }
        assert!(seen.iter().all(|count| (30..110).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_key_has_its_overflow_bit_on_the_line_where_its_probe_starts() {
        for low in 0..4096 {
            let stored = 0xABCD_E000 + low;
            let line = start_line(stored);
            for slot in 0..LINE_SLOTS {
                assert_eq!(overflows(stored, line_word(line) + 2 * slot), None);
            }
            let next = line_word((line + 1) % LINES);
            let bit = overflows(stored, next).expect("on another line");
            assert_eq!(bit, line_word(line) + 2 * (low % 4) as usize + 1);
        }
    }

    #[test]
    fn a_header_survives_its_encoding() {
        let header = PageHeader { number: 7, prefix: 0x1FF, depth: 9, next: 12, birth: 3 };
        assert_eq!(PageHeader::decode(header.encode()), Some(header));
        assert_eq!(PageHeader::decode([0; 4]), None);
    }
}
