//! The thread that makes pages and segments ready before a load comes to them: most of what a new page of the log takes is finding
//! memory for it and filling that with zeros, and a new segment waits for the disk. Another processor can do that meanwhile.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::log::Tail;
use crate::sys::{Pin, give_way};

use super::worker::Worker;
use super::{Engine, Writer, WriterHalf};

/// A log that has grown by so much since it was last durable grows by a load, and so do the bytes between two requests.
const LOAD: u64 = 1 << 20;
/// How far ahead of the log's end its pages are ready.
const FAR: u64 = 4 << 20;
/// So many are made ready at once.
const PIECE: u64 = 256 << 10;
/// Segments of fewer bytes are passed before another one is made.
const LARGE: u64 = 8 << 20;

/// A mailbox with room for one place in the log.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    mail: Mutex<Mail>,
    arrived: Condvar,
    thread: Worker,
}

#[derive(Debug, Default)]
struct Mail {
    /// Where the log ended when it was asked for.
    end: Option<Tail>,
    running: bool,
    stop: bool,
}

impl Ahead {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread. Without it each page is made ready by the first commit that comes to it.
    pub(crate) fn start(engine: &Arc<Engine>) {
        if let Some(half) = &engine.writer {
            half.ahead.mail().running =
                half.ahead.thread.start("mapstone-ahead", engine, Engine::run_ahead);
        }
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        self.mail().stop = true;
        self.arrived.notify_one();
        self.thread.join();
        self.mail().running = false;
    }

    fn ask(&self, end: Tail) {
        let mut mail = self.mail();
        if mail.running {
            mail.end = Some(end);
            drop(mail);
            self.arrived.notify_one();
        }
    }

    /// Waits until it is asked for more; None if it is to end.
    fn next(&self) -> Option<Tail> {
        let mut mail = self.mail();
        loop {
            if mail.stop {
                return None;
            }
            if let Some(end) = mail.end.take() {
                return Some(end);
            }
            mail = self.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Engine {
    /// Has pages made ready if the log grows by a load. Where little is synced at a time none are: what is ahead of the log's end
    /// may be in one piece of the page cache with it, and would be written each time.
    #[inline]
    pub(super) fn look_ahead(&self, half: &WriterHalf, writer: &mut Writer) {
        if writer.tail.position >= writer.ask_at {
            self.ask_ahead(half, writer);
        }
    }

    #[cold]
    fn ask_ahead(&self, half: &WriterHalf, writer: &mut Writer) {
        let end = writer.tail.position;
        writer.ask_at = end + LOAD;
        if end.saturating_sub(self.cells.durable()) >= LOAD {
            half.ahead.ask(writer.tail);
        }
    }

    fn run_ahead(&self) {
        let Some(half) = &self.writer else { return };
        // Where all processors are busy the writer does better itself.
        give_way();
        let (mut ready, mut pages) = (0, 0);
        while let Some(end) = half.ahead.next() {
            let pin = Pin::new();
            let log = self.log.view(&pin);
            let bytes = self.superblock.segment_bytes;
            // First: a commit that comes to the end of a segment waits far longer for another one than for a page.
            if bytes >= LARGE && end.position % bytes >= bytes / 2 && !half.ahead.mail().stop {
                // Without one the log goes on as it would have.
                let _ = self.make_spare_after(half, end.segment);
            }
            pages = self.index.make_ready(pages);
            ready = ready.max(end.position);
            while ready < end.position + FAR
                && !half.ahead.mail().stop
                && log.make_ready(ready, PIECE)
            {
                ready += PIECE;
            }
        }
    }

    /// Makes the segment that comes after segment `number`. Who shares the store does not know where the log will go on.
    fn make_spare_after(&self, half: &WriterHalf, number: u64) -> Result<()> {
        if half.shared.is_some() { Ok(()) } else { self.log.make_spare(number, FAR) }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn make_spare(&self) -> Result<()> {
        self.make_spare_after(self.writer()?, self.settled_counters()?.segment)
    }

    /// Does what needs space, and once more if giving up the space of a segment that is only in store can help.
    #[inline]
    pub(super) fn with_space<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match work() {
            Err(Error::Full { .. }) if self.log.give_spare_up() => work(),
            done => done,
        }
    }
}
