//! What can fail in a mount.

use gantry_core::{ErrorKind, Mount};
use nix::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("mount option {option:?} is not supported")]
    Option { option: String },
    #[error("find mount point {}", path.display())]
    Place {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("mount {kind} {source_name:?} on {}", target.display())]
    Mount {
        kind: String,
        source_name: String,
        target: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("overlay of {layers} layers: kernel refuses {step} {value:?}{}", said(log))]
    Configure {
        layers: usize,
        step: &'static str,
        value: String,
        /// What the kernel wrote about it, if anything.
        log: String,
        #[source]
        source: io::Error,
    },
    #[error("overlay of {layers} layers needs {length} bytes of options, this kernel takes {most}")]
    TooLong { layers: usize, length: usize, most: usize },
    #[error("unmount {}", target.display())]
    Unmount {
        target: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("mount file {} over a loop device: {step}", image.display())]
    Loop {
        image: PathBuf,
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("set up loop device {}", path.display())]
    Device {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make a private mount namespace: {step}")]
    Private {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

fn said(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!(" ({log})")
    }
}

impl Error {
    pub(crate) fn failed(one: &Mount, target: &Path, errno: Errno) -> Self {
        Self::Mount {
            kind: one.kind.clone(),
            source_name: one.source.clone(),
            target: target.to_path_buf(),
            source: errno.into(),
        }
    }

    pub(crate) fn place<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Place {
            path: path.to_path_buf(),
            source: source.into(),
        }
    }

    pub(crate) fn private<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Private {
            step,
            source: source.into(),
        }
    }

    /// The kernel has no new mount API, or its overlay cannot append layers through it.
    pub(crate) fn means_old_kernel(&self) -> bool {
        match self {
            Self::Configure { step, source, .. } => {
                let code = source.raw_os_error();
                let absent = [
                    libc_code(Errno::ENOSYS),
                    libc_code(Errno::EPERM),
                    libc_code(Errno::ENODEV),
                ];
                (*step == "fsopen" && absent.contains(&code))
                    || (*step == "lowerdir+" && code == libc_code(Errno::EINVAL))
            }
            Self::Option { .. }
            | Self::Place { .. }
            | Self::Mount { .. }
            | Self::TooLong { .. }
            | Self::Unmount { .. }
            | Self::Loop { .. }
            | Self::Device { .. }
            | Self::Private { .. } => false,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Option { .. } => ErrorKind::Unimplemented,
            Self::TooLong { .. } => ErrorKind::FailedPrecondition,
            Self::Place { source, .. }
            | Self::Mount { source, .. }
            | Self::Configure { source, .. }
            | Self::Unmount { source, .. }
            | Self::Loop { source, .. }
            | Self::Device { source, .. }
            | Self::Private { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                io::ErrorKind::ResourceBusy => ErrorKind::FailedPrecondition,
                io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
                // io::ErrorKind is open-ended; whatever else mount(2) says is our own trouble.
                _ => ErrorKind::Internal,
            },
        }
    }
}

fn libc_code(errno: Errno) -> Option<i32> {
    Some(errno as i32)
}

impl From<Error> for gantry_core::Error {
    fn from(error: Error) -> Self {
        gantry_core::Error::wrap(error.kind(), error)
    }
}
