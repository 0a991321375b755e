//! What a work set works with: one store of one kind in a directory of its own, the keys it holds, and where figures go.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::data;
use crate::meter::{Limit, Measured, Meter, disk_use, settle};
use crate::peer::{CACHE, Kind, Op, Peer, Reader, Setup, Survives};
use crate::row::{Row, Unit};
use crate::scale::Scale;

pub const BATCH: u64 = 1000;

pub struct Bench<'a> {
    pub kind: &'static Kind,
    pub scale: &'a Scale,
    pub dir: PathBuf,
    pub meter: Meter,
    /// None before the load, and while somebody else has the store.
    pub peer: Option<Box<dyn Peer>>,
    /// The store holds the keys of these numbers.
    pub live: std::ops::Range<u64>,
    pub out: &'a mut dyn FnMut(Row),
}

impl Bench<'_> {
    pub fn setup(&self, ask: Survives) -> Setup {
        Setup { keys: self.scale.keys, ask, cache: CACHE, read_only: false }
    }

    pub fn open(&mut self, ask: Survives) -> Result<()> {
        self.peer = Some((self.kind.open)(&self.dir, self.setup(ask))?);
        Ok(())
    }

    pub fn close(&mut self) -> Result<()> {
        self.peer.take().map_or(Ok(()), Peer::close)
    }

    pub fn peer(&self) -> Result<&dyn Peer> {
        self.peer.as_deref().context("the store is not open")
    }

    pub fn row(&self, work: impl Into<String>, unit: Unit) -> Row {
        Row::new(self.kind.name, work, unit)
    }

    /// Reports a measurement; `ask` says what its writes were asked to survive.
    pub fn report(
        &mut self,
        work: impl Into<String>,
        unit: Unit,
        ask: Option<Survives>,
        measured: &Measured,
    ) {
        let mut row = self.row(work, unit);
        row.survives =
            ask.and_then(|ask| self.kind.survives(ask)).map_or("", Survives::text).to_owned();
        row.ops = measured.ops;
        row.seconds = measured.seconds;
        row.latency = measured.latency;
        row.cpu = measured.cpu;
        row.device = measured.device;
        if ask.is_some() {
            row.wrote = measured.wrote;
        }
        (self.out)(row);
    }

    pub fn report_bytes(&mut self, work: impl Into<String>, bytes: u64) {
        let row = Row { bytes: Some(bytes), ..self.row(work, Unit::Bytes) };
        (self.out)(row);
    }

    /// Reports what the store takes on the disk. One that keeps what is unsynced in its process is closed and opened for that.
    pub fn report_disk(&mut self, work: &str) -> Result<()> {
        if self.kind.unsynced == Survives::Nothing {
            self.close()?;
            self.open(Survives::Kill)?;
        }
        settle(&self.dir)?;
        self.report_bytes(work, disk_use(&self.dir)?);
        Ok(())
    }

    pub fn skip(&mut self, work: impl Into<String>, unit: Unit, why: &str) {
        let row = Row { skipped: Some(why.to_owned()), ..self.row(work, unit) };
        (self.out)(row);
    }

    /// Commits what the numbers say, in batches.
    pub fn put_batches(
        &self,
        batch: u64,
        version: u64,
        limit: Limit,
        number: impl FnMut() -> u64,
    ) -> Result<Measured> {
        put_batches(&self.meter, self.peer()?, self.scale.value(), batch, version, limit, number)
    }
}

/// Commits batches of puts of the keys that `number` names, until the limit.
pub fn put_batches(
    meter: &Meter,
    peer: &dyn Peer,
    len: usize,
    batch: u64,
    version: u64,
    limit: Limit,
    mut number: impl FnMut() -> u64,
) -> Result<Measured> {
    let mut keys = vec![[0; data::KEY]; batch as usize];
    let mut values = vec![vec![0; len]; batch as usize];
    let mut done = 0;
    let step = || {
        let count = batch.min(limit.ops - done) as usize;
        for (key, value) in keys.iter_mut().zip(&mut values).take(count) {
            let i = number();
            *key = data::key(i);
            data::fill(value, i, version);
        }
        let ops: Vec<Op> =
            keys.iter().zip(&values).take(count).map(|(key, value)| Op::Put(key, value)).collect();
        peer.commit(&ops)?;
        done += count as u64;
        Ok(count as u64)
    };
    // Single commits and small batches are what percentiles are asked of.
    if batch <= 100 { meter.latency(limit, step) } else { meter.rate(limit, step) }
}

/// Gets key `i` and checks its value.
pub fn get(reader: &mut dyn Reader, i: u64, len: usize) -> Result<()> {
    let mut version = None;
    let found = reader.get(&data::key(i), &mut |value| version = data::version(value, i, len))?;
    ensure!(found, "key {i} is missing");
    ensure!(version.is_some(), "key {i} has a wrong value");
    Ok(())
}
