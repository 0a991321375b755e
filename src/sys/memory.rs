//! How much memory this process may use: what the machine has, or less if a control group of it may use less.

use std::fs::File;
use std::io::Read;

/// Where the groups of the first version that limit memory are, and those of the second, with the file that has the limit.
const PLACES: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// Bytes, for the kernel's page cache as well; `u64::MAX` if that is not known.
pub(super) fn bytes() -> u64 {
    within(total(), read)
}

/// What the machine has.
#[cfg(target_os = "linux")]
fn total() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

#[cfg(not(target_os = "linux"))]
fn total() -> u64 {
    u64::MAX
}

/// What a file of the kernel says, which has no length to go by: each look at it takes a call.
fn read(path: &str) -> Option<String> {
    let mut text = String::with_capacity(4096);
    File::open(path).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The least of `total` and what `read` says is in the files of the kernel.
fn within(total: u64, read: impl Fn(&str) -> Option<String>) -> u64 {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    groups.lines().filter_map(|line| limit(line, &read)).fold(total, u64::min)
}

/// The least that a group and those around it allow. In a container the group's own name may be one outside of it: then only
/// the outermost is there.
fn limit(line: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let (root, file) = match controllers {
        "" => PLACES[1],
        some if some.split(',').any(|one| one == "memory") => PLACES[0],
        _ => return None,
    };
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let limits = ends.filter_map(|end| read(&format!("{root}{}/{file}", &path[..end])));
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> u64 {
        within(1 << 20, |path| Some(files.iter().find(|(name, _)| *name == path)?.1.to_owned()))
    }

    #[test]
    fn the_machine_has_a_limit() {
        assert_eq!(with(&[]), 1 << 20);
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            let meminfo = std::fs::read_to_string("/proc/meminfo").expect("a file of the kernel");
            let says = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse().ok());
            assert_eq!(says, Some(total() >> 10), "MemTotal");
            assert!((1 << 20..=total()).contains(&bytes()));
        }
    }

    #[test]
    fn the_narrowest_group_counts() {
        let second = ("/proc/self/cgroup", "0::/a/b\n");
        let outer = ("/sys/fs/cgroup/a/memory.max", "4096\n");
        let inner = ("/sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(with(&[second, outer, inner]), 4096);
        assert_eq!(with(&[second, inner]), 1 << 20);
        let first = ("/proc/self/cgroup", "9:cpu:/x\n4:hugetlb,memory:/outside\n0::/\n");
        let root = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n");
        assert_eq!(with(&[first, root]), 8192);
        let none = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(with(&[first, none]), 1 << 20);
    }
}
