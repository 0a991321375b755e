//! The ground for stores: scratch space in memory, file systems in image files, mounts that go when they are dropped.
//!
//! All mounts live in a mount namespace of their own, so that none outlives this program, however it ends; a loop device goes with the
//! last mount of it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::{self, Ended};

/// Set in a process that is in its own mount namespace.
const INSIDE: &str = "POWERCUT_NAMESPACE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Btrfs];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of the smallest file system that is of any use.
    pub fn bytes(self) -> u64 {
        match self {
            Kind::Ext4 => 64 << 20,
            Kind::Xfs => 320 << 20,
            Kind::Btrfs => 256 << 20,
        }
    }

    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-m", "0"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f"]),
            Kind::Btrfs => ("mkfs.btrfs", &["-q", "-f"]),
        }
    }

    fn options(self) -> &'static str {
        match self {
            Kind::Xfs => "loop,nouuid",
            _ => "loop",
        }
    }

    /// Makes a file system in a new file.
    pub fn make(self, image: &Path, bytes: u64) -> Result<()> {
        fs::File::create(image)?.set_len(bytes)?;
        let (program, arguments) = self.mkfs();
        run(Command::new(program).args(arguments).arg(image))
    }

    /// Mounts the file system in a file.
    pub fn mount(self, image: &Path, at: &Path) -> Result<Mount> {
        let mount = Mount::new(
            Command::new("mount").args(["-t", self.name(), "-o", self.options()]).arg(image),
            at,
        )?;
        mount.ask_to_flush()?;
        Ok(mount)
    }

    /// Why this file system cannot be had here.
    pub fn missing(self) -> Option<String> {
        let (program, _) = self.mkfs();
        let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists());
        (!found).then(|| program.to_owned())
    }
}

/// Something that is mounted.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Has the loop device get one page at a time. Of a larger request it may write the first part, find its own disk full, and
    /// call it a success (seen with Linux 6.18): a device that lies, which is not what is to be tried.
    pub fn ask_by_page(&self) -> Result<()> {
        self.set("max_sectors_kb", "4")
    }

    /// Has the loop device asked to flush. One is used again with the settings of whoever had it before, who may have said that it
    /// has no cache, and then no flush would ever come.
    fn ask_to_flush(&self) -> Result<()> {
        self.set("write_cache", "write back")
    }

    /// Sets how the loop device is used.
    fn set(&self, name: &str, value: &str) -> Result<()> {
        // Not by the number that files have there, which with btrfs is that of no device.
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let at = self.at.canonicalize()?;
        let mut words = mounts.lines().rev().map(|line| line.split(' '));
        let device = words.find_map(|mut words| {
            words.next().filter(|_| words.next().map(Path::new) == Some(at.as_path()))
        });
        let device = device.and_then(|device| device.strip_prefix("/dev/")).context("no device")?;
        let setting = format!("/sys/block/{device}/queue/{name}");
        fs::write(&setting, value).with_context(|| setting)
    }
}

impl Mount {
    pub fn new(command: &mut Command, at: &Path) -> Result<Mount> {
        fs::create_dir_all(at)?;
        run(command.arg(at))?;
        Ok(Mount { at: at.to_path_buf(), mounted: true })
    }

    pub fn remount(&self, options: &str) -> Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.at))
    }

    /// Unmounts, and waits until a process that was just killed has let go.
    pub fn unmount(mut self) -> Result<()> {
        let mut result = Ok(());
        for _ in 0..200 {
            result = run(Command::new("umount").arg(&self.at));
            if result.is_ok() {
                self.mounted = false;
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        result
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _ = run(Command::new("umount").arg("-l").arg(&self.at));
        }
    }
}

/// Space in memory for images and notes.
#[derive(Debug)]
pub struct Scratch {
    _mount: Mount,
    dir: TempDir,
}

impl Scratch {
    pub fn new() -> Result<Scratch> {
        let dir = TempDir::with_prefix("powercut-")?;
        let mut command = Command::new("mount");
        let mount = Mount::new(
            command.args(["-t", "tmpfs", "-o", "size=4G,mode=755", "powercut"]),
            dir.path(),
        )?;
        Ok(Scratch { _mount: mount, dir })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Why nothing can be mounted here.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        Some("root")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("loop devices")
    } else {
        None
    }
}

pub fn fuse_missing() -> Option<&'static str> {
    (!Path::new("/dev/fuse").exists()).then_some("FUSE")
}

/// Starts this program anew in a mount namespace of its own, unless it is in one. Returns only in there.
pub fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(std::env::args_os().skip(1));
    Err(command.env(INSIDE, "1").exec()).context("cannot run unshare")
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let ended = child::finish(command)?;
    ensure!(matches!(ended, Ended::Exit(0, _)), "{command:?}: {ended}");
    Ok(())
}
