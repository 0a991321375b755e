//! Backing up a store while it is in use.

use std::path::Path;

use crate::error::Result;
use crate::handle::Store;
use crate::options::BackupOptions;
use crate::store::{Backup, Progress};
use crate::sys::{Wishes, open_real};

impl Store {
    /// Makes a backup in the directory `dest`: a store that holds what this one does at this moment, and opens like any other.
    /// To restore it is to open it, or a copy of it.
    ///
    /// Works through any handle, also a read-only one beside a writer in another process, and stops nobody: the position is held
    /// as by a [`Snapshot`](crate::Snapshot) until the backup is done. `dest` must be absent, empty, or an earlier backup
    /// of this store, which is brought up to date: only what is new is copied. Nobody may have that open meanwhile, nor ever have written to
    /// it. (Open it read-only to look into it; to go on with it as a store of its own, copy it first.)
    ///
    /// Segments of the log that are never written again are shared with the backup, by hard links or else by blocks that are
    /// copied on write, where the file system can; see [`BackupOptions::copy`]. The backup is durable when this returns, and so
    /// is everything in this store that it holds. The checksum of each record that the backup did not have yet is verified.
    ///
    /// When a backup is cut short, by whatever, `dest` is no store: it opens with
    /// [`Error::UnfinishedBackup`](crate::Error::UnfinishedBackup) until a backup to it is complete. Running it again goes on.
    ///
    /// ```
    /// use mapstone::Store;
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, dest) = (dir.path().join("db"), dir.path().join("backup"));
    /// let store = Store::open(path)?;
    /// store.put("key", "old")?;
    /// store.backup(&dest)?;
    /// store.put("key", "new")?;
    /// let copy = Store::open_read_only(&dest)?;
    /// assert_eq!(copy.get("key")?.as_deref(), Some(&b"old"[..]));
    /// drop(copy);
    ///
    /// assert!(store.backup(&dest)?.continued);
    /// assert_eq!(Store::open_read_only(&dest)?.get("key")?.as_deref(), Some(&b"new"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotABackup`](crate::Error::NotABackup) if `dest` is something else, [`Error::Diverged`](crate::Error::Diverged) if it
    /// has been written to, [`Error::Locked`](crate::Error::Locked) if someone has it open,
    /// [`Error::Corrupt`](crate::Error::Corrupt) when this store or the backup is damaged, [`Error::Full`](crate::Error::Full),
    /// [`Error::Io`](crate::Error::Io), [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn backup(&self, dest: impl AsRef<Path>) -> Result<Backup> {
        self.backup_with(dest, &BackupOptions::new(), |_| ())
    }

    /// The same with options, and tells `watch` how far it has come: first with bringing what is new, then with the index.
    ///
    /// # Errors
    /// As [`Store::backup`].
    pub fn backup_with(
        &self,
        dest: impl AsRef<Path>,
        options: &BackupOptions,
        mut watch: impl FnMut(Progress),
    ) -> Result<Backup> {
        let disk = open_real(
            dest.as_ref(),
            Wishes { guard: self.engine().is_guarded(), ..Wishes::default() },
        );
        self.engine().backup(&disk, options, &mut watch)
    }

    /// Makes a backup on a simulated disk.
    #[cfg(all(any(test, feature = "sim"), not(all(test, loom))))]
    #[doc(hidden)]
    pub fn backup_sim(&self, dest: &crate::sys::sim::SimDisk) -> Result<Backup> {
        self.engine().backup(&dest.disk(), &BackupOptions::new(), &mut |_| ())
    }
}
