//! What one client has yet to get: a little in memory, more in an unlinked file, and then no more.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes kept in memory per client.
const MEMORY: usize = 256 * 1024;
/// Bytes kept at all per client; beyond them the writer waits.
const LIMIT: u64 = 64 * 1024 * 1024;
/// The size of one piece.
const PIECE: usize = 64 * 1024;

/// A queue of bytes, first in memory, then on disk, then, when the disk takes no more, in memory again.
pub struct Spool {
    memory: VecDeque<Vec<u8>>,
    in_memory: usize,
    disk: Option<Disk>,
    /// What the disk had no room for: it comes after what is on disk.
    tail: VecDeque<Vec<u8>>,
    in_tail: usize,
    dir: PathBuf,
}

/// The unlinked file: bytes from `read` to `written` wait.
struct Disk {
    file: File,
    read: u64,
    written: u64,
}

impl Spool {
    pub fn new(dir: &Path) -> Self {
        Self {
            memory: VecDeque::new(),
            in_memory: 0,
            disk: None,
            tail: VecDeque::new(),
            in_tail: 0,
            dir: dir.to_owned(),
        }
    }

    /// Bytes waiting.
    pub fn waiting(&self) -> u64 {
        (self.in_memory + self.in_tail) as u64 + self.on_disk()
    }

    /// Bytes waiting on disk.
    pub fn on_disk(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.written - disk.read)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Whether the writer has to wait for this client: there is much already, or the disk did not take the last of it.
    pub fn is_full(&self) -> bool {
        self.waiting() >= LIMIT || self.in_memory > MEMORY || self.in_tail > 0
    }

    /// Adds bytes. Never refuses: the caller asks [`Self::is_full`] before it reads more. A file that cannot be
    /// written keeps the bytes in memory and counts as full.
    pub fn push(&mut self, parts: [&[u8]; 2]) {
        let len = parts[0].len() + parts[1].len();
        let to_disk = self.disk.is_some() || self.in_memory + len > MEMORY;
        if to_disk && self.in_tail == 0 && self.push_to_disk(parts).is_ok() {
            return;
        }
        let (queue, count) = if self.disk.is_some() {
            (&mut self.tail, &mut self.in_tail)
        } else {
            (&mut self.memory, &mut self.in_memory)
        };
        match queue.back_mut() {
            Some(last) if last.len() + len <= PIECE => parts.iter().for_each(|part| last.extend_from_slice(part)),
            _ => queue.push_back(parts.concat()),
        }
        *count += len;
    }

    fn push_to_disk(&mut self, parts: [&[u8]; 2]) -> io::Result<()> {
        if self.disk.is_none() {
            self.disk = Some(Disk {
                file: unlinked_file(&self.dir)?,
                read: 0,
                written: 0,
            });
        }
        let Some(disk) = &mut self.disk else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut at = disk.written;
        let wrote = parts.into_iter().try_for_each(|part| {
            disk.file.write_all_at(part, at)?;
            at += part.len() as u64;
            Ok(())
        });
        match wrote {
            Ok(()) => disk.written = at,
            // An empty file is no queue.
            Err(_) if disk.read == disk.written => self.disk = None,
            Err(_) => {}
        }
        wrote
    }

    /// Takes the next piece.
    pub fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(piece) = self.memory.pop_front() {
            self.in_memory -= piece.len();
            if self.memory.is_empty() {
                self.memory = VecDeque::new();
            }
            return Ok(Some(piece));
        }
        let Some(disk) = &mut self.disk else { return Ok(None) };
        let len = (disk.written - disk.read).min(PIECE as u64) as usize;
        let mut piece = vec![0; len];
        disk.file.read_exact_at(&mut piece, disk.read)?;
        disk.read += len as u64;
        if disk.read == disk.written {
            self.disk = None;
            self.memory = std::mem::take(&mut self.tail);
            self.in_memory = std::mem::take(&mut self.in_tail);
        } else if disk.read.is_multiple_of(1024 * 1024) {
            give_back(&disk.file, disk.read);
        }
        Ok(Some(piece))
    }
}

/// Frees the disk blocks of what was read.
fn give_back(file: &File, until: u64) {
    use nix::fcntl::FallocateFlags;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let _ = nix::fcntl::fallocate(file, flags, 0, until as i64);
}

/// A file without a name.
fn unlinked_file(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    if let Ok(file) = options
        .clone()
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .open(dir)
    {
        return Ok(file);
    }
    let path = dir.join(format!(".spool-{}", std::process::id()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_through_memory_and_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let (mut wanted, mut got) = (Vec::new(), Vec::new());
        for round in 0..60u32 {
            for step in 0..50u32 {
                let bytes = (round * 50 + step).to_le_bytes().repeat(300);
                spool.push([&bytes[..100], &bytes[100..]]);
                wanted.extend(bytes);
            }
            for _ in 0..(round % 2) {
                got.extend(spool.take().unwrap().unwrap_or_default());
            }
        }
        assert!(spool.on_disk() > 0);
        while let Some(piece) = spool.take().unwrap() {
            got.extend(piece);
        }
        assert!(spool.is_empty() && spool.disk.is_none());
        assert!(wanted == got);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn bytes_keep_their_order_when_the_disk_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let mut wanted = Vec::new();
        let push = |spool: &mut Spool, wanted: &mut Vec<u8>, byte: u8| {
            let piece = vec![byte; MEMORY / 2];
            spool.push([&piece[..9], &piece[9..]]);
            wanted.extend(piece);
        };
        (1..=4).for_each(|byte| push(&mut spool, &mut wanted, byte));
        assert!(spool.on_disk() > 0 && !spool.is_full());
        // The same file, but it can only be read.
        let disk = spool.disk.as_mut().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&disk.file));
        disk.file = File::open(path).unwrap();
        (5..=6).for_each(|byte| push(&mut spool, &mut wanted, byte));
        assert!(spool.is_full());
        assert_eq!(spool.waiting(), wanted.len() as u64);
        let mut got = Vec::new();
        while spool.disk.is_some() {
            got.extend(spool.take().unwrap().unwrap());
        }
        assert!(!spool.is_full());
        push(&mut spool, &mut wanted, 7);
        while let Some(piece) = spool.take().unwrap() {
            got.extend(piece);
        }
        assert!(wanted == got);
    }

    #[test]
    fn without_a_disk_memory_is_all() {
        let mut spool = Spool::new(Path::new("/nowhere"));
        let piece = [1; MEMORY];
        spool.push([&piece, &[]]);
        assert!(!spool.is_full());
        spool.push([&piece, &[]]);
        assert!(spool.is_full() && spool.waiting() == 2 * MEMORY as u64);
        while spool.take().unwrap().is_some() {}
        assert!(!spool.is_full() && spool.is_empty());
    }

    #[test]
    fn it_is_full_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let piece = vec![1; 1024 * 1024];
        while !spool.is_full() {
            spool.push([&piece, &[]]);
        }
        assert_eq!(spool.waiting(), LIMIT);
        spool.take().unwrap();
        assert!(!spool.is_full());
    }
}
