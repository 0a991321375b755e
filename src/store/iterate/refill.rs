//! What an iteration visits next, in an order in which memory is read quickly.
//!
//! First pages of the index in hash order, ever more at a time, and what their slots lead to roughly in the order of the log. Once the
//! caller turns out to want many, exactly in that order, as long as the log is not too long: all slots that are left are gone through
//! for each part of the log, to note where in that part they lead.

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::page::position;
use crate::format::position::ALIGN;

use super::super::{Engine, Reader};
use super::nearby::bring_together;
use super::window::Window;
use super::{AHEAD, PAGE_BITS, Walk};

/// Positions of a part of the log that are taken out at once, and how many bytes they may be apart: so much is read ahead.
const POSITIONS: usize = 4096;
const BYTES: u64 = 1 << 20;

/// How much is put in order at once.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Pages of a group: first one, so that who wants a few keys does not wait, then twice as many each time, up to so many. Their slots
    /// take 2 MiB, and as much while they are put in order.
    group: usize,
    /// Groups are for the first page or so of this many entries of the directory. Who has come so far is likely to want all, and to go
    /// through all slots takes a fifth of the time that this takes.
    share: usize,
    /// Bytes of a part of the log: a bit for each position in it takes 8 MiB.
    window: u64,
}

impl Sizes {
    const WHOLE: Sizes = Sizes { group: 1024, share: 128, window: 1 << 30 };
    /// With more parts than these it takes longer to go through the slots for each than it saves.
    const WINDOWS: u64 = 3;
}

impl Walk {
    /// Goes on to what is to be visited next: from the page that begins at hash prefix `from` on.
    #[cold]
    pub(super) fn refill(&mut self, from: u64, reader: Reader<'_>) -> Result<()> {
        self.slots.clear();
        self.done = 0;
        let sizes = reader.engine.iteration();
        if self.window.is_none() && !self.scattered && self.is_long(sizes, reader) {
            self.window = self.first_window(reader.engine, sizes)?;
            self.scattered = self.window.is_none();
            self.scan(from, reader);
        }
        match self.window {
            Some(_) => self.next_positions(from, reader)?,
            None => self.next_group(from, sizes.group, reader)?,
        }
        reach(Point::IterationSeen);
        for position in self.slots.iter().take(AHEAD).filter_map(|slot| self.position(*slot)) {
            reader.log.prefetch_all(position, self.bytes);
        }
        Ok(())
    }

    /// The caller has seen a share of the store, and it is no small one.
    fn is_long(&self, sizes: Sizes, reader: Reader<'_>) -> bool {
        let entries = 1_usize.checked_shl(reader.front.directory().depth()).unwrap_or_default();
        let few = entries / sizes.share;
        few > 0 && 2 * self.pages.len() > few
    }

    /// The slots of the next group of pages, twice as many as before but no more than `most`.
    fn next_group(&mut self, from: u64, most: usize, reader: Reader<'_>) -> Result<()> {
        let group = (2 * self.pages.len()).clamp(1, most);
        self.pages.clear();
        let mut next = Some(from);
        while let Some(from) = next
            && self.pages.len() < group
        {
            let before = self.slots.len();
            let walked = reader.engine.index.walk(from, &mut self.slots);
            match reader.engine.check_shared().and(walked) {
                Ok(after) => next = after,
                Err(error) => {
                    self.slots.truncate(before);
                    // It comes again, after what was found before it.
                    if before == 0 { return Err(error) } else { break }
                }
            }
            let page = self.pages.len() as u64;
            self.slots[before..].iter_mut().for_each(|slot| *slot = *slot << PAGE_BITS | page);
            self.pages.push(from);
        }
        self.next = next;
        bring_together(&mut self.slots, &mut self.room);
        Ok(())
    }

    /// The first part of the log, unless there are so many that it is better to go on by the index.
    fn first_window(&mut self, engine: &Engine, sizes: Sizes) -> Result<Option<Window>> {
        let segments = engine.log.numbers()?;
        let bytes = engine.superblock.segment_bytes;
        let starts = segments.iter().map(|number| number.saturating_mul(bytes));
        let first = starts.clone().next().unwrap_or_default();
        let span = self.at.saturating_sub(first).min(sizes.window);
        let ends = |start: u64| (start, start.saturating_add(bytes).min(self.at));
        if parts(starts.map(ends), sizes.window) > Sizes::WINDOWS {
            return Ok(None);
        }
        (self.slots, self.room) = (Vec::with_capacity(POSITIONS), Vec::new());
        Ok(Some(Window::new(first, span)))
    }

    /// The next positions in this part of the log, or if none are left those in the next.
    fn next_positions(&mut self, from: u64, reader: Reader<'_>) -> Result<()> {
        while let Some(window) = &mut self.window {
            let slot = |position| (position / ALIGN) << PAGE_BITS;
            let first = window.take(POSITIONS, BYTES, |position| self.slots.push(slot(position)));
            if let Some(first) = first {
                if first >= self.ahead {
                    // Who visits it is told if it cannot be read.
                    self.ahead = reader.log.read_ahead(first).unwrap_or(self.ahead);
                }
                break;
            }
            if let Some(error) = self.trouble.take() {
                return Err(error);
            }
            if !window.go_on() {
                self.next = None;
                break;
            }
            self.scan(from, reader);
        }
        Ok(())
    }

    /// Notes where in this part of the log the version is that each key from hash prefix `from` on has at the walk's position. That
    /// never changes, so each key is in one part, whoever writes meanwhile.
    fn scan(&mut self, from: u64, reader: Reader<'_>) {
        let Some(window) = &mut self.window else { return };
        (self.pages, self.next) = (vec![from], Some(from));
        let (mut next, mut page, mut least) = (Some(from), Vec::new(), u64::MAX);
        while let Some(from) = next {
            page.clear();
            let walked = reader.engine.index.walk(from, &mut page);
            next = match reader.engine.check_shared().and(walked) {
                Ok(next) => next,
                Err(error) => {
                    self.trouble = Some(error);
                    break;
                }
            };
            for found in page.iter().filter_map(|cur| position(*cur, self.at)) {
                if found < self.at {
                    least = least.min(found);
                    window.note(found);
                    continue;
                }
                match reader.place_before(found, self.at) {
                    Ok(before) => before.into_iter().for_each(|before| window.note(before)),
                    // Another part may be the one that it is in: it is told for each.
                    Err(error) => self.trouble = Some(error),
                }
            }
        }
        if window.begins_after(least) {
            // No segment is there: who reads it is told why.
            self.trouble = reader.record(least).err().or(self.trouble.take());
        }
    }
}

/// How many parts of `window` bytes, each of which begins where there is something, it takes for segments from here to there: where
/// compaction has removed others there is nothing in between.
fn parts(segments: impl Iterator<Item = (u64, u64)>, window: u64) -> u64 {
    let (mut parts, mut covered) = (0, 0);
    for (start, end) in segments {
        let from = start.max(covered);
        let more = end.saturating_sub(from).div_ceil(window);
        if more > 0 {
            (parts, covered) = (parts + more, from.saturating_add(more * window));
        }
    }
    parts
}

impl Engine {
    #[cfg(not(any(test, feature = "sim")))]
    fn iteration(&self) -> Sizes {
        Sizes::WHOLE
    }

    #[cfg(any(test, feature = "sim"))]
    fn iteration(&self) -> Sizes {
        self.rigged_iteration.map_or(Sizes::WHOLE, |(group, share, window)| Sizes {
            group,
            share,
            window,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn gaps_of_the_log_begin_new_parts() {
        let count = |starts: &[u64], window| parts(starts.iter().map(|it| (*it, it + 10)), window);
        assert_eq!(count(&[], 100), 0);
        assert_eq!(count(&[0, 10, 20, 30], 100), 1);
        assert_eq!(count(&[0, 10, 20, 30], 20), 2);
        assert_eq!(count(&[0, 10, 20, 30], 15), 3);
        assert_eq!(count(&[0, 10, 20, 30], 4), 10);
        assert_eq!(count(&[0, 90, 100, 500], 100), 3);
        assert_eq!(count(&[0, 1000, 2000], 100), 3);
        assert_eq!(parts([(0, 10), (10, 15), (20, 15)].into_iter(), 100), 1);
    }
}
