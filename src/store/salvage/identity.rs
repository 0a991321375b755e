//! Whose files these are: the store's id, the size of its segments and the seed of its hash, from whatever is left that says so.

use std::collections::BTreeMap;
use std::io;

use crate::error::{Error, Result};
use crate::format::checkpoint::{self, CheckpointHeader};
use crate::format::checksum::Salt;
use crate::format::meta::{MAX_SEGMENT, MIN_SEGMENT, SUPERBLOCK, Superblock, Unreadable};
use crate::format::position::MAX_POSITION;
use crate::format::segment::{self, HEADER_BYTES, SegmentHeader};
use crate::format::{PAGE, StoreId, VERSION, index, u32_at};
use crate::sys::{Access, Disk, File, Region};

use super::super::create::META;
use super::piece::Piece;

/// So many segments tell how large all are.
const ENOUGH: usize = 64;

/// What all parts of the store agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// None if nothing says it; then it is what most records of a segment agree on.
    pub(super) id: Option<StoreId>,
    pub(super) segment_bytes: u64,
    /// None if the superblock is lost.
    pub(super) superblock: Option<Superblock>,
}

/// A file below `log`, and what is at its beginning.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// The number in its name.
    pub(super) number: u64,
    pub(super) len: u64,
    pub(super) header: Result<SegmentHeader, String>,
    pub(super) region: Option<Region>,
}

impl Identity {
    pub(super) fn of(disk: &dyn Disk, found: &[Found]) -> Result<Identity> {
        let superblock = superblock(disk)?;
        let id = id(disk, superblock, found)?;
        let superblock = superblock.filter(|block| Some(block.id) == id);
        let segment_bytes = match superblock {
            Some(block) => block.segment_bytes,
            None => segment_bytes(id, found),
        };
        Ok(Identity { id, segment_bytes, superblock })
    }
}

/// The first bytes of a file; None if it is not there or cannot be read so far.
fn beginning<const N: usize>(disk: &dyn Disk, name: &str) -> Result<Option<[u8; N]>> {
    let Some(file) = open(disk, name)? else { return Ok(None) };
    let mut bytes = [0; N];
    Ok(file.read_at(&mut bytes, 0).is_ok().then_some(bytes))
}

/// Opens a file to read it; None if it is not there or something else is in its place. Who may not read it is told so.
pub(super) fn open(disk: &dyn Disk, name: &str) -> Result<Option<std::sync::Arc<dyn File>>> {
    match disk.open(name, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::io("open", disk.root().join(name), e))
        }
        Err(_) => Ok(None),
    }
}

fn superblock(disk: &dyn Disk) -> Result<Option<Superblock>> {
    let Some(bytes) = beginning::<SUPERBLOCK>(disk, META)? else { return Ok(None) };
    // A version that is merely damaged is told by the checksum, which holds with that of this release.
    let mut older = bytes;
    older[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let found = match (Superblock::decode(&bytes), Superblock::decode(&older)) {
        (Ok(block), _) | (_, Ok(block)) => return Ok(Some(block)),
        (Err(Unreadable::Newer(found)), _) => found,
        // Features that this release does not know, under a checksum that holds.
        (Err(Unreadable::Damaged(8, _)), _) => u32_at(&bytes, 8),
        (Err(_), _) => return Ok(None),
    };
    Err(Error::Version { file: disk.root().join(META), found, supported: VERSION })
}

/// The id that most headers name; the superblock's, if it is one of these.
fn id(disk: &dyn Disk, superblock: Option<Superblock>, found: &[Found]) -> Result<Option<StoreId>> {
    let mut votes = BTreeMap::<StoreId, usize>::new();
    let mut vote = |id: StoreId| *votes.entry(id).or_default() += 2;
    found.iter().filter_map(|it| it.header.as_ref().ok()).for_each(|header| vote(header.id));
    for name in checkpoint::NAMES {
        let header = beginning(disk, name)?.and_then(|it| CheckpointHeader::decode(&it));
        header.into_iter().for_each(|header| vote(header.id));
    }
    let index = beginning(disk, index::NAME)?.and_then(|it| index::decode(&it).ok());
    index.into_iter().for_each(&mut vote);
    if let Some(block) = superblock {
        *votes.entry(block.id).or_default() += 3;
    }
    Ok(votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(id, _)| id))
}

/// The size that most of the headers, and the first record after each, agree with.
fn segment_bytes(id: Option<StoreId>, found: &[Found]) -> u64 {
    let headers: Vec<(&Found, &SegmentHeader)> = found
        .iter()
        .filter_map(|it| Some((it, it.header.as_ref().ok()?)))
        .filter(|(_, header)| Some(header.id) == id)
        .take(ENOUGH)
        .collect();
    let sizes = (0..).map(|shift| MIN_SEGMENT << shift).take_while(|size| *size <= MAX_SEGMENT);
    let least = headers.iter().map(|(_, header)| header.bytes).min();
    let least = least.or_else(|| found.iter().map(|it| it.len.next_multiple_of(PAGE)).min());
    let least = least.unwrap_or(MIN_SEGMENT).max(MIN_SEGMENT);
    let guess = 1 << least.ilog2();
    // Of sizes that as much speaks for, the one that the smallest segment has.
    let score = |size: &u64| {
        let agreeing = headers.iter().map(|(found, header)| agrees(*size, found, header));
        (agreeing.sum::<u32>(), *size == guess)
    };
    sizes.filter(|size| *size <= least).max_by_key(score).unwrap_or(guess)
}

/// How much speaks for a size: that the first record is one at the position which it would have.
fn agrees(size: u64, found: &Found, header: &SegmentHeader) -> u32 {
    let start = header.number.checked_mul(size).filter(|start| *start < MAX_POSITION);
    let Some(start) = start else { return 0 };
    let before = header.prev_end;
    let follows = if header.number == 0 { before == 0 } else { before <= start };
    let region = found.region.as_ref();
    let first = region.and_then(|region| {
        let salt = Salt::new(&header.id, header.epoch);
        let bytes = region.bytes(0, region.len())?;
        Piece::first_record_at(bytes, start, size, salt)
    });
    u32::from(follows) + 4 * u32::from(first.is_some())
}

/// All files below `log` that have the name of a segment, in the order of their numbers.
pub(super) fn find(disk: &dyn Disk) -> Result<Vec<Found>> {
    let names = match disk.list("log") {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Error::io("list", disk.root().join("log"), e));
        }
        Err(_) => Vec::new(),
    };
    let mut all = Vec::new();
    for name in names.iter().filter(|it| it.len() >= 10 && it.bytes().all(|b| b.is_ascii_digit())) {
        if let Ok(number) = name.parse() {
            all.extend(look(disk, format!("log/{name}"), number)?);
        }
    }
    all.sort_by_key(|it| it.number);
    Ok(all)
}

fn look(disk: &dyn Disk, name: String, number: u64) -> Result<Option<Found>> {
    let unreadable =
        |name, why: &str| Found { name, number, len: 0, header: Err(why.into()), region: None };
    let Some(file) = open(disk, &name)? else {
        return Ok(Some(unreadable(name, "the file cannot be opened")));
    };
    let len = file.len().map_err(|e| Error::io("stat", disk.root().join(&name), e))?;
    if len < segment::HEADER {
        return Ok(Some(unreadable(name, "the file is shorter than a segment's header")));
    }
    let mut bytes = [0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0);
    let header = match read.map(|()| SegmentHeader::decode(&bytes)) {
        Ok(Ok(header)) => Ok(header),
        Ok(Err((_, expected))) => Err(format!("{expected} is not there")),
        Err(error) => Err(error.to_string()),
    };
    let most = header.as_ref().map_or(MAX_SEGMENT, |header| header.bytes);
    let mapped = usize::try_from(len.min(most.max(segment::HEADER))).expect("a 64-bit target");
    let region = file
        .map(0, mapped, Access::Read)
        .map_err(|e| Error::io("map", disk.root().join(&name), e))?;
    Ok(Some(Found { name, number, len, header, region: Some(region) }))
}
