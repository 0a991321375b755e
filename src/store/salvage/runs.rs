//! The records that are left: runs of them without a gap, found again after each gap, since records start at multiples of 16 and
//! carry a checksum that holds at their own place only.

use crate::format::position::ALIGN;

use super::piece::{Entry, Piece};
use super::sums::Sums;

/// Records that follow each other without a gap in one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Number of its piece in the list.
    pub(super) piece: usize,
    /// Position of the first record.
    pub(super) from: u64,
    /// Position after the last.
    pub(super) to: u64,
    pub(super) records: u64,
    /// Where the first commit in it ends.
    pub(super) first_mark: Option<u64>,
    /// Where the last one ends.
    pub(super) last_mark: Option<u64>,
    /// It follows the run before, or begins the log.
    pub(super) joined: bool,
}

/// Walks over all records of a segment whose checksums hold.
pub(super) fn walk<'a>(
    piece: &'a Piece,
    number: usize,
    runs: &mut Vec<Run>,
    each: &mut dyn FnMut(&Entry<'a>),
) {
    let sums = Sums::new(piece.bytes());
    let mut position = piece.first();
    while let Some(first) = piece.record(position).or_else(|| search(piece, position, &sums)) {
        let from = first.position;
        let mut run = Run {
            piece: number,
            from,
            to: from,
            records: 0,
            first_mark: None,
            last_mark: None,
            joined: false,
        };
        let mut next = Some(first);
        while let Some(entry) = next {
            each(&entry);
            run.to = entry.end();
            run.records += 1;
            if entry.header.commit {
                run.first_mark = run.first_mark.or(Some(run.to));
                run.last_mark = Some(run.to);
            }
            next = piece.record(run.to);
        }
        position = run.to;
        runs.push(run);
    }
}

/// The first record after `position`.
fn search<'a>(piece: &'a Piece, position: u64, sums: &Sums<'_>) -> Option<Entry<'a>> {
    piece.salt?;
    let end = (piece.start + piece.begin_before).min(piece.end()).min(piece.limit);
    let mut at = position + ALIGN;
    while at < end {
        if let Some(entry) = piece.search(at, sums) {
            return Some(entry);
        }
        at += ALIGN;
    }
    None
}

impl Run {
    /// Shortens the run to the records that end at or before `end`; false if none does.
    pub(super) fn cut(&mut self, piece: &Piece, end: u64) -> bool {
        if self.to <= end {
            return true;
        }
        let (mut at, from) = (self.from, self.from);
        (self.first_mark, self.last_mark, self.records) = (None, None, 0);
        while let Some(entry) = piece.entry(at).filter(|entry| entry.end() <= end) {
            at = entry.end();
            self.records += 1;
            if entry.header.commit {
                self.first_mark = self.first_mark.or(Some(at));
                self.last_mark = Some(at);
            }
        }
        self.to = at;
        at > from
    }
}

/// Says of each run whether it follows the one before.
pub(super) fn join(pieces: &[Piece], runs: &mut [Run]) {
    let mut before: Option<Run> = None;
    for run in runs {
        let piece = &pieces[run.piece];
        let first = run.from == piece.first();
        run.joined = match before {
            None => first && piece.prev_end == Some(0),
            Some(before) => first && before.piece != run.piece && piece.prev_end == Some(before.to),
        };
        before = Some(*run);
    }
}
