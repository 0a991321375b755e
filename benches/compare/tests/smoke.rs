//! Every work set on every store that was compiled in, with 1,000 keys: no child may fail, and no store may be missing without a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

fn compare(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn rows(out: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(out.join("rows.jsonl")).expect("rows were written");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn every_store_does_every_work() {
    let out = tempfile::tempdir().expect("a directory");
    let path = out.path().to_str().expect("UTF-8");
    let scale = [
        "--keys",
        "1000",
        "--seconds",
        "0.02",
        "--rounds",
        "1",
        "--values-mib",
        "1",
        "--replay-mib",
        "1",
    ];
    // All but one, which takes longer.
    let (_, list) = compare(&["list"]);
    let works = list.lines().find_map(|line| line.strip_prefix("works: ")).expect("a list");
    let works = works.replace(", memory", "").replace(' ', "");
    let (succeeded, text) = compare(&[&scale[..], &["--works", &works, "--out", path]].concat());
    assert!(succeeded, "{text}");

    let stores: BTreeSet<&str> = list
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .collect();
    for always in ["mapstone", "HashMap", "bare memory"] {
        assert!(stores.contains(always), "{list}");
    }
    let mut works: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows(out.path()) {
        if let Some(why) = row["skipped"].as_str() {
            eprintln!("skipped: {}, {}: {why}", row["peer"], row["work"]);
        }
        let (work, peer) =
            (row["work"].as_str().expect("a name"), row["peer"].as_str().expect("a name"));
        works.entry(work.to_owned()).or_default().insert(peer.to_owned());
    }
    for work in [
        "load, batches of 1,000",
        "get",
        "get, absent",
        "get_many of 32",
        "iterate",
        "iterate, values of 1 KiB",
        "put, overwriting",
        "delete",
        "YCSB A",
        "YCSB F",
    ] {
        let missing: Vec<&&str> =
            stores.iter().filter(|store| !works[work].contains(**store)).collect();
        assert!(missing.is_empty(), "{work}: nothing of {missing:?}");
    }
    assert!(works["durable put"].contains("pwrite+fdatasync"));

    let report = fs::read_to_string(out.path().join("report.md")).expect("a report");
    assert!(report.contains("| **mapstone** |"), "{report}");
    assert!(report.contains("| *bare memory* |"), "{report}");
    let plot = fs::read_to_string(out.path().join("get.svg")).expect("a plot");
    assert!(plot.contains("mapstone") && plot.contains("<rect"), "{plot}");
}

#[test]
fn an_unknown_name_is_an_error() {
    let (succeeded, text) = compare(&["--peers", "mangodb"]);
    assert!(!succeeded && text.contains("no store mangodb"), "{text}");
    let (succeeded, text) = compare(&["--works", "dance"]);
    assert!(!succeeded && text.contains("no work set dance"), "{text}");
}
