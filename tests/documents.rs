//! Documents name what is there: every crash point, every planted bug, and no test that does not exist.
#![cfg(feature = "sim")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mapstone::sim::{Bug, Point};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a document")
}

/// What stands between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    // Every second part is quoted; blocks of code have three of them, which does not change that.
    text.split('`').skip(1).step_by(2).collect()
}

/// All Rust sources below a folder.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_crash_point_and_every_planted_bug_has_its_place() {
    let text = ["docs/crash-consistency.md", "docs/concurrency.md"].map(read).join("\n");
    let quoted = quoted(&text);
    for bug in Bug::ALL {
        assert!(quoted.contains(bug.name()), "planted bug {}", bug.name());
    }
    let groups = Point::ALL.iter().map(|point| point.name().split('.').next().expect("a name"));
    for group in groups.collect::<BTreeSet<_>>() {
        assert!(quoted.contains(&*format!("{group}.*")), "crash points {group}.*");
    }
}

#[test]
fn tests_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for dir in ["src", "tests", "powercut/src"] {
        sources(&root.join(dir), &mut paths);
    }
    let code: String =
        paths.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    for document in
        ["docs/concurrency.md", "docs/crash-consistency.md", "docs/design.md", "docs/misuse.md"]
    {
        let text = read(document);
        let tests = quoted(&text).into_iter().filter(|word| {
            let plain =
                word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            plain && word.matches('_').count() >= 3
        });
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "{document} names {test}");
        }
    }
}
