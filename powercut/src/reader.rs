//! A reading process beside the writer: every batch it sees is whole, every value is one that was written, and nothing it has seen goes
//! away again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use mapstone::{Error, Snapshot, Store};

use crate::notes::Notes;
use crate::script::{COUNTER, Content, GROUPS, MEMBERS, PAIRS, member_key};

/// How to read.
#[derive(Args, Clone, Debug)]
pub struct Reader {
    /// The store.
    #[arg(long)]
    pub store: PathBuf,
    /// The file of numbers, which says when to stop.
    #[arg(long)]
    pub notes: PathBuf,
}

impl Reader {
    pub fn run(&self) -> Result<()> {
        let notes = Notes::open(&self.notes, None)?;
        let Some(store) = self.open(&notes)? else { return Ok(()) };
        let (mut seen, mut rounds) = (0, 0u64);
        while !notes.stopped()? {
            let done = notes.last_done()?;
            let snapshot = store.snapshot()?;
            let counter = snapshot.get(COUNTER)?.and_then(|value| Content::claimed(&value));
            let counter = counter.map_or(0, |content| content.step);
            ensure!(counter >= seen, "VANISHED: a batch of step {seen}; the last is {counter}");
            seen = counter;
            for group in 0..GROUPS {
                check_group(&snapshot, group, counter)?;
            }
            if rounds.is_multiple_of(16) {
                check_all(&snapshot)?;
                ensure!(notes.begun()? >= counter, "a step that nobody has begun; {done} was done");
            }
            rounds += 1;
            // The writer needs a processor as well.
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// Waits for a store that can be opened.
    fn open(&self, notes: &Notes) -> Result<Option<Store>> {
        while !notes.stopped()? {
            match Store::open_read_only(&self.store) {
                Ok(store) => return Ok(Some(store)),
                Err(
                    Error::NotFound { .. } | Error::NeedsRecovery { .. } | Error::NotAStore { .. },
                ) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

fn check_group(snapshot: &Snapshot, group: u64, counter: u64) -> Result<()> {
    let keys: Vec<Vec<u8>> = (0..MEMBERS).map(|member| member_key(group, member)).collect();
    let mut values = snapshot.get_many(&keys)?;
    let pairs = snapshot.table(PAIRS)?;
    match &pairs {
        Some(pairs) => values.extend(pairs.get_many(&keys)?),
        None => ensure!(values.iter().all(Option::is_none), "TORN: group {group} without a table"),
    }
    let contents: Vec<_> =
        values.iter().map(|value| value.as_deref().and_then(Content::claimed)).collect();
    let torn = contents.iter().any(|content| *content != contents[0]);
    ensure!(!torn, "TORN: group {group} at {counter}: {contents:?}");
    ensure!(
        contents[0].is_none_or(|one| one.step <= counter),
        "TORN: group {group} without {counter}"
    );
    Ok(())
}

fn check_all(snapshot: &Snapshot) -> Result<()> {
    for name in std::iter::once(None).chain(snapshot.tables()?.into_iter().map(Some)) {
        let table = match &name {
            None => snapshot.clone(),
            Some(name) => snapshot.table(name)?.context("VANISHED: a table that is listed")?,
        };
        for item in &table {
            let (key, value) = item?;
            let whole = Content::claimed(&value).is_none_or(|content| content.bytes(key) == *value);
            ensure!(whole, "TORN: a value of {} bytes of {key:?}", value.len());
        }
    }
    Ok(())
}
