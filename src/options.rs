//! How a store is opened: the choices, and whether they can be honoured.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::meta::{MAX_SEGMENT, MIN_SEGMENT};
use crate::log::ReadAhead;
use crate::sys::Wishes;

/// What a commit waits for before it returns.
///
/// Whatever the choice: a commit is seen whole or not at all, it is seen by every process as soon as it is published, and
/// after any crash the store holds exactly the first *n* commits for some *n*. A commit is published *before* it is
/// durable, so another thread may read what a power cut still takes back; whoever must not act on such a value calls
/// [`Store::sync`](crate::Store::sync) first.
///
/// | | process killed | system crashed | power cut |
/// | --- | --- | --- | --- |
/// | `Immediate`, once the call has returned | kept | kept | kept |
/// | `Eventual` | kept | kept up to the last sync or checkpoint, at least | the same |
///
/// ```
/// use mapstone::{Durability, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::open(dir.path().join("db"))?;
/// let mut batch = store.batch();
/// batch.put("from", "90")?.put("to", "110")?;
/// batch.commit_with(Durability::Immediate)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The call returns when the commit is on stable storage. Nothing takes it back: not a killed process, not a crashed
    /// system, not a power cut. Concurrent commits share one sync.
    Immediate,
    /// The call returns when the commit is published. A killed process loses nothing; a crashed system or a power cut loses at
    /// most the commits after the last one that was made durable, by [`Store::sync`](crate::Store::sync), a checkpoint, or any `Immediate` commit.
    #[default]
    Eventual,
}

/// Builder for opening a store, for writing or read-only.
///
/// ```
/// use mapstone::{Durability, Options};
/// # let dir = tempfile::tempdir()?;
/// let store = Options::new()
///     .segment_size(16 << 20)
///     .durability(Durability::Immediate)
///     .open(dir.path().join("db"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) segment_size: u64,
    pub(crate) checkpoint_interval: u64,
    pub(crate) durability: Durability,
    pub(crate) verify_on_read: bool,
    pub(crate) read_ahead: ReadAhead,
    pub(crate) huge_pages: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) background: bool,
    pub(crate) shared_writer: bool,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) force_file_system: bool,
    pub(crate) mode: u32,
    pub(crate) compaction: Option<u8>,
    pub(crate) sigbus_guard: bool,
    pub(crate) rebuild_index: bool,
    #[cfg(any(test, feature = "sim"))]
    pub(crate) hash_mask: u64,
    #[cfg(any(test, feature = "sim"))]
    pub(crate) rigged_span: (u64, u64),
    #[cfg(any(test, feature = "sim"))]
    pub(crate) rigged_iteration: Option<(usize, usize, u64)>,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The defaults: create if absent, segments of 64 MiB, a checkpoint every 256 MiB of log, [`Durability::Eventual`].
    pub fn new() -> Options {
        Options {
            segment_size: 64 << 20,
            checkpoint_interval: 256 << 20,
            durability: Durability::Eventual,
            verify_on_read: false,
            read_ahead: ReadAhead::Auto,
            huge_pages: false,
            create: true,
            create_new: false,
            background: true,
            shared_writer: false,
            lock_timeout: None,
            force_file_system: false,
            mode: 0o600,
            compaction: Some(40),
            sigbus_guard: false,
            rebuild_index: false,
            #[cfg(any(test, feature = "sim"))]
            hash_mask: u64::MAX,
            #[cfg(any(test, feature = "sim"))]
            rigged_span: (u64::MAX, u64::MAX),
            #[cfg(any(test, feature = "sim"))]
            rigged_iteration: None,
        }
    }

    /// Bytes of a log segment, for a store that is created: a power of two from 4 KiB to 1 TiB. Default 64 MiB.
    /// A load has the next segment made ahead ([`Options::background`]): as long as the store is open that takes the space of one more.
    ///
    /// A value that does not fit into a segment gets one of its own. An existing store keeps the size it was created with.
    pub fn segment_size(&mut self, bytes: u64) -> &mut Options {
        self.segment_size = bytes;
        self
    }

    /// Bytes of log after which a checkpoint is made, and so the most that is replayed after a power cut. Default 256 MiB.
    pub fn checkpoint_interval(&mut self, bytes: u64) -> &mut Options {
        self.checkpoint_interval = bytes;
        self
    }

    /// What a commit waits for when it does not say. Default [`Durability::Eventual`].
    pub fn durability(&mut self, durability: Durability) -> &mut Options {
        self.durability = durability;
        self
    }

    /// Check the checksum of every record that is read, and return [`Error::Corrupt`] when it is wrong. Default false.
    pub fn verify_on_read(&mut self, verify: bool) -> &mut Options {
        self.verify_on_read = verify;
        self
    }

    /// Whether more is read from the disk than the page that is needed. Default [`ReadAhead::Auto`].
    ///
    /// For this handle, and only a hint to the kernel: handles of one store, in this process or another, may differ.
    pub fn read_ahead(&mut self, policy: ReadAhead) -> &mut Options {
        self.read_ahead = policy;
        self
    }

    pub(crate) fn wishes(&self) -> Wishes {
        Wishes { guard: self.sigbus_guard, huge: self.huge_pages, ahead: self.background }
    }

    /// Have all of the store's files in memory as huge pages, of 2 MiB, where the kernel and the file system can. Default false:
    /// then it is only what a load appends to the log.
    ///
    /// A lookup goes to two places that have nothing to do with each other, and where there are many pages the processor has to
    /// look up the address of each first. With 5 million keys everything takes a tenth to a quarter less time with the index in
    /// huge pages (docs/benchmarks.md). The price: a page is written as a whole, and so is the index, by a checkpoint or by a
    /// kernel that writes what has been dirty for half a minute, however few keys were put. So this is for stores that are
    /// read, or written much at a time, and not for those that are written a little all the time. A first read from the disk
    /// fetches up to 4 MiB.
    ///
    /// For this handle, and only a hint; the pages that other processes have are those that the first one brought into memory.
    /// Known to work: ext4 on Linux 6.16 or newer, if `/sys/kernel/mm/transparent_hugepage/enabled` is not `never`. Where
    /// memory does not hold the store ([`ReadAhead::Auto`]) pages come one by one all the same.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Options::new().huge_pages(true).open(dir.path().join("db"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn huge_pages(&mut self, huge: bool) -> &mut Options {
        self.huge_pages = huge;
        self
    }

    /// Create the store when there is none. Default true. Opening read-only never creates.
    pub fn create(&mut self, create: bool) -> &mut Options {
        self.create = create;
        self
    }

    /// Create the store, and fail with [`Error::AlreadyExists`] when there is one. Default false.
    pub fn create_new(&mut self, create_new: bool) -> &mut Options {
        self.create_new = create_new;
        self
    }

    /// Make checkpoints and compact on a thread of their own, and make pages of the log, and its next segment, ready ahead of a load
    /// on another one, which gives way to all other threads. Default true; with false the commit that passes the interval makes a checkpoint.
    /// A load that is faster than checkpoints are made rests for a millisecond after a batch of 64 operations or more, as long as the index would
    /// otherwise take more than 27 bytes a key.
    pub fn background(&mut self, background: bool) -> &mut Options {
        self.background = background;
        self
    }

    /// Share writing with other processes, and other handles of this one, that open the store with this option. Default false:
    /// one handle writes, for as long as it is open.
    ///
    /// Each commit, each transaction takes the writer lock for itself: a *turn*. Any number of handles may be open; none needs
    /// the others to be alive. When one is killed in the middle of its turn the next turn, of any handle, finishes or forgets
    /// what was half done, and nobody opens anything again. While such handles are open a writer without this option is
    /// [`Error::Locked`], and the other way round. Who reads notices nothing.
    ///
    /// A turn costs two system calls (`flock`, to lock and to unlock) beside what a commit costs anyway, and a look at the live
    /// cells if another handle had a turn since. Who waits sleeps in the kernel. A sync makes durable what all handles have
    /// committed, whoever it was; only one handle syncs at a time, and those who wait for it share it. Checkpoints are made by
    /// whoever passes the interval, one at a time. The handle that is closed last leaves the store clean.
    ///
    /// Any of them may compact, in the background or by [`Store::compact`](crate::Store::compact), one step at a time whoever
    /// takes it; the steps that change something are turns. The file `index` does not become shorter while the store is shared.
    ///
    /// A thread that has a transaction of one handle open and writes through another handle waits for itself:
    /// [`lock_timeout`](Options::lock_timeout) ends that.
    pub fn shared_writer(&mut self, shared: bool) -> &mut Options {
        self.shared_writer = shared;
        self
    }

    /// How long a write, or opening with [`shared_writer`](Options::shared_writer), waits for the writer lock before it fails with
    /// [`Error::Timeout`]. Default: as long as it takes. Zero tries once.
    pub fn lock_timeout(&mut self, timeout: Duration) -> &mut Options {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Open on a file system on which shared mappings are not coherent (a network file system). Default false.
    ///
    /// Even then only one machine may have the store open, and its promises are those of that file system. What is mounted
    /// through FUSE is taken for local, because the kernel does not tell; if it is a network, this holds for it as well.
    pub fn force_file_system(&mut self, force: bool) -> &mut Options {
        self.force_file_system = force;
        self
    }

    /// Who may use a store that is created: the permission bits of its files, whatever the process's mask. Default 0600, for its
    /// owner alone.
    ///
    /// 0640 lets the owner's group read it, 0660 write as well, 0644 everybody read. Directories let in whoever may use the files,
    /// and pass their group on. Bits to execute are ignored. All that is made later, by whoever writes the store, has the bits of its
    /// file `meta`; so to change them, change all files and directories while no writer has it open. A backup is a store of its own, and private.
    ///
    /// ```
    /// # use std::os::unix::fs::PermissionsExt;
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Options::new().mode(0o640).open(dir.path().join("db"))?;
    /// let meta = std::fs::metadata(store.path().join("meta"))?;
    /// assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(&mut self, bits: u32) -> &mut Options {
        self.mode = bits;
        self
    }

    /// Turn a `SIGBUS` inside one of this handle's mappings into [`Error::Lost`] on that read. Default false.
    ///
    /// When another program truncates a file of the store, or the disk cannot deliver a page, the kernel can only send a signal
    /// to whoever touches the mapping, and that ends the process. With this option a handler is installed, once for the whole
    /// process and for good. A fault in a mapping of a guarded handle marks the file as lost: that read and every later one that
    /// needs the file is an [`Error::Lost`], other files of the log can still be read, and a writer writes no more. Every
    /// other `SIGBUS` goes to the handler that was there before.
    ///
    /// The limits, all of which are in docs/misuse.md:
    ///
    /// * A [`Value`](crate::Value) that was handed out before the loss cannot be protected: its bytes become zeros, page by
    ///   page, as they are read. `get` touches every page of a value before it returns it.
    /// * The bytes between a new end of file and the end of its last page become zeros without a signal, with or without this
    ///   option. [`verify_on_read`](Options::verify_on_read) notices these.
    /// * Calls that return no `Result` ([`Store::position`](crate::Store::position)) say what is there, which may be zero.
    /// * A handler that someone installs later must pass on what it does not know.
    ///
    /// It costs a load and a comparison for each read, and a load for each page of the value.
    pub fn sigbus_guard(&mut self, guard: bool) -> &mut Options {
        self.sigbus_guard = guard;
        self
    }

    /// Compacts in the background as soon as more than `percent` percent of the log are dead (overwritten versions, deleted
    /// keys), until clearly less are; `None` leaves it to [`Store::compact`](crate::Store::compact). Default: 40, which keeps the
    /// log below 1.7 times its live bytes, and one segment more; beside a writer that never stops, a little above twice. Needs
    /// [`Options::background`].
    ///
    /// Compaction moves what is live in the segments that win most, so a smaller number means more writing. It works in
    /// small steps, and a commit waits for one step at most.
    pub fn compaction(&mut self, percent: impl Into<Option<u8>>) -> &mut Options {
        self.compaction = percent.into();
        self
    }

    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn rigged_span(&mut self, moved: u64, most: u64) -> &mut Options {
        self.rigged_span = (moved, most);
        self
    }

    /// An iteration puts so many pages of the index in order, or after so small a share of them so many bytes of the log.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn rigged_iteration(&mut self, group: usize, share: usize, window: u64) -> &mut Options {
        self.rigged_iteration = Some((group, share, window));
        self
    }

    /// Build the index and its checkpoints anew from the log when an existing store is opened for writing. Default false.
    ///
    /// For a store whose index is lost or damaged and whose log is sound: nothing is lost then. It takes as long as reading the
    /// log, or as leading an index to a few million records a second, whichever is longer. Until the new index is complete the
    /// old one stays; an open that is cut short has changed nothing, or leaves a store that cannot be opened until the index is built
    /// again.
    ///
    /// Opening fails with [`Error::Corrupt`] if the log is damaged ([`Options::repair`] salvages what is left of it), and with
    /// [`Error::Locked`] while anybody else has the store open.
    pub fn rebuild_index(&mut self, rebuild: bool) -> &mut Options {
        self.rebuild_index = rebuild;
        self
    }

    /// Only the bits in `mask` of a key's hash differ between keys, to test collisions.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn hash_mask(&mut self, mask: u64) -> &mut Options {
        self.hash_mask = mask;
        self
    }

    /// Fails when an option cannot be honoured.
    pub(crate) fn check(&self) -> Result<()> {
        let size = self.segment_size;
        if !size.is_power_of_two() || !(MIN_SEGMENT..=MAX_SEGMENT).contains(&size) {
            let why = format!("{size} is not a power of two from {MIN_SEGMENT} to {MAX_SEGMENT}");
            return Err(Error::InvalidOption { option: "segment_size", why });
        }
        if let Some(percent) = self.compaction.filter(|percent| !(1..=99).contains(percent)) {
            let why = format!("{percent} is not from 1 to 99 percent");
            return Err(Error::InvalidOption { option: "compaction", why });
        }
        if self.checkpoint_interval == 0 {
            let why = "must be at least one byte".into();
            return Err(Error::InvalidOption { option: "checkpoint_interval", why });
        }
        Ok(())
    }
}

/// How a backup is made.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let mut options = mapstone::BackupOptions::new();
/// options.copy(true);
/// let backup = store.backup_with(dir.path().join("copy"), &options, |_| ())?;
/// assert_eq!(backup.linked, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    pub(crate) copy: bool,
    pub(crate) force_file_system: bool,
}

impl BackupOptions {
    /// The defaults: share what can be shared, on a local file system.
    pub fn new() -> BackupOptions {
        BackupOptions::default()
    }

    /// Copy everything. Default false: segments that are never written again become hard links where the backup is on the same
    /// file system, and share their blocks where that can do so.
    ///
    /// A hard link costs no space and no time, and the backup is as independent of the store as a copy is, but for one thing:
    /// a byte that the disk loses, or that another program changes, is lost to both.
    pub fn copy(&mut self, copy: bool) -> &mut BackupOptions {
        self.copy = copy;
        self
    }

    /// As [`Options::force_file_system`], for the directory of the backup. Default false.
    pub fn force_file_system(&mut self, force: bool) -> &mut BackupOptions {
        self.force_file_system = force;
        self
    }
}
