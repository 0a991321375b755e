//! With strace: a process is killed at every system call that changes a file, and every system call fails.
#![cfg(feature = "sim")]

mod script;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mapstone::{Result, Store};

use script::child::{End, Progress, Task, clear, end, end_and_words, scratch, work};
use script::endure::{Ground, endure};
use script::{Script, check};

const SCRIPT: Script = Script { seed: 4, crowded: false, background: false };
const STEPS: u64 = 30;
/// Says that the child endures failures, instead of dying of the first.
const ENDURE: &str = "MAPSTONE_TEST_ENDURE";

/// What comes before the numbers of errors and of poisoned handles that a child tells.
const SAYS: &str = "endured: ";
/// Stands in the trace before the store's first call.
const MARK: &str = "store.progress";
/// More than the calls of each kind that the main thread makes.
const PAST: usize = 20;

/// The system calls of the store, and by what each may fail. `mmap` is also what memory is allocated with; the simulated disk has
/// it fail.
const CALLS: [(&str, &str); 13] = [
    ("openat", "EMFILE"),
    ("mkdirat", "EACCES"),
    ("fallocate", "ENOSPC"),
    ("fsync", "EIO"),
    ("msync", "EIO"),
    ("renameat", "EIO"),
    ("unlinkat", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("pread64", "EIO"),
    ("flock", "ENOLCK"),
    ("statx", "EIO"),
    ("getdents64", "EIO"),
    ("fstatfs", "EIO"),
];
/// Calls at which a process is killed, those included that never fail.
const KILLS: &str = "openat,mkdirat,fallocate,ftruncate,fsync,fdatasync,msync,renameat,unlinkat,pwrite64,flock,mmap,munmap,close,write";

/// A real directory on which calls fail.
struct Real(PathBuf);

impl Ground for Real {
    fn open(&self) -> Result<Store> {
        SCRIPT.options().open(&self.0)
    }
}

#[test]
fn play_a_part() {
    let Some((task, place)) = Task::mine() else { return };
    if std::env::var_os(ENDURE).is_none() {
        return work(task, &place);
    }
    // The main thread's calls are counted apart, but fail at the same numbers: this thread is past those.
    for _ in 0..PAST {
        let file = fs::File::open("/proc/self/exe").expect("this program");
        let _ = (file.read_at(&mut [0], 0), file.metadata());
    }
    // What comes before this line is none of the store's calls.
    drop(Progress::at(&place));
    let (endured, _) = endure(task.script, task.steps, &mut Real(place));
    eprintln!("{SAYS}{} {}", endured.errors, endured.poisoned);
}

fn task() -> Task {
    Task { script: SCRIPT, steps: STEPS, close: true }
}

/// The child under strace, with these arguments; what strace has to tell goes to `trace`.
fn traced(place: &Path, trace: &Path, arguments: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace).args(arguments);
    task().command_under(&mut strace, place);
    strace
}

/// Whether this machine has a working strace; says so where it has not.
fn can_trace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o", "/dev/null", "-e", "inject=msync:error=EIO", "true"]);
    let works =
        probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !works {
        eprintln!("skipped: faults in system calls, for want of strace");
    }
    works
}

/// Which calls of each kind are the store's, by number, and how long a run takes. `adapt` adapts the command.
fn calls_of(
    names: &str,
    place: &Path,
    adapt: impl Fn(&mut Command) -> &mut Command,
) -> (BTreeMap<String, Range<u64>>, Duration) {
    calls_under(&["-e", &format!("trace={names}")], place, adapt)
}

/// The same with these arguments to strace.
fn calls_under(
    arguments: &[&str],
    place: &Path,
    adapt: impl Fn(&mut Command) -> &mut Command,
) -> (BTreeMap<String, Range<u64>>, Duration) {
    clear(place);
    let trace = place.with_extension("trace");
    let start = Instant::now();
    let mut child = traced(place, &trace, arguments);
    assert_eq!(end(adapt(&mut child)), End::Done);
    let took = start.elapsed();
    let text = fs::read_to_string(trace).expect("a trace");
    let (mut begun, mut calls) = (false, BTreeMap::<_, Range<u64>>::new());
    for line in of_the_store(&text) {
        let call = line.split_whitespace().nth(1).and_then(|rest| rest.split_once('('));
        let Some((name, _)) = call else { continue };
        let numbers = calls.entry(name.to_owned()).or_insert(1..1);
        numbers.end += 1;
        if !begun {
            numbers.start += 1;
        }
        begun |= line.contains(MARK);
    }
    (calls, took)
}

/// The calls of the thread that the store is open in.
fn of_the_store(trace: &str) -> Vec<&str> {
    let thread = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mark = trace.lines().find(|line| line.contains(MARK)).expect("the child's first call");
    trace.lines().filter(|line| thread(line) == thread(mark)).collect()
}

/// Every how many-th call is tried, for eight seconds or as long as is allowed.
fn stride(calls: u64, each: Duration) -> usize {
    let long = std::env::var("MAPSTONE_LONG").ok().map(|text| text.parse().expect("seconds"));
    let affordable = Duration::from_secs(long.unwrap_or(8)).as_micros() / each.as_micros().max(1);
    usize::try_from(u128::from(calls).div_ceil(affordable.max(1))).unwrap_or(usize::MAX)
}

#[test]
fn nothing_is_lost_when_killed_at_any_system_call() {
    if !can_trace() {
        return;
    }
    let dir = scratch();
    let place = dir.path().join("store");
    let (calls, each) = calls_of(KILLS, &place, |child| child);
    let all = calls.values().map(|calls| calls.end - calls.start).sum();
    let (stride, mut kills, mut fewer) = (stride(all, 2 * each), 0u64, 0u64);
    for (name, n) in
        calls.iter().flat_map(|(name, calls)| calls.clone().map(move |n| (name, n))).step_by(stride)
    {
        clear(&place);
        let inject = format!("inject={name}:signal=SIGKILL:when={n}");
        let trying = AssertUnwindSafe(|| {
            let arguments = ["-e", &format!("trace={name}"), "-e", &inject];
            let ended = end(&mut traced(&place, Path::new("/dev/null"), &arguments));
            if ended == End::Done {
                return false;
            }
            assert_eq!(ended, End::Killed);
            let mut allowed = Progress::at(&place).allowed(SCRIPT);
            let store = SCRIPT.options().open(&place).expect("recovery");
            check::equals(&store, &allowed.swap_remove(check::one_of(&store, &allowed)).1);
            true
        });
        match catch_unwind(trying).unwrap_or_else(|_| panic!("{inject}")) {
            true => kills += 1,
            // Each store has a seed of its own, so one may need a page more of the index than another.
            false => fewer += 1,
        }
    }
    assert!(kills > 0 && fewer <= kills / 20, "{kills} kills, {fewer} calls that were not made");
    eprintln!("{all} system calls, killed at {kills} of them");
}

#[test]
fn every_system_call_fails() {
    if !can_trace() {
        return;
    }
    let dir = scratch();
    let place = dir.path().join("store");
    let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    let (calls, each) = calls_of(&names.join(","), &place, |child| child.env(ENDURE, "1"));
    let stride = stride(calls.values().map(|calls| calls.end - calls.start).sum(), each);
    let (wanted, mut table) = (SCRIPT.state(STEPS), String::new());
    for (name, errno) in CALLS {
        let calls = calls.get(name).cloned().unwrap_or_else(|| panic!("{name} is never called"));
        let (all, mut tried, mut errors, mut poisoned) = (calls.end - calls.start, 0u64, 0, 0);
        for n in calls.step_by(stride) {
            clear(&place);
            let inject = format!("inject={name}:error={errno}:when={n}");
            let trying = AssertUnwindSafe(|| {
                let arguments = ["-e", &format!("trace={name}"), "-e", &inject];
                let mut child = traced(&place, Path::new("/dev/null"), &arguments);
                let endured = said(child.env(ENDURE, "1"));
                let store = SCRIPT.options().open(&place).expect("no call fails any more");
                check::equals(&store, &wanted);
                endured
            });
            let (more, handles) = catch_unwind(trying).unwrap_or_else(|_| panic!("{inject}"));
            (tried, errors, poisoned) = (tried + 1, errors + more, poisoned + handles);
        }
        table += &format!(
            "{name} {errno}: {tried} of {all} calls failed, {errors} errors, {poisoned} handles poisoned\n"
        );
    }
    eprint!("{table}");
}

/// A file system that cannot reserve blocks gets them written; when that fails half way the file is cut off again, and if that fails
/// too it stays longer than anyone knows.
#[test]
fn a_reservation_by_writing_fails_half_way() {
    if !can_trace() {
        return;
    }
    let dir = scratch();
    let (place, trace) = (dir.path().join("store"), dir.path().join("store.trace"));
    let unable = ["-e", "inject=fallocate:error=EOPNOTSUPP"];
    let arguments = [&["-e", "trace=openat,pwrite64,fallocate"], &unable[..]].concat();
    calls_under(&arguments, &place, |child| child.env(ENDURE, "1"));
    let text = fs::read_to_string(&trace).expect("a trace");
    let writes = of_the_store(&text).into_iter().filter(|line| line.contains("pwrite64("));
    // The second piece of a file's zeros.
    let second = (1..).zip(writes).filter(|(_, line)| line.contains(", 65536) = "));
    let (mut tried, mut cut, wanted) = (0u64, 0, SCRIPT.state(STEPS));
    for (n, _) in second {
        let write = format!("inject=pwrite64:error=ENOSPC:when={n}");
        for truncation in ["trace=pwrite64,fallocate,ftruncate", "inject=ftruncate:error=EIO"] {
            clear(&place);
            let trying = AssertUnwindSafe(|| {
                let arguments = [&unable[..], &["-e", &write, "-e", truncation]].concat();
                said(traced(&place, &trace, &arguments).env(ENDURE, "1"));
                let store = SCRIPT.options().open(&place).expect("no call fails any more");
                check::equals(&store, &wanted);
            });
            catch_unwind(trying).unwrap_or_else(|_| panic!("{write} {truncation}"));
            let text = fs::read_to_string(&trace).expect("a trace");
            cut += text.lines().filter(|line| line.contains("ftruncate(")).count();
            tried += 1;
        }
    }
    eprintln!("{tried} writes failed, {cut} files were cut off");
    assert!(cut > 0, "no file had to be cut off");
}

/// Runs a child that endures, and returns the numbers that it tells.
fn said(child: &mut Command) -> (u64, u64) {
    let (ended, said) = end_and_words(child);
    assert_eq!(ended, End::Done);
    let words = said.lines().find_map(|line| line.strip_prefix(SAYS)).expect("two numbers");
    let (errors, poisoned) = words.split_once(' ').expect("two numbers");
    (errors.parse().expect("a number"), poisoned.parse().expect("a number"))
}
