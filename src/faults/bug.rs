//! The rules that can be broken on purpose.

super::named! {
    /// A bug that a test plants.
    Bug {
        /// Syncs of the log report success and do nothing.
        SkipLogSync = "skip-log-sync",
        /// A lookup does not look whether the directory entry has changed meanwhile.
        IgnoreMovedPage = "ignore-moved-page",
        /// A lookup does not look whether the directory has moved meanwhile.
        IgnoreMovedDirectory = "ignore-moved-directory",
    }
}
