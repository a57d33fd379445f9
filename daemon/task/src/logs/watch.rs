//! Waiting for a log file to change: one inotify instance for the whole daemon, for the kernel gives few of them to a user.

use super::files::FileId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// One reader's interest in one file; ends when dropped.
pub(super) struct Watch {
    watcher: &'static Watcher,
    number: i32,
    notify: Arc<Notify>,
    file: FileId,
}

struct Watcher {
    inotify: OwnedFd,
    /// Watch numbers and who waits. The kernel gives all readers of one file the same number.
    waiting: Mutex<HashMap<i32, Vec<Arc<Notify>>>>,
}

impl Watch {
    /// `None` where the kernel gives no more watches: then the file must be looked at.
    pub fn set(path: &Path, file: FileId) -> Option<Self> {
        let watcher = watcher()?;
        let notify = Arc::new(Notify::new());
        let mut waiting = watcher.waiting();
        let flags = WatchFlags::MODIFY | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ATTRIB;
        let number = inotify::add_watch(&watcher.inotify, path, flags).ok()?;
        waiting.entry(number).or_default().push(notify.clone());
        Some(Self {
            watcher,
            number,
            notify,
            file,
        })
    }

    pub fn file(&self) -> Option<FileId> {
        Some(self.file)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.watcher.waiting();
        let Some(readers) = waiting.get_mut(&self.number) else {
            return;
        };
        readers.retain(|reader| !Arc::ptr_eq(reader, &self.notify));
        if readers.is_empty() {
            waiting.remove(&self.number);
            // The file may be gone, and the watch with it.
            let _ = inotify::remove_watch(&self.watcher.inotify, self.number);
        }
    }
}

/// Until the file has changed; never without a watch.
pub(super) async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.notify.notified().await,
        None => std::future::pending().await,
    }
}

impl Watcher {
    fn waiting(&self) -> MutexGuard<'_, HashMap<i32, Vec<Arc<Notify>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes readers for as long as the daemon lives.
    fn run(&self) {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut space);
        loop {
            let (number, flags) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::warn!(err = %error, "inotify failed; log files are looked at once a second");
                    return;
                }
            };
            let mut waiting = self.waiting();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                waiting.values().flatten().for_each(|reader| reader.notify_one());
                continue;
            }
            waiting
                .get(&number)
                .into_iter()
                .flatten()
                .for_each(|reader| reader.notify_one());
            if flags.contains(ReadFlags::IGNORED) {
                waiting.remove(&number);
            }
        }
    }
}

fn watcher() -> Option<&'static Watcher> {
    static WATCHER: OnceLock<Option<Watcher>> = OnceLock::new();
    static THREAD: OnceLock<bool> = OnceLock::new();
    let watcher = WATCHER
        .get_or_init(|| {
            let inotify = inotify::init(CreateFlags::CLOEXEC).ok()?;
            Some(Watcher {
                inotify,
                waiting: Mutex::default(),
            })
        })
        .as_ref()?;
    let runs = THREAD.get_or_init(|| {
        let thread = std::thread::Builder::new()
            .name("log-watch".to_owned())
            .stack_size(64 * 1024);
        thread.spawn(move || watcher.run()).is_ok()
    });
    runs.then_some(watcher)
}
