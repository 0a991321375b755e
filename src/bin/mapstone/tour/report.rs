//! The table that the tour ends with.

use super::{corpus::Corpus, figures::Figures, files::Tally};
use crate::{
    output::{self, Output},
    units::{counted, grouped, size},
};
use anyhow::Result;
use std::{fmt::Display, io, io::Write, path::Path, time::Duration};

pub(crate) fn print(corpus: &Corpus, figures: &Figures, kept: Option<&Path>) -> Result<()> {
    let mut out = output::stdout();
    let root = corpus.root.display();
    writeln!(out, "mapstone tour of {root}: every byte as it should be")?;
    tree(&mut out, corpus)?;
    kill(&mut out, corpus, figures)?;
    recovery(&mut out, corpus, figures)?;
    comparisons(&mut out, figures)?;
    speeds(&mut out, figures)?;
    space(&mut out, figures)?;
    if let Some(path) = kept {
        row(&mut out, "store kept", path.display())?;
    }
    Ok(out.flush()?)
}

fn row(out: &mut Output, label: &str, text: impl Display) -> io::Result<()> {
    writeln!(out, "  {label:<16} {text}")
}

fn tree(out: &mut Output, corpus: &Corpus) -> io::Result<()> {
    let files = counted(corpus.files.len() as u64, "file", "files");
    let batches = counted(corpus.batches.len() as u64, "batch", "batches");
    let (bytes, skipped) = (size(corpus.bytes), grouped(corpus.skipped));
    let text = format!("{files}, {bytes}, in {batches}; {skipped} skipped");
    row(out, "tree", text)?;
    match corpus.cut {
        Some(reason) => row(out, "", format_args!("not the whole tree: {reason}")),
        None => Ok(()),
    }
}

fn kill(out: &mut Output, corpus: &Corpus, figures: &Figures) -> io::Result<()> {
    let (load, newest) = (&figures.load, &figures.load.acknowledged);
    let batches = grouped(newest.mark.ordinal(corpus));
    let again = match newest.mark.pass {
        0 => String::new(),
        pass => format!(", in pass {} over the tree", pass + 1),
    };
    let loaded = rate(newest.bytes, load.took);
    let share = load.share;
    let text = format!("by SIGKILL, after {batches} batches{again} (aim: {share} %), {loaded}");
    row(out, "writer killed", text)?;
    let seen = each(&load.seen);
    row(out, "readers by then", format_args!("had compared {seen}"))
}

fn recovery(out: &mut Output, corpus: &Corpus, figures: &Figures) -> io::Result<()> {
    let acknowledged = grouped(figures.load.acknowledged.mark.ordinal(corpus));
    let recovered = &figures.recovered;
    let and_one = if recovered.one_more { " and one more" } else { "" };
    let compared = counted(recovered.tally.files, "file compared", "files compared");
    let took = milliseconds(figures.recovery);
    let text = format!(
        "{took}; all {acknowledged} acknowledged batches{and_one} there, none in half; {compared}"
    );
    row(out, "recovery", text)?;
    let batches = counted(figures.finish.batches, "batch", "batches");
    let finished = rate(figures.finish.bytes, figures.finish_time);
    row(out, "load finished", format_args!("{batches} more, {finished}, durable"))
}

fn comparisons(out: &mut Output, figures: &Figures) -> io::Result<()> {
    let readers = each(&figures.readers);
    row(
        out,
        "readers in all",
        format_args!("compared {readers}, the same two processes throughout"),
    )?;
    let files = counted(figures.compared.files, "file", "files");
    let compared = rate(figures.compared.bytes, figures.compare_time);
    row(out, "compared again", format_args!("{files}, {compared}"))?;
    let verified = rate(figures.verified, figures.verify_time);
    row(out, "verify", format_args!("{verified}, no damage"))?;
    let tallies = [&figures.recovered.tally, &figures.compared];
    let changed: u64 = figures.readers.iter().chain(tallies).map(|tally| tally.changed).sum();
    if changed > 0 {
        let times = counted(changed, "comparison", "comparisons");
        row(out, "left out", format_args!("{times} with files that somebody changed meanwhile"))?;
    }
    Ok(())
}

fn speeds(out: &mut Output, figures: &Figures) -> io::Result<()> {
    let one_by_one = per_second(figures.speed.one_by_one);
    let in_groups = per_second(figures.speed.in_groups);
    row(out, "get", format_args!("{one_by_one}; in groups of 32, {in_groups}"))?;
    row(out, "clean reopen", milliseconds(figures.reopen))
}

fn space(out: &mut Output, figures: &Figures) -> io::Result<()> {
    let Some(stats) = &figures.stats else {
        return Ok(());
    };
    let entries = counted(stats.entries, "entry", "entries");
    let segments = counted(stats.segments, "segment", "segments");
    let [live, dead, index, files] =
        [stats.live_bytes, stats.dead_bytes, stats.index_bytes, stats.file_bytes].map(size);
    let text =
        format!("{entries}, {segments}; live {live}, dead {dead}, index {index}, files {files}");
    row(out, "store", text)
}

fn each(tallies: &[Tally]) -> String {
    let files: Vec<String> = tallies.iter().map(|tally| grouped(tally.files)).collect();
    let bytes = size(tallies.iter().map(|tally| tally.bytes).sum());
    format!("{} files ({bytes})", files.join(" and "))
}

/// So many bytes, and how many a second.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
fn rate(bytes: u64, time: Duration) -> String {
    let per_second = bytes as f64 / time.as_secs_f64().max(1e-9) / f64::from(1 << 20);
    format!("{} at {per_second:.0} MiB/s", size(bytes))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn per_second(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.1} M/s", rate / 1e6) } else { format!("{:.0} K/s", rate / 1e3) }
}
