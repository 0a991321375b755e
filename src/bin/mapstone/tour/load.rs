//! Loading: one batch of files with its mark in one commit, or all that are still missing.

use super::{
    corpus::Corpus,
    files,
    marks::{self, Mark},
};
use anyhow::{Context, Result};
use mapstone::{Batch, Position, Store, Table};

/// What was committed.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Loaded {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
}

pub(crate) struct Loader<'a> {
    corpus: &'a Corpus,
    marks: Table,
    batch: Batch,
    content: Vec<u8>,
    pub(crate) loaded: Loaded,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(store: &Store, corpus: &'a Corpus) -> Result<Self> {
        let (marks, batch) = (store.table(marks::TABLE)?, store.batch());
        Ok(Self { corpus, marks, batch, content: Vec::new(), loaded: Loaded::default() })
    }

    /// One commit: the batch's files, read anew, and its mark. Nothing waits for the disk.
    pub(crate) fn load(&mut self, mark: Mark) -> Result<Position> {
        for file in &self.corpus.files[self.corpus.batches[usize::try_from(mark.batch)?].clone()] {
            // A file that has gone since it was listed cannot be loaded, and the readers will see that it has gone.
            if files::read(&self.corpus.path(file), &mut self.content).is_ok() {
                self.batch.put(&file.key, &self.content)?;
                self.loaded.files += 1;
                self.loaded.bytes += self.content.len() as u64;
            }
        }
        self.batch.put_in(&self.marks, marks::key(mark.batch), mark.encode())?;
        self.batch.put_in(&self.marks, marks::NEWEST, mark.encode())?;
        self.loaded.batches += 1;
        Ok(self.batch.commit()?)
    }
}

/// Goes on after the newest batch that the store has, to the end of that pass, and makes it durable.
pub(crate) fn finish(store: &Store, corpus: &Corpus) -> Result<Loaded> {
    let newest =
        store.table(marks::TABLE)?.get(marks::NEWEST)?.context("the newest mark is gone")?.to_vec();
    let mut mark = Mark::decode(&newest)?.next(corpus);
    let mut loader = Loader::new(store, corpus)?;
    // A pass that ended just before the kill is followed by one more: there is always something to finish.
    let pass = mark.pass;
    while mark.pass == pass {
        loader.load(mark)?;
        mark = mark.next(corpus);
    }
    store.sync()?;
    Ok(loader.loaded)
}
