//! Backups at every stage of a script that writes, deletes, drops tables, compacts and reopens: into one directory that is brought
//! up to date, into one that only gets copies, and into new ones.

use std::fs;
use std::time::{Duration, Instant};

use super::script::{Random, Script, State, check};
use super::{copied, ground};

/// How long this may take, if it is to be long.
pub(super) fn long() -> Option<Duration> {
    let seconds = std::env::var("MAPSTONE_LONG").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

fn round(seed: u64, steps: u64) {
    let script = Script { seed, crowded: seed % 5 == 4, background: false };
    let ground = ground();
    let [copies, fresh] = ["copies", "fresh"].map(|name| ground.dest.with_extension(name));
    let open = || script.options().open(&ground.store);
    let mut store = Some(open().expect("a new store"));
    let mut state = State::default();
    let mut random = Random(seed);
    for n in 0..steps {
        let step = script.step(n, &state);
        step.run(&mut store, open).expect("a sound disk");
        state.apply(&step);
        let store = store.as_ref().expect("open");
        let is = |dest: &std::path::Path| {
            let backup = script.options().open_read_only(dest).expect("a store");
            check::equals(&backup, &state);
        };
        if random.below(4) == 0 {
            store.backup(&ground.dest).expect("a backup");
            is(&ground.dest);
        }
        if random.below(8) == 0 {
            store.backup_with(&copies, &copied(), |_| ()).expect("a backup");
            is(&copies);
        }
        if random.below(12) == 0 {
            let reader = script.options().open_read_only(&ground.store).expect("a store");
            reader.backup(&fresh).expect("a backup");
            is(&fresh);
            fs::remove_dir_all(&fresh).expect("the backup goes");
        }
    }
}

#[test]
fn backups_follow_a_script() {
    let start = Instant::now();
    let mut rounds = 0;
    for seed in 0.. {
        if long().map_or(seed == 6, |long| start.elapsed() > long) {
            break;
        }
        round(seed, 60);
        rounds += 1;
    }
    println!("{rounds} scripts in {:.1} s", start.elapsed().as_secs_f64());
}
