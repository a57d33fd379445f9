//! What can fail in a snapshotter.

use crate::Id;
use gantry_core::ErrorKind;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A deed of the file system that failed on a path.
#[derive(Debug, thiserror::Error)]
#[error("{deed} {}", path.display())]
pub struct PathError {
    pub deed: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// For `map_err`: says what was tried on which path.
    pub fn of<E: Into<io::Error>>(deed: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self {
            deed,
            path: path.to_path_buf(),
            source: source.into(),
        }
    }

    fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => ErrorKind::FailedPrecondition,
            io::ErrorKind::Unsupported => ErrorKind::Unimplemented,
            // io::ErrorKind is open-ended; whatever else the disk says is our own trouble.
            _ => ErrorKind::Internal,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("snapshotter {snapshotter} cannot use root {}: {reason}", root.display())]
    Root {
        snapshotter: &'static str,
        root: PathBuf,
        reason: String,
    },
    #[error("snapshotter {snapshotter} cannot open its root")]
    Open {
        snapshotter: &'static str,
        #[source]
        source: PathError,
    },
    #[error("{what} is not supported by snapshotter {snapshotter}")]
    Unsupported {
        snapshotter: &'static str,
        what: &'static str,
    },
    #[error("{deed} through the service of snapshotter {snapshotter}: {message}")]
    Service {
        snapshotter: &'static str,
        deed: &'static str,
        kind: ErrorKind,
        message: String,
    },
    #[error("id map {text:?} is not of the form container:host:size")]
    IdMap { text: String },
    #[error("snapshot {id} of {snapshotter} does not exist on disk")]
    Missing { snapshotter: &'static str, id: Id },
    #[error("parent {parent} of snapshot {id} does not exist on disk")]
    ParentMissing { id: Id, parent: Id },
    #[error("snapshot {id} has {count} layers, {most} can be mounted")]
    TooManyLayers { id: Id, count: usize, most: usize },
    #[error("prepare snapshot {id}")]
    Prepare {
        id: Id,
        #[source]
        source: PathError,
    },
    #[error("bring snapshot {id} to disk")]
    Sync {
        id: Id,
        #[source]
        source: PathError,
    },
    #[error("measure snapshot {id}")]
    Measure {
        id: Id,
        #[source]
        source: PathError,
    },
    #[error("compare snapshot {id} with its parents")]
    Compare {
        id: Id,
        #[source]
        source: PathError,
    },
    #[error("remove snapshot {id}")]
    Remove {
        id: Id,
        #[source]
        source: PathError,
    },
    #[error("list snapshots")]
    List {
        #[source]
        source: PathError,
    },
    #[error("clean up half made snapshots")]
    Cleanup {
        #[source]
        source: PathError,
    },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Root { .. } | Self::IdMap { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported { .. } => ErrorKind::Unimplemented,
            Self::Service { kind, .. } => *kind,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::ParentMissing { .. } => ErrorKind::DataLoss,
            Self::TooManyLayers { .. } => ErrorKind::FailedPrecondition,
            Self::Open { source, .. }
            | Self::Prepare { source, .. }
            | Self::Sync { source, .. }
            | Self::Measure { source, .. }
            | Self::Compare { source, .. }
            | Self::Remove { source, .. }
            | Self::List { source }
            | Self::Cleanup { source } => source.kind(),
        }
    }
}

impl From<Error> for gantry_core::Error {
    fn from(error: Error) -> Self {
        gantry_core::Error::wrap(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_trouble() {
        let at = |errno| Error::Prepare {
            id: 7,
            source: PathError::of("create", Path::new("/x"))(io::Error::from_raw_os_error(errno)),
        };
        assert_eq!(at(28).kind(), ErrorKind::ResourceExhausted);
        assert_eq!(at(5).kind(), ErrorKind::Internal);
        let whole = gantry_core::Error::from(at(28)).to_string();
        assert!(whole.starts_with("prepare snapshot 7: create /x: "), "{whole}");
    }
}
