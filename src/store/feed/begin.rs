//! Where a feed begins: a commit is looked up by its position, and all that comes after it has to be there.

use crate::error::{Error, Result};
use crate::format::position::Bookmark;
use crate::format::segment::HEADER;
use crate::log::{Log, Scan, Segment, Tail, View};
use crate::sys::Pin;

use super::super::Engine;

impl Engine {
    /// Where the log goes on after the commit at `from`, and the epoch of that commit, in a log that ends at `end`.
    pub(super) fn begin_feed(
        &self,
        log: &Log,
        pin: &Pin,
        from: Bookmark,
        end: Tail,
    ) -> Result<(Tail, u32)> {
        let (view, position) = (log.view(pin), from.position.0);
        let (at, epoch) = if position == end.position {
            (end, view.segment(end.segment)?.header().epoch)
        } else if position < end.position {
            self.look_up(view, from, end)?
        } else {
            return Err(no_such(position, format!("the last one ends at {}", end.position)));
        };
        if from.epoch != 0 && from.epoch != epoch {
            let why = "another one does, in the place of what a power cut has taken back";
            return Err(no_such(position, why.into()));
        }
        let (number, oldest) = self.unbroken(view, end.segment)?;
        if at.segment < number {
            return Err(Error::Compacted { position, oldest });
        }
        Ok((at, epoch))
    }

    fn look_up(&self, view: View<'_>, from: Bookmark, end: Tail) -> Result<(Tail, u32)> {
        let position = from.position.0;
        let numbers = view.numbers()?;
        let first = |number: u64| number * self.superblock.segment_bytes + HEADER;
        let after = numbers.partition_point(|number| first(*number) <= position);
        if let Some(number) = after.checked_sub(1).map(|at| numbers[at])
            && let Some(segment) = view.find(number)?
            && position <= segment.end()
        {
            return self.find_commit(view, segment, position, end);
        }
        // Its own segment is gone, but nothing that came after it.
        if let Some(number) = numbers.get(after)
            && let Some(next) = view.find(*number)?
            && next.header().prev_end == position
            && [0, next.header().epoch].contains(&from.epoch)
        {
            let at = Tail { position: next.start() + HEADER, segment: *number };
            return Ok((at, next.header().epoch));
        }
        let (_, oldest) = self.unbroken(view, end.segment)?;
        match position < oldest {
            true => Err(Error::Compacted { position, oldest }),
            false => Err(no_such(position, "it lies between two segments".into())),
        }
    }

    /// Goes through a segment to the commit that ends at `position`, so that nothing else passes for one.
    fn find_commit(
        &self,
        view: View<'_>,
        segment: &Segment,
        position: u64,
        end: Tail,
    ) -> Result<(Tail, u32)> {
        let (first, epoch) = (segment.start() + HEADER, segment.header().epoch);
        let mut scan = Scan::up_to(view, segment.number(), first, end.segment)?;
        let mut found = Some((scan.position(), epoch)).filter(|_| position == first);
        while scan.position() < position {
            let Some(record) = scan.step()? else {
                return Err(self.gap(view, &scan, position));
            };
            let commit = record.header().commit.then_some(record.end());
            found = commit.map(|end| (end, scan.segment().header().epoch));
        }
        match found.filter(|(end, _)| *end == position) {
            Some((_, epoch)) => Ok((Tail { position, segment: scan.segment().number() }, epoch)),
            None => Err(no_such(position, format!("one does at {}", scan.position()))),
        }
    }

    /// The first segment from which on none is missing up to `last`, and where the log had ended before it.
    fn unbroken(&self, view: View<'_>, last: u64) -> Result<(u64, u64)> {
        let numbers = view.numbers()?;
        let mut first = numbers.first().copied().unwrap_or_default();
        let mut next = first;
        for (i, number) in numbers.iter().copied().enumerate().take_while(|(_, n)| *n <= last) {
            // One within a longer segment is none of the log's.
            if number < next {
                continue;
            }
            if number > next {
                first = number;
            }
            next = match numbers.get(i + 1) {
                Some(follower) if *follower == number + 1 => number + 1,
                _ => view.find(number)?.map_or(number + 1, |segment| view.after(segment)),
            };
        }
        let oldest = view.segment(first)?.header().prev_end;
        Ok((first, oldest))
    }

    /// No record is where one should be: compaction has taken the next segment, or it is damage.
    pub(super) fn gap(&self, view: View<'_>, scan: &Scan<'_>, position: u64) -> Error {
        let after = view.after(scan.segment());
        let end = self.settled_counters().map_or(0, |counters| counters.segment);
        let is_gone = after <= end && matches!(view.find(after), Ok(None));
        match self.unbroken(view, end) {
            Ok((_, oldest)) if is_gone => Error::Compacted { position, oldest },
            Err(error) if is_gone => error,
            _ => self.missing(scan.segment(), scan.position(), "a record of the log".into()),
        }
    }
}

fn no_such(position: u64, why: String) -> Error {
    Error::NoSuchCommit { position, why }
}
