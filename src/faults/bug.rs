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
        /// A sync of the log writes only the first page of its range.
        SyncFirstPage = "sync-first-page",
        /// A segment gets its name before its header and its length are on the disk.
        SkipSegmentSync = "skip-segment-sync",
        /// A segment is made under its own name, over a leftover, instead of being prepared and renamed.
        CreateInPlace = "create-in-place",
        /// The name of a new segment is not synced.
        SkipDirSync = "skip-dir-sync",
        /// The name of a segment that was begun in a hurry is not synced with the log in it (invariant I23).
        SkipNameSync = "skip-name-sync",
        /// The name that makes a new store one is not synced.
        SkipRootSync = "skip-root-sync",
        /// The index may find the disk full in the middle of a batch (invariant I1).
        SkipReserve = "skip-reserve",
        /// Pages of the index are used before the file has them (invariant I1).
        SkipGrow = "skip-grow",
        /// Records are led to before the commit mark stands (invariant I2).
        ApplyBeforeMark = "apply-before-mark",
        /// What was guessed of the version before a record stays in its header.
        TrustGuess = "trust-guess",
        /// The commit mark stands before it is known whether that guess was right.
        SumGuess = "sum-guess",
        /// A recovery goes on in the epoch that it found (invariant I3).
        SameEpoch = "same-epoch",
        /// What a crash has left behind the end of the log still looks like records when the segment after it is gone (invariant I19).
        SkipBlot = "skip-blot",
        /// The counters of a commit are stored over those that hold (invariant I4).
        CountersInPlace = "counters-in-place",
        /// Checksums of records are not looked at.
        SkipRecordCrc = "skip-record-crc",
        /// Checksums of the bodies of checkpoints are not looked at.
        SkipCheckpointCrc = "skip-checkpoint-crc",
        /// An overwritten slot always takes its old version as `prev` (invariant I5).
        PrevAlways = "prev-always",
        /// An overwritten slot keeps its `prev` for ever (invariant I5).
        PrevNever = "prev-never",
        /// A checkpoint is captured before the end of the log is durable (invariant I6).
        NotQuiet = "not-quiet",
        /// A checkpoint's directory is copied after its position was taken (invariant I6).
        LateDirectory = "late-directory",
        /// A lookup does not look whether it was misled (invariant I7).
        SkipRecheck = "skip-recheck",
        /// One half of a page that splits is written over it (invariant I8).
        SplitInPlace = "split-in-place",
        /// A page that a checkpoint names is free as soon as nothing else leads to it (invariant I8).
        ReuseEarly = "reuse-early",
        /// A checkpoint does not sync the index.
        SkipIndexSync = "skip-index-sync",
        /// A checkpoint counts before it is on the disk.
        SkipCheckpointSync = "skip-checkpoint-sync",
        /// A checkpoint is written over the newest one instead of the one before.
        CheckpointInPlace = "checkpoint-in-place",
        /// A handle goes on after a failed sync: the next one says that all is well (invariant I9).
        RetryAfterEio = "retry-after-eio",
        /// The next open believes the page cache after a failed sync (invariant I9).
        TrustAfterEio = "trust-after-eio",
        /// A recovery relies on the sync of pages that a failed one may have marked clean (invariant I9).
        SkipRedirty = "skip-redirty",
        /// The clean record stays on the disk while the store changes (invariant I10).
        KeepCleanRecord = "keep-clean-record",
        /// Slots that lead past the end of the surviving log are left as they are (invariant I13).
        SkipSettle = "skip-settle",
        /// They are corrected in the page cache alone (invariant I13).
        SettleUnsynced = "settle-unsynced",
        /// A key that lies on a later line than its first has no overflow bit (invariant I24).
        SkipOverflow = "skip-overflow",
        /// A power cut may take overflow bits back (invariant I24).
        SettleOverflow = "settle-overflow",
        /// A table gets the number of one that was dropped (invariant I14).
        ReuseTableNumber = "reuse-table-number",
        /// A split that a killed writer announced is not finished.
        ForgetSplit = "forget-split",
        /// A replay takes records whose batch has no commit mark.
        ReplayHalfBatch = "replay-half-batch",
        /// A segment that a recovery replaces is unlinked before its successor is there.
        UnlinkBeforeReplace = "unlink-before-replace",
        /// A drained segment is unlinked before a checkpoint leads past it (invariant I15).
        UnlinkBeforeCheckpoint = "unlink-before-checkpoint",
        /// Readers that hold nothing are not told what goes (invariant I15).
        SkipHorizon = "skip-horizon",
        /// What snapshots hold is not looked at (invariant I15).
        IgnoreMarks = "ignore-marks",
        /// What cursors keep is not looked at (invariant I22).
        IgnoreCursors = "ignore-cursors",
        /// A tombstone is buried before it is durable (invariant I15).
        BuryVolatile = "bury-volatile",
        /// A tombstone is buried although an older segment holds what it hides (invariant I15).
        BuryEarly = "bury-early",
        /// A slot whose burial was lost stays beside the one that its key has had since (invariant I18).
        KeepTwin = "keep-twin",
        /// A backup does not say that it is unfinished before it is complete (invariant I17).
        BackupUnmarked = "backup-unmarked",
        /// Segments that a backup has got are not synced.
        BackupUnsynced = "backup-unsynced",
        /// A backup holds no position while it copies.
        BackupUnheld = "backup-unheld",
        /// A backup is brought up to date whatever was written to it.
        BackupUncompared = "backup-uncompared",
        /// The checksums of what a backup has got are not looked at.
        BackupUnverified = "backup-unverified",
        /// The index of a backup leads on to what the store has compacted away.
        BackupUnswept = "backup-unswept",
        /// A compare-and-swap compares before it has the writer lock (invariant I20).
        CompareUnlocked = "compare-unlocked",
        /// An optimistic transaction is committed whatever has become of what it read.
        SkipValidate = "skip-validate",
        /// A turn goes by what its handle knew after its own last one (invariant I21).
        SkipCatchUp = "skip-catch-up",
        /// A turn takes the cells that a killed writer left in the middle of its own for whole (invariant I21).
        SkipTurnResume = "skip-turn-resume",
        /// A handle that only reads goes by the commit before the last.
        StaleReader = "stale-reader",
    }
}
