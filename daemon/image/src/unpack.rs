//! Unpacking a layer into a directory, trusting nothing in it.
//!
//! One pass: stored bytes > decompress > count, limit and hash > tar > files. Every path is resolved by the kernel below
//! the layer's root (`openat2` with `RESOLVE_IN_ROOT`), nothing existing is ever opened for writing, devices are made
//! but never opened. On an error the caller removes the directory: nothing of it is of use.

mod attributes;
pub(crate) mod confined;
mod inherit;
mod tree;

pub(crate) use attributes::{is_carried, open_root};
pub use inherit::inherit;

use crate::compress::decoder;
use crate::error::{ImageError, Result};
use crate::hash::HashedReader;
use crate::tarball::TarReader;
use gantry_core::snapshot::ApplyTarget;
use gantry_core::{Algorithm, Digest};
use std::cell::Cell;
use std::io::{self, Read};
use tree::Tree;

/// What a layer may ask of this machine. The error names the field that stopped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer's tar stream.
    pub max_bytes: u64,
    /// Entries of one layer.
    pub max_entries: u64,
    /// Uncompressed over stored bytes, looked at once `ratio_floor` uncompressed bytes have passed. gzip cannot exceed
    /// 1032; zstd can, by orders of magnitude.
    pub max_ratio: u64,
    /// Bytes below which no ratio is looked at.
    pub ratio_floor: u64,
    /// Components of one path.
    pub max_depth: usize,
}

impl crate::ImageService {
    /// What a layer may ask of this machine.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 30,
            max_entries: 10_000_000,
            max_ratio: 1100,
            ratio_floor: 256 << 20,
            max_depth: 400,
        }
    }
}

/// What came of unpacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Digest of the uncompressed stream.
    pub diff_id: Digest,
    /// Uncompressed bytes.
    pub size: u64,
    pub entries: u64,
    /// Directories the layer needed but did not carry (the root is the empty path), whose attributes should come from
    /// the layers below: see [`inherit`].
    pub implied: Vec<Vec<u8>>,
}

/// Unpacks `source` (compressed or not) into `target`. `passed` hears the stored bytes read so far, now and then.
pub fn apply(
    source: impl Read,
    target: &ApplyTarget,
    limits: &Limits,
    algorithm: Algorithm,
    passed: impl FnMut(u64),
) -> Result<Applied> {
    let stored = Cell::new(0);
    let mut source = Counted {
        inner: source,
        count: &stored,
        told: 0,
        passed,
    };
    let mut tree = Tree::open(target, limits)?;
    let (plain, entries) = {
        let (_, plain) = decoder(&mut source).map_err(ImageError::io("read layer"))?;
        let limited = Limited {
            inner: plain,
            stored: &stored,
            count: 0,
            limits,
        };
        let mut tar = TarReader::new(HashedReader::new(limited, algorithm));
        let mut entries = 0;
        while let Some(entry) = tar.next()? {
            entries += 1;
            if entries > limits.max_entries {
                return Err(over("max-entries", limits.max_entries));
            }
            tree.put(&entry, &mut tar)?;
        }
        let mut plain = tar.into_inner();
        drain(&mut plain)?;
        ((plain.digest(), plain.count()), entries)
    };
    drain(&mut source)?;
    let implied = tree.finish()?;
    let (diff_id, size) = plain;
    Ok(Applied {
        diff_id,
        size,
        entries,
        implied,
    })
}

/// What follows the tar's end mark belongs to the digests.
fn drain(reader: &mut impl Read) -> Result<()> {
    io::copy(reader, &mut io::sink()).map_err(ImageError::io("read the end of the layer"))?;
    Ok(())
}

fn over(limit: &'static str, allowed: u64) -> ImageError {
    ImageError::Limit { limit, allowed }
}

struct Counted<'a, R, F> {
    inner: R,
    count: &'a Cell<u64>,
    told: u64,
    passed: F,
}

impl<R: Read, F: FnMut(u64)> Read for Counted<'_, R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const STEP: u64 = 512 << 10;
        let read = self.inner.read(buffer)?;
        let count = self.count.get() + read as u64;
        self.count.set(count);
        if count >= self.told + STEP || read == 0 {
            self.told = count;
            (self.passed)(count);
        }
        Ok(read)
    }
}

struct Limited<'a, R> {
    inner: R,
    stored: &'a Cell<u64>,
    count: u64,
    limits: &'a Limits,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        if self.count > self.limits.max_bytes {
            return Err(over("max-bytes", self.limits.max_bytes).into_io());
        }
        let fair = self.stored.get().saturating_mul(self.limits.max_ratio);
        if self.count > self.limits.ratio_floor && self.count > fair {
            return Err(over("max-ratio", self.limits.max_ratio).into_io());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
