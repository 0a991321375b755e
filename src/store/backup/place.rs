//! Where the backup goes: what is there, who else uses it, and whether it can be gone on with.

use std::io;
use std::sync::Arc;

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::backup::{BYTES, NAME, Note, PREPARED, UNFINISHED};
use crate::format::meta::{BYTES as META_BYTES, Superblock};
use crate::format::segment::{HEADER, name};
use crate::log::{Log, Tail};
use crate::options::{BackupOptions, Options};
use crate::sys::{Access, Disk, File, ForkGuard};

use super::super::create::{LOCK, META};
use super::super::door::{check_coherent, read_superblock};
use super::super::hold::Hold;
use super::super::locks::{alone, lock, no_writer_is_up};
use super::super::{Engine, clean};
use super::is_own;
use super::source::Source;

/// What is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Vacant,
    /// What a backup of this store has left that was cut short.
    Unfinished,
    /// A backup of this store whose log ends there.
    Whole(Tail),
}

/// A directory that is locked for a backup.
pub(super) struct Place<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    superblock: Superblock,
    note: Option<Note>,
    hold: Option<Hold>,
    /// Keeps others from opening what is there, until it says of itself that it is unfinished.
    meta: Option<Arc<dyn File>>,
}

impl<'a> Place<'a> {
    /// Takes the directory, or fails before anything is changed there if it is not one for a backup of this store.
    pub(super) fn take(
        disk: &'a Arc<dyn Disk>,
        superblock: &Superblock,
        options: &BackupOptions,
    ) -> Result<Place<'a>> {
        let fork = ForkGuard::new().map_err(|e| Error::io("map", "anonymous memory", e))?;
        look(&**disk, superblock)?;
        check_coherent(&**disk, &opening(options))?;
        disk.make_dir("").map_err(|e| Error::io("create", disk.root(), e))?;
        let lock = lock(&**disk)?;
        no_writer_is_up(&**disk, &*lock)?;
        let hold =
            Hold::new(lock, fork).map_err(|e| Error::io("stat", disk.root().join(LOCK), e))?;
        // Another process may have been quicker.
        let note = look(&**disk, superblock)?;
        let path = disk.root().join(META);
        let meta = match disk.open(META, Access::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|e| Error::io("open", &path, e))?),
        };
        if let Some(meta) = &meta
            && !alone(meta, &path)?
        {
            return Err(Error::Locked { path: disk.root().to_path_buf(), pid: None });
        }
        Ok(Place { disk, superblock: *superblock, note, hold: Some(hold), meta })
    }

    /// Segments of the log that are there.
    pub(super) fn numbers(&self) -> Result<Vec<u64>> {
        match self.disk.list("log") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => self.log().numbers(),
        }
    }

    pub(super) fn log(&self) -> Log {
        let Superblock { id, segment_bytes, .. } = self.superblock;
        Log::new(Arc::clone(self.disk), id, segment_bytes, Access::Read)
    }

    /// Whether what is there can be gone on with. A backup that is whole is, unless it and the store have gone different ways.
    pub(super) fn judge(&self, source: &Source<'_>) -> Result<State> {
        let Some(note) = self.note else {
            return Ok(match self.has(UNFINISHED)? {
                true => State::Unfinished,
                false => State::Vacant,
            });
        };
        let diverged =
            |why: String| Err(Error::Diverged { path: self.disk.root().to_path_buf(), why });
        let Some(tail) = self.end(&note)? else {
            let position = note.position;
            return diverged(format!("it was written to since the backup at position {position}"));
        };
        if tail.position > source.at {
            return diverged(format!(
                "it ends at position {}, the store at {}",
                tail.position, source.at
            ));
        }
        let own = self.numbers()?;
        loop {
            let common = source.numbers()?.into_iter().rev().find(|number| own.contains(number));
            // Where nothing is left of what it has, nothing of it is gone on with.
            let Some(newest) = common else { return Ok(State::Unfinished) };
            match self.is_same(source, newest, tail)? {
                Some(true) => return Ok(State::Whole(tail)),
                Some(false) => return diverged(format!("{} differs", name(newest))),
                // Compaction has just removed it.
                None => {}
            }
        }
    }

    fn has(&self, name: &str) -> Result<bool> {
        let names = self.disk.list("").map_err(|e| Error::io("list", self.disk.root(), e))?;
        Ok(names.iter().any(|other| other == name))
    }

    /// Where the log of a backup ends that is whole, and to which nobody has written.
    fn end(&self, note: &Note) -> Result<Option<Tail>> {
        let path = self.disk.root().join(META);
        let meta = self
            .meta
            .as_ref()
            .ok_or_else(|| Error::corrupt(&path, 0, "the superblock of the store", "no file"))?;
        let superblock = read_superblock(&**self.disk, &**meta)?;
        if superblock != self.superblock {
            return Err(not_a_backup(&**self.disk, "it is a store of other parameters".into()));
        }
        let len = usize::try_from(META_BYTES).expect("three pages");
        let region = meta.map(0, len, Access::Read).map_err(|e| Error::io("map", &path, e))?;
        let cells = Cells::new(region);
        let clean = clean::read(cells.region());
        let found = clean.filter(|clean| clean.counters.position == note.position);
        Ok(found.map(|clean| Tail {
            position: clean.counters.position,
            segment: clean.counters.segment,
        }))
    }

    /// A segment of the backup holds what the store's of that number does, as far as the backup's log goes; None if the store has
    /// none of that number.
    fn is_same(&self, source: &Source<'_>, number: u64, tail: Tail) -> Result<Option<bool>> {
        let (start, is_tail) = (source.start(number), number == tail.segment);
        if planted(Bug::BackupUncompared) || is_tail && tail.position == start + HEADER {
            // Nothing is in it, and the store's may have been replaced by one of another epoch.
            return Ok(Some(true));
        }
        let Some((_, end)) = source.segment(number)? else { return Ok(None) };
        let to = if is_tail { tail.position } else { end };
        let theirs = match source.engine.disk.open(&name(number), Access::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => {
                opened.map_err(|e| Error::io("open", source.engine.file(&name(number)), e))?
            }
        };
        self.holds(&theirs, source, number, to - start).map(Some)
    }

    /// The first `len` bytes of a segment are those of the store's.
    pub(super) fn holds(
        &self,
        a: &Arc<dyn File>,
        source: &Source<'_>,
        number: u64,
        len: u64,
    ) -> Result<bool> {
        let name = name(number);
        let failed = |op, disk: &Arc<dyn Disk>| {
            let path = disk.root().join(&name);
            move |e| Error::io(op, path, e)
        };
        let (theirs, ours) = (&source.engine.disk, self.disk);
        let b = ours.open(&name, Access::Read).map_err(failed("open", ours))?;
        let same = a.identity().map_err(failed("stat", theirs))?
            == b.identity().map_err(failed("stat", ours))?;
        if same {
            return Ok(true);
        }
        if b.len().map_err(failed("stat", ours))? < len {
            return Ok(false);
        }
        let mut at = 0;
        let (mut one, mut two) = (vec![0; super::bring::PIECE], vec![0; super::bring::PIECE]);
        while at < len {
            let piece = usize::try_from(len - at).map_or(one.len(), |left| left.min(one.len()));
            a.read_at(&mut one[..piece], at).map_err(failed("read", theirs))?;
            b.read_at(&mut two[..piece], at).map_err(failed("read", ours))?;
            if one[..piece] != two[..piece] {
                return Ok(false);
            }
            at += piece as u64;
        }
        Ok(true)
    }

    /// Removes what nothing may be believed of: everything but the segments that the source has.
    pub(super) fn clear(&mut self, segments: &[u64]) -> Result<u64> {
        self.meta = None;
        let removed = |name: &str| match self.disk.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.disk.root().join(name), e))
            }
            _ => Ok(()),
        };
        let names = self.disk.list("").map_err(|e| Error::io("list", self.disk.root(), e))?;
        for name in names.iter().filter(|name| is_own(name)) {
            removed(name)?;
        }
        let mut gone = 0;
        for number in self.numbers()?.into_iter().filter(|number| !segments.contains(number)) {
            removed(&name(number))?;
            gone += 1;
        }
        if gone > 0 {
            let path = self.disk.root().join("log");
            self.disk.sync_dir("log").map_err(|e| Error::io("sync", path, e))?;
        }
        Ok(gone)
    }

    /// Opens what is there as the store that it is to become.
    pub(super) fn open(&mut self, source: &Engine, options: &BackupOptions) -> Result<Engine> {
        // Those who were quick enough to have it open by now find that it is unfinished.
        self.meta = None;
        let hold = self.hold.take().expect("opened once");
        let mut engine = Engine::open_held(Arc::clone(self.disk), &opening(options), hold)?;
        engine.hasher = source.hasher;
        Ok(engine)
    }
}

fn opening(options: &BackupOptions) -> Options {
    let mut opening = Options::new();
    opening.force_file_system(options.force_file_system).compaction(None);
    opening
}

fn not_a_backup(disk: &dyn Disk, why: String) -> Error {
    Error::NotABackup { path: disk.root().to_path_buf(), why }
}

/// Fails unless a backup of this store may go there. What the backup that is there says of itself, if one is there and is whole.
fn look(disk: &dyn Disk, superblock: &Superblock) -> Result<Option<Note>> {
    let names = match disk.list("") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(not_a_backup(disk, "it is not a directory".into()));
        }
        names => names.map_err(|e| Error::io("list", disk.root(), e))?,
    };
    let has = |name: &str| names.iter().any(|other| other == name);
    if let Some(name) = [UNFINISHED, NAME].into_iter().find(|name| has(name)) {
        let note = read_note(disk, name)?;
        if note.id != superblock.id {
            return Err(not_a_backup(disk, "it is a backup of another store".into()));
        }
        return Ok(Some(note).filter(|_| name == NAME));
    }
    if has(META) {
        return Err(not_a_backup(disk, "it is a store, and no backup".into()));
    }
    match names.iter().find(|name| ![LOCK, PREPARED].contains(&name.as_str())) {
        Some(name) => Err(not_a_backup(disk, format!("it holds {name:?}"))),
        None => Ok(None),
    }
}

fn read_note(disk: &dyn Disk, name: &str) -> Result<Note> {
    let path = disk.root().join(name);
    let file = disk.open(name, Access::Read).map_err(|e| Error::io("open", &path, e))?;
    let mut bytes = [0; BYTES];
    match file.read_at(&mut bytes, 0) {
        // Cut short: what is missing is zeros.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => bytes.fill(0),
        result => result.map_err(|e| Error::io("read", &path, e))?,
    }
    Note::decode(&bytes)
        .map_err(|(offset, expected)| Error::corrupt(&path, offset, expected, "other bytes"))
}
