//! The inputs that fuzzing has kept (fuzz/corpus, by target) run without a fuzzer: those that cover the code between them, and
//! those that once failed.
#![cfg(feature = "sim")]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public to the programs that fuzz")]
mod targets;

use std::fs;
use std::path::Path;

/// Runs all inputs of one target.
fn replay(target: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).expect("the inputs of a target");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an input").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} inputs in {}", paths.len(), dir.display());
    for path in &paths {
        // Seen only if the input fails.
        println!("{}", path.display());
        targets::run(target, &fs::read(path).expect("an input"));
    }
    eprintln!("{target}: {} inputs", paths.len());
}

macro_rules! replay {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed() {
            let mut names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            assert_eq!(names, [$(stringify!($target)),*]);
        }
    };
}

replay!(cells checkpoints files index operations records);
