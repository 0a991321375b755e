//! The process that is measured: this same test binary, told by its environment what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PART: &str = "MAPSTONE_COST_PART";
const PLACE: &str = "MAPSTONE_COST_PLACE";

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Each operation many times.
    Operations,
    /// Durable commits on a disk of its own.
    Device,
}

impl Part {
    /// What this process is to do, and where; None in one that nobody has told.
    pub(crate) fn mine() -> Option<(Part, PathBuf)> {
        let part = match std::env::var(PART).ok()?.as_str() {
            "operations" => Part::Operations,
            "device" => Part::Device,
            other => panic!("{other} is no part"),
        };
        Some((part, PathBuf::from(std::env::var_os(PLACE).expect("a place to play"))))
    }

    /// Has `program`, which takes it as its last arguments, run a child to its end; returns what that said.
    pub(crate) fn run_under(self, program: &mut Command, place: &Path) -> String {
        let name = if self == Part::Operations { "operations" } else { "device" };
        program.arg(std::env::current_exe().expect("this binary"));
        program.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
        program.env(PART, name).env(PLACE, place).stdin(Stdio::null());
        let output = program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program:?}: {said}");
        said
    }
}

/// Whether a tool is there and works; says so where it does not.
pub(crate) fn works(tool: &str, arguments: &[&str], what: &str) -> bool {
    let mut command = Command::new(tool);
    let ended = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = ended.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: {what}, for want of {tool}");
    }
    works
}

/// A directory in memory, if the system has such a place.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}
