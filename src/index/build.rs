//! Writing new pages: slots in, a page or a chain of pages out.

use std::sync::atomic::Ordering::Release;

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::page::{
    LINE_SLOTS, LINES, OVERFLOW, PageHeader, WORDS, line_word, overflows, start_line, stored,
};

use super::Index;
use super::allocate::Allocator;

/// Lines that an insertion looks at before it gives up and the page splits, unless that is put off. Pages get about 95 % full.
pub(super) const MAX_PROBE: usize = if LINES < 32 { LINES } else { 32 };

/// A slot's two words.
pub(super) type Slot = (u64, u64);

/// A page in private memory.
struct Image([u64; WORDS]);

impl Image {
    /// Puts a slot where a probe for it looks; false if there is no room.
    fn insert(&mut self, (cur, prev): Slot) -> bool {
        let hash = stored(cur, prev);
        let mut line = start_line(hash);
        for _ in 0..LINES {
            for slot in 0..LINE_SLOTS {
                let at = line_word(line) + 2 * slot;
                if self.0[at] == 0 {
                    self.0[at] = cur;
                    self.0[at + 1] |= prev;
                    if let Some(bit) = overflows(hash, at) {
                        self.0[bit] |= OVERFLOW;
                    }
                    return true;
                }
            }
            line = if line + 1 == LINES { 0 } else { line + 1 };
        }
        false
    }
}

impl Index {
    /// Writes pages that hold `slots`, in front of the chain that starts at `next` (0 for none).
    /// Returns the first page and whether more follow it.
    pub(super) fn build(
        &self,
        allocator: &mut Allocator,
        slots: impl IntoIterator<Item = Slot>,
        prefix: u64,
        depth: u32,
        next: u32,
    ) -> Result<(u32, bool)> {
        let mut image = Image([0; WORDS]);
        let mut chain = next;
        for slot in slots {
            // A page that split has half its slots, so only keys that collide in many bits can fail here.
            if !image.insert(slot) {
                chain = self.write(allocator, &mut image, prefix, depth, chain)?;
                image = Image([0; WORDS]);
                let inserted = image.insert(slot);
                debug_assert!(inserted, "an empty page has room");
            }
        }
        let page = self.write(allocator, &mut image, prefix, depth, chain)?;
        Ok((page, chain != 0))
    }

    fn write(
        &self,
        allocator: &mut Allocator,
        image: &mut Image,
        prefix: u64,
        depth: u32,
        next: u32,
    ) -> Result<u32> {
        let number = self.allocate(allocator)?;
        let birth = self.cells.sequence();
        let header = PageHeader { number, prefix, depth, next, birth }.encode();
        image.0[..header.len()].copy_from_slice(&header);
        let words = self.page_to_store(number)?;
        // The page may be written anew under readers: who loads one of these words and then checks what led there (I7) must
        // see that it has changed, and all of the record that the word leads to.
        for (to, word) in words.iter().zip(image.0) {
            to.store(word, Release);
        }
        reach(Point::PageWritten);
        Ok(number)
    }
}
