//! Runs every store in child processes, round after round, in another order each time, and collects the rows.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::child::Task;
use crate::peer::{Kind, kinds};
use crate::row::{Row, Unit};
use crate::scale::Scale;
use crate::works::WORKS;

pub struct Plan {
    pub peers: Vec<&'static Kind>,
    /// Work sets that share one child, then those that have one each.
    pub groups: Vec<Vec<String>>,
    pub rounds: u32,
    pub scale: Scale,
}

impl Plan {
    pub fn new(peers: &[String], works: &[String], rounds: u32, scale: Scale) -> Result<Plan> {
        for name in works {
            ensure!(WORKS.iter().any(|work| work.name == name), "no work set {name}");
        }
        for name in peers {
            crate::peer::kind(name)?;
        }
        let wanted =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
        let mut together: Vec<String> = WORKS
            .iter()
            .filter(|work| !work.apart && wanted(works, work.name))
            .map(|work| work.name.to_owned())
            .collect();
        // All of these need the keys.
        if !together.is_empty() && together[0] != "load" {
            together.insert(0, "load".to_owned());
        }
        let mut groups = vec![together];
        groups.extend(
            WORKS
                .iter()
                .filter(|work| work.apart && wanted(works, work.name))
                .map(|work| vec![work.name.to_owned()]),
        );
        groups.retain(|group| !group.is_empty());
        let peers = kinds().into_iter().filter(|kind| wanted(peers, kind.name)).collect();
        Ok(Plan { peers, groups, rounds, scale })
    }

    /// Runs everything in directories below `dir`; each row also goes to `lines` at once.
    pub fn run(&self, dir: &Path, lines: &mut dyn Write) -> Result<Vec<Row>> {
        let steps = u64::from(self.rounds) * (self.peers.len() * self.groups.len()) as u64;
        let progress = ProgressBar::new(steps).with_style(
            ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {pos}/{len} {msg}")
                .expect("a sound template"),
        );
        let mut rows = Vec::new();
        for round in 0..self.rounds {
            for group in &self.groups {
                for kind in order(&self.peers, round) {
                    progress.set_message(format!(
                        "round {}: {}, {}",
                        round + 1,
                        kind.name,
                        group.join(" ")
                    ));
                    let before = rows.len();
                    if let Err(error) = self.child(kind, group, dir, round, &mut rows) {
                        progress.suspend(|| eprintln!("failed: {}: {error:#}", kind.name));
                        rows.push(failure(kind, group, round, &error));
                    }
                    for row in &rows[before..] {
                        writeln!(lines, "{}", serde_json::to_string(row)?)?;
                    }
                    lines.flush()?;
                    progress.inc(1);
                }
            }
        }
        progress.finish_and_clear();
        Ok(rows)
    }

    fn child(
        &self,
        kind: &Kind,
        works: &[String],
        dir: &Path,
        round: u32,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let scratch = tempfile::Builder::new().prefix("compare-").tempdir_in(dir)?;
        let task = Task {
            peer: kind.name.to_owned(),
            dir: scratch.path().to_owned(),
            works: works.to_vec(),
            scale: self.scale.clone(),
        };
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .arg(serde_json::to_string(&task)?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().context("no pipe")?;
        let errors =
            std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
        for line in BufReader::new(child.stdout.take().context("no pipe")?).lines() {
            let line = line?;
            // A store may print to the same pipe.
            if let Ok(row) = serde_json::from_str::<Row>(&line) {
                rows.push(Row { round, ..row });
            }
        }
        let status = child.wait()?;
        let errors = errors.join().unwrap_or_default();
        ensure!(
            status.success(),
            "{status}: {}",
            errors.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
        );
        Ok(())
    }
}

/// Forwards, backwards, and from another place each time, so that what else the machine does falls on all.
fn order(peers: &[&'static Kind], round: u32) -> Vec<&'static Kind> {
    let mut order = peers.to_vec();
    let count = order.len().max(1);
    order.rotate_left((round as usize / 2 * 5) % count);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn failure(kind: &Kind, works: &[String], round: u32, error: &anyhow::Error) -> Row {
    let work = format!("failures in {}", works.join(", "));
    let skipped = Some(format!("failed: {error:#}"));
    Row { round, skipped, ..Row::new(kind.name, work, Unit::Rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_peer_and_another_order() {
        let peers = kinds();
        let names = |round| order(&peers, round).iter().map(|kind| kind.name).collect::<Vec<_>>();
        for round in 0..6 {
            let mut sorted = names(round);
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), peers.len());
            assert!(round == 0 || names(round) != names(round - 1));
        }
    }
}
