//! Whatever the files hold: an error or an answer, never a panic, a signal, or memory beyond bounds.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mapstone_fuzz::{exercise, repair_all, templates, write};

#[derive(Arbitrary, Debug)]
enum Change {
    /// Bytes of a file become others.
    Put {
        file: u8,
        offset: u32,
        bytes: Vec<u8>,
    },
    /// A word becomes another: where the headers and cells are, that is what matters most.
    Word {
        file: u8,
        word: u16,
        value: u64,
    },
    Truncate {
        file: u8,
        len: u32,
    },
    Remove {
        file: u8,
    },
    /// A file gets the content of another one.
    Swap {
        file: u8,
        other: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// The store was closed cleanly.
    clean: bool,
    /// The headers' sums are made right again.
    repair: bool,
    changes: Vec<Change>,
}

fuzz_target!(|input: Input| {
    let mut files = templates()[usize::from(input.clean)].clone();
    let names: Vec<String> = files.keys().cloned().collect();
    let name = |file: u8| &names[usize::from(file) % names.len()];
    for change in &input.changes {
        match change {
            Change::Put { file, offset, bytes } => {
                if let Some(content) = files.get_mut(name(*file))
                    && !content.is_empty()
                {
                    let at = *offset as usize % content.len();
                    let len = bytes.len().min(content.len() - at);
                    content[at..at + len].copy_from_slice(&bytes[..len]);
                }
            }
            Change::Word { file, word, value } => {
                let at = 8 * usize::from(*word);
                if let Some(to) =
                    files.get_mut(name(*file)).and_then(|content| content.get_mut(at..at + 8))
                {
                    to.copy_from_slice(&value.to_le_bytes());
                }
            }
            Change::Truncate { file, len } => {
                if let Some(content) = files.get_mut(name(*file)) {
                    content.truncate(*len as usize);
                }
            }
            Change::Remove { file } => drop(files.remove(name(*file))),
            Change::Swap { file, other } => {
                if let Some(content) = files.get(name(*other)).cloned() {
                    files.insert(name(*file).clone(), content);
                }
            }
        }
    }
    if input.repair {
        repair_all(&mut files);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    write(&files, &path);
    exercise(&path);
});
