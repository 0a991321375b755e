//! `import`: a directory tree, a TSV or JSON Lines into a store, in batches.

use crate::{
    Outcome,
    arguments::{Durability, TableArgument},
    formats::{self, Format},
    jsonl,
    loader::{Loader, Tally},
    output, progress, tree, tsv, units,
};
use anyhow::{Context, Result, bail, ensure};
use mapstone::Store;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::Instant,
};

/// Load a directory tree, a TSV or JSON Lines; the store is created where there is none
///
/// An entry replaces the value that its key had. An error stops the import; the batches before it stay.
#[derive(clap::Args)]
#[command(after_help = formats::HELP)]
pub(crate) struct Args {
    store: PathBuf,
    /// A directory, a file, or `-` for standard input
    input: PathBuf,
    /// The file's format, where its name does not end in .tsv, .jsonl, .ndjson or .json
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    table: TableArgument,
    /// For each batch; by default the batches are eventual and one sync at the end makes them all durable
    #[arg(long)]
    durability: Option<Durability>,
    /// Entries in a batch, which is committed whole (64 MiB of entries end a batch, too)
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
}

enum Input {
    Tree,
    Lines(Format, Box<dyn BufRead>, Option<u64>),
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let start = Instant::now();
    // Before the store is opened: a mistyped input should not leave a new store behind.
    let input = open(&args.input, args.format)?;
    let store = Store::open(&args.store)?;
    let mut loader = Loader::new(&store, args.table.name.as_deref(), args.batch, args.durability);
    let fed = match input {
        Input::Tree => tree(&args.input, &args.store, &mut loader),
        Input::Lines(format, lines, length) => {
            self::lines(lines, format, length, &mut loader).map(|()| 0)
        }
    };
    let skipped = fed.with_context(|| stopped(&args.input, loader.committed()))?;
    let tally = loader.finish()?;
    store.close()?;
    summary(tally, skipped, start)?;
    Ok(Outcome::Done)
}

fn open(path: &Path, format: Option<Format>) -> Result<Input> {
    if path.as_os_str() == "-" {
        let format = format
            .context("standard input has no name to tell its format: say --format tsv or jsonl")?;
        return Ok(Input::Lines(format, Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("look at {}", path.display()))?;
    if metadata.is_dir() {
        ensure!(
            format.is_none(),
            "{} is a directory, which --format does not apply to",
            path.display()
        );
        return Ok(Input::Tree);
    }
    let format = match (format, path.extension().and_then(|extension| extension.to_str())) {
        (Some(format), _) => format,
        (None, Some("tsv")) => Format::Tsv,
        (None, Some("jsonl" | "ndjson" | "json")) => Format::Jsonl,
        _ => {
            bail!("the name {} does not tell the format: say --format tsv or jsonl", path.display())
        }
    };
    let length = metadata.is_file().then_some(metadata.len());
    Ok(Input::Lines(format, Box::new(BufReader::with_capacity(256 * 1024, file)), length))
}

fn lines(
    mut input: Box<dyn BufRead>,
    format: Format,
    length: Option<u64>,
    loader: &mut Loader<'_>,
) -> Result<()> {
    let bar = progress::bytes("import", length);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = input.read_until(b'\n', &mut line).context("read")?;
        if read == 0 {
            break;
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        entry(&line, format, loader).with_context(|| format!("line {number}"))?;
        bar.inc(read as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

fn entry(line: &[u8], format: Format, loader: &mut Loader<'_>) -> Result<()> {
    match format {
        Format::Tsv => match tsv::parse(line)? {
            Some((key, value)) => loader.put(None, &key, &value),
            None => Ok(()),
        },
        Format::Jsonl => match jsonl::parse(line)? {
            Some((table, key, value)) => loader.put(table.as_deref(), &key, &value),
            None => Ok(()),
        },
    }
}

/// Loads every regular file below `root`; the number of those left out because they are something else.
fn tree(root: &Path, store: &Path, loader: &mut Loader<'_>) -> Result<u64> {
    let mut files = Vec::new();
    let (mut bytes, mut skipped) = (0, 0);
    for entry in tree::walk(root, store) {
        let entry = entry?;
        if entry.file_type().is_file() {
            bytes += entry.metadata()?.len();
            files.push(entry.into_path());
        } else {
            skipped += 1;
        }
    }
    let bar = progress::bytes("import", Some(bytes));
    for path in files {
        let value = read(&path).with_context(|| format!("read {}", path.display()))?;
        loader.put(None, &tree::key(root, &path), &value)?;
        bar.inc(value.len() as u64);
    }
    bar.finish_and_clear();
    Ok(skipped)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    // The store would refuse it anyway, but only once it is all in memory.
    ensure!(
        fs::metadata(path)?.len() <= u64::from(u32::MAX),
        "larger than the largest value, 4 GiB"
    );
    Ok(fs::read(path)?)
}

fn stopped(input: &Path, committed: Tally) -> String {
    match committed.entries {
        0 => format!("import {}, nothing imported", input.display()),
        entries => format!(
            "import {}, stopped after {}",
            input.display(),
            units::counted(entries, "entry", "entries")
        ),
    }
}

fn summary(tally: Tally, skipped: u64, start: Instant) -> Result<()> {
    let entries = units::counted(tally.entries, "entry", "entries");
    let batches = units::counted(tally.batches, "batch", "batches");
    let mut out = output::stdout();
    write!(
        out,
        "imported {entries}, {}, in {batches}, {:.1?}",
        units::size(tally.bytes),
        start.elapsed()
    )?;
    if skipped > 0 {
        write!(
            out,
            "; skipped {}",
            units::counted(skipped, "link or special file", "links and special files")
        )?;
    }
    writeln!(out)?;
    Ok(out.flush()?)
}
