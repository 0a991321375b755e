//! The child process that loads until it is killed, and says on its standard output what it has committed.

use super::{corpus::Corpus, crew, load::Loader, marks::Mark};
use crate::{Outcome, open};
use anyhow::Result;
use std::{
    io::{self, BufReader, Write},
    path::PathBuf,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    root: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    crew::child(|out| {
        let corpus = Corpus::receive(&args.root, &mut BufReader::new(io::stdin()))?;
        let store = open::existing(&args.store)?;
        let mut loader = Loader::new(&store, &corpus)?;
        let mut mark = Mark::default();
        crew::say(out, "ready")?;
        loop {
            let position = loader.load(mark)?.as_u64();
            // Only now, after the commit: what this line says must survive whatever comes.
            let bytes = loader.loaded.bytes;
            writeln!(out, "committed {} {} {position} {bytes}", mark.pass, mark.batch)?;
            out.flush()?;
            mark = mark.next(&corpus);
        }
    })
}
