//! What an operation may cost: the one place for these figures. docs/benchmarks.md has them beside what was measured.
//!
//! A bound is a few per cent above the measured figure: each store hashes with a seed of its own, which moves a figure by up to two
//! per cent. A figure above its bound fails. One that is far below fails too, because such a bound holds back nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What was measured, by row.
pub(crate) type Figures = BTreeMap<String, Vec<f64>>;

/// A bound that is looser than this asks to be tightened.
const FAR_BELOW: f64 = 0.8;

/// A bound that is lower than this is none that could be tightened: it is of a few calls in all, by the C library's allocator, and one
/// run has one more than another.
const FEW: f64 = 0.2;

/// The bounds of some figures.
pub(crate) struct Table {
    /// What a row is.
    of: &'static str,
    columns: &'static [&'static str],
    /// Whether a figure that is far below its bound may be the kernel's merit.
    may_be_less: bool,
    pub(crate) rows: &'static [(&'static str, &'static [f64])],
}

pub(crate) const TABLES: [&Table; 3] = [&PROCESSOR, &CALLS, &DEVICE];

/// Of a processor, for one operation: x86-64, Rust 1.95.
pub(crate) const PROCESSOR: Table = Table {
    of: "operation",
    columns: &["instructions", "cache lines"],
    may_be_less: false,
    rows: &[
        ("get", &[350.0, 2.65]),
        ("get, absent", &[251.0, 0.84]),
        ("contains", &[318.0, 2.5]),
        ("get in a snapshot", &[303.0, 2.55]),
        ("get, read-only", &[350.0, 2.65]),
        ("get_many of 32", &[528.0, 2.6]),
        ("iterate", &[304.0, 1.52]),
        ("put, overwriting", &[2125.0, 5.4]),
        ("put, new key", &[2330.0, 5.95]),
        ("overwrite, batches of 1,000", &[1500.0, 5.55]),
        ("new keys, batches of 1,000", &[1830.0, 7.15]),
        ("delete", &[2050.0, 3.4]),
        ("durable put", &[3420.0, 2.75]),
        ("put, shared writer", &[2320.0, 4.2]),
    ],
};

/// Of the kernel, for 1,000 operations. Beginning a segment takes 28 calls; segments are of 1 MiB here.
pub(crate) const CALLS: Table = Table {
    of: "1,000 operations",
    columns: &["system calls", "syncs"],
    may_be_less: false,
    rows: &[
        ("get", &[0.0, 0.0]),
        ("get, absent", &[0.0, 0.0]),
        ("contains", &[0.0, 0.0]),
        ("get in a snapshot", &[0.0, 0.0]),
        ("get, read-only", &[0.0, 0.0]),
        ("get_many of 32", &[0.0, 0.0]),
        ("iterate", &[0.14, 0.0]),
        ("put, overwriting", &[4.4, 0.31]),
        ("put, new key", &[5.8, 0.31]),
        ("overwrite, batches of 1,000", &[4.45, 0.31]),
        ("new keys, batches of 1,000", &[6.4, 0.31]),
        ("delete", &[0.0, 0.0]),
        ("durable put", &[2070.0, 1010.0]),
        ("put, shared writer", &[2020.0, 0.0]),
    ],
};

/// Of a disk with ext4, for one durable commit.
pub(crate) const DEVICE: Table = Table {
    of: "durable commit",
    columns: &["writes", "flushes", "KiB written"],
    may_be_less: true,
    rows: &[
        ("pwrite of 4 KiB and fdatasync", &[1.02, 1.02, 4.1]),
        ("one put", &[1.02, 1.02, 4.5]),
        ("batch of 100", &[1.27, 1.15, 37.0]),
        ("one put, store reopened", &[1.02, 1.02, 4.5]),
        ("batch of 2 after a load, while others read", &[1.05, 1.05, 6.2]),
        ("put and sync after a load, while others read", &[1.05, 1.05, 4.5]),
    ],
};

impl Table {
    /// How the document's table begins.
    pub(crate) fn head(&self) -> String {
        let columns = self.columns.iter().map(|column| format!(" {column} | at most |"));
        format!("| {} |{}", self.of, columns.collect::<String>())
    }

    /// The table as the document has it.
    fn text(&self, figures: &Figures) -> String {
        let mut text =
            format!("{}\n| --- |{}\n", self.head(), " ---: |".repeat(2 * self.columns.len()));
        for (name, bounds) in self.rows {
            let _ = write!(text, "| {name} |");
            for (figure, bound) in figures[*name].iter().zip(*bounds) {
                let _ = write!(text, " {} | {} |", shown(*figure), shown(*bound));
            }
            text.push('\n');
        }
        text
    }

    /// Fails unless every figure is at its bound or a little below; prints all of them.
    pub(crate) fn hold(&self, figures: &Figures) {
        assert_eq!(figures.len(), self.rows.len(), "{:?}", figures.keys());
        println!("{}", self.text(figures));
        let mut wrong = Vec::new();
        for (name, bounds) in self.rows {
            for ((column, figure), bound) in self.columns.iter().zip(&figures[*name]).zip(*bounds) {
                let line =
                    format!("{name}: {} {column}, at most {}", shown(*figure), shown(*bound));
                if figure > bound {
                    wrong.push(line);
                } else if *figure < FAR_BELOW * bound && *bound > FEW {
                    let line = format!("{line}: that is far above, tighten it");
                    if self.may_be_less { println!("{line}") } else { wrong.push(line) }
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

/// A figure as it is printed.
pub(crate) fn shown(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}
