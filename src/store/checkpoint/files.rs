//! The two files that hold checkpoints: written in turn, each over itself, header last.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::StoreId;
use crate::format::checkpoint::{BODY, CheckpointHeader, HEADER, NAMES, Newest, ROW_WORDS};
use crate::format::checksum::crc;
use crate::format::meta::Counters;
use crate::index::Captured;
use crate::sys::{Access, Disk, File};

use super::super::space::SegmentRow;

/// Bytes by which a checkpoint's file is longer than a directory twice as large needs: for rows of 512 segments more.
pub(in crate::store) const ROOM: u64 = 16 << 10;

/// The file that does not hold the newest durable checkpoint.
///
/// It may hold a later one, whose writer failed or died before that was durable, or be torn. If the newest is the
/// damaged one, the other is all there is and stays.
fn target(disk: &dyn Disk, id: &StoreId, newest: Newest) -> Result<&'static str> {
    let [a, b] = NAMES;
    let first = open(disk, id, a)?;
    let keep_first = match open(disk, id, b)? {
        None => first.is_some(),
        Some(_) => first.is_some_and(|(_, header)| newest.can_be(header.counters.position, a)),
    };
    Ok(if keep_first != planted(Bug::CheckpointInPlace) { b } else { a })
}

/// Writes a checkpoint over the older of the two, header last, and makes it durable. Returns the word for it.
pub(in crate::store) fn write(
    disk: &dyn Disk,
    id: &StoreId,
    captured: &Captured,
    rows: &[u64],
    counters: Counters,
    newest: Newest,
) -> Result<Newest> {
    let name = target(disk, id, newest)?;
    let words = [&captured.entries, rows].concat();
    let body: &[u8] = bytemuck::cast_slice(&words);
    let header = CheckpointHeader {
        id: *id,
        sequence: captured.sequence,
        counters,
        watermark: captured.watermark,
        depth: captured.depth,
        body_crc: crc(body),
        rows: u32::try_from(rows.len() / ROW_WORDS)
            .expect("a checkpoint with that many segments would not fit"),
    };
    put(disk, name, &header, body)?;
    Ok(Newest::new(counters.position, name))
}

/// The word for a checkpoint that one of the files holds.
pub(in crate::store) fn word(disk: &dyn Disk, header: &CheckpointHeader) -> Result<Newest> {
    for name in NAMES {
        if open(disk, &header.id, name)?.is_some_and(|(_, found)| found == *header) {
            return Ok(Newest::new(header.counters.position, name));
        }
    }
    Ok(Newest(header.counters.position))
}

/// Writes a checkpoint over itself, the same bytes, and makes it durable: after a failed sync it may be in the page cache alone,
/// and what it stands on is about to be overwritten.
pub(in crate::store) fn confirm(
    disk: &dyn Disk,
    header: &CheckpointHeader,
    captured: &Captured,
    rows: &[SegmentRow],
) -> Result<()> {
    let words = [&captured.entries, rows.as_flattened()].concat();
    for name in NAMES {
        if open(disk, &header.id, name)?.is_some_and(|(_, found)| found == *header) {
            put(disk, name, header, bytemuck::cast_slice(&words))?;
        }
    }
    Ok(())
}

/// Makes a copy of the newest checkpoint, the one at position `newest`, of what a writer that died has left torn, so that of a
/// store that was closed cleanly every byte can be vouched for.
pub(in crate::store) fn mend(disk: &dyn Disk, id: &StoreId, newest: u64) -> Result<()> {
    let [a, b] = NAMES;
    for (name, other) in [(a, b), (b, a)] {
        if let Held::Damaged(_) = held(disk, id, name)?
            && let Some((header, captured, rows)) = load(disk, id, other)?
            && header.counters.position == newest
        {
            let words = [&captured.entries, rows.as_flattened()].concat();
            put(disk, name, &header, bytemuck::cast_slice(&words))?;
        }
    }
    Ok(())
}

/// Writes a checkpoint into the file `name`, header last.
fn put(disk: &dyn Disk, name: &str, header: &CheckpointHeader, body: &[u8]) -> Result<()> {
    let path = disk.root().join(name);
    let (file, is_new) = match disk.open(name, Access::Write) {
        // Someone has removed it. The other one stands until this one is complete.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            (disk.touch(name).map_err(|e| Error::io("create", &path, e))?, true)
        }
        result => (result.map_err(|e| Error::io("open", &path, e))?, false),
    };
    let len = body.len() as u64;
    // Room for a longer one as well, if it can be had: on a full disk compaction brings space back only after a checkpoint.
    if file.grow(BODY + 2 * len + ROOM).is_err() {
        file.grow(BODY + len).map_err(|e| Error::io("grow", &path, e))?;
    }
    reach(Point::CheckpointGrown);
    file.write_at(body, BODY).map_err(|e| Error::io("write", &path, e))?;
    reach(Point::CheckpointBodied);
    file.write_at(&header.encode(), 0).map_err(|e| Error::io("write", &path, e))?;
    reach(Point::CheckpointHeaded);
    if planted(Bug::SkipCheckpointSync) {
        return Ok(());
    }
    file.sync().map_err(|e| Error::io("sync", &path, e))?;
    if is_new {
        disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))?;
    }
    reach(Point::CheckpointSynced);
    Ok(())
}

/// What a checkpoint file holds.
pub(in crate::store) type Loaded = (CheckpointHeader, Captured, Vec<SegmentRow>);

/// The newest valid checkpoint, or None if neither file holds one.
pub(in crate::store) fn load_newest(disk: &dyn Disk, id: &StoreId) -> Result<Option<Loaded>> {
    let mut newest = None::<Loaded>;
    for name in NAMES {
        let loaded = load(disk, id, name)?;
        if let Some(loaded) = loaded
            && newest.as_ref().is_none_or(|(header, ..)| header.sequence < loaded.0.sequence)
        {
            newest = Some(loaded);
        }
    }
    Ok(newest)
}

/// The headers of the checkpoints that the two files hold, without a look at their directories.
pub(in crate::store) fn headers(disk: &dyn Disk, id: &StoreId) -> Result<Vec<CheckpointHeader>> {
    let headers = NAMES.iter().map(|name| header(disk, id, name));
    headers.filter_map(Result::transpose).collect()
}

/// The header of the checkpoint that a file holds, without a look at its directory.
pub(in crate::store) fn header(
    disk: &dyn Disk,
    id: &StoreId,
    name: &str,
) -> Result<Option<CheckpointHeader>> {
    Ok(open(disk, id, name)?.map(|(_, header)| header))
}

/// What a checkpoint file holds.
#[derive(Debug)]
pub(in crate::store) enum Held {
    Whole(CheckpointHeader, Captured),
    /// Nothing was ever written to it.
    Blank,
    /// Something else, from this offset on: a checkpoint that was cut short or is damaged.
    Damaged(u64),
    Absent,
}

/// What a file holds.
pub(in crate::store) fn held(disk: &dyn Disk, id: &StoreId, name: &str) -> Result<Held> {
    if let Some((header, captured, _)) = load(disk, id, name)? {
        return Ok(Held::Whole(header, captured));
    }
    let Some((_, _, bytes)) = begin(disk, name)? else { return Ok(Held::Absent) };
    Ok(match CheckpointHeader::decode(&bytes) {
        Some(header) if header.id == *id => Held::Damaged(BODY),
        _ if bytes == [0; HEADER] => Held::Blank,
        _ => Held::Damaged(0),
    })
}

/// The checkpoint that a file holds, if it is whole.
pub(in crate::store) fn load(disk: &dyn Disk, id: &StoreId, name: &str) -> Result<Option<Loaded>> {
    let Some((file, header)) = open(disk, id, name)? else { return Ok(None) };
    let words = usize::try_from(header.body_bytes() / 8).expect("no longer than the file");
    let mut entries = vec![0u64; words];
    let body: &mut [u8] = bytemuck::cast_slice_mut(&mut entries);
    file.read_at(body, BODY).map_err(|e| Error::io("read", disk.root().join(name), e))?;
    if crc(body) != header.body_crc && !planted(Bug::SkipCheckpointCrc) {
        return Ok(None);
    }
    let rows = entries.split_off(1 << header.depth);
    let rows = rows.as_chunks::<ROW_WORDS>().0.to_vec();
    let captured = Captured::read(entries, header.depth, header.watermark, header.sequence);
    Ok(Some((header, captured, rows)))
}

/// A checkpoint's file and header, if that is whole and the file is as long as it says.
fn open(
    disk: &dyn Disk,
    id: &StoreId,
    name: &str,
) -> Result<Option<(Arc<dyn File>, CheckpointHeader)>> {
    let Some((file, len, bytes)) = begin(disk, name)? else { return Ok(None) };
    let Some(body) = len.checked_sub(BODY) else { return Ok(None) };
    let header = CheckpointHeader::decode(&bytes)
        .filter(|header| header.id == *id && header.body_bytes() <= body);
    Ok(header.map(|header| (file, header)))
}

/// A checkpoint file, its length, and what is where the header goes.
type Opened = (Arc<dyn File>, u64, [u8; HEADER]);

/// Opens a checkpoint file; None when there is none.
fn begin(disk: &dyn Disk, name: &str) -> Result<Option<Opened>> {
    let path = disk.root().join(name);
    let file = match disk.open(name, Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let len = file.len().map_err(|e| Error::io("stat", &path, e))?;
    let mut bytes = [0; HEADER];
    // The length of a file that was never written may not have reached the disk.
    let there = usize::try_from(len).map_or(HEADER, |len| len.min(HEADER));
    file.read_at(&mut bytes[..there], 0).map_err(|e| Error::io("read", &path, e))?;
    Ok(Some((file, len, bytes)))
}
