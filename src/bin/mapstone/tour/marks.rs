//! Beside the files, a table in which each batch leaves a mark: a batch is there if and only if its mark is.

use super::corpus::Corpus;
use anyhow::{Context, Result};

/// The table's name.
pub(crate) const TABLE: &str = "batches";
/// The key of the newest mark.
pub(crate) const NEWEST: &[u8] = b"newest";

/// How far the load has got: whole passes over the tree before this one, and the batch within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Mark {
    pub(crate) pass: u64,
    pub(crate) batch: u64,
}

impl Mark {
    /// The batch to load after this one.
    pub(crate) fn next(self, corpus: &Corpus) -> Self {
        if self.batch + 1 < corpus.batches.len() as u64 {
            Self { batch: self.batch + 1, ..self }
        } else {
            Self { pass: self.pass + 1, batch: 0 }
        }
    }

    /// Which batch this is, counted from one over all passes.
    pub(crate) fn ordinal(self, corpus: &Corpus) -> u64 {
        self.pass * corpus.batches.len() as u64 + self.batch + 1
    }

    pub(crate) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.pass.to_le_bytes());
        bytes[8..].copy_from_slice(&self.batch.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (pass, batch) = bytes.split_first_chunk().context("a mark is too short")?;
        let batch = batch.try_into().context("a mark has not 16 bytes")?;
        Ok(Self { pass: u64::from_le_bytes(*pass), batch: u64::from_le_bytes(batch) })
    }
}

/// The key of a batch's mark.
pub(crate) fn key(batch: u64) -> [u8; 8] {
    batch.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn a_mark_round_trips() {
        let mark = Mark { pass: 3, batch: 1 << 40 };
        assert_eq!(Mark::decode(&mark.encode()).unwrap(), mark);
        assert!(Mark::decode(&[0; 15]).is_err());
        assert!(Mark::decode(&[0; 17]).is_err());
    }
}
