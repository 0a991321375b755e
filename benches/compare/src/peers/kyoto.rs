//! Kyoto Cabinet's hash database (`.kch`) through its C interface, sized as its manual says: two buckets a key, all of the file mapped.
//! Unsynced: each call stores into the file. Durable: a hard transaction. A batch without one is not atomic.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use anyhow::{Result, bail};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "Kyoto Cabinet", atomic: false, open, ..PLAIN };

type Ptr = *mut c_void;
type Visit =
    extern "C" fn(*const c_char, usize, *const c_char, usize, *mut usize, Ptr) -> *const c_char;

const WRITER: u32 = 1 << 1;
const CREATE: u32 = 1 << 2;
/// `KCENOREC`: there is no such record.
const NO_RECORD: i32 = 7;

unsafe extern "C" {
    static KCVISNOP: *const c_char;
    fn kcdbnew() -> Ptr;
    fn kcdbdel(db: Ptr);
    fn kcdbopen(db: Ptr, path: *const c_char, mode: u32) -> i32;
    fn kcdbclose(db: Ptr) -> i32;
    fn kcdbecode(db: Ptr) -> i32;
    fn kcdbemsg(db: Ptr) -> *const c_char;
    fn kcdbset(
        db: Ptr,
        key: *const c_char,
        key_len: usize,
        value: *const c_char,
        value_len: usize,
    ) -> i32;
    fn kcdbremove(db: Ptr, key: *const c_char, key_len: usize) -> i32;
    fn kcdbget(db: Ptr, key: *const c_char, key_len: usize, value_len: *mut usize) -> *mut c_char;
    fn kcdbiterate(db: Ptr, visit: Visit, data: Ptr, writable: i32) -> i32;
    fn kcdbbegintran(db: Ptr, hard: i32) -> i32;
    fn kcdbendtran(db: Ptr, commit: i32) -> i32;
    fn kcfree(memory: Ptr);
}

struct Kyoto {
    db: Ptr,
    hard: bool,
}

// SAFETY: Kyoto Cabinet's databases may be used from any thread at once; the error code is kept for each thread.
unsafe impl Send for Kyoto {}
// SAFETY: as above.
unsafe impl Sync for Kyoto {}

struct Session<'a>(&'a Kyoto);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let mut path = dir.join("kyoto.kch").as_os_str().as_bytes().to_vec();
    path.extend_from_slice(format!("#bnum={}#msiz={}", setup.keys * 2, 16u64 << 30).as_bytes());
    let path = CString::new(path)?;
    // SAFETY: a plain constructor.
    let kyoto = Kyoto { db: unsafe { kcdbnew() }, hard: setup.ask == Survives::Power };
    // SAFETY: the database was just made; the path ends in zero.
    let opened = unsafe { kcdbopen(kyoto.db, path.as_ptr(), WRITER | CREATE) };
    kyoto.check(opened)?;
    Ok(Box::new(kyoto))
}

impl Kyoto {
    fn check(&self, succeeded: i32) -> Result<()> {
        if succeeded != 0 {
            return Ok(());
        }
        // SAFETY: the database lives; its message is a static string that ends in zero.
        let text = unsafe { CStr::from_ptr(kcdbemsg(self.db)) };
        bail!("Kyoto Cabinet: {}", text.to_string_lossy())
    }

    fn apply(&self, ops: &[Op]) -> Result<()> {
        for op in ops {
            // SAFETY: the database lives; keys and values are passed with their lengths and copied.
            let succeeded = unsafe {
                match op {
                    Op::Put(key, value) => kcdbset(
                        self.db,
                        key.as_ptr().cast(),
                        key.len(),
                        value.as_ptr().cast(),
                        value.len(),
                    ),
                    Op::Delete(key) => kcdbremove(self.db, key.as_ptr().cast(), key.len()),
                }
            };
            self.check(succeeded)?;
        }
        Ok(())
    }
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut len = 0;
        // SAFETY: the database lives; the key is passed with its length.
        let value = unsafe { kcdbget(self.0.db, key.as_ptr().cast(), key.len(), &raw mut len) };
        if value.is_null() {
            // SAFETY: the database lives.
            return if unsafe { kcdbecode(self.0.db) } == NO_RECORD {
                Ok(false)
            } else {
                self.0.check(0).map(|()| false)
            };
        }
        // SAFETY: the value is ours, `len` bytes long, and freed once, after it was used.
        unsafe {
            found(std::slice::from_raw_parts(value.cast(), len));
            kcfree(value.cast());
        }
        Ok(true)
    }
}

extern "C" fn visit(
    _: *const c_char,
    _: usize,
    value: *const c_char,
    len: usize,
    _: *mut usize,
    data: Ptr,
) -> *const c_char {
    // SAFETY: `data` is the closure that `iterate` passed and that outlives the call; the value is `len` bytes long.
    unsafe {
        let each = &mut *data.cast::<&mut dyn FnMut(&[u8])>();
        each(std::slice::from_raw_parts(value.cast(), len));
        KCVISNOP
    }
}

impl Peer for Kyoto {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        if !self.hard {
            return self.apply(ops);
        }
        // SAFETY: the database lives.
        self.check(unsafe { kcdbbegintran(self.db, 1) })?;
        let applied = self.apply(ops);
        // SAFETY: the transaction was begun above.
        self.check(unsafe { kcdbendtran(self.db, i32::from(applied.is_ok())) })?;
        applied
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut each: &mut dyn FnMut(&[u8]) = each;
        // SAFETY: the closure outlives the call, which shows it to `visit` alone.
        self.check(unsafe { kcdbiterate(self.db, visit, (&raw mut each).cast(), 0) })
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        // SAFETY: the database is open, and deleted here alone.
        let closed = unsafe { kcdbclose(self.db) };
        self.check(closed)?;
        // SAFETY: as above; `drop` sees null.
        unsafe { kcdbdel(std::mem::replace(&mut self.db, null_mut())) };
        Ok(())
    }
}

impl Drop for Kyoto {
    fn drop(&mut self) {
        if !self.db.is_null() {
            // SAFETY: not closed yet; deleting closes.
            unsafe { kcdbdel(self.db) };
        }
    }
}
