//! The pipe into which a shim writes what it has to say of itself. Shims open it for writing and wait for a reader, so it is there first.

use crate::bundle::Bundle;
use crate::error::{Result, TaskError};
use crate::shim::Shim;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

const LOG: &str = "log";
/// The longest line that is passed on; the rest of it follows as another.
const LINE: u64 = 16 * 1024;

/// Open at both ends, so that it has no end while shims come and go.
#[derive(Debug)]
pub(crate) struct Pipe {
    file: File,
}

impl Pipe {
    /// Opens it; makes it, if it is not there already. Blocks.
    pub(super) fn open(bundle: &Bundle) -> Result<Self> {
        let path = bundle.path().join(LOG);
        let fail = |source| TaskError::MakeBundle {
            path: bundle.path().to_owned(),
            source,
        };
        match mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o700), 0) {
            Err(errno) if errno != rustix::io::Errno::EXIST => return Err(fail(errno.into())),
            Ok(()) | Err(_) => {}
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let flags = i32::try_from(flags).expect("flags of open(2) are an int");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&path);
        Ok(Self {
            file: file.map_err(fail)?,
        })
    }

    /// Passes on what is written into it, until the handle is aborted.
    pub(crate) fn follow(self, shim: &Shim) -> Option<AbortHandle> {
        let (namespace, id) = (shim.namespace().clone(), shim.id().clone());
        let pipe = match pipe::Receiver::from_file(self.file) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::warn!(ns = %namespace, container = %id, err = %error, "what a shim logs cannot be read");
                return None;
            }
        };
        let work = async move {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
                let said = String::from_utf8_lossy(&line);
                tracing::debug!(ns = %namespace, container = %id, said = said.trim_end(), "its shim");
                line.clear();
            }
        };
        Some(tokio::spawn(work).abort_handle())
    }
}
