//! A control group with a limit of memory, of either version of the interface, that this process can move into.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Removed when dropped, after this process has gone back to where it was.
pub struct Group {
    path: PathBuf,
    own: PathBuf,
}

/// Where the groups are that can limit memory, the group of this process, and the file that takes a limit.
struct Place {
    parent: PathBuf,
    own: PathBuf,
    limit: &'static str,
}

impl Group {
    /// Of at most `limit` bytes.
    pub fn new(limit: u64) -> Result<Group> {
        let place = version_2().or_else(|two| {
            version_1().map_err(|one| anyhow::anyhow!("version 2: {two:#}; version 1: {one:#}"))
        })?;
        let path = place.parent.join(format!("mapstone-compare-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let group = Group { path, own: place.own };
        std::fs::write(group.path.join(place.limit), limit.to_string())?;
        Ok(group)
    }

    /// Moves this process in.
    pub fn enter(&self) -> Result<()> {
        Ok(std::fs::write(self.path.join("cgroup.procs"), std::process::id().to_string())?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with a process in it cannot be removed.
        let _ = std::fs::write(self.own.join("cgroup.procs"), std::process::id().to_string());
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Beside the group of this process, since one below it would have to be without processes.
fn version_2() -> Result<Place> {
    let root = mount("cgroup2", "")?;
    let own = root.join(membership("0::/")?);
    let parent = if own == root { &root } else { own.parent().unwrap_or(&root) }.to_path_buf();
    let controllers = std::fs::read_to_string(parent.join("cgroup.subtree_control"))?;
    ensure!(
        controllers.split_whitespace().any(|name| name == "memory"),
        "its memory controller is not there"
    );
    Ok(Place { parent, own, limit: "memory.max" })
}

/// At the top, where no other limit applies.
fn version_1() -> Result<Place> {
    let parent = mount("cgroup", "memory")?;
    let own = parent.join(membership(":memory:/")?);
    Ok(Place { parent, own, limit: "memory.limit_in_bytes" })
}

/// The path of this process's group: what follows `key` in its line.
fn membership(key: &str) -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| Some(line.split_once(key)?.1));
    Ok(path.context("this process is in no group")?.to_owned())
}

/// Where a file system of this type is mounted, with this among its options if that is not empty.
fn mount(kind: &str, option: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mounts")?;
    let is = |fields: &[&str]| {
        fields.get(2) == Some(&kind)
            && (option.is_empty()
                || fields.get(3).is_some_and(|all| all.split(',').any(|one| one == option)))
    };
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut found = lines.filter(|fields| is(fields));
    Ok(Path::new(found.next().context("not mounted")?[1]).to_path_buf())
}
