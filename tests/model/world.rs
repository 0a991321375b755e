//! A store on a simulated disk beside its history: carries out operations and knows what may be left after each.

use std::cell::RefCell;
use std::rc::Rc;

use mapstone::sim::{Fault, SimDisk};
use mapstone::{Options, Snapshot, Store, Table};

use super::backups::Dest;
use super::ops::{Crash, Fail, Op, Recovery, Shape};
use super::state::{KEYS, State, table_name};
use super::{check, points, tally};

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) disk: SimDisk,
    pub(crate) store: Option<Store>,
    /// What the store held after each commit that a crash may lead back to, and where the commit ended.
    pub(crate) history: Vec<(u64, State)>,
    /// The last of these that was acknowledged as durable.
    pub(crate) acked: usize,
    /// Batches whose commit failed but may be completed by the next write or open.
    pub(crate) maybes: Vec<State>,
    pub(crate) snapshots: Vec<(Snapshot, State)>,
    pub(crate) reader: Option<Store>,
    /// Other handles that write.
    pub(crate) others: Vec<Store>,
    pub(crate) dest: Dest,
    /// Tables that were dropped, by number.
    pub(crate) stale: Vec<(u8, Table)>,
    /// What someone has seen who looked in the middle of an operation.
    pub(crate) seen: Rc<RefCell<Option<(State, u64)>>>,
    /// A commit of some time ago.
    pub(crate) noted: Option<super::feeds::Noted>,
    /// Where the cursor may be, and what the store held there.
    pub(crate) cursors: Vec<super::feeds::Noted>,
    /// The power has gone since it was last moved.
    pub(crate) cursor_cut: bool,
    /// From here on the history has the positions that its commits have in the log.
    pub(crate) sure_from: usize,
    /// The power has gone since the commit of some time ago.
    pub(crate) was_cut: bool,
    /// Segments may have been removed.
    pub(crate) compacted: bool,
    /// The crash to come.
    pub(crate) armed: Option<(Crash, Recovery)>,
    /// It is to come to one process, and another goes on.
    pub(crate) heir: bool,
    /// Failures have been injected into this disk.
    pub(crate) faulty: bool,
    pub(crate) full: bool,
    pub(crate) poisoned: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        points::forget();
        // What a failed test leaves must not fail again while it unwinds.
        self.disk.process_kill();
    }
}

impl World {
    pub(crate) fn new(shape: Shape) -> World {
        tally::count(|tally| tally.stories += 1);
        let disk = SimDisk::new(shape.seed);
        points::watch(&disk, shape.mask != u64::MAX);
        World {
            store: None,
            shape,
            disk,
            history: vec![(0, State::default())],
            acked: 0,
            maybes: Vec::new(),
            snapshots: Vec::new(),
            reader: None,
            others: Vec::new(),
            noted: None,
            cursors: Vec::new(),
            cursor_cut: false,
            sure_from: 0,
            was_cut: false,
            compacted: false,
            dest: Dest::new(shape.seed),
            stale: Vec::new(),
            seen: Rc::default(),
            armed: None,
            heir: false,
            faulty: false,
            full: false,
            poisoned: false,
        }
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new();
        options
            .segment_size(self.shape.segment)
            .checkpoint_interval(self.shape.interval)
            .hash_mask(self.shape.mask)
            .verify_on_read(self.shape.verify_on_read)
            .rigged_span(self.shape.age, u64::MAX)
            .rigged_iteration(4, 2, 16 << 10)
            .background(false)
            .shared_writer(self.shape.shared);
        options
    }

    /// Creates the store and lives through all operations.
    pub(crate) fn live(&mut self, ops: &[Op]) {
        self.reopen(&Recovery::default());
        for op in ops {
            self.step(op);
        }
        self.check();
    }

    pub(crate) fn rigged(&self) -> bool {
        self.shape.mask != u64::MAX
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    pub(crate) fn last(&self) -> &State {
        &self.history.last().expect("there is always a state").1
    }

    pub(crate) fn step(&mut self, op: &Op) {
        if matches!(op, Op::Fail(_) | Op::Fill(_) | Op::DieAfter { .. } | Op::HandOver(_)) {
            points::forget_act();
        }
        let before = points::has_act().then(|| self.last().clone());
        self.carry_out(op);
        if let Some((before, seen)) = before.zip(self.seen.take()) {
            let mut known = [&before, self.last()].into_iter().chain(&self.maybes);
            let known = known.any(|state| check::is(&seen, state));
            assert!(
                known,
                "half a commit was to be seen: {}",
                check::difference(&seen.0, seen.1, &before)
            );
        }
        if let Some((how, recovery)) = self.armed.clone()
            && self.dead()
        {
            match how {
                Crash::Kill if self.heir && !self.others.is_empty() => self.go_on(),
                Crash::Kill => self.crash(how, &recovery),
                Crash::Cut => self.outcomes(2, &recovery),
            }
        }
    }

    fn carry_out(&mut self, op: &Op) {
        match op {
            Op::Put { table, key, value, how } => self.put(*table, *key, *value, *how),
            Op::Delete { table, key } => self.delete(*table, *key),
            Op::Swap { table, key, value, right } => self.swap(*table, *key, *value, *right),
            Op::Txn { ops, how } => self.transact(ops, *how),
            Op::Batch { ops, immediate } => self.batch(ops, *immediate),
            Op::Bulk { table, first, count, value } => {
                let ops: Vec<_> =
                    (0..*count).map(|i| (*table, (first + i) % (KEYS - 1), Some(*value))).collect();
                self.batch(&ops, false);
            }
            Op::CreateTable(table) => self.create_table(*table),
            Op::DropTable(table) => self.drop_table(*table),
            Op::Sync => self.acknowledge(|store| store.sync()),
            Op::Checkpoint => self.acknowledge(|store| store.checkpoint()),
            Op::Spare => {
                if let Err(error) = self.store().make_spare() {
                    self.allow(&error);
                }
            }
            Op::Amid { at, batches } => self.checkpoint_amid(*at, batches),
            Op::Lookup { times, batches } => self.lookup(*times, batches),
            Op::Look(at) => self.look(*at),
            Op::Compact { budget, steps } => self.compact(*budget, *steps),
            Op::Backup { there, end } => self.backup(*there, *end),
            Op::MoveCursor => self.move_cursor(),
            Op::RemoveCursor => self.remove_cursor(),
            Op::Overtake { times, batch } => self.overtake(*times, batch),
            Op::Iterate { times, batch } => self.iterate(*times, batch),
            Op::SnapshotThere => self.snapshot_there(),
            Op::LetGo => self.check_snapshots(),
            Op::Snapshot => match self.store().snapshot() {
                // Nobody could tell whose it is when one of several is killed.
                Ok(snapshot) if self.maybes.is_empty() && !self.heir => {
                    self.snapshots.push((snapshot, self.last().clone()));
                }
                Ok(_) => {}
                Err(error) => self.allow(&error),
            },
            Op::Reader => match self.options().open_read_only_sim(&self.disk) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => self.allow(&error),
            },
            Op::Check => self.check(),
            Op::WriteBack(pages) => self.disk.write_back(usize::from(*pages)),
            Op::Close => self.close(),
            Op::Other => self.other(),
            Op::Leave => self.leave(),
            Op::HandOver(when) => self.hand_over(*when),
            Op::Die { how, recovery } => self.crash(*how, recovery),
            Op::Outcomes { count, recovery } => self.outcomes(*count, recovery),
            Op::DieAfter { when, how, recovery } => {
                self.arm(*when);
                self.armed = Some((*how, recovery.clone()));
                self.heir = false;
            }
            Op::Fail(fail) => self.fail(*fail),
            Op::Fill(pages) => {
                self.full = true;
                self.disk.capacity(Some(self.disk.used() + 4096 * u64::from(*pages)));
            }
            Op::Free => self.free(),
            Op::Evict(how) if self.poisoned => self.evict(*how),
            Op::Evict(_) => {}
        }
    }

    /// The crash that was to come has come.
    pub(crate) fn dead(&self) -> bool {
        self.armed.is_some() && self.disk.is_cut()
    }

    /// What the store holds; to look at it is no call that a crash waits for.
    pub(crate) fn content(&self) -> (State, u64) {
        points::aside(|| self.disk.uncounted(|| check::content(self.store())))
    }

    pub(crate) fn fail(&mut self, fail: Fail) {
        self.faulty = true;
        self.disk.fail(Fault {
            call: fail.call,
            after: u64::from(fail.after),
            errno: fail.errno,
            times: u64::from(fail.times),
        });
    }

    pub(crate) fn free(&mut self) {
        self.full = false;
        self.disk.capacity(None);
    }

    pub(crate) fn table(&self, table: u8) -> Option<Table> {
        self.table_of(self.store(), table)
    }

    pub(crate) fn table_of(&self, store: &Store, table: u8) -> Option<Table> {
        if table == 0 || self.existing(table) != table {
            return None;
        }
        // Who has not met it asks the kernel for a turn, and the answer may be the end, or a failure.
        let open = || store.table(&table_name(table));
        let tries = if self.faulty { 20 } else { 1 };
        let found = std::iter::repeat_with(open).take(tries).find_map(Result::ok);
        assert!(found.is_some() || self.dead() || self.poisoned, "a table that exists");
        found
    }

    pub(crate) fn check(&mut self) {
        self.check_snapshots();
        // Who has to take over from a dead one to verify the store needs space for that.
        let short = self.full && self.shape.shared;
        if self.armed.is_none() && self.maybes.is_empty() && !self.faulty && !short {
            check::store(self.store(), self.last());
            self.follow();
            if let Some(reader) = &self.reader {
                assert_eq!(reader.position(), self.store().position());
                check::store(reader, self.last());
            }
        }
    }

    pub(crate) fn check_snapshots(&mut self) {
        if self.faulty || self.armed.is_some() {
            return self.snapshots.clear();
        }
        for (snapshot, state) in self.snapshots.drain(..) {
            check::snapshot(&snapshot, &state);
        }
    }
}
