//! The places at which a crash is worth trying: between any two steps of which one may be there without the other.
//!
//! "There" means stored: a killed process leaves it to all others, a power cut only what was synced.

super::named! {
    /// A crash point.
    Point {
        /// The directories and the files without content have names, and there is nothing else.
        CreateNamed = "create.named",
        /// The first segment is durable; there is no index and no `meta`.
        CreateLog = "create.log",
        /// The index and the first checkpoint are durable; the cells of the unfinished `meta` hold no commit.
        CreateIndex = "create.index",
        /// The unfinished `meta` is durable; no name but those in `log` is.
        CreateSynced = "create.synced",
        /// All is durable, and `meta` has not its name yet.
        CreateReady = "create.ready",
        /// `meta` has its name, perhaps not durably.
        CreateRenamed = "create.renamed",

        /// The writer lock is held, and nothing has been looked at.
        OpenLocked = "open.locked",
        /// The cells name this process as the writer, and nothing is recovered.
        OpenAnnounced = "open.announced",
        /// The store is recovered; the cells do not show where the log goes on.
        OpenBrought = "open.brought",
        /// The cells show where the log goes on; their life may be another.
        OpenPublished = "open.published",
        /// The cells are of this life; the index is not locked yet.
        OpenAlive = "open.alive",
        /// The writer is up, and has written nothing.
        OpenUp = "open.up",

        /// A lookup knows its page, and has not looked into it.
        LookupEntered = "lookup.entered",
        /// An iteration knows which records it visits next, and has visited none of them.
        IterationSeen = "iteration.seen",

        /// Index pages for a batch are reserved, log space is not.
        AppendPlanned = "append.planned",
        /// Space for a batch is reserved, and nothing of it is written.
        SpaceReserved = "append.reserved",
        /// Some records of a batch are written; another one that is not the last comes next.
        AppendRecord = "append.record",
        /// All records of a batch are written but the last, which has the commit mark.
        AppendLast = "append.last",
        /// A record's header and key are written; its value and its checksum are not.
        RecordKeyed = "append.keyed",
        /// A record is written but for its checksum.
        RecordFilled = "append.filled",
        /// The commit mark stands, and the index leads to nothing of the batch.
        AppendMarked = "append.marked",
        /// Space for a value is reserved, and perhaps a segment begun; the caller has not filled it yet.
        AppendLent = "append.lent",
        /// A value that its caller gave up is wiped.
        AppendWiped = "append.wiped",
        /// A segment of a batch that found the disk full is removed, perhaps not durably.
        GiveUpRemoved = "append.given-up",

        /// The index leads to one record more of a batch that is not published.
        ApplySlot = "apply.slot",
        /// A slot's `prev` has the version that `cur` still has.
        SlotPrev = "apply.prev",
        /// A key's overflow bit is set, and it has no slot.
        SlotOverflow = "apply.overflow",
        /// A free slot that was planned has its `prev`, and no `cur`.
        SlotNew = "apply.new",
        /// A free slot that was searched for has its `prev`, and no `cur`.
        SlotInserted = "apply.inserted",

        /// The counters of a commit are stored, `committed` is not.
        PublishCounted = "publish.counted",
        /// A commit is published.
        PublishDone = "publish.done",

        /// An index page is written, and nothing leads to it.
        PageWritten = "index.page",
        /// The index file is longer, and nobody knows.
        GrowReserved = "index.grown",
        /// The watermark has passed pages that are not written.
        GrowTaken = "index.taken",
        /// A chunk of the index is mapped, and not used.
        GrowMapped = "index.mapped",

        /// Both pages of a split are written, and nothing says so.
        SplitBuilt = "split.built",
        /// The cells say how many pages there will be after a split that is not announced.
        SplitForeseen = "split.foreseen",
        /// A split is announced, and no entry leads to its pages.
        SplitAnnounced = "split.announced",
        /// One directory entry more leads to a new page.
        LeadEntry = "split.entry",
        /// All entries of the first half lead to its page, none of the second.
        SplitHalf = "split.half",
        /// All entries lead to the new pages, and the split is still announced.
        SplitLed = "split.led",
        /// The cells count the pages of a split that is still announced.
        SplitCounted = "split.counted",
        /// The split is done; the page that it replaced is not given back.
        SplitEnded = "split.ended",
        /// The page that the split replaced may be written anew.
        SplitRetired = "split.retired",
        /// A page is written in front of a chain, and nothing leads to it.
        ChainBuilt = "chain.built",
        /// The cells say how many pages there will be with a page that nothing leads to.
        ChainForeseen = "chain.foreseen",
        /// All entries lead to the longer chain.
        ChainLed = "chain.led",
        /// The directory is written at twice its size, and nothing leads to it.
        DoubleWritten = "double.written",
        /// The larger directory is the live one; the pages of the other are not given back.
        DoubleSwitched = "double.switched",

        /// One page is written in place of another, or of two, and nothing says so.
        TidyBuilt = "tidy.built",
        /// That is announced, and no entry leads to it.
        TidyAnnounced = "tidy.announced",
        /// All entries lead to it, and it is still announced.
        TidyLed = "tidy.led",
        /// The page is in place; those that it replaced are not given back.
        TidyEnded = "tidy.ended",
        /// The watermark is lower; the blocks after it are still there.
        TrimLowered = "trim.lowered",
        /// The blocks after the watermark are given back.
        TrimPunched = "trim.punched",

        /// The copies of some live records are committed.
        CompactMoved = "compact.moved",
        /// A segment is drained, and the horizon is before its end.
        CompactDrained = "compact.drained",
        /// The horizon is past a drained segment.
        CompactHorizon = "compact.horizon",
        /// Nobody holds a position before the end of a drained segment, and its tombstones are durable.
        CompactReleased = "compact.released",
        /// A tombstone more is buried.
        CompactBuried = "compact.buried",
        /// A segment may go after the next checkpoint.
        CompactSettled = "compact.settled",
        /// A segment is unlinked, perhaps not durably, and `usage` still tells of it.
        CompactUnlinked = "compact.unlinked",
        /// `usage` tells of it no longer.
        CompactForgotten = "compact.forgotten",
        /// A segment is unlinked durably.
        CompactRemoved = "compact.removed",

        /// A segment under its unfinished name has its blocks and no header.
        SegmentCreated = "segment.created",
        /// It has its header, perhaps not durably.
        SegmentHeaded = "segment.headed",
        /// It is durable under the unfinished name, if that is.
        SegmentSynced = "segment.synced",
        /// It has its own name, perhaps not durably.
        SegmentRenamed = "segment.renamed",
        /// It is durable under its own name, and holds nothing.
        SegmentDurable = "segment.durable",
        /// A segment that was made before the log came to it has a header that says where the log had ended, perhaps not durably.
        SpareHeaded = "spare.headed",
        /// It has its own name, perhaps not durably.
        SpareNamed = "spare.named",

        /// The log is about to be synced.
        SyncBegun = "sync.begun",
        /// The log was synced, or not; `durable` says nothing of it.
        SyncReturned = "sync.returned",
        /// `durable` says that the log was synced, or the cells that a sync has failed.
        SyncNoted = "sync.noted",
        /// A sync has failed, and only the handle knows.
        SyncFailed = "sync.failed",

        /// The log is durable up to some commit; the writer lock is not held.
        CheckpointLogged = "checkpoint.logged",
        /// The directory is captured at a quiet point; its pages may be anywhere.
        CheckpointCaptured = "checkpoint.captured",
        /// A sync of the index begins.
        IndexSuspect = "checkpoint.suspect",
        /// The index is synced; no file says of which position.
        CheckpointIndexed = "checkpoint.indexed",
        /// The checkpoint file is long enough, and holds an older checkpoint, or half of one.
        CheckpointGrown = "checkpoint.grown",
        /// It holds the body of the new checkpoint under the header of the old.
        CheckpointBodied = "checkpoint.bodied",
        /// It holds the new checkpoint, perhaps not durably.
        CheckpointHeaded = "checkpoint.headed",
        /// The new checkpoint is durable, and no cell says so.
        CheckpointSynced = "checkpoint.synced",
        /// The cells name the new checkpoint; no page is given back.
        CheckpointSet = "checkpoint.set",
        /// Pages that only older checkpoints name may be written anew.
        CheckpointReleased = "checkpoint.released",

        /// The clean record is removed, perhaps not durably.
        CleanRemoved = "clean.removed",
        /// The clean record is removed durably, and nothing has changed yet.
        CleanRemovedSynced = "clean.removed-synced",
        /// An open has made sure that there is no clean record, and believes the cells as far as it may.
        CleanForgotten = "clean.forgotten",
        /// A close begins, and has synced nothing.
        CloseBegun = "close.begun",
        /// All is durable, and there is no clean record.
        CloseSynced = "close.synced",
        /// The clean record is written, perhaps not durably.
        CleanWritten = "clean.written",
        /// The clean record is durable; the locks are still held.
        CleanSynced = "clean.synced",

        /// The cells of a killed writer are found plausible, and nothing is changed.
        ResumeChecked = "resume.checked",
        /// A split that was announced is finished.
        ResumeSplit = "resume.split",
        /// The index leads to the batch that was not published.
        ResumeReplayed = "resume.replayed",
        /// What is not known durable is dirty again.
        ResumeDirtied = "resume.dirtied",
        /// A replay has applied one record.
        ReplayRecord = "replay.record",

        /// Checkpoint and log are read; nothing is changed.
        RestoreLoaded = "restore.loaded",
        /// The cells say that they cannot be believed.
        RestoreDoubted = "restore.doubted",
        /// The watermark is the checkpoint's, the directory is not.
        RestoreNumbered = "restore.numbered",
        /// The checkpoint's directory is written, and nothing leads to it.
        RestoreWritten = "restore.written",
        /// The checkpoint's directory is the live one; slots may lead past the end of the log.
        RestoreSwitched = "restore.switched",
        /// One page more leads to nothing past the end.
        SettlePage = "restore.page",
        /// No slot leads past the end, perhaps not durably.
        RestoreSettled = "restore.settled",
        /// No slot leads past the end, durably.
        RestoreSynced = "restore.synced",
        /// All complete batches are applied.
        RestoreReplayed = "restore.replayed",
        /// The log that survived is durable again.
        RestoreLogged = "restore.logged",
        /// The log goes on in another epoch; the cells do not show it.
        RestoreDurable = "restore.durable",
        /// The cells are those of this life, and still say that they cannot be believed.
        RestoreAlive = "restore.alive",
        /// The cells can be believed.
        RestoreTrusted = "restore.trusted",

        /// A note is durable under the name under which it is prepared.
        BackupNoted = "backup.noted",
        /// The directory says that it holds an unfinished backup; nothing else is changed.
        BackupMarked = "backup.marked",
        /// A segment is complete and durable, and has not its name yet.
        BackupCopied = "backup.copied",
        /// One more segment is there.
        BackupSegment = "backup.segment",
        /// All segments are there, durably; the index knows nothing of them.
        BackupBrought = "backup.brought",
        /// There is a store without a key before the log of the backup.
        BackupEmptied = "backup.emptied",
        /// The index leads to all records, and perhaps to such as the store has compacted away.
        BackupLed = "backup.led",
        /// The backup has its checkpoint; segments that the store has no more are there.
        BackupSwept = "backup.swept",
        /// The backup is complete and closed, and still says that it is unfinished.
        BackupClosed = "backup.closed",
        /// It says that it is whole, perhaps not durably.
        BackupNamed = "backup.named",

        /// One segment after the end of the log is removed, perhaps not durably.
        SealRemoved = "seal.removed",
        /// All segments after the end of the log are removed, perhaps not durably.
        SealCleared = "seal.cleared",
        /// Behind the end of the log is nothing that looks like a record, durably.
        SealBlotted = "seal.blotted",
        /// A segment of which nothing counted is replaced by one of the next epoch.
        SealReplaced = "seal.replaced",
        /// The next epoch has its segment; the blocks after the end of the last are still there.
        SealBegun = "seal.begun",
        /// The blocks after the end of the log are given back.
        SealReleased = "seal.released",

        /// A damaged store is read; nothing of the new one is there.
        RepairRead = "repair.read",
        /// Some of what was salvaged is in the new store, which has not its name.
        RepairPut = "repair.put",
        /// The new store is complete and closed, and has not its name.
        RepairBuilt = "repair.built",
        /// The new store has its name, perhaps not durably.
        RepairNamed = "repair.named",

        /// A new index is complete under an unfinished name; nothing of the store is changed.
        RebuildBuilt = "rebuild.built",
        /// The cells say that they cannot be believed; the old index and its checkpoints are there.
        RebuildDoubted = "rebuild.doubted",
        /// There is no checkpoint.
        RebuildWiped = "rebuild.wiped",
        /// The new index has its name; there is no checkpoint.
        RebuildNamed = "rebuild.named",
        /// The new index has its checkpoint, and is to be recovered.
        RebuildWritten = "rebuild.written",

        /// A turn of one of several writers has begun, and nothing has changed.
        TurnBegun = "turn.begun",
        /// The handle knows what others have committed.
        TurnCaughtUp = "turn.caught-up",
        /// What a killed writer left half done is finished or forgotten.
        TurnTaken = "turn.taken",
        /// All of the turn is done but for the word of it.
        TurnEnding = "turn.ending",
        /// The first of several writers has the store open, and keeps all others out still.
        TurnOpened = "turn.opened",
        /// A sync of what several have written is announced.
        TurnSyncing = "turn.syncing",
    }
}
