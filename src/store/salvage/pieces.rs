//! From files to segments: each file of the log in its place, with the epoch of its header, or with the one that its records tell.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::checksum::Salt;
use crate::format::position::{ALIGN, MAX_POSITION};
use crate::format::record::MAX_VALUE;
use crate::format::segment::SegmentHeader;
use crate::format::{PAGE, StoreId};

use super::identity::{Found, Identity};
use super::piece::Piece;
use super::sums::Sums;

/// How many epochs after the newest that is known a segment may be of: each recovery raises the epoch, and begins a segment.
const FEW: u32 = 1 << 10;
/// So many bytes that look like a record tell the epoch of a segment.
const VOTES: usize = 256;

/// The segments in the order of their numbers, and the names of files that are none of them.
pub(super) fn pieces(
    identity: &Identity,
    found: Vec<Found>,
) -> (Vec<Piece>, Vec<(String, String)>) {
    let mut pieces = BTreeMap::<u64, Piece>::new();
    let mut strays = Vec::new();
    // Those whose name and header agree take their places first.
    let (sure, mut other): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|it| {
        it.header.as_ref().is_ok_and(|header| header.number == it.number) && is_own(identity, it)
    });
    let taken: BTreeSet<u64> = sure.iter().map(|it| it.number).collect();
    for it in &mut other {
        // A header that is a copy of another segment's says nothing of what follows it.
        if it.header.as_ref().is_ok_and(|header| taken.contains(&header.number)) {
            it.header = Err("its header is that of another segment".into());
        }
    }
    // Then those that have a header, whatever their name.
    other.sort_by_key(|it| !is_own(identity, it));
    for it in sure.into_iter().chain(other) {
        let name = it.name.clone();
        let why = match piece(identity, it) {
            Some(piece) if pieces.contains_key(&piece.number) => "a copy of another segment",
            Some(piece) => {
                pieces.insert(piece.number, piece);
                continue;
            }
            None => "a number beyond any log",
        };
        strays.push((name, why.to_owned()));
    }
    let mut pieces: Vec<Piece> = pieces.into_values().collect();
    for at in 1..pieces.len() {
        // Without a header nothing but the next segment says how long one is.
        let most = pieces[at].start - pieces[at - 1].start;
        pieces[at - 1].extent = pieces[at - 1].extent.min(most);
    }
    for at in 0..pieces.len() {
        if pieces[at].salt.is_none() {
            let epochs = epochs(&pieces, at);
            let salt = salt_by_records(&pieces[at], identity.id, epochs);
            pieces[at].salt = salt;
            pieces[at].epoch = salt.zip(identity.id).map(|(salt, id)| salt.epoch(&id));
        }
    }
    set_limits(&mut pieces);
    (pieces, strays)
}

fn is_own(identity: &Identity, found: &Found) -> bool {
    found.header.as_ref().is_ok_and(|header| Some(header.id) == identity.id)
}

fn piece(identity: &Identity, found: Found) -> Option<Piece> {
    let size = identity.segment_bytes;
    let header = found.header.and_then(|header| check(identity, header));
    let (number, extent) = match &header {
        Ok(header) => (header.number, header.bytes),
        Err(_) => (found.number, found.len.max(size).next_multiple_of(PAGE)),
    };
    let start = number.checked_mul(size)?;
    if start.saturating_add(extent) >= MAX_POSITION {
        return None;
    }
    let own = header.as_ref().ok();
    Some(Piece {
        name: found.name,
        number,
        start,
        extent,
        region: found.region,
        prev_end: own.map(|header| header.prev_end),
        epoch: own.map(|header| header.epoch),
        salt: own.map(|header| Salt::new(&header.id, header.epoch)),
        why: header.err(),
        begin_before: size,
        limit: u64::MAX,
    })
}

/// A header that is whole can still be another store's, or say what cannot be.
fn check(identity: &Identity, header: SegmentHeader) -> Result<SegmentHeader, String> {
    let longest = identity.segment_bytes + MAX_VALUE + 2 * PAGE + (1 << 16);
    if Some(header.id) != identity.id {
        return Err("its header is that of another store".into());
    }
    let possible = (identity.segment_bytes..=longest).contains(&header.bytes);
    if !possible || !header.bytes.is_multiple_of(PAGE) {
        return Err(format!("its header names a size of {} bytes", header.bytes));
    }
    Ok(header)
}

/// Which epochs a segment can have: none lower than that of a segment before it, none higher than that of one after it.
fn epochs(pieces: &[Piece], at: usize) -> std::ops::RangeInclusive<u32> {
    let known = |piece: &Piece| piece.epoch.filter(|_| piece.prev_end.is_some());
    let least = pieces[..at].iter().filter_map(known).max().unwrap_or(1);
    let most = pieces[at..].iter().filter_map(known).min().unwrap_or(u32::MAX);
    least..=most.min(least.saturating_add(FEW))
}

/// The salt that the records of a segment agree on.
///
/// Any bytes that look like a record have some salt with which they would be one. That it is of an epoch that is possible tells the
/// few that are one. Where nothing says whose store it is only their agreement does: records that were copied from elsewhere
/// agree a little, but not most of them.
fn salt_by_records(
    piece: &Piece,
    id: Option<StoreId>,
    epochs: std::ops::RangeInclusive<u32>,
) -> Option<Salt> {
    let sums = Sums::new(piece.bytes());
    let mut votes = BTreeMap::<u32, (usize, Salt)>::new();
    let (mut position, mut count) = (piece.first(), 0);
    while position < piece.end().min(piece.start + piece.begin_before) && count < VOTES {
        let entry = piece.entry(position);
        let salt = entry.map(|entry| piece.salt_of(&entry, &sums));
        let possible = |salt: &Salt| id.is_none_or(|id| epochs.contains(&salt.epoch(&id)));
        position = match (entry, salt.filter(possible)) {
            (Some(entry), Some(salt)) => {
                votes.entry(salt.word()).or_insert((0, salt)).0 += 1;
                count += 1;
                // Without an id it need not be a record, and another one may begin within it.
                if id.is_some() { entry.end() } else { position + ALIGN }
            }
            _ => position + ALIGN,
        };
    }
    let (most, salt) = votes.into_values().max_by_key(|(votes, _)| *votes)?;
    (id.is_some() || most > 1 && 2 * most > count).then_some(salt)
}

/// A recovery ends the log where the segment that it begins says: what was behind that place is no part of the log. Nor is a
/// segment whose epoch is lower than that of one before it.
fn set_limits(pieces: &mut [Piece]) {
    let mut newest = 0;
    for piece in pieces.iter_mut().filter(|piece| piece.prev_end.is_some()) {
        let epoch = piece.epoch.unwrap_or(newest);
        if epoch < newest {
            (piece.limit, piece.prev_end) = (0, None);
            piece.why = Some("it was left behind by an earlier life of the store".into());
        }
        newest = newest.max(epoch);
    }
    // What segments of higher epochs say, and what those of the same epoch will say to lower ones.
    let (mut epoch, mut limit, mut same) = (u32::MAX, u64::MAX, u64::MAX);
    for piece in pieces.iter_mut().rev().filter(|piece| piece.limit != 0) {
        let Some(own) = piece.epoch else { continue };
        if own < epoch {
            (epoch, limit, same) = (own, limit.min(same), u64::MAX);
        }
        piece.limit = limit;
        same = same.min(piece.prev_end.unwrap_or(u64::MAX));
    }
}
