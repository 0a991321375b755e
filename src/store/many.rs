//! Reading many keys: hash all, fetch all pages, then all records, then compare, so that a group of keys waits for memory
//! once and not each for itself (group prefetching; Chen et al., "Improving Hash Join Performance through Prefetching", 2004).

use crate::error::Result;
use crate::format::hash::Hash;
use crate::index::{First, Probe};

use super::{Found, Reader};

/// Keys that are in flight at once.
pub(super) const GROUP: usize = 32;

impl<'p> Reader<'p> {
    /// The values of `keys` in `table` as of `at`, in their order.
    pub(crate) fn get_many<K: AsRef<[u8]>>(
        self,
        table: u32,
        keys: &[K],
        at: u64,
        mut each: impl FnMut(Option<Found<'p>>),
    ) -> Result<()> {
        for group in keys.chunks(GROUP) {
            self.get_group(table, group, at, &mut each)?;
        }
        Ok(())
    }

    fn get_group<K: AsRef<[u8]>>(
        self,
        table: u32,
        keys: &[K],
        at: u64,
        each: &mut impl FnMut(Option<Found<'p>>),
    ) -> Result<()> {
        let mut hashes = [Hash(0); GROUP];
        let mut probes = [None::<Probe>; GROUP];
        let mut firsts = [First::Unsure; GROUP];
        for ((key, hash), probe) in keys.iter().zip(&mut hashes).zip(&mut probes) {
            *hash = self.engine.hasher.hash(table, key.as_ref());
            let begun = self.engine.index.begin(*hash);
            self.engine.index.prefetch_entry(&begun);
            *probe = Some(begun);
        }
        let used = &mut probes[..keys.len()];
        for probe in used.iter_mut() {
            *probe = probe.and_then(|probe| self.engine.index.enter(probe));
            if let Some(probe) = probe {
                self.engine.index.prefetch_page(probe);
            }
        }
        for (probe, first) in used.iter().zip(&mut firsts) {
            if let Some(probe) = probe {
                *first = self.engine.index.first(probe, at);
                if let First::Candidate(_, position) = *first {
                    self.log.prefetch(position);
                }
            }
        }
        for (i, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            let settled =
                probes[i].and_then(|probe| self.conclude(&probe, firsts[i], table, key, at));
            each(match settled {
                Some(found) => found,
                None => self.get_hashed(hashes[i], table, key, at)?,
            });
        }
        Ok(())
    }
}
