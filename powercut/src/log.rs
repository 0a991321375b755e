//! What a logging disk has seen, and the states in which a power cut at any moment of it may leave the device.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::image::Image;

/// The unit in which a device tears.
const SECTOR: usize = 512;

/// Where ext4, xfs and btrfs have their superblocks: these blocks they need written whole, and cannot be mounted otherwise.
const SUPERBLOCKS: [u64; 3] = [0, 64 << 10, 64 << 20];

#[derive(Clone, Debug)]
pub enum Entry {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// The device has everything that came before.
    Flush,
    /// The writer goes for this step.
    Begin(u64),
    /// The writer was told that this step is durable.
    Mark(u64),
}

/// A device, what happened to it, and between which steps the store was when it began.
#[derive(Clone, Debug)]
pub struct Log {
    pub seed: u64,
    pub base: Image,
    pub low: u64,
    pub high: u64,
    pub entries: Vec<Entry>,
}

/// A device after a power cut.
#[derive(Debug)]
pub struct Cut {
    pub image: Image,
    /// The last step that was durable.
    pub low: u64,
    /// The last step that had begun.
    pub high: u64,
    /// Whether anything was lost.
    pub loses: bool,
}

impl Log {
    /// A place for a cut: most follow a write that may be lost.
    pub fn place(&self, rng: &mut SmallRng) -> usize {
        for _ in 0..20 {
            let at = rng.random_range(0..=self.entries.len());
            if rng.random_bool(0.2)
                || matches!(self.entries[..at].last(), Some(Entry::Write { .. }))
            {
                return at;
            }
        }
        self.entries.len()
    }

    /// Power goes before entry `at`: what was flushed stays, of the rest a random part, some of it torn.
    pub fn cut(&self, at: usize, seed: u64, tears: bool) -> Cut {
        self.cuts(&[(at, seed)], tears, |_, _, cut| cut).pop().expect("one")
    }

    /// Power cuts at places in ascending order, each with a seed for what is lost.
    pub fn cuts<T>(
        &self,
        places: &[(usize, u64)],
        tears: bool,
        mut each: impl FnMut(usize, u64, Cut) -> T,
    ) -> Vec<T> {
        let mut flushed = self.base.clone();
        let mut from = 0;
        let mut results = Vec::new();
        for &(at, seed) in places {
            let before = &self.entries[..at];
            let flush = before.iter().rposition(|entry| matches!(entry, Entry::Flush)).unwrap_or(0);
            for entry in &self.entries[from.min(flush)..flush] {
                if let Entry::Write { offset, bytes } = entry {
                    flushed.write(*offset, bytes);
                }
            }
            from = from.max(flush);
            let (mut low, mut high) = (self.low, self.high);
            for entry in before {
                match entry {
                    Entry::Begin(step) => high = *step,
                    Entry::Mark(step) => low = low.max(*step),
                    _ => {}
                }
            }
            let mut image = flushed.clone();
            let loses = lose(&mut image, &self.entries[flush..at], seed, tears);
            results.push(each(at, seed, Cut { image, low, high: high.max(low), loses }));
        }
        results
    }

    pub fn store(&self, path: &Path) -> io::Result<()> {
        let mut to = BufWriter::new(File::create(path)?);
        let mut put =
            |words: &[u64]| words.iter().try_for_each(|word| to.write_all(&word.to_le_bytes()));
        put(&[self.seed, self.low, self.high, self.base.len(), self.entries.len() as u64])?;
        let mut block = vec![0; 4096];
        for offset in (0..self.base.len()).step_by(4096) {
            self.base.read(offset, &mut block);
            if block.iter().any(|byte| *byte != 0) {
                to.write_all(&offset.to_le_bytes())?;
                to.write_all(&block)?;
            }
        }
        to.write_all(&u64::MAX.to_le_bytes())?;
        for entry in &self.entries {
            let (kind, number, bytes) = match entry {
                Entry::Write { offset, bytes } => (0, *offset, &bytes[..]),
                Entry::Flush => (1, 0, &[][..]),
                Entry::Begin(step) => (2, *step, &[][..]),
                Entry::Mark(step) => (3, *step, &[][..]),
            };
            for word in [kind, number, bytes.len() as u64] {
                to.write_all(&word.to_le_bytes())?;
            }
            to.write_all(bytes)?;
        }
        to.flush()
    }

    pub fn load(path: &Path) -> io::Result<Log> {
        let mut from = BufReader::new(File::open(path)?);
        let mut word = || -> io::Result<u64> { read_word(&mut from) };
        let (seed, low, high, len, count) = (word()?, word()?, word()?, word()?, word()?);
        let mut base = Image::new(len);
        let mut block = vec![0; 4096];
        loop {
            match read_word(&mut from)? {
                u64::MAX => break,
                offset => {
                    from.read_exact(&mut block)?;
                    base.write(offset, &block);
                }
            }
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let (kind, number) = (read_word(&mut from)?, read_word(&mut from)?);
            let mut bytes = vec![0; read_word(&mut from)? as usize];
            from.read_exact(&mut bytes)?;
            entries.push(match kind {
                0 => Entry::Write { offset: number, bytes },
                1 => Entry::Flush,
                2 => Entry::Begin(number),
                _ => Entry::Mark(number),
            });
        }
        Ok(Log { seed, base, low, high, entries })
    }
}

fn read_word(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn is_superblock(offset: u64, len: usize) -> bool {
    SUPERBLOCKS.iter().any(|block| offset < block + 4096 && *block < offset + len as u64)
}

/// Applies a random part of the writes that no flush has followed; says whether any of it is missing. Without `tears` those that
/// are torn otherwise are whole.
fn lose(image: &mut Image, volatile: &[Entry], seed: u64, tears: bool) -> bool {
    let mut rng = SmallRng::seed_from_u64(seed);
    let lost = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
    let torn = [0.0, 0.3][rng.random_range(0..2)];
    let mut loses = false;
    for entry in volatile {
        let Entry::Write { offset, bytes } = entry else { continue };
        if rng.random_bool(lost) {
            loses = true;
        } else if rng.random_bool(torn) && !is_superblock(*offset, bytes.len()) {
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if rng.random_bool(0.5) || !tears {
                    image.write(offset + (number * SECTOR) as u64, sector);
                } else {
                    loses = true;
                }
            }
        } else {
            image.write(*offset, bytes);
        }
    }
    loses
}
