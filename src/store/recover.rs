//! Recovery: finish or forget what a dead writer had half done. One code path for a killed process and a power cut; they
//! differ only in where it starts and in what may be believed there.

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::checkpoint::{CheckpointHeader, NAMES};
use crate::format::meta::{Counters, cell};
use crate::format::position::ALIGN;
use crate::format::{PAGE, segment};
use crate::index::Editor;
use crate::log::{Log, Record, Scan, Tail, View};
use crate::sys::Pin;
use crate::usage::Live;

use super::checkpoint::{self, Held, load_newest};
use super::commit::count;
use super::plan::Plan;
use super::{Engine, Writer};

/// Where the log ends, what was counted up to there, and the index editor that brought it there.
pub(super) struct Recovered {
    pub(super) tail: Tail,
    pub(super) counters: Counters,
    pub(super) editor: Editor,
}

impl Engine {
    /// After a killed process: the page cache holds all that was written, so the live cells are true, and only a batch whose
    /// commit mark stands but which was not published is still to be applied.
    ///
    /// Nothing here is beyond a turn of a live writer, so those who share the store do the same when they find that the one
    /// before died (`beside`). What is left is to begin a new epoch.
    pub(super) fn resume(&self, beside: bool) -> Result<Recovered> {
        let committed = self.cells.committed();
        let counters = self.cells.counters().ok_or_else(|| self.no_counters())?;
        self.check_cells(&counters)?;
        reach(Point::ResumeChecked);
        self.index.check_directory()?;
        let announced = self.cells.split().is_some();
        self.index.finish_split()?;
        reach(Point::ResumeSplit);
        // A split that was not published yet is not in the counters.
        let pages = self.index.count_pages()?;
        self.cells.set_pages(pages);
        let durable = self.cells.durable();
        // Beside others it is theirs, and one of them may be at a checkpoint that stands on it. Otherwise:
        // That cell carries no checksum. The slot rule, and the first sync, go by what checkpoints vouch for: by all that a power
        // cut may fall back on, also one that its writer did not live to announce.
        let written = checkpoint::headers(&*self.disk, &self.superblock.id)?;
        let positions = written.iter().map(|header| header.counters.position);
        let vouched = positions.fold(self.cells.checkpoint(), u64::max);
        if !beside {
            self.cells.believe_durable(vouched);
        }
        let mut editor = Editor::new(pages);
        let start = Tail { position: committed, segment: counters.segment };
        self.doubt_usage()?;
        // To look for the log's end maps what may be removed there, and a handle that others share the store with keeps that mapped.
        let aside = beside.then(|| self.fresh_log());
        let log = aside.as_ref().unwrap_or(&self.log);
        let (tail, replayed) = self.replay(log, &mut editor, start, u64::MAX, counters)?;
        if tail == start && !announced && counters.pages != pages {
            return Err(self.index.bad_pages(format!("{}, as the counters say", counters.pages)));
        }
        let counters = replayed;
        self.doubt_graves()?;
        reach(Point::ResumeReplayed);
        // A failed sync may have marked these pages clean (invariant I9).
        self.log.redirty(durable, tail.position)?;
        self.log.map(vouched, tail.position)?;
        if self.cells.suspect() {
            self.index.redirty()?;
        }
        reach(Point::ResumeDirtied);
        Ok(Recovered { tail, counters, editor })
    }

    /// Ends the epoch after a resume, with nobody else up who could write.
    pub(super) fn seal_resumed(&mut self, resumed: Recovered) -> Result<Recovered> {
        let tail = self.seal(resumed.tail)?;
        Ok(resumed.at(tail))
    }

    /// The same under the eyes of others who write: a segment that they may have mapped is never replaced.
    pub(super) fn seal_beside(&self, resumed: Recovered) -> Result<Recovered> {
        let tail = self.begin_epoch(resumed.tail)?;
        Ok(resumed.at(tail))
    }

    /// After a power cut: only what has a checksum is believed. The directory of the newest checkpoint, its pages with slots
    /// that may dangle, and the log from the checkpoint on.
    pub(super) fn restore(&mut self) -> Result<Recovered> {
        let id = self.superblock.id;
        let (header, captured, rows) = load_newest(&*self.disk, &id)?.ok_or_else(|| {
            Error::corrupt(
                self.file("checkpoint.a"),
                0,
                "a valid checkpoint in one of two files",
                "none",
            )
        })?;
        self.check_newest(&header)?;
        let counters = header.counters;
        let start = Tail { position: counters.position, segment: counters.segment };
        let pin = Pin::new();
        let (end, next, stop) = end_of(self.log.view(&pin), start)?;
        self.check_all_mappings()?;
        self.check_durable(end, next, stop)?;
        reach(Point::RestoreLoaded);
        let suspect = self.cells.suspect();
        if suspect {
            // It may be in the page cache alone. It is durable before the cell says so, and before what the other one stands on goes.
            checkpoint::confirm(&*self.disk, &header, &captured, &rows)?;
        }
        self.cells.set_checkpoint(checkpoint::word(&*self.disk, &header)?);
        // Nobody reads, and what was removed was so after this checkpoint or an earlier one.
        self.cells.set_horizon(counters.position);
        // From here to the end no one may take the cells for what a writer left.
        self.cells.set_failed();
        reach(Point::RestoreDoubted);
        self.index.restore(&captured, self.last_sequence(&header)?)?;
        reach(Point::RestoreSwitched);
        if !planted(Bug::SkipSettle) {
            self.settle(end)?;
        }
        reach(Point::RestoreSettled);
        if suspect {
            self.index.redirty()?;
        }
        // Positions past the end are given anew: no slot may lead to them any more, not even after another power cut.
        if !planted(Bug::SettleUnsynced) {
            self.index.sync()?;
        }
        reach(Point::RestoreSynced);
        self.cells.set_durable(start.position);
        self.cells.set_pages(counters.pages);
        let mut editor = Editor::new(counters.pages);
        self.reset_usage(&rows, next.segment)?;
        let (_, counters) = self.replay(&self.log, &mut editor, start, u64::MAX, counters)?;
        self.doubt_graves()?;
        reach(Point::RestoreReplayed);
        // What was read back may still be only in the page cache of a store that was copied or moved here.
        self.log.redirty(start.position, end.position)?;
        self.log.sync(start.position, end.position)?;
        reach(Point::RestoreLogged);
        let tail = self.seal(next)?;
        let counters = at(counters, tail, &editor);
        self.cells.set_durable(tail.position);
        reach(Point::RestoreDurable);
        self.cells.publish(&counters);
        self.cells.set_life(self.life()?);
        reach(Point::RestoreAlive);
        self.cells.set_suspect(false);
        reach(Point::RestoreTrusted);
        Ok(Recovered { tail, counters, editor })
    }

    /// Fails if the checkpoint cannot be the newest durable one: the cells say that there was a later one, and a file is damaged.
    ///
    /// Pages that only the older one names may have been written anew since.
    fn check_newest(&self, newest: &CheckpointHeader) -> Result<()> {
        let cell = self.cells.newest_checkpoint();
        let said = cell.position();
        for name in NAMES.into_iter().filter(|_| said > newest.counters.position) {
            let (offset, found) = match checkpoint::held(&*self.disk, &self.superblock.id, name)? {
                Held::Damaged(offset) => (offset, "other bytes"),
                Held::Blank if cell.name() == Some(name) => (0, "zeros"),
                _ => continue,
            };
            let expected = format!("the checkpoint at position {said}");
            return Err(Error::corrupt(self.file(name), offset, expected, found));
        }
        let pages = self.index.bytes()? / PAGE;
        if u64::from(newest.watermark) > pages {
            let expected = format!("{} pages, as the checkpoint says", newest.watermark);
            return Err(Error::corrupt(self.file("index"), pages * PAGE, expected, pages));
        }
        Ok(())
    }

    /// The greatest sequence that a checkpoint has ever had: one whose body a power cut has torn has one, too.
    fn last_sequence(&self, newest: &CheckpointHeader) -> Result<u64> {
        let written = checkpoint::headers(&*self.disk, &self.superblock.id)?;
        Ok(written.iter().map(|header| header.sequence).fold(newest.sequence, u64::max))
    }

    /// Sends slots that lead past the end back to the version before (invariant I13).
    fn settle(&self, end: Tail) -> Result<()> {
        let mut lost = None;
        self.index.settle(end.position, |page| lost = Some(page))?;
        let Some(page) = lost else { return Ok(()) };
        let offset = u64::from(page) * crate::format::PAGE;
        let found = format!("a slot with both versions after {}", end.position);
        Err(Error::corrupt(self.file("index"), offset, "a version that is in the log", found))
    }

    /// A cell that says more was durable than is left is a hint that the log is damaged rather than cut short: cells reach the
    /// disk at any time, and what they say was true when they were written.
    fn check_durable(&self, end: Tail, next: Tail, stop: Tail) -> Result<()> {
        let durable = self.cells.durable();
        // A recovery calls the log durable up to where the segment that it begins does.
        let number = durable / self.superblock.segment_bytes;
        let begins = durable % self.superblock.segment_bytes == segment::HEADER
            && self.log.view(&Pin::new()).find(number)?.is_some();
        if durable <= end.position || begins && durable <= next.position {
            return Ok(());
        }
        if !durable.is_multiple_of(ALIGN) || !self.log_reaches(durable)? {
            let expected = "a position in the log";
            return Err(Error::corrupt(self.file("meta"), cell::DURABLE as u64, expected, durable));
        }
        let offset = stop.position - stop.segment * self.superblock.segment_bytes;
        let file = self.file(&segment::name(stop.segment));
        let expected = format!("records up to position {durable}, which were durable");
        Err(Error::corrupt(file, offset, expected, "bytes that are no record"))
    }

    /// Some segment goes as far as this position, or one that is missing after the last could.
    fn log_reaches(&self, position: u64) -> Result<bool> {
        let Some(last) = self.log.numbers()?.last().copied() else { return Ok(false) };
        // One that cannot be opened is the log's damage and not the cell's.
        let more = self.superblock.segment_bytes;
        let pin = Pin::new();
        let found = self.log.view(&pin).find(last);
        Ok(found.map_or(true, |it| it.is_some_and(|it| position <= it.end() + more)))
    }

    /// Applies all complete batches from `start` on, but none from `limit` on. Idempotent: a slot never goes back to an older
    /// version.
    fn replay(
        &self,
        log: &Log,
        editor: &mut Editor,
        start: Tail,
        limit: u64,
        mut counters: Counters,
    ) -> Result<(Tail, Counters)> {
        let pin = Pin::new();
        let mut scan = Scan::new(log.view(&pin), start.segment, start.position)?;
        let mut end = start;
        let mut batch = Vec::new();
        // Cut short, it leaves counts of which nobody can say how far they have come.
        self.cells.set_counted(0);
        while scan.position() < limit
            && let Some(record) = scan.step()?
        {
            batch.push(record);
            if record.header().commit || planted(Bug::ReplayHalfBatch) {
                for record in batch.drain(..) {
                    self.replay_one(editor, &record, &mut counters)?;
                }
                end = Tail { position: scan.position(), segment: scan.segment().number() };
            }
        }
        self.set_counted(end.position);
        Ok((end, counters))
    }

    fn replay_one(
        &self,
        editor: &mut Editor,
        record: &Record<'_>,
        counters: &mut Counters,
    ) -> Result<()> {
        let header = record.header();
        let (table, key) = (header.table, record.key());
        if header.prev >= record.position() {
            return Err(self.damaged(record, "a position before the record's own"));
        }
        let hash = self.hasher.hash(table, key);
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let at = record.position();
        let is = |position| {
            let is = position == at || log.record(position)?.is(table, key);
            Ok(is.then_some(position))
        };
        let found = match header.prev {
            0 => editor.locate_only(&self.index, hash, at, is)?,
            _ => editor.locate(&self.index, hash, at, is)?,
        };
        match found {
            Some((_, position)) if position >= at => {}
            Some((place, _)) if header.prev == 0 => {
                editor.begin_anew(&self.index, place, hash, at)?;
            }
            Some((place, _)) => {
                let durable = self.cells.durable();
                editor.replace(&self.index, place, hash, at, durable)?;
            }
            // Its tombstone was buried: the slot gets back what the rule for slots wants there (invariant I5).
            None if header.prev != 0 && header.prev < self.cells.durable() => {
                editor.insert_after(&self.index, hash, at, header.prev)?;
            }
            None => editor.insert(&self.index, hash, at)?,
        }
        reach(Point::ReplayRecord);
        let prev_size = match header.prev {
            0 => 0,
            prev => log.record(prev)?.header().size(),
        };
        let plan = Plan {
            position: record.position(),
            prev: header.prev,
            prev_size,
            live_before: header.live_before,
            ..Plan::new(hash, header.size())
        };
        count(counters, &plan, table, record.is_put());
        self.account_one(&plan, record.is_put());
        Ok(())
    }

    /// Ends the log's epoch at `end`: what a crash left after it, in this segment or a later one, can never be read again,
    /// since the log goes on in a new segment whose records have another checksum (invariant I3).
    fn seal(&mut self, end: Tail) -> Result<Tail> {
        // A page that could not be had is not the end of the log.
        self.check_all_mappings()?;
        let (next, epoch, prev_end) = self.next_epoch(end)?;
        let first = end.segment * self.superblock.segment_bytes + segment::HEADER;
        self.log.forget_from(next);
        if end.position == first {
            self.log.remove_from(next)?;
            self.usage.ensure(next)?;
            reach(Point::SealCleared);
            if planted(Bug::UnlinkBeforeReplace) {
                self.log.remove_from(end.segment)?;
            }
            // Nothing in it counts, so it is replaced as a whole.
            self.log.forget_from(end.segment);
            let tail = self.log.begin(end.segment, epoch, prev_end)?;
            self.usage.set_live(tail.segment, Some(Live::default()));
            reach(Point::SealReplaced);
            return Ok(tail);
        }
        self.begin_epoch(end)
    }

    /// The segment after the one in which the log ends, the next epoch, and where the log ended before that segment.
    fn next_epoch(&self, end: Tail) -> Result<(u64, u32, u64)> {
        let old = *self.log.view(&Pin::new()).segment(end.segment)?.header();
        let next = old.after(self.superblock.segment_bytes);
        let raise = u32::from(!planted(Bug::SameEpoch));
        let epoch = old.epoch.checked_add(raise).ok_or_else(|| {
            let file = self.file(&segment::name(end.segment));
            Error::corrupt(file, 56, "an epoch below 2^32 - 1", old.epoch)
        })?;
        Ok((next, epoch, old.prev_end))
    }

    /// Has the log go on in a new segment of the next epoch.
    fn begin_epoch(&self, end: Tail) -> Result<Tail> {
        self.check_all_mappings()?;
        let (next, epoch, _) = self.next_epoch(end)?;
        if self.log.maps_from(next) {
            // Only what was committed is ever mapped, so this is a log that has become shorter.
            let (file, why) = (self.file(&segment::name(next)), "the log ends before it".into());
            return Err(Error::Lost { file, why });
        }
        self.log.remove_from(next)?;
        self.usage.ensure(next)?;
        reach(Point::SealCleared);
        // What is left would be wiped, whatever its epoch.
        if !planted(Bug::SkipBlot) && !planted(Bug::SameEpoch) {
            self.log.view(&Pin::new()).blot(end.segment, end.position)?;
        }
        reach(Point::SealBlotted);
        let tail = self.log.begin(next, epoch, end.position)?;
        self.account_segments(end.segment, tail.segment)?;
        reach(Point::SealBegun);
        // Best effort: on a file system that cannot give blocks back they are merely unused.
        let _ = self.log.view(&Pin::new()).segment(end.segment)?.release_after(end.position);
        reach(Point::SealReleased);
        Ok(tail)
    }

    /// Completes the batch that a full disk kept from the index.
    pub(super) fn finish(&self, writer: &mut Writer) -> Result<()> {
        let counters = writer.counters;
        let start = Tail { position: counters.position, segment: counters.segment };
        let limit = writer.tail.position;
        let (tail, counters) =
            self.replay(&self.log, &mut writer.editor, start, limit, counters)?;
        debug_assert_eq!(tail, writer.tail);
        self.publish(writer, counters);
        Ok(())
    }
}

impl Recovered {
    /// The same when the log has gone on to `tail`.
    fn at(self, tail: Tail) -> Recovered {
        Recovered { tail, counters: at(self.counters, tail, &self.editor), editor: self.editor }
    }
}

/// The counters at the end of recovery.
fn at(counters: Counters, tail: Tail, editor: &Editor) -> Counters {
    Counters { position: tail.position, segment: tail.segment, pages: editor.live(), ..counters }
}

/// Where the last complete batch ends, and where the next one would begin: that is in another segment if a recovery has begun
/// one there and no commit followed. And where there is no further record, complete batch or not.
fn end_of(log: View<'_>, start: Tail) -> Result<(Tail, Tail, Tail)> {
    let mut scan = Scan::new(log, start.segment, start.position)?;
    let (mut end, mut next) = (start, start);
    let mut between = true;
    loop {
        let record = scan.step()?;
        let segment = scan.segment().number();
        if between {
            let position = record.map_or(scan.position(), |record| record.position());
            next = Tail { position, segment };
        }
        let Some(record) = record else {
            return Ok((end, next, Tail { position: scan.position(), segment }));
        };
        between = record.header().commit;
        if between {
            end = Tail { position: scan.position(), segment };
        }
    }
}
