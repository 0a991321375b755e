//! What a commit is made of.

use crate::error::{Error, Result};
use crate::format::record::{MAX_KEY, MAX_VALUE};

/// One operation of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op<'a> {
    pub(crate) table: u32,
    pub(crate) key: &'a [u8],
    /// None deletes the key.
    pub(crate) value: Option<&'a [u8]>,
}

impl Op<'_> {
    pub(crate) fn value_len(&self) -> usize {
        self.value.map_or(0, <[u8]>::len)
    }
}

/// Keys and values are checked at the door.
pub(crate) fn check(key: &[u8], value_len: usize) -> Result<()> {
    if key.len() > MAX_KEY {
        return Err(Error::TooLarge { what: "key", len: key.len() as u64, max: MAX_KEY as u64 });
    }
    if value_len as u64 > MAX_VALUE {
        return Err(Error::TooLarge { what: "value", len: value_len as u64, max: MAX_VALUE });
    }
    Ok(())
}
