//! Tombstones are buried, and their segments go, between an iteration's look at their slots and its visit.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use mapstone::sim::{Point, SimDisk, at_points};
use mapstone::{Options, Store};

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

/// Keys of which two in three are deleted, after so many steps of compaction.
fn prepared(disk: &SimDisk, steps: u32) -> Store {
    let store = options().open_sim(disk).expect("a new store");
    for i in 0..300u32 {
        store.put(i.to_le_bytes(), [7; 40]).expect("space");
    }
    for i in (0..300u32).filter(|i| i % 3 != 0) {
        store.delete(i.to_le_bytes()).expect("space");
    }
    for _ in 0..steps {
        store.compact_step(1 << 20).expect("space");
    }
    store
}

#[test]
fn an_iteration_goes_on_while_tombstones_are_buried() {
    let mut gone = 0;
    for steps in 0..60 {
        let disk = SimDisk::new(3);
        let store = prepared(&disk, steps);
        // A handle that has mapped no segment yet.
        let reader = options().open_read_only_sim(&disk).expect("a store");
        let snapshot = reader.snapshot().expect("a snapshot");
        let freed = Rc::new(RefCell::new(None));
        let (writer, to) = (store.clone(), Rc::clone(&freed));
        at_points(Some(Box::new(move |point| {
            if point == Point::IterationSeen && to.borrow().is_none() {
                *to.borrow_mut() = Some(0);
                *to.borrow_mut() = Some(writer.compact(|_| true).expect("space").freed);
            }
        })));
        let found: Vec<_> = snapshot.iter().collect();
        at_points(None);
        let keys = found.into_iter().map(|item| item.expect("sound").0.to_vec());
        assert_eq!(keys.collect::<BTreeSet<_>>().len(), 100, "after {steps} steps");
        gone += freed.take().expect("the iteration saw slots");
    }
    assert!(gone > 0, "no segment went meanwhile");
}
