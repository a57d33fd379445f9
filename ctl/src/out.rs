//! Writing to the user.

use std::io::{ErrorKind, Write};

/// Writes to stdout. A reader that went away ends us quietly, as it ends any filter.
pub(crate) fn put(bytes: impl AsRef<[u8]>) {
    settle(write(std::io::stdout().lock(), bytes.as_ref()));
}

/// Writes to stderr.
pub(crate) fn put_err(bytes: impl AsRef<[u8]>) {
    settle(write(std::io::stderr().lock(), bytes.as_ref()));
}

pub(crate) fn line(text: impl AsRef<str>) {
    put(format!("{}\n", text.as_ref()));
}

pub(crate) fn warn(text: impl std::fmt::Display) {
    put_err(format!("{text}\n"));
}

fn write(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn settle(written: std::io::Result<()>) {
    if let Err(err) = written {
        crate::attach::term::restore();
        // 128 + SIGPIPE, which is what a shell shows of a program that wrote to nobody.
        std::process::exit(if err.kind() == ErrorKind::BrokenPipe { 141 } else { 1 });
    }
}
