//! Where a feed begins: a commit is looked up by its position, and all that comes after it has to be there.

use crate::error::{Error, Result};
use crate::format::position::{Bookmark, Era, Position};
use crate::format::segment::HEADER;
use crate::log::{Log, Scan, Segment, Tail, View};
use crate::sys::Pin;

use super::super::Engine;

impl Engine {
    /// Where the log goes on after the commit at `from`, and that commit, in a log that ends at `end`.
    pub(super) fn begin_feed(
        &self,
        log: &Log,
        pin: &Pin,
        from: Bookmark,
        end: Tail,
    ) -> Result<(Tail, Bookmark)> {
        let (view, position) = (log.view(pin), from.position.0);
        if position > end.position {
            return Err(no_such(position, format!("the last one ends at {}", end.position)));
        }
        let (first, oldest) = self.unbroken(view, end.segment)?;
        let at = match position == end.position {
            true => end,
            false => self.look_up(view, from, end, oldest)?,
        };
        let found = self.bookmark(view, at)?;
        let found_here = at.position == position || found.position == from.position;
        // Where a segment's records begin no commit ends: whoever knows the era means the one before, or one that is gone.
        let moved = found.position != from.position && from.era != Era::default();
        if found_here && (moved || !found.era.can_be(from.era)) {
            let why = "another one does, in the place of what a power cut has taken back";
            return Err(no_such(position, why.into()));
        }
        if at.segment < first {
            return Err(Error::Compacted { position, oldest });
        }
        Ok((at, found))
    }

    /// The last commit before `at`. Where a recovery has begun a segment it is in an earlier one, whose era is not known once that
    /// is gone.
    pub(super) fn bookmark(&self, view: View<'_>, at: Tail) -> Result<Bookmark> {
        let (mut number, mut position) = (at.segment, at.position);
        loop {
            let Some(segment) = view.find(number)?.filter(|it| position <= it.end()) else {
                return Ok(Position(position).into());
            };
            let header = segment.header();
            if position != segment.start() + HEADER {
                return Ok(Bookmark { position: Position(position), era: header.era() });
            }
            position = header.prev_end;
            let last = position.saturating_sub(1) / self.superblock.segment_bytes;
            let before = view.numbers()?.into_iter().rfind(|it| *it <= last && *it < number);
            let Some(before) = before else { return Ok(Position(position).into()) };
            number = before;
        }
    }

    fn look_up(&self, view: View<'_>, from: Bookmark, end: Tail, oldest: u64) -> Result<Tail> {
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
        let next = numbers.get(after).map(|number| view.find(*number)).transpose()?.flatten();
        let next = next.filter(|next| next.header().prev_end == position);
        if let Some(next) = next.filter(|next| next.header().era().can_be(from.era)) {
            return Ok(Tail { position: next.start() + HEADER, segment: next.number() });
        }
        // Of another era it may be the commit that was meant, or one in its place: nobody can tell.
        match position < oldest || next.is_some() {
            true => Err(Error::Compacted { position, oldest }),
            false => Err(no_such(position, "it is in no segment".into())),
        }
    }

    /// Goes through a segment to the commit that ends at `position`, so that nothing else passes for one.
    fn find_commit(
        &self,
        view: View<'_>,
        segment: &Segment,
        position: u64,
        end: Tail,
    ) -> Result<Tail> {
        let first = segment.start() + HEADER;
        let mut scan = Scan::up_to(view, segment.number(), first, end.segment)?;
        let mut found = Some(first).filter(|first| *first == position);
        while let Some(record) = self.step(view, &mut scan, position)? {
            found = record.header().commit.then_some(record.end());
        }
        match found {
            Some(found) if found == position => {
                Ok(Tail { position, segment: scan.segment().number() })
            }
            _ => Err(no_such(position, format!("one does at {}", scan.position()))),
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
    pub(super) fn gap(&self, view: View<'_>, scan: &Scan<'_>) -> Error {
        let (position, after) = (scan.position(), view.after(scan.segment()));
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
