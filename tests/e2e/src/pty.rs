//! A real pseudo-terminal with a command on it.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command on a terminal; what it prints is gathered in the background.
pub struct Terminal {
    pub child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Runs `command` on a new terminal of `rows` by `columns`, as its session's leader.
    pub fn spawn(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a pseudo-terminal");
        // What another test starts meanwhile is not to hold them open.
        for end in [&master, &slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor has flags");
        }
        let clone = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        command.stdin(clone(&slave)).stdout(clone(&slave)).stderr(clone(&slave));
        // SAFETY: setsid and ioctl are async-signal-safe; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid().map_err(std::io::Error::from)?;
                if nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("the command starts");
        drop(slave);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (File::from(master.try_clone().expect("a descriptor")), seen.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO when the last writer has gone.
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 {
                    break;
                }
                sink.lock().expect("not poisoned").extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            child,
            master: File::from(master),
            seen,
            reader,
        }
    }

    pub fn send(&mut self, text: &str) {
        self.master
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: a valid descriptor and a pointer to a whole Winsize.
        let done = unsafe { nix::libc::ioctl(self.master.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0, "the terminal can be resized");
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("not poisoned")).into_owned()
    }

    /// Waits until `text` was printed.
    #[track_caller]
    pub fn expect(&self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.screen().contains(text) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {text:?}; the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that was printed, once the last writer has gone.
    #[track_caller]
    pub fn rest(&self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        while !self.reader.is_finished() {
            assert!(Instant::now() < deadline, "somebody holds the terminal open");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.screen()
    }

    /// Forgets what was printed so far.
    pub fn forget(&self) {
        self.seen.lock().expect("not poisoned").clear();
    }

    /// Waits for the command's end.
    #[track_caller]
    pub fn exit(&mut self, limit: Duration) -> i32 {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the command can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(
                Instant::now() < deadline,
                "the command does not end; the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
