//! Following a store: an index by length, kept up to date from the store's changes, that goes on where it was.
//!
//! `cargo run --example changes`

use std::time::Duration;

use mapstone::{Bookmark, Change, Position, Store};

/// Brings the table "by length" to the store's present commit. How far it has come is a key of its own, written in one commit
/// with what was made of the changes, so that each counts once, whenever this is killed.
fn follow(store: &Store) -> mapstone::Result<u64> {
    let lengths = store.table("by length")?;
    let at = lengths.get("at")?.and_then(|at| String::from_utf8_lossy(&at).parse().ok());
    let mut changes = store.changes(at.unwrap_or(Bookmark::from(Position::default())))?;
    let mut followed = 0;
    // A wait of zero would be the same as `next_commit`; a long one would follow for ever, without polling.
    while let Some(commit) = changes.wait(Duration::ZERO)? {
        let mut batch = store.batch();
        for change in &commit {
            if let Change::Put { table: None, key, value, .. } = change? {
                batch.put_in(&lengths, (value.len() as u64).to_be_bytes(), key)?;
                followed += 1;
            }
        }
        if !batch.is_empty() {
            batch.put_in(&lengths, "at", commit.bookmark().to_string())?;
            batch.commit()?;
        }
    }
    Ok(followed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("store"))?;
    for word in ["a", "stone", "map"] {
        store.put(word, word)?;
    }
    println!("{} changes followed", follow(&store)?);
    store.put("ledger", "ledger")?;
    println!("{} more", follow(&store)?);
    let lengths = store.table("by length")?;
    let longest = lengths.get(6u64.to_be_bytes())?.expect("a word of six letters");
    println!("of six letters: {}", String::from_utf8_lossy(&longest));
    Ok(())
}
