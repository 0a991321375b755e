//! A simulated disk as plain bytes: taken out, damaged by a test, and put into another disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::content::{Content, Node};
use super::random::Random;
use super::state::State;
use super::{PAGE, SimDisk};

impl SimDisk {
    /// The bytes of all files by name, as programs see them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.shared.lock();
        let content = &state.content;
        let read = |number: &u64| {
            let inode = content.inodes.get(number)?;
            let mut bytes = vec![0; usize::try_from(inode.len()).ok()?];
            inode.load(&mut bytes, 0);
            Some(bytes)
        };
        let file = |(name, node): (&String, &Node)| match node {
            Node::File(number) => Some((name.clone(), read(number)?)),
            Node::Dir => None,
        };
        content.names().filter_map(file).collect()
    }

    /// Stores bytes into a file, as any program may: in the page cache, not on the platter.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn patch(&self, name: &str, offset: u64, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let inode = state.content.find(name).and_then(|number| state.inode(number));
        // The caller is a test, which knows the names.
        inode.expect("a file of that name").store(bytes, offset);
    }

    /// What the disk's page cache is known by.
    pub fn page_cache(&self) -> u64 {
        self.shared.lock().life
    }

    /// A disk that holds a store of these files, all of it durable, in the page cache `life` (not 0).
    pub fn holding(files: &BTreeMap<String, Vec<u8>>, life: u64) -> SimDisk {
        let mut content = Content::default();
        let within = files.keys().filter_map(|name| name.rsplit_once('/'));
        let dirs: BTreeSet<&str> = ["", "log"].into_iter().chain(within.map(|it| it.0)).collect();
        // Each directory comes before its files.
        for dir in &dirs {
            let made = content.make_dir(dir);
            debug_assert!(made.is_ok(), "a new directory");
        }
        for (name, bytes) in files {
            let number = content.link(name, bytes.len() as u64);
            if let Some(inode) = content.inodes.get_mut(&number) {
                inode.store_durably(bytes);
            }
        }
        for dir in &dirs {
            content.sync_names(dir);
        }
        let root = PathBuf::from(format!("/simulated/{life}"));
        SimDisk::with(root, State::new(content, life, None, Random::new(life)))
    }
}

/// The pages that bytes make, the last one filled up with zeros.
pub(super) fn pages(bytes: &[u8]) -> impl Iterator<Item = super::memory::Words> + '_ {
    bytes.chunks(PAGE).map(|chunk| {
        let mut words = [0; super::memory::PAGE_WORDS];
        bytemuck::bytes_of_mut(&mut words)[..chunk.len()].copy_from_slice(chunk);
        words
    })
}
