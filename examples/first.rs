//! A first program: a counter that survives. Run it twice.
//!
//! `cargo run --example first [DIRECTORY]`

use std::path::PathBuf;

use mapstone::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("first.mapstone"), PathBuf::from);

    // Creates the store or opens it; from here to the end this handle is the one that may write.
    let store = Store::open(&path)?;

    // A value is borrowed from the mapped file. This copies eight bytes of it, and only because it is put back changed.
    let runs = match store.get("runs")? {
        Some(value) => *value.view::<u64>()?,
        None => 0,
    };
    store.put_pod("runs", &(runs + 1))?;
    println!("{} has been opened {} times", path.display(), runs + 1);

    // Closing would happen by itself; said aloud, it reports its errors.
    store.close()?;
    Ok(())
}
