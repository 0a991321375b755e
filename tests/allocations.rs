//! A length in a damaged file never sizes an allocation: nothing that is done with a damaged store takes more memory at once than
//! its files have bytes, and a bit.
//!
//! A program of its own, since it counts what all of it allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use mapstone::{Options, Result, Store};

/// The system's allocator, and the largest piece of memory that it was asked for.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Files = BTreeMap<String, Vec<u8>>;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

fn fill(store: &Store) -> Result<()> {
    store.table("table")?.put("apple", "red")?;
    for key in 0..300u16 {
        store.put(key.to_be_bytes(), format!("value {key}"))?;
    }
    store.checkpoint()?;
    store.put("large", vec![1; 6000])?;
    store.checkpoint()?;
    store.put("small", "again")
}

/// A store as a writer has left it that was killed, as one that lost its power did, and the same one closed.
fn samples(path: &Path) -> Result<[Files; 3]> {
    let store = options().open(path)?;
    fill(&store)?;
    let killed = read(path);
    store.close()?;
    let mut lost = killed.clone();
    // The page cache that the cells were written in (docs/format.md).
    lost.get_mut("meta").expect("a file")[4192] ^= 1;
    Ok([killed, lost, read(path)])
}

fn read(path: &Path) -> Files {
    let mut files = Files::new();
    for dir in ["", "log/"] {
        for entry in fs::read_dir(path.join(dir)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name").to_string_lossy();
                files.insert(format!("{dir}{name}"), fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// Puts the files back. Each stays the file that it was, so that the cells are of this page cache.
fn write(files: &Files, path: &Path) {
    for name in read(path).into_keys().filter(|name| !files.contains_key(name)) {
        fs::remove_file(path.join(name)).expect("a file");
    }
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).expect("space");
    }
}

/// A number in a file: which file, its offset, its width, and the part of the file that a checksum after it covers.
struct Field {
    file: String,
    at: usize,
    width: usize,
    sum: Option<(usize, usize)>,
}

/// All numbers in all headers, the live cells and what leads to pages (docs/format.md).
fn fields(files: &Files) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |file: &str, places: &[(usize, usize)], sum: Option<(usize, usize)>| {
        let field =
            |(at, width): &(usize, usize)| Field { file: file.into(), at: *at, width: *width, sum };
        fields.extend(places.iter().map(field));
    };
    let words =
        |from: usize, to: usize| (from..to).step_by(8).map(|at| (at, 8)).collect::<Vec<_>>();
    add("meta", &[(8, 4), (12, 4), (40, 8), (48, 8)], Some((0, 60)));
    add("meta", &words(4096, 4096 + 320), None);
    add("meta", &[&words(8200, 8272)[..], &[(8272, 4)]].concat(), Some((8192, 8316)));
    for name in ["checkpoint.a", "checkpoint.b"] {
        add(name, &[&words(32, 88)[..], &[(12, 4), (88, 4), (92, 4)]].concat(), Some((0, 124)));
        add(name, &words(4096, 4096 + 32), None);
    }
    add("index", &[(8, 4), (16, 8)], Some((0, 60)));
    let magic = |page: &usize| files["index"][4096 * page..].starts_with(b"mBkt");
    let (pages, others): (Vec<usize>, Vec<usize>) =
        (1..files["index"].len() / 4096).partition(magic);
    for page in others {
        add("index", &words(4096 * page, 4096 * page + 16), None);
    }
    // They are all alike.
    for page in pages.into_iter().take(2) {
        let at = 4096 * page;
        add("index", &[(at, 8), (at + 4, 4), (at + 8, 8), (at + 16, 4), (at + 20, 4)], None);
        add("index", &words(at + 64, at + 64 + 32), None);
    }
    let segments: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("log/")).collect();
    for (name, bytes) in [segments[0], segments[1], segments[segments.len() - 1]] {
        add(name, &[(32, 8), (40, 8), (48, 8), (56, 4)], Some((0, 60)));
        let records = (64..bytes.len().min(64 + 48 * 2)).step_by(48);
        add(
            name,
            &records.flat_map(|at| [(at + 4, 4), (at + 12, 2), (at + 16, 8)]).collect::<Vec<_>>(),
            None,
        );
    }
    fields
}

/// What a damaged field may hold. Those of four bytes or less may be the logarithm of a number of bytes.
fn huge(width: usize) -> [u64; 2] {
    if width == 8 { [u64::MAX, 1 << 40] } else { [1 << 31, 24] }
}

fn damage(files: &Files, field: &Field, value: u64) -> Option<Files> {
    let mut files = files.clone();
    let bytes = files.get_mut(&field.file)?;
    bytes
        .get_mut(field.at..field.at + field.width)?
        .copy_from_slice(&value.to_le_bytes()[..field.width]);
    if let Some((from, to)) = field.sum {
        let sum = crc32fast::hash(bytes.get(from..to)?).to_le_bytes();
        bytes.get_mut(to..to + 4)?.copy_from_slice(&sum);
    }
    Some(files)
}

/// Any error is fine.
fn look(store: &Store) {
    let _ = store.stats();
    let _ = store.verify();
    let keys: Vec<[u8; 2]> = (0..300u16).map(u16::to_be_bytes).collect();
    let _ = store.get_many(&keys);
    let _ = store.get("large");
    if let Ok(snapshot) = store.snapshot() {
        for item in snapshot.iter().take(1000) {
            let _ = item;
        }
    }
}

fn exercise(path: &Path, writing: bool) {
    if !writing {
        if let Ok(store) = options().open_read_only(path) {
            look(&store);
        }
    } else if let Ok(store) = options().open(path) {
        look(&store);
        let _ = store.put("new", "value");
        let _ = store.checkpoint();
        let _ = store.close();
    }
}

#[test]
fn no_length_in_a_file_sizes_an_allocation() -> Result<(), Box<dyn std::error::Error>> {
    // Hundreds of stores are opened and synced: in memory, where there is such a place.
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let path = dir.path().join("db");
    for files in samples(&path)? {
        let bytes: usize = files.values().map(Vec::len).sum();
        // What the code takes whatever the files hold: tables of mappings, messages.
        let bound = bytes + (64 << 10);
        for field in fields(&files) {
            for value in huge(field.width) {
                for writing in [false, true] {
                    let Some(damaged) = damage(&files, &field, value) else { continue };
                    write(&damaged, &path);
                    LARGEST.store(0, Relaxed);
                    exercise(&path, writing);
                    let largest = LARGEST.load(Relaxed);
                    let Field { file, at, .. } = &field;
                    assert!(
                        largest <= bound,
                        "{value:#x} at {at} of {file}, writing {writing}: {largest} bytes, files of {bytes}"
                    );
                }
            }
        }
    }
    Ok(())
}
