//! The bytes of a block device, without its zeros. Copies are cheap: they share what neither has changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BLOCK: usize = 4096;

#[derive(Clone, Debug)]
pub struct Image {
    blocks: Vec<Option<Arc<[u8; BLOCK]>>>,
}

impl Image {
    pub fn new(len: u64) -> Image {
        Image { blocks: vec![None; (len as usize).div_ceil(BLOCK)] }
    }

    pub fn len(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }

    /// Reads an image file.
    pub fn load(path: &Path) -> io::Result<Image> {
        let file = File::open(path)?;
        let mut image = Image::new(file.metadata()?.len());
        let mut bytes = vec![0; 1 << 20];
        let mut at = 0;
        // Holes are skipped: an image file is mostly hole.
        while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            at = start / BLOCK as u64 * BLOCK as u64;
            let count = file.read_at(&mut bytes, at)?;
            image.write(at, &bytes[..count]);
            at += count as u64;
            if at >= image.len() {
                break;
            }
        }
        Ok(image)
    }

    /// Writes an image file.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.len())?;
        let mut run: Vec<u8> = Vec::new();
        for (number, block) in self.blocks.iter().chain(&[None]).enumerate() {
            match block {
                Some(block) => run.extend_from_slice(&block[..]),
                None if run.is_empty() => {}
                None => {
                    file.write_all_at(&run, (number * BLOCK - run.len()) as u64)?;
                    run.clear();
                }
            }
        }
        Ok(())
    }

    pub fn read(&self, offset: u64, to: &mut [u8]) {
        for (block, within, range) in pieces(offset, to.len()) {
            match &self.blocks[block] {
                Some(bytes) => {
                    to[range.clone()].copy_from_slice(&bytes[within..within + range.len()])
                }
                None => to[range].fill(0),
            }
        }
    }

    pub fn write(&mut self, offset: u64, from: &[u8]) {
        for (block, within, range) in pieces(offset, from.len()) {
            let from = &from[range];
            if self.blocks[block].is_none() && from.iter().all(|byte| *byte == 0) {
                continue;
            }
            let bytes = self.blocks[block].get_or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(bytes)[within..within + from.len()].copy_from_slice(from);
        }
    }
}

/// Cuts a range into what lies in one block each: the block, where in it, and which part of the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset as usize + done;
        let count = (BLOCK - at % BLOCK).min(len - done);
        let range = done..done + count;
        done += count;
        (count > 0).then_some((at / BLOCK, at % BLOCK, range))
    })
}
