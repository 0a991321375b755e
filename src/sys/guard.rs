//! The guard against `SIGBUS`: a fault inside one of our mappings becomes a mark on that mapping, and the program goes on.
//!
//! A process-wide handler, installed once, looks the address up in a list of guarded ranges. If it is one of ours, it marks the
//! range lost, puts a page of zeros in the place of the one that cannot be had, and returns: the access is done again and
//! finds zeros. Who reads a guarded mapping asks for the mark *after* it has read. Every other `SIGBUS` goes on to the handler
//! that was there before.
//!
//! The handler makes one system call and otherwise only loads and stores atomics: no lock, no allocation, no thread-local.

use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::Access;

/// How often a page was lost in this process, in whichever mapping.
static LOSSES: AtomicU64 = AtomicU64::new(0);

/// How often a page of any guarded mapping was lost. What was read before this call came from the file if this is what it was
/// when the mapping was last found whole.
#[inline]
pub(crate) fn losses() -> u64 {
    // The reads come first: zeros that another thread's fault has put there are never seen without their mark.
    fence(Acquire);
    LOSSES.load(Relaxed)
}

const FREE: usize = 0;
const CLAIMED: usize = 1;
const SLOTS: usize = 256;

/// A place for one guarded range.
#[derive(Debug)]
struct Slot {
    /// Raised before a use of the slot begins, so that what is loaded from two uses is noticed.
    uses: AtomicUsize,
    /// The first address; `FREE`, or `CLAIMED` by a thread that is filling it in.
    start: AtomicUsize,
    end: AtomicUsize,
    writable: AtomicBool,
    lost: AtomicBool,
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            uses: AtomicUsize::new(0),
            start: AtomicUsize::new(FREE),
            end: AtomicUsize::new(0),
            writable: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }
}

/// The list of guarded ranges grows block by block and never shrinks, so that the handler may walk it at any moment.
struct Block {
    slots: [Slot; SLOTS],
    next: OnceLock<Box<Block>>,
}

static GUARDED: Block = Block::new();

impl Block {
    const fn new() -> Block {
        Block { slots: [const { Slot::new() }; SLOTS], next: OnceLock::new() }
    }
}

/// A guarded range. Dropping it, which must come before the range is unmapped, ends that.
#[derive(Debug)]
pub(super) struct Watch {
    slot: &'static Slot,
}

impl Watch {
    /// Guards `len` bytes from `start`, the whole of a mapping.
    pub(super) fn new(start: usize, len: usize, access: Access) -> io::Result<Watch> {
        install()?;
        Ok(Watch::register(start, len, access))
    }

    fn register(start: usize, len: usize, access: Access) -> Watch {
        let slot = claim();
        slot.uses.fetch_add(1, Relaxed);
        fence(Release);
        slot.end.store(start + len, Relaxed);
        slot.writable.store(access == Access::Write, Relaxed);
        slot.lost.store(false, Relaxed);
        slot.start.store(start, Release);
        Watch { slot }
    }

    /// A page of the range was lost.
    pub(super) fn is_lost(&self) -> bool {
        fence(Acquire);
        self.slot.lost.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.slot.start.store(FREE, Release);
    }
}

fn claim() -> &'static Slot {
    let mut block = &GUARDED;
    loop {
        let free = |slot: &&Slot| {
            slot.start.load(Relaxed) == FREE
                && slot.start.compare_exchange(FREE, CLAIMED, Acquire, Relaxed).is_ok()
        };
        if let Some(slot) = block.slots.iter().find(free) {
            return slot;
        }
        block = block.next.get_or_init(|| Box::new(Block::new()));
    }
}

/// The guarded range that an address is in.
///
/// The range of the faulting thread is registered for as long as the handler runs, and no other overlaps it. So a range that
/// another thread is just giving up or registering is never taken for it, as long as `start` and `end` are those of one use.
fn find(address: usize) -> Option<&'static Slot> {
    let mut block = Some(&GUARDED);
    while let Some(present) = block {
        let hit = present.slots.iter().find(|slot| {
            let uses = slot.uses.load(Acquire);
            let (start, end) = (slot.start.load(Acquire), slot.end.load(Relaxed));
            fence(Acquire);
            let one_use = slot.uses.load(Relaxed) == uses;
            one_use && start > CLAIMED && start <= address && address < end
        });
        if hit.is_some() {
            return hit;
        }
        block = present.next.get().map(|next| &**next);
    }
    None
}

/// The unit in which the kernel maps; set before the handler is installed.
static KERNEL_PAGE: AtomicUsize = AtomicUsize::new(0);
/// What was done about `SIGBUS` before; null for the default. Never freed.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Installs the handler, once a process. It is never removed, and never put on top of a handler that came later: that one may
/// pass signals on to ours.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    KERNEL_PAGE.store(rustix::param::page_size(), Relaxed);
    // Known before ours is in place, so that no signal is passed on to nobody.
    let before = exchange(None)?;
    PREVIOUS.store(Box::into_raw(Box::new(before)), Release);
    let mut action = before;
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO
        | libc::SA_ONSTACK
        | libc::SA_RESTART
        | (before.sa_flags & libc::SA_NODEFER);
    exchange(Some(&action))?;
    *installed = true;
    Ok(())
}

/// Sets what is done about `SIGBUS`, if anything is given, and returns what was.
fn exchange(action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut before = mem::MaybeUninit::<libc::sigaction>::zeroed();
    let action = action.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `action` is null or a valid action whose handler is `on_fault`, and `before` has room for one.
    let result = unsafe { libc::sigaction(libc::SIGBUS, action, before.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded and filled it; all zeros is a valid action as well.
    Ok(unsafe { before.assume_init() })
}

/// The handler.
extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: a handler with SA_SIGINFO is given a valid siginfo, by the kernel or by whoever chains to it.
    let code = unsafe { (*info).si_code };
    if matches!(code, libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR) {
        // SAFETY: valid as above, for as long as the handler runs.
        let info = unsafe { &*info };
        // SAFETY: with these codes it holds the address of the fault.
        let address = unsafe { info.si_addr() };
        if replace(address.addr()) {
            return;
        }
    }
    pass_on(signal, code, info, context);
}

/// Marks the range that the address is in, and puts zeros in the place of the page; false if it is none of ours.
fn replace(address: usize) -> bool {
    let Some(slot) = find(address) else { return false };
    // The marks come first: whoever reads the zeros finds them.
    slot.lost.store(true, SeqCst);
    LOSSES.fetch_add(1, SeqCst);
    let page = KERNEL_PAGE.load(Relaxed);
    let start = ptr::with_exposed_provenance_mut(address & !(page - 1));
    let mut access = ProtFlags::READ;
    if slot.writable.load(Relaxed) {
        access |= ProtFlags::WRITE;
    }
    // SAFETY: the page is part of a mapping of ours, which stays mapped while the faulting thread uses it (U1). What was in it
    // cannot be read any more, and any bytes are valid in its place (U5).
    unsafe { mmap_anonymous(start, page, access, MapFlags::PRIVATE | MapFlags::FIXED) }.is_ok()
}

/// Does what would have been done without us.
fn pass_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.load(Acquire);
    // SAFETY: null, or an action that is never freed.
    let handler = match unsafe { previous.as_ref() } {
        None => libc::SIG_DFL,
        Some(previous) => previous.sa_sigaction,
    };
    // Sent by a process, and not by the kernel for an access that cannot be done.
    let sent = code <= 0;
    match handler {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => die(signal, sent),
        _ => call(previous, info, context, signal),
    }
}

/// Gives the signal its default action, and lets it come again.
fn die(signal: c_int, sent: bool) {
    // SAFETY: all zeros is the default action with an empty mask.
    let default = unsafe { mem::zeroed::<libc::sigaction>() };
    // SAFETY: a valid action, and nothing is to be returned.
    unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    // A fault comes again by itself when the access is done again, with the address for the core file.
    if sent {
        // SAFETY: raises a signal, which may be done in a handler.
        unsafe { libc::raise(signal) };
    }
}

/// Calls the handler that was there before.
fn call(previous: *mut libc::sigaction, info: *mut siginfo_t, context: *mut c_void, signal: c_int) {
    // SAFETY: not null, since it has a handler, and never freed.
    let action = unsafe { *previous };
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        PREVIOUS.store(ptr::null_mut(), Release);
    }
    let handler = ptr::with_exposed_provenance::<()>(action.sa_sigaction);
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
        // SAFETY: the program has installed it as a handler of this type, and it is neither SIG_DFL nor SIG_IGN.
        let handler = unsafe { mem::transmute::<*const (), Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above, for a handler without SA_SIGINFO.
        let handler = unsafe { mem::transmute::<*const (), extern "C" fn(c_int)>(handler) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_ranges_than_a_block_has_are_found_and_forgotten() {
        // Addresses that nothing is mapped at: far above what the kernel gives to programs.
        let at = |i: usize| (1 << 60) + i * (1 << 20);
        let range = |i: usize| Watch::register(at(i), 4096, Access::Read);
        // More than one block has; interpreted, more take minutes.
        let many = if cfg!(miri) { SLOTS + 2 } else { 3 * SLOTS };
        let step = if cfg!(miri) { 97 } else { 1 };
        let mut ranges: Vec<Watch> = (0..many).map(range).collect();
        for (i, watch) in ranges.iter().enumerate().step_by(step) {
            for address in [at(i), at(i) + 4095] {
                assert!(find(address).is_some_and(|slot| ptr::eq(slot, watch.slot)), "{i}");
            }
            assert!(find(at(i) - 1).is_none() && find(at(i) + 4096).is_none());
        }
        ranges.truncate(SLOTS);
        assert!(find(at(SLOTS)).is_none(), "one that was given up");
        let again = range(SLOTS);
        assert!(find(at(SLOTS)).is_some_and(|slot| ptr::eq(slot, again.slot)));
    }
}
