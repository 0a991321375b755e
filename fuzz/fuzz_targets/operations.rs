//! Any operations, with crashes between them, on the simulated disk: the store equals a map, or after a power cut one of the
//! maps that it was since it was last made durable.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mapstone::sim::SimDisk;
use mapstone::{Options, Snapshot, Store};

#[derive(Arbitrary, Debug)]
enum Step {
    Put {
        key: u8,
        value: Vec<u8>,
    },
    Delete {
        key: u8,
    },
    Batch(Vec<(u8, Option<Vec<u8>>)>),
    /// Many keys at once, so that pages split.
    Many {
        first: u8,
        keys: u8,
    },
    Snapshot,
    Sync,
    Checkpoint,
    Close,
    WriteBack {
        pages: u8,
    },
    Kill,
    PowerCut,
}

#[derive(Arbitrary, Debug)]
struct Input {
    seed: u64,
    /// Few hash bits, so that keys collide.
    rigged: bool,
    steps: Vec<Step>,
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(snapshot: &Snapshot) -> Map {
    let mut map = Map::new();
    for item in snapshot {
        let (key, value) = item.expect("a readable store");
        assert!(map.insert(key.to_vec(), value.to_vec()).is_none(), "a key was seen twice");
    }
    map
}

fuzz_target!(|input: Input| {
    let mut options = Options::new();
    options.segment_size(4096).background(false).checkpoint_interval(64 << 10);
    if input.rigged {
        options.hash_mask(0xF000_0000_0000_0000);
    }
    let mut disk = SimDisk::new(input.seed);
    let open = |disk: &SimDisk| options.open_sim(disk).expect("a store that only crashed");
    let mut store: Store = open(&disk);
    let mut now = Map::new();
    // What the store may be after a power cut: from the last durable state on.
    let mut since = vec![now.clone()];
    let mut snapshot = store.snapshot().expect("a snapshot");
    let mut then = now.clone();
    for step in input.steps.iter().take(64) {
        match step {
            Step::Put { key, value } => {
                store.put([*key], value).expect("a put");
                now.insert(vec![*key], value.clone());
            }
            Step::Delete { key } => {
                let deleted = store.delete([*key]).expect("a delete");
                assert_eq!(deleted, now.remove(&vec![*key]).is_some());
            }
            Step::Batch(ops) => {
                let mut batch = store.batch();
                for (key, value) in ops {
                    match value {
                        Some(value) => {
                            batch.put([*key], value).expect("a put");
                            now.insert(vec![*key], value.clone());
                        }
                        None => {
                            batch.delete([*key]).expect("a delete");
                            now.remove(&vec![*key]);
                        }
                    }
                }
                batch.commit().expect("a commit");
            }
            Step::Many { first, keys } => {
                let mut batch = store.batch();
                for i in 0..u32::from(*keys) * 4 {
                    let key = [&[*first][..], &i.to_le_bytes()].concat();
                    batch.put(&key, &key).expect("a put");
                    now.insert(key.clone(), key);
                }
                batch.commit().expect("a commit");
            }
            Step::Snapshot => {
                snapshot = store.snapshot().expect("a snapshot");
                then = now.clone();
            }
            Step::Sync => {
                store.sync().expect("a sync");
                since.clear();
            }
            Step::Checkpoint => {
                store.checkpoint().expect("a checkpoint");
                since.clear();
            }
            Step::WriteBack { pages } => disk.write_back(usize::from(*pages)),
            Step::Close | Step::Kill | Step::PowerCut => {
                assert_eq!(contents(&snapshot), then);
                match step {
                    Step::Close => since.clear(),
                    Step::Kill => disk = disk.process_kill(),
                    _ => disk = disk.power_cut(),
                }
                drop((snapshot, store));
                store = open(&disk);
                snapshot = store.snapshot().expect("a snapshot");
                let found = contents(&snapshot);
                if matches!(step, Step::PowerCut) {
                    assert!(since.contains(&found), "no state since the last durable one");
                    // What survived is on the disk.
                    since.clear();
                    now = found;
                } else {
                    assert_eq!(found, now);
                }
                then = now.clone();
            }
        }
        if since.last() != Some(&now) {
            since.push(now.clone());
        }
    }
    assert_eq!(contents(&snapshot), then);
    assert_eq!(contents(&store.snapshot().expect("a snapshot")), now);
    let verification = store.verify().expect("a verification");
    assert!(verification.is_ok(), "{:?}", verification.damage);
    for (key, value) in &now {
        assert_eq!(store.get(key).expect("a readable store").as_deref(), Some(&value[..]));
    }
});
