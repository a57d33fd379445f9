//! Images: from a registry or an archive into the store, from the store into snapshots and back into archives.
//!
//! What this room never does: run containers, name images (the engine keeps the records), or trust what it reads. Content
//! and snapshots are reached through the traits of `gantry-core` only.
//!
//! The one flow through it, a pull: reference > repository (mirrors, login) > index > manifest > config > layers, each in
//! one pass: download > hash > blob > decompress > hash > extract > snapshot, committed base first. A load begins in the
//! middle, an import at the end. A push is the way back: what the target names, blobs first, each document after what it names.

mod archive;
mod blobs;
pub mod compress;
pub mod config;
pub mod descriptor;
pub mod diff;
pub mod error;
mod failpoint;
#[cfg(test)]
mod fake_registry;
mod hash;
mod hold;
pub mod instruction;
mod locks;
pub mod media;
pub mod paced;
pub mod platform;
pub mod progress;
pub mod registry;
mod service;
mod tarball;
#[cfg(test)]
mod testing;
pub mod unpack;

pub use archive::{
    Archive, ArchiveOptions, ExportItem, ExportOptions, ImportOptions, LoadOptions, LoadedImage, SaveItem,
};
pub use config::{Healthcheck, History, ImageConfig, RunConfig};
pub use descriptor::Descriptor;
pub use diff::{Change, ChangeKind};
pub use error::ImageError;
pub use failpoint::FAILPOINTS;
pub use hold::Hold;
pub use platform::Platform;
pub use progress::{About, Progress, ProgressSink, ProgressStream, Status, progress};
pub use registry::{Access, Credentials, Login, Question, RegistryConfig, Scheme, WireLog};
pub use service::{
    Commit, CommitOf, DiffLayer, FetchOptions, Fetched, ImageService, ImageSettings, Looked, PullOptions, Pulled,
    PushOptions, Resolved, UnpackAt, UnpackOptions, Wanted,
};
pub use unpack::Limits;
