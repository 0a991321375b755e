//! What became of a store that was damaged: it must be reported where it is, or do no harm.

use std::path::Path;

use mapstone::sim::SimDisk;
use mapstone::{Error, Store};

use super::store::{Files, Left, Model, Sample, change, content, look_up, options};

/// Where a store was damaged.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// The first and the last offset that changed.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An error or a verification names the file and, as far as it can, the offset.
    Reported,
    /// Everything is as it was.
    Harmless,
}

/// All that may be reported elsewhere than it is: the damaged file, and the cell if it is one, the file (or directory) that is
/// named, and what is missed there.
const CONTRADICTIONS: [(&str, Option<u64>, &str, &str); 8] = [
    // How far the log was durable, against a log that ends before.
    ("meta", Some(4160), "log", "which were durable"),
    // Where the directory is, against what is there.
    ("meta", Some(4104), "index", ""),
    // A slot, against the log where it leads.
    ("index", None, "log", "a record"),
    ("index", None, "log", "a segment"),
    // An index that ends too early, against how many pages it has and where its directory is.
    ("index", None, "meta", "a page of the index"),
    ("index", None, "meta", "the place of a directory within the index"),
    // What a slot said before the checkpoint, against what was counted by then.
    ("index", None, "usage", "bytes of segment"),
    // A checkpoint that is gone, against the cell that names it.
    ("checkpoint", None, "meta", "the position of a checkpoint"),
];

/// How far from the damage its report may be: a record, a page.
const NEAR: u64 = 8192;

impl Place {
    fn is_near(&self, file: &Path, offset: u64) -> bool {
        file.ends_with(&self.file)
            && (self.first.saturating_sub(NEAR)..=self.last.saturating_add(NEAR)).contains(&offset)
    }

    /// One place against another, and nothing tells which of them is wrong.
    fn contradicts(&self, file: &Path, expected: &str) -> bool {
        CONTRADICTIONS.iter().any(|(damaged, cell, named, says)| {
            self.file.starts_with(damaged)
                && cell.is_none_or(|cell| self.first <= cell + 7 && cell <= self.last)
                && file.components().any(|part| part.as_os_str() == *named)
                && expected.contains(says)
        })
    }

    /// The error says where the damage is.
    fn is_named_by(&self, error: &Error) -> bool {
        match error {
            Error::Corrupt { file, offset, expected, .. } => {
                self.is_near(file, *offset) || self.contradicts(file, expected)
            }
            Error::NotAStore { .. } | Error::Version { .. } => {
                self.file == "meta" && self.first < 12
            }
            // The life of the cells: who cannot believe them leaves it to a writer.
            Error::NeedsRecovery { .. } => self.file == "meta",
            _ => false,
        }
    }

    fn is_named(&self, store: &Store) -> Result<bool, String> {
        let damage = match store.verify() {
            Ok(verification) => verification.damage,
            Err(error) => return Err(format!("verify fails: {error}")),
        };
        let near = |damage: &mapstone::Damage| {
            self.is_near(&damage.file, damage.offset)
                || self.contradicts(&damage.file, &damage.expected)
        };
        match damage.iter().any(near) {
            true => Ok(true),
            false if damage.is_empty() => Ok(false),
            false => Err(format!("the damage is elsewhere: {damage:?}")),
        }
    }
}

fn holds(store: &Store, models: &[Model]) -> Result<usize, String> {
    let found =
        content(store).map_err(|error| format!("undetected, but reading fails: {error}"))?;
    let which = models.iter().position(|model| *model == found).ok_or("another content")?;
    match look_up(store, &models[which]) {
        Ok(true) => Ok(which),
        Ok(false) => Err("a lookup finds something else than an iteration".into()),
        Err(error) => Err(format!("undetected, but a lookup fails: {error}")),
    }
}

/// Opens read-only and verifies.
pub(crate) fn read(sample: &Sample, files: &Files, place: &Place) -> Result<Verdict, String> {
    let disk = SimDisk::holding(files, sample.life);
    let store = match options().open_read_only_sim(&disk) {
        Ok(store) => store,
        Err(Error::NeedsRecovery { .. }) if sample.left == Left::Lost => {
            return Ok(Verdict::Harmless);
        }
        Err(error) if place.is_named_by(&error) => return Ok(Verdict::Reported),
        Err(error) => return Err(format!("read-only: {error}")),
    };
    if place.is_named(&store).map_err(|why| format!("read-only: {why}"))? {
        return Ok(Verdict::Reported);
    }
    // The commit before the last is what a writer that was killed while it published the last one leaves to readers.
    let models = &sample.models[..if sample.left == Left::Clean { 1 } else { 2 }];
    holds(&store, models).map_err(|why| format!("read-only: {why}"))?;
    Ok(Verdict::Harmless)
}

/// Opens for writing, verifies, changes the store and opens it again.
pub(crate) fn write(sample: &Sample, files: &Files, place: &Place) -> Result<Verdict, String> {
    let disk = SimDisk::holding(files, sample.life);
    let store = match options().open_sim(&disk) {
        Ok(store) => store,
        Err(error) if place.is_named_by(&error) => return Ok(Verdict::Reported),
        Err(error) => return Err(format!("for writing: {error}")),
    };
    if place.is_named(&store).map_err(|why| format!("for writing: {why}"))? {
        return Ok(Verdict::Reported);
    }
    // After a power cut the log may end at any commit after the last durable one.
    let cut = sample.left == Left::Lost || place.file == "meta" && sample.left == Left::Killed;
    let models = &sample.models[..if cut { sample.models.len() } else { 1 }];
    let which = holds(&store, models).map_err(|why| format!("for writing: {why}"))?;
    let mut model = models[which].clone();
    let again = || -> mapstone::Result<(bool, bool)> {
        change(&store, &mut model)?;
        store.checkpoint()?;
        store.close()?;
        let store = options().open_sim(&disk)?;
        let right = content(&store)? == model && look_up(&store, &model)?;
        Ok((right, store.verify()?.is_ok()))
    };
    match again() {
        Ok((true, true)) => Ok(Verdict::Harmless),
        Ok((right, sound)) => Err(format!("after a change: right {right}, sound {sound}")),
        Err(error) => Err(format!("after a change: {error}")),
    }
}
