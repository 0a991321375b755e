//! The child processes: how they are started, heard, killed and ended.

use super::{
    PATIENCE, READERS,
    corpus::Corpus,
    figures::{Commit, Load},
    files::Tally,
    marks::Mark,
};
use crate::{Outcome, outcome};
use anyhow::{Context, Result, bail, ensure};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, BufRead, BufReader, Stdout, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

/// Runs a child's part. Its error goes to the parent as a line, so that the tour prints one line and not two.
pub(crate) fn child(part: impl FnOnce(&mut Stdout) -> Result<()>) -> Result<Outcome> {
    let mut out = io::stdout();
    if let Err(error) = part(&mut out) {
        // Nobody hears it if the parent has died, and then nothing is left to do.
        let _ = say(&mut out, &format!("failed {}", outcome::one_line(&error)));
    }
    Ok(Outcome::Done)
}

/// One line to the parent.
pub(crate) fn say(out: &mut Stdout, line: &str) -> Result<()> {
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// What a child said.
enum Said {
    Ready,
    Committed(Commit),
    Checked(Tally),
    Finished(Tally),
    Failed(String),
    /// Its end of the pipe is closed: it has ended.
    Ended,
}

/// A child process that does not outlive this value.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Crew {
    writer: Member,
    readers: Vec<Member>,
    said: Receiver<(usize, Said)>,
    /// By reader: its newest report.
    checked: [Tally; READERS],
    writing_since: Instant,
}

/// The writer's number; the readers have those below.
const WRITER: usize = READERS;

impl Crew {
    /// Starts the readers, and the writer once they have the store open.
    pub(crate) fn assemble(corpus: &Corpus, store: &Path) -> Result<Self> {
        let (sender, said) = mpsc::channel();
        let mut readers = Vec::new();
        for number in 0..READERS {
            // Any two sequences that differ.
            let seed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
            let mut command = program("tour-reader", store, corpus)?;
            readers.push(start(corpus, command.arg(seed), number, &sender)?);
        }
        for _ in 0..READERS {
            ready(&said)?;
        }
        let writer = start(corpus, &mut program("tour-writer", store, corpus)?, WRITER, &sender)?;
        ready(&said)?;
        let checked = Default::default();
        Ok(Self { writer, readers, said, checked, writing_since: Instant::now() })
    }

    /// Kills the writer once a random share of the tree is committed and both readers have seen data; a small tree
    /// is loaded over and over until they have.
    pub(crate) fn kill_writer_in_mid_load(&mut self, corpus: &Corpus) -> Result<Load> {
        let share = 30 + RandomState::new().build_hasher().finish() % 40;
        let target = (corpus.batches.len() as u64 * share).div_ceil(100).max(1);
        let mut newest: Option<Commit> = None;
        while newest.is_none_or(|commit| commit.mark.ordinal(corpus) < target)
            || self.checked.iter().any(|tally| tally.files == 0)
        {
            let ended = self.note(hear(&self.said)?, &mut newest)?;
            ensure!(!ended, "the writer has ended by itself");
        }
        self.writer.0.kill().context("kill the writer")?;
        let status = self.writer.0.wait().context("wait for the killed writer")?;
        ensure!(
            status.signal() == Some(9),
            "the writer was to die by SIGKILL and ended with {status}"
        );
        let seen = self.checked;
        let took = self.writing_since.elapsed();
        // Its last words are still in the pipe.
        while !self.note(hear(&self.said)?, &mut newest)? {}
        let acknowledged = newest.context("the writer has committed nothing")?;
        Ok(Load { share, acknowledged, took, seen })
    }

    /// Takes note of what a child said; whether it was the writer's end.
    fn note(&mut self, (who, said): (usize, Said), newest: &mut Option<Commit>) -> Result<bool> {
        match said {
            Said::Committed(commit) => *newest = Some(commit),
            Said::Checked(tally) | Said::Finished(tally) => self.checked[who] = tally,
            Said::Ended if who == WRITER => return Ok(true),
            Said::Ended => bail!("a reader has ended by itself"),
            Said::Ready | Said::Failed(_) => {}
        }
        Ok(false)
    }

    /// Lets each reader compare every file once more; the sum of all they did, by reader.
    pub(crate) fn finish_readers(mut self) -> Result<[Tally; READERS]> {
        for reader in &mut self.readers {
            let input = reader.0.stdin.as_mut().context("a reader has no standard input")?;
            // A reader that has failed does not take it; why it failed is among what it said.
            let _ = input.write_all(b"\n");
        }
        let mut finished = [false; READERS];
        while finished.contains(&false) {
            let (who, said) = hear(&self.said)?;
            if matches!(said, Said::Ended) && finished[who] {
                continue;
            }
            finished[who] |= matches!(said, Said::Finished(_));
            self.note((who, said), &mut None)?;
        }
        Ok(self.checked)
    }
}

/// This program again, as one of its hidden commands.
fn program(part: &str, store: &Path, corpus: &Corpus) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg(part).arg(store).arg(&corpus.root);
    Ok(command)
}

fn start(
    corpus: &Corpus,
    command: &mut Command,
    number: usize,
    sender: &Sender<(usize, Said)>,
) -> Result<Member> {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start a child process")?;
    let mut child = Member(child);
    let output = child.0.stdout.take().context("a child process has no standard output")?;
    let sender = sender.clone();
    thread::spawn(move || listen(number, output, &sender));
    let input = child.0.stdin.as_mut().context("a child process has no standard input")?;
    corpus.send(input).context("send the list of files")?;
    Ok(child)
}

/// Passes on what the child says, until it ends.
fn listen(number: usize, output: ChildStdout, sender: &Sender<(usize, Said)>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    // A line without its end was cut off by the kill: it acknowledges nothing.
    while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
        let said = parse(&line).unwrap_or_else(|| Said::Failed(format!("unknown words {line:?}")));
        // The receiver is gone where the tour has failed.
        let _ = sender.send((number, said));
        line.clear();
    }
    let _ = sender.send((number, Said::Ended));
}

fn parse(line: &str) -> Option<Said> {
    let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    let numbers: Vec<u64> = rest.split(' ').map_while(|number| number.parse().ok()).collect();
    Some(match (word, &numbers[..]) {
        ("ready", []) => Said::Ready,
        ("committed", &[pass, batch, position, bytes]) => {
            Said::Committed(Commit { mark: Mark { pass, batch }, position, bytes })
        }
        ("checked", &[files, bytes, changed]) => Said::Checked(Tally { files, bytes, changed }),
        ("finished", &[files, bytes, changed]) => Said::Finished(Tally { files, bytes, changed }),
        ("failed", _) => Said::Failed(rest.to_owned()),
        _ => return None,
    })
}

fn hear(said: &Receiver<(usize, Said)>) -> Result<(usize, Said)> {
    match said.recv_timeout(PATIENCE) {
        Ok((WRITER, Said::Failed(text))) => bail!("the writer: {text}"),
        Ok((number, Said::Failed(text))) => bail!("reader {}: {text}", number + 1),
        Ok(heard) => Ok(heard),
        Err(_) => {
            bail!("the child processes have been silent for {} s", Duration::as_secs(&PATIENCE))
        }
    }
}

fn ready(said: &Receiver<(usize, Said)>) -> Result<()> {
    loop {
        match hear(said)? {
            (_, Said::Ready) => return Ok(()),
            (_, Said::Ended) => bail!("a child process ended before it began"),
            _ => {}
        }
    }
}
