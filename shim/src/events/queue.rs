//! News that wait: a few in memory, and what a deaf daemon has not taken in a file of the bundle (of the state directory, when gantryd drives),
//! so that memory stays small. The file is bounded; what it has no room for is counted, oldest first, and the count is news too.
//!
//! The file holds `Envelope` messages, each behind its length (four bytes, little endian), and is removed once all are told.

use gantry_proto_shim::{EVENTS_LOST_TOPIC, EVENTS_LOST_TYPE, Envelope, any, extras::EventsLost, protobuf::Message};
use gantry_shim_protocol::bundle;
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// News kept in memory while the daemon takes them.
const MEMORY: usize = 32;
/// News kept in memory when the disk takes no more.
const MOST: usize = 1024;
/// Bytes kept on disk.
const ROOM: u64 = 256 * 1024;

/// What waits: first what is on disk, then what is in memory.
pub struct Queue {
    dir: PathBuf,
    disk: Option<Disk>,
    memory: VecDeque<Envelope>,
    /// Number of the first that waits.
    first: u64,
    lost: Option<Lost>,
    namespace: String,
}

/// What was handed out by [`Queue::front`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    News(u64),
    /// The news that so many were lost.
    Lost(u64),
}

#[derive(Clone, Copy)]
struct Lost {
    count: u64,
    at: SystemTime,
}

/// The file: envelopes from `read` to `written` wait.
struct Disk {
    file: Flock<File>,
    path: PathBuf,
    read: u64,
    written: u64,
}

impl Queue {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            disk: None,
            memory: VecDeque::new(),
            first: 0,
            lost: None,
            namespace: String::new(),
        }
    }

    /// Keeps what waits here from now on. True if there is something from an earlier life.
    pub fn keep_in(&mut self, dir: &Path) -> bool {
        dir.clone_into(&mut self.dir);
        if self.disk.is_none() {
            self.disk = Disk::found(dir);
        }
        self.disk.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.disk.is_none() && self.memory.is_empty() && self.lost.is_none()
    }

    /// Adds to the end.
    pub fn push(&mut self, envelope: Envelope) {
        self.namespace.clone_from(&envelope.namespace);
        self.memory.push_back(envelope);
        if self.disk.is_some() || self.memory.len() > MEMORY {
            self.spill();
        }
        if self.memory.len() > MOST {
            self.memory.pop_front();
            self.first += u64::from(self.disk.is_none());
            self.count_lost(1);
        }
    }

    /// Puts everything on disk, as far as that takes it.
    pub fn spill(&mut self) {
        while let Some(envelope) = self.memory.front() {
            if self.disk.is_none() {
                self.disk = Disk::new(&self.dir);
            }
            let Some(disk) = &mut self.disk else { return };
            let Ok(bytes) = envelope.write_to_bytes() else { return };
            if disk.written - disk.read + bytes.len() as u64 > ROOM {
                let dropped = disk.forget_half();
                self.first += dropped;
                self.count_lost(dropped);
                if self.disk.as_ref().is_some_and(Disk::is_empty) {
                    self.disk = None;
                    continue;
                }
            }
            let Some(disk) = &mut self.disk else { continue };
            if disk.append(&bytes).is_err() {
                if disk.is_empty() {
                    self.disk = None;
                }
                return;
            }
            self.memory.pop_front();
        }
    }

    /// So many were lost, at the place where the queue begins.
    pub fn count_lost(&mut self, count: u64) {
        if count > 0 {
            let before = self.lost.map_or(0, |lost| lost.count);
            self.lost = Some(Lost {
                count: before + count,
                at: SystemTime::now(),
            });
        }
    }

    /// The first that waits.
    pub fn front(&mut self) -> Option<(Ticket, Envelope)> {
        if let Some(lost) = self.lost {
            let event = EventsLost {
                count: lost.count,
                ..Default::default()
            };
            let event = any(EVENTS_LOST_TYPE, event.write_to_bytes().ok()?);
            let envelope = super::envelope(&self.namespace, EVENTS_LOST_TOPIC, lost.at, event);
            return Some((Ticket::Lost(lost.count), envelope));
        }
        if let Some(disk) = &self.disk {
            match disk.front() {
                Some((envelope, _)) => return Some((Ticket::News(self.first), envelope)),
                // Cut short by the end of an earlier life: what cannot be read was not told, whatever it was.
                None => {
                    self.disk = None;
                    self.count_lost(1);
                    return self.front();
                }
            }
        }
        let envelope = self.memory.front()?.clone();
        Some((Ticket::News(self.first), envelope))
    }

    /// What [`Self::front`] gave is done with.
    pub fn pop(&mut self, ticket: Ticket) {
        match ticket {
            Ticket::Lost(told) => {
                let left = self.lost.map_or(0, |lost| lost.count.saturating_sub(told));
                self.lost = self.lost.filter(|_| left > 0).map(|lost| Lost { count: left, ..lost });
            }
            // Otherwise it was dropped meanwhile.
            Ticket::News(number) if number == self.first => {
                self.first += 1;
                let Some(disk) = &mut self.disk else {
                    self.memory.pop_front();
                    return;
                };
                disk.read = disk.front().map_or(disk.written, |(_, next)| next);
                if disk.is_empty() {
                    self.disk = None;
                }
            }
            Ticket::News(_) => {}
        }
    }
}

impl Disk {
    fn new(dir: &Path) -> Option<Self> {
        let path = dir.join(bundle::EVENTS);
        let _ = std::fs::remove_file(&path);
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        let file = match options.clone().create_new(true).open(&path) {
            Ok(file) => file,
            // The bundle is gone, or its disk is full.
            Err(_) => options.custom_flags(libc::O_TMPFILE).open("/tmp").ok()?,
        };
        Self::locked(file, path)
    }

    /// What an earlier life left and nobody else has in hand.
    fn found(dir: &Path) -> Option<Self> {
        let path = dir.join(bundle::EVENTS);
        let file = File::options().read(true).write(true).open(&path).ok()?;
        Self::locked(file, path).filter(|disk| disk.written > 0)
    }

    fn locked(file: File, path: PathBuf) -> Option<Self> {
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        let written = file.metadata().ok()?.len();
        Some(Self {
            file,
            path,
            read: 0,
            written,
        })
    }

    fn is_empty(&self) -> bool {
        self.read >= self.written
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frame = [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
        if let Err(err) = self.file.write_all_at(&frame, self.written) {
            let _ = self.file.set_len(self.written);
            return Err(err);
        }
        self.written += frame.len() as u64;
        Ok(())
    }

    /// The first, and where the next begins.
    fn front(&self) -> Option<(Envelope, u64)> {
        let (len, body) = self.length_at(self.read)?;
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, body).ok()?;
        Some((Envelope::parse_from_bytes(&bytes).ok()?, body + len))
    }

    fn length_at(&self, at: u64) -> Option<(u64, u64)> {
        let mut length = [0; 4];
        self.file.read_exact_at(&mut length, at).ok()?;
        let (len, body) = (u64::from(u32::from_le_bytes(length)), at + 4);
        (body + len <= self.written).then_some((len, body))
    }

    /// Forgets the older half; says how many that was.
    fn forget_half(&mut self) -> u64 {
        let middle = self.read + (self.written - self.read) / 2;
        let mut dropped = 0;
        while self.read < middle {
            dropped += 1;
            self.read = self.length_at(self.read).map_or(self.written, |(len, body)| body + len);
        }
        let mut rest = vec![0; (self.written - self.read) as usize];
        let moved = self.file.read_exact_at(&mut rest, self.read);
        let moved = moved.and_then(|()| self.file.write_all_at(&rest, 0));
        if moved.and_then(|()| self.file.set_len(rest.len() as u64)).is_ok() {
            (self.read, self.written) = (0, rest.len() as u64);
        }
        dropped
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt;
        // Only what is told is removed, and only the file that is ours.
        let ours = |found: std::fs::Metadata| self.file.metadata().is_ok_and(|mine| mine.ino() == found.ino());
        if self.is_empty() && std::fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(number: u64) -> Envelope {
        let event = any("t", number.to_le_bytes().to_vec());
        super::super::envelope("ns", "/tasks/exit", SystemTime::UNIX_EPOCH, event)
    }

    fn number_of(envelope: &Envelope) -> u64 {
        u64::from_le_bytes(envelope.event.value.as_slice().try_into().unwrap())
    }

    /// (how many were said to be lost, what came).
    fn drain(queue: &mut Queue) -> (u64, Vec<u64>) {
        let (mut lost, mut came) = (0, Vec::new());
        while let Some((ticket, envelope)) = queue.front() {
            match ticket {
                Ticket::Lost(count) => {
                    assert_eq!(envelope.topic, EVENTS_LOST_TOPIC);
                    lost += count;
                }
                Ticket::News(_) => came.push(number_of(&envelope)),
            }
            queue.pop(ticket);
        }
        (lost, came)
    }

    #[test]
    fn order_is_kept_through_memory_and_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(dir.path());
        (0..5).for_each(|number| queue.push(news(number)));
        let (ticket, _) = queue.front().unwrap();
        queue.spill();
        (5..200).for_each(|number| queue.push(news(number)));
        // What was in hand when it went to disk is popped from there.
        queue.pop(ticket);
        assert!(dir.path().join(bundle::EVENTS).exists());
        assert_eq!(drain(&mut queue), (0, (1..200).collect()));
        assert!(queue.is_empty() && !dir.path().join(bundle::EVENTS).exists());
    }

    #[test]
    fn overflow_is_counted_and_told_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(dir.path());
        const ALL: u64 = 20_000;
        let in_hand = queue.front().map(|(ticket, _)| ticket);
        assert_eq!(in_hand, None);
        queue.push(news(0));
        let (old, _) = queue.front().unwrap();
        (1..ALL).for_each(|number| queue.push(news(number)));
        queue.pop(old);
        let on_disk = std::fs::metadata(dir.path().join(bundle::EVENTS)).unwrap().len();
        assert!(on_disk <= ROOM + 64, "{on_disk}");
        let (lost, came) = drain(&mut queue);
        assert_eq!(lost + came.len() as u64, ALL);
        assert!(lost > 0 && came.iter().copied().eq(lost..ALL), "{lost}");
    }

    #[test]
    fn an_earlier_life_is_told_first_but_by_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(Path::new("/nowhere"));
        assert!(!queue.keep_in(dir.path()));
        (0..3).for_each(|number| queue.push(news(number)));
        queue.spill();
        let mut second = Queue::new(dir.path());
        assert!(!second.keep_in(dir.path()), "the first has it in hand");
        drop(queue);
        second.push(news(3));
        assert!(second.keep_in(dir.path()));
        assert_eq!(drain(&mut second), (0, vec![0, 1, 2, 3]));
    }
}
