//! Checkpoints: the index becomes durable as of a quiet position, so that a replay starts there.
//!
//! Two files are written in turn; the newest valid one counts. Nothing is locked but for the capture itself.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::checkpoint::{BODY, CheckpointHeader, HEADER, NAMES, Newest, ROW_WORDS};
use crate::format::checksum::crc;
use crate::format::meta::Counters;
use crate::format::{PAGE_BYTES, StoreId};
use crate::index::Captured;
use crate::sys::{Access, Disk, File};

use super::space::SegmentRow;
use super::{Engine, WriterHalf};

/// Less of the log than this may be synced while nobody can write. More than one such sync in turn would have the log's pages come one
/// by one.
const LITTLE: u64 = 1 << 20;
/// Beside a load the index is synced in so many pieces: what is put while one is synced comes to few of its pages before they are ready
/// for stores again.
const PIECES: usize = 128;
/// Bytes that are worth a flush of the disk.
const LEAST: usize = 256 << 10;
/// A log that grows by a byte while so many of the index are synced grows by a load.
const BUSY: usize = 64;
/// Pages that the index should get along with, garbage included: one for so many keys, which is 27 bytes a key.
const KEYS: u64 = 152;
/// Garbage pages that are worth a checkpoint by themselves, whatever the log's length: at least these.
const MIN_GARBAGE: u64 = 32;
/// Bytes by which a checkpoint's file is longer than a directory twice as large needs: for rows of 512 segments more.
pub(super) const ROOM: u64 = 16 << 10;

impl Engine {
    /// Makes a checkpoint of the last commit and returns its position.
    pub(crate) fn checkpoint(&self) -> Result<u64> {
        let half = self.writer()?;
        half.lender.check()?;
        let _one = half.checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        let _others = self.lock_checkpoints(half)?;
        self.check_failed(half)?;
        self.check_files(half)?;
        self.scatter_index();
        let changed = half.is_touched() || self.cells.checkpoint() != self.cells.committed();
        if !changed && !half.lock().unfinished {
            return Ok(self.cells.checkpoint());
        }
        self.sync_most(half)?;
        reach(Point::CheckpointLogged);
        let before = self.lasting_segments(half)?;
        let (captured, counters, rows) = self.capture(half, &before)?;
        // What was captured is no longer told from what was not changed: the next one has to try again.
        self.finish_checkpoint(half, captured, counters, &rows).inspect_err(|_| half.touched())?;
        Ok(counters.position)
    }

    /// Syncs the log while writers go on, until what they commit meanwhile is little, or they are faster than the disk: the rest is
    /// synced under their lock.
    fn sync_most(&self, half: &WriterHalf) -> Result<()> {
        let (mut before, mut goal) = (u64::MAX, self.cells.committed());
        loop {
            self.sync_to(half, goal)?;
            goal = self.cells.committed();
            let left = goal.saturating_sub(self.cells.durable());
            if left < LITTLE || left > before / 2 {
                return Ok(());
            }
            before = left;
        }
    }

    /// Makes durable what was captured.
    fn finish_checkpoint(
        &self,
        half: &WriterHalf,
        mut captured: Captured,
        counters: Counters,
        rows: &[SegmentRow],
    ) -> Result<()> {
        reach(Point::CheckpointCaptured);
        half.attempted.store(counters.position, Relaxed);
        self.sync_index(half, self.is_load(counters))?;
        reach(Point::CheckpointIndexed);
        if planted(Bug::LateDirectory) {
            captured = self.claim(half, None)?.editor.capture(&self.index)?;
        }
        let newest = self.cells.newest_checkpoint();
        let rows = rows.as_flattened();
        let result = write(&*self.disk, &self.superblock.id, &captured, rows, counters, newest);
        // A failed sync of the file leaves it in doubt, but the other one stands.
        let written = result.inspect_err(|error| self.poison_by(half, error))?;
        self.cells.set_checkpoint(written);
        half.durable_sequence.store(captured.sequence, Relaxed);
        reach(Point::CheckpointSet);
        self.claim(half, None)?.editor.release(&self.index, &captured, half.shared.is_none())?;
        reach(Point::CheckpointReleased);
        Ok(())
    }

    /// Captures the directory at a quiet point: the log is durable up to its end, and the writer lock is held (invariant I6).
    ///
    /// `before` are the segments that there were shortly before.
    fn capture(
        &self,
        half: &WriterHalf,
        before: &[u64],
    ) -> Result<(Captured, Counters, Vec<SegmentRow>)> {
        let mut writer = self.claim(half, None)?;
        if writer.unfinished {
            self.finish(&mut writer)?;
        }
        if writer.clean {
            self.unmark_clean(half)?;
            writer.clean = false;
        }
        if !planted(Bug::NotQuiet) {
            self.sync_to(half, writer.counters.position)?;
        }
        self.mend_usage(writer.counters.segment)?;
        let rows = self.segment_rows(before, writer.counters.segment)?;
        let captured = writer.editor.capture(&self.index)?;
        half.touched.store(false, Relaxed);
        Ok((captured, writer.counters, rows))
    }

    /// So much has been put since the last checkpoint, of which `counters` are those of the next, that nearly all index pages have
    /// changed: on average two times or more.
    fn is_load(&self, counters: Counters) -> bool {
        let bytes = counters.position.saturating_sub(self.cells.checkpoint());
        let puts = u128::from(bytes) * u128::from(counters.entries);
        puts / u128::from(counters.live_bytes.max(1)) >= 2 * u128::from(counters.pages)
            && !self.log.is_crowded()
    }

    /// Syncs all index pages; beside a load those that are synced will soon change again. The suspect cell stays set when that
    /// fails, so that the next open dirties them again.
    pub(super) fn sync_index(&self, half: &WriterHalf, load: bool) -> Result<()> {
        let suspect = self.cells.suspect();
        if !suspect {
            self.cells.set_suspect(true);
        }
        reach(Point::IndexSuspect);
        if planted(Bug::SkipIndexSync) {
            return Ok(());
        }
        let mut before = self.cells.committed();
        let goes_on = |synced: usize| {
            let now = self.cells.committed();
            load && now.saturating_sub(std::mem::replace(&mut before, now))
                >= (synced / BUSY) as u64
        };
        let bytes = self.cells.watermark() as usize * PAGE_BYTES;
        let piece = if load { (bytes / PIECES).max(LEAST) } else { bytes };
        self.index.sync_by(piece, goes_on).inspect_err(|_| self.poison(half))?;
        self.check_mappings(half)?;
        if !suspect {
            self.cells.set_suspect(false);
        }
        Ok(())
    }

    /// Has a checkpoint made when enough log or enough unusable pages have piled up.
    #[inline]
    pub(super) fn checkpoint_if_due(
        &self,
        half: &WriterHalf,
        committed: u64,
        garbage: bool,
    ) -> Result<()> {
        let due = garbage || self.log_is_due(half, committed);
        if due { self.request_checkpoint(half) } else { Ok(()) }
    }

    /// A checkpoint is still due when its turn comes: the one before was asked for, again and again, until it was captured.
    pub(super) fn checkpoint_is_due(&self, half: &WriterHalf) -> bool {
        self.log_is_due(half, self.cells.committed()) || self.garbage_is_due(&mut half.lock())
    }

    #[inline]
    fn log_is_due(&self, half: &WriterHalf, committed: u64) -> bool {
        let since = self.cells.checkpoint().max(half.attempted.load(Relaxed));
        committed.saturating_sub(since) >= half.checkpoint_interval
    }

    /// True if pages that wait for a checkpoint make the index larger than its keys should need, or will before that is made. Where few
    /// keys are left in many pages a checkpoint would not help: then a sixth of these may wait.
    #[inline]
    pub(super) fn garbage_is_due(&self, writer: &mut super::Writer) -> bool {
        // Who shares the store does not know what others have free.
        let alone = self.writer.as_ref().is_some_and(|half| half.shared.is_none());
        let (editor, wanted) = (&mut writer.editor, writer.counters.entries / KEYS);
        let live = editor.live();
        let room = match wanted.checked_sub(live) {
            Some(room) => room.saturating_sub(editor.late_splits()).max(live / 32),
            None => live / 6,
        };
        if alone && editor.garbage(&self.index) > room.max(MIN_GARBAGE) {
            editor.put_off_splits();
        }
        alone && editor.wants_checkpoint()
    }

    #[cold]
    fn request_checkpoint(&self, half: &WriterHalf) -> Result<()> {
        if half.background.is_running() {
            half.background.wake();
            return Ok(());
        }
        if self.checkpoint_is_under_way(half) {
            return Ok(());
        }
        match self.checkpoint() {
            Err(error) if half.syncer.poisoned() => Err(error),
            // The commit stands, and the last checkpoint as well: one that failed is only postponed.
            _ => Ok(()),
        }
    }
}

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
pub(super) fn write(
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
pub(super) fn word(disk: &dyn Disk, header: &CheckpointHeader) -> Result<Newest> {
    for name in NAMES {
        if open(disk, &header.id, name)?.is_some_and(|(_, found)| found == *header) {
            return Ok(Newest::new(header.counters.position, name));
        }
    }
    Ok(Newest(header.counters.position))
}

/// Writes a checkpoint over itself, the same bytes, and makes it durable: after a failed sync it may be in the page cache alone,
/// and what it stands on is about to be overwritten.
pub(super) fn confirm(
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
pub(super) fn mend(disk: &dyn Disk, id: &StoreId, newest: u64) -> Result<()> {
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
pub(super) type Loaded = (CheckpointHeader, Captured, Vec<SegmentRow>);

/// The newest valid checkpoint, or None if neither file holds one.
pub(super) fn load_newest(disk: &dyn Disk, id: &StoreId) -> Result<Option<Loaded>> {
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
pub(super) fn headers(disk: &dyn Disk, id: &StoreId) -> Result<Vec<CheckpointHeader>> {
    let headers = NAMES.iter().map(|name| header(disk, id, name));
    headers.filter_map(Result::transpose).collect()
}

/// The header of the checkpoint that a file holds, without a look at its directory.
pub(super) fn header(
    disk: &dyn Disk,
    id: &StoreId,
    name: &str,
) -> Result<Option<CheckpointHeader>> {
    Ok(open(disk, id, name)?.map(|(_, header)| header))
}

/// What a checkpoint file holds.
#[derive(Debug)]
pub(super) enum Held {
    Whole(CheckpointHeader, Captured),
    /// Nothing was ever written to it.
    Blank,
    /// Something else, from this offset on: a checkpoint that was cut short or is damaged.
    Damaged(u64),
    Absent,
}

/// What a file holds.
pub(super) fn held(disk: &dyn Disk, id: &StoreId, name: &str) -> Result<Held> {
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
pub(super) fn load(disk: &dyn Disk, id: &StoreId, name: &str) -> Result<Option<Loaded>> {
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
