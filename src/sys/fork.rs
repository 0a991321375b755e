//! Tells a forked child from its parent without a system call a check: the kernel wipes one page in the child.

use std::io;
use std::sync::atomic::Ordering;

use super::{Region, process_id};

/// Remembers in which process it was made.
#[derive(Debug)]
pub(crate) struct ForkGuard {
    /// A page whose first word is nonzero only in the process that made it; absent where the kernel cannot wipe.
    page: Option<Region>,
    process: u32,
}

impl ForkGuard {
    /// A guard of the present process.
    pub(crate) fn new() -> io::Result<ForkGuard> {
        let guard = ForkGuard { page: wiped_on_fork()?, process: process_id() };
        if let Some(word) = guard.page.as_ref().and_then(|page| page.word_to_store(0)) {
            word.store(1, Ordering::Relaxed);
        }
        Ok(guard)
    }

    /// Whether this is a child, forked after the guard was made.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        match self.page.as_ref().and_then(|page| page.word(0)) {
            Some(word) => word.load(Ordering::Relaxed) == 0,
            None => process_id() != self.process,
        }
    }
}

/// An anonymous page that a forked child finds zeroed, or none where there is no such thing.
#[cfg(all(target_os = "linux", not(miri), not(all(test, loom))))]
fn wiped_on_fork() -> io::Result<Option<Region>> {
    use memmap2::{MmapOptions, MmapRaw};
    use rustix::io::Errno;
    use rustix::mm::{Advice, madvise};

    use crate::sys::mapping::Mapping;
    use crate::sys::{Access, PAGE};

    let page = MmapRaw::from(MmapOptions::new().len(PAGE).map_anon()?);
    // SAFETY: the range is exactly the mapping just made, which nobody else knows; wiping happens in children only.
    match unsafe { madvise(page.as_mut_ptr().cast(), page.len(), Advice::LinuxWipeOnFork) } {
        Ok(()) => Ok(Some(Region::new(Box::new(Mapping::of_memory(page, false)), Access::Write))),
        // Kernels before 4.14 and some sandboxes.
        Err(Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(all(test, loom)))))]
fn wiped_on_fork() -> io::Result<Option<Region>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::ForkGuard;

    #[test]
    #[cfg_attr(miri, ignore = "forks")]
    fn a_forked_child_knows_that_it_is_one() {
        unsafe extern "C" {
            fn fork() -> i32;
            fn waitpid(child: i32, status: *mut i32, options: i32) -> i32;
            fn _exit(status: i32) -> !;
        }
        let guard = ForkGuard::new().expect("guard");
        assert!(!guard.is_child());
        // SAFETY: the child only loads a word (or asks for its number) and exits, which is allowed in a child of threads.
        let child = unsafe { fork() };
        if child == 0 {
            let status = if guard.is_child() { 42 } else { 1 };
            // SAFETY: ends the process and runs nothing else.
            unsafe { _exit(status) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for the one store that the call makes.
        assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((status >> 8) & 0xFF, 42, "the child's answer");
        assert!(!guard.is_child(), "the parent stays the parent");
    }
}
