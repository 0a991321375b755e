//! What the targets share: a store in memory, the sums that its headers carry, and a look at all of an open store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use mapstone::{Error, Options, Store};

/// Contents of a store's files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

/// A store with a bit of everything: as it was before it was closed, and after.
pub fn templates() -> &'static [Files; 2] {
    static TEMPLATES: OnceLock<[Files; 2]> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("db");
        let store = options().open(&path).expect("a new store");
        fill(&store).expect("a commit");
        let open = read(&path);
        store.close().expect("a close");
        [open, read(&path)]
    })
}

fn fill(store: &Store) -> mapstone::Result<()> {
    let table = store.table("table")?;
    for i in 0..300u32 {
        store.put(i.to_le_bytes(), format!("value {i}"))?;
    }
    store.checkpoint()?;
    for i in 0..20u32 {
        store.put(i.to_le_bytes(), "again")?;
        table.put(i.to_le_bytes(), "in a table")?;
    }
    store.put("large", vec![1; 6000])?;
    store.delete(7u32.to_le_bytes())?;
    Ok(())
}

pub fn read(path: &Path) -> Files {
    let mut files = Files::new();
    for dir in ["", "log/"] {
        for entry in fs::read_dir(path.join(dir)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name").to_string_lossy();
                files.insert(format!("{dir}{name}"), fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

pub fn write(files: &Files, path: &Path) {
    fs::create_dir_all(path.join("log")).expect("a new folder");
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).expect("a file");
    }
}

/// Makes the sum right that ends at `end` and covers what is before it from `start` on.
fn repair(bytes: &mut [u8], start: usize, end: usize) {
    if let Some(covered) = bytes.get(start..end - 4) {
        let sum = crc32fast::hash(covered).to_le_bytes();
        if let Some(to) = bytes.get_mut(end - 4..end) {
            to.copy_from_slice(&sum);
        }
    }
}

/// Makes the sums of all headers right, so that what they say is believed (docs/format.md).
pub fn repair_all(files: &mut Files) {
    for (name, bytes) in files {
        match name.as_str() {
            "meta" => {
                repair(bytes, 0, 64);
                if bytes.get(8192..8200) == Some(b"mapstCLN") {
                    repair(bytes, 8192, 8320);
                }
            }
            "checkpoint.a" | "checkpoint.b" => {
                if let Some(depth) = bytes.get(12).filter(|depth| **depth < 20)
                    && let Some(body) = bytes.get(4096..4096 + (8 << depth))
                {
                    let sum = crc32fast::hash(body).to_le_bytes();
                    bytes[92..96].copy_from_slice(&sum);
                }
                repair(bytes, 0, 128);
            }
            "lock" | "readers.a" | "readers.b" => {}
            _ => repair(bytes, 0, 64),
        }
    }
}

/// Reads all there is through a handle. Any error is fine, and anything else is not our business here.
pub fn look(store: &Store) {
    let _ = store.stats();
    let _ = store.verify();
    let _ = store.tables();
    for i in 0..64u32 {
        let _ = store.get(i.to_le_bytes());
    }
    let keys: Vec<[u8; 4]> = (0..320u32).map(u32::to_le_bytes).collect();
    let _ = store.get_many(&keys);
    if let Ok(snapshot) = store.snapshot() {
        // Damage may lead in a circle of pages; the keys that were ever there bound what is worth seeing.
        for item in snapshot.iter().take(10_000) {
            if let Ok((key, value)) = item {
                let _ = (key.len(), value.iter().fold(0u8, |sum, byte| sum ^ byte));
            }
        }
        if let Ok(Some(table)) = snapshot.table("table") {
            let _ = table.get(1u32.to_le_bytes());
        }
    }
}

/// Opens what is at `path` in every way, reads it, and writes to it.
pub fn exercise(path: &Path) {
    if let Ok(store) = options().open_read_only(path) {
        look(&store);
    }
    let store = match options().verify_on_read(true).open(path) {
        Ok(store) => store,
        Err(Error::NoSuchTable { .. } | Error::ReadOnly | Error::Forked | Error::Poisoned) => {
            panic!("an error that opening has no cause for")
        }
        Err(_) => return,
    };
    look(&store);
    for i in 0..8u32 {
        let _ = store.put(i.to_le_bytes(), "written after");
        let _ = store.delete((i + 100).to_le_bytes());
    }
    let _ = store.drop_table("table");
    let _ = store.checkpoint();
    look(&store);
    let _ = store.close();
    if let Ok(store) = options().open(path) {
        look(&store);
    }
}
