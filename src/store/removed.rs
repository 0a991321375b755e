//! Which segments compaction may have removed, for those who cannot ask the index.
//!
//! Only one that began before the newest checkpoint, and held nothing any more when that was made; without a checkpoint, one that
//! began before the horizon (I15).

use crate::cells::Cells;
use crate::error::Result;
use crate::format::StoreId;
use crate::format::usage::bytes;
use crate::sys::Disk;

use super::checkpoint;

/// Segments that may be missing although nothing is lost.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Those from this number on may not.
    before: u64,
    /// Those before that were in use.
    used: Vec<u64>,
    /// Segments, and how many bytes of records each had.
    ends: Vec<(u64, u64)>,
}

impl Removed {
    /// From the checkpoints, and from the cells if they are there.
    pub(super) fn read(
        disk: &dyn Disk,
        id: &StoreId,
        cells: Option<&Cells>,
        segment_bytes: u64,
    ) -> Result<Removed> {
        let mut removed = Removed::default();
        // Where a word that is stored with its complement is damaged, so are those beside it.
        let cells = cells.filter(|cells| cells.pages().is_some());
        let mut horizon = cells.map_or(0, Cells::horizon);
        if let Some((header, _, rows)) = checkpoint::load_newest(disk, id)? {
            // What goes has been found empty by a checkpoint. If a later one is damaged now, what that knew to be gone is missed.
            horizon = header.counters.position;
            let holds = |word| bytes(word).is_some_and(|bytes| bytes > 0);
            let used = rows.iter().filter(|row| holds(row[1]) || holds(row[2]));
            removed.used = used.map(|row| row[0]).collect();
            removed.used.sort_unstable();
            let ends = rows.iter().filter_map(|row| Some((row[0], bytes(row[3])?)));
            removed.ends = ends.collect();
        }
        removed.before = horizon.div_ceil(segment_bytes);
        Ok(removed)
    }

    /// How many bytes of records segment `number` has, if that is known.
    pub(super) fn bytes_of(&self, number: u64) -> Option<u64> {
        self.ends.iter().find(|(other, _)| *other == number).map(|(_, bytes)| *bytes)
    }

    /// The first segments from number `first` to before `last` that must be there: from which number to before which.
    pub(super) fn first_lost(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let at = self.used.partition_point(|number| *number < first);
        let used = self.used.get(at).copied().filter(|number| *number < last);
        let open = first.max(self.before);
        match used {
            Some(number) if number < open => Some((number, number + 1)),
            _ if open < last => Some((open, last)),
            _ => None,
        }
    }
}
