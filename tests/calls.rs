//! Every call to the operating system fails, one after the other, once and until it is mended: the error has a type, nothing is
//! lost, and the store goes on.
#![cfg(feature = "sim")]

mod script;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use mapstone::sim::{Call, Fault, SimDisk};
use mapstone::{Error, Result, Store};

use script::endure::{Endured, Ground, endure};
use script::{Random, Script, check, key};

const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const ERRORS: [i32; 5] = [EIO, ENOSPC, EINTR, ENOMEM, EMFILE];
const STEPS: u64 = 30;
const SCRIPT: Script = Script { seed: 4, crowded: false, background: false };

/// What becomes of pages that a failed sync has marked clean, once the handle is gone.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// They stay in memory.
    None,
    /// The kernel drops them from its cache, and the old bytes come back.
    Dropped,
    /// The power goes.
    Cut,
    /// The power goes after the next open.
    Later,
}

/// A simulated disk on which calls fail.
struct Failing {
    disk: RefCell<SimDisk>,
    loss: Loss,
    errno: i32,
    failed: RefCell<Vec<Call>>,
    opening: Cell<bool>,
}

impl Ground for Failing {
    fn open(&self) -> Result<Store> {
        self.opening.set(true);
        let store = SCRIPT.options().open_sim(&self.disk.borrow())?;
        self.opening.set(false);
        Ok(store)
    }

    fn mend(&self) {
        self.failed.replace(self.disk.borrow().mend());
    }

    fn lose(&mut self) -> bool {
        match self.loss {
            Loss::None | Loss::Later => return false,
            Loss::Dropped => self.disk.borrow().drop_caches(),
            Loss::Cut => {
                let left = self.disk.borrow().power_cut();
                self.disk.replace(left);
            }
        }
        true
    }

    fn cut(&mut self) -> bool {
        let later = matches!(self.loss, Loss::Later);
        if later {
            let left = self.disk.borrow().power_cut();
            self.disk.replace(left);
        }
        later
    }

    fn poisoned(&self, poisoned: bool) {
        let failed = self.failed.borrow();
        // Fsync is also a segment's before it is used, which is not lost with it; a directory's and a removal are those of a segment
        // that was created for nothing.
        let reasons = [Call::Msync, Call::Fsync, Call::SyncDir, Call::Remove];
        let reason = failed.iter().any(|call| reasons.contains(call));
        assert!(reason || !poisoned, "poisoned, but no sync has failed: {failed:?}");
        let sync = failed.contains(&Call::Msync) && self.errno != EINTR && !self.opening.get();
        assert!(poisoned || !sync, "a sync has failed, and the handle goes on");
    }
}

fn run(fault: Option<Fault>, loss: Loss) -> (Endured, u64) {
    let disk = SimDisk::new(1);
    let errno = fault.map_or(0, |fault| fault.errno);
    fault.into_iter().for_each(|fault| disk.fail(fault));
    let mut ground = Failing {
        disk: RefCell::new(disk.clone()),
        loss,
        errno,
        failed: RefCell::default(),
        opening: Cell::new(false),
    };
    let (endured, state) = endure(SCRIPT, STEPS, &mut ground);
    ground.mend();
    let store = ground.open().expect("no call fails any more");
    check::equals(&store, &state);
    (endured, disk.calls())
}

fn fails(after: u64, errno: i32, for_ever: bool, loss: Loss) -> Endured {
    // An interrupted call is made again, and again.
    let times = if !for_ever {
        1
    } else if errno == EINTR {
        4
    } else {
        u64::MAX
    };
    let fault = Fault { call: Call::Any, after, errno, times };
    let trying = std::panic::AssertUnwindSafe(|| run(Some(fault), loss).0);
    std::panic::catch_unwind(trying).unwrap_or_else(|panic| {
        eprintln!("{fault:?}, {loss:?}");
        std::panic::resume_unwind(panic)
    })
}

/// Every way in which one of the first `calls` calls fails, in no order; the short form has each call fail in one way.
fn ways(calls: u64, all: bool) -> Vec<(u64, i32, bool, Loss)> {
    let losses = [Loss::None, Loss::Dropped, Loss::Cut, Loss::Later];
    let each = ERRORS.iter().flat_map(|errno| [(*errno, false), (*errno, true)]);
    let each: Vec<_> =
        each.flat_map(|(errno, ever)| losses.map(|loss| (errno, ever, loss))).collect();
    let mut random = Random(1);
    let mut ways = Vec::new();
    for after in 0..calls {
        let one = random.below(each.len() as u64);
        let chosen = (0..).zip(&each).filter(|(n, _)| all || *n == one);
        ways.extend(chosen.map(|(_, (errno, ever, loss))| (after, *errno, *ever, *loss)));
    }
    for i in 1..ways.len() {
        let other = random.below(i as u64 + 1);
        ways.swap(i, usize::try_from(other).expect("an index"));
    }
    ways
}

#[test]
fn every_call_fails_once_and_until_it_is_mended() {
    let (sound, calls) = run(None, Loss::None);
    assert_eq!(sound.errors, 0);
    let long = std::env::var("MAPSTONE_LONG").ok().map(|text| text.parse().expect("seconds"));
    let until = long.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let ways = ways(calls, long.is_some());
    let (mut runs, mut errors, mut poisoned) = (0u64, 0, 0);
    for (after, errno, ever, loss) in &ways {
        if until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        let endured = fails(*after, *errno, *ever, *loss);
        runs += 1;
        errors += endured.errors;
        poisoned += endured.poisoned;
    }
    eprintln!(
        "{calls} calls, {runs} of {} ways to fail, {errors} errors, {poisoned} handles poisoned",
        ways.len()
    );
}

/// A chunk of the index that cannot be mapped is noticed before the commit mark stands, so that a later write has nothing to finish.
#[test]
fn a_commit_that_could_not_map_the_index_does_nothing_later() {
    let disk = SimDisk::new(1);
    let store = SCRIPT.options().open_sim(&disk).expect("a fresh store");
    let mut failures = 0;
    for i in 0..3000 {
        disk.fail(Fault { call: Call::Map, after: 0, errno: ENOMEM, times: 1 });
        let result = store.put(key(i), "value");
        disk.mend();
        if let Err(Error::Io { op: "map", path, .. }) = result {
            failures += u64::from(path.ends_with("index"));
            assert!(!store.delete("no such key").expect("nothing to do"));
            assert!(
                !store.contains(key(i)).expect("sound"),
                "a later write made the commit that failed"
            );
            store.put(key(i), "value").expect("nothing fails any more");
        }
    }
    assert!(failures > 1, "the index was mapped {failures} times");
    assert_eq!(store.stats().expect("sound").entries, 3000);
}
