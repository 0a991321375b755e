//! Reading many keys: hash all, fetch all pages, then all records, then compare, so that a group of keys waits for memory
//! once and not each for itself (group prefetching; Chen et al., "Improving Hash Join Performance through Prefetching", 2004).

use crate::error::Result;
use crate::format::hash::Hash;
use crate::index::{First, Probe};

use super::{Engine, Found};

/// Keys that are in flight at once.
pub(super) const GROUP: usize = 32;

impl Engine {
    /// The values of `keys` in `table` as of `at`, in their order.
    pub(crate) fn get_many<'a, K: AsRef<[u8]>>(
        &'a self,
        table: u32,
        keys: &[K],
        at: u64,
        mut each: impl FnMut(Option<Found<'a>>),
    ) -> Result<()> {
        for group in keys.chunks(GROUP) {
            self.get_group(table, group, at, &mut each)?;
        }
        Ok(())
    }

    fn get_group<'a, K: AsRef<[u8]>>(
        &'a self,
        table: u32,
        keys: &[K],
        at: u64,
        each: &mut impl FnMut(Option<Found<'a>>),
    ) -> Result<()> {
        let mut hashes = [Hash(0); GROUP];
        let mut probes = [None::<Probe>; GROUP];
        let mut firsts = [First::Unsure; GROUP];
        for ((key, hash), probe) in keys.iter().zip(&mut hashes).zip(&mut probes) {
            *hash = self.hasher.hash(table, key.as_ref());
            *probe = Some(self.index.begin(*hash));
        }
        let used = &mut probes[..keys.len()];
        for probe in used.iter_mut() {
            *probe = probe.and_then(|probe| self.index.enter(probe).ok().flatten());
        }
        for (probe, first) in used.iter().zip(&mut firsts) {
            if let Some(probe) = probe {
                *first = self.index.first(probe, at);
                if let First::Candidate(position) = *first {
                    self.log.prefetch(position);
                }
            }
        }
        for (i, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            each(match (firsts[i], &probes[i]) {
                (First::Absent, _) => None,
                (First::Candidate(position), Some(probe)) => {
                    match self.candidate(position, probe, table, key) {
                        Some(record) => self.visible(record, at)?,
                        None => self.get_hashed(hashes[i], table, key, at)?,
                    }
                }
                _ => self.get_hashed(hashes[i], table, key, at)?,
            });
        }
        Ok(())
    }

    /// The record at a candidate position, if it is the key's and nothing has misled the probe.
    #[inline]
    fn candidate(&self, position: u64, probe: &Probe, table: u32, key: &[u8]) -> Option<Found<'_>> {
        let record = self.log.record(position).ok()?;
        (record.is(table, key) && !self.index.moved(probe, false)).then_some(record)
    }
}
