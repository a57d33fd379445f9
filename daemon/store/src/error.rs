//! What can fail in the store.

use gantry_core::{Digest, ErrorKind, LeaseId};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The database.
    #[error("store {} is in use by {holder}, still so after {waited:?}", dir.display())]
    Locked {
        dir: PathBuf,
        holder: String,
        waited: Duration,
    },
    #[error("open store {}", dir.display())]
    Open {
        dir: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error(
        "the log of store {} is damaged in its middle ({} at byte {offset}): nothing was changed; \
         run `gantryd store repair --data-root {}` to repair a copy of it and keep the original",
        dir.display(),
        file.display(),
        dir.parent().unwrap_or(dir).display()
    )]
    LogDamaged { dir: PathBuf, file: PathBuf, offset: u64 },
    #[error("repair store {}: {reason}", dir.display())]
    Repair { dir: PathBuf, reason: String },
    #[error("store has no table {table}")]
    NoTable { table: String },
    #[error("read table {table}: restart gantryd to repair it on a copy")]
    TableDamaged {
        table: &'static str,
        #[source]
        source: rocksdb::Error,
    },
    #[error("read table {table}")]
    Read {
        table: &'static str,
        #[source]
        source: rocksdb::Error,
    },
    #[error("write to the store")]
    Write {
        #[source]
        source: rocksdb::Error,
    },
    #[error("write to the store: the disk of {} is full", dir.display())]
    Full {
        dir: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("encode a record of table {table}")]
    Encode {
        table: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("record {key} of table {table} was written by a newer gantry: version {version}, {known} is known here")]
    Newer {
        table: &'static str,
        key: String,
        version: u16,
        known: u16,
    },
    #[error("record {key} of table {table} was damaged and is now in quarantine: {reason}")]
    Quarantined {
        table: &'static str,
        key: String,
        reason: String,
    },
    #[error("{key} is held by another operation, still so after {waited:?}")]
    ClaimTimeout { key: String, waited: Duration },
    #[error("{deed} {}", path.display())]
    Path {
        deed: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    // Labels and filters come with a message of their own.
    #[error(transparent)]
    Core(#[from] gantry_core::Error),

    // Content, snapshots and leases speak as containerd does, down to the class at the end: its clients compare texts, and
    // take the class off to put it on again.
    #[error("content digest {digest}: not found")]
    BlobMissing { digest: Digest },
    #[error("content {digest}: already exists")]
    BlobExists { digest: Digest },
    #[error("content {digest} has lost its bytes: expected {expected}, {found} are there")]
    BlobDamaged { digest: Digest, expected: u64, found: u64 },
    #[error("offset {offset} is beyond the {size} bytes of {what}")]
    BeyondEnd { what: String, offset: u64, size: u64 },
    #[error("ref must not be empty: invalid argument")]
    NoReference,
    #[error("ref {reference} locked by another writer: unavailable")]
    IngestBusy { reference: String },
    #[error("reference {reference}: not found")]
    IngestMissing { reference: String },
    #[error("ref {reference:?}: provided total differs from status: {said} != {known}: failed precondition")]
    TotalChanged { reference: String, said: u64, known: u64 },
    #[error("{reference:?} failed size validation: {found} != {expected}: failed precondition")]
    SizeMismatch {
        reference: String,
        expected: u64,
        found: u64,
    },
    #[error("unexpected commit digest {found}, expected {expected}: failed precondition")]
    DigestMismatch {
        reference: String,
        expected: Digest,
        found: Digest,
    },

    // Snapshots.
    #[error("snapshotter not loaded: {name}: invalid argument")]
    NoSnapshotter { name: String },
    #[error("a snapshot needs a key: invalid argument")]
    NoSnapshotKey,
    #[error("snapshot {key} does not exist: not found")]
    SnapshotMissing { key: String },
    #[error("snapshot {key:?}: already exists")]
    SnapshotExists { key: String },
    #[error("target snapshot {target:?}: already exists")]
    TargetExists { target: String },
    #[error("target snapshot {target:?} from snapshotter: already exists")]
    TargetFound { target: String },
    #[error("parent snapshot {key} does not exist: not found")]
    ParentMissing { key: String },
    #[error("parent {key:?} is not committed snapshot: invalid argument")]
    ParentNotCommitted { key: String },
    #[error("snapshot {key:?} is not active: failed precondition")]
    SnapshotNotActive { key: String },
    #[error("failed to get active mount: requested snapshot {key} not active or view: failed precondition")]
    SnapshotNotMountable { key: String },
    #[error("cannot remove snapshot with child: failed precondition")]
    SnapshotHasChildren { key: String, child: String },
    #[error("snapshot {key} is being removed: failed precondition")]
    SnapshotDoomed { key: String },
    #[error("cannot change parent of active snapshot {key:?} on commit: invalid argument")]
    Reparent { key: String },
    #[error("snapshotter {name} cannot attach a parent at commit")]
    NoRebase { name: String },
    #[error("{what} snapshot {key}")]
    Backend {
        what: &'static str,
        key: String,
        #[source]
        source: gantry_snapshots_api::Error,
    },

    // Leases and collection.
    #[error("lease {:?}: not found", id.0)]
    LeaseMissing { id: LeaseId },
    /// The lease that a write came with.
    #[error("lease does not exist: not found")]
    LeaseUnknown { id: LeaseId },
    #[error("lease {:?}: already exists", id.0)]
    LeaseExists { id: LeaseId },
    #[error("resource type {kind} not supported yet: not implemented")]
    ResourceUnknown { kind: String },
    #[error("invalid {what} {text}: invalid argument")]
    ResourceMalformed { what: &'static str, text: String },
    #[error("nothing is collected: nobody reads the references in table {table}, which has records")]
    CollectBlind { table: &'static str },
    #[error("start the collector's thread")]
    Spawn {
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: says what was tried on which path.
    pub fn path(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Path {
            deed,
            path: path.to_path_buf(),
            source,
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked { .. } | Self::IngestBusy { .. } => ErrorKind::Unavailable,
            Self::Full { .. } => ErrorKind::ResourceExhausted,
            Self::ClaimTimeout { .. } => ErrorKind::DeadlineExceeded,
            Self::LogDamaged { .. }
            | Self::Repair { .. }
            | Self::TableDamaged { .. }
            | Self::Quarantined { .. }
            | Self::BlobDamaged { .. } => ErrorKind::DataLoss,
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source } => rocksdb_kind(source),
            Self::NoTable { .. } | Self::Encode { .. } | Self::CollectBlind { .. } | Self::Spawn { .. } => {
                ErrorKind::Internal
            }
            Self::Newer { .. }
            | Self::TotalChanged { .. }
            | Self::SizeMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::SnapshotNotActive { .. }
            | Self::SnapshotNotMountable { .. }
            | Self::SnapshotHasChildren { .. }
            | Self::SnapshotDoomed { .. } => ErrorKind::FailedPrecondition,
            Self::Path { source, .. } => path_kind(source),
            Self::Core(source) => source.kind(),
            Self::BlobMissing { .. }
            | Self::IngestMissing { .. }
            | Self::SnapshotMissing { .. }
            | Self::ParentMissing { .. }
            | Self::LeaseMissing { .. }
            | Self::LeaseUnknown { .. } => ErrorKind::NotFound,
            Self::BlobExists { .. }
            | Self::SnapshotExists { .. }
            | Self::TargetExists { .. }
            | Self::TargetFound { .. }
            | Self::LeaseExists { .. } => ErrorKind::AlreadyExists,
            Self::BeyondEnd { .. } => ErrorKind::OutOfRange,
            Self::NoReference
            | Self::NoSnapshotter { .. }
            | Self::NoSnapshotKey
            | Self::ParentNotCommitted { .. }
            | Self::Reparent { .. }
            | Self::ResourceMalformed { .. } => ErrorKind::InvalidArgument,
            Self::NoRebase { .. } | Self::ResourceUnknown { .. } => ErrorKind::Unimplemented,
            Self::Backend { source, .. } => source.kind(),
        }
    }
}

/// A path of our own that is not there is our trouble, not the caller's.
fn path_kind(source: &io::Error) -> ErrorKind {
    match gantry_core::error::io_kind(source) {
        ErrorKind::ResourceExhausted => ErrorKind::ResourceExhausted,
        ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Internal,
    }
}

fn rocksdb_kind(source: &rocksdb::Error) -> ErrorKind {
    match source.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::DataLoss,
        rocksdb::ErrorKind::TimedOut => ErrorKind::DeadlineExceeded,
        rocksdb::ErrorKind::Busy | rocksdb::ErrorKind::TryAgain | rocksdb::ErrorKind::ShutdownInProgress => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    }
}

impl From<Error> for gantry_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(core) => core,
            other => gantry_core::Error::wrap(other.kind(), other),
        }
    }
}
