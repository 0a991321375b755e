//! A process that calls the store at random, and logs each call before it is made and after it has returned, until it is killed.
//!
//! A log is written without a buffer, so a call that is not there was not made, and one without its return may have done
//! anything or nothing. The objects change with the time: all processes meet at a few keys, and no history gets long.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use fastrand::Rng;
use mapstone::{Error, Options, Result, Store};
use rustix::time::{ClockId, clock_gettime};

use crate::call::{Call, Event, KEEP, Kind, Line, State, TORN};

/// How long all meet at the same objects, in nanoseconds.
const EPOCH: u64 = 100_000_000;
/// How many objects there are at a time.
const OBJECTS: u64 = 3;

/// Nanoseconds by a clock that is the same for all processes.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).expect("up"));
    1_000_000_000 * seconds + nanos
}

/// Small enough that all structures roll over many times in a second; what goes on behind the scenes is done by the callers.
pub(crate) fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(16_384).checkpoint_interval(40_000).background(false).shared_writer(true);
    options
}

fn key(object: u32, i: usize) -> String {
    format!("object {object} key {i}")
}

/// The bytes of a value, of a length of its own.
fn bytes(value: u64) -> Vec<u8> {
    let [low, ..] = value.to_le_bytes();
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(8 + usize::from(low) % 90, low);
    bytes
}

/// The value that was read, whole.
fn value(read: Option<&[u8]>) -> u64 {
    let Some(read) = read else { return 0 };
    let value = read.first_chunk().map_or(TORN, |chunk| u64::from_le_bytes(*chunk));
    if bytes(value) == read { value } else { TORN }
}

/// What a write of this value is to the store: a put or a delete.
fn put(value: u64) -> Option<Vec<u8>> {
    (value != 0).then(|| bytes(value))
}

pub(crate) struct Caller<'a> {
    store: &'a Store,
    who: u32,
    log: File,
    random: Rng,
    start: u64,
    values: u64,
    /// What each object was when it was last seen: what comparisons expect.
    known: HashMap<u32, State>,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(store: &'a Store, logs: &Path, who: u32, start: u64) -> Caller<'a> {
        let log = File::create_new(logs.join(format!("{who}.log"))).expect("a log");
        let random = Rng::with_seed(start ^ u64::from(who));
        Caller { store, who, log, random, start, values: 0, known: HashMap::new() }
    }

    /// Calls so often, now and then with what a background thread would do.
    pub(crate) fn call_often(&mut self, times: u64) -> Result<()> {
        for _ in 0..times {
            let object = self.object();
            let call = self.some_call(object);
            self.call(object, call)?;
            if self.store.is_read_only() {
                continue;
            }
            match self.random.u8(..) {
                0..8 => drop(self.store.compact_step(16_384)?),
                8..12 => drop(self.store.sync()?),
                12 => drop(self.store.checkpoint()?),
                13..64 => self.move_the_index()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds keys that nobody reads, so that the pages split in which the others are.
    fn move_the_index(&mut self) -> Result<()> {
        let mut batch = self.store.batch();
        for _ in 0..4 {
            batch.put(self.random.u64(..).to_le_bytes(), [0; 4])?;
        }
        batch.commit().map(drop)
    }

    /// Reads each object that there ever was.
    pub(crate) fn read_all(&mut self) -> Result<()> {
        let last = self.epoch() * OBJECTS + OBJECTS;
        for object in 0..u32::try_from(last).expect("a short story") {
            let call =
                Call { kind: Kind::Read, mask: 3, seen: [0; 2], new: [KEEP; 2], wrote: None };
            self.call(object, call)?;
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        (now() - self.start) / EPOCH
    }

    /// One of those of this time, sometimes of a time before.
    fn object(&mut self) -> u32 {
        let back = if self.random.u8(0..32) == 0 { self.random.u64(0..16) } else { 0 };
        let epoch = self.epoch().saturating_sub(back);
        u32::try_from(epoch * OBJECTS + self.random.u64(0..OBJECTS)).expect("a short story")
    }

    /// A value that nobody else writes, or none.
    fn fresh(&mut self) -> u64 {
        if self.random.u8(0..6) == 0 {
            return 0;
        }
        self.values += 1;
        u64::from(self.who) << 32 | self.values
    }

    fn some_call(&mut self, object: u32) -> Call {
        let one = self.random.usize(0..2);
        let kind = match self.random.u8(0..12) {
            _ if self.store.is_read_only() => Kind::Read,
            0..4 => Kind::Read,
            4 => Kind::Write,
            5 => Kind::Delete,
            6..8 => Kind::Swap,
            8..10 => Kind::Cas,
            _ => Kind::Guarded,
        };
        let both = self.random.u8(0..3) == 0 && !matches!(kind, Kind::Delete | Kind::Cas);
        let mut new = [self.fresh(), self.fresh()];
        let mut mask = 3;
        if !both {
            mask = 1 << one;
            // An optimistic transaction writes the key that it has not read, as often as not.
            let guards = kind == Kind::Guarded && self.random.bool();
            new[if guards { one } else { 1 - one }] = KEEP;
        }
        match kind {
            Kind::Read => new = [KEEP; 2],
            Kind::Write => mask = 0,
            Kind::Delete => new[one] = 0,
            _ => {}
        }
        let known = self.known.get(&object).copied().unwrap_or_default();
        let seen = if kind == Kind::Cas { known } else { [0; 2] };
        Call { kind, mask, seen, new, wrote: None }
    }

    fn log(&mut self, object: u32, event: Event, call: &Call) {
        let line = Line::new(now(), object, event, call);
        self.log.write_all(bytemuck::bytes_of(&line)).expect("space");
    }

    fn call(&mut self, object: u32, mut call: Call) -> Result<()> {
        self.log(object, Event::Invoked, &call);
        call.wrote = Some(self.made(object, &mut call)?);
        self.log(object, Event::Returned, &call);
        self.remember(object, &call);
        Ok(())
    }

    fn remember(&mut self, object: u32, call: &Call) {
        let told = !matches!(call.kind, Kind::Cas | Kind::Delete);
        for (i, known) in self.known.entry(object).or_default().iter_mut().enumerate() {
            if call.wrote == Some(true) && call.new[i] != KEEP {
                *known = call.new[i];
            } else if told && call.mask >> i & 1 == 1 {
                *known = call.seen[i];
            }
        }
    }

    /// Makes the call; whether it has written.
    fn made(&mut self, object: u32, call: &mut Call) -> Result<bool> {
        let keys = [key(object, 0), key(object, 1)];
        let one = usize::from(call.mask == 2 || call.mask == 0 && call.new[0] == KEEP);
        match call.kind {
            Kind::Read => self.read(&keys, call, one).map(|()| false),
            Kind::Write => self.write(&keys, call, one).map(|()| true),
            Kind::Delete => self.store.delete(&keys[one]),
            Kind::Swap => self.swap(&keys, call, one).map(|()| true),
            Kind::Cas => self.compare(&keys[one], call.seen[one], call.new[one]),
            Kind::Guarded => self.guarded(object, &keys, call),
        }
    }

    fn read(&mut self, keys: &[String; 2], call: &mut Call, one: usize) -> Result<()> {
        if call.mask != 3 {
            call.seen[one] = value(self.store.get(&keys[one])?.as_deref());
        } else if self.random.bool() {
            let found = self.store.get_many(keys)?;
            call.seen = [0, 1].map(|i| value(found[i].as_deref()));
        } else {
            let snapshot = self.store.snapshot()?;
            for (seen, key) in call.seen.iter_mut().zip(keys) {
                *seen = value(snapshot.get(key)?.as_deref());
            }
        }
        Ok(())
    }

    fn write(&mut self, keys: &[String; 2], call: &Call, one: usize) -> Result<()> {
        if let (true, Some(bytes)) = (call.new.contains(&KEEP), put(call.new[one])) {
            return self.store.put(&keys[one], bytes);
        }
        let mut batch = self.store.batch();
        for (key, new) in keys.iter().zip(call.new).filter(|(_, new)| *new != KEEP) {
            match put(new) {
                Some(bytes) => batch.put(key, bytes)?,
                None => batch.delete(key)?,
            };
        }
        batch.commit().map(drop)
    }

    fn swap(&mut self, keys: &[String; 2], call: &mut Call, one: usize) -> Result<()> {
        if call.mask != 3 {
            let before = self.store.fetch_update(&keys[one], |_| put(call.new[one]))?;
            call.seen[one] = value(before.as_deref());
            return Ok(());
        }
        call.seen = self.store.update(|txn| {
            let mut seen = [0; 2];
            for i in 0..2 {
                seen[i] = value(txn.get(&keys[i])?.as_deref());
                match put(call.new[i]) {
                    Some(bytes) => drop(txn.put(&keys[i], bytes)?),
                    None => drop(txn.delete(&keys[i])?),
                }
            }
            Ok::<_, Error>(seen)
        })?;
        Ok(())
    }

    fn compare(&self, key: &str, expected: u64, new: u64) -> Result<bool> {
        match (put(expected), put(new)) {
            (None, Some(new)) => self.store.put_if_absent(key, new),
            (old, new) => self.store.compare_and_swap(key, old.as_deref(), new.as_deref()),
        }
    }

    fn guarded(&mut self, object: u32, keys: &[String; 2], call: &mut Call) -> Result<bool> {
        let mut txn = self.store.optimistic()?;
        for i in (0..2).filter(|i| call.mask >> i & 1 == 1) {
            call.seen[i] = value(txn.get(&keys[i])?.as_deref());
        }
        for (key, new) in keys.iter().zip(call.new).filter(|(_, new)| *new != KEEP) {
            match put(new) {
                Some(bytes) => drop(txn.put(key, bytes)?),
                None => drop(txn.delete(key)?),
            }
        }
        self.log(object, Event::Read, call);
        match txn.commit_if_unchanged() {
            Ok(_) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
