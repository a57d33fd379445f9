//! RocksDB's log files, read without RocksDB: to tell a torn tail from damage in the middle, and to salvage.
//!
//! The format (RocksDB wiki, "Write Ahead Log File Format"): blocks of 32 KiB; in them records of
//! `[masked crc32c u32][length u16][type u8][payload]`, little-endian; a batch is one FULL record, or FIRST, MIDDLE...,
//! LAST. Fewer than 7 bytes at a block's end are padding.
//!
//! A commit is synced before the next is written, and takes all before it along; but some are left to the machine's next sync, and bear
//! a mark. What a loss of power can spoil is therefore the batches since the last synced one, in any order, for the kernel writes pages
//! as it likes. A bad place with a synced batch after it is damage; with nothing but marked ones after it, it is a torn tail.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEAD: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// The mark of a batch that nobody waited for: log data at its beginning (RocksDB hands it to nobody). Batches that are written
/// together go into one record, and one that is synced is never put behind one that is not, so the first one speaks for all.
pub const UNSYNCED: &[u8] = b"gantry: unsynced";
/// Before it: sequence number and count, the tag of log data, its length.
const MARK_AT: usize = 12 + 2;

/// Compression and timestamp markers, which stand alone.
const MARKERS: [u8; 3] = [9, 10, 130];

/// What the logs of a database look like.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    /// Everything from `offset` on, in this log and in later ones, is the remains of batches that were never said to be on the disk.
    Torn {
        file: PathBuf,
        offset: u64,
    },
    /// Good batches that were synced follow the bad place.
    Damaged {
        file: PathBuf,
        offset: u64,
    },
}

/// Looks at all logs of a database.
pub fn inspect(db: &Path) -> Result<Verdict> {
    let logs = logs(db)?;
    for (index, file) in logs.iter().enumerate() {
        let bytes = fs::read(file).map_err(Error::path("read", file))?;
        let Some(bad) = walk(&bytes, 0, |_| {}) else {
            continue;
        };
        let follows = has_synced(&bytes, bad.found + 1) || any_synced(&logs[index + 1..])?;
        let file = file.clone();
        return Ok(if follows {
            Verdict::Damaged {
                file,
                offset: bad.found as u64,
            }
        } else {
            Verdict::Torn {
                file,
                offset: bad.good_end as u64,
            }
        });
    }
    Ok(Verdict::Sound)
}

/// Cuts a torn tail off; its bytes are kept in `keep`. Answers where. What later logs hold goes with it: none of it may be there
/// without what was before it. The last log first, so that one that is cut short by a kill is judged the same again.
pub fn cut(db: &Path, file: &Path, offset: u64, keep: &Path) -> Result<Vec<PathBuf>> {
    let logs = logs(db)?;
    let mut kept = Vec::new();
    for log in logs.iter().rev().take_while(|log| *log != file) {
        if fs::metadata(log).map_err(Error::path("stat", log))?.len() > 0 {
            kept.push(cut_one(log, 0, keep)?);
        }
    }
    kept.insert(0, cut_one(file, offset, keep)?);
    Ok(kept)
}

fn cut_one(file: &Path, offset: u64, keep: &Path) -> Result<PathBuf> {
    let bytes = fs::read(file).map_err(Error::path("read", file))?;
    let from = usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len());
    fs::create_dir_all(keep).map_err(Error::path("create", keep))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let kept = keep.join(format!("{name}.{offset}"));
    let mut copy = File::create(&kept).map_err(Error::path("create", &kept))?;
    copy.write_all(&bytes[from..])
        .and_then(|()| copy.sync_all())
        .map_err(Error::path("write", &kept))?;
    let log = OpenOptions::new()
        .write(true)
        .open(file)
        .map_err(Error::path("open", file))?;
    log.set_len(offset)
        .and_then(|()| log.sync_all())
        .map_err(Error::path("cut", file))?;
    Ok(kept)
}

/// Rewrites every log of a copied database with the batches that are whole. Answers the bytes left out, by file.
pub fn salvage(db: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut lost = Vec::new();
    for file in logs(db)? {
        let bytes = fs::read(&file).map_err(Error::path("read", &file))?;
        let mut batches: Vec<Vec<u8>> = Vec::new();
        let mut from = 0;
        while let Some(bad) = walk(&bytes, from, |batch| batches.push(batch.to_vec())) {
            match next_batch(&bytes, bad.found + 1) {
                Some(next) => from = next,
                None => break,
            }
        }
        let whole = write_log(&batches);
        if whole != bytes {
            lost.push((file.clone(), (bytes.len().saturating_sub(whole.len())) as u64));
            fs::write(&file, &whole).map_err(Error::path("write", &file))?;
        }
    }
    Ok(lost)
}

fn logs(db: &Path) -> Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    let entries = match fs::read_dir(db) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::path("list", db)(error)),
    };
    for entry in entries {
        let path = entry.map_err(Error::path("list", db))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|ext| ext == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn any_synced(logs: &[PathBuf]) -> Result<bool> {
    for file in logs {
        let bytes = fs::read(file).map_err(Error::path("read", file))?;
        if has_synced(&bytes, 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a batch begins there that was synced. One whose beginning is too short for a mark is taken for such a one if it does not
/// go on.
fn has_synced(bytes: &[u8], mut from: usize) -> bool {
    while let Some(at) = next_batch(bytes, from) {
        let mut synced = None;
        let bad = walk(bytes, at, |batch| {
            synced = Some(synced.unwrap_or(false) || !is_marked(batch));
        });
        let begun = record(bytes, at).is_some_and(|(_, payload)| is_marked(payload));
        if synced.unwrap_or(!begun) {
            return true;
        }
        match bad {
            Some(bad) => from = bad.found.max(at) + 1,
            None => return false,
        }
    }
    false
}

fn is_marked(batch: &[u8]) -> bool {
    batch.get(MARK_AT..).is_some_and(|rest| rest.starts_with(UNSYNCED))
}

struct Bad {
    /// Where the last whole batch ends.
    good_end: usize,
    /// Where the trouble was met.
    found: usize,
}

/// Hands out whole batches from `from` on, until the end (none) or a bad place.
fn walk(bytes: &[u8], from: usize, mut batch: impl FnMut(&[u8])) -> Option<Bad> {
    let mut at = from;
    let mut good_end = from;
    let mut parts: Option<Vec<u8>> = None;
    loop {
        let left = BLOCK - at % BLOCK;
        if left < HEAD {
            at += left;
        }
        if at >= bytes.len() {
            return parts.is_some().then_some(Bad {
                good_end,
                found: good_end,
            });
        }
        let bad = Some(Bad { good_end, found: at });
        let Some((kind, payload)) = record(bytes, at) else {
            return bad;
        };
        at += HEAD + payload.len();
        match (kind, &mut parts) {
            (FULL, None) => batch(payload),
            (FIRST, none @ None) => *none = Some(payload.to_vec()),
            (MIDDLE, Some(parts)) => parts.extend(payload),
            (LAST, some) => {
                let Some(mut whole) = some.take() else { return bad };
                whole.extend(payload);
                batch(&whole);
            }
            (marker, None) if MARKERS.contains(&marker) => {}
            _ => return bad,
        }
        if parts.is_none() {
            good_end = at;
        }
    }
}

/// The record at `at`, if its checksum holds.
fn record(bytes: &[u8], at: usize) -> Option<(u8, &[u8])> {
    let block_end = (at / BLOCK + 1) * BLOCK;
    let head: [u8; HEAD] = bytes.get(at..at + HEAD)?.try_into().ok()?;
    let [c0, c1, c2, c3, l0, l1, kind] = head;
    let end = at + HEAD + usize::from(u16::from_le_bytes([l0, l1]));
    if kind == 0 || end > block_end {
        return None;
    }
    let payload = bytes.get(at + HEAD..end)?;
    (masked_crc(kind, payload) == u32::from_le_bytes([c0, c1, c2, c3])).then_some((kind, payload))
}

fn masked_crc(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Where the next good batch begins, looked for byte by byte: after damage no length is to be trusted.
fn next_batch(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(HEAD)).find(|&at| {
        let begins = matches!(bytes[at + 6], FULL | FIRST) && at % BLOCK + HEAD <= BLOCK;
        begins && record(bytes, at).is_some_and(|(_, payload)| !payload.is_empty())
    })
}

fn write_log(batches: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for batch in batches {
        let mut rest = &batch[..];
        let mut begun = false;
        loop {
            let left = BLOCK - out.len() % BLOCK;
            if left < HEAD {
                out.resize(out.len() + left, 0);
                continue;
            }
            let (part, after) = rest.split_at(rest.len().min(left - HEAD));
            let kind = match (begun, after.is_empty()) {
                (false, true) => FULL,
                (false, false) => FIRST,
                (true, false) => MIDDLE,
                (true, true) => LAST,
            };
            out.extend(masked_crc(kind, part).to_le_bytes());
            out.extend(
                u16::try_from(part.len())
                    .expect("a part fits in its block")
                    .to_le_bytes(),
            );
            out.push(kind);
            out.extend(part);
            rest = after;
            begun = true;
            if rest.is_empty() {
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches() -> Vec<Vec<u8>> {
        // Sizes that end short of a block, at its padding and well beyond it.
        [10, 40, BLOCK - 7 - 17 - 47 - 3, 100_000, 5, 300]
            .iter()
            .enumerate()
            .map(|(index, size)| vec![index as u8 + 1; *size])
            .collect()
    }

    fn put(bytes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("000007.log"), bytes).unwrap();
        dir
    }

    #[test]
    fn whole_logs_are_sound() {
        let dir = put(&write_log(&batches()));
        assert_eq!(inspect(dir.path()).unwrap(), Verdict::Sound);
        assert!(salvage(dir.path()).unwrap().is_empty());
    }

    /// A batch as RocksDB puts it down that nobody waited for.
    fn marked(size: usize) -> Vec<u8> {
        let mark = [&[0; 12][..], &[3, UNSYNCED.len() as u8], UNSYNCED].concat();
        [mark, vec![0x55; size]].concat()
    }

    #[test]
    fn a_hole_among_what_nobody_waited_for_is_a_torn_tail() {
        let all = [vec![1; 300], marked(5000), marked(9000), marked(40_000), marked(10)];
        let first = write_log(&all[..1]).len();
        let second = write_log(&all[..2]).len();
        let whole = write_log(&all);
        let mut holed = whole.clone();
        holed[first..4096].fill(0);
        let dir = put(&holed);
        let Verdict::Torn { file, offset } = inspect(dir.path()).unwrap() else {
            panic!("a hole in the tail is no damage");
        };
        assert_eq!(offset as usize, first);
        // What is in the next log was written later still.
        fs::write(dir.path().join("000009.log"), write_log(&all[1..3])).unwrap();
        let kept = cut(dir.path(), &file, offset, &dir.path().join("torn")).unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(inspect(dir.path()).unwrap(), Verdict::Sound);
        assert_eq!(fs::read(file).unwrap(), whole[..first]);
        // A synced one after the hole took all before it along: that is damage, in the same log and in a later one.
        let synced = write_log(&[&all[..], &[vec![9; 20]]].concat());
        let mut holed = synced.clone();
        holed[second..second + 100].fill(0);
        assert!(matches!(inspect(put(&holed).path()).unwrap(), Verdict::Damaged { .. }));
        let dir = put(&whole[..whole.len() - 3]);
        fs::write(dir.path().join("000009.log"), write_log(&all[1..])).unwrap();
        assert!(matches!(inspect(dir.path()).unwrap(), Verdict::Torn { .. }));
        fs::write(dir.path().join("000009.log"), write_log(&all[..2])).unwrap();
        assert!(matches!(inspect(dir.path()).unwrap(), Verdict::Damaged { .. }));
    }

    #[test]
    fn a_cut_anywhere_is_a_torn_tail() {
        let bytes = write_log(&batches());
        let before_last = write_log(&batches()[..5]).len();
        for length in (before_last + 1..bytes.len()).step_by(7) {
            let dir = put(&bytes[..length]);
            let Verdict::Torn { file, offset } = inspect(dir.path()).unwrap() else {
                panic!("cut at {length}");
            };
            assert_eq!(offset as usize, before_last);
            let kept = cut(dir.path(), &file, offset, &dir.path().join("torn")).unwrap();
            assert_eq!(fs::read(&kept[0]).unwrap(), bytes[before_last..length]);
            assert_eq!(inspect(dir.path()).unwrap(), Verdict::Sound);
        }
    }

    #[test]
    fn a_flip_before_the_last_batch_is_damage_and_costs_one_batch() {
        let all = batches();
        let clean = write_log(&all);
        let last = write_log(&all[..5]).len();
        for at in (0..clean.len()).step_by(997) {
            let mut bytes = clean.clone();
            bytes[at] ^= 0x10;
            let dir = put(&bytes);
            match inspect(dir.path()).unwrap() {
                Verdict::Damaged { .. } => assert!(at < last, "flip at {at}"),
                Verdict::Torn { .. } => assert!(at >= last, "flip at {at}"),
                // Padding carries no meaning.
                Verdict::Sound => assert_eq!(clean[at], 0),
            }
            salvage(dir.path()).unwrap();
            let mut kept = 0;
            let saved = fs::read(dir.path().join("000007.log")).unwrap();
            assert!(walk(&saved, 0, |_| kept += 1).is_none());
            assert!(kept >= all.len() - 1, "flip at {at} cost {}", all.len() - kept);
        }
    }

    #[test]
    fn a_tail_torn_under_a_later_log_is_damage() {
        let bytes = write_log(&batches());
        let dir = put(&bytes[..bytes.len() - 3]);
        fs::write(dir.path().join("000009.log"), &bytes).unwrap();
        assert!(matches!(inspect(dir.path()).unwrap(), Verdict::Damaged { .. }));
        fs::write(dir.path().join("000009.log"), b"").unwrap();
        assert!(matches!(inspect(dir.path()).unwrap(), Verdict::Torn { .. }));
    }
}
