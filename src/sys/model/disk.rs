//! The disk of the model: names and files. Each call is one step of the calling thread, and orders nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{
    AtomicU64 as Count,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::super::flock::Locks;
use super::super::marks::Marks;
use super::super::{Access, Disk, File, Futex, LockKind, Mark, PAGE, Wishes};
use super::futex::ModelFutex;
use super::memory::Page;
use super::region::Region;
use super::word::{AtomicU64, Weak};

/// Words that are modelled in each page of a file: of `meta` the cells and the clean record, of `index` a page and a small
/// directory, of a segment its first records.
const META_WORDS: usize = 48;
const LOG_WORDS: usize = 160;
const INDEX_WORDS: usize = 16;
/// Those of the first segments.
const USAGE_WORDS: usize = 32;
/// Pages that a file of pages grows to at first.
const FIRST_GROWTH: usize = 16;

/// Which words of which file have weaker orderings, by the name of the file and the word's number in its page.
pub(crate) type Weakened = fn(&str, usize) -> Option<Weak>;

/// A disk in memory. Clones are the same one.
#[derive(Clone)]
pub(crate) struct ModelDisk {
    shared: Arc<Shared>,
}

struct Shared {
    names: Mutex<BTreeMap<String, Arc<Inode>>>,
    /// Pages for segments to come.
    pool: Mutex<Vec<Page>>,
    index_pages: usize,
    weakened: Weakened,
    /// Nonzero when several threads store to the cells.
    crowded: Count,
    kernel: Arc<Kernel>,
}

/// What all files have in common.
struct Kernel {
    /// Stored to and never loaded, so that calls are steps whose order counts, and order nothing else.
    step: AtomicU64,
    /// The locks of the kernel: who does not find a name comes after who removed it, and of two who look at a file's marks or set
    /// them one comes first.
    order: loom::sync::atomic::AtomicU64,
    handles: Count,
    syncs: Count,
    /// How many syncs of mappings succeed before all fail.
    syncs_left: Count,
}

/// One file: pages that stay where they are, and a length.
pub(super) struct Inode {
    pages: Vec<Page>,
    len: Count,
    number: u64,
    locks: Mutex<Locks>,
    marks: Mutex<Marks>,
    futex: OnceLock<Arc<ModelFutex>>,
    kernel: Arc<Kernel>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModelDisk {
    /// `index_pages` and `segments` are the most that the program will use. All memory is made here, by the first thread.
    pub(crate) fn new(index_pages: usize, segments: usize, weakened: Weakened) -> ModelDisk {
        let segment = || Page::new(LOG_WORDS, |word| weakened("log", word), false);
        ModelDisk {
            shared: Arc::new(Shared {
                names: Mutex::default(),
                pool: Mutex::new((0..segments).map(|_| segment()).collect()),
                index_pages,
                weakened,
                crowded: Count::new(0),
                kernel: Arc::new(Kernel {
                    step: AtomicU64::new(0),
                    order: loom::sync::atomic::AtomicU64::new(0),
                    handles: Count::new(0),
                    syncs: Count::new(0),
                    syncs_left: Count::new(u64::MAX),
                }),
            }),
        }
    }

    /// Has loom look harder at the live cells, for several threads that commit. Before the store is created.
    pub(crate) fn crowded(self) -> ModelDisk {
        self.shared.crowded.store(1, Relaxed);
        self
    }

    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// How many syncs of mappings there have been.
    pub(crate) fn syncs(&self) -> u64 {
        self.shared.kernel.syncs.load(Relaxed)
    }

    /// Has all syncs of mappings fail after so many.
    pub(crate) fn fail_after(&self, syncs: u64) {
        self.shared.kernel.syncs_left.store(syncs, Relaxed);
    }

    /// Bytes of a file that a power cut leaves.
    pub(crate) fn durable(&self, name: &str, at: usize, len: usize) -> Vec<u8> {
        let names = held(&self.shared.names);
        names[name].page(at / PAGE).durable(at % PAGE..at % PAGE + len).to_vec()
    }

    fn pages(&self, name: &str, len: u64) -> Vec<Page> {
        let page = |file, words| {
            let crowded = file == "meta" && self.shared.crowded.load(Relaxed) > 0;
            Page::new(words, |word| (self.shared.weakened)(file, word), crowded)
        };
        let count = usize::try_from(len).expect("small").div_ceil(PAGE);
        match name {
            "index" => (0..self.shared.index_pages).map(|_| page("index", INDEX_WORDS)).collect(),
            "meta.unfinished" => (0..count).map(|_| page("meta", META_WORDS)).collect(),
            // It grows by several pages at once, and the first holds its header.
            "usage.unfinished" => (0..FIRST_GROWTH)
                .map(|number| page("usage", if number == 1 { USAGE_WORDS } else { 0 }))
                .collect(),
            name if name.starts_with("log/") => {
                assert_eq!(count, 1, "a segment of the model is a page");
                vec![held(&self.shared.pool).pop().expect("a segment was foreseen")]
            }
            // A checkpoint has room for a larger one.
            _ => (0..count.max(FIRST_GROWTH)).map(|_| Page::new(0, |_| None, false)).collect(),
        }
    }

    fn make(&self, name: &str, len: u64) -> Arc<Inode> {
        let inode = Arc::new(Inode {
            pages: self.pages(name, len),
            len: Count::new(len),
            number: self.shared.kernel.handles.fetch_add(1, Relaxed),
            locks: Mutex::default(),
            marks: Mutex::default(),
            futex: OnceLock::new(),
            kernel: Arc::clone(&self.shared.kernel),
        });
        held(&self.shared.names).insert(name.to_owned(), Arc::clone(&inode));
        inode
    }

    fn find(&self, name: &str) -> Option<Arc<Inode>> {
        held(&self.shared.names).get(name).cloned()
    }

    fn handle(&self, inode: Arc<Inode>) -> Arc<dyn File> {
        Arc::new(ModelFile { inode, handle: self.shared.kernel.handles.fetch_add(1, Relaxed) })
    }

    fn step(&self) {
        self.shared.kernel.step.store(0, Relaxed);
    }
}

impl Kernel {
    /// What the kernel has done under a lock before happens before what comes after.
    fn lock(&self) {
        self.order.fetch_add(1, AcqRel);
    }
}

impl Inode {
    pub(super) fn page(&self, page: usize) -> &Page {
        let len = usize::try_from(self.len.load(Relaxed)).expect("small");
        assert!(page < len.div_ceil(PAGE), "page {page} is beyond the end of the file (U4)");
        &self.pages[page]
    }

    pub(super) fn sync(&self, pages: Range<usize>) -> io::Result<()> {
        self.kernel.step.store(0, Relaxed);
        self.kernel.syncs.fetch_add(1, Relaxed);
        let left = self.kernel.syncs_left.load(Relaxed);
        if left == 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.kernel.syncs_left.store(left - u64::from(left < u64::MAX), Relaxed);
        pages.for_each(|page| self.page(page).sync());
        self.kernel.step.store(0, Relaxed);
        Ok(())
    }

    fn each(&self, offset: u64, len: usize, mut f: impl FnMut(&Page, Range<usize>, Range<usize>)) {
        let mut done = 0;
        while done < len {
            let at = usize::try_from(offset).expect("small") + done;
            let part = (PAGE - at % PAGE).min(len - done);
            f(&self.pages[at / PAGE], at % PAGE..at % PAGE + part, done..done + part);
            done += part;
        }
    }
}

impl fmt::Debug for ModelDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelDisk")
    }
}

impl Disk for ModelDisk {
    fn root(&self) -> &Path {
        Path::new("/model")
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.step();
        let names = held(&self.shared.names);
        let inside = |name: &String| {
            let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
            (parent == dir).then(|| last.to_owned())
        };
        Ok(names.keys().filter_map(inside).collect())
    }

    fn make_dir(&self, _dir: &str) -> io::Result<()> {
        self.step();
        Ok(())
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn File>> {
        self.step();
        let found = self.find(name).map(|inode| self.handle(inode));
        found.ok_or_else(|| {
            self.shared.kernel.lock();
            io::ErrorKind::NotFound.into()
        })
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        self.step();
        Ok(self.handle(self.make(name, len)))
    }

    fn map_ahead(&self) -> u32 {
        16
    }

    fn touch(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.step();
        let inode = self.find(name).unwrap_or_else(|| self.make(name, 0));
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step();
        let mut names = held(&self.shared.names);
        let inode = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step();
        self.shared.kernel.lock();
        held(&self.shared.names).remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        self.step();
        Ok(())
    }

    fn names(&self, name: &str, file: &dyn File) -> io::Result<bool> {
        let identity = self.find(name).map(|inode| self.handle(inode).identity()).transpose()?;
        Ok(identity == Some(file.identity()?))
    }

    fn life(&self, _anchor: &dyn File) -> io::Result<u64> {
        Ok(1)
    }

    fn random(&self) -> u64 {
        1
    }

    fn coherent(&self) -> io::Result<Result<(), String>> {
        Ok(Ok(()))
    }
}

struct ModelFile {
    inode: Arc<Inode>,
    handle: u64,
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelFile")
    }
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        held(&self.inode.locks).give_back(self.handle);
        held(&self.inode.marks).give_back(self.handle);
    }
}

impl ModelFile {
    fn step(&self) {
        self.inode.kernel.step.store(0, Relaxed);
    }
}

impl File for ModelFile {
    fn len(&self) -> io::Result<u64> {
        self.step();
        Ok(self.inode.len.load(Relaxed))
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.step();
        assert!(len <= (self.inode.pages.len() * PAGE) as u64, "the growth was foreseen");
        self.inode.len.fetch_max(len, Relaxed);
        Ok(())
    }

    fn reserve(&self, _from: u64, to: u64) -> io::Result<()> {
        self.grow(to)
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> io::Result<Region> {
        self.step();
        let first = usize::try_from(offset).expect("small") / PAGE;
        Ok(Region::new(Arc::clone(&self.inode), first, len, access))
    }

    fn sync(&self) -> io::Result<()> {
        self.step();
        let len = usize::try_from(self.inode.len.load(Relaxed)).expect("small");
        self.inode.pages.iter().take(len.div_ceil(PAGE)).for_each(Page::sync);
        Ok(())
    }

    fn punch(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.step();
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.step();
        if offset + buf.len() as u64 > self.inode.len.load(Relaxed) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = buf.len();
        self.inode.each(offset, len, |page, from, to| buf[to].copy_from_slice(page.raw(from)));
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step();
        self.inode.len.fetch_max(offset + bytes.len() as u64, Relaxed);
        self.inode.each(offset, bytes.len(), |page, to, from| {
            page.raw_mut(to).copy_from_slice(&bytes[from]);
        });
        Ok(())
    }

    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inode.each(offset, bytes.len(), |page, to, from| {
            page.write(to, |to| to.copy_from_slice(&bytes[from]));
        });
        Ok(())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        Ok(held(&self.inode.locks).take(self.handle, kind))
    }

    fn unlock(&self) -> io::Result<()> {
        held(&self.inode.locks).give_back(self.handle);
        Ok(())
    }

    fn mark(&self, at: u64) -> io::Result<()> {
        self.inode.kernel.lock();
        held(&self.inode.marks).set(self.handle, at);
        Ok(())
    }

    fn unmark(&self, at: u64) -> io::Result<()> {
        self.step();
        held(&self.inode.marks).take_back(self.handle, at);
        Ok(())
    }

    fn marked(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        self.inode.kernel.lock();
        Ok(held(&self.inode.marks).find(&range))
    }

    fn marks(&self) -> io::Result<Vec<Mark>> {
        self.step();
        Ok(held(&self.inode.marks).all())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((1, self.inode.number))
    }

    fn futex(&self) -> io::Result<Arc<dyn Futex>> {
        let futex = self.inode.futex.get_or_init(Arc::default);
        Ok(Arc::clone(futex) as Arc<dyn Futex>)
    }

    fn mount(&self) -> io::Result<u64> {
        Ok(1)
    }
}

/// In a model there is no other disk.
pub(crate) fn open_real(_path: &Path, _wishes: Wishes) -> Arc<dyn Disk> {
    ModelDisk::new(16, 1, |_, _| None).disk()
}
