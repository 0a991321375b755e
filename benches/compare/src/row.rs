//! One measurement: a line of the JSON lines, a cell of a table.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Operations a second: more is better.
    Rate,
    /// Seconds for one operation: less is better.
    Time,
    /// Bytes: less is better.
    Bytes,
    /// Microseconds at the median, with percentiles: less is better.
    Latency,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What the disk under the store did meanwhile, for whomever.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Written.
    pub bytes: u64,
    pub flushes: u64,
    #[serde(default)]
    pub reads: u64,
    /// Bytes read.
    #[serde(default)]
    pub read: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub round: u32,
    pub peer: String,
    pub work: String,
    pub unit: Unit,
    /// What the writes of this work survive; empty where nothing is written.
    pub survives: String,
    pub ops: u64,
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Seconds of processor time, of all threads of the process that measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes that the process made dirty or wrote, by the kernel's count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrote: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why there is no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl Row {
    /// A row without a figure yet.
    pub fn new(peer: &str, work: impl Into<String>, unit: Unit) -> Row {
        Row {
            round: 0,
            peer: peer.to_owned(),
            work: work.into(),
            unit,
            survives: String::new(),
            ops: 0,
            seconds: 0.0,
            latency: None,
            cpu: None,
            wrote: None,
            device: None,
            bytes: None,
            note: None,
            skipped: None,
        }
    }

    /// The figure that tables compare.
    pub fn figure(&self) -> Option<f64> {
        if self.skipped.is_some() {
            return None;
        }
        match self.unit {
            Unit::Rate => Some(self.ops as f64 / self.seconds),
            Unit::Time => Some(self.seconds),
            Unit::Bytes => self.bytes.map(|bytes| bytes as f64),
            Unit::Latency => self.latency.map(|latency| latency.p50),
        }
    }
}
