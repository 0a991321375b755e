//! The writing process: opens the store (and so recovers it), checks it against the model, and goes on with the script.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use mapstone::{Durability, Options, Store, Table};

use crate::model::check;
use crate::notes::Notes;
use crate::script::{Action, Durable, Op, Script, Settings, Step};

/// How to write.
#[derive(Args, Clone, Debug)]
pub struct Writer {
    /// The store.
    #[arg(long)]
    pub store: PathBuf,
    /// Which script.
    #[arg(long)]
    pub seed: u64,
    /// The file of numbers.
    #[arg(long)]
    pub notes: PathBuf,
    /// The control file of a logging disk.
    #[arg(long)]
    pub control: Option<PathBuf>,
    /// The first step that the store may be at.
    #[arg(long, default_value_t = 0)]
    pub low: u64,
    /// The last step that the store may be at.
    #[arg(long, default_value_t = 0)]
    pub high: u64,
    /// How many steps to take.
    #[arg(long, default_value_t = u64::MAX)]
    pub steps: u64,
}

impl Writer {
    pub fn run(&self) -> Result<()> {
        let mut notes = Notes::open(&self.notes, self.control.as_ref())?;
        let mut store = open(&self.store, self.seed)?;
        let (mut script, mut model) = check(&store, self.seed, self.low, self.high)?;
        let at = script.number();
        store.sync()?;
        notes.begin(at)?;
        notes.done(at)?;
        notes.durable(at)?;
        for _ in 0..self.steps {
            let step = script.next().expect("endless");
            notes.begin(step.number)?;
            let durable;
            (store, durable) = self.step(store, &step)?;
            notes.done(step.number)?;
            if durable {
                notes.durable(step.number)?;
            }
            model.apply(&step);
        }
        let last = script.number();
        store.close()?;
        notes.durable(last)?;
        self.check_closed(last, &script)
    }

    /// What was closed is there, for readers too.
    fn check_closed(&self, last: u64, script: &Script) -> Result<()> {
        let reader = Store::open_read_only(&self.store)?;
        check(&reader, self.seed, last, last).context("after a clean close")?;
        ensure!(script.number() == last, "the script went on");
        Ok(())
    }

    /// Takes a step; says whether everything up to it is durable.
    fn step(&self, store: Store, step: &Step) -> Result<(Store, bool)> {
        match &step.action {
            Action::Sync => {
                store.sync()?;
                return Ok((store, true));
            }
            Action::Checkpoint => {
                store.checkpoint()?;
                return Ok((store, true));
            }
            Action::Reopen => {
                store.close()?;
                return Ok((open(&self.store, self.seed)?, true));
            }
            Action::Put(op) => match step.durable {
                Durable::Immediate => {
                    batch(&store, std::slice::from_ref(op), Durability::Immediate)?
                }
                _ if op.table.is_empty() => store.put(&op.key, bytes(op))?,
                _ => table(&store, op)?.put(&op.key, bytes(op))?,
            },
            Action::PutWith(op) => {
                let content = op.put.expect("a put");
                let fill = |to: &mut [u8]| content.fill(&op.key, to);
                match op.table {
                    "" => store.put_with(&op.key, content.len as usize, fill)?,
                    _ => table(&store, op)?.put_with(&op.key, content.len as usize, fill)?,
                }
            }
            Action::Delete(op) if op.table.is_empty() => drop(store.delete(&op.key)?),
            Action::Delete(op) => drop(table(&store, op)?.delete(&op.key)?),
            Action::Batch(ops) => batch(
                &store,
                ops,
                match step.durable {
                    Durable::Immediate => Durability::Immediate,
                    _ => Durability::Eventual,
                },
            )?,
            Action::Create(name) => drop(store.table(name)?),
            Action::Drop(name) => drop(store.drop_table(name)?),
        }
        let waited = matches!(step.action, Action::Put(_) | Action::Batch(_));
        let durable = match step.durable {
            Durable::Immediate => waited,
            Durable::Synced => store.sync().map(|_| true)?,
            Durable::No => false,
        };
        Ok((store, durable))
    }
}

/// Opens the store for writing, as the seed says.
pub fn open(path: &Path, seed: u64) -> Result<Store> {
    let settings = Settings::of(seed);
    let mut options = Options::new();
    options.segment_size(settings.segment).checkpoint_interval(settings.checkpoint);
    Ok(options.background(settings.background).open(path)?)
}

fn bytes(op: &Op) -> Vec<u8> {
    op.put.expect("a put").bytes(&op.key)
}

fn table(store: &Store, op: &Op) -> Result<Table> {
    // Named in the script only while it is there, so this commits nothing.
    Ok(store.table(op.table)?)
}

fn batch(store: &Store, ops: &[Op], durability: Durability) -> Result<()> {
    let mut batch = store.batch();
    for op in ops {
        match (op.table, op.put) {
            ("", Some(content)) => batch.put(&op.key, content.bytes(&op.key))?,
            ("", None) => batch.delete(&op.key)?,
            (_, Some(content)) => {
                batch.put_in(&table(store, op)?, &op.key, content.bytes(&op.key))?
            }
            (_, None) => batch.delete_in(&table(store, op)?, &op.key)?,
        };
    }
    let position = batch.commit_with(durability)?;
    if store.position() < position {
        bail!("LOST: a commit at {position:?} is not seen");
    }
    Ok(())
}
