//! The places of the log that hold none of the records that they should.

use crate::format::segment;

use super::super::removed::Removed;
use super::end::Said;
use super::piece::Piece;
use super::runs::Run;

/// A part of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Relative to the store.
    pub(super) name: String,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) why: String,
}

/// Lost places, and the positions that they are for.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) places: Vec<Place>,
    /// In order, and apart from each other.
    ranges: Vec<(u64, u64)>,
}

const NO_RECORD: &str = "bytes that are no record";
const NO_FILE: &str = "no file";

impl Lost {
    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    fn add(&mut self, name: &str, start: u64, (from, to): (u64, u64), why: &str) {
        if from < to {
            let (offset, end) = (from - start, to - start);
            let place = Place { name: name.into(), from: offset, to: end, why: why.into() };
            self.places.push(place);
            self.ranges.push((from, to));
        }
    }

    /// Segments that are not there, from number `first` to before number `last`, unless compaction has removed them.
    fn add_missing(&mut self, mut first: u64, last: u64, size: u64, removed: &Removed) {
        while let Some((lost, after)) = removed.first_lost(first, last) {
            let (from, to) = (lost.saturating_mul(size), after.saturating_mul(size));
            self.add(&segment::name(lost), from, (from, to), NO_FILE);
            first = after;
        }
    }
}

/// What is lost of a log that ends at `end`, given the runs that are left of it.
pub(super) fn lost(
    pieces: &[Piece],
    runs: &[Run],
    (end, said): (u64, Said),
    size: u64,
    removed: &Removed,
) -> Lost {
    let mut lost = Lost::default();
    let mut next = 0;
    let live = pieces.iter().enumerate().filter(|(_, piece)| piece.limit != 0);
    let live: Vec<(usize, &Piece)> = live.collect();
    for (at, (number, piece)) in live.iter().enumerate() {
        if said.end.is_some() && piece.start >= end {
            break;
        }
        if piece.number > next {
            lost.add_missing(next, piece.number, size, removed);
        }
        next = piece.after();
        let first = runs.partition_point(|run| run.piece < *number);
        let after = runs.partition_point(|run| run.piece <= *number);
        let runs = &runs[first..after];
        let follower = live.get(at + 1).map(|(_, piece)| *piece);
        of_piece(piece, runs, (follower, removed), (end, said), &mut lost);
    }
    if next.saturating_mul(size) < end.max(said.least) {
        let last = end.max(said.least).div_ceil(size);
        lost.add_missing(next, last.max(next + 1), size, removed);
    }
    lost
}

fn of_piece(
    piece: &Piece,
    runs: &[Run],
    (follower, removed): (Option<&Piece>, &Removed),
    (end, said): (u64, Said),
    lost: &mut Lost,
) {
    if let (Some(why), None) = (&piece.why, &piece.region) {
        let last = records_end(piece, piece.end(), (follower, removed), said).min(piece.end());
        return lost.add(&piece.name, piece.start, (piece.start, last), why);
    }
    if let Some(why) = &piece.why {
        lost.add(&piece.name, piece.start, (piece.start, piece.first()), why);
    }
    let mut position = piece.first();
    for run in runs {
        lost.add(&piece.name, piece.start, (position, run.from), NO_RECORD);
        position = run.to;
    }
    let last = records_end(piece, position, (follower, removed), said);
    // Nothing is lost behind the end, if that is known.
    let last = if said.end.is_some() { last.min(end.max(position)) } else { last };
    lost.add(&piece.name, piece.start, (position, last), NO_RECORD);
}

/// Where the records of a segment ended, of which those up to `position` are left.
fn records_end(
    piece: &Piece,
    position: u64,
    (follower, removed): (Option<&Piece>, &Removed),
    said: Said,
) -> u64 {
    if let Some(prev_end) = follower.and_then(|follower| follower.prev_end)
        && (piece.first()..=piece.end()).contains(&prev_end)
    {
        return prev_end.max(position);
    }
    let gap = follower.is_some_and(|follower| follower.number > piece.after());
    if gap && removed.first_lost(piece.after(), piece.after() + 1).is_none() {
        // The segment that said it is gone.
        let known = removed.bytes_of(piece.number).map(|bytes| piece.first() + bytes);
        // One that has lost its header may have been longer than others.
        let longer = follower.filter(|_| piece.why.is_some()).map_or(0, |it| it.start);
        let known = known.filter(|end| (position..=piece.end().max(longer)).contains(end));
        return known.unwrap_or_else(|| piece.used_from(position));
    }
    let said_end = |end: u64| end.min(piece.end()).max(position);
    match (follower, said.end) {
        // How far the log went here is not known any more, and zeros may be what is left of a record.
        (Some(_), _) => piece.end(),
        (None, Some(end)) => said_end(end),
        (None, None) if piece.is_cut() => piece.end(),
        (None, None) => piece.used_from(position).max(said_end(said.least)),
    }
}
