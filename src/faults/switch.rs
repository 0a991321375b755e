//! The switches themselves. The environment sets them for a whole process, a test for its own thread.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bug, Point};

/// The variable that names the crash point at which the process kills itself: `split.announced`, or `split.announced:3` for
/// the third time that it is reached.
pub const CRASH_AT: &str = "MAPSTONE_CRASH_AT";

/// The variable that names the planted bug.
pub const PLANT: &str = "MAPSTONE_PLANT";

type Hook = Box<dyn Fn(Point)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Has `hook` called at every crash point that this thread reaches, instead of the hook before.
pub fn at_points(hook: Option<Hook>) {
    HOOK.set(hook);
}

/// Plants a bug for this thread, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(super) fn planted(bug: Bug) -> bool {
    static ALL: OnceLock<Option<Bug>> = OnceLock::new();
    let of_process =
        || *ALL.get_or_init(|| Some(named(Bug::ALL, Bug::name, &std::env::var(PLANT).ok()?)));
    PLANTED.get().or_else(of_process) == Some(bug)
}

pub(super) fn reach(point: Point) {
    static CRASH: OnceLock<Option<(Point, AtomicU64)>> = OnceLock::new();
    HOOK.with_borrow(|hook| {
        if let Some(hook) = hook {
            hook(point);
        }
    });
    let crash = CRASH.get_or_init(|| {
        let text = std::env::var(CRASH_AT).ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        let times = times.parse().expect("how often the point is reached before the crash");
        Some((named(Point::ALL, Point::name, name), AtomicU64::new(times)))
    });
    if let Some((at, left)) = crash
        && *at == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        die();
    }
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, wanted: &str) -> T {
    let found = all.iter().copied().find(|one| name(*one) == wanted);
    found.unwrap_or_else(|| panic!("nothing is named {wanted:?}"))
}

/// Ends the process as `kill -9` does.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}
