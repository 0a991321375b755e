//! Files for the model checker: a disk in memory whose mapped words are loom's atomics, and whose mapped bytes loom watches.
//!
//! Loom runs a program again and again, each time with another order of its threads' steps and other answers to its loads, as
//! far as the orderings of the atomics allow. A read of bytes that may not have been published ends the run.

mod disk;
mod futex;
mod memory;
mod region;
mod word;

pub(crate) use disk::{ModelDisk, Weakened, open_real};
pub(crate) use region::{Region, losses, prefetch};
pub(crate) use word::{AtomicU64, Weak, fence, weaken_fences};
