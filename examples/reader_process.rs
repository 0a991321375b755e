//! Two processes: one writes samples, the other reads them in place while they come.
//!
//! `cargo run --example reader_process`

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytemuck::{AnyBitPattern, NoUninit};
use mapstone::Store;

/// What one key holds. Plain data without padding, so that its bytes in the file are its bytes in memory.
#[derive(Clone, Copy, Debug, AnyBitPattern, NoUninit)]
#[repr(C)]
struct Sample {
    number: u64,
    value: f64,
}

const SAMPLES: u64 = 100_000;

fn read(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open_read_only(path)?;
    let patience = Instant::now() + Duration::from_secs(60);
    let mut next = 0u64;
    while next < SAMPLES && Instant::now() < patience {
        // A lookup is a few loads from memory that this process shares with the writer: no call, no lock, no copy.
        let Some(value) = store.get(next.to_le_bytes())? else { continue };
        let sample: &Sample = value.view()?;
        assert_eq!((sample.number, sample.value), (next, (next as f64).sqrt()));
        next += 1;
    }
    println!("the reader has seen {next} of {SAMPLES} samples");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return read(Path::new(&path));
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("samples.mapstone");
    let store = Store::open(&path)?;
    let mut reader = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    for number in 0..SAMPLES {
        let sample = Sample { number, value: (number as f64).sqrt() };
        store.put_pod(number.to_le_bytes(), &sample)?;
    }
    println!("the writer has written {SAMPLES} samples");
    if !reader.wait()?.success() {
        return Err("the reader failed".into());
    }
    store.close()?;
    Ok(())
}
