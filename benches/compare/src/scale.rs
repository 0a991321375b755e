//! How much of everything: what the user sets, and every child process is told.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Scale {
    /// Keys of 16 bytes that each store is loaded with
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Bytes of a value, at least 16
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    pub value: u64,
    /// Seconds that each measurement without a fixed amount of work takes
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Threads, and reading processes, at most; by default as many as there are cores
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    pub threads: usize,
    /// MiB of one data set, at most, where the length of values is varied
    #[arg(long, default_value_t = 256)]
    pub values_mib: u64,
    /// MiB of overwrites before the SIGKILL
    #[arg(long, default_value_t = 64)]
    pub replay_mib: u64,
    /// MiB of memory for a store four times larger
    #[arg(long, default_value_t = 256)]
    pub memory_mib: u64,
}

impl Scale {
    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub fn value(&self) -> usize {
        self.value as usize
    }
}
