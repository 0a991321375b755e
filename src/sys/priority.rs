//! How a thread of the store's own shares the processors with the threads of the program.

/// What a thread is given that gives way: 36 parts, where others have 1,024. With less it could be kept waiting for long while it
/// holds what others want of the kernel.
const WAY: i32 = 15;

/// Has the calling thread run where no other wants to, or nearly so. Only a hint.
pub(crate) fn give_way() {
    #[cfg(all(target_os = "linux", not(miri)))]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), WAY);
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = WAY;
}
