//! What a process that has a store open sees when calls fail: the disk fails, is full, or may not be written. Each trial is a process of
//! its own, and says what was acknowledged in its notes.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use mapstone::{Durability, Error, Options, Store};
use rustix::fs::{Advice, FallocateFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::notes::Notes;
use crate::script::Content;

/// Larger than a segment of these stores.
const LARGE: u32 = 300_000;

/// What a trial says that was to see its disk fail.
pub const NEVER: &str = "the disk never failed";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Gives the disk an order to fail, and writes until a sync has failed.
    Poison,
    /// Opens the store for writing and checks that what was acknowledged is there.
    Reopen,
    /// Fills the disk, makes room, and goes on.
    Full,
    /// Runs into its limit for the size of a file, raises it, and goes on.
    FileSize,
    /// Runs out of descriptors, gets some, and goes on.
    Descriptors,
    /// Must not write here, but may read.
    ReadOnly,
    /// May neither write nor read here.
    Forbidden,
}

/// One trial.
#[derive(Args, Clone, Debug)]
pub struct Trial {
    #[arg(value_enum)]
    pub name: Name,
    /// The store.
    #[arg(long)]
    pub store: PathBuf,
    /// The file of numbers.
    #[arg(long)]
    pub notes: PathBuf,
    /// The control file of a failing disk.
    #[arg(long)]
    pub control: Option<PathBuf>,
    /// What to tell it.
    #[arg(long)]
    pub order: Option<String>,
    /// Believe what the page cache holds, as long as the store does.
    #[arg(long)]
    pub warm: bool,
    /// Bytes of most values.
    #[arg(long, default_value_t = 400)]
    pub value: u32,
}

/// A store with keys 0, 1, 2…, of which the first so many are durable.
struct Ledger<'a> {
    trial: &'a Trial,
    notes: Notes,
    store: Store,
    next: u64,
}

impl Trial {
    pub fn run(&self) -> Result<()> {
        match self.name {
            Name::Poison => self.poison(),
            Name::Reopen => self.reopen(),
            Name::Full => self.full(),
            Name::FileSize => self.file_size(),
            Name::Descriptors => self.descriptors(),
            Name::ReadOnly => self.read_only(),
            Name::Forbidden => self.forbidden(),
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::new();
        options.segment_size(256 << 10).checkpoint_interval(64 << 20);
        options
    }

    fn open(&self) -> Result<Ledger<'_>> {
        let notes = Notes::open(&self.notes, self.control.as_ref())?;
        let store = self.options().open(&self.store)?;
        let next = notes.last_durable()?;
        Ok(Ledger { trial: self, notes, store, next })
    }

    fn content(&self, number: u64) -> Content {
        let len = if number % 40 == 39 { LARGE } else { self.value + (number % 7) as u32 * 100 };
        Content { step: number, len }
    }

    fn poison(&self) -> Result<()> {
        let mut ledger = self.open()?;
        ledger.go_on(60)?;
        ledger.notes.tell(self.order.as_deref().unwrap_or("eio_write 0 0"))?;
        let mut seen = None;
        for _ in 0..200 {
            // A segment that cannot be made is no failed sync, and can be tried again; so something small is tried as well.
            let small =
                || ledger.store.put("small", "value").and_then(|()| ledger.store.sync().map(drop));
            let failure = small().err().or_else(|| ledger.put_durably().err());
            match failure {
                Some(Error::Poisoned) => break,
                Some(error @ Error::Io { op: "sync", .. }) => seen = Some(error),
                Some(Error::Io { .. } | Error::Full { .. }) | None => {}
                Some(error) => bail!("BROKEN: a failing disk: {error:?}"),
            }
        }
        ensure!(seen.is_some(), "{NEVER}");
        ledger.check_poisoned()?;
        ledger.check_reads()?;
        ledger.notes.tell("eio_write 0 0")?;
        ledger.notes.tell("eio_flush 0 0")?;
        // That it works again changes nothing: what failed may be lost.
        ledger.check_poisoned()?;
        ledger.check_reads()
    }

    fn reopen(&self) -> Result<()> {
        if !self.warm {
            drop_caches(&self.store)?;
        }
        if let Some(order) = &self.order {
            Notes::open(&self.notes, self.control.as_ref())?.tell(order)?;
        }
        let mut ledger = self.open()?;
        ledger.check_all()?;
        ledger.go_on(50)?;
        let Ledger { store, notes, next, .. } = ledger;
        store.close()?;
        let store = Store::open_read_only(&self.store)?;
        Ledger { trial: self, notes, store, next }.check_all()
    }

    fn full(&self) -> Result<()> {
        let mut ledger = self.open()?;
        ledger.go_on(100)?;
        for round in 0..3 {
            let filler = self.store.with_file_name("filler");
            let file = fill(&filler)?;
            let refused = ledger.until_full().with_context(|| format!("round {round}"))?;
            ledger.try_everything_full()?;
            ledger.check_reads()?;
            drop(file);
            fs::remove_file(&filler)?;
            ensure!(refused > 0, "the disk was never full");
            ledger.until_room()?;
            ledger.go_on(30).context("BROKEN: there is space again")?;
            ledger.check_all()?;
            ledger.store.checkpoint()?;
        }
        ledger.store.close()?;
        Ok(())
    }

    fn file_size(&self) -> Result<()> {
        let limit = |bytes| {
            setrlimit(
                Resource::Fsize,
                Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum },
            )
        };
        let mut ledger = self.open()?;
        ledger.go_on(30)?;
        limit(Some(200 << 10))?;
        ledger.until_full()?;
        ledger.try_everything_full()?;
        ledger.check_reads()?;
        limit(None)?;
        ledger.go_on(60).context("BROKEN: the limit is gone")?;
        ledger.check_all()?;
        Ok(ledger.store.close()?)
    }

    fn descriptors(&self) -> Result<()> {
        let limit = |count| {
            setrlimit(
                Resource::Nofile,
                Rlimit { current: Some(count), maximum: getrlimit(Resource::Nofile).maximum },
            )
        };
        let before = getrlimit(Resource::Nofile).current.unwrap_or(1024);
        let mut ledger = self.open()?;
        ledger.go_on(30)?;
        // Descriptors are given from the lowest, so this one says how many there are.
        let probe = File::open("/dev/null")?;
        let used = std::os::fd::AsRawFd::as_raw_fd(&probe) as u64;
        drop(probe);
        limit(used)?;
        let mut failures = 0;
        for _ in 0..400 {
            match ledger.put_durably() {
                Ok(()) => {}
                Err(Error::Io { source, .. }) if source.raw_os_error() == Some(24) => failures += 1,
                Err(error) => bail!("BROKEN: without descriptors: {error:?}"),
            }
        }
        ensure!(failures > 0, "there were always descriptors");
        ledger.check_reads()?;
        let opened = Store::open_read_only(&self.store);
        ensure!(
            matches!(opened, Err(Error::Io { .. })),
            "BROKEN: opened without descriptors: {opened:?}"
        );
        limit(before)?;
        ledger.go_on(60).context("BROKEN: there are descriptors again")?;
        ledger.check_all()?;
        Ok(ledger.store.close()?)
    }

    fn read_only(&self) -> Result<()> {
        let notes = Notes::open(&self.notes, None)?;
        let opened = Store::open(&self.store);
        ensure!(
            matches!(&opened, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(30)),
            "BROKEN: {opened:?}"
        );
        let created = Store::open(self.store.with_file_name("other"));
        ensure!(
            matches!(&created, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(30)),
            "BROKEN: {created:?}"
        );
        let (store, next) = (Store::open_read_only(&self.store)?, notes.last_durable()?);
        let ledger = Ledger { trial: self, notes, store, next };
        ledger.check_all()?;
        ensure!(matches!(ledger.store.put("k", "v"), Err(Error::ReadOnly)), "BROKEN: written");
        Ok(())
    }

    fn forbidden(&self) -> Result<()> {
        let denied = |result: &mapstone::Result<Store>| matches!(result, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied);
        for path in [self.store.clone(), self.store.with_file_name("other")] {
            let opened = Store::open(&path);
            ensure!(denied(&opened), "BROKEN: {opened:?}");
        }
        let opened = Store::open_read_only(&self.store);
        ensure!(denied(&opened), "BROKEN: {opened:?}");
        Ok(())
    }
}

impl Ledger<'_> {
    fn key(number: u64) -> Vec<u8> {
        format!("key {number}").into_bytes()
    }

    fn put(&self) -> mapstone::Result<()> {
        let (key, content) = (Ledger::key(self.next), self.trial.content(self.next));
        self.store.put(&key, content.bytes(&key))
    }

    /// Puts the next key and makes it durable.
    fn put_durably(&mut self) -> mapstone::Result<()> {
        self.put()?;
        self.store.sync()?;
        self.next += 1;
        self.notes.note_durable(self.next).expect("the notes are on another disk");
        Ok(())
    }

    fn go_on(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.put_durably().with_context(|| format!("key {}", self.next))?;
        }
        Ok(())
    }

    /// Writes until nothing fits any more, not even something small; counts how often it was full.
    fn until_full(&mut self) -> Result<u64> {
        let (mut refused, mut in_a_row) = (0, 0);
        while in_a_row < 20 {
            match self.put_durably() {
                Ok(()) => in_a_row = 0,
                Err(Error::Full { .. }) => (refused, in_a_row) = (refused + 1, in_a_row + 1),
                Err(error) => bail!("BROKEN: on a full disk: {error:?}"),
            }
        }
        Ok(refused)
    }

    /// Waits for the space of a file that was unlinked. btrfs frees it in the background, with a later transaction.
    fn until_room(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        let dir = File::open(self.trial.store.parent().context("a parent")?)?;
        loop {
            rustix::fs::syncfs(&dir)?;
            let large = self.store.put_with("large", LARGE as usize, |bytes| bytes.fill(2));
            match large.and_then(|()| self.put_durably()) {
                Ok(()) => return Ok(()),
                Err(Error::Full { .. }) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => bail!("BROKEN: there is space again: {error:?}"),
            }
            ensure!(Instant::now() < until, "BROKEN: it is full for ever");
        }
    }

    /// Every kind of write may say that the disk is full, and nothing else.
    fn try_everything_full(&mut self) -> Result<()> {
        for round in 0..50 {
            let small = self.store.put("small", format!("{round}"));
            let large = self.store.put_with("large", LARGE as usize, |bytes| bytes.fill(1));
            let mut batch = self.store.batch();
            for i in 0..round {
                batch.put(format!("batch {i}"), [7; 50])?;
            }
            let batch = batch.commit_with(Durability::Immediate).map(drop);
            let table = self.store.table("scratch").map(drop);
            let dropped = self.store.drop_table("scratch").map(drop);
            let checkpoint = self.store.checkpoint().map(drop);
            let sync = self.store.sync().map(drop);
            for (what, result) in [
                ("put", small),
                ("put_with", large),
                ("batch", batch),
                ("table", table),
                ("drop", dropped),
                ("checkpoint", checkpoint),
            ] {
                if !matches!(result, Ok(()) | Err(Error::Full { .. })) {
                    bail!("BROKEN: {what} on a full disk: {result:?}");
                }
            }
            ensure!(sync.is_ok(), "BROKEN: sync on a full disk: {sync:?}");
        }
        for key in (0..50).map(|i| format!("batch {i}")).chain(["small".into(), "large".into()]) {
            if !matches!(self.store.delete(key), Ok(_) | Err(Error::Full { .. })) {
                bail!("BROKEN: delete on a full disk");
            }
        }
        Ok(())
    }

    fn check_poisoned(&self) -> Result<()> {
        let store = &self.store;
        let mut batch = store.batch();
        batch.put("k", "v")?;
        let results = [
            ("put", store.put("k", "v")),
            ("delete", store.delete("key 1").map(drop)),
            ("put_with", store.put_with("k", 3, |_| ())),
            ("commit", batch.commit().map(drop)),
            ("commit_with", batch.commit_with(Durability::Immediate).map(drop)),
            ("table", store.table("new").map(drop)),
            ("drop_table", store.drop_table("new").map(drop)),
            ("sync", store.sync().map(drop)),
            ("checkpoint", store.checkpoint().map(drop)),
        ];
        for (what, result) in results {
            ensure!(
                matches!(result, Err(Error::Poisoned)),
                "BROKEN: {what} when poisoned: {result:?}"
            );
        }
        Ok(())
    }

    /// What was acknowledged is there.
    fn check_reads(&self) -> Result<()> {
        for number in 0..self.next {
            let key = Ledger::key(number);
            let held = self.store.get(&key)?;
            let wanted = self.trial.content(number).bytes(&key);
            ensure!(held.as_deref() == Some(&wanted[..]), "LOST: key {number} of {}", self.next);
        }
        Ok(())
    }

    fn check_all(&self) -> Result<()> {
        let mut keys = 0;
        for item in &self.store.snapshot()? {
            let (key, value) = item?;
            let text = String::from_utf8_lossy(key);
            if let Some(number) = text.strip_prefix("key ").and_then(|number| number.parse().ok()) {
                ensure!(self.trial.content(number).bytes(key) == *value, "DAMAGED: {text}");
                keys += 1;
            }
        }
        ensure!(keys >= self.next, "LOST: {keys} keys of {}", self.next);
        self.check_reads()?;
        let verification = self.store.verify()?;
        ensure!(verification.is_ok(), "DAMAGED: {:?}", verification.damage);
        Ok(())
    }
}

/// Takes all space of a file system but a little.
fn fill(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    let (mut at, mut piece) = (0, 16u64 << 20);
    while piece >= 4096 {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), at, piece) {
            Ok(()) => at += piece,
            Err(_) => piece /= 2,
        }
    }
    // A failed call may have left the file longer than its blocks; that does no harm.
    Ok(file)
}

/// Drops what the page cache holds of a store that no process has mapped.
fn drop_caches(store: &Path) -> Result<()> {
    for dir in [store.to_path_buf(), store.join("log")] {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_file() {
                rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}
