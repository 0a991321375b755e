//! Standard output that its reader may close early: `mapstone list STORE | head` ends quietly.

use std::{
    fmt,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
};

/// Buffered standard output, whose error on a closed pipe [`is_closed_pipe`] recognises.
///
/// `print!` would panic there. And a plain `BrokenPipe` would not say which pipe broke: the tour's pipes to its
/// child processes break too, and that is an error.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Standard output; the caller flushes it when done.
pub(crate) fn stdout() -> Output {
    Output(BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
}

/// Whether the command failed only because nobody reads its output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter_map(io::Error::get_ref)
        .any(|inner| inner.is::<Closed>())
}

fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::other(Closed),
        _ => error,
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}
