//! What a process that has a store open sees when calls fail: the disk fails, is full, or may not be written. Each trial is a process of
//! its own, and says what was acknowledged in its notes.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use mapstone::{Error, Options, Store};
use rustix::fs::{Advice, FallocateFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ledger::Ledger;
use crate::notes::Notes;
use crate::script::Content;

/// Larger than a segment of these stores.
pub const LARGE: u32 = 300_000;

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
    /// Have `SIGBUS` turned into errors.
    #[arg(long)]
    pub guard: bool,
    /// Bytes of most values.
    #[arg(long, default_value_t = 400)]
    pub value: u32,
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
        options.segment_size(256 << 10).checkpoint_interval(64 << 20).sigbus_guard(self.guard);
        options
    }

    fn open(&self) -> Result<Ledger<'_>> {
        let notes = Notes::open(&self.notes, self.control.as_ref())?;
        let store = self.options().open(&self.store)?;
        let next = notes.last_durable()?;
        Ok(Ledger { trial: self, notes, store, next })
    }

    pub fn content(&self, number: u64) -> Content {
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
        let store = self.options().open_read_only(&self.store)?;
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
