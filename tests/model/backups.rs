//! Backups in the life of a store: each holds what the store held, whatever becomes of the store or of a backup before it.

use mapstone::Error;
use mapstone::sim::{Call, Fault, SimDisk};

use super::check;
use super::ops::Crash;
use super::state::State;
use super::world::World;

/// The disk of the backups, and what a backup may hold that is whole.
pub(crate) struct Dest {
    disk: SimDisk,
    holds: Vec<State>,
    /// The store may have lost what it has.
    may_be_ahead: bool,
}

impl Dest {
    pub(crate) fn new(seed: u64) -> Dest {
        Dest { disk: SimDisk::new(!seed), holds: Vec::new(), may_be_ahead: false }
    }
}

impl World {
    /// A backup, through the read-only handle if `there`, which ends after so many calls, or is complete by then.
    pub(crate) fn backup(&mut self, there: bool, end: Option<(u16, Crash)>) {
        // What was last committed is not known.
        if !self.maybes.is_empty() {
            return;
        }
        let source = self.reader.as_ref().filter(|_| there).unwrap_or(self.store()).clone();
        if let Some((calls, _)) = end {
            self.dest.disk.cut_after(u64::from(calls));
        }
        let result = source.backup_sim(&self.dest.disk);
        drop(source);
        let cut = self.dest.disk.is_cut();
        if result.is_ok() && !cut {
            self.dest.holds = vec![self.last().clone()];
            // The store does not lose what the backup has, unless it was dead by the time.
            self.dest.may_be_ahead = self.faulty || self.dead();
        } else {
            // It is not known how far it came.
            self.dest.holds.push(self.last().clone());
        }
        match &result {
            _ if cut || self.dead() => {}
            Ok(backup) => {
                assert_eq!(backup.position, self.store().position());
                self.acked = self.history.len() - 1;
            }
            Err(Error::Diverged { .. }) if self.dest.may_be_ahead || self.faulty => {
                self.dest = Dest::new(self.shape.seed + 1);
            }
            // The kernel tells each open file once, so the writer hears of it when it syncs next.
            Err(Error::Io { op: "sync", .. }) if there && self.reader.is_some() && self.faulty => {
                self.disk.fail(Fault { call: Call::Msync, after: 0, errno: 5, times: 1 });
            }
            Err(error) => self.allow_more(error),
        }
        if let Some((_, how)) = end {
            self.dest.disk = match how {
                Crash::Kill => self.dest.disk.process_kill(),
                Crash::Cut => self.dest.disk.power_cut(),
            };
        }
        self.check_backup(result.is_ok() && !cut);
    }

    /// What is on the other disk is no store, or a sound one that holds what it should.
    fn check_backup(&mut self, whole: bool) {
        match self.options().open_read_only_sim(&self.dest.disk) {
            Ok(backup) => {
                let found = check::content(&backup);
                let mut holds = self.dest.holds.iter();
                let state = holds.find(|state| check::is(&found, state));
                check::store(&backup, state.expect("a backup of no commit"));
            }
            Err(
                Error::UnfinishedBackup { .. } | Error::NotFound { .. } | Error::NotAStore { .. },
            ) if !whole => {}
            Err(error) => panic!("a backup that cannot be opened: {error}"),
        }
    }
}
