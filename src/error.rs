//! The one error type, by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by what the caller can do about it.
///
/// Nothing on disk has changed when a call fails, with two exceptions: after [`Error::Poisoned`] (and the [`Error::Io`]
/// of the sync that caused it, or of what kept it from being begun) or [`Error::Lost`] the outcome of commits that were not
/// yet durable is known only to the next open, and a commit that fails with [`Error::Full`] while its index pages were being reserved may be completed by a later write.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// match mapstone::Store::open_read_only(dir.path().join("absent")) {
///     Err(mapstone::Error::NotFound { path }) => println!("nothing at {}", path.display()),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed. Retry, or look at the path and the source.
    Io {
        /// What was being done: "open", "sync", "map"…
        op: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another handle, in this process or another, has the store open for writing.
    Locked {
        /// The store.
        path: PathBuf,
        /// The process that holds it, when known: this one, if it has opened the store twice. A number is given only where it
        /// means something here, and not that of a process in another container.
        pid: Option<u32>,
    },
    /// A file does not hold what the format says it must. Restore it, or salvage what passes its checks.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Byte offset of the damage in that file.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The store was written by a release with a newer format.
    Version {
        /// The file that says so.
        file: PathBuf,
        /// The version it names.
        found: u32,
        /// The newest version this release reads.
        supported: u32,
    },
    /// The path is something else: a file, or a directory with other content.
    NotAStore {
        /// The path that was opened.
        path: PathBuf,
        /// Why it was not taken for a store.
        why: String,
    },
    /// There is no store at the path, and the options do not allow creating one.
    NotFound {
        /// The path that was opened.
        path: PathBuf,
    },
    /// There is a store at the path, and [`Options::create_new`](crate::Options::create_new) asks for a new one.
    AlreadyExists {
        /// The path that was opened.
        path: PathBuf,
    },
    /// A read-only open of a store that lost its power and was not recovered since. Open it for writing once.
    NeedsRecovery {
        /// The store.
        path: PathBuf,
    },
    /// The directory holds a backup that was cut short, or is being made: it is no store. Run the backup again; it goes on.
    UnfinishedBackup {
        /// The directory.
        path: PathBuf,
    },
    /// There can be no backup of this store in the directory: it holds something else.
    NotABackup {
        /// The directory.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// The directory holds a backup of this store that cannot be brought up to date, since the two have gone different ways:
    /// somebody has written to the backup, or the store has lost what the backup has. Keep it, and back up to another directory.
    Diverged {
        /// The directory.
        path: PathBuf,
        /// Where they differ.
        why: String,
    },
    /// The store cannot follow the other one: it holds something else.
    NotAReplica {
        /// The store that was to follow.
        path: PathBuf,
        /// What it holds.
        why: String,
    },
    /// A key, a value or a name exceeds its limit.
    TooLarge {
        /// What is too large: "key", "value", "table name", "batch".
        what: &'static str,
        /// Its length in bytes.
        len: u64,
        /// The largest length allowed, in bytes.
        max: u64,
    },
    /// A write on a handle that was opened read-only.
    ReadOnly,
    /// The disk, the quota or the file size limit is full. Nothing was committed; the write works again when there is space.
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A sync failed earlier, so nothing can be promised any more through this handle. Reads go on; open again to write.
    Poisoned,
    /// A file of the store is not the one that was opened any more: another program has removed, replaced or shortened it, or
    /// ([`Options::sigbus_guard`](crate::Options::sigbus_guard)) its disk has failed under a mapping. A handle that meets this
    /// while it writes writes no more; whether a commit that failed with it stands is known only to the next open. Put the
    /// file back, and open again.
    Lost {
        /// The file, where it was when the store was opened.
        file: PathBuf,
        /// What has become of it.
        why: String,
    },
    /// The writer lock was not to be had in the time that [`Options::lock_timeout`](crate::Options::lock_timeout) allows. Nothing
    /// was committed.
    Timeout {
        /// The store.
        path: PathBuf,
    },
    /// What an optimistic transaction has read was changed by another commit before it was to be committed. Nothing was
    /// committed; read again, and try again.
    Conflict,
    /// This thread has a write transaction of this handle open, or runs in a closure under the writer lock, and was to wait for
    /// that to end. Write through the transaction.
    InTransaction,
    /// Compaction has taken away what was committed after that position, so changes cannot be told from there on. Take a
    /// snapshot, and the changes after it; a cursor ([`Store::cursor`](crate::Store::cursor)) keeps this from happening.
    Compacted {
        /// The position to begin after.
        position: u64,
        /// The lowest position after which all is still there.
        oldest: u64,
    },
    /// No commit of this store ends at that position, or another one than was meant: a power cut has taken back what was not
    /// durable.
    NoSuchCommit {
        /// The position.
        position: u64,
        /// How that is known.
        why: String,
    },
    /// The handle was opened before a `fork` and is used to write in the child.
    Forked,
    /// The bytes of a value cannot be seen as the type that was asked for.
    View {
        /// The type that was asked for.
        type_name: &'static str,
        /// Length of the value in bytes.
        len: usize,
        /// Why not: size or alignment.
        why: String,
    },
    /// There is no table of that name (any more).
    NoSuchTable {
        /// The name that was asked for.
        name: String,
    },
    /// An option, or a combination of options, that cannot be honoured.
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Why not.
        why: String,
    },
}

impl Error {
    /// Wraps a failed call; a full disk, quota or file size limit becomes [`Error::Full`], unless it shows only in a sync:
    /// then what was to become durable may be lost, and space does not bring it back.
    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
                if op != "sync" =>
            {
                Error::Full { path, source }
            }
            _ => Error::Io { op, path, source },
        }
    }

    pub(crate) fn corrupt(
        file: impl AsRef<Path>,
        offset: u64,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> Error {
        Error::Corrupt {
            file: file.as_ref().to_path_buf(),
            offset,
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { op, path, source } => {
                write!(f, "cannot {op} {}: {source}", path.display())
            }
            Error::Locked { path, pid: Some(pid) } if *pid == std::process::id() => {
                write!(f, "{} is already open for writing in this process ({pid})", path.display())
            }
            Error::Locked { path, pid: Some(pid) } => {
                write!(f, "{} is open for writing by process {pid}", path.display())
            }
            Error::Locked { path, pid: None } => {
                write!(f, "{} is open for writing by another handle", path.display())
            }
            Error::Corrupt { file, offset, expected, found } => write!(
                f,
                "{} is damaged at offset {offset}: expected {expected}, found {found}",
                file.display()
            ),
            Error::Version { file, found, supported } => write!(
                f,
                "{} has format version {found}; this release reads up to {supported}",
                file.display()
            ),
            Error::NotAStore { path, why } => {
                write!(f, "{} is not a mapstone store: {why}", path.display())
            }
            Error::NotFound { path } => write!(f, "there is no store at {}", path.display()),
            Error::AlreadyExists { path } => {
                write!(f, "there is already a store at {}", path.display())
            }
            Error::NeedsRecovery { path } => write!(
                f,
                "{} was not closed cleanly and must be opened for writing once",
                path.display()
            ),
            Error::UnfinishedBackup { path } => {
                write!(f, "{} holds an unfinished backup; run the backup again", path.display())
            }
            Error::NotAReplica { path, why } => {
                write!(f, "{} cannot follow the store: {why}", path.display())
            }
            Error::NotABackup { path, why } => {
                write!(f, "{} cannot take a backup of this store: {why}", path.display())
            }
            Error::Diverged { path, why } => write!(
                f,
                "{} is a backup that has gone another way than the store: {why}",
                path.display()
            ),
            Error::TooLarge { what, len, max } => {
                write!(f, "{what} of {len} bytes is larger than the {max} allowed")
            }
            Error::ReadOnly => f.write_str("the store was opened read-only"),
            Error::Full { path, source } => {
                write!(f, "no space for {}: {source}", path.display())
            }
            Error::Poisoned => f.write_str("an earlier sync failed; open the store again to write"),
            Error::Lost { file, why } => {
                write!(f, "{} was lost while the store was open: {why}", file.display())
            }
            Error::Timeout { path } => {
                write!(f, "others have kept the writer lock of {} for too long", path.display())
            }
            Error::Conflict => {
                f.write_str("what the transaction has read was changed by another commit")
            }
            Error::Compacted { position, oldest } => write!(
                f,
                "what was committed after {position} has been compacted; changes can be told after {oldest}"
            ),
            Error::NoSuchCommit { position, why } => {
                write!(f, "no commit of this store ends at {position}: {why}")
            }
            Error::InTransaction => {
                f.write_str("this thread has a write transaction open; write through that")
            }
            Error::Forked => {
                f.write_str("the store was opened before a fork by the parent process")
            }
            Error::View { type_name, len, why } => {
                write!(f, "a value of {len} bytes cannot be seen as {type_name}: {why}")
            }
            Error::NoSuchTable { name } => write!(f, "there is no table named {name:?}"),
            Error::InvalidOption { option, why } => write!(f, "option {option}: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::Full { source, .. } => Some(source),
            _ => None,
        }
    }
}
