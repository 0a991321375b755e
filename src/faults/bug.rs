//! The rules that can be broken on purpose.

super::named! {
    /// A bug that a test plants.
    Bug {
        /// Syncs of the log report success and do nothing.
        SkipLogSync = "skip-log-sync",
    }
}
