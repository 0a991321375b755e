//! One file for each store: the few lines of its own interface that the work sets need, with the settings it is measured with.

pub mod bare;
#[cfg(feature = "candystore")]
pub mod candystore;
#[cfg(feature = "fjall")]
pub mod fjall;
pub mod floor;
pub mod hashmap;
#[cfg(feature = "heed")]
pub mod heed;
#[cfg(has_kyoto)]
pub mod kyoto;
#[cfg(feature = "libmdbx")]
pub mod libmdbx;
pub mod mapstone;
#[cfg(feature = "parity-db")]
pub mod parity_db;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(has_rocksdb)]
pub mod rocksdb;
#[cfg(feature = "simd-r-drive")]
pub mod simd_r_drive;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(has_tkrzw)]
pub mod tkrzw;
