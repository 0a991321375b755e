//! `HashMap<Vec<u8>, Vec<u8>>` in memory, default hasher, behind a lock as any map that threads share.

use std::collections::HashMap;
use std::sync::RwLock;

use anyhow::Result;

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Survives};

pub const KIND: Kind = Kind {
    name: "HashMap",
    unsynced: Survives::Nothing,
    durable: false,
    persistent: false,
    open: |_, _| Ok(Box::new(Map::default())),
    ..PLAIN
};

#[derive(Default)]
struct Map(RwLock<HashMap<Vec<u8>, Vec<u8>>>);

struct Session<'a>(&'a Map);

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let map = self.0.0.read().expect("no panic under the lock");
        Ok(map.get(key).map(|value| found(value)).is_some())
    }
}

impl Peer for Map {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut map = self.0.write().expect("no panic under the lock");
        for op in ops {
            match op {
                Op::Put(key, value) => drop(map.insert(key.to_vec(), value.to_vec())),
                Op::Delete(key) => drop(map.remove(*key)),
            }
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.0.read().expect("no panic under the lock").values().for_each(|value| each(value));
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Freeing millions of vectors one by one is no part of any work.
        std::mem::forget(self);
        Ok(())
    }
}
