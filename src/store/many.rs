//! Reading many keys: hash all, fetch all pages, then all records, then compare, so that a group of keys waits for memory
//! once and not each for itself (group prefetching; Chen et al., "Improving Hash Join Performance through Prefetching", 2004).

use crate::error::Result;
use crate::format::hash::Hash;
use crate::index::{First, Way};

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
        let index = &self.engine.index;
        let mut hashes = [Hash(0); GROUP];
        let mut ways = [None::<Way<'_>>; GROUP];
        let mut firsts = [First::Unsure; GROUP];
        for (key, hash) in keys.iter().zip(&mut hashes) {
            *hash = self.engine.hasher.hash(table, key.as_ref());
            index.prefetch_entry(&index.begin(*hash));
        }
        for (hash, way) in hashes[..keys.len()].iter().zip(&mut ways) {
            *way = index.way(self.front, *hash);
            if let Some(way) = way {
                index.prefetch_page(way.probe());
            }
        }
        for (way, first) in ways[..keys.len()].iter().zip(&mut firsts) {
            if let Some(way) = way {
                *first = index.first_on(way, self.front, at);
                if let First::Candidate(_, position) = *first {
                    self.log.prefetch(position);
                }
            }
        }
        for (i, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            let settled = ways[i].and_then(|way| self.conclude(&way, firsts[i], table, key, at));
            each(match settled {
                Some(found) => found,
                None => self.get_slowly(table, key, at)?,
            });
        }
        Ok(())
    }
}
