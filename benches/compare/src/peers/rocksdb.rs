//! RocksDB through the C interface of the system's library. Unsynced: the log is written and not synced. Durable: `sync`. A block cache of 1 GiB, Bloom filters
//! of 10 bits a key, no compression, since nothing here can be compressed.

use std::ffi::{CStr, CString, c_char, c_double, c_int, c_uchar, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

use anyhow::{Result, bail};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "RocksDB", many: true, open, ..PLAIN };

type Ptr = *mut c_void;

unsafe extern "C" {
    fn rocksdb_options_create() -> Ptr;
    fn rocksdb_options_destroy(options: Ptr);
    fn rocksdb_options_set_create_if_missing(options: Ptr, yes: c_uchar);
    fn rocksdb_options_increase_parallelism(options: Ptr, threads: c_int);
    fn rocksdb_options_set_compression(options: Ptr, kind: c_int);
    fn rocksdb_options_set_block_based_table_factory(options: Ptr, table: Ptr);
    fn rocksdb_block_based_options_create() -> Ptr;
    fn rocksdb_block_based_options_destroy(table: Ptr);
    fn rocksdb_block_based_options_set_filter_policy(table: Ptr, policy: Ptr);
    fn rocksdb_block_based_options_set_block_cache(table: Ptr, cache: Ptr);
    fn rocksdb_filterpolicy_create_bloom_full(bits: c_double) -> Ptr;
    fn rocksdb_cache_create_lru(bytes: usize) -> Ptr;
    fn rocksdb_cache_destroy(cache: Ptr);
    fn rocksdb_open(options: Ptr, name: *const c_char, error: *mut *mut c_char) -> Ptr;
    fn rocksdb_close(db: Ptr);
    fn rocksdb_writeoptions_create() -> Ptr;
    fn rocksdb_writeoptions_destroy(options: Ptr);
    fn rocksdb_writeoptions_set_sync(options: Ptr, yes: c_uchar);
    fn rocksdb_readoptions_create() -> Ptr;
    fn rocksdb_readoptions_destroy(options: Ptr);
    fn rocksdb_writebatch_create() -> Ptr;
    fn rocksdb_writebatch_destroy(batch: Ptr);
    fn rocksdb_writebatch_put(
        batch: Ptr,
        key: *const c_char,
        key_len: usize,
        value: *const c_char,
        value_len: usize,
    );
    fn rocksdb_writebatch_delete(batch: Ptr, key: *const c_char, key_len: usize);
    fn rocksdb_write(db: Ptr, options: Ptr, batch: Ptr, error: *mut *mut c_char);
    fn rocksdb_get_pinned(
        db: Ptr,
        options: Ptr,
        key: *const c_char,
        key_len: usize,
        error: *mut *mut c_char,
    ) -> Ptr;
    fn rocksdb_pinnableslice_value(slice: Ptr, len: *mut usize) -> *const c_char;
    fn rocksdb_pinnableslice_destroy(slice: Ptr);
    fn rocksdb_multi_get(
        db: Ptr,
        options: Ptr,
        count: usize,
        keys: *const *const c_char,
        key_lens: *const usize,
        values: *mut *mut c_char,
        value_lens: *mut usize,
        errors: *mut *mut c_char,
    );
    fn rocksdb_create_iterator(db: Ptr, options: Ptr) -> Ptr;
    fn rocksdb_iter_seek_to_first(iterator: Ptr);
    fn rocksdb_iter_valid(iterator: Ptr) -> c_uchar;
    fn rocksdb_iter_next(iterator: Ptr);
    fn rocksdb_iter_value(iterator: Ptr, len: *mut usize) -> *const c_char;
    fn rocksdb_iter_get_error(iterator: Ptr, error: *mut *mut c_char);
    fn rocksdb_iter_destroy(iterator: Ptr);
    fn rocksdb_compact_range(
        db: Ptr,
        start: *const c_char,
        start_len: usize,
        limit: *const c_char,
        limit_len: usize,
    );
    fn rocksdb_free(memory: Ptr);
}

struct Rocks {
    db: Ptr,
    write: Ptr,
    read: Ptr,
}

// SAFETY: RocksDB's database may be used from any thread at once, and the two options objects are not changed after `open`.
unsafe impl Send for Rocks {}
// SAFETY: as above.
unsafe impl Sync for Rocks {}

struct Session<'a>(&'a Rocks);

fn check(error: *mut c_char) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: RocksDB sets the error to a string that ends in zero.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: the string is the caller's to free, and is not used any more.
    unsafe { rocksdb_free(error.cast()) };
    bail!("RocksDB: {text}")
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let path = CString::new(dir.join("rocks").as_os_str().as_bytes())?;
    let mut error = null_mut();
    // SAFETY: objects are made, handed on and freed as rocksdb/c.h says: the table options own the policy, the cache is counted, the options copy the
    // table options; the path ends in zero.
    let db = unsafe {
        let cache = rocksdb_cache_create_lru(setup.cache);
        let table = rocksdb_block_based_options_create();
        rocksdb_block_based_options_set_block_cache(table, cache);
        rocksdb_block_based_options_set_filter_policy(
            table,
            rocksdb_filterpolicy_create_bloom_full(10.0),
        );
        let options = rocksdb_options_create();
        rocksdb_options_set_create_if_missing(options, 1);
        rocksdb_options_increase_parallelism(options, 2);
        rocksdb_options_set_compression(options, 0);
        rocksdb_options_set_block_based_table_factory(options, table);
        let db = rocksdb_open(options, path.as_ptr(), &raw mut error);
        rocksdb_options_destroy(options);
        rocksdb_block_based_options_destroy(table);
        rocksdb_cache_destroy(cache);
        db
    };
    check(error)?;
    // SAFETY: plain constructors and a setter on what they return.
    let (write, read) = unsafe {
        let write = rocksdb_writeoptions_create();
        rocksdb_writeoptions_set_sync(write, u8::from(setup.ask == Survives::Power));
        (write, rocksdb_readoptions_create())
    };
    Ok(Box::new(Rocks { db, write, read }))
}

/// # Safety
/// `start` points to `len` bytes that stay as they are for as long as the slice is used; or is null, and `len` zero.
unsafe fn bytes<'a>(start: *const c_char, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start.cast(), len) }
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let (mut error, mut len) = (null_mut(), 0);
        // SAFETY: database and options live as long as `self`; the key is passed with its length.
        let slice = unsafe {
            rocksdb_get_pinned(
                self.0.db,
                self.0.read,
                key.as_ptr().cast(),
                key.len(),
                &raw mut error,
            )
        };
        check(error)?;
        if slice.is_null() {
            return Ok(false);
        }
        // SAFETY: the slice holds the value until it is destroyed, which is after `found` has seen it.
        unsafe {
            let value = rocksdb_pinnableslice_value(slice, &raw mut len);
            found(bytes(value, len));
            rocksdb_pinnableslice_destroy(slice);
        }
        Ok(true)
    }

    fn get_many(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        let starts: Vec<*const c_char> = keys.iter().map(|key| key.as_ptr().cast()).collect();
        let lens: Vec<usize> = keys.iter().map(|key| key.len()).collect();
        let mut values = vec![null_mut(); keys.len()];
        let mut value_lens = vec![0; keys.len()];
        let mut errors = vec![null_mut(); keys.len()];
        // SAFETY: five arrays of `keys.len()` elements each; every key is passed with its length.
        unsafe {
            rocksdb_multi_get(
                self.0.db,
                self.0.read,
                keys.len(),
                starts.as_ptr(),
                lens.as_ptr(),
                values.as_mut_ptr(),
                value_lens.as_mut_ptr(),
                errors.as_mut_ptr(),
            );
        }
        for (place, value) in values.into_iter().enumerate() {
            check(errors[place])?;
            if !value.is_null() {
                // SAFETY: a value that is there is the caller's, of the length beside it, and is freed once.
                unsafe {
                    found(place, bytes(value, value_lens[place]));
                    rocksdb_free(value.cast());
                }
            }
        }
        Ok(())
    }
}

impl Peer for Rocks {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut error = null_mut();
        // SAFETY: the batch copies what it is given with its length, and is destroyed after the write.
        unsafe {
            let batch = rocksdb_writebatch_create();
            for op in ops {
                match op {
                    Op::Put(key, value) => {
                        rocksdb_writebatch_put(
                            batch,
                            key.as_ptr().cast(),
                            key.len(),
                            value.as_ptr().cast(),
                            value.len(),
                        );
                    }
                    Op::Delete(key) => {
                        rocksdb_writebatch_delete(batch, key.as_ptr().cast(), key.len())
                    }
                }
            }
            rocksdb_write(self.db, self.write, batch, &raw mut error);
            rocksdb_writebatch_destroy(batch);
        }
        check(error)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut error = null_mut();
        // SAFETY: the iterator is used while it is valid, and destroyed before the database; a value is used before the next step.
        unsafe {
            let iterator = rocksdb_create_iterator(self.db, self.read);
            rocksdb_iter_seek_to_first(iterator);
            while rocksdb_iter_valid(iterator) != 0 {
                let mut len = 0;
                let value = rocksdb_iter_value(iterator, &raw mut len);
                each(bytes(value, len));
                rocksdb_iter_next(iterator);
            }
            rocksdb_iter_get_error(iterator, &raw mut error);
            rocksdb_iter_destroy(iterator);
        }
        check(error)
    }

    fn compact(&mut self) -> Result<bool> {
        // SAFETY: null stands for the whole range.
        unsafe { rocksdb_compact_range(self.db, null(), 0, null(), 0) };
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for Rocks {
    fn drop(&mut self) {
        // SAFETY: each was made by `open` and is freed here alone.
        unsafe {
            rocksdb_close(self.db);
            rocksdb_writeoptions_destroy(self.write);
            rocksdb_readoptions_destroy(self.read);
        }
    }
}
