//! Cursors keep what comes after them; a store that follows another becomes equal to it, whatever happens on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use mapstone::{Error, Follower, Options, Store};

type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false);
    options
}

struct Pair {
    dir: tempfile::TempDir,
    source: Store,
    dest: Store,
}

impl Pair {
    fn new() -> Pair {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name| options().open(dir.path().join(name)).expect("a store");
        let (source, dest) = (open("source"), open("dest"));
        Pair { dir, source, dest }
    }

    fn follower(&self) -> Follower {
        Follower::new(&self.source, &self.dest).expect("a new store")
    }

    fn check(&self) {
        assert_eq!(content(&self.source), content(&self.dest));
        let verified = self.dest.verify().expect("a store");
        assert!(verified.is_ok(), "{:?}", verified.damage);
    }
}

/// All keys and values; a table that is empty is there with an empty key that no other table has.
fn content(store: &Store) -> Content {
    let snapshot = store.snapshot().expect("a snapshot");
    let mut all = Content::new();
    for name in snapshot.tables().expect("tables") {
        let table = snapshot.table(&name).expect("a name").expect("a table");
        all.insert((name.clone(), b"(there)".to_vec()), Vec::new());
        for item in &table {
            let (key, value) = item.expect("an entry");
            all.insert((name.clone(), key.to_vec()), value.to_vec());
        }
    }
    for item in &snapshot {
        let (key, value) = item.expect("an entry");
        all.insert((String::new(), key.to_vec()), value.to_vec());
    }
    all
}

/// Steps until there is nothing more; returns how many compared everything.
fn catch_up(follower: &mut Follower) -> usize {
    std::iter::from_fn(|| follower.step(Duration::ZERO).expect("both stores"))
        .filter(|step| step.compared)
        .count()
}

/// Some hundred commits of all kinds.
fn live(store: &Store, seed: u32) {
    let mut random = fastrand::Rng::with_seed(seed.into());
    for _ in 0..300 {
        let key = random.u32(0..80).to_string();
        let name = format!("table {}", random.u32(0..3));
        match random.u32(0..20) {
            0 => drop(store.drop_table(&name).expect("space")),
            1..5 => store.table(&name).expect("space").put(&key, [1; 90]).expect("space"),
            5..8 => drop(store.delete(&key).expect("space")),
            8..10 => {
                let table = store.table(&name).expect("space");
                let mut batch = store.batch();
                batch.put(&key, "both").expect("short");
                batch.put_in(&table, &key, "both").expect("short");
                batch.commit().expect("space");
            }
            _ => store.put(&key, vec![2; random.usize(0..400)]).expect("space"),
        }
    }
}

#[test]
fn what_was_there_and_what_comes_is_followed() {
    let pair = Pair::new();
    live(&pair.source, 1);
    let mut follower = pair.follower();
    assert_eq!(follower.position(), None);
    assert_eq!(catch_up(&mut follower), 1);
    pair.check();
    for seed in 2..12 {
        live(&pair.source, seed);
        assert_eq!(catch_up(&mut follower), 0, "changes will do");
        assert_eq!(follower.position(), Some(pair.source.position()));
        pair.check();
    }
}

#[test]
fn a_follower_goes_on_where_another_has_ended() {
    let pair = Pair::new();
    for seed in 0..8 {
        let mut follower = pair.follower();
        live(&pair.source, seed);
        // Some of it, and then it dies.
        for _ in 0..=seed {
            follower.step(Duration::ZERO).expect("both stores");
        }
    }
    let mut follower = pair.follower();
    assert_eq!(catch_up(&mut follower), 0);
    pair.check();
}

#[test]
fn one_who_was_overtaken_compares_everything() {
    let pair = Pair::new();
    let mut follower = pair.follower();
    live(&pair.source, 1);
    catch_up(&mut follower);
    for seed in 2..40 {
        live(&pair.source, seed);
    }
    pair.source.compact(|_| true).expect("space");
    assert_eq!(catch_up(&mut follower), 1);
    pair.check();
    let step = follower.step(Duration::ZERO).expect("both stores");
    assert!(step.is_none(), "{step:?}");
}

#[test]
fn a_cursor_keeps_the_changes() {
    let pair = Pair::new();
    let mut follower = pair.follower().with_cursor("replica").expect("space");
    live(&pair.source, 1);
    catch_up(&mut follower);
    for round in 0..4 {
        for seed in 2..20 {
            live(&pair.source, 100 * round + seed);
        }
        pair.source.compact(|_| true).expect("space");
        assert_eq!(catch_up(&mut follower), 0, "nothing was missed");
        pair.check();
    }
    let [cursor] = &pair.source.cursors().expect("a store")[..] else { panic!("one cursor") };
    let at = cursor.at.as_ref().expect("a cursor").position();
    assert_eq!((&cursor.name[..], at), ("replica", pair.source.position()));
    let before = pair.source.stats().expect("a store").segments;
    assert!(pair.source.remove_cursor("replica").expect("a store"));
    assert!(!pair.source.remove_cursor("replica").expect("a store"));
    pair.source.compact(|_| true).expect("space");
    assert!(pair.source.stats().expect("a store").segments < before, "{before} segments");
}

#[test]
fn a_cursor_outlives_its_process_and_goes_only_forward() {
    let pair = Pair::new();
    let path = pair.dir.path().join("source");
    let reader = Store::open_read_only(&path).expect("a store");
    let mut cursor = reader.cursor("c").expect("space");
    live(&pair.source, 1);
    let mut changes = cursor.changes().expect("a commit");
    let first = changes.next_commit().expect("a commit").expect("a commit").bookmark();
    while changes.next_commit().expect("a commit").is_some() {}
    cursor.advance(first).expect("space");
    drop((cursor, changes, reader));
    let mut cursor = pair.source.cursor("c").expect("space");
    assert_eq!(cursor.bookmark(), first);
    let end = pair.source.watch("").expect("the end").bookmark();
    cursor.advance(end).expect("space");
    assert!(matches!(cursor.advance(first), Err(Error::InvalidOption { .. })));
    pair.source.remove_cursor("c").expect("a store");
    assert!(matches!(cursor.advance(end), Err(Error::NotFound { .. })));
    for name in ["", "..", "a/b", "über", "x.unfinished"] {
        assert!(matches!(pair.source.cursor(name), Err(Error::InvalidOption { .. })), "{name}");
    }
    assert!(matches!(pair.source.cursor(&"x".repeat(101)), Err(Error::TooLarge { .. })));
}

#[test]
fn a_damaged_cursor_keeps_everything_and_is_told() {
    let pair = Pair::new();
    pair.source.cursor("c").expect("space");
    let file = pair.dir.path().join("source/cursors/c");
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[33] ^= 1;
    std::fs::write(&file, bytes).expect("space");
    for seed in 0..20 {
        live(&pair.source, seed);
    }
    let before = pair.source.segments().expect("a store")[0].number;
    pair.source.compact(|_| true).expect("space");
    assert_eq!(pair.source.segments().expect("a store")[0].number, before);
    assert!(matches!(pair.source.cursor("c"), Err(Error::Corrupt { .. })));
    assert!(pair.source.cursors().expect("a store")[0].at.is_err());
    let damage = pair.source.verify().expect("a store").damage;
    assert!(damage.len() == 1 && damage[0].file == file, "{damage:?}");
}

#[test]
fn what_cannot_follow_is_refused() {
    let pair = Pair::new();
    pair.dest.put("mine", "1").expect("space");
    let refused = |dest: &Store| Follower::new(&pair.source, dest);
    assert!(matches!(refused(&pair.dest), Err(Error::NotAReplica { .. })));
    assert!(matches!(refused(&pair.source), Err(Error::NotAReplica { .. })));
    let other = Pair::new();
    catch_up(&mut other.follower());
    assert!(matches!(refused(&other.dest), Err(Error::NotAReplica { .. })));
}

#[cfg(feature = "sim")]
mod cut {
    use super::*;
    use mapstone::sim::SimDisk;

    /// Either power goes, at any time: in the end both are equal again.
    #[test]
    fn power_cuts_on_either_side_are_made_up_for() {
        let mut compared = 0;
        for seed in 0..40 {
            let (mut one, mut two) = (SimDisk::new(seed), SimDisk::new(seed + 1_000));
            for round in 0..6u32 {
                let source = options().open_sim(&one).expect("a store");
                let dest = options().open_sim(&two).expect("a store");
                let mut follower = Follower::new(&source, &dest).expect("one that follows");
                if seed % 2 == 0 {
                    follower = follower.with_cursor("c").expect("space");
                }
                live(&source, round);
                compared += catch_up(&mut follower);
                assert_eq!(content(&source), content(&dest), "seed {seed}, round {round}");
                live(&source, round + 100);
                follower.step(Duration::ZERO).expect("both stores");
                match (seed + u64::from(round)) % 3 {
                    0 => one = one.power_cut(),
                    1 => two = two.power_cut(),
                    _ => (one, two) = (one.power_cut(), two.power_cut()),
                }
                drop((follower, source, dest));
            }
        }
        assert!(compared > 40, "nothing that was followed was ever taken back");
    }
}
