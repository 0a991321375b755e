//! Bytes and values: every layout of every file, pure, with no input or output. docs/format.md is its description.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub(crate) mod checksum;
pub(crate) mod cursor;
pub(crate) mod directory;
pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod meta;
pub(crate) mod page;
pub(crate) mod position;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod usage;

/// The format version written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

/// Bytes of a page: of the index, of `meta`, of a mapping.
pub(crate) const PAGE: u64 = 4096;
/// The same, for indexing memory.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Sixteen random bytes that every file of one store carries.
pub(crate) type StoreId = [u8; 16];

/// A fixed-size field, read from bytes whose length the caller has checked.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(word)
}

/// A fixed-size field, read from bytes whose length the caller has checked.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

/// Writes a fixed-size field into a buffer that this crate sized itself.
pub(crate) fn set(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}
