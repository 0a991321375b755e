//! Tkrzw's hash database through its C interface: mapped file, two buckets a key, `UPDATE_APPENDING`, the mode that an interrupted write
//! cannot corrupt. Unsynced: each call stores into the mapping. Durable: a hard `synchronize` after each commit. A batch is not atomic.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use anyhow::{Result, bail};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "Tkrzw", atomic: false, open, ..PLAIN };

type Ptr = *mut c_void;
type Process =
    extern "C" fn(Ptr, *const c_char, i32, *const c_char, i32, *mut i32) -> *const c_char;

/// `TKRZW_STATUS_NOT_FOUND_ERROR`.
const NOT_FOUND: i32 = 7;

unsafe extern "C" {
    static TKRZW_REC_PROC_NOOP: *const c_char;
    fn tkrzw_get_last_status_code() -> i32;
    fn tkrzw_get_last_status_message() -> *const c_char;
    fn tkrzw_dbm_open(path: *const c_char, writable: bool, params: *const c_char) -> Ptr;
    fn tkrzw_dbm_close(dbm: Ptr) -> bool;
    fn tkrzw_dbm_get(
        dbm: Ptr,
        key: *const c_char,
        key_len: i32,
        value_len: *mut i32,
    ) -> *mut c_char;
    fn tkrzw_dbm_set(
        dbm: Ptr,
        key: *const c_char,
        key_len: i32,
        value: *const c_char,
        value_len: i32,
        overwrite: bool,
    ) -> bool;
    fn tkrzw_dbm_remove(dbm: Ptr, key: *const c_char, key_len: i32) -> bool;
    fn tkrzw_dbm_process_each(dbm: Ptr, process: Process, data: Ptr, writable: bool) -> bool;
    fn tkrzw_dbm_rebuild(dbm: Ptr, params: *const c_char) -> bool;
    fn tkrzw_dbm_synchronize(
        dbm: Ptr,
        hard: bool,
        process: Ptr,
        data: Ptr,
        params: *const c_char,
    ) -> bool;
}

struct Tkrzw {
    dbm: Ptr,
    hard: bool,
}

// SAFETY: Tkrzw's databases may be used from any thread at once; the last status is kept for each thread.
unsafe impl Send for Tkrzw {}
// SAFETY: as above.
unsafe impl Sync for Tkrzw {}

struct Session<'a>(&'a Tkrzw);

fn check(succeeded: bool) -> Result<()> {
    if succeeded {
        return Ok(());
    }
    // SAFETY: the message is kept by the thread, and ends in zero.
    let text = unsafe { CStr::from_ptr(tkrzw_get_last_status_message()) };
    // SAFETY: reads a number of the thread's.
    bail!("Tkrzw: status {}, {}", unsafe { tkrzw_get_last_status_code() }, text.to_string_lossy())
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let path = CString::new(dir.join("tkrzw.tkh").as_os_str().as_bytes())?;
    let params = format!(
        "dbm=HashDBM,file=MemoryMapParallelFile,update_mode=UPDATE_APPENDING,num_buckets={}",
        setup.keys * 2
    );
    let params = CString::new(params)?;
    // SAFETY: both strings end in zero.
    let dbm = unsafe { tkrzw_dbm_open(path.as_ptr(), true, params.as_ptr()) };
    check(!dbm.is_null())?;
    Ok(Box::new(Tkrzw { dbm, hard: setup.ask == Survives::Power }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut len = 0;
        // SAFETY: the database lives; the key is passed with its length.
        let value = unsafe {
            tkrzw_dbm_get(self.0.dbm, key.as_ptr().cast(), i32::try_from(key.len())?, &raw mut len)
        };
        if value.is_null() {
            // SAFETY: reads a number of the thread's.
            return if unsafe { tkrzw_get_last_status_code() } == NOT_FOUND {
                Ok(false)
            } else {
                check(false).map(|()| false)
            };
        }
        // SAFETY: the value is ours, `len` bytes long, from malloc, and freed once, after it was used.
        unsafe {
            found(std::slice::from_raw_parts(value.cast(), len as usize));
            libc::free(value.cast());
        }
        Ok(true)
    }
}

extern "C" fn process(
    data: Ptr,
    _: *const c_char,
    _: i32,
    value: *const c_char,
    len: i32,
    _: *mut i32,
) -> *const c_char {
    // SAFETY: `data` is the closure that `iterate` passed and that outlives the call; a value that is there is `len` bytes long (it is null before the
    // first record and after the last).
    unsafe {
        if !value.is_null() {
            let each = &mut *data.cast::<&mut dyn FnMut(&[u8])>();
            each(std::slice::from_raw_parts(value.cast(), len as usize));
        }
        TKRZW_REC_PROC_NOOP
    }
}

impl Peer for Tkrzw {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        for op in ops {
            // SAFETY: the database lives; keys and values are passed with their lengths and copied.
            let succeeded = unsafe {
                match op {
                    Op::Put(key, value) => tkrzw_dbm_set(
                        self.dbm,
                        key.as_ptr().cast(),
                        i32::try_from(key.len())?,
                        value.as_ptr().cast(),
                        i32::try_from(value.len())?,
                        true,
                    ),
                    Op::Delete(key) => {
                        tkrzw_dbm_remove(self.dbm, key.as_ptr().cast(), i32::try_from(key.len())?)
                    }
                }
            };
            check(succeeded)?;
        }
        if self.hard {
            // SAFETY: the database lives; there is no callback, and no parameter.
            check(unsafe {
                tkrzw_dbm_synchronize(self.dbm, true, null_mut(), null_mut(), c"".as_ptr())
            })?;
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut each: &mut dyn FnMut(&[u8]) = each;
        // SAFETY: the closure outlives the call, which shows it to `process` alone.
        check(unsafe { tkrzw_dbm_process_each(self.dbm, process, (&raw mut each).cast(), false) })
    }

    fn compact(&mut self) -> Result<bool> {
        // SAFETY: the database lives; no parameter keeps them as they are.
        check(unsafe { tkrzw_dbm_rebuild(self.dbm, c"".as_ptr()) })?;
        Ok(true)
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        // SAFETY: closed here alone; `drop` sees null.
        check(unsafe { tkrzw_dbm_close(std::mem::replace(&mut self.dbm, null_mut())) })
    }
}

impl Drop for Tkrzw {
    fn drop(&mut self) {
        if !self.dbm.is_null() {
            // SAFETY: not closed yet.
            unsafe { tkrzw_dbm_close(self.dbm) };
        }
    }
}
