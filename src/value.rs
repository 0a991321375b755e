//! A value as it lies in the mapped log, and typed views of it.

use std::fmt;
use std::ops::Deref;

use bytemuck::{AnyBitPattern, PodCastError};

use crate::error::{Error, Result};
use crate::log::Record;
use crate::sys::Pinned;

/// A value, borrowed from the mapped file: no copy is made, and none is needed.
///
/// It borrows the handle or the snapshot it came from, and as long as it is there its memory stays mapped, whatever becomes of
/// the key and of the file. Its bytes never change: an overwrite writes a new record elsewhere. A value that is kept holds back
/// the disk space of segments that compaction has removed; copy the bytes of what you keep for long. It starts at an address that is a multiple of 16, so that it can be viewed as numbers.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put_slice("samples", &[1.5f64, 2.5])?;
/// let value = store.get("samples")?.expect("just put");
/// assert_eq!(value.len(), 16);
/// assert_eq!(value.view_slice::<f64>()?, [1.5, 2.5]);
/// assert!(value.view::<u64>().is_err(), "16 bytes are no u64");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Value<'a> {
    pinned: Pinned<'a>,
}

impl<'a> From<Pinned<'a>> for Value<'a> {
    #[inline]
    fn from(pinned: Pinned<'a>) -> Value<'a> {
        Value { pinned }
    }
}

impl<'a> Value<'a> {
    /// A value whose memory somebody else keeps.
    #[inline]
    pub(crate) fn of(record: Record<'a>) -> Value<'a> {
        Value::borrowed(record.value())
    }

    /// The same of bytes.
    #[inline]
    pub(crate) fn borrowed(bytes: &'a [u8]) -> Value<'a> {
        Value { pinned: Pinned::borrowed(bytes) }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.pinned.bytes()
    }

    /// The value as one `T`, in place.
    ///
    /// # Errors
    /// [`Error::View`] when the value is not exactly as long as a `T`, or when `T` needs an alignment above 16.
    pub fn view<T: AnyBitPattern>(&self) -> Result<&T> {
        bytemuck::try_from_bytes(self.bytes()).map_err(|error| self.mismatch::<T>(error))
    }

    /// The value as a slice of `T`, in place.
    ///
    /// # Errors
    /// [`Error::View`] when the value's length is no multiple of that of `T`, or when `T` needs an alignment above 16.
    pub fn view_slice<T: AnyBitPattern>(&self) -> Result<&[T]> {
        bytemuck::try_cast_slice(self.bytes()).map_err(|error| self.mismatch::<T>(error))
    }

    fn mismatch<T>(&self, error: PodCastError) -> Error {
        let type_name = std::any::type_name::<T>();
        Error::View { type_name, len: self.bytes().len(), why: error.to_string() }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Value<'_> {}

impl std::hash::Hash for Value<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(b\"{}\")", self.bytes().escape_ascii())
    }
}
