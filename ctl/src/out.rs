//! Our three descriptors, read and written without a buffer in between.
//!
//! They are shared with whoever started us, so they may be non-blocking: then we wait, and never change what others share.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio;

/// Writes to stdout. A reader that went away ends us quietly, as it ends any filter.
pub(crate) fn put(bytes: impl AsRef<[u8]>) {
    settle(write_stdout(bytes.as_ref()));
}

/// Writes to stderr.
pub(crate) fn put_err(bytes: impl AsRef<[u8]>) {
    settle(write_stderr(bytes.as_ref()));
}

pub(crate) fn line(text: impl AsRef<str>) {
    put(format!("{}\n", text.as_ref()));
}

pub(crate) fn warn(text: impl std::fmt::Display) {
    put_err(format!("{text}\n"));
}

pub(crate) fn write_stdout(bytes: &[u8]) -> std::io::Result<()> {
    write(stdio::stdout(), bytes)
}

pub(crate) fn write_stderr(bytes: &[u8]) -> std::io::Result<()> {
    write(stdio::stderr(), bytes)
}

/// Reads what stdin has; nothing at its end.
pub(crate) fn read_stdin(into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match rustix::io::read(stdio::stdin(), &mut *into) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(stdio::stdin(), PollFlags::IN)?,
            other => return other.map_err(Into::into),
        }
    }
}

/// Stdin as a reader.
pub(crate) struct Stdin;

impl std::io::Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        read_stdin(into)
    }
}

fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(to, PollFlags::OUT)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn wait(on: BorrowedFd<'_>, what: PollFlags) -> std::io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(on, what)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn settle(written: std::io::Result<()>) {
    if let Err(err) = written {
        crate::attach::term::restore();
        // 128 + SIGPIPE, which is what a shell shows of a program that wrote to nobody.
        std::process::exit(if err.kind() == ErrorKind::BrokenPipe { 141 } else { 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_full_pipe_that_does_not_block_is_waited_for() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let bytes = vec![7; 4 << 20];
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut { reader }, &mut all).unwrap();
            all
        });
        write(writer.as_fd(), &bytes).unwrap();
        drop(writer);
        assert!(thread.join().unwrap() == bytes);
    }
}
