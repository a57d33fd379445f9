//! Writes the json-file log: lines, rotation, and what to do when the disk is full. Never makes the process wait for long: the log is
//! appended to by plain writes, and compression is a child's work.

use super::lock;
use crate::{child, shim::Shim, sys};
use gantry_proto_shim::extras::LogOptions;
use gantry_shim_protocol::{
    log::{DEFAULT_MAX_FILE, DEFAULT_MAX_SIZE, LOST_MARK, PARTIAL, encode_line, file_name, rotated_name},
    rfc3339,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// An open log.
pub struct Log {
    pub path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    attrs: String,
    /// Beginnings of lines: stdout, stderr.
    partial: [Vec<u8>; 2],
    /// Bytes lost since the last line that could be written, and ever.
    lost: u64,
    pub lost_ever: u64,
    /// Number of the file a child is compressing, 0 when its file was rotated away meanwhile.
    compressing: Option<u32>,
}

impl Log {
    /// Opens (or goes on with) a container's log.
    pub fn open(options: &LogOptions, state_dir: &Path, id: &str) -> io::Result<Self> {
        let path = if options.path.is_empty() {
            state_dir.join(file_name(id))
        } else {
            PathBuf::from(&options.path)
        };
        let (file, size) = open_live(&path)?;
        let attrs = if options.attrs.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&options.attrs)?
        };
        let max_size = match options.max_size {
            0 => Some(DEFAULT_MAX_SIZE),
            size => u64::try_from(size).ok(),
        };
        let max_file = if options.max_file == 0 {
            DEFAULT_MAX_FILE
        } else {
            options.max_file
        };
        let compress = !options.uncompressed;
        let partial = Default::default();
        Ok(Self {
            path,
            file,
            size,
            max_size,
            max_file,
            compress,
            attrs,
            partial,
            lost: 0,
            lost_ever: 0,
            compressing: None,
        })
    }

    /// Closes and opens by name, after someone else moved the file.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size) = open_live(&self.path)?;
        Ok(())
    }

    /// Writes what came from a stream. True when there is something to compress.
    pub fn write(&mut self, stream: u8, bytes: &[u8]) -> bool {
        let now = now();
        let mut batch = Batch::default();
        let mut rotated = false;
        let mut left = bytes;
        while !left.is_empty() {
            let partial = &mut self.partial[usize::from(stream == 2)];
            let room = PARTIAL - partial.len();
            let end = left.iter().take(room).position(|byte| *byte == b'\n').map(|at| at + 1);
            let (piece, rest) = left.split_at(end.unwrap_or(room.min(left.len())));
            left = rest;
            if end.is_none() && partial.len() + piece.len() < PARTIAL {
                partial.extend_from_slice(piece);
                break;
            }
            let start = std::mem::take(partial);
            let line = [start.as_slice(), piece].concat();
            rotated |= self.add(&mut batch, stream, &line, &now);
        }
        self.flush(batch, &now);
        rotated && self.compress
    }

    /// A stream has ended: what is left of its last line is written.
    pub fn end(&mut self, stream: u8) {
        let rest = std::mem::take(&mut self.partial[usize::from(stream == 2)]);
        let now = now();
        let mut batch = Batch::default();
        if !rest.is_empty() {
            self.add(&mut batch, stream, &rest, &now);
        }
        self.flush(batch, &now);
    }

    /// Puts a line into the batch, rotating before it if it would not fit. True when rotated.
    fn add(&mut self, batch: &mut Batch, stream: u8, line: &[u8], now: &str) -> bool {
        let before = batch.bytes.len();
        encode_line(
            &mut batch.bytes,
            line,
            if stream == 2 { "stderr" } else { "stdout" },
            &self.attrs,
            now,
        );
        let grown = self.size + batch.bytes.len() as u64;
        if self.max_size.is_none_or(|max| grown <= max) || self.size + before as u64 == 0 {
            batch.raw += line.len() as u64;
            return false;
        }
        let rest = batch.bytes.split_off(before);
        self.flush(std::mem::take(batch), now);
        let rotated = self.rotate().is_ok();
        *batch = Batch {
            bytes: rest,
            raw: line.len() as u64,
        };
        rotated
    }

    /// Writes the batch, and before it the mark of what was lost, if anything was.
    fn flush(&mut self, batch: Batch, now: &str) {
        if batch.bytes.is_empty() && self.lost == 0 {
            return;
        }
        let marked;
        let bytes = if self.lost > 0 {
            let mut mark = Vec::new();
            encode_line(
                &mut mark,
                format!("{LOST_MARK}{}\n", self.lost).as_bytes(),
                "stderr",
                &self.attrs,
                now,
            );
            mark.extend_from_slice(&batch.bytes);
            marked = mark;
            &marked
        } else {
            &batch.bytes
        };
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                self.lost = 0;
            }
            Err(_) => {
                // No half line stays, and the process is never stopped for it.
                let _ = self.file.set_len(self.size);
                self.lost += batch.raw;
                self.lost_ever += batch.raw;
            }
        }
    }

    /// Moves every file one number up and begins a new one. Nothing is moved before the new one is there.
    fn rotate(&mut self) -> io::Result<()> {
        let fresh = PathBuf::from(format!("{}.new", self.path.to_string_lossy()));
        open_live(&fresh)?;
        if self.max_file < 2 {
            fs::rename(&fresh, &self.path)?;
            return self.reopen();
        }
        for number in (1..self.max_file).rev() {
            for compressed in [false, true] {
                let from = self.rotated(number, compressed);
                if number + 1 == self.max_file {
                    let _ = fs::remove_file(from);
                } else {
                    let _ = fs::rename(from, self.rotated(number + 1, compressed));
                }
            }
        }
        if let Some(number) = &mut self.compressing {
            *number = if *number == 0 || *number + 1 >= self.max_file {
                0
            } else {
                *number + 1
            };
        }
        fs::rename(&self.path, self.rotated(1, false))?;
        fs::rename(&fresh, &self.path)?;
        self.reopen()
    }

    fn rotated(&self, number: u32, compressed: bool) -> PathBuf {
        PathBuf::from(rotated_name(&self.path.to_string_lossy(), number, compressed))
    }

    /// The oldest file that waits for compression, opened, if no child is at work.
    fn next_to_compress(&mut self) -> Option<(File, PathBuf)> {
        if self.compressing.is_some() {
            return None;
        }
        let number = (1..self.max_file)
            .rev()
            .find(|number| self.rotated(*number, false).exists())?;
        let file = File::open(self.rotated(number, false)).ok()?;
        self.compressing = Some(number);
        Some((file, self.temporary()))
    }

    fn temporary(&self) -> PathBuf {
        PathBuf::from(format!("{}.gz.tmp", self.path.to_string_lossy()))
    }

    /// Puts the compressed file in the place of the plain one, wherever that is by now.
    fn compressed(&mut self, done: bool) {
        let number = self.compressing.take().unwrap_or(0);
        let temporary = self.temporary();
        if done && number > 0 && fs::rename(&temporary, self.rotated(number, true)).is_ok() {
            let _ = fs::remove_file(self.rotated(number, false));
        } else {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Lines on their way to the file, and how much output they stand for.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    raw: u64,
}

fn open_live(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options().create(true).append(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn now() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(now.as_secs() as i64, now.subsec_nanos())
}

/// Has a niced child compress rotated files, one after another.
pub fn compress_soon(shim: &Arc<Shim>, log: &Arc<Mutex<Log>>) {
    let (shim, log) = (shim.clone(), log.clone());
    tokio::spawn(async move {
        let _busy = shim.busy();
        loop {
            let Some((from, to)) = lock(&log).next_to_compress() else {
                return;
            };
            let keep = [from.as_raw_fd()];
            let child = child::spawn(&shim, &keep, || compress(&from, &to));
            let done = match child {
                Ok(child) => child.answer::<()>().await.is_ok(),
                Err(_) => false,
            };
            lock(&log).compressed(done);
            if !done {
                return;
            }
        }
    });
}

fn compress(mut from: &File, to: &Path) -> crate::failure::Result<()> {
    use crate::failure::{Kind, failed};
    let deed = || {
        failed::<io::Error>(
            Kind::Runtime,
            format_args!("compressing to {}", to.display()).to_string(),
        )
    };
    sys::be_nice();
    let file = File::create(to).map_err(deed())?;
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::new(1));
    io::copy(&mut from, &mut encoder).map_err(deed())?;
    let file = encoder.finish().map_err(deed())?;
    file.sync_all().map_err(deed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_shim_protocol::log::Line;

    fn open(dir: &Path, max_size: i64, max_file: u32) -> Log {
        let options = LogOptions {
            max_size,
            max_file,
            ..Default::default()
        };
        Log::open(&options, dir, "c").unwrap()
    }

    fn joined(path: &Path, stream: &str) -> String {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
        lines
            .filter(|line| line.stream == stream)
            .map(|line| line.log.into_owned())
            .collect()
    }

    #[test]
    fn lines_are_cut_where_docker_cuts_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), -1, 0);
        log.write(1, b"one\ntwo");
        log.write(2, b"err\n");
        log.write(1, b" and more\n");
        log.write(1, &vec![b'x'; PARTIAL * 2 + 5]);
        log.end(1);
        let text = fs::read_to_string(&log.path).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let lengths: Vec<usize> = lines.iter().map(|line| line.log.len()).collect();
        assert_eq!(lengths, [4, 4, 13, PARTIAL, PARTIAL, 5]);
        assert_eq!(
            joined(&log.path, "stdout"),
            format!("one\ntwo and more\n{}", "x".repeat(PARTIAL * 2 + 5))
        );
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1000, 3);
        let mut asked = false;
        for number in 0..200 {
            asked |= log.write(1, format!("line {number}\n").as_bytes());
        }
        assert!(asked);
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2"]);
        let all = ["c-json.log.2", "c-json.log.1", "c-json.log"]
            .map(|name| joined(&dir.path().join(name), "stdout"))
            .concat();
        assert!(all.ends_with("line 198\nline 199\n"));
        assert!(fs::metadata(dir.path().join("c-json.log.1")).unwrap().len() <= 1000);
    }

    #[test]
    fn a_compressed_file_takes_the_place_its_plain_one_moved_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 500, 4);
        while !log.write(1, b"0123456789\n") {}
        let (from, to) = log.next_to_compress().unwrap();
        assert!(log.next_to_compress().is_none());
        while !log.write(1, b"abcdefghij\n") {}
        compress(&from, &to).unwrap();
        log.compressed(true);
        assert!(dir.path().join("c-json.log.2.gz").exists());
        assert!(!dir.path().join("c-json.log.2").exists());
        let mut text = String::new();
        let file = File::open(dir.path().join("c-json.log.2.gz")).unwrap();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.contains("0123456789")));
    }

    #[test]
    fn a_full_disk_is_marked_when_room_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), -1, 0);
        log.write(1, b"before\n");
        let good = std::mem::replace(&mut log.file, File::options().write(true).open("/dev/full").unwrap());
        log.write(1, b"gone\n");
        log.write(1, b"gone too\n");
        let full = std::mem::replace(&mut log.file, good);
        log.write(1, b"after\n");
        assert_eq!(joined(&log.path, "stdout"), "before\nafter\n");
        assert_eq!(joined(&log.path, "stderr"), format!("{LOST_MARK}14\n"));
        assert_eq!(log.lost_ever, 14);
        // What is lost last is marked with the end, though nothing else comes.
        let good = std::mem::replace(&mut log.file, full);
        log.write(1, b"last\n");
        log.file = good;
        log.end(1);
        assert_eq!(joined(&log.path, "stderr"), format!("{LOST_MARK}14\n{LOST_MARK}5\n"));
    }

    #[test]
    fn no_file_is_moved_when_there_is_no_room_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 300, 3);
        while !log.write(1, b"0123456789\n") {}
        let older = fs::read(log.rotated(1, false)).unwrap();
        // A directory in the new file's place: it cannot be opened for writing.
        let place = dir.path().join("c-json.log.new");
        fs::create_dir(&place).unwrap();
        for _ in 0..20 {
            assert!(!log.write(1, b"abcdefghij\n"));
        }
        assert_eq!(fs::read(log.rotated(1, false)).unwrap(), older);
        assert_eq!(joined(&log.path, "stdout").matches("abc").count(), 20);
        fs::remove_dir(&place).unwrap();
        assert!(log.write(1, b"last\n"));
        assert_eq!(joined(&log.path, "stdout"), "last\n");
    }
}
