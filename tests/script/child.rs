//! A process that works through a script until it is done or dies: this same test binary, told by its environment what to do.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mapstone::Store;

use super::{Script, State, check};

/// The test in each binary that plays the child.
pub(crate) const PART: &str = "play_a_part";
const PLACE: &str = "MAPSTONE_TEST_PLACE";
const TASK: &str = "MAPSTONE_TEST_TASK";

/// What a child is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) script: Script,
    /// How many steps of the script there are.
    pub(crate) steps: u64,
    /// Whether it closes the store at the end, or dies.
    pub(crate) close: bool,
}

impl Task {
    /// The task of this process, if it is a child, and the place of the store.
    pub(crate) fn mine() -> Option<(Task, PathBuf)> {
        let task = std::env::var(TASK).ok()?;
        let words: Vec<u64> = task.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [seed, crowded, background, steps, close] = words[..] else { panic!("{task}") };
        let script = Script { seed, crowded: crowded == 1, background: background == 1 };
        let place = PathBuf::from(std::env::var_os(PLACE).expect("a place to play"));
        Some((Task { script, steps, close: close == 1 }, place))
    }

    /// The command that starts a child at `place`; further arguments and variables may be added.
    pub(crate) fn command(self, place: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        self.prepare(&mut command, place);
        command
    }

    /// The same under `program`, which takes this binary and its arguments as its own last ones.
    pub(crate) fn command_under(self, program: &mut Command, place: &Path) {
        program.arg(std::env::current_exe().expect("this binary"));
        self.prepare(program, place);
    }

    fn prepare(self, command: &mut Command, place: &Path) {
        let Task { script: Script { seed, crowded, background }, steps, close } = self;
        command.args(["--exact", PART, "--nocapture", "--test-threads=1"]);
        let [crowded, background, close] = [crowded, background, close].map(u8::from);
        let task = format!("{seed} {crowded} {background} {steps} {close}");
        command.env(PLACE, place).env(TASK, task).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    }
}

/// How far a child came, kept outside of the store: steps that were begun, and steps that were done.
pub(crate) struct Progress(File);

impl Progress {
    pub(crate) fn at(place: &Path) -> Progress {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        Progress(options.open(place.with_extension("progress")).expect("a file"))
    }

    fn get(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        // An empty file says 0.
        let _ = self.0.read_exact_at(&mut word, offset);
        u64::from_le_bytes(word)
    }

    pub(crate) fn done(&self) -> u64 {
        self.get(0)
    }

    pub(crate) fn begun(&self) -> u64 {
        self.get(8)
    }

    pub(crate) fn set_done(&self, steps: u64) {
        self.0.write_all_at(&steps.to_le_bytes(), 0).expect("space");
    }

    pub(crate) fn set_begun(&self, steps: u64) {
        self.0.write_all_at(&steps.to_le_bytes(), 8).expect("space");
    }

    /// Where the store may stand, after how many steps and with what: all that were done, perhaps also the one that was begun.
    pub(crate) fn allowed(&self, script: Script) -> Vec<(u64, State)> {
        let (done, begun) = (self.done(), self.begun());
        let state = script.state(done);
        let next = (begun > done).then(|| (begun, state.after(&script.step(done, &state))));
        [(done, state)].into_iter().chain(next).collect()
    }
}

/// Works through a script from where the store stands. Does not return unless all is done.
pub(crate) fn work(task: Task, place: &Path) {
    let Task { script, steps, close } = task;
    let progress = Progress::at(place);
    let open = || script.options().open(place);
    let first = open().expect("nobody else writes");
    let mut allowed = progress.allowed(script);
    let (from, mut state) = allowed.swap_remove(check::one_of(&first, &allowed));
    progress.set_begun(from);
    progress.set_done(from);
    let mut store: Option<Store> = Some(first);
    for n in from..steps {
        let step = script.step(n, &state);
        progress.set_begun(n + 1);
        step.run(&mut store, open).expect("a sound disk");
        progress.set_done(n + 1);
        state.apply(&step);
    }
    let store = store.expect("open");
    if !close {
        // As `kill -9` does: nothing of this process runs any more.
        die();
    }
    store.close().expect("a sound disk");
}

/// Ends this process as `kill -9` does.
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    Done,
}

/// Runs a child; it must end well or be killed.
pub(crate) fn end(command: &mut Command) -> End {
    end_and_words(command).0
}

/// The same, and what it said.
pub(crate) fn end_and_words(command: &mut Command) -> (End, String) {
    use std::os::unix::process::ExitStatusExt;
    let Output { status, stderr, .. } = command.output().expect("a child");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    match (status.signal(), status.code()) {
        (Some(9), _) | (_, Some(137)) => (End::Killed, said),
        (_, Some(0)) => (End::Done, said),
        _ => panic!("{status}: {said}"),
    }
}

/// A directory for stores. Killed processes lose nothing in memory, so that is where it is, if the system has such a place.
pub(crate) fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if let Ok(dir) = tempfile::tempdir_in(shared) {
        return dir;
    }
    tempfile::tempdir().expect("a directory")
}

/// Makes a place empty again.
pub(crate) fn clear(place: &Path) {
    let _ = fs::remove_dir_all(place);
    let _ = fs::remove_file(place.with_extension("progress"));
}
