//! Several changes as one: a transfer between two accounts and its entry in a journal, in two tables.
//!
//! `cargo run --example batches_and_tables [DIRECTORY]`

use std::path::PathBuf;

use mapstone::{Durability, Store, Table};

/// What an account holds, in cents.
fn balance(accounts: &Table, name: &str) -> mapstone::Result<i64> {
    match accounts.get(name)? {
        Some(value) => value.view::<i64>().copied(),
        None => Ok(0),
    }
}

fn transfer(store: &Store, from: &str, to: &str, cents: i64) -> mapstone::Result<()> {
    let accounts = store.table("accounts")?;
    let journal = store.table("journal")?;
    let mut batch = store.batch();
    batch.put_in(&accounts, from, (balance(&accounts, from)? - cents).to_le_bytes())?;
    batch.put_in(&accounts, to, (balance(&accounts, to)? + cents).to_le_bytes())?;
    // The position of the last commit is a number that no other entry has.
    let entry = store.position().as_u64().to_be_bytes();
    batch.put_in(&journal, entry, format!("{from} pays {to} {cents}"))?;
    // All three or none, and on stable storage when this returns.
    batch.commit_with(Durability::Immediate)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("accounts.mapstone"), PathBuf::from);
    let store = Store::open(&path)?;

    let before = store.snapshot()?;
    transfer(&store, "ada", "grace", 1250)?;

    // A snapshot stays what it was.
    let accounts = store.table("accounts")?;
    let ada_before = match before.table("accounts")? {
        Some(then) => then.get("ada")?.map_or(Ok(0), |value| value.view::<i64>().copied())?,
        None => 0,
    };
    println!("ada had {ada_before} and has {}", balance(&accounts, "ada")?);

    for item in &store.table("journal")?.snapshot()? {
        let (_, line) = item?;
        println!("{}", String::from_utf8_lossy(&line));
    }
    store.close()?;
    Ok(())
}
