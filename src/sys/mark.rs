//! Marks: single bytes of a file that a handle holds by a lock which conflicts with nobody else's, so that others can see which
//! are held. They need no content and no permission to write, and the kernel takes them back when the process dies.
//!
//! Open file description locks (Linux 3.15, `fcntl(2)`): unlike those of POSIX they belong to the handle, so that closing
//! some other descriptor of the file does not drop them.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// A byte that some handle has marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    /// The process that has it, unless that is hidden from this one.
    pub(crate) pid: Option<u32>,
}

/// Marks byte `at`, or takes the mark back.
pub(super) fn set(file: &fs::File, at: u64, marked: bool) -> io::Result<()> {
    let kind = if marked { libc::F_RDLCK } else { libc::F_UNLCK };
    lock(file, libc::F_OFD_SETLK, kind, &(at..at.saturating_add(1))).map(drop)
}

/// Some byte of the range that is marked through any handle, this one included.
pub(super) fn find(file: &fs::File, range: &Range<u64>) -> io::Result<Option<u64>> {
    if range.is_empty() {
        return Ok(None);
    }
    // A POSIX lock, which would conflict with every mark: those of this process are not its own, either.
    let found = lock(file, libc::F_GETLK, libc::F_WRLCK, range)?;
    let taken = i32::from(found.l_type) != libc::F_UNLCK;
    Ok(taken.then(|| found.l_start.cast_unsigned().max(range.start)))
}

/// Locks, unlocks or asks about a range of bytes; returns what the kernel has answered.
fn lock(file: &fs::File, command: i32, kind: i32, range: &Range<u64>) -> io::Result<libc::flock> {
    let small = |number: i32| i16::try_from(number).expect("a small constant");
    let end = i64::try_from(range.end).unwrap_or(i64::MAX);
    let start = i64::try_from(range.start).ok().filter(|start| *start < end);
    let start = start.ok_or(io::ErrorKind::InvalidInput)?;
    let mut lock = libc::flock {
        l_type: small(kind),
        l_whence: small(libc::SEEK_SET),
        l_start: start,
        l_len: end - start,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed; the two commands that are used take a pointer to a
        // `flock`, which is initialised, with `l_pid` 0 as they want it, and lives until the call returns.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
        let error = io::Error::last_os_error();
        match result {
            0 => return Ok(lock),
            _ if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// All marks, in order. Of several handles in hidden processes that have marked one byte, one is told.
pub(super) fn all(file: &fs::File) -> io::Result<Vec<Mark>> {
    let mut marks = of_visible_processes(file)?;
    let mut ranges = vec![Range { start: 0, end: u64::MAX }];
    while let Some(range) = ranges.pop() {
        if let Some(at) = find(file, &range)? {
            if !marks.iter().any(|mark| mark.at == at) {
                marks.push(Mark { at, pid: None });
            }
            ranges.push(range.start..at);
            ranges.push(at + 1..range.end);
        }
    }
    marks.sort_unstable();
    marks.dedup();
    Ok(marks)
}

/// What `/proc/<pid>/fdinfo` tells: one `lock:` line for each lock of a descriptor. Empty where there is none.
fn of_visible_processes(file: &fs::File) -> io::Result<Vec<Mark>> {
    let metadata = file.metadata()?;
    let inode = metadata.ino().to_string();
    let mut marks = Vec::new();
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(marks) };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has gone, or that is somebody else's, has nothing to tell.
        let Ok(descriptors) = fs::read_dir(process.path().join("fdinfo")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(text) = fs::read_to_string(descriptor.path()) else { continue };
            let positions = text.lines().filter_map(|line| position(line, &inode));
            marks.extend(positions.map(|at| Mark { at, pid: Some(pid) }));
        }
    }
    Ok(marks)
}

/// The byte that a line `lock: 1: OFDLCK ADVISORY READ -1 fe:01:1234 4096 4096` tells of, if it is one of this inode.
fn position(line: &str, inode: &str) -> Option<u64> {
    let fields: Vec<_> = line.strip_prefix("lock:")?.split_whitespace().collect();
    let &[_, "OFDLCK", _, "READ", _, file, start, end] = fields.as_slice() else { return None };
    let same = file.rsplit(':').next() == Some(inode) && start == end;
    same.then(|| start.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(count: usize) -> Vec<fs::File> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("marks");
        fs::write(&path, "").expect("write");
        (0..count).map(|_| fs::File::open(&path).expect("open")).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no locks of open file descriptions")]
    fn marks_are_seen_by_everyone_and_go_with_their_handle() {
        let mut files = handles(2);
        let (b, a) = (files.pop().expect("two"), files.pop().expect("two"));
        set(&a, 16, true).expect("mark");
        set(&a, 4096, true).expect("mark");
        set(&b, 4096, true).expect("mark what another has");
        for file in [&a, &b] {
            assert_eq!(find(file, &(0..17)).expect("find"), Some(16));
            assert_eq!(find(file, &(17..4096)).expect("find"), None);
            assert_eq!(find(file, &(17..u64::MAX)).expect("find"), Some(4096));
            assert_eq!(find(file, &(16..16)).expect("find"), None);
        }
        set(&a, 4096, false).expect("take back");
        assert_eq!(find(&a, &(4096..4097)).expect("find"), Some(4096), "the other has it still");
        drop(b);
        assert_eq!(find(&a, &(4096..4097)).expect("find"), None);
        assert_eq!(find(&a, &(0..100)).expect("find"), Some(16));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no locks of open file descriptions")]
    fn all_marks_are_listed_with_their_processes() {
        let mut files = handles(2);
        let (b, a) = (files.pop().expect("two"), files.pop().expect("two"));
        let far = i64::MAX as u64 - 16;
        for at in [48, 16, far] {
            set(&a, at, true).expect("mark");
        }
        let pid = Some(std::process::id());
        let expected = [16, 48, far].map(|at| Mark { at, pid });
        assert_eq!(all(&b).expect("list"), expected);
        assert_eq!(
            set(&a, u64::MAX, true).expect_err("too far").kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn a_line_of_another_kind_or_file_is_no_mark() {
        let line = "lock:\t1: OFDLCK  ADVISORY  READ -1 fe:00:77 4096 4096";
        assert_eq!(position(line, "77"), Some(4096));
        assert_eq!(position(line, "7"), None);
        assert_eq!(position(&line.replace("OFDLCK", "FLOCK"), "77"), None);
        assert_eq!(position(&line.replace("4096 4096", "0 EOF"), "77"), None);
        assert_eq!(position("flags:\t02", "77"), None);
    }
}
