//! An index that is lost or damaged is built anew from the log; killed half-way or without power, it never opens as if it were whole.

use std::collections::BTreeSet;

use mapstone::sim::{Point, SimDisk, at_points};
use mapstone::{Error, Options, Store};

use crate::damage::Random;
use crate::store::{Files, Left, Model, change, content, look_up, options};
use crate::{Ground, LEFTS};

fn rebuilding() -> Options {
    let mut options = options();
    options.rebuild_index(true);
    options
}

/// The store holds what the model does, and is sound.
fn holds(store: &Store, model: &Model) -> Result<(), String> {
    let found = content(store).map_err(|error| error.to_string())?;
    if found != *model {
        let keys: BTreeSet<_> = found.keys().chain(model.keys()).collect();
        let odd = keys.into_iter().find(|key| found.get(*key) != model.get(*key));
        return Err(format!(
            "another content at {odd:?}, {:?}",
            odd.and_then(|key| found.get(key))
        ));
    }
    if !look_up(store, model).map_err(|error| error.to_string())? {
        return Err("a lookup finds something else".into());
    }
    let damage = store.verify().map_err(|error| error.to_string())?.damage;
    if damage.is_empty() { Ok(()) } else { Err(format!("{damage:?}")) }
}

/// Opens with a new index, looks, changes something, closes and opens again.
pub(crate) fn rebuild(disk: &SimDisk, model: &Model) -> Result<(), String> {
    let store = rebuilding().open_sim(disk).map_err(|error| error.to_string())?;
    holds(&store, model)?;
    let mut model = model.clone();
    let changed = change(&store, &mut model).and_then(|()| store.close());
    changed.map_err(|error| error.to_string())?;
    let store = options().open_sim(disk).map_err(|error| error.to_string())?;
    holds(&store, &model)
}

/// What can happen to an index and its checkpoints.
fn forms(ground: &Ground) -> Vec<(String, Files)> {
    let names = ["index", "checkpoint.a", "checkpoint.b"];
    let mut forms = vec![("whole".to_owned(), ground.sample.files.clone())];
    let all = ground.with(|files| names.iter().for_each(|name| drop(files.remove(*name))));
    forms.push(("nothing left".into(), all));
    let mut add = |name: &str, what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let files = ground.with(|files| change(files.get_mut(name).expect("a file")));
        forms.push((format!("{name} {what}"), files));
    };
    for name in names {
        add(name, "empty", &Vec::clear);
        add(name, "cut", &|bytes| bytes.truncate(5000));
        add(name, "zeros", &|bytes| bytes.fill(0));
        add(name, "another", &|bytes| bytes.reverse());
        add(name, "noise", &|bytes| {
            let mut random = Random(3);
            bytes.fill_with(|| random.next().to_le_bytes()[0]);
        });
    }
    for name in names {
        forms.push((format!("{name} removed"), ground.with(|files| drop(files.remove(name)))));
    }
    forms
}

#[test]
fn an_index_is_built_from_the_log() {
    for ground in LEFTS.map(Ground::new).into_iter().chain([Ground::lives()]) {
        for (what, files) in forms(&ground) {
            let disk = SimDisk::holding(&files, ground.sample.life);
            let rebuilt = rebuild(&disk, &ground.sample.models[0]);
            assert_eq!(rebuilt, Ok(()), "{:?} {what}", ground.sample.left);
            let left: Vec<String> =
                disk.files().into_keys().filter(|name| name.contains("unfinished")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[test]
fn keys_that_collide_in_all_bits_are_told_apart() {
    let mut crowded = options();
    crowded.hash_mask(0);
    let disk = SimDisk::new(5);
    let store = crowded.open_sim(&disk).expect("a new store");
    for i in 0..700u32 {
        store.put((i % 400).to_be_bytes(), i.to_be_bytes()).expect("space");
    }
    let model = content(&store).expect("sound");
    store.close().expect("space");
    let mut files = disk.files();
    files.remove("index");
    let disk = SimDisk::holding(&files, disk.page_cache());
    let store = crowded.rebuild_index(true).open_sim(&disk).expect("a log");
    assert!(content(&store).expect("sound") == model);
    assert!(store.verify().expect("sound").is_ok());
}

/// A store whose index was not complete opens with everything, or says what is damaged; and then it can be built again.
fn look_after(disk: &SimDisk, model: &Model, when: &str) {
    let copy = || SimDisk::holding(&disk.files(), disk.page_cache());
    match options().open_sim(&copy()) {
        Ok(store) => assert_eq!(holds(&store, model), Ok(()), "{when}"),
        Err(Error::Corrupt { .. }) => {}
        Err(error) => panic!("{when}: {error}"),
    }
    assert_eq!(rebuild(&copy(), model), Ok(()), "{when}, again");
}

#[test]
fn a_power_cut_at_any_step_leaves_no_half_of_an_index() {
    let mut cuts = 0u64;
    for ground in [Ground::new(Left::Clean), Ground::new(Left::Killed), Ground::new(Left::Lost)] {
        for damaged in [false, true] {
            let mut files = ground.sample.files.clone();
            if damaged {
                files.get_mut("index").expect("a file").clear();
            }
            let start = SimDisk::holding(&files, ground.sample.life);
            let calls = start.calls();
            drop(rebuilding().open_sim(&start));
            let steps = start.calls() - calls;
            // The short form takes another third of the steps on each ground.
            let every = if crate::long().is_some() { 1 } else { 3 };
            for step in (cuts % every..=steps).step_by(usize::try_from(every).expect("small")) {
                let disk = SimDisk::holding(&files, ground.sample.life);
                disk.cut_after(step);
                drop(rebuilding().open_sim(&disk));
                let left = disk.power_cut();
                look_after(&left, &ground.sample.models[0], &format!("{damaged} cut {step}"));
                cuts += 1;
            }
        }
    }
    eprintln!("{cuts} cuts");
}

/// From its checkpoint on the new index, and the log that it leads to, survive a power cut, whatever was durable before.
#[test]
fn a_new_index_stands_once_it_has_its_checkpoint() {
    for seed in 0..if crate::long().is_some() { 100 } else { 8 } {
        let disk = SimDisk::new(100 + seed);
        let store = options().open_sim(&disk).expect("a new store");
        for i in 0..900u32 {
            store.put((i % 600).to_be_bytes(), i.to_be_bytes()).expect("space");
        }
        let model = content(&store).expect("sound");
        let disk = disk.process_kill();
        let cut = disk.clone();
        at_points(Some(Box::new(move |point| {
            if point == Point::RebuildWritten {
                cut.cut();
            }
        })));
        drop(rebuilding().open_sim(&disk));
        at_points(None);
        for _ in 0..4 {
            let store = options().open_sim(&disk.power_cut()).expect("a checkpoint");
            assert!(content(&store).expect("sound") == model, "{seed}");
            assert!(store.verify().expect("sound").is_ok(), "{seed}");
        }
    }
}

#[test]
fn a_process_that_is_killed_at_any_point_leaves_no_half_of_an_index() {
    use Point::{RebuildBuilt, RebuildDoubted, RebuildNamed, RebuildWiped, RebuildWritten};
    let points = [RebuildBuilt, RebuildDoubted, RebuildWiped, RebuildNamed, RebuildWritten];
    for ground in LEFTS.map(Ground::new) {
        for point in points {
            let disk = SimDisk::holding(&ground.sample.files, ground.sample.life);
            let left = crate::killed_at(point, &disk, || drop(rebuilding().open_sim(&disk)));
            look_after(&left, &ground.sample.models[0], point.name());
        }
    }
}

#[test]
fn a_damaged_log_is_left_to_a_salvage() {
    for ground in LEFTS.map(Ground::new) {
        for record in ground.all.iter().step_by(37).chain(ground.all.last()) {
            let files = ground
                .with(|files| files.get_mut(&record.file).expect("a file")[record.from + 20] ^= 4);
            let disk = SimDisk::holding(&files, ground.sample.life);
            let opened = rebuilding().open_sim(&disk);
            let lost = ground.sample.left == Left::Lost && record.position >= ground.durable();
            match opened {
                Err(Error::Corrupt { file, offset, .. }) => {
                    assert!(file.ends_with(&record.file), "{} {offset}", file.display());
                    let near = offset.abs_diff(record.from as u64) < 8192;
                    assert!(near, "{} and not {offset}", record.from);
                    let after = disk.files();
                    assert!(files.iter().all(|(name, bytes)| after[name] == *bytes), "changed");
                }
                // A power cut may have cut the log short there.
                Ok(_) if lost => {}
                other => panic!("{} {}: {other:?}", record.file, record.from),
            }
        }
    }
}

#[test]
fn an_index_that_somebody_reads_is_not_replaced() {
    let ground = Ground::new(Left::Clean);
    let disk = SimDisk::holding(&ground.sample.files, ground.sample.life);
    let reader = options().open_read_only_sim(&disk).expect("a sound store");
    let refused = rebuilding().open_sim(&disk);
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(reader);
    assert_eq!(rebuild(&disk, &ground.sample.models[0]), Ok(()));
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let ground = Ground::new(Left::Clean);
    let disk = SimDisk::holding(&ground.sample.files, ground.sample.life);
    disk.capacity(Some(disk.used() + 3 * 4096));
    let refused = rebuilding().open_sim(&disk);
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    let files = disk.files();
    assert!(ground.sample.files.iter().all(|(name, bytes)| files[name] == *bytes));
    disk.capacity(None);
    let store = options().open_sim(&disk).expect("as it was");
    assert_eq!(holds(&store, &ground.sample.models[0]), Ok(()));
}

/// The hook is the thread's: whoever sets it takes it away.
#[test]
fn points_of_a_rebuild_are_all_reached() {
    let met = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = std::rc::Rc::clone(&met);
    at_points(Some(Box::new(move |point| seen.borrow_mut().push(point))));
    let ground = Ground::new(Left::Clean);
    let disk = SimDisk::holding(&ground.sample.files, ground.sample.life);
    drop(rebuilding().open_sim(&disk));
    at_points(None);
    for point in Point::ALL.iter().filter(|point| point.name().starts_with("rebuild.")) {
        assert!(met.borrow().contains(point), "{point:?}");
    }
}
