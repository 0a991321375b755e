//! Repair of stores that are damaged in any way: what is left of a store is in the new one, what is not is reported, and the
//! damaged one stays as it is.
//!
//! `MAPSTONE_LONG` (in seconds) is how long the long form of each part may take; `MAPSTONE_MODEL_SEED` does one random damage again.
#![cfg(feature = "sim")]

mod compacted;
mod damage;
mod index;
mod kills;
mod oracle;
mod pairs;
mod relocated;
#[path = "../flips/store.rs"]
mod store;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mapstone::sim::{Point, SimDisk, at_points};
use mapstone::{Error, Salvage, Store};

use damage::{Random, damage};
use oracle::{Oracle, Record, records};
use store::{Files, Left, Model, Sample, content, options, sample};

/// How long the long form may take.
fn long() -> Option<Duration> {
    let seconds = std::env::var("MAPSTONE_LONG").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

const LEFTS: [Left; 3] = [Left::Clean, Left::Killed, Left::Lost];

/// Repairs what these files are; the damaged store is as it was afterwards, and the new one is sound.
fn repair(files: &Files, life: u64) -> Result<(Salvage, Model), Error> {
    let (disk, new) = (SimDisk::holding(files, life), SimDisk::new(1));
    let before = disk.files();
    let salvage = options().repair_sim(&disk, &new);
    assert!(disk.files() == before, "the damaged store was written to");
    let salvage = salvage?;
    let store = options().open_sim(&new).expect("a store that was closed");
    let verification = store.verify().expect("a sound disk");
    assert!(verification.is_ok(), "{:?}", verification.damage);
    let model = content(&store).expect("a sound store");
    assert_eq!(salvage.entries, model.len() as u64);
    assert_eq!(verification.entries, salvage.entries);
    Ok((salvage, model))
}

/// A sample, and its records.
struct Ground {
    sample: Sample,
    all: Vec<Record>,
}

impl Ground {
    fn new(left: Left) -> Ground {
        let sample = sample(left);
        let all = records(&sample.files);
        Ground { sample, all }
    }

    /// A store of several lives: killed processes and power cuts, so that there are epochs, and debris behind where they ended.
    fn lives() -> Ground {
        let mut disk = SimDisk::new(23);
        let put = |store: &Store, life: u32, count: u32| -> mapstone::Result<()> {
            for i in 0..count {
                store.put((life * 7 + i * i % 90).to_be_bytes(), format!("{life} {i}"))?;
            }
            let mut batch = store.batch();
            for i in 0..40u32 {
                batch.put((i * 3).to_be_bytes(), format!("{life} batch {i}"))?;
            }
            batch.commit().map(drop)
        };
        for life in 0..7 {
            let store = options().open_sim(&disk).expect("recovery");
            put(&store, life, 60).expect("space");
            store.sync().expect("a sound disk");
            put(&store, life, 30).expect("space");
            if life == 3 {
                store
                    .table(store::TABLE)
                    .and_then(|table| table.put("apple", "red"))
                    .expect("space");
            }
            disk = if life % 2 == 0 { disk.power_cut() } else { disk.process_kill() };
        }
        let store = options().open_sim(&disk).expect("recovery");
        put(&store, 9, 20).expect("space");
        let models = vec![content(&store).expect("sound")];
        let disk = disk.process_kill();
        let (life, files) = (disk.page_cache(), disk.files());
        let all = records(&files);
        Ground { sample: Sample { left: Left::Killed, files, life, models }, all }
    }

    /// Up to where the cells say that the log was durable.
    fn durable(&self) -> u64 {
        u64::from_le_bytes(self.sample.files["meta"][4160..4168].try_into().expect("eight bytes"))
    }

    /// Repairs a damaged form of it, and judges.
    fn judge(&self, files: &Files) -> Result<(), String> {
        let (salvage, model) = match repair(files, self.sample.life) {
            Ok(repaired) => repaired,
            // Nothing is left that could be a store.
            Err(Error::NotAStore { .. }) if !files.keys().any(|it| it.starts_with("log/")) => {
                return Ok(());
            }
            // By its checksum the version is what it says.
            Err(Error::Version { .. }) if files.get("meta") != self.sample.files.get("meta") => {
                return Ok(());
            }
            Err(error) => return Err(format!("no repair: {error}")),
        };
        let oracle = Oracle { all: &self.all, damaged: files, sound: &self.sample.files };
        let cells = files.get("meta") == self.sample.files.get("meta");
        let last = self.all.last().expect("records").position + 1;
        let believed = cells && self.sample.left != Left::Lost;
        let ends = if believed { vec![last] } else { vec![oracle.last_mark(), last] };
        let right = |end: &u64| oracle.model(*end) == model;
        let debris = oracle.debris();
        if !debris.is_empty() && !ends.iter().any(right) {
            let mut all = [self.all.clone(), debris.clone()].concat();
            all.sort_by_key(|record| record.position);
            let more = Oracle { all: &all, ..oracle };
            let known = ends.iter().any(|end| more.model(*end) == model);
            let torn = debris.iter().any(|it| {
                salvage
                    .torn
                    .iter()
                    .any(|torn| torn.file.ends_with(&it.file) && torn.from <= it.from as u64)
            });
            if known && torn {
                return Ok(());
            }
        }
        let Some(end) = ends.iter().find(|end| right(end)).copied() else {
            let expected = oracle.model(ends[0]);
            let keys: BTreeSet<_> = expected.keys().chain(model.keys()).collect();
            let odd = keys.into_iter().find(|key| expected.get(*key) != model.get(*key));
            return Err(format!("another content, at {odd:?}; lost {:?}", salvage.lost));
        };
        oracle.check_lost(&salvage, end)?;
        if !debris.is_empty() {
            // It may hide that a key has lost its newest version.
            return Ok(());
        }
        self.check_keys(&oracle, &salvage, end, files)
    }

    /// With the index and the seed every key is known that has lost its newest version; and none is named that has not.
    fn check_keys(
        &self,
        oracle: &Oracle<'_>,
        salvage: &Salvage,
        end: u64,
        files: &Files,
    ) -> Result<(), String> {
        let whole = |name: &str| files.get(name) == self.sample.files.get(name);
        if !whole("meta") || !whole("index") || oracle.is_in_doubt() {
            return Ok(());
        }
        let outdated = oracle.outdated(end, end);
        let number = |table: &Option<String>| if table.is_none() { 1 } else { 2 };
        let named: BTreeSet<(u32, Vec<u8>)> =
            salvage.keys.iter().map(|it| (number(&it.table), it.key.clone())).collect();
        // Where the end is not known, what the index leads to behind it may have been committed.
        if let Some(key) = named.difference(&oracle.outdated(u64::MAX, end)).next() {
            return Err(format!("{key:?} is said to be lost"));
        }
        let known = named.len() as u64 + salvage.unnamed;
        if known < outdated.len() as u64 {
            let missed = outdated.difference(&named).next();
            return Err(format!(
                "{known} of {} lost keys known, not {missed:?}; {:?}",
                outdated.len(),
                salvage.lost
            ));
        }
        Ok(())
    }

    fn with(&self, change: impl FnOnce(&mut Files)) -> Files {
        let mut files = self.sample.files.clone();
        change(&mut files);
        files
    }
}

fn sound(wrong: Vec<String>) {
    assert!(
        wrong.is_empty(),
        "{} wrong, among them\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

/// What a process leaves that is killed when it comes to a point while it does `work` on the disk.
fn killed_at(point: Point, disk: &SimDisk, work: impl FnOnce()) -> SimDisk {
    let left = std::rc::Rc::new(std::cell::RefCell::new(None));
    let (at, killed) = (disk.clone(), std::rc::Rc::clone(&left));
    at_points(Some(Box::new(move |reached| {
        if reached == point {
            killed.borrow_mut().get_or_insert_with(|| at.process_kill());
        }
    })));
    work();
    at_points(None);
    left.take().expect("the point was reached")
}

#[test]
fn of_a_sound_store_everything_is_salvaged() {
    for ground in LEFTS.map(Ground::new).into_iter().chain([Ground::lives()]) {
        let left = ground.sample.left;
        let (salvage, model) = repair(&ground.sample.files, ground.sample.life).expect("sound");
        assert!(model == ground.sample.models[0], "{left:?}");
        assert!(salvage.is_complete() && salvage.torn.is_empty(), "{left:?} {salvage:?}");
        assert_eq!(salvage.records, ground.all.len() as u64, "{left:?}");
        assert_eq!((salvage.unnamed, salvage.uncommitted), (0, 0), "{left:?}");
        assert!(salvage.keys.is_empty() && salvage.renamed.is_empty(), "{left:?}");
    }
}

#[test]
fn the_log_is_enough() {
    for ground in LEFTS.map(Ground::new).into_iter().chain([Ground::lives()]) {
        let left = ground.sample.left;
        let files = ground.with(|files| files.retain(|name, _| name.starts_with("log/")));
        let (salvage, model) = repair(&files, ground.sample.life).expect("a log");
        assert!(model == ground.sample.models[0], "{left:?}");
        assert!(salvage.is_complete(), "{left:?} {:?}", salvage.lost);
    }
}

#[test]
fn any_file_may_be_missing_empty_or_cut() {
    for left in LEFTS {
        let ground = Ground::new(left);
        let mut wrong = Vec::new();
        for (name, bytes) in &ground.sample.files {
            let lens = [0, 8, 63, 64, 100, 512, 1000, 4095, 4096, bytes.len().saturating_sub(1)];
            let mut forms = vec![ground.with(|files| drop(files.remove(name)))];
            for len in lens.into_iter().filter(|len| *len < bytes.len()) {
                forms.push(ground.with(|files| files.get_mut(name).expect("a file").truncate(len)));
            }
            let noise = |files: &mut Files| {
                let mut random = Random(7);
                let bytes = files.get_mut(name).expect("a file");
                bytes.fill_with(|| random.next().to_le_bytes()[0]);
            };
            forms.push(ground.with(noise));
            for files in forms {
                let len = files.get(name).map(Vec::len);
                wrong.extend(
                    ground.judge(&files).err().map(|e| format!("{left:?} {name} {len:?}: {e}")),
                );
            }
        }
        sound(wrong);
    }
}

#[test]
fn what_is_beside_a_damaged_sector_is_salvaged() {
    for left in LEFTS {
        let ground = Ground::new(left);
        let logs = ground.sample.files.iter().filter(|(name, _)| name.starts_with("log/"));
        let mut wrong = Vec::new();
        for (name, bytes) in logs {
            for at in (0..bytes.len()).step_by(512) {
                let files =
                    ground.with(|files| files.get_mut(name).expect("a file")[at..at + 512].fill(0));
                wrong.extend(
                    ground.judge(&files).err().map(|e| format!("{left:?} {name} {at}: {e}")),
                );
            }
        }
        sound(wrong);
    }
}

/// Any number of damages of any kind: an answer, and nothing that is left is missed.
#[test]
fn random_damage() {
    let [a, b, c] = LEFTS.map(Ground::new);
    let grounds = [a, b, c, Ground::lives()];
    let until = long().map(|time| Instant::now() + time);
    let given = std::env::var("MAPSTONE_MODEL_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("the seed of a failure"));
    let first =
        given.unwrap_or(if long().is_some() { u64::from(std::process::id()) << 32 } else { 0 });
    let mut wrong = Vec::new();
    for seed in first.. {
        match until {
            None if seed == first + 400 => break,
            _ if given.is_some_and(|given| seed > given) => break,
            Some(until) if Instant::now() > until => break,
            _ => {}
        }
        let mut random = Random(seed);
        let ground = &grounds[random.below(4)];
        let mut files = ground.sample.files.clone();
        let count = 1 + random.below(6);
        let what: Vec<String> = (0..count).map(|_| damage(&mut files, &mut random)).collect();
        let judged =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ground.judge(&files)));
        let judged = judged.unwrap_or_else(|_| Err("a panic".into()));
        wrong.extend(
            judged.err().map(|e| format!("seed {seed} {:?} {what:?}: {e}", ground.sample.left)),
        );
    }
    sound(wrong);
}

/// Nothing says whose store it is, but that most records of a segment agree.
#[test]
fn records_alone_are_enough() {
    for left in LEFTS {
        let ground = Ground::new(left);
        let files = ground.with(|files| {
            files.retain(|name, _| name.starts_with("log/"));
            files.values_mut().for_each(|bytes| bytes[..64].fill(0));
        });
        let (salvage, model) = repair(&files, ground.sample.life).expect("a log");
        // The segment that holds one large value alone has nobody to agree with.
        let mut expected = ground.sample.models[0].clone();
        expected.remove(&(String::new(), b"large".to_vec()));
        assert!(model == expected, "{left:?}");
        assert!(!salvage.is_complete());
    }
}

#[test]
fn a_batch_that_lacks_a_record_is_named_as_torn() {
    let ground = Ground::new(Left::Clean);
    let mut batch = 0;
    for (at, record) in ground.all.iter().enumerate() {
        if at > 0 && ground.all[at - 1].commit {
            batch = at;
        }
        if at % 29 != 0 {
            continue;
        }
        let damage =
            |files: &mut Files| files.get_mut(&record.file).expect("a file")[record.from + 20] ^= 1;
        let (salvage, _) = repair(&ground.with(damage), ground.sample.life).expect("a log");
        let end = at + ground.all[at..].iter().position(|it| it.commit).expect("a commit");
        for other in ground.all[batch..=end].iter().filter(|it| it.position != record.position) {
            let named = salvage.torn.iter().any(|torn| {
                torn.file.ends_with(&other.file)
                    && (torn.from..torn.to).contains(&(other.from as u64))
            });
            assert!(named, "{record:?} {other:?} {:?}", salvage.torn);
        }
        // What follows may have been of the same batch, for all that is known; what is further on is not.
        let far = ground.all[..batch]
            .iter()
            .chain(ground.all[end + 1..].iter().skip_while(|it| !it.commit).skip(1));
        for other in far.filter(|_| !record.commit) {
            let named = salvage.torn.iter().any(|torn| {
                torn.file.ends_with(&other.file)
                    && (torn.from..torn.to).contains(&(other.from as u64))
            });
            assert!(!named, "{record:?} {other:?} {:?}", salvage.torn);
        }
    }
}

#[test]
fn a_table_that_was_dropped_stays_so_though_its_tombstones_are_lost() {
    let disk = SimDisk::new(6);
    let store = options().open_sim(&disk).expect("a new store");
    store.put("key", "value").expect("space");
    let table = store.table("gone").expect("space");
    (0..5u8).try_for_each(|i| table.put([i], "dropped")).expect("space");
    store.drop_table("gone").expect("space");
    let disk = disk.process_kill();
    let sound = disk.files();
    let tombstones = records(&sound).into_iter().filter(|it| it.table == 2 && it.value.is_none());
    let mut tombstones = tombstones.collect::<Vec<_>>();
    assert_eq!(tombstones.len(), 5);
    tombstones.truncate(2);
    let mut files = sound.clone();
    for record in tombstones {
        files.get_mut(&record.file).expect("a file")[record.from + 20] ^= 1;
    }
    let (salvage, model) = repair(&files, disk.page_cache()).expect("a log");
    assert_eq!(model.len(), 1, "{model:?}");
    assert!(!salvage.is_complete() && salvage.renamed.is_empty(), "{salvage:?}");
    assert!(salvage.keys.is_empty(), "{:?}", salvage.keys);
}

#[test]
fn nobody_writes_to_a_store_while_it_is_repaired() {
    let ground = Ground::new(Left::Clean);
    let disk = SimDisk::holding(&ground.sample.files, ground.sample.life);
    let refused = std::rc::Rc::new(std::cell::Cell::new(false));
    let (damaged, seen) = (disk.clone(), std::rc::Rc::clone(&refused));
    at_points(Some(Box::new(move |point| {
        if point == Point::RepairPut {
            let opened = options().open_sim(&damaged);
            seen.set(matches!(opened, Err(Error::Locked { .. })));
        }
    })));
    let repaired = options().repair_sim(&disk, &SimDisk::new(1));
    at_points(None);
    repaired.expect("a sound store");
    assert!(refused.get());
}

#[test]
fn a_store_that_somebody_writes_is_not_repaired() {
    let disk = SimDisk::new(2);
    let store = options().open_sim(&disk).expect("a new store");
    store.put("key", "value").expect("space");
    let refused = options().repair_sim(&disk, &SimDisk::new(3));
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(store);
    options().repair_sim(&disk, &SimDisk::new(3)).expect("nobody writes any more");
}

#[test]
fn what_was_never_committed_does_not_come_to_life() {
    for (point, whole) in
        [(Point::AppendRecord, false), (Point::AppendLast, false), (Point::AppendMarked, true)]
    {
        let disk = SimDisk::new(4);
        let store = options().open_sim(&disk).expect("a new store");
        store.put("before", "1").expect("space");
        let mut batch = store.batch();
        batch.put("a", "1").and_then(|batch| batch.put("b", "2")).expect("small");
        batch.put("c", "3").expect("small");
        let left = killed_at(point, &disk, || drop(batch.commit()));
        for gone in [&[][..], &["meta"], &["meta", "index", "checkpoint.a", "checkpoint.b"]] {
            let mut files = left.files();
            files.retain(|name, _| !gone.contains(&&**name));
            let (salvage, model) = repair(&files, left.page_cache()).expect("a log");
            assert_eq!(model.len(), if whole { 4 } else { 1 }, "{point:?} without {gone:?}");
            assert_eq!(
                salvage.uncommitted > 0,
                point == Point::AppendLast,
                "{point:?}: {salvage:?}"
            );
        }
    }
}
