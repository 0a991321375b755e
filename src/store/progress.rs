//! How far a long task has come.

/// How far a long task has come, in bytes of the log.
///
/// The total is an estimate: the last call need not reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes that are to be done.
    pub total: u64,
}

/// Is called now and then.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Progress);
