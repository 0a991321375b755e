//! All that a simulated disk holds: names, the changes of names that no directory sync has made durable yet, and
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::PAGE;
use super::inode::Inode;
use super::random::Random;

/// What a name stands for. The store's own directory has the empty name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
enum Change {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Link(name, node) => drop(names.insert(name.clone(), *node)),
            Change::Unlink(name) => drop(names.remove(name)),
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }

    /// The names that it is about.
    fn names(&self) -> impl Iterator<Item = &str> {
        let (name, other) = match self {
            Change::Link(name, _) | Change::Unlink(name) => (name, None),
            Change::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(name).chain(other).map(String::as_str)
    }

    /// The directory that must be synced.
    fn dir(&self) -> &str {
        match self {
            Change::Link(name, _) | Change::Unlink(name) | Change::Rename(name, _) => parent(name),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Content {
    names: Names,
    durable_names: Names,
    pending: Vec<Change>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
}

impl Content {
    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.require_dir(dir)?;
        let inside = |name: &&String| !name.is_empty() && parent(name) == dir;
        Ok(self
            .names
            .keys()
            .filter(inside)
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect())
    }

    pub(super) fn require_dir(&self, dir: &str) -> io::Result<()> {
        match self.names.get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        if !dir.is_empty() {
            self.require_dir(parent(dir))?;
        }
        if !self.names.contains_key(dir) {
            self.change(Change::Link(dir.to_owned(), Node::Dir));
        }
        self.require_dir(dir)?;
        self.sync_names(parent(dir));
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> io::Result<u64> {
        match self.names.get(name) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Dir) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// All names and what they stand for.
    pub(super) fn names(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.names.iter()
    }

    pub(super) fn link(&mut self, name: &str, len: u64) -> u64 {
        self.last_inode += 1;
        let mut inode = Inode::default();
        inode.set_len(len);
        self.inodes.insert(self.last_inode, inode);
        self.change(Change::Link(name.to_owned(), Node::File(self.last_inode)));
        self.last_inode
    }

    pub(super) fn unlink(&mut self, name: &str) -> io::Result<()> {
        match self.names.get(name) {
            Some(Node::File(_)) => self.change(Change::Unlink(name.to_owned())),
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.find(from)?;
        if parent(from) != parent(to) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a simulated rename stays in its directory",
            ));
        }
        if self.names.get(to) == Some(&Node::Dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.change(Change::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    /// Makes the pending changes of one directory durable.
    pub(super) fn sync_names(&mut self, dir: &str) {
        for change in self.pending.extract_if(.., |change| change.dir() == dir) {
            change.apply(&mut self.durable_names);
        }
    }

    /// The bytes that files occupy, unlinked ones included while they are open or mapped.
    pub(super) fn used(&self) -> u64 {
        let named = files(&self.names);
        let counted = |(number, inode): &(&u64, &Inode)| named.contains(number) || inode.in_use();
        self.inodes
            .iter()
            .filter(counted)
            .map(|(_, inode)| inode.len().next_multiple_of(PAGE as u64))
            .sum()
    }

    /// Forgets the files that no program and no power cut can bring back.
    pub(super) fn prune(&mut self) {
        let mut kept = files(&self.names);
        kept.append(&mut files(&self.durable_names));
        kept.extend(self.pending.iter().filter_map(|change| match change {
            Change::Link(_, Node::File(inode)) => Some(*inode),
            _ => None,
        }));
        self.inodes.retain(|number, inode| kept.contains(number) || inode.in_use());
    }

    /// The same content in other memory, without handles and locks.
    pub(super) fn copy(&self) -> Content {
        Content {
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            inodes: self.inodes.iter().map(|(number, inode)| (*number, inode.copy())).collect(),
            last_inode: self.last_inode,
        }
    }

    /// Undoes what was stored into mappings since `then`; there were no calls since.
    pub(super) fn rewind(&mut self, then: &Content) {
        for (number, inode) in &then.inodes {
            if let Some(now) = self.inodes.get_mut(number) {
                now.rewind(inode);
            }
        }
    }

    /// The names that a power cut may leave. A journal keeps the changes of names in their order, so that those which survive are
    /// the first; other file systems promise less: there any may survive, if those of the same names before it do.
    fn names_after_cut(&self, random: &mut Random) -> Names {
        let mut names = self.durable_names.clone();
        let journal = random.coin();
        let survivors = random.below(self.pending.len() + 1);
        let mut lost = BTreeSet::new();
        for (at, change) in self.pending.iter().enumerate() {
            let survives = if journal { at < survivors } else { random.coin() };
            if survives && change.names().all(|name| !lost.contains(name)) {
                change.apply(&mut names);
            } else {
                lost.extend(change.names());
            }
        }
        names
    }

    /// What a power cut may leave.
    pub(super) fn after_cut(&self, random: &mut Random) -> Content {
        let mut names = self.names_after_cut(random);
        let dirs: BTreeSet<String> = names
            .iter()
            .filter(|(_, node)| **node == Node::Dir)
            .map(|(name, _)| name.clone())
            .collect();
        names.retain(|name, _| name.is_empty() || dirs.contains(parent(name)));
        let named = files(&names);
        let inodes = self.inodes.iter().filter(|(number, _)| named.contains(number));
        Content {
            durable_names: names.clone(),
            names,
            pending: Vec::new(),
            inodes: inodes.map(|(number, inode)| (*number, inode.after_cut(random))).collect(),
            last_inode: self.last_inode,
        }
    }
}

/// The directory that a name is in. The store's own directory stands for the one above it, too.
fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn files(names: &Names) -> BTreeSet<u64> {
    names
        .values()
        .filter_map(|node| if let Node::File(inode) = node { Some(*inode) } else { None })
        .collect()
}
