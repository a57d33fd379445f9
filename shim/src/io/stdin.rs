//! The way in: one process's stdin, held open by the shim, or its terminal.

use super::lock;
use nix::errno::Errno;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{io::unix::AsyncFd, sync::watch};

/// Who may write to a process and how it ends.
pub struct Stdin {
    /// None: never held open, or closed.
    end: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// Held open for clients, whether or not the process exists yet.
    held: AtomicBool,
    /// Closed when the first client that had it ends.
    once: bool,
    terminal: bool,
    /// One writer at a time, so that writes do not mix.
    turn: tokio::sync::Mutex<()>,
    /// Set once the pipe is there, so that a client may attach and write before the process starts.
    there: watch::Sender<bool>,
    /// What else the end of input takes, where letting go of our end is not all.
    closer: Mutex<Option<Closer>>,
}

/// Run once, at the end of input.
pub type Closer = Box<dyn FnOnce() + Send>;

impl Stdin {
    pub fn new(held: bool, once: bool, terminal: bool) -> Self {
        Self {
            end: Mutex::default(),
            held: AtomicBool::new(held),
            once,
            terminal,
            turn: tokio::sync::Mutex::default(),
            there: watch::Sender::new(false),
            closer: Mutex::default(),
        }
    }

    /// Whether clients may write.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// The writing end is there.
    pub fn set(&self, end: Arc<AsyncFd<OwnedFd>>) {
        if self.is_held() {
            *lock(&self.end) = Some(end);
        }
        self.there.send_replace(true);
    }

    /// The writing end is there, and so is the process; `closer` is part of the end of input. If that came first, it is run now.
    pub fn set_with(&self, end: Arc<AsyncFd<OwnedFd>>, closer: Closer) {
        if self.is_held() {
            *lock(&self.closer) = Some(closer);
        } else {
            closer();
        }
        self.set(end);
    }

    /// No more input for the process. A terminal has no such end; it stays.
    pub fn close(&self) {
        if self.terminal {
            return;
        }
        self.held.store(false, Ordering::Relaxed);
        lock(&self.end).take();
        if let Some(closer) = lock(&self.closer).take() {
            closer();
        }
    }

    /// The process is gone.
    pub fn discard(&self) {
        self.held.store(false, Ordering::Relaxed);
        lock(&self.end).take();
        self.there.send_replace(true);
    }

    /// A client that had stdin ended its input, or went away.
    pub fn client_ended(&self) {
        if self.once {
            self.close();
        }
    }

    /// Writes everything, as fast as the process reads. Input for a process that takes none is dropped.
    pub async fn write(&self, bytes: &[u8], ended: &watch::Sender<bool>) {
        let _turn = self.turn.lock().await;
        let mut over = ended.subscribe();
        let mut there = self.there.subscribe();
        tokio::select! {
            _ = there.wait_for(|there| *there) => {}
            _ = over.wait_for(|over| *over) => return,
        }
        let Some(end) = lock(&self.end).clone() else { return };
        let mut left = bytes;
        while !left.is_empty() {
            let guard = tokio::select! {
                guard = end.writable() => guard,
                _ = over.wait_for(|over| *over) => return,
            };
            let Ok(mut guard) = guard else { return };
            match nix::unistd::write(end.get_ref(), left) {
                Ok(count) => left = &left[count..],
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}
