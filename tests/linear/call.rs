//! One call: what it may find and what it leaves. An object is two keys, so that transactions over both are calls as well.

use bytemuck::{Pod, Zeroable};

/// The values of the two keys of an object; 0 is none. Every write of a history writes another value.
pub(crate) type State = [u64; 2];

/// In place of a value to write: the key stays as it is.
pub(crate) const KEEP: u64 = u64::MAX;

/// What a value is read as that nobody can have written.
pub(crate) const TORN: u64 = u64::MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of one key, or of both at one position.
    Read,
    /// Blind: a put, or a batch.
    Write,
    /// Tells whether there was a value.
    Delete,
    /// Reads and writes under the lock: `fetch_update`, or a transaction.
    Swap,
    /// Compares with `seen`, and tells whether it has written.
    Cas,
    /// An optimistic transaction: writes if what it has read is still so.
    Guarded,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Read, Kind::Write, Kind::Delete, Kind::Swap, Kind::Cas, Kind::Guarded];
}

/// A call with all that is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// The keys that it reads, a bit for each.
    pub(crate) mask: u8,
    /// What it has found there; of a compare-and-swap what it was told to expect.
    pub(crate) seen: State,
    pub(crate) new: State,
    /// Whether it has written. None if it never returned: its process was killed.
    pub(crate) wrote: Option<bool>,
}

impl Call {
    /// The state after this call if it takes effect in `state`; None if what it has told cannot be told there.
    ///
    /// One that never returned has told nothing, and takes effect wherever it takes effect.
    pub(crate) fn step(&self, state: State) -> Option<State> {
        let as_seen = (0..2).all(|i| self.mask >> i & 1 == 0 || state[i] == self.seen[i]);
        let there = (0..2).any(|i| self.mask >> i & 1 == 1 && state[i] != 0);
        let (possible, writes) = match (self.kind, self.wrote) {
            (Kind::Read, told) => (as_seen || told.is_none(), false),
            (Kind::Write, _) | (Kind::Swap | Kind::Delete, None) => (true, true),
            (Kind::Swap, Some(_)) => (as_seen, true),
            (Kind::Delete, Some(wrote)) => (there == wrote, wrote),
            (Kind::Cas, Some(wrote)) => (as_seen == wrote, wrote),
            (Kind::Guarded, Some(wrote)) => (as_seen, wrote),
            (Kind::Cas | Kind::Guarded, None) => (true, as_seen),
        };
        possible.then(|| if writes { self.written(state) } else { state })
    }

    fn written(&self, state: State) -> State {
        [0, 1].map(|i| if self.new[i] == KEEP { state[i] } else { self.new[i] })
    }

    /// Whatever the state, this call leaves it as it is.
    pub(crate) fn only_reads(&self) -> bool {
        self.kind == Kind::Read || self.wrote == Some(false)
    }
}

/// A call of a history, with its times by the clock of all processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) who: u32,
    pub(crate) call: Call,
    pub(crate) invoked: u64,
    /// None if it never did.
    pub(crate) returned: Option<u64>,
}

/// What a line of a log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Invoked,
    /// An optimistic transaction has read, and is about to commit.
    Read,
    Returned,
}

impl Event {
    pub(crate) const ALL: [Event; 3] = [Event::Invoked, Event::Read, Event::Returned];
}

/// A line of a log.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Line {
    pub(crate) time: u64,
    pub(crate) object: u32,
    pub(crate) event: u8,
    kind: u8,
    mask: u8,
    wrote: u8,
    seen: State,
    new: State,
}

impl Line {
    pub(crate) fn new(time: u64, object: u32, event: Event, call: &Call) -> Line {
        Line {
            time,
            object,
            event: event as u8,
            kind: call.kind as u8,
            mask: call.mask,
            wrote: u8::from(call.wrote == Some(true)),
            seen: call.seen,
            new: call.new,
        }
    }

    pub(crate) fn event(&self) -> Event {
        Event::ALL[usize::from(self.event)]
    }

    /// The call as far as it is known by this line.
    pub(crate) fn call(&self) -> Call {
        let wrote = (self.event() == Event::Returned).then_some(self.wrote == 1);
        let kind = Kind::ALL[usize::from(self.kind)];
        Call { kind, mask: self.mask, seen: self.seen, new: self.new, wrote }
    }
}
