//! Bytes that keep what they lie in from being freed.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Pin;

/// Bytes that were found under a pin, together with that pin, or bytes that somebody else keeps.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    bytes: NonNull<[u8]>,
    pin: Option<Pin>,
    store: PhantomData<&'a [u8]>,
}

/// Collects what is found under one pin, each as a `T`.
#[derive(Debug)]
pub(crate) struct Gather<'p, 'a, T> {
    pin: &'p Pin,
    found: Vec<Option<T>>,
    store: PhantomData<&'a [u8]>,
}

impl<'p, 'a, T: From<Pinned<'a>>> Gather<'p, 'a, T> {
    /// Keeps the next result.
    #[inline]
    pub(crate) fn push(&mut self, bytes: Option<&'p [u8]>) {
        // Like the pin they were found under, its clone keeps the bytes; the store is borrowed longer than any result.
        let keep = |bytes| Pinned { bytes, pin: Some(self.pin.clone()), store: PhantomData };
        self.found.push(bytes.map(NonNull::from).map(keep).map(T::from));
    }
}

impl<'a> Pinned<'a> {
    /// Bytes that need no pin of their own.
    #[inline]
    pub(crate) fn borrowed(bytes: &'a [u8]) -> Pinned<'a> {
        Pinned { bytes: NonNull::from(bytes), pin: None, store: PhantomData }
    }

    /// Looks for bytes under a pin. Whatever lifetime `find` is called with, the bytes are good for: so they are as long as
    /// `store` is borrowed and the pin is there.
    #[inline]
    pub(crate) fn find<S, E>(
        store: &'a S,
        find: impl for<'p> FnOnce(&'p S, &'p Pin) -> Result<Option<&'p [u8]>, E>,
    ) -> Result<Option<Pinned<'a>>, E> {
        let pin = Pin::new();
        let found = find(store, &pin)?.map(NonNull::from);
        Ok(found.map(|bytes| Pinned { bytes, pin: Some(pin), store: PhantomData }))
    }

    /// The same for many results, of which each is kept by itself.
    pub(crate) fn find_all<S, E, T: From<Pinned<'a>>>(
        store: &'a S,
        count: usize,
        find: impl for<'p> FnOnce(&'p S, &'p Pin, &mut Gather<'p, 'a, T>) -> Result<(), E>,
    ) -> Result<Vec<Option<T>>, E> {
        let pin = Pin::new();
        let found = Vec::with_capacity(count);
        let mut gather = Gather { pin: &pin, found, store: PhantomData };
        find(store, &pin, &mut gather)?;
        Ok(gather.found)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: they were borrowed for `'a`, or else found for any lifetime in which both the store is borrowed and the
        // pin is there, and this borrow is such a one.
        unsafe { self.bytes.as_ref() }
    }
}

impl Clone for Pinned<'_> {
    #[inline]
    fn clone(&self) -> Self {
        Pinned { bytes: self.bytes, pin: self.pin.clone(), store: PhantomData }
    }
}

// SAFETY: it is a shared reference to bytes, and a pin, which any thread may drop.
unsafe impl Send for Pinned<'_> {}
// SAFETY: as above.
unsafe impl Sync for Pinned<'_> {}
