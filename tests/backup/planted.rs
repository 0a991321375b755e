//! Every rule of a backup that a planted bug breaks is missed by one of these tests.

use std::panic::catch_unwind;

use mapstone::sim::{Bug, at_points, plant};

use super::{beside, cut_short, damage, refused};

/// The bugs, and the tests that notice.
const CAUGHT: [(Bug, fn()); 6] = [
    (Bug::BackupUnmarked, cut_short::a_backup_can_end_at_every_point),
    (Bug::BackupUnsynced, cut_short::a_backup_can_end_at_every_point),
    (Bug::BackupUnheld, beside::compaction_in_the_middle_of_a_backup_takes_nothing_from_it),
    (Bug::BackupUncompared, refused::a_backup_of_a_twin_is_refused),
    (Bug::BackupUnverified, damage::damage_in_the_store_is_told_and_not_copied),
    (Bug::BackupUnswept, super::what_was_deleted_does_not_come_back),
];

#[test]
fn every_planted_bug_is_caught() {
    let mut escaped = Vec::new();
    for bug in Bug::ALL.iter().filter(|bug| bug.name().starts_with("backup-")) {
        let test = CAUGHT.iter().find(|(caught, _)| caught == bug).expect("a test for each").1;
        plant(Some(*bug));
        let result = catch_unwind(test);
        plant(None);
        at_points(None);
        match result {
            Ok(()) => escaped.push(bug.name()),
            Err(_) => println!("{} is caught", bug.name()),
        }
    }
    assert!(escaped.is_empty(), "nobody noticed {escaped:?}");
}
