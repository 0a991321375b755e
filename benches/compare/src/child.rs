//! One store in a process of its own: runs work sets and prints a row for each figure.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::meter::{Meter, settle};
use crate::peer;
use crate::row::Row;
use crate::scale::Scale;
use crate::works::{WORKS, Work};

#[derive(Serialize, Deserialize)]
pub struct Task {
    pub peer: String,
    pub dir: PathBuf,
    pub works: Vec<String>,
    pub scale: Scale,
}

impl Task {
    pub fn run(&self) -> Result<()> {
        let mut out = |row: Row| {
            let line = serde_json::to_string(&row).expect("a row is plain data");
            let mut stdout = std::io::stdout().lock();
            if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
                // The parent is gone, and with it whoever wants to know the rest.
                std::process::exit(1);
            }
        };
        let mut bench = Bench {
            kind: peer::kind(&self.peer)?,
            scale: &self.scale,
            dir: self.dir.clone(),
            meter: Meter::new(&self.dir),
            peer: None,
            live: 0..self.scale.keys,
            out: &mut out,
        };
        for work in self.works()? {
            settle(&self.dir)?;
            (work.run)(&mut bench).with_context(|| format!("{}, {}", self.peer, work.name))?;
        }
        bench.close()
    }

    /// In their order; but durable commits alone where nothing can be read.
    fn works(&self) -> Result<Vec<&'static Work>> {
        let readable = peer::kind(&self.peer)?.readable;
        Ok(WORKS
            .iter()
            .filter(|work| self.works.iter().any(|name| name == work.name))
            .filter(|work| readable || work.name == "durable")
            .collect())
    }
}
