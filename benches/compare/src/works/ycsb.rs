//! YCSB A, B, C, D and F: records of 1,000 bytes, a fifth as many as keys otherwise; requests zipfian (0.99), scattered over the keys; D reads the latest.

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

use crate::bench::{self, BATCH, Bench, put_batches};
use crate::data::{self, LOADED, Random};
use crate::meter::{Limit, Measured, settle};
use crate::peer::{Op, Peer, Survives};
use crate::row::Unit;

const RECORD: usize = 1000;
const THETA: f64 = 0.99;

struct Mix {
    name: &'static str,
    reads: u64,
    write: Write,
}

enum Write {
    Update,
    Insert,
    /// Reads what it overwrites.
    Modify,
}

const MIXES: [Mix; 5] = [
    Mix { name: "A", reads: 50, write: Write::Update },
    Mix { name: "B", reads: 95, write: Write::Update },
    Mix { name: "C", reads: 100, write: Write::Update },
    Mix { name: "F", reads: 50, write: Write::Modify },
    // Last, since it adds records.
    Mix { name: "D", reads: 95, write: Write::Insert },
];

pub fn run(bench: &mut Bench) -> Result<()> {
    let records = (bench.scale.keys / 5).max(100);
    bench.peer = Some((bench.kind.open)(
        &bench.dir,
        crate::peer::Setup { keys: records, ..bench.setup(Survives::Kill) },
    )?);
    let mut numbers = 0..;
    let next = || numbers.next().expect("endless");
    put_batches(
        &bench.meter,
        bench.peer()?,
        RECORD,
        BATCH / 10,
        LOADED,
        Limit::ops(records),
        next,
    )?;
    let mut zipf = Zipfian::new(records)?;
    for mix in &MIXES {
        settle(&bench.dir)?;
        let measured = one(bench, mix, records, &mut zipf)?;
        let ask = (mix.reads < 100).then_some(Survives::Kill);
        bench.report(format!("YCSB {}", mix.name), Unit::Rate, ask, &measured);
    }
    bench.close()
}

fn one(bench: &Bench, mix: &Mix, mut records: u64, zipf: &mut Zipfian) -> Result<Measured> {
    let peer = bench.peer()?;
    let loaded = records;
    let mut random = Random::new(6);
    let mut value = vec![0; RECORD];
    let mut version = LOADED;
    bench.meter.latency(Limit::time(bench.scale.time()), || {
        let insert = matches!(mix.write, Write::Insert);
        // The latest is the most wanted.
        let i = if insert {
            records - 1 - zipf.rank().min(records - 1)
        } else {
            zipf.scattered(loaded)
        };
        if random.below(100) < mix.reads {
            read(peer, i)?;
            return Ok(1);
        }
        version += 1;
        let i = if insert { records } else { i };
        if matches!(mix.write, Write::Modify) {
            read(peer, i)?;
        }
        data::fill(&mut value, i, version);
        peer.commit(&[Op::Put(&data::key(i), &value)])?;
        records += u64::from(insert);
        Ok(1)
    })
}

/// A session of its own, since the next operation may write.
fn read(peer: &dyn Peer, i: u64) -> Result<()> {
    peer.read(&mut |reader| bench::get(reader, i, RECORD))
}

/// Ranks with a zipfian distribution.
pub struct Zipfian {
    zipf: Zipf<f64>,
    random: SmallRng,
}

impl Zipfian {
    pub fn new(count: u64) -> Result<Zipfian> {
        Ok(Zipfian { zipf: Zipf::new(count as f64, THETA)?, random: SmallRng::seed_from_u64(7) })
    }

    /// From 0, the most frequent.
    pub fn rank(&mut self) -> u64 {
        self.zipf.sample(&mut self.random) as u64 - 1
    }

    /// A number below `count`; the frequent ones are anywhere.
    pub fn scattered(&mut self, count: u64) -> u64 {
        data::scramble(self.rank()) % count
    }
}
