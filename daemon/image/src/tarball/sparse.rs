//! Sparse files: GNU's old headers and its pax forms 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

use super::pax::number;
use super::{BLOCK, bad};
use crate::error::{ImageError, Result};
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Most data runs one file may have.
const MAX_CHUNKS: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub offset: u64,
    pub length: u64,
}

/// The `GNU.sparse.*` pax records.
#[derive(Debug, Default)]
pub(super) struct PaxForm {
    pub name: Option<Vec<u8>>,
    major: Option<u64>,
    real: Option<u64>,
    map: Option<Vec<u64>>,
}

impl PaxForm {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = Some(number(key, value)?),
            b"realsize" | b"size" => self.real = Some(number(key, value)?),
            b"map" => {
                let numbers: Result<Vec<u64>> = value.split(|b| *b == b',').map(|n| number(key, n)).collect();
                self.map = Some(numbers?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Chunks and logical size of a member in one of the pax forms. `read` takes from its stored data.
pub(super) fn pax(form: &PaxForm, stored: u64, read: impl FnMut(&mut [u8]) -> Result<()>) -> Result<(Vec<Chunk>, u64)> {
    let real = form
        .real
        .ok_or_else(|| bad("sparse member without its size".to_owned()))?;
    let (numbers, used) = match (&form.map, form.major) {
        (Some(map), _) => (map.clone(), 0),
        (None, Some(1)) => map_in_data(read)?,
        _ => return Err(bad("sparse member of an unknown form".to_owned())),
    };
    let chunks = numbers.chunks(2).map(|pair| match pair {
        [offset, length] => Ok(Chunk {
            offset: *offset,
            length: *length,
        }),
        _ => Err(bad("odd sparse map".to_owned())),
    });
    let chunks = chunks.collect::<Result<Vec<_>>>()?;
    let data = stored
        .checked_sub(used)
        .ok_or_else(|| bad("sparse map longer than its member".to_owned()))?;
    checked(chunks, data, real)
}

/// Form 1.0: decimal lines at the head of the data, padded to a block: count, then offset and length of each chunk.
fn map_in_data(mut read: impl FnMut(&mut [u8]) -> Result<()>) -> Result<(Vec<u64>, u64)> {
    let mut block = [0; BLOCK];
    let mut at = BLOCK;
    let mut used = 0;
    let mut line = move || -> Result<(u64, u64)> {
        let mut value: u64 = 0;
        loop {
            if at == BLOCK {
                read(&mut block)?;
                used += BLOCK as u64;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return Ok((value, used)),
                b'0'..=b'9' => {
                    let next = value
                        .checked_mul(10)
                        .and_then(|v| v.checked_add(u64::from(byte - b'0')));
                    value = next.ok_or_else(|| bad("sparse map number out of range".to_owned()))?;
                }
                _ => return Err(bad("malformed sparse map".to_owned())),
            }
        }
    };
    let (count, mut used) = line()?;
    let count = usize::try_from(count)
        .ok()
        .filter(|n| *n <= MAX_CHUNKS)
        .ok_or_else(too_many)?;
    let mut numbers = Vec::with_capacity(count * 2);
    for _ in 0..count * 2 {
        let number;
        (number, used) = line()?;
        numbers.push(number);
    }
    Ok((numbers, used))
}

/// Chunks and logical size of an old GNU sparse member; further headers come from `next_block`.
pub(super) fn old_gnu(
    header: &Header,
    stored: u64,
    mut next_block: impl FnMut() -> Result<Option<[u8; BLOCK]>>,
) -> Result<(Vec<Chunk>, u64)> {
    let gnu = header
        .as_gnu()
        .ok_or_else(|| bad("sparse member without a GNU header".to_owned()))?;
    let real = gnu.real_size().map_err(|e| bad(format!("sparse size: {e}")))?;
    let mut chunks = Vec::new();
    add_all(&mut chunks, &gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let block = next_block()?.ok_or_else(|| bad("sparse headers end early".to_owned()))?;
        let mut extension = GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(&block);
        add_all(&mut chunks, extension.sparse())?;
        more = extension.is_extended();
    }
    checked(chunks, stored, real)
}

fn add_all(chunks: &mut Vec<Chunk>, headers: &[GnuSparseHeader]) -> Result<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        let field = |value: std::io::Result<u64>| value.map_err(|e| bad(format!("sparse header: {e}")));
        chunks.push(Chunk {
            offset: field(header.offset())?,
            length: field(header.length())?,
        });
    }
    match chunks.len() > MAX_CHUNKS {
        true => Err(too_many()),
        false => Ok(()),
    }
}

/// In order, without overlap, inside the file, and all of the stored data used.
fn checked(chunks: Vec<Chunk>, stored: u64, real: u64) -> Result<(Vec<Chunk>, u64)> {
    if chunks.len() > MAX_CHUNKS {
        return Err(too_many());
    }
    let mut end: u64 = 0;
    let mut data: u64 = 0;
    for chunk in &chunks {
        let next = chunk.offset.checked_add(chunk.length).filter(|next| *next <= real);
        match next {
            Some(next) if chunk.offset >= end => end = next,
            _ => return Err(bad("sparse chunks overlap or leave the file".to_owned())),
        }
        data += chunk.length;
    }
    match data == stored {
        true => Ok((chunks, real)),
        false => Err(bad("sparse chunks do not add up to the stored data".to_owned())),
    }
}

fn too_many() -> ImageError {
    ImageError::Limit {
        limit: "sparse-chunks",
        allowed: MAX_CHUNKS as u64,
    }
}
