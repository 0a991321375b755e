//! A child process that reads beside the writer, through its death and the recovery, and compares with the files.

use super::{
    corpus::Corpus,
    crew,
    files::Checker,
    marks::{self, Mark},
};
use crate::Outcome;
use anyhow::{Context, Result, ensure};
use mapstone::{Snapshot, Store};
use std::{
    io::{self, BufReader, Read, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often the parent hears of progress.
const REPORT: Duration = Duration::from_millis(20);

// What the parent asks for, by a line on standard input; its death closes the pipe and ends the child.
const GO_ON: u8 = 0;
const FINISH: u8 = 1;
const GIVE_UP: u8 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    root: PathBuf,
    /// Where the reader's choice of batches begins
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    crew::child(|out| {
        let mut input = BufReader::new(io::stdin());
        let corpus = Corpus::receive(&args.root, &mut input)?;
        let store = Store::open_read_only(&args.store)?;
        crew::say(out, "ready")?;
        let wish = listen(input);
        let mut reader = Reader {
            store: &store,
            corpus: &corpus,
            checker: Checker::new(&corpus),
            seed: args.seed,
        };
        let mut reported = None;
        while wish.load(Ordering::Relaxed) == GO_ON {
            reader.round()?;
            if reader.checker.tally.files > 0
                && reported.is_none_or(|at: Instant| at.elapsed() > REPORT)
            {
                reader.report("checked", out)?;
                reported = Some(Instant::now());
            }
        }
        if wish.load(Ordering::Relaxed) == FINISH {
            reader.everything()?;
            reader.report("finished", out)?;
        }
        Ok(())
    })
}

fn listen(mut input: impl Read + Send + 'static) -> Arc<AtomicU8> {
    let wish = Arc::new(AtomicU8::new(GO_ON));
    let told = Arc::clone(&wish);
    thread::spawn(move || {
        let finish = input.read(&mut [0]).is_ok_and(|read| read > 0);
        told.store(if finish { FINISH } else { GIVE_UP }, Ordering::Relaxed);
    });
    wish
}

struct Reader<'a> {
    store: &'a Store,
    corpus: &'a Corpus,
    checker: Checker<'a>,
    seed: u64,
}

impl Reader<'_> {
    /// Two batches: the newest in a snapshot, and any that should be there by plain gets.
    fn round(&mut self) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        let table = snapshot.table(marks::TABLE)?.context("the table of marks is gone")?;
        let Some(newest) = table.get(marks::NEWEST)? else {
            thread::sleep(Duration::from_millis(1));
            return Ok(());
        };
        let newest = Mark::decode(&newest)?;
        self.at_one_position(&snapshot, &table, newest.batch)?;
        self.at_one_position(&snapshot, &table, newest.next(self.corpus).batch)?;
        let known =
            if newest.pass == 0 { newest.batch + 1 } else { self.corpus.batches.len() as u64 };
        let any = self.random() % known;
        self.as_it_is_now(any)
    }

    /// In one snapshot a batch's mark and its files are there or absent together.
    fn at_one_position(&mut self, snapshot: &Snapshot, marks: &Snapshot, batch: u64) -> Result<()> {
        let committed = marks.get(marks::key(batch))?.is_some();
        for index in self.corpus.batches[usize::try_from(batch)?].clone() {
            let found = snapshot.get(&self.corpus.files[index].key)?;
            if committed {
                self.checker.compare(index, found.as_deref())?;
            } else {
                ensure!(
                    found.is_none(),
                    "mismatch: batch {batch} is half there, at position {}",
                    snapshot.position()
                );
            }
        }
        Ok(())
    }

    fn as_it_is_now(&mut self, batch: u64) -> Result<()> {
        let range = self.corpus.batches[usize::try_from(batch)?].clone();
        let keys: Vec<&[u8]> =
            self.corpus.files[range.clone()].iter().map(|file| &file.key[..]).collect();
        for (index, found) in range.zip(self.store.get_many(&keys)?) {
            self.checker.compare(index, found.as_deref())?;
        }
        Ok(())
    }

    fn everything(&mut self) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        for (index, file) in self.corpus.files.iter().enumerate() {
            self.checker.compare(index, snapshot.get(&file.key)?.as_deref())?;
        }
        Ok(())
    }

    fn report(&self, word: &str, out: &mut impl Write) -> Result<()> {
        let tally = self.checker.tally;
        writeln!(out, "{word} {} {} {}", tally.files, tally.bytes, tally.changed)?;
        Ok(out.flush()?)
    }

    /// xorshift64: any spread-out sequence will do.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}
