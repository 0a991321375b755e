//! The store of a trial, and what may be said of it: which keys were acknowledged, and what each call answers.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mapstone::{Durability, Error, Store};

use crate::notes::Notes;
use crate::trial::{LARGE, Trial};

/// A store with keys 0, 1, 2…, of which the first so many are durable.
pub struct Ledger<'a> {
    pub trial: &'a Trial,
    pub notes: Notes,
    pub store: Store,
    pub next: u64,
}

impl Ledger<'_> {
    fn key(number: u64) -> Vec<u8> {
        format!("key {number}").into_bytes()
    }

    fn put(&self) -> mapstone::Result<()> {
        let (key, content) = (Ledger::key(self.next), self.trial.content(self.next));
        self.store.put(&key, content.bytes(&key))
    }

    /// Puts the next key and makes it durable.
    pub fn put_durably(&mut self) -> mapstone::Result<()> {
        self.put()?;
        self.store.sync()?;
        self.next += 1;
        self.notes.note_durable(self.next).expect("the notes are on another disk");
        Ok(())
    }

    pub fn go_on(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.put_durably().with_context(|| format!("key {}", self.next))?;
        }
        Ok(())
    }

    /// Writes until nothing fits any more, not even something small; counts how often it was full.
    pub fn until_full(&mut self) -> Result<u64> {
        let (mut refused, mut in_a_row) = (0, 0);
        while in_a_row < 20 {
            match self.put_durably() {
                Ok(()) => in_a_row = 0,
                Err(Error::Full { .. }) => (refused, in_a_row) = (refused + 1, in_a_row + 1),
                Err(error) => bail!("BROKEN: on a full disk: {error:?}"),
            }
        }
        Ok(refused)
    }

    /// Waits for the space of a file that was unlinked. btrfs frees it in the background, with a later transaction.
    pub fn until_room(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        let dir = File::open(self.trial.store.parent().context("a parent")?)?;
        loop {
            rustix::fs::syncfs(&dir)?;
            let large = self.store.put_with("large", LARGE as usize, |bytes| bytes.fill(2));
            match large.and_then(|()| self.put_durably()) {
                Ok(()) => return Ok(()),
                Err(Error::Full { .. }) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => bail!("BROKEN: there is space again: {error:?}"),
            }
            ensure!(Instant::now() < until, "BROKEN: it is full for ever");
        }
    }

    /// Every kind of write may say that the disk is full, and nothing else.
    pub fn try_everything_full(&mut self) -> Result<()> {
        for round in 0..50 {
            let small = self.store.put("small", format!("{round}"));
            let large = self.store.put_with("large", LARGE as usize, |bytes| bytes.fill(1));
            let mut batch = self.store.batch();
            for i in 0..round {
                batch.put(format!("batch {i}"), [7; 50])?;
            }
            let batch = batch.commit_with(Durability::Immediate).map(drop);
            let table = self.store.table("scratch").map(drop);
            let dropped = self.store.drop_table("scratch").map(drop);
            let checkpoint = self.store.checkpoint().map(drop);
            let sync = self.store.sync().map(drop);
            for (what, result) in [
                ("put", small),
                ("put_with", large),
                ("batch", batch),
                ("table", table),
                ("drop", dropped),
                ("checkpoint", checkpoint),
            ] {
                if !matches!(result, Ok(()) | Err(Error::Full { .. })) {
                    bail!("BROKEN: {what} on a full disk: {result:?}");
                }
            }
            ensure!(sync.is_ok(), "BROKEN: sync on a full disk: {sync:?}");
        }
        for key in (0..50).map(|i| format!("batch {i}")).chain(["small".into(), "large".into()]) {
            if !matches!(self.store.delete(key), Ok(_) | Err(Error::Full { .. })) {
                bail!("BROKEN: delete on a full disk");
            }
        }
        Ok(())
    }

    pub fn check_poisoned(&self) -> Result<()> {
        let store = &self.store;
        let mut batch = store.batch();
        batch.put("k", "v")?;
        let results = [
            ("put", store.put("k", "v")),
            ("delete", store.delete("key 1").map(drop)),
            ("put_with", store.put_with("k", 3, |_| ())),
            ("commit", batch.commit().map(drop)),
            ("commit_with", batch.commit_with(Durability::Immediate).map(drop)),
            ("table", store.table("new").map(drop)),
            ("drop_table", store.drop_table("new").map(drop)),
            ("sync", store.sync().map(drop)),
            ("checkpoint", store.checkpoint().map(drop)),
        ];
        for (what, result) in results {
            ensure!(
                matches!(result, Err(Error::Poisoned)),
                "BROKEN: {what} when poisoned: {result:?}"
            );
        }
        Ok(())
    }

    /// What was acknowledged is there.
    pub fn check_reads(&self) -> Result<()> {
        for number in 0..self.next {
            let key = Ledger::key(number);
            let held = self.store.get(&key)?;
            let wanted = self.trial.content(number).bytes(&key);
            ensure!(held.as_deref() == Some(&wanted[..]), "LOST: key {number} of {}", self.next);
        }
        Ok(())
    }

    pub fn check_all(&self) -> Result<()> {
        let mut keys = 0;
        for item in &self.store.snapshot()? {
            let (key, value) = item?;
            let text = String::from_utf8_lossy(key);
            if let Some(number) = text.strip_prefix("key ").and_then(|number| number.parse().ok()) {
                ensure!(self.trial.content(number).bytes(key) == *value, "DAMAGED: {text}");
                keys += 1;
            }
        }
        ensure!(keys >= self.next, "LOST: {keys} keys of {}", self.next);
        self.check_reads()?;
        let verification = self.store.verify()?;
        ensure!(verification.is_ok(), "DAMAGED: {:?}", verification.damage);
        Ok(())
    }
}
