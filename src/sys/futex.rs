//! A word in a file on which threads of any process sleep until one of them wakes the others.

use std::fmt::Debug;
#[cfg(not(all(test, loom)))]
use std::io;
#[cfg(not(all(test, loom)))]
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(all(test, loom)))]
use super::region::Region;
use super::sync::AtomicU32;
#[cfg(not(all(test, loom)))]
use super::{Access, File, PAGE};

/// How often one looks who cannot be woken.
pub(crate) const GLANCE: Duration = Duration::from_millis(1);

/// The word, and what the kernel does with it.
pub(crate) trait Futex: Send + Sync + Debug {
    /// The word.
    fn word(&self) -> &AtomicU32;

    /// Sleeps unless the word is another one than `expected`: until it is woken, until the time is over, or for no reason.
    fn sleep(&self, expected: u32, timeout: Duration);

    /// Wakes all who sleep.
    fn wake(&self);
}

/// The futex in the first word of a file, which gets a page if it has none.
#[cfg(not(all(test, loom)))]
pub(super) fn in_file(file: &dyn File, kernel: bool) -> io::Result<Arc<dyn Futex>> {
    file.grow(PAGE as u64)?;
    let region = file.map(0, PAGE, Access::Write)?;
    Ok(Arc::new(InFile { region, kernel }))
}

#[cfg(not(all(test, loom)))]
#[derive(Debug)]
struct InFile {
    region: Region,
    /// The kernel knows the memory, and can put to sleep on it.
    kernel: bool,
}

#[cfg(not(all(test, loom)))]
impl Futex for InFile {
    fn word(&self) -> &AtomicU32 {
        self.region.half(0).expect("a page has a word")
    }

    fn sleep(&self, expected: u32, timeout: Duration) {
        #[cfg(target_os = "linux")]
        if self.kernel {
            use rustix::thread::futex::{Flags, Timespec, wait};
            let timeout = Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // Woken, changed meanwhile, interrupted or late: the caller looks at what it waits for in any case.
            let _ = wait(self.word(), Flags::empty(), expected, Some(&timeout));
            return;
        }
        if self.word().load(std::sync::atomic::Ordering::Relaxed) == expected {
            std::thread::sleep(timeout.min(GLANCE));
        }
    }

    fn wake(&self) {
        #[cfg(target_os = "linux")]
        if self.kernel {
            use rustix::thread::futex::{Flags, wake};
            // It cannot fail but for an address that is not mapped, and this one is.
            let _ = wake(self.word(), Flags::empty(), i32::MAX as u32);
        }
    }
}
