//! Further handles that write the same store: they take turns with the first one, go away, and go on where one was killed.

use super::ops::{Crash, Recovery, When};
use super::tally;
use super::world::World;

/// Handles that write besides the one whose turn it is.
const MOST: usize = 2;

impl World {
    /// What writes from here on is another handle; a new one, as long as there are few.
    pub(crate) fn other(&mut self) {
        if !self.shape.shared || self.dead() {
            return;
        }
        // Nobody may join those whose sync has failed.
        if self.others.len() < MOST && !self.poisoned {
            let opened = self.options().open_sim(&self.disk);
            if self.dead() {
                // It is the new one that has died.
                self.others.extend(std::mem::replace(&mut self.store, opened.ok()));
                return;
            }
            match opened {
                Ok(store) => self.others.insert(0, store),
                Err(error) => return self.allow(&error),
            }
            self.resolve();
        }
        if !self.others.is_empty() {
            let next = self.others.remove(0);
            self.others.extend(self.store.replace(next));
            self.poisoned = self.poisoned && !self.goes_on();
        }
    }

    /// The handle that writes is closed, and another goes on.
    pub(crate) fn leave(&mut self) {
        if self.others.is_empty() {
            return;
        }
        self.check_snapshots();
        self.let_go();
        let left = self.store.take().expect("the store is open").close();
        if self.dead() {
            return;
        }
        match left {
            Ok(()) => {
                assert!(!self.poisoned);
                if self.maybes.is_empty() {
                    self.acked = self.history.len() - 1;
                }
            }
            Err(error) => self.allow_more(&error),
        }
        self.store = Some(self.others.remove(0));
        self.poisoned = self.poisoned && !self.goes_on();
        self.resolve();
    }

    /// The process that writes is to be killed, and if there is another one, that goes on.
    pub(crate) fn hand_over(&mut self, when: When) {
        self.check_snapshots();
        self.arm(when);
        self.armed = Some((Crash::Kill, Recovery::default()));
        self.heir = true;
    }

    /// The process that writes was killed, and what it has done since it has not.
    pub(crate) fn go_on(&mut self) {
        tally::count(|tally| tally.kills += 1);
        let next = self.others.remove(0);
        self.let_go();
        self.store = None;
        self.disk.survive();
        self.disarm();
        self.store = Some(next);
        self.poisoned = self.poisoned && !self.goes_on();
    }
}
